"""A living service gets another product or tenant: one boundary, at which the old usage is billed at the old price."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.models import ProductPrice, Service
from invoicing.billing import create_invoices
from invoicing.changing import CannotChange, change
from invoicing.models import Claim, Invoice, Line
from invoicing.termination import terminate
from metering.providers.base import ProviderError
from tests.builders import (
    DISK,
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

METERED = (EMAILS, TRAFFIC, MAILBOXES)


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def small():
    """Everything at 1."""
    return a_metered_product("Small", "24", "1")


@pytest.fixture
def big():
    """Everything at 2."""
    return a_metered_product("Big", "48", "2")


def a_metered_product(name, price, each, metrics=METERED):
    product = a_product(name, price=price)
    for declared in metrics:
        priced(a_setting(product, declared), ("0", each), notation="above")
    return product


def changed(service, when, *answers, **to):
    service = Service.objects.get(pk=service.pk)
    with panel(says(*answers)):
        return change(service=service, at=at(when), **to)


def bill(on, *answers):
    with panel(says(*answers)):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def lines(invoice=None, kind="usage"):
    """(metric, quantity, amount) of the usage lines, of one invoice or of all."""
    rows = Line.objects.filter(kind=kind, **({"invoice": invoice} if invoice else {}))
    return [
        (line.setting.metric.system_name, line.quantity, line.amount)
        for line in rows.order_by("invoice__created_at", "invoice__number", "position")
    ]


def test_usage_to_date_is_billed_at_the_old_price_and_the_rest_once_at_the_new(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-10 20:00", tenant_says("alice", emails=3, traffic=5 * GB))
    done = changed(
        service, "2026-11-16 12:00", tenant_says("alice", emails=2, traffic=9 * GB, mailboxes=4), product=big
    )
    assert (done.invoice.kind, done.warning) == ("change", "")
    assert lines(done.invoice) == [("traffic", 9, 9), ("emails", 5, 5), ("mailboxes", 4, 4)]
    collected(server, "2026-11-16 22:00", tenant_says("alice", emails=7, traffic=12 * GB))
    collected(server, "2026-11-20 22:00", tenant_says("alice", emails=1, traffic=20 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0, traffic=0, mailboxes=6))
    bill("2026-12-01")
    renewal = Invoice.objects.get(kind="renewal")
    assert lines(renewal) == [("traffic", 11, 22), ("emails", 5 + 1, 12), ("mailboxes", 6, 12)]
    assert Line.objects.get(kind="recurring").amount == 48
    collected(server, "2027-01-01 06:00", tenant_says("alice", emails=0, traffic=0, mailboxes=6))
    bill("2027-01-01")
    assert lines(Invoice.objects.get(kind="renewal", issued_on="2027-01-01")) == [
        ("traffic", 0, 0),
        ("emails", 0, 0),
        ("mailboxes", 6, 12),
    ]


def test_the_terms_go_on_as_they_were(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 12:00", product=big)
    service.refresh_from_db()
    assert (service.anchor, service.next_term, service.next_due_on) == (date(2026, 10, 1), 2, date(2026, 12, 1))
    assert (service.product, service.metered_from, service.status) == (big, date(2026, 11, 16), "active")


def test_a_metric_that_the_new_product_does_not_bill_is_billed_to_date_and_no_more(server, small):
    plain = a_product("Plain", price="10")
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 12:00", tenant_says("alice", traffic=9 * GB), product=plain)
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("traffic", 9, 9)]


def test_a_metric_that_only_the_new_product_bills_counts_from_the_change_on(server, small):
    other = a_metered_product("Other", "24", "1", metrics=[DISK, EMAILS])
    plain = a_product("Plain")
    service = a_service(plain, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-10 20:00", tenant_says("alice", emails=3))
    assert changed(service, "2026-11-16 12:00", tenant_says("alice", emails=2), product=other).invoice is None
    collected(server, "2026-11-17 20:00", tenant_says("alice", emails=4))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0, disk=3 * GB))
    bill("2026-12-01")
    # The open day has no boundary, because nothing of it was billed to date: it counts whole.
    assert lines() == [("disk", 3, 3), ("emails", 2 + 4, 6)]


def test_the_rest_of_the_month_has_the_price_that_the_new_product_had_on_the_day_of_the_change(server, small):
    """Not the one on the first day of the month, on which it had none."""
    new = a_product("New")
    setting = a_setting(new, TRAFFIC, enabled_from="2026-11-10")
    priced(setting, ("0", "5"), notation="above", effective_from="2026-11-10")
    priced(setting, ("0", "7"), notation="above", effective_from="2026-11-15")
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 12:00", tenant_says("alice", traffic=9 * GB), product=new)
    collected(server, "2026-11-30 20:00", tenant_says("alice", traffic=11 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("traffic", 9, 9), ("traffic", 2, 14)]


def test_a_move_to_another_tenant_bills_nothing_twice_and_loses_nothing(server, small):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    new = a_tenant(a_server("panel-02"), "alice2")
    collected(server, "2026-11-10 20:00", tenant_says("alice", emails=3))
    done = changed(service, "2026-11-16 12:00", tenant_says("alice", emails=2, traffic=9 * GB, mailboxes=4), tenant=new)
    assert lines(done.invoice) == [("traffic", 9, 9), ("emails", 5, 5), ("mailboxes", 4, 4)]
    # What stays behind on the old server is nobody's.
    collected(server, "2026-11-20 20:00", tenant_says("alice", emails=50, traffic=50 * GB, mailboxes=50))
    collected(new.server, "2026-11-16 20:00", tenant_says("alice2", emails=1, traffic=2 * GB))
    collected(new.server, "2026-11-20 20:00", tenant_says("alice2", emails=6, traffic=4 * GB))
    collected(new.server, "2026-12-01 06:00", tenant_says("alice2", emails=0, traffic=0, mailboxes=5))
    bill("2026-12-01")
    assert lines(Invoice.objects.get(kind="renewal")) == [("traffic", 4, 4), ("emails", 7, 7), ("mailboxes", 5, 5)]


def test_a_tenant_that_comes_back_is_billed_for_the_rest_alone(server, small):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    old, new = service.tenant, a_tenant(server, "spare")
    changed(service, "2026-11-10 12:00", tenant_says("alice", traffic=9 * GB), tenant=new)
    changed(service, "2026-11-12 12:00", tenant_says("spare", traffic=1 * GB), tenant=old)
    collected(server, "2026-11-30 20:00", tenant_says("alice", traffic=15 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert [row for row in lines() if row[0] == "traffic"] == [
        ("traffic", 9, 9),
        ("traffic", 1, 1),
        ("traffic", 6, 6),
    ]


def test_the_second_change_of_a_day_makes_no_invoice_and_the_day_goes_on_with_the_last(server, small, big):
    third = a_metered_product("Third", "96", "3")
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    first = changed(service, "2026-11-16 12:00", tenant_says("alice", traffic=9 * GB), product=big)
    second = changed(service, "2026-11-16 13:00", tenant_says("alice", traffic=10 * GB), product=third)
    assert second.invoice == first.invoice
    collected(server, "2026-11-30 20:00", tenant_says("alice", traffic=20 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("traffic", 9, 9), ("traffic", 11, 33)]
    assert Claim.objects.filter(kind="change").count() == 1


@pytest.mark.parametrize("run_first", [True, False])
def test_on_the_renewal_day_usage_is_billed_at_the_old_price_before_or_after_the_run(server, small, big, run_first):
    service = a_service(small, tenant=a_tenant(server), next_term=1)
    said = tenant_says("alice", emails=2, mailboxes=4, traffic=1 * GB)
    collected(server, "2026-10-31 20:00", tenant_says("alice", emails=5, traffic=6 * GB, mailboxes=3))
    collected(server, "2026-11-01 06:00", said)
    if run_first:
        bill("2026-11-01", said)
    changed(service, "2026-11-01 12:00", said, product=big)
    bill("2026-11-01", said)
    assert sum(amount for _, _, amount in lines()) == (6 + 1) + (5 + 2) + 4
    assert Line.objects.get(kind="recurring").amount == (24 if run_first else 48)
    collected(server, "2026-11-30 20:00", tenant_says("alice", emails=5, traffic=6 * GB, mailboxes=3))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0, traffic=0, mailboxes=4))
    bill("2026-12-01")
    assert lines(Invoice.objects.get(issued_on="2026-12-01")) == [
        ("traffic", 5, 10),
        ("emails", 5, 10),
        ("mailboxes", 4, 8),
    ]


def test_where_it_is_tomorrow_already_a_move_bills_each_tenant_for_its_own_days():
    server = a_server(time_zone="Pacific/Auckland")
    product = a_metered_product("Small", "24", "1", (EMAILS, MAILBOXES))
    bob = a_tenant(server, "bob")
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    said = tenant_says("alice", emails=3, mailboxes=1), tenant_says("bob", emails=1000)
    collected(server, "2026-11-16 10:30", *said)
    said = tenant_says("alice", emails=50, mailboxes=2), tenant_says("bob", emails=0)
    changed(service, "2026-11-16 20:00", *said, tenant=bob)
    assert lines() == [("emails", 53, 53), ("mailboxes", 2, 2)]
    assert Service.objects.get().metered_from == date(2026, 11, 17)
    collected(server, "2026-11-30 10:30", tenant_says("bob", emails=7, mailboxes=5))
    collected(server, "2026-12-01 06:00", tenant_says("bob", emails=0, mailboxes=5))
    bill("2026-12-01")
    assert lines()[2:] == [("emails", 7, 7), ("mailboxes", 5, 5)]


def test_the_second_change_of_a_day_loses_nothing_where_it_is_tomorrow_by_then(small, big):
    server = a_server(time_zone="Pacific/Auckland")
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 08:00", tenant_says("alice", emails=3), product=big)
    collected(server, "2026-11-16 10:30", tenant_says("alice", emails=8))
    changed(service, "2026-11-16 20:00", tenant_says("alice", emails=50), product=small)
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0))
    bill("2026-12-01")
    assert [line for line in lines() if line[0] == "emails"] == [("emails", 3, 3), ("emails", 5 + 50, 55)]


def test_terms_that_were_missed_are_billed_first_at_the_old_price(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=0)
    changed(service, "2026-11-16 12:00", product=big)
    assert [invoice.total for invoice in Invoice.objects.order_by("number")] == [24, 24]


def test_after_a_change_the_last_invoice_bills_what_the_new_product_used(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 12:00", tenant_says("alice", emails=2, traffic=9 * GB, mailboxes=4), product=big)
    service.refresh_from_db()
    with panel(says(tenant_says("alice", emails=1, traffic=12 * GB, mailboxes=5))):
        ended = terminate(service=service, on=date(2026, 11, 20), at=at("2026-11-20 12:00"))
    assert lines(ended.invoice) == [("traffic", 3, 6), ("emails", 1, 2), ("mailboxes", 5, 10)]


def test_a_level_that_is_aggregated_counts_each_part_against_the_whole_term(server):
    small, big = a_product("Small", price="24"), a_product("Big", price="48")
    for product, each in ((small, "1"), (big, "2")):
        priced(a_setting(product, DISK), ("0", each), notation="above", aggregation="days")
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    for day in range(1, 16):
        collected(server, f"2026-11-{day:02} 12:00", tenant_says("alice", disk=30 * GB))
    changed(service, "2026-11-16 12:00", tenant_says("alice", disk=30 * GB), product=big)
    for day in range(17, 31):
        collected(server, f"2026-11-{day:02} 12:00", tenant_says("alice", disk=30 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", disk=30 * GB))
    bill("2026-12-01")
    assert [(quantity, amount) for _, quantity, amount in lines()] == [(15, 15), (15, 30)]


def test_when_the_server_does_not_answer_the_last_values_are_billed_and_it_is_said(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-15 20:00", tenant_says("alice", traffic=5 * GB))

    def down(connection, period):
        raise ProviderError("No answer.")
        yield

    with panel(down):
        done = change(service=service, at=at("2026-11-16 12:00"), product=big)
    assert done.invoice.total == 5
    assert "could not be asked once more (No answer.); the last values known are billed." in done.warning
    collected(server, "2026-11-30 20:00", tenant_says("alice", traffic=8 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("traffic", 5, 5), ("traffic", 3, 6)]


def test_what_cannot_be_says_why_and_changes_nothing(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    taken = a_tenant(server, "bob")
    a_service(small, a_client("Other"), taken)
    other_kind = a_product("Other kind", provider="filesystem")
    no_price = a_product("No price", currency="EUR")
    for wanted, why in [
        ({"tenant": taken}, "is the tenant of bob"),
        ({"product": other_kind}, "is not one of those"),
        ({"product": no_price}, "has no monthly price in USD"),
        ({"product": small}, "has that product and tenant already"),
    ]:
        with pytest.raises(CannotChange, match=why):
            changed(service, "2026-11-16 12:00", **wanted)
    with pytest.raises(CannotChange, match="starts on 1 October 2026"):
        changed(service, "2026-09-16 12:00", product=big)
    Service.objects.filter(pk=service.pk).update(status="pending")
    with pytest.raises(CannotChange, match="is pending"):
        changed(service, "2026-11-16 12:00", product=big)
    service.refresh_from_db()
    assert (service.product, service.tenant.key, service.metered_from) == (small, "alice", None)
    assert not Invoice.objects.exists()


def test_the_new_recurring_price_holds_from_the_next_term(server, small, big):
    service = a_service(small, tenant=a_tenant(server), next_term=2)
    changed(service, "2026-11-16 12:00", product=big)
    ProductPrice.objects.filter(product=small).update(amount=Decimal(1))
    bill("2026-12-01")
    assert Line.objects.get(kind="recurring").amount == 48
