"""The faults M and I of money that need an invoice. Which test holds which is in docs/reliability.md."""

from datetime import date
from decimal import ROUND_UP, Context, Decimal, localcontext

import pytest
from django.db.models import ProtectedError, Sum

from catalog.metric_billing import add_version
from catalog.models import BracketPrice
from catalog.sheet import Sheet
from invoicing import billing, chain, statistics
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.models import Invoice, Line, Parked
from invoicing.panel import Panel
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
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
    return a_product()


def bill(on="2026-11-01", **options):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def usage_lines():
    return list(Line.objects.filter(kind="usage").order_by("invoice__number", "position"))


def said_of(lines):
    """All that lines say of their charge, as it is written for the chain."""
    return [
        chain.row((line.title, line.detail, line.quantity, line.exact, line.amount, line.pricing, line.steps))
        for line in lines
    ]


# M2: the total is the sum of what is shown


def test_the_total_is_the_sum_of_the_rounded_lines(server, product):
    """M2: nineteen lines of 0.335 are 6.46 on paper, and 6.37 if rounded once at the end."""
    priced(a_setting(product, MAILBOXES), ("0", "0.335"), scheme="per_unit")
    client = a_client()
    for number in range(19):
        a_service(product, client=client, tenant=a_tenant(server, f"t{number}"))
    collected(server, "2026-11-01 06:00", *(tenant_says(f"t{number}", mailboxes=1) for number in range(19)))
    bill()
    invoice = Invoice.objects.get()
    assert {line.amount for line in usage_lines()} == {Decimal("0.34")}
    assert invoice.total == invoice.lines.aggregate(sum=Sum("amount"))["sum"] == 19 * Decimal("24.34")


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "3"), ("USD", "2.67"), ("BHD", "2.665"), ("CLF", "2.6650")])
def test_a_line_is_rounded_to_the_minor_unit_of_its_currency(server, currency, amount):
    """M1, M4: and keeps what it was before."""
    product = a_product(currency=currency)
    priced(a_setting(product, MAILBOXES), ("0", "2.665"), currency=currency)
    a_service(product, client=a_client(currency=currency), tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=1))
    bill()
    [line] = usage_lines()
    assert (line.exact, line.amount) == (Decimal("2.665"), Decimal(amount))


# M7: brackets that were spoiled after they were saved


def test_prices_that_can_be_read_in_two_ways_park_the_service(server, product):
    """M7: not billed by a guess, and the others go on."""
    version = priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"))
    BracketPrice.objects.filter(version=version, start=0).update(start=12)
    spoiled = a_service(product, tenant=a_tenant(server))
    a_service(a_product("Other"), client=a_client("Other"))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill()
    assert Parked.objects.get(service=spoiled).reason.startswith("Mailboxes of Business Web cannot be rated: brackets")
    assert Invoice.objects.count() == 1


# M14, M15, M16: prices that change around a bill


def test_a_line_states_the_prices_that_it_was_rated_by(server, product):
    """M14: its own copy, and the version that it came from."""
    version = priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), included="1")
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=12))
    bill()
    [line] = usage_lines()
    assert line.version == version
    assert line.pricing["version"] == 1
    assert line.pricing["brackets"] == [
        {"start": "0", "unit_price": "2", "flat_fee": "0"},
        {"start": "10", "unit_price": "1", "flat_fee": "0"},
    ]


def another_version(setting, price, today="2026-11-01"):
    day = date.fromisoformat(today)
    sheet = setting.version_on(day).sheet
    rows = {
        currency: type(pricing)(pricing.scheme, tuple(type(row)(row.start, Decimal(price)) for row in pricing.brackets))
        for currency, pricing in sheet.pricings.items()
    }
    return add_version(
        setting=setting,
        sheet=Sheet(sheet.unit, rows),
        effective_from=date(2026, 9, 1),
        today=day,
        by=a_staff_user(),
        reason="a mistake in the price",
    )


