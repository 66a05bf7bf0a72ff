"""A service that has not begun gets its first day and its tenant, and begins; one that has is left as it is."""

from datetime import date

import pytest
from django.urls import reverse
from django.utils import timezone

from catalog import orders
from catalog.models import ProductPrice, Service
from catalog.orders import CannotOrder
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, at, panel, says

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def pending(anchor="2026-11-01", **values):
    return a_service(a_product(), a_client(), None, anchor=anchor, next_term=0, status="pending", **values)


def press(ines, service, **form):
    answer = ines.post(reverse("staff_service_begin", args=[service.public_id]), {"start": "2026-11-20", **form})
    return answer, " ".join(answer.content.decode().split())


def test_a_pending_service_becomes_active_on_its_day_as_its_tenant(ines):
    service, alice = pending(), a_tenant(a_server())
    with panel(says()):
        shown = ines.get(reverse("staff_service", args=[service.public_id])).content.decode()
    assert reverse("staff_service_begin", args=[service.public_id]) in shown
    assert "none until it is active" in shown
    assert "No run bills it until it is active" in shown
    answer, _words = press(ines, service, server=alice.server_id, tenant="alice")
    service.refresh_from_db()
    assert answer["Location"] == reverse("staff_service", args=[service.public_id])
    assert (service.status, service.tenant) == ("active", alice)
    assert (service.anchor, service.next_due_on, service.next_term) == (date(2026, 11, 20), date(2026, 11, 20), 0)


def test_what_began_today_is_billed_by_the_next_run_from_that_day_on(ines):
    service = pending()
    press(ines, service, start="2026-11-19")
    create_invoices(on=timezone.localdate(), at=timezone.now())
    line = Invoice.objects.get().lines.get()
    assert (line.start, line.end) == (date(2026, 11, 19), date(2026, 12, 19))


def test_the_first_day_is_offered_as_it_was_ordered_and_never_one_that_is_over(ines):
    for anchor, offered in [("2026-11-01", "2026-11-19"), ("2026-12-24", "2026-12-24")]:
        service = pending(anchor)
        shown = ines.get(reverse("staff_service_begin", args=[service.public_id])).content.decode()
        assert f'value="{offered}"' in shown


def test_an_active_service_that_begins_later_gets_its_tenant_and_another_day(ines):
    bob = a_tenant(a_server(), "bob")
    service = a_service(a_product(), a_client(), None, anchor="2026-12-01", next_term=0)
    press(ines, service, start="2027-01-01", server=bob.server_id, tenant="bob")
    service.refresh_from_db()
    assert (service.status, service.tenant, service.anchor) == ("active", bob, date(2027, 1, 1))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"start": ""}, "Enter a day."),
        ({"start": "2028-11-19"}, "Let it start on 20 November 2027 or before."),
        ({"tenant": "alice"}, "Choose the server that it is on."),
        ({"server": True}, "Enter its name on the server."),
        ({"server": True, "tenant": "nobody"}, "panel-01 has no tenant of this name."),
        ({"server": "99999999"}, "Choose a server that is offered."),
    ],
)
def test_what_is_wrong_is_said_and_nothing_begins(ines, form, said):
    service, server = pending(), a_server()
    a_tenant(server)
    answer, words = press(ines, service, **{**form, **({"server": server.pk} if form.get("server") is True else {})})
    assert answer.status_code == 200
    assert said in words
    assert Service.objects.get().status == "pending"


def test_a_tenant_that_another_service_has_is_refused_by_its_name(ines):
    service, alice = pending(), a_tenant(a_server())
    a_service(service.product, service.client, alice, name="the other")
    _answer, words = press(ines, service, server=alice.server_id, tenant="alice")
    assert "alice on panel-01 is the tenant of the other." in words
    assert Service.objects.get(pk=service.pk).status == "pending"


def test_a_service_without_a_price_does_not_begin(ines):
    service = pending()
    ProductPrice.objects.all().delete()
    _answer, words = press(ines, service)
    assert "has no price per month in USD" in words
    assert Service.objects.get().status == "pending"


def test_what_has_begun_is_not_begun_again(ines):
    service = a_service(a_product(), a_client(), None, anchor="2026-11-01", next_term=1)
    today = timezone.localdate()
    with pytest.raises(CannotOrder, match="has begun already"):
        orders.begin(service, start=today, tenant=None, today=today)
    _answer, words = press(ines, service)
    assert "has begun already" in words
    shown = ines.get(reverse("staff_service_begin", args=[service.public_id])).content.decode()
    assert "It has begun already" in shown
    assert "<form method" not in shown.split("<main", 1)[1]
    service.refresh_from_db()
    assert (service.anchor, service.next_term) == (date(2026, 11, 1), 1)


def test_a_service_of_which_nothing_is_measured_is_asked_for_its_day_alone(ines):
    product = a_product()
    product.provider = ""
    product.save()
    alice = a_tenant(a_server())
    service = a_service(product, a_client(), alice, anchor="2026-11-01", next_term=0, status="pending")
    shown = ines.get(reverse("staff_service_begin", args=[service.public_id])).content.decode()
    assert 'name="tenant"' not in shown
    press(ines, service)
    service.refresh_from_db()
    assert (service.status, service.tenant) == ("active", alice)
