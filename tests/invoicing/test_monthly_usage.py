"""A service that renews once a year, and whose usage is billed every month."""

from datetime import date

import pytest

from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.models import BilledPeriod, Claim, Invoice, Line
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

FIRST_DAYS = [date(2026, number, 1) for number in range(2, 13)] + [date(2027, 1, 1)]


@pytest.fixture
def server():
    return a_server()


def a_yearly_service(server, *metrics, anchor="2026-01-01", next_term=1, **values):
    product = a_product(price="120")
    for declared in metrics:
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    return a_service(
        product,
        tenant=a_tenant(server),
        anchor=anchor,
        next_term=next_term,
        cycle=Cycle.ANNUALLY,
        bills_monthly=True,
        **values,
    )


def bill(on):
    with panel(says()):
        create_invoices(on=on, at=at(f"{on} 07:00"))


def kinds(invoice):
    return [(line.kind, line.amount) for line in invoice.lines.order_by("position")]


def test_a_year_has_eleven_invoices_of_usage_alone_and_one_that_renews(server):
    a_yearly_service(server, TRAFFIC)
    for number, day in enumerate(FIRST_DAYS, start=1):
        collected(server, f"{date.fromordinal(day.toordinal() - 1)} 20:00", tenant_says("alice", traffic=number * GB))
        collected(server, f"{day} 06:00", tenant_says("alice", traffic=0))
        bill(day)
    invoices = list(Invoice.objects.order_by("number"))
    assert [kinds(invoice) for invoice in invoices] == [
        *([("usage", number)] for number in range(1, 12)),
        [("recurring", 120), ("usage", 12)],
    ]
    renewed = Line.objects.get(kind="recurring")
    assert (renewed.start, renewed.end) == (date(2027, 1, 1), date(2028, 1, 1))


def test_a_new_service_renews_at_once_and_a_year_later(server):
    service = a_yearly_service(server, TRAFFIC, next_term=0)
    for day in [date(2026, 1, 1), *FIRST_DAYS]:
        bill(day)
    assert [line.start for line in Line.objects.filter(kind="recurring").order_by("start")] == [
        date(2026, 1, 1),
        date(2027, 1, 1),
    ]
    service.refresh_from_db()
    assert (service.next_term, service.next_due_on) == (13, date(2027, 2, 1))


def test_a_month_of_nothing_makes_no_invoice_and_is_not_billed_again(server):
    a_yearly_service(server, TRAFFIC, EMAILS)
    collected(server, "2026-01-31 20:00", tenant_says("alice", traffic=0, emails=0))
    collected(server, "2026-02-01 06:00", tenant_says("alice", traffic=0, emails=0))
    bill(date(2026, 2, 1))
    assert not Invoice.objects.exists()
    assert {str(period.start) for period in BilledPeriod.objects.filter(line=None)} == {"2026-01-01", "2026-01-31"}
    assert Claim.objects.get().invoice is None
    collected(server, "2026-02-28 20:00", tenant_says("alice", traffic=3 * GB, emails=0))
    collected(server, "2026-03-01 06:00", tenant_says("alice", traffic=0, emails=0))
    bill(date(2026, 3, 1))
    [invoice] = Invoice.objects.all()
    assert invoice.total == 3
    assert {str(period.start) for period in BilledPeriod.objects.filter(line__invoice=invoice)} == {
        "2026-02-01",
        "2026-02-28",
    }


def test_a_level_is_billed_each_month(server):
    a_yearly_service(server, MAILBOXES)
    for day in FIRST_DAYS[:3]:
        collected(server, f"{day} 06:00", tenant_says("alice", mailboxes=day.month))
        bill(day)
    assert [kinds(invoice) for invoice in Invoice.objects.order_by("number")] == [
        [("usage", 2)],
        [("usage", 3)],
        [("usage", 4)],
    ]


def test_terms_are_counted_from_the_anchor_also_at_the_ends_of_months(server):
    service = a_yearly_service(server, TRAFFIC, anchor="2026-01-31", next_term=0)
    days = []
    for _ in range(5):
        service.refresh_from_db()
        days.append(str(service.next_due_on))
        bill(service.next_due_on)
    assert days == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


@pytest.mark.parametrize(
    ("cycle", "renewals"), [(Cycle.QUARTERLY, 4), (Cycle.SEMIANNUALLY, 2), (Cycle.ANNUALLY, 1), (Cycle.MONTHLY, 12)]
)
def test_it_renews_as_often_as_its_cycle_says(server, cycle, renewals):
    service = a_yearly_service(server, TRAFFIC, next_term=0)
    service.cycle = cycle
    service.save()
    for day in [date(2026, 1, 1), *FIRST_DAYS[:-1]]:
        bill(day)
    assert Line.objects.filter(kind="recurring").count() == renewals
