"""A terminated service comes back: a new anchor, and nothing old is billed again."""

from datetime import date

import pytest

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.changing import CannotChange, reactivate
from invoicing.models import BilledPeriod, Claim, Invoice, Line
from invoicing.termination import terminate
from invoicing.verification import verify
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
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


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    product = a_product()
    for declared in (EMAILS, TRAFFIC, MAILBOXES):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    return product


def end(service, when, *answers):
    service = Service.objects.get(pk=service.pk)
    with panel(says(*answers)):
        return terminate(service=service, on=at(when).date(), at=at(when))


def back(service, when):
    return reactivate(service=Service.objects.get(pk=service.pk), at=at(when))


def bill(on):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def usage(invoice):
    lines = invoice.lines.filter(kind="usage").order_by("position")
    return [(line.setting.metric.system_name, line.quantity) for line in lines]


def test_only_the_rest_of_the_month_is_billed_after_it_came_back(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    ended = end(service, "2026-11-10 12:00", tenant_says("alice", emails=2, traffic=9 * GB, mailboxes=4))
    assert usage(ended.invoice) == [("traffic", 9), ("emails", 2), ("mailboxes", 4)]
    back(service, "2026-11-20 09:00")
    bill("2026-11-20")
    collected(server, "2026-11-30 20:00", tenant_says("alice", emails=3, traffic=15 * GB, mailboxes=5))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0, traffic=0, mailboxes=5))
    collected(server, "2026-12-20 06:00", tenant_says("alice", emails=0, traffic=1 * GB, mailboxes=6))
    bill("2026-12-20")
    first, second = Invoice.objects.filter(kind="renewal").order_by("number")
    assert (usage(first), first.total) == ([], 24)
    assert usage(second) == [("traffic", 6), ("emails", 3), ("mailboxes", 6)]


