"""What the last invoice of a service bills."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.drafts import CannotBill
from invoicing.models import BilledPeriod, Invoice, InvoicingSpan, Line
from invoicing.termination import CannotTerminate, terminate
from metering.providers.base import ProviderError
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    Panel,
    a_client,
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


def end(service, on, *answers):
    with panel(says(*answers)):
        return terminate(service=service, on=date.fromisoformat(on), at=at(f"{on} 12:00"))


def metered_service(server, **values):
    product = a_product()
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    return a_service(product, tenant=a_tenant(server), **{"next_term": 2, **values})


def lines():
    return [(line.kind, line.title, line.amount) for line in Line.objects.order_by("position")]


def test_it_bills_usage_only_with_the_open_period_and_the_level_of_the_day():
    """Statements 37 and 38."""
    server = a_server()
    service = metered_service(server)
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=3, traffic=1 * GB))
    ended = end(service, "2026-11-19", tenant_says("alice", mailboxes=4, emails=2, traffic=9 * GB))
    assert lines() == [
        ("usage", "Bandwidth, November 2026", 9),
        ("usage", "Emails sent, 1 November to 20 November 2026", 5),
        ("usage", "Mailboxes, measured on 19 November 2026", 4),
    ]
    assert (ended.invoice.kind, ended.invoice.total, ended.warning) == ("termination", 18, "")
    assert (service.refresh_from_db(), service.status, service.terminated_on)[1:] == ("terminated", date(2026, 11, 19))


def test_the_server_is_asked_before_the_bill_for_this_tenant_alone():
    """Statement 42, first half."""
    server = a_server()
    service = metered_service(server)
    end(service, "2026-11-19", tenant_says("alice", mailboxes=4))
    assert Panel.asked == [("tenant_usage", "alice")]


def test_when_the_server_does_not_answer_the_last_value_is_billed_and_said_so():
    """Statement 42, second half."""
    server = a_server()
    service = metered_service(server)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=3))

    def down(connection, period):
        raise ProviderError("No answer.")
        yield

    with panel(down):
        ended = terminate(service=service, on=date(2026, 11, 19), at=at("2026-11-19 12:00"))
    assert ended.invoice.total == 3
    assert "could not be asked once more (No answer.)" in ended.warning


def test_nothing_to_charge_makes_no_invoice_and_is_still_over():
    """Statement 39."""
    server = a_server()
    service = metered_service(server)
    ended = end(service, "2026-11-19", tenant_says("alice", mailboxes=0))
    assert ended.invoice is None
    assert not Invoice.objects.exists()
    assert BilledPeriod.objects.get().line is None
    assert Service.objects.get().status == "terminated"


def test_terminating_twice_makes_one_invoice():
    """Statement 40."""
    server = a_server()
    service = metered_service(server)
    first = end(service, "2026-11-19", tenant_says("alice", mailboxes=4))
    second = end(Service.objects.get(), "2026-11-20", tenant_says("alice", mailboxes=9))
    assert second.invoice == first.invoice
    assert Invoice.objects.count() == 1
    stale = end(service, "2026-11-20", tenant_says("alice", mailboxes=9))
    assert stale.invoice == first.invoice


def test_while_usage_invoicing_is_off_there_is_no_last_invoice():
    """Statement 41."""
    server = a_server()
    service = metered_service(server)
    InvoicingSpan.objects.update(end=date(2026, 11, 1))
    ended = end(service, "2026-11-19", tenant_says("alice", mailboxes=4))
    assert ended.invoice is None


@pytest.mark.parametrize("renewal_first", [True, False])
def test_on_the_day_of_renewal_the_same_usage_is_billed_in_either_order(renewal_first):
    server = a_server()
    service = metered_service(server, next_term=1)
    said = tenant_says("alice", mailboxes=4, traffic=0)
    collected(server, "2026-10-31 18:00", tenant_says("alice", mailboxes=2, traffic=6 * GB, emails=5))
    collected(server, "2026-11-01 06:00", said)
    if renewal_first:
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
        service.refresh_from_db()
    end(service, "2026-11-01", said)
    assert sum(line.amount for line in Line.objects.filter(kind="usage")) == 4 + 6 + 5
    with panel(says(said)):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 23:00"))
    assert sum(line.amount for line in Line.objects.filter(kind="usage")) == 4 + 6 + 5


def test_terms_that_were_missed_are_billed_before_the_last_invoice():
    server = a_server()
    service = metered_service(server, next_term=0, anchor="2026-10-01")
    collected(server, "2026-10-31 18:00", tenant_says("alice", emails=5))
    end(service, "2026-11-19", tenant_says("alice", mailboxes=4))
    assert [(invoice.kind, invoice.total) for invoice in Invoice.objects.order_by("number")] == [
        ("renewal", 24),
        ("renewal", 24),
        ("termination", Decimal(9)),
    ]


def test_a_service_whose_usage_has_no_price_runs_on():
    server = a_server()
    product = a_product(currency="EUR")
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    service = a_service(product, a_client(currency="EUR"), a_tenant(server), next_term=2)
    with pytest.raises(CannotBill, match="No price in EUR for Mailboxes"):
        end(service, "2026-11-19", tenant_says("alice", mailboxes=4))
    assert Service.objects.get().status == "active"


def test_a_pending_service_cannot_be_terminated():
    service = a_service(status="pending")
    with pytest.raises(CannotTerminate, match="is pending"):
        end(service, "2026-11-19")


def test_what_was_used_after_the_last_day_is_not_billed():
    server = a_server()
    service = metered_service(server)
    for day in (17, 18, 19):
        collected(server, f"2026-11-{day} 18:00", tenant_says("alice", emails=day, mailboxes=day))
    with panel(says(tenant_says("alice", emails=19, mailboxes=19))):
        terminate(service=service, on=date(2026, 11, 18), at=at("2026-11-19 19:00"))
    assert lines() == [
        ("usage", "Emails sent, 17 November to 19 November 2026", 17 + 18),
        ("usage", "Mailboxes, measured on 18 November 2026", 18),
    ]


def test_where_it_is_tomorrow_already_everything_to_date_is_billed():
    server = a_server(time_zone="Pacific/Auckland")
    service = metered_service(server)
    collected(server, "2026-11-30 10:30", tenant_says("alice", mailboxes=2, emails=3, traffic=5 * GB))
    service.refresh_from_db()
    with panel(says(tenant_says("alice", mailboxes=4, emails=50, traffic=7 * GB))):
        ended = terminate(service=service, on=date(2026, 11, 30), at=at("2026-11-30 20:00"))
    assert [amount for *_, amount in lines()] == [5 + 7, 3 + 50, 4]
    assert ended.invoice.issued_on == date(2026, 11, 30)
    opened = BilledPeriod.objects.filter(is_open=True).order_by("end").values_list("start", "value")
    assert list(opened) == [(date(2026, 12, 1), 50), (date(2026, 12, 1), 7 * GB)]


def test_one_that_ended_before_today_is_not_billed_for_later_where_it_is_tomorrow_already():
    server = a_server(time_zone="Pacific/Auckland")
    service = metered_service(server)
    collected(server, "2026-11-16 10:30", tenant_says("alice", emails=3))
    collected(server, "2026-11-17 10:30", tenant_says("alice", emails=50))
    service.refresh_from_db()
    with panel(says(tenant_says("alice", emails=50))):
        terminate(service=service, on=date(2026, 11, 16), at=at("2026-11-17 20:00"))
    assert [amount for *_, amount in lines()] == [3]


def test_what_is_switched_off_from_tomorrow_on_is_billed_where_it_is_tomorrow_already():
    server = a_server(time_zone="Pacific/Auckland")
    service = metered_service(server)
    InvoicingSpan.objects.update(end=date(2026, 11, 17))
    collected(server, "2026-11-16 10:30", tenant_says("alice", emails=3))
    service.refresh_from_db()
    with panel(says(tenant_says("alice", emails=50))):
        terminate(service=service, on=date(2026, 11, 16), at=at("2026-11-16 20:00"))
    assert [amount for *_, amount in lines()] == [3]


def test_a_service_cannot_end_in_the_future():
    service = metered_service(a_server())
    with panel(says()), pytest.raises(CannotTerminate, match="still to come"):
        terminate(service=service, on=date(2026, 11, 20), at=at("2026-11-19 12:00"))
    assert Service.objects.get().status == "active"
