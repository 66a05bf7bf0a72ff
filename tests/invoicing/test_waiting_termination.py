"""A service ends while its server is down, and its last invoice waits until that answers."""

from datetime import date

import pytest

from billing_site import jobs
from catalog.models import Service
from invoicing.changing import CannotChange, reactivate
from invoicing.models import Invoice, Parked
from invoicing.termination import WhenDown, finish, finish_all, is_waiting, terminate
from metering.providers.base import ProviderError
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db


def down(connection, period):
    raise ProviderError("No answer.")
    yield


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def service(server):
    product = a_product()
    for declared in (EMAILS, TRAFFIC, MAILBOXES):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-15 20:00", tenant_says("alice", emails=3, traffic=5 * GB, mailboxes=2))
    return service


def end(service, answer=down, when_down=WhenDown.WAIT):
    with panel(answer):
        return terminate(service=service, on=date(2026, 11, 16), at=at("2026-11-16 12:00"), when_down=when_down)


def usage(invoice):
    lines = invoice.lines.order_by("position")
    return [(line.setting.metric.system_name, line.quantity) for line in lines]


def test_the_service_ends_and_its_last_invoice_waits(service):
    ended = end(service)
    assert (ended.invoice, ended.waits) == (None, True)
    assert "could not be asked once more (No answer.); its last invoice waits until it answers." in ended.warning
    service.refresh_from_db()
    assert (service.status, service.terminated_on, service.next_due_on) == ("terminated", date(2026, 11, 16), None)
    assert is_waiting(Service.objects.get())
    assert Parked.objects.get().reason.startswith("Its last invoice waits: panel-01 could not be asked once more")
    assert not Invoice.objects.exists()


def test_a_server_that_answers_leaves_nothing_to_wait_for(service):
    ended = end(service, says(tenant_says("alice", emails=1, traffic=6 * GB, mailboxes=4)))
    assert not ended.waits
    assert usage(ended.invoice) == [("traffic", 6), ("emails", 4), ("mailboxes", 4)]
    assert not is_waiting(service)


def test_when_the_server_answers_the_last_invoice_is_made_up_to_the_last_day(server, service):
    end(service)
    with panel(says(tenant_says("alice", emails=9, traffic=7 * GB, mailboxes=9))):
        [ended] = finish_all(at=at("2026-11-18 08:00"))
    # The month is read again; the days after the last one do not count.
    assert usage(ended.invoice) == [("traffic", 7), ("emails", 3), ("mailboxes", 2)]
    assert (ended.invoice.kind, ended.waits) == ("termination", False)
    assert not Parked.objects.exists()
    with panel(says(tenant_says("alice", traffic=9 * GB))):
        assert finish_all(at=at("2026-11-19 08:00")) == []
    assert Invoice.objects.count() == 1


def test_the_daily_run_makes_it_when_the_server_answers(service, time_machine):
    end(service)
    for day, answer, said in (
        ("18", down, "0 last invoices made, 1 wait"),
        ("19", says(tenant_says("alice", traffic=7 * GB)), "1 last invoices made, 0 wait"),
    ):
        time_machine.move_to(at(f"2026-11-{day} 08:00"))
        with panel(answer):
            assert said in jobs.run_named(["CreateInvoices"], at=at(f"2026-11-{day} 08:00"))["CreateInvoices"]
    assert Invoice.objects.get().kind == "termination"


def test_it_waits_on_while_the_server_is_down(service):
    end(service)
    with panel(down):
        [ended] = finish_all(at=at("2026-11-18 08:00"))
    assert (ended.invoice, ended.waits) == (None, True)
    assert "waits on" in ended.warning
    assert is_waiting(Service.objects.get())
    assert Parked.objects.count() == 1


def test_a_person_can_end_the_wait_with_the_last_values(service):
    end(service)
    with panel(down):
        ended = finish(service=Service.objects.get(), at=at("2026-11-18 08:00"), when_down=WhenDown.LAST_VALUES)
    assert usage(ended.invoice) == [("traffic", 5), ("emails", 3), ("mailboxes", 2)]
    assert "the last values known are billed" in ended.warning


def test_terminating_again_says_that_it_waits_and_changes_nothing(service):
    end(service)
    again = end(Service.objects.get(), says(tenant_says("alice", traffic=9 * GB)), WhenDown.LAST_VALUES)
    assert (again.invoice, again.waits) == (None, True)
    assert not Invoice.objects.exists()


def test_finishing_what_does_not_wait_returns_its_invoice(service):
    ended = end(service, says(tenant_says("alice", traffic=6 * GB)))
    with panel(says()):
        assert finish(service=Service.objects.get(), at=at("2026-11-18 08:00")).invoice == ended.invoice


def test_it_does_not_come_back_while_its_last_invoice_waits(service):
    end(service)
    with pytest.raises(CannotChange, match="still waits"):
        reactivate(service=Service.objects.get(), at=at("2026-11-20 09:00"))


def test_one_that_cannot_be_billed_waits_on_and_says_why_and_the_others_are_made(server, service):
    end(service)
    other = a_service(service.product, tenant=a_tenant(server, "bob"), next_term=2)
    end(other)
    euro = other.client
    euro.pk, euro.name, euro.currency = None, "Euro", "EUR"
    euro.save()
    Service.objects.filter(pk=service.pk).update(client=euro)
    with panel(says(tenant_says("alice", traffic=7 * GB), tenant_says("bob", traffic=8 * GB))):
        [ended] = finish_all(at=at("2026-11-18 08:00"))
    assert (ended.service, ended.invoice.total) == (other, 8)
    assert "No price in EUR" in Parked.objects.get(service=service).reason
    assert is_waiting(Service.objects.get(pk=service.pk))


def test_nothing_left_to_charge_ends_the_wait_without_an_invoice(service):
    Service.objects.filter(pk=service.pk).update(product=a_product("Plain"))
    end(Service.objects.get(pk=service.pk))
    with panel(says(tenant_says("alice", traffic=7 * GB))):
        [ended] = finish_all(at=at("2026-11-18 08:00"))
    assert (ended.invoice, ended.waits) == (None, False)
    assert not is_waiting(Service.objects.get(pk=service.pk))