def test_the_new_terms_are_counted_from_the_day_it_came_back(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    end(service, "2026-11-10 12:00")
    service = back(service, "2026-11-30 09:00")
    assert (service.status, service.terminated_on, service.next_term) == ("active", None, 0)
    assert (service.anchor, service.next_due_on) == (date(2026, 11, 30), date(2026, 11, 30))
    for day in ("2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28"):
        bill(day)
    terms = Line.objects.filter(kind="recurring").order_by("start").values_list("start", flat=True)
    assert [str(day) for day in terms] == ["2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28"]


def test_months_without_an_invoice_are_in_order_after_it_came_back(server, product):
    service = a_service(product, tenant=a_tenant(server), cycle="quarterly", bills_monthly=True, next_term=0)
    for day in ("2026-10-01", "2026-11-01", "2026-12-01"):
        bill(day)
    end(service, "2026-12-10 12:00")
    back(service, "2026-12-20 09:00")
    assert Claim.objects.filter(kind="renewal", invoice=None).count() == 2
    assert not list(verify())
    Claim.objects.filter(term_start=date(2026, 10, 1)).update(invoice=None)
    assert any("from 2026-10-01 was claimed but is on no invoice" in str(finding) for finding in verify())


def test_what_was_used_while_it_was_over_is_not_billed(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    end(service, "2026-11-10 12:00", tenant_says("alice", emails=2))
    collected(server, "2026-11-10 22:00", tenant_says("alice", emails=7))
    collected(server, "2026-11-15 22:00", tenant_says("alice", emails=50, mailboxes=9))
    back(service, "2026-11-20 09:00")
    collected(server, "2026-11-21 22:00", tenant_says("alice", emails=3, mailboxes=1))
    collected(server, "2026-12-20 06:00", tenant_says("alice", emails=0, mailboxes=1))
    bill("2026-11-20")
    bill("2026-12-20")
    first, second = Invoice.objects.filter(kind="renewal").order_by("number")
    assert usage(first) == []
    assert usage(second) == [("emails", 3), ("mailboxes", 1)]


def test_on_the_day_it_ended_it_comes_back_with_the_rest_of_that_day(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    end(service, "2026-11-10 12:00", tenant_says("alice", emails=2, traffic=4 * GB))
    back(service, "2026-11-10 13:00")
    bill("2026-11-10")
    collected(server, "2026-11-10 22:00", tenant_says("alice", emails=7, traffic=5 * GB))
    collected(server, "2026-12-10 06:00", tenant_says("alice", emails=0, traffic=0))
    bill("2026-12-10")
    assert usage(Invoice.objects.get(issued_on="2026-12-10")) == [("traffic", 1), ("emails", 5)]


def test_a_term_that_the_client_paid_already_is_not_charged_again(server, product):
    """It ended and came back on the day on which its term had begun."""
    service = a_service(product, tenant=a_tenant(server), next_term=1)
    bill("2026-11-01")
    end(service, "2026-11-01 12:00")
    back(service, "2026-11-01 13:00")
    bill("2026-11-01")
    assert [line.start for line in Line.objects.filter(kind="recurring")] == [date(2026, 11, 1)]
    assert Service.objects.get().next_due_on == date(2026, 12, 1)


def test_it_ends_again_with_a_last_invoice_of_its_own(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    first = end(service, "2026-11-10 12:00", tenant_says("alice", traffic=9 * GB))
    back(service, "2026-11-20 09:00")
    second = end(service, "2026-11-25 12:00", tenant_says("alice", traffic=12 * GB, mailboxes=2))
    assert usage(first.invoice) == [("traffic", 9)]
    assert usage(second.invoice) == [("traffic", 3), ("mailboxes", 2)]
    assert end(service, "2026-11-26 12:00").invoice == second.invoice
    back(service, "2026-11-27 09:00")
    assert usage(end(service, "2026-11-28 12:00", tenant_says("alice", traffic=13 * GB)).invoice) == [("traffic", 1)]
    parts = BilledPeriod.objects.filter(start="2026-11-01", metric_id__in=[_traffic(product)])
    assert [(period.part, period.value) for period in parts] == [(0, 9 * GB), (1, 3 * GB), (2, 1 * GB)]


def _traffic(product):
    return product.metric_settings.get(metric__system_name="traffic").metric_id


def test_it_does_not_come_back_while_another_service_has_its_tenant(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    end(service, "2026-11-10 12:00")
    a_service(product, a_client("Other"), a_tenant(server), name="bob")
    with pytest.raises(CannotChange, match="is the tenant of bob"):
        back(service, "2026-11-20 09:00")


def test_a_new_service_with_the_tenant_of_one_that_ended_is_not_billed_for_its_last_day(server, product):
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    end(service, "2026-11-10 12:00", tenant_says("alice", emails=2))
    collected(server, "2026-11-10 22:00", tenant_says("alice", emails=7))
    a_service(product, a_client("Other"), a_tenant(server), anchor="2026-11-20", next_term=1)
    collected(server, "2026-11-21 22:00", tenant_says("alice", emails=3))
    collected(server, "2026-12-20 06:00", tenant_says("alice", emails=0))
    bill("2026-12-20")
    assert usage(Invoice.objects.get(client__name="Other")) == [("emails", 3)]


def test_a_service_that_ended_where_it_began_comes_back_from_the_next_day_on(server, product):
    service = a_service(product, tenant=a_tenant(server), anchor="2026-11-10", next_term=0)
    end(service, "2026-11-10 12:00")
    with pytest.raises(CannotChange, match="can be reactivated from tomorrow on"):
        back(service, "2026-11-10 13:00")
    assert back(service, "2026-11-11 09:00").anchor == date(2026, 11, 11)


def test_a_service_that_renews_yearly_does_not_come_back_on_a_day_of_which_only_usage_was_billed(server, product):
    """Its year would be over with that claim, and never charged."""
    service = a_service(product, tenant=a_tenant(server), cycle="annually", bills_monthly=True, next_term=1)
    collected(server, "2026-10-31 20:00", tenant_says("alice", traffic=8 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    end(service, "2026-11-01 12:00")
    with pytest.raises(CannotChange, match="can be reactivated from tomorrow on"):
        back(service, "2026-11-01 15:00")
    back(service, "2026-11-02 09:00")
    bill("2026-11-02")
    assert [str(line.start) for line in Line.objects.filter(kind="recurring")] == ["2026-11-02"]


def test_only_a_terminated_service_comes_back(server, product):
    service = a_service(product, tenant=a_tenant(server))
    with pytest.raises(CannotChange, match="is active; only a terminated service"):
        back(service, "2026-11-10 13:00")