def test_a_price_that_is_changed_after_the_preview_is_billed_as_it_then_is_and_the_line_says_so(server, product):
    """M15: between the preview and the run."""
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"), scheme="per_unit")
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    preview = bill(dry_run=True)
    another_version(setting, "3")
    bill()
    [line] = usage_lines()
    assert [document.total for document in preview.documents] == [34]
    assert (line.amount, line.version.number, line.pricing["version"]) == (15, 2, 2)


def test_a_price_that_is_changed_during_a_run_is_for_the_next(server, product, monkeypatch):
    """M15: one run has one set of prices, whatever is saved between its batches."""
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"), scheme="per_unit")
    for number in range(2):
        a_service(product, client=a_client(f"Client {number}"), tenant=a_tenant(server, f"t{number}"))
    collected(server, "2026-11-01 06:00", *(tenant_says(f"t{number}", mailboxes=5) for number in range(2)))
    bill_batch, saved = billing.bill_batch, []

    def edited_between(*arguments, **rest):
        done = bill_batch(*arguments, **rest)
        saved.append(another_version(setting, "3")) if not saved else None
        return done

    monkeypatch.setattr(billing, "bill_batch", edited_between)
    monkeypatch.setattr(billing, "BATCH", 1)
    bill()
    assert len(saved) == 1
    assert [(line.amount, line.version.number) for line in usage_lines()] == [(10, 1), (10, 1)]


def test_a_version_that_something_was_billed_by_cannot_be_deleted(server, product):
    """M16"""
    version = priced(a_setting(product, MAILBOXES), ("0", "2"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill()
    for used in (version, version.setting, version.setting.metric, product):
        with pytest.raises(ProtectedError):
            used.delete()


# M17: more than any invoice may state


#: More than this no amount may state.
MOST = Decimal(10**12) - 1


def test_a_charge_beyond_all_bounds_parks_its_service_and_says_why(server, product):
    """M17: neither an error of the database nor a number that is cut."""
    priced(a_setting(product, MAILBOXES), ("0", str(MOST)))
    huge = a_service(product, tenant=a_tenant(server))
    a_service(a_product("Other"), client=a_client("Other"))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=10**14))
    bill()
    assert "comes to 1.000E+26, more than any invoice may state" in Parked.objects.get(service=huge).reason
    assert Invoice.objects.count() == 1


def test_lines_that_only_together_are_beyond_all_bounds_park_their_service(server, product):
    """M17"""
    for declared in (MAILBOXES, EMAILS):
        priced(a_setting(product, declared), ("0", str(MOST)), scheme="per_unit")
    huge = a_service(product, tenant=a_tenant(server))
    a_service(a_product("Other"), client=a_client("Other"))
    collected(server, "2026-10-31 06:00", tenant_says("alice", mailboxes=1, emails=1))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=1, emails=0))
    bill()
    assert "more than any invoice may state" in Parked.objects.get(service=huge).reason
    assert Invoice.objects.count() == 1


def test_services_that_only_together_are_beyond_all_bounds_have_an_invoice_each(server):
    """M17: of one client, due on one day."""
    product, client = a_product(price=str(MOST)), a_client()
    for _ in range(2):
        a_service(product, client=client)
    bill()
    assert [invoice.total for invoice in Invoice.objects.all()] == [MOST, MOST]
    assert not Parked.objects.exists()


# M20: somebody else's decimal context


def a_whole_month(server, product):
    """A service with a metric of every kind, in numbers of many digits."""
    priced(a_setting(product, MAILBOXES), ("0", "2.123456"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, DISK), ("0", "0.987654321"), notation="above", aggregation="mean")
    priced(a_setting(product, TRAFFIC), ("0", "1.25"), included="10", notation="above")
    priced(a_setting(product, EMAILS), ("0", "0.40"), scheme="package", package_size=Decimal(1000), included="5000")
    priced(a_setting(product, ROWS), ("0", "0.000123456789"), scheme="volume")
    service = a_service(product, tenant=a_tenant(server))
    for day in range(1, 32):
        used = {"disk": day * GB + 123_456, "mailboxes": 20 + day, "emails": 1234 * day, "rows": 98_765 * day}
        traffic = Decimal("1.234567891") * day * GB
        collected(server, f"2026-10-{day:02} 12:00", tenant_says("alice", traffic=traffic.to_integral_value(), **used))
    collected(
        server,
        "2026-11-01 06:00",
        tenant_says("alice", disk=GB, mailboxes=51, emails=1, rows=98_765 * 32, traffic=0),
    )
    return service


