"""Staff bring a terminated service back."""

from datetime import date

import pytest
from django.urls import reverse

from catalog.models import Service
from invoicing.models import Claim
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user, at
from tests.invoicing.pages import allow, post, see

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def service():
    return ended(a_service(tenant=a_tenant(a_server()), next_term=2))


def ended(service):
    Service.objects.filter(pk=service.pk).update(
        status="terminated", terminated_on=date(2026, 11, 10), next_due_on=None
    )
    Claim.objects.create(
        service=service, kind="termination", term_start=service.anchor, created_at=at("2026-11-10 09:00")
    )
    service.refresh_from_db()
    return service


def test_the_page_says_what_happens_and_does_nothing_yet(ines, service):
    shown = see(ines, "staff_service_reactivate", service.public_id)
    assert "Terminated on 10 November 2026." in shown
    assert "counted from today, its new anchor. The next run bills the first one. 19 November 2026" in shown
    assert "$24.00" in shown
    assert "What is on an invoice is not billed again" in shown
    assert Service.objects.get().status == "terminated"


def test_then_it_runs_again_from_today(ines, service):
    shown = post(ines, "staff_service_reactivate", service.public_id)
    assert "alice runs again. Its first term begins today" in shown
    service.refresh_from_db()
    assert (service.status, service.anchor, service.next_due_on) == ("active", date(2026, 11, 19), date(2026, 11, 19))


def test_the_page_of_a_terminated_service_leads_there_and_that_of_another_does_not(ines, service):
    running = a_service(client=a_client("Other"))
    for one, leads in ((service, True), (running, False)):
        shown = ines.get(reverse("staff_service", args=[one.public_id])).content.decode()
        assert (reverse("staff_service_reactivate", args=[one.public_id]) in shown) is leads


def test_one_whose_tenant_is_taken_stays_over_and_says_why(ines, service):
    a_service(a_product(), a_client("Other"), service.tenant, name="bob")
    assert "is the tenant of bob" in post(ines, "staff_service_reactivate", service.public_id)
    assert Service.objects.get(pk=service.pk).status == "terminated"


def test_one_whose_last_invoice_waits_is_not_offered_it(ines, service):
    Claim.objects.all().delete()
    assert "Its last invoice still waits for its server" in see(ines, "staff_service_reactivate", service.public_id)
    assert "still waits" in post(ines, "staff_service_reactivate", service.public_id)


def test_one_that_runs_is_not_reactivated(ines):
    service = a_service()
    assert "Only a terminated service" in see(ines, "staff_service_reactivate", service.public_id)
    assert "only a terminated service can be" in post(ines, "staff_service_reactivate", service.public_id)


def test_it_takes_the_right_to_change_services(client, service):
    address = reverse("staff_service_reactivate", args=[service.public_id])
    assert client.post(address).status_code == 302
    clerk = a_user("clerk@staff.test", is_staff=True)
    allow(clerk, "view_service")
    client.force_login(clerk)
    assert client.post(address).status_code == 403
    assert Service.objects.get().status == "terminated"
