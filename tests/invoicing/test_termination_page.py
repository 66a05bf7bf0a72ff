"""Staff terminate a service: what the page and the command say, with the server up and down."""

from datetime import date
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from metering.providers.base import ProviderError
from tests.builders import (
    MAILBOXES,
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
    panel,
    priced,
    says,
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
def service():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=3))
    return service


def down(connection, period):
    raise ProviderError("No answer.")
    yield


def test_the_page_asks_what_to_do_when_the_server_is_down(ines, service):
    shown = see(ines, "staff_service_terminate", service.public_id)
    assert "If panel-01 does not answer" in shown
    assert "Bill the last values" in shown
    assert "Its last invoice is made when the server answers" in shown


def test_the_page_shows_what_the_last_invoice_would_be(ines, service):
    shown = see(ines, "staff_service_terminate", service.public_id)
    assert "3 mailboxes: 3 at $2.00 $6.00 Total $6.00" in shown
    assert not Invoice.objects.exists()


def test_on_the_day_of_a_renewal_the_levels_that_it_billed_are_not_in_the_last_invoice(ines, service, time_machine):
    time_machine.move_to(at("2026-12-01 09:00"))
    collected(service.tenant.server, "2026-12-01 06:00", tenant_says("alice", mailboxes=3))
    create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 08:00"))
    shown = see(ines, "staff_service_terminate", service.public_id)
    assert "No usage is left to charge, so there will be no invoice." in shown
    said = [tenant_says("alice", mailboxes=3)]
    shown = post(ines, "staff_service_terminate", service.public_id, said=says(*said), when_down="wait")
    assert "alice is terminated. There was nothing left to charge." in shown


def test_it_says_why_the_usage_cannot_be_billed(ines, service):
    Service.objects.update(client=a_client("Yen", "JPY"))
    shown = see(ines, "staff_service_terminate", service.public_id)
    assert "As things are, it cannot end: its usage cannot be billed" in shown


def test_a_service_without_a_server_is_not_asked_about_one(ines):
    service = a_service(next_term=2)
    assert "does not answer" not in see(ines, "staff_service_terminate", service.public_id)
    shown = post(ines, "staff_service_terminate", service.public_id, when_down="last_values")
    assert "is terminated. There was nothing left to charge." in shown


def test_it_says_what_was_billed(ines, service):
    said = [tenant_says("alice", mailboxes=5)]
    shown = post(ines, "staff_service_terminate", service.public_id, said=said, when_down="wait")
    assert "alice is terminated. Its last invoice is 2026-00001, $10.00." in shown


def test_with_the_server_down_the_last_values_are_billed_and_it_says_so(ines, service):
    shown = post(ines, "staff_service_terminate", service.public_id, said=down, when_down="last_values")
    assert "could not be asked once more (No answer.); the last values known are billed." in shown
    assert "Its last invoice is 2026-00001, $6.00." in shown


def test_with_the_server_down_it_waits_and_the_page_of_the_service_says_so(ines, service):
    shown = post(ines, "staff_service_terminate", service.public_id, said=down, when_down="wait")
    assert "alice is terminated. Its last invoice waits for its server." in shown
    assert "its last invoice is not made yet" in shown
    assert "Ask the server again" in shown
    assert not Invoice.objects.exists()


def test_without_a_choice_nothing_is_done_and_it_is_asked_for(ines, service):
    shown = post(ines, "staff_service_terminate", service.public_id, said=down, when_down="guess")
    assert "Choose one." in shown
    assert Service.objects.get().status == "active"


def test_what_cannot_be_billed_runs_on_and_says_why(ines, service):
    Service.objects.update(client=a_client("Euro", "EUR"))
    said = [tenant_says("alice", mailboxes=5)]
    shown = post(ines, "staff_service_terminate", service.public_id, said=said, when_down="wait")
    assert "No price in EUR for Mailboxes" in shown
    assert Service.objects.get().status == "active"


def test_it_takes_the_right_to_change_services(client, service):
    clerk = a_user("clerk@staff.test", is_staff=True)
    allow(clerk, "view_service")
    client.force_login(clerk)
    address = reverse("staff_service_terminate", args=[service.public_id])
    assert client.post(address, {"when_down": "last_values"}).status_code == 403
    allow(clerk, "change_service")
    client.force_login(clerk)
    with panel(says()):
        assert client.post(address, {"when_down": "last_values"}).status_code == 302
    assert Service.objects.get().status == "terminated"


def command(service, *options, said=()):
    out, err = StringIO(), StringIO()
    with panel(said if callable(said) else says(*said)):
        call_command("terminate_service", str(service.public_id), *options, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().strip()


def test_the_command_bills_the_last_values_of_a_server_that_is_down_unless_told_otherwise(service):
    out, err = command(service, said=down)
    assert out == "alice is terminated; its last invoice is 2026-00001, $6.00."
    assert err.endswith("the last values known are billed.")


def test_the_command_lets_the_last_invoice_wait_where_it_is_told_so(service):
    out, err = command(service, "--when-down", "wait", said=down)
    assert out == "alice is terminated; its last invoice waits for its server."
    assert err.endswith("its last invoice waits until it answers.")
    assert not Invoice.objects.exists()


def test_the_command_knows_no_other_choice(service):
    with pytest.raises(CommandError, match="invalid choice: 'guess'"):
        command(service, "--when-down", "guess")
