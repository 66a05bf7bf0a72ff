"""Invoices that are made some days before their term: what is used in those days waits, and is billed once."""

from datetime import date

import pytest

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.models import BilledPeriod, Deferral, Invoice, Line
from invoicing.termination import terminate
from invoicing.unclaimed import earliest
from invoicing.verification import verify
from metering.models import Tenant
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


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def service(server):
    """Invoiced seven days ahead: the term of November on 25 October."""
    product = a_product()
    product.invoice_days_ahead = 7
    product.save()
    for declared in (EMAILS, TRAFFIC, MAILBOXES):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    return a_service(product, tenant=a_tenant(server))


def used(server, *days, month="2026-10", **values):
    for day in days:
        collected(server, f"{month}-{day:02} 20:00", tenant_says("alice", **values))


def bill(on):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def usage(on):
    lines = Invoice.objects.get(issued_on=on).lines.filter(kind="usage").order_by("position")
    return [(line.setting.metric.system_name, line.quantity) for line in lines]


def test_the_invoice_is_made_so_many_days_before_its_term_and_not_sooner(server, service):
    bill("2026-10-24")
    assert not Invoice.objects.exists()
    bill("2026-10-25")
    invoice = Invoice.objects.get()
    line = invoice.lines.get(kind="recurring")
    assert (line.start, line.end) == (date(2026, 11, 1), date(2026, 12, 1))
    bill("2026-10-31")
    bill("2026-11-01")
    assert Invoice.objects.count() == 1
    assert Service.objects.get().next_due_on == date(2026, 12, 1)


def test_what_is_used_in_those_days_is_on_the_next_invoice_exactly_once(server, service):
    used(server, 10, 24, emails=5)
    collected(server, "2026-10-25 06:00", tenant_says("alice", emails=1))
    bill("2026-10-25")
    assert usage("2026-10-25") == [("emails", 10)]
    used(server, 25, 31, emails=3, traffic=7 * GB)
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0, traffic=0))
    used(server, 5, month="2026-11", emails=4)
    collected(server, "2026-11-24 06:00", tenant_says("alice", emails=0))
    bill("2026-11-24")
    assert usage("2026-11-24") == [("traffic", 7), ("emails", 3 + 3 + 4)]
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0, traffic=0))
    collected(server, "2026-12-25 06:00", tenant_says("alice", emails=0, traffic=0))
    bill("2026-12-25")
    assert sum(quantity for _, quantity in usage("2026-12-25")) == 0


def test_the_level_of_a_term_waits_for_the_invoice_after_its_end(server, service):
    used(server, 20, mailboxes=4)
    bill("2026-10-25")
    [waits] = Deferral.objects.filter(setting__metric__system_name="mailboxes")
    assert (waits.start, waits.end) == (date(2026, 10, 1), date(2026, 11, 1))
    assert waits.reason == "the term runs until 2026-11-01, and its invoice is made ahead"
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=6))
    collected(server, "2026-11-24 06:00", tenant_says("alice", mailboxes=9))
    bill("2026-11-24")
    assert usage("2026-11-24") == [("mailboxes", 6)]
    collected(server, "2026-12-01 06:00", tenant_says("alice", mailboxes=11))
    bill("2026-12-25")
    assert ("mailboxes", 11) in usage("2026-12-25")
    assert [waits.start for waits in Deferral.objects.filter(setting__metric__system_name="mailboxes")] == [
        date(2026, 12, 1)
    ]


def test_a_service_that_ends_in_those_days_is_billed_to_date_once(server, service):
    used(server, 20, emails=5, mailboxes=4)
    collected(server, "2026-10-25 06:00", tenant_says("alice", emails=1))
    bill("2026-10-25")
    used(server, 26, emails=2)
    service.refresh_from_db()
    with panel(says(tenant_says("alice", emails=3, traffic=2 * GB, mailboxes=5))):
        ended = terminate(service=service, on=date(2026, 10, 28), at=at("2026-10-28 12:00"))
    lines = [(line.setting.metric.system_name, line.quantity) for line in ended.invoice.lines.order_by("position")]
    assert lines == [("traffic", 2), ("emails", 1 + 2 + 3), ("mailboxes", 5)]
    assert not Deferral.objects.exists()


def a_big_product(price="100", **values):
    product = a_product("Big", price="48")
    product.invoice_days_ahead = 7
    product.save()
    priced(a_setting(product, MAILBOXES), ("0", price), notation="above", **values)
    return product