def test_an_invoice_does_not_depend_on_the_decimal_context(server, product):
    """M20: a library that changes it for all changes no amount and no word, neither there nor on the panel."""
    service = a_whole_month(server, product)

    def everything():
        [document] = bill(dry_run=True).documents
        with panel():
            shown = statistics.of_service(service, at=at("2026-11-01 07:00"))
        panels = [Panel(each) for each in shown]
        metrics = [(each.figures.amount, each.reason, each.price, each.meter) for each in panels]
        return document.total, [said_of(draft.lines) for draft in document.drafts], metrics

    usual = everything()
    with localcontext(Context(prec=3, rounding=ROUND_UP)):
        assert everything() == usual


# I13, I14, I16, I19, I32


def test_what_is_unbilled_when_a_product_changes_is_priced_by_the_old_one(server, product):
    """I13: the change is a boundary, at which the old product is billed to date."""
    for declared in (MAILBOXES, TRAFFIC):
        priced(a_setting(product, declared), ("0", "2"), notation="above")
    other = a_product("Bigger")
    for declared in (MAILBOXES, TRAFFIC):
        priced(a_setting(other, declared), ("0", "3"), notation="above")
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 12:00", tenant_says("alice", traffic=7 * GB))
    with panel(says(tenant_says("alice", mailboxes=5, traffic=1 * GB))):
        change(service=service, at=at("2026-11-01 06:00"), product=other)
    bill()
    assert sorted(line.amount for line in usage_lines()) == [10, 14 + 2]
    collected(server, "2026-11-30 12:00", tenant_says("alice", traffic=4 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", mailboxes=5, traffic=0))
    bill("2026-12-01")
    assert sorted(line.amount for line in usage_lines()) == [9, 10, 15, 14 + 2]


def test_a_service_that_moved_to_another_tenant_is_billed_for_no_period_twice(server, product):
    """I14: nor is a period of the tenant before left out."""
    priced(a_setting(product, EMAILS), ("0", "1"), scheme="per_unit")
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 12:00", tenant_says("alice", emails=5))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill()
    service.refresh_from_db()
    with panel(says(tenant_says("alice", emails=2))):
        change(service=service, at=at("2026-11-16 12:00"), tenant=a_tenant(server, "moved"))
    collected(server, "2026-11-30 12:00", tenant_says("moved", emails=7), tenant_says("alice", emails=50))
    collected(server, "2026-12-01 06:00", tenant_says("moved", emails=0), tenant_says("alice", emails=0))
    bill("2026-12-01")
    assert [line.amount for line in usage_lines()] == [5, 2, 7]


def test_days_without_a_value_count_as_nothing_and_the_others_are_summed(server, product):
    """I16"""
    priced(a_setting(product, EMAILS), ("0", "1"), scheme="per_unit")
    a_service(product, tenant=a_tenant(server))
    for day, sent in (("03", 5), ("04", 6), ("20", 7)):
        collected(server, f"2026-10-{day} 23:00", tenant_says("alice", emails=sent))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill()
    [line] = usage_lines()
    assert (line.quantity, line.amount) == (18, 18)
    assert [str(period.start) for period in line.periods.all()] == ["2026-10-03", "2026-10-04", "2026-10-20"]


def test_a_preview_says_just_what_the_run_then_issues(server, product):
    """I32: every line, word for word, of every kind of metric."""
    a_whole_month(server, product)
    [document] = bill(dry_run=True).documents
    assert not Invoice.objects.exists()
    bill()
    lines = [line for draft in document.drafts for line in draft.lines]
    assert said_of(Line.objects.order_by("position")) == said_of(lines)
    assert Invoice.objects.get().total == document.total
