"""Staff see what was left out while something was off, and bill it in so many words."""

from datetime import date

import pytest
from django.urls import reverse

from catalog.models import EnabledSpan, Service
from invoicing.models import BackBilling
from tests.builders import (
    EMAILS,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    priced,
    tenant_says,
)
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
def setting():
    setting = a_setting(a_product(), EMAILS, enabled_from="2026-01-01")
    priced(setting, ("0", "0.50"), notation="above")
    setting.enabled_spans.update(end=date(2026, 11, 5))
    EnabledSpan.objects.create(setting=setting, start=date(2026, 11, 9))
    return setting


@pytest.fixture
def service(setting):
    """Emails of three days, two of them while they were off: $12.00."""
    server = a_server()
    for day, sent in ((3, 10), (5, 14), (7, 10), (12, 3)):
        collected(server, f"2026-11-{day:02} 20:00", tenant_says("alice", emails=sent))
    collected(server, "2026-11-19 06:00", tenant_says("alice", emails=1))
    return a_service(setting.product, tenant=a_tenant(server), next_term=2)


def test_what_was_left_out_is_shown_with_its_periods_quantities_and_amount(ines, service):
    shown = see(ines, "staff_left_out", service.public_id)
    assert "Emails sent Between 5 November 2026 and 7 November 2026" in shown
    assert "24 emails: 24 at $0.50" in shown
    assert "5 November 2026 6 November 2026 14 emails 7 November 2026 8 November 2026 10 emails" in shown
    assert "Bill $12.00 for Emails sent, 5 November to 7 November" in shown
    assert "As a line of its own on the next invoice, 1 December 2026." in shown


def test_what_is_billed_is_what_was_shown_and_who_said_so_is_kept(ines, service, setting):
    shown = post(ines, "staff_left_out", service.public_id, setting=setting.pk, amount="12.00", reason="By mistake.")
    assert "Emails sent that was left out is on the next invoice of alice: $12.00." in shown
    assert "Nothing was left out." in shown
    assert "Billed after all" in shown
    assert "By mistake." in shown
    made = BackBilling.objects.get()
    assert (made.start, made.end, made.by.email) == (date(2026, 11, 5), date(2026, 11, 8), "ines@staff.test")


def test_another_amount_than_was_shown_is_refused_and_shown_anew(ines, service, setting):
    shown = post(ines, "staff_left_out", service.public_id, setting=setting.pk, amount="11.00", reason="By mistake.")
    assert "It comes to another amount by now: 12" in shown
    assert "Bill $12.00" in shown
    assert not BackBilling.objects.exists()


def test_without_a_reason_nothing_is_billed(ines, service, setting):
    shown = post(ines, "staff_left_out", service.public_id, setting=setting.pk, amount="12.00", reason=" ")
    assert "Say why." in shown
    assert not BackBilling.objects.exists()


def test_a_setting_that_there_is_not_is_not_found(ines, service):
    address = reverse("staff_left_out", args=[service.public_id])
    data = {"setting": "99999", "amount": "12.00", "reason": "By mistake."}
    assert ines.post(address, data).status_code == 404


def test_where_nothing_was_off_it_says_so(ines):
    service = a_service(tenant=a_tenant(a_server()))
    assert "Nothing was left out." in see(ines, "staff_left_out", service.public_id)


def test_a_service_that_is_over_has_no_invoice_to_put_it_on(ines, service):
    Service.objects.update(status="terminated", terminated_on=date(2026, 11, 18), next_due_on=None)
    shown = see(ines, "staff_left_out", service.public_id)
    assert "alice is terminated and has no next invoice to put it on." in shown
    assert "Bill $12.00" not in shown


def test_what_has_no_price_says_so(ines, service):
    Service.objects.update(client=a_client("Euro", "EUR"))
    assert "No price in EUR for Emails sent" in see(ines, "staff_left_out", service.public_id)


def test_billing_it_is_a_right_of_its_own(client, service, setting):
    address = reverse("staff_left_out", args=[service.public_id])
    data = {"setting": setting.pk, "amount": "12.00", "reason": "By mistake."}
    assert client.post(address, data).status_code == 302
    clerk = a_user("clerk@staff.test", is_staff=True)
    client.force_login(clerk)
    assert client.get(address).status_code == 403
    allow(clerk, "view_service")
    client.force_login(clerk)
    assert "Bill $12.00" not in see(client, "staff_left_out", service.public_id)
    assert client.post(address, data).status_code == 403
    allow(clerk, "add_backbilling")
    client.force_login(clerk)
    assert client.post(address, data).status_code == 302
    assert BackBilling.objects.exists()


def test_a_forged_request_is_refused(client, service, setting):
    client.handler.enforce_csrf_checks = True
    client.force_login(a_staff_user())
    data = {"setting": setting.pk, "amount": "12.00", "reason": "By mistake."}
    assert client.post(reverse("staff_left_out", args=[service.public_id]), data).status_code == 403
    assert not BackBilling.objects.exists()