def test_a_level_that_waits_is_cut_where_the_service_ends_in_those_days(server, service):
    used(server, 20, mailboxes=4)
    bill("2026-10-25")
    service.refresh_from_db()
    with panel(says(tenant_says("alice", mailboxes=5))):
        terminate(service=service, on=date(2026, 10, 28), at=at("2026-10-28 12:00"))
    [level] = BilledPeriod.objects.all()
    assert (level.start, level.end, level.value) == (date(2026, 10, 1), date(2026, 10, 28), 5)
    tenant = Tenant.objects.select_related("server").get()
    assert earliest([tenant])[tenant.pk].day == date(2026, 10, 28)
    assert [str(finding) for finding in verify()] == []


def test_a_service_that_is_changed_in_those_days_has_the_rest_of_its_level_on_the_invoice_after(server, service):
    used(server, 20, mailboxes=4)
    bill("2026-10-25")
    service.refresh_from_db()
    with panel(says(tenant_says("alice", mailboxes=5))):
        done = change(service=service, at=at("2026-10-28 12:00"), product=a_big_product())
    assert [line.quantity for line in done.invoice.lines.filter(setting__metric__system_name="mailboxes")] == [5]
    [waits] = Deferral.objects.all()
    assert (waits.start, waits.end, waits.setting.product.name) == (date(2026, 10, 28), date(2026, 11, 1), "Big")
    assert waits.reason == "the term runs until 2026-11-01, and its invoice is made ahead"
    assert [str(finding) for finding in verify()] == []
    used(server, 31, mailboxes=7)
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=7))
    collected(server, "2026-11-24 06:00", tenant_says("alice", mailboxes=9))
    bill("2026-11-24")
    assert usage("2026-11-24") == [("mailboxes", 7)]
    assert [waits.start for waits in Deferral.objects.all()] == [date(2026, 11, 1)]
    assert [str(finding) for finding in verify()] == []


def test_a_second_change_on_that_day_lets_the_level_of_the_last_product_wait(server, service):
    used(server, 20, mailboxes=4)
    bill("2026-10-25")
    service.refresh_from_db()
    small = service.product
    with panel(says(tenant_says("alice", mailboxes=5))):
        change(service=service, at=at("2026-10-28 12:00"), product=a_big_product())
        change(service=Service.objects.get(), at=at("2026-10-28 13:00"), product=small)
    [waits] = Deferral.objects.all()
    assert waits.setting.product == small


def test_a_level_that_is_aggregated_is_shared_between_before_and_after_a_change_in_those_days(server):
    small, big = a_product("Small", price="24"), a_big_product(price="2", aggregation="days")
    small.invoice_days_ahead = 7
    small.save()
    priced(a_setting(small, MAILBOXES), ("0", "1"), notation="above", aggregation="days")
    service = a_service(small, tenant=a_tenant(server))
    used(server, *range(1, 25), mailboxes=31)
    bill("2026-10-25")
    service.refresh_from_db()
    used(server, 25, 26, 27, mailboxes=31)
    with panel(says(tenant_says("alice", mailboxes=31))):
        done = change(service=service, at=at("2026-10-28 12:00"), product=big)
    assert [line.quantity for line in done.invoice.lines.all()] == [27]
    used(server, 29, 30, 31, mailboxes=31)
    collected(server, "2026-11-24 06:00", tenant_says("alice", mailboxes=31))
    bill("2026-11-24")
    assert usage("2026-11-24") == [("mailboxes", 4)]


def test_without_days_ahead_it_is_made_on_the_first_day_of_the_term(server, service):
    service.product.invoice_days_ahead = 0
    service.product.save()
    bill("2026-10-31")
    assert not Invoice.objects.exists()
    bill("2026-11-01")
    assert Invoice.objects.count() == 1


@pytest.mark.parametrize("on", ["2026-10-25", "2026-10-28", "2026-11-03"])
def test_a_run_that_comes_late_bills_the_same_at_the_same_prices(server, on):
    product = a_product()
    product.invoice_days_ahead = 7
    product.save()
    setting = a_setting(product, EMAILS)
    priced(setting, ("0", "1"), notation="above", price_at="invoice")
    priced(setting, ("0", "2"), notation="above", price_at="invoice", effective_from="2026-10-26")
    a_service(product, tenant=a_tenant(server))
    used(server, 20, emails=5)
    used(server, 25, 26, emails=7)
    collected(server, "2026-11-03 06:00", tenant_says("alice", emails=1))
    bill(on)
    assert usage(on) == [("emails", 5)]
    line = Line.objects.get(kind="usage")
    assert (line.amount, line.pricing["invoiced"]) == (5, "2026-10-25")
    bill("2026-11-24")
    assert usage("2026-11-24") == [("emails", 7 + 7)]
