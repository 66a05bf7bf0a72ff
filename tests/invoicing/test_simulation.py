"""What a simulation says that a draft would change: worked by hand, and held against what was really billed."""

import random
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import InternalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.models import Client, EnabledSpan, MetricSetting
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet
from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.models import InvoicingSpan, Line
from invoicing.simulation import rating, table
from invoicing.simulation.rating import rated
from invoicing.simulation.summary import Summary
from invoicing.simulation.terms import months_with_usage
from invoicing.termination import terminate
from metering.models import Usage
from metering.periods import Period, day, month
from metering.providers.base import MetricType
from metering.units import MB
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    METRICS,
    TRAFFIC,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    agreed,
    at,
    collected,
    panel,
    partitions,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 19)


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    return a_product()


def used(tenant, declared, **values):
    """Store usage by the day on which its period begins, `d2026_10_31=25`."""
    metric = a_metric(declared)
    for name, value in values.items():
        start = date(*map(int, name[1:].split("_")))
        period = month(start) if metric.type == MetricType.MONTH else day(start)
        partitions.ensure([start])
        Usage.objects.create(
            tenant_id=tenant.pk,
            metric_id=metric.pk,
            start=period.start,
            end=period.end,
            value=value,
            collection_id=1,
        )


def a_sheet(*brackets, unit=MAILBOXES.unit, currency="USD", scheme=Scheme.GRADUATED, included="0", **how):
    """A draft with these (start, unit price) brackets."""
    rows = tuple(Bracket(Decimal(start), Decimal(price)) for start, price in brackets)
    pricing = Pricing(scheme, rows, Decimal(included), Notation.FIRST_UNIT if unit.is_whole else Notation.ABOVE)
    return Sheet(unit, {currency: pricing}, **how)


def fetched(product, declared):
    return MetricSetting.objects.with_pricing().get(product=product, metric=a_metric(declared))


def simulated(product, declared, sheet, first="2026-01", last="2026-12", today=TODAY):
    """The lines of all terms that ended from the first to the last month."""
    months = Period(date.fromisoformat(f"{first}-01"), month(date.fromisoformat(f"{last}-01")).end)
    batches = rated(setting=fetched(product, declared), sheet=sheet, months=months, today=today)
    return [line for batch in batches for line in batch.lines]


def table_of(lines):
    """By the last day of each term: what was paid and what would be, None where nothing is charged."""
    return [
        (str(line.term.last), *(each.amount if each else None for each in (line.before, line.after))) for line in lines
    ]


def outcome(lines):
    summary = Summary()
    summary.add(lines)
    (one,) = summary.outcomes
    return one


# Worked by hand


def test_a_level_is_rated_by_both_prices_with_its_last_value_in_each_term(server, product):
    """25 mailboxes: 9 × 2 + 10 × 1 + 6 × 0.50 = 31, and 25 × 1.20 = 30. 4 mailboxes: 8 and 4.80."""
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-09-15")
    used(tenant, MAILBOXES, d2026_10_01=90, d2026_10_15=25, d2026_11_10=4, d2026_11_16=70)
    lines = simulated(product, MAILBOXES, a_sheet(("0", "1.20")))
    assert table_of(lines) == [("2026-10-14", 31, 30), ("2026-11-14", 8, Decimal("4.80"))]
    one = outcome(lines)
    assert (one.total.before, one.total.after, one.total.difference) == (39, Decimal("34.80"), Decimal("-4.20"))
    assert one.total.share_words == "−10.8%"


def test_the_months_of_a_quarter_are_summed_or_rated_each_as_the_draft_says(server, product):
    """9, 12 and 0.5 GB with 10 included at 1.00: 21.5 − 10 = 11.50 in one sum, 12 − 10 = 2 month by month."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-07-01", cycle=Cycle.QUARTERLY)
    used(tenant, TRAFFIC, d2026_07_01=9 * GB, d2026_08_01=12 * GB, d2026_09_01=GB / 2, d2026_10_01=7 * GB)
    sheet = a_sheet(("0", "1"), unit=TRAFFIC.unit, included="10", periods=Periods.EACH)
    assert table_of(simulated(product, TRAFFIC, sheet)) == [("2026-09-30", Decimal("11.50"), 2)]


def test_a_month_belongs_to_the_term_in_which_it_closed(server, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-08-20")
    used(tenant, TRAFFIC, d2026_08_01=1 * GB, d2026_09_01=2 * GB, d2026_10_01=3 * GB, d2026_11_01=4 * GB)
    lines = simulated(product, TRAFFIC, a_sheet(("0", "2"), unit=TRAFFIC.unit))
    assert table_of(lines) == [("2026-09-19", 1, 2), ("2026-10-19", 2, 4)]


def test_days_are_priced_by_the_version_in_force_when_they_began_each_rounded_as_its_own_line(server, product):
    """3 × 0.005 and 5 × 0.005 come to 0.015 and 0.025, so to 0.02 and 0.03; 8 × 0.005 in one sum to 0.04."""
    setting = a_setting(product, EMAILS)
    priced(setting, ("0", "0.005"))
    priced(setting, ("0", "0.005"), effective_from="2026-10-10")
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-10-01")
    used(tenant, EMAILS, d2026_10_08=1, d2026_10_09=2, d2026_10_10=4, d2026_10_31=1, d2026_11_01=100)
    (line,) = simulated(product, EMAILS, a_sheet(("0", "0.005"), unit=EMAILS.unit))
    assert (line.before.amount, line.after.amount) == (Decimal("0.05"), Decimal("0.04"))
    assert (line.before.quantity, line.after.quantity) == (8, 8)


@pytest.mark.parametrize(("how", "quantity"), [("peak", 9), ("mean", 4), ("time_weighted", 4), ("p95", 9), ("days", 0)])
def test_the_draft_decides_how_the_days_of_a_level_become_a_quantity(server, product, how, quantity):
    """9, 2 and 1 of three days of thirty-one: the mean is 4, the sum over all days 12 ÷ 31, rounded to 0."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-10-01")
    used(tenant, MAILBOXES, d2026_10_29=9, d2026_10_30=2, d2026_10_31=1, d2026_11_01=50)
    (line,) = simulated(product, MAILBOXES, a_sheet(("0", "1"), aggregation=Aggregation(how)))
    assert (line.before.quantity, line.after.quantity) == (50, quantity)


def test_a_level_that_was_measured_on_the_last_day_alone_counts_as_the_last_value_only(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-10-01")
    used(tenant, MAILBOXES, d2026_11_01=50)
    lines = simulated(product, MAILBOXES, a_sheet(("0", "1"), aggregation=Aggregation.PEAK))
    assert table_of(lines) == [("2026-10-31", 50, None)]


def test_quantities_are_compared_in_the_unit_of_each_price(server, product):
    """1,500 MB are 1.5 GB: 1.50 at 1.00 per GB, and 3 × 0.60 in packages of 500 MB."""
    priced(a_setting(product, DISK), ("0", "1"), notation="above")
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-10-01")
    used(tenant, DISK, d2026_10_31=3 * GB / 2)
    pricing = Pricing(Scheme.PACKAGE, (Bracket(Decimal(0), Decimal("0.60")),), package_size=Decimal(500))
    (line,) = simulated(product, DISK, Sheet(MB, {"USD": pricing}))
    assert (line.before.quantity, str(line.before.unit), line.before.amount) == (Decimal("1.5"), "GB", Decimal("1.5"))
    assert (line.after.quantity, str(line.after.unit), line.after.amount) == (1500, "MB", Decimal("1.8"))


def test_terms_belong_to_the_month_of_their_last_day_and_only_those_that_are_over_count(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-08-01")
    used(tenant, MAILBOXES, d2026_08_31=1, d2026_09_30=2, d2026_10_31=3, d2026_11_05=4)
    sheet = a_sheet(("0", "1"))
    assert [line.before.amount for line in simulated(product, MAILBOXES, sheet, "2026-09", "2026-10")] == [2, 3]
    assert [line.before.amount for line in simulated(product, MAILBOXES, sheet, "2026-11", "2026-12")] == []
    assert [change.before for _, change in outcome(simulated(product, MAILBOXES, sheet)).months] == [1, 2, 3]


# Whose terms


def test_what_was_agreed_for_a_service_applies_to_the_draft_too(server, product):
    """20 mailboxes: 5 included and half off leave 7.50; of the draft at 2.00, 15.00."""
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"))
    tenant = a_tenant(server)
    service = a_service(product, tenant=tenant, anchor="2026-09-01")
    agreed(service, setting, start="2026-10-01", included="5", discount="50")
    used(tenant, MAILBOXES, d2026_09_30=20, d2026_10_31=20)
    lines = simulated(product, MAILBOXES, a_sheet(("0", "2")))
    assert table_of(lines) == [("2026-09-30", 20, 40), ("2026-10-31", Decimal("7.5"), 15)]


def test_what_was_used_while_the_metric_was_off_costs_nothing_before_but_by_the_draft(server, product):
    setting = a_setting(product, TRAFFIC, enabled_from=None)
    EnabledSpan.objects.create(setting=setting, start=date(2026, 1, 1), end=date(2026, 9, 20))
    EnabledSpan.objects.create(setting=setting, start=date(2026, 9, 25))
    priced(setting, ("0", "1"), notation="above")
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-08-01")
    used(tenant, TRAFFIC, d2026_08_01=1 * GB, d2026_09_01=2 * GB, d2026_10_01=4 * GB)
    lines = simulated(product, TRAFFIC, a_sheet(("0", "1"), unit=TRAFFIC.unit))
    assert table_of(lines) == [("2026-08-31", 1, 1), ("2026-09-30", None, 2), ("2026-10-31", 4, 4)]
    InvoicingSpan.objects.update(start=date(2026, 8, 2))
    lines = simulated(product, TRAFFIC, a_sheet(("0", "1"), unit=TRAFFIC.unit))
    assert table_of(lines)[0] == ("2026-08-31", None, 1)


def test_a_metric_that_never_had_a_price_has_no_before(server, product):
    a_service(product, tenant=a_tenant(server), anchor="2026-10-01")
    used(a_tenant(server), MAILBOXES, d2026_10_31=20)
    setting = MetricSetting(product=product, metric=a_metric(MAILBOXES))
    months = Period(date(2026, 10, 1), date(2026, 11, 1))
    (batch,) = rated(setting=setting, sheet=a_sheet(("0", "2")), months=months, today=TODAY)
    assert table_of(batch.lines) == [("2026-10-31", None, 40)]
    one = outcome(batch.lines)
    assert [(group.words, group.clients) for group in one.groups if group.clients] == [("Nothing before", 1)]


def test_a_terminated_service_counts_for_its_time_with_the_part_of_its_last_term(server, product):
    setting = a_setting(product, EMAILS)
    priced(setting, ("0", "1"))
    priced(a_setting(product, MAILBOXES), ("0", "1"), aggregation="days")
    tenant = a_tenant(server)
    values = {"status": "terminated", "terminated_on": date(2026, 10, 20), "next_term": 2}
    a_service(product, tenant=tenant, anchor="2026-09-01", **values)
    used(tenant, EMAILS, d2026_09_30=1, d2026_10_01=2, d2026_10_20=4, d2026_10_21=8)
    used(tenant, MAILBOXES, d2026_09_30=30, d2026_10_19=31, d2026_10_20=31)
    assert table_of(simulated(product, EMAILS, a_sheet(("0", "2"), unit=EMAILS.unit))) == [
        ("2026-09-30", 1, 2),
        ("2026-10-20", 6, 12),
    ]
    assert table_of(simulated(product, MAILBOXES, a_sheet(("0", "2")))) == [
        ("2026-09-30", 1, 60),
        ("2026-10-20", 1, 62),
    ]


def test_what_the_last_invoice_of_an_earlier_service_has_billed_is_not_counted_again(server, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    tenant = a_tenant(server)
    first = a_service(product, tenant=tenant, anchor="2026-09-01", status="terminated", terminated_on=date(2026, 10, 5))
    second = a_service(product, tenant=tenant, anchor="2026-10-05")
    used(tenant, TRAFFIC, d2026_09_01=1 * GB, d2026_10_01=2 * GB)
    lines = simulated(product, TRAFFIC, a_sheet(("0", "1"), unit=TRAFFIC.unit), today=date(2026, 12, 31))
    assert [(line.service.pk, line.before.amount) for line in lines] == [(first.pk, 1), (first.pk, 2)]
    used(tenant, TRAFFIC, d2026_11_01=4 * GB)
    lines = simulated(product, TRAFFIC, a_sheet(("0", "1"), unit=TRAFFIC.unit), today=date(2026, 12, 31))
    assert [(line.service.pk, line.before.amount) for line in lines][2:] == [(second.pk, 4)]


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_a_service_that_does_not_run_does_not_count(server, product, status):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server), status=status)
    a_service(product, tenant=None)
    used(a_tenant(server), MAILBOXES, d2026_10_31=25)
    assert simulated(product, MAILBOXES, a_sheet(("0", "1"))) == []


# What cannot be priced


def test_a_client_without_a_price_in_its_currency_is_named_and_never_counted_as_nothing(server, product):
    version = priced(a_setting(product, MAILBOXES), ("0", "1"))
    version.prices.create(currency="EUR", start=0, unit_price=Decimal("0.9"))
    for name, currency in (("Moe", "USD"), ("Kaffehaus", "EUR")):
        tenant = a_tenant(server, name)
        a_service(product, a_client(name, currency), tenant, anchor="2026-10-01")
        used(tenant, MAILBOXES, d2026_10_31=10)
    summary = Summary()
    summary.add(simulated(product, MAILBOXES, a_sheet(("0", "2"))))
    dollars, euros = summary.outcomes
    assert (dollars.total.before, dollars.total.after, len(dollars.unpriced)) == (10, 20, 0)
    assert (euros.total.before, euros.total.after, euros.months) == (0, 0, [])
    assert [client.name for client in euros.unpriced] == ["Kaffehaus"]
    assert euros.unpriced_amount == 9
    assert (euros.more, euros.less, euros.same, euros.most) == ([], [], 0, [])


def test_what_was_not_priced_before_counts_as_nothing_paid(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    tenant = a_tenant(server)
    a_service(product, a_client("Kaffehaus", "EUR"), tenant, anchor="2026-10-01")
    used(tenant, MAILBOXES, d2026_10_31=10)
    lines = simulated(product, MAILBOXES, a_sheet(("0", "2"), currency="EUR"))
    assert table_of(lines) == [("2026-10-31", None, 20)]
    assert "there was no price" in list(table.written([lines]))[1]


def test_prices_agreed_in_another_currency_cannot_be_put_upon_the_draft(server, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"))
    tenant = a_tenant(server)
    service = a_service(product, tenant=tenant, anchor="2026-10-01")
    agreed(service, setting, ("0", "1"), currency="EUR")
    used(tenant, MAILBOXES, d2026_10_31=10)
    (line,) = simulated(product, MAILBOXES, a_sheet(("0", "2")))
    assert line.is_unpriced


# Winners and losers


def test_clients_are_counted_and_grouped_by_what_they_pay_more_or_less(server, product):
    """1 per unit before; 10 units free and 2 for each above: of 20 nothing changes, of 5 all is saved, of 40 half
    as much again is paid."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for number, count in enumerate([5, 19, 20, 21, 40]):
        tenant = a_tenant(server, f"tenant-{count}")
        a_service(product, a_client(f"Client {number}"), tenant, anchor="2026-10-01")
        used(tenant, MAILBOXES, d2026_10_31=count)
    one = outcome(simulated(product, MAILBOXES, a_sheet(("0", "2"), included="10")))
    assert (one.total.before, one.total.after) == (105, 0 + 18 + 20 + 22 + 60)
    assert ([client.before for client in one.more], one.gain) == ([21, 40], 21)
    assert ([client.before for client in one.less], one.loss, one.same) == ([5, 19], -6, 1)
    assert [(group.words, group.clients, group.difference, group.bar) for group in one.groups if group.clients] == [
        ("Less by over 50%", 1, -5, 100),
        ("Less by 5 to 10%", 1, -1, 100),
        ("The same", 1, 0, 100),
        ("More by up to 5%", 1, 1, 100),
        ("More by 20 to 50%", 1, 20, 100),
    ]
    assert [(client.name, client.difference, client.share_words) for client in one.most] == [
        ("Client 4", 20, "+50%"),
        ("Client 0", -5, "−100%"),
        ("Client 1", -1, "−5.3%"),
        ("Client 3", 1, "+4.8%"),
    ]


def test_the_services_of_a_client_are_one_change(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    client = a_client()
    for name, count in (("few", 5), ("many", 15)):
        tenant = a_tenant(server, name)
        a_service(product, client, tenant, anchor="2026-10-01")
        used(tenant, MAILBOXES, d2026_10_31=count)
    one = outcome(simulated(product, MAILBOXES, a_sheet(("0", "2"), included="10")))
    assert [(client.before, client.after, len(client.services)) for client in one.clients] == [(20, 10, 2)]


def test_the_ten_that_change_most_are_listed_in_either_direction(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for count in range(1, 15):
        tenant = a_tenant(server, f"tenant-{count}")
        a_service(product, a_client(f"Client {count}"), tenant, anchor="2026-10-01")
        used(tenant, MAILBOXES, d2026_10_31=count)
    one = outcome(simulated(product, MAILBOXES, a_sheet(("0", "0"), ("8", "4"))))
    assert [client.difference for client in one.most] == [14, 11, 8, -7, -6, 5, -5, -4, -4, -3]


# The same as the invoices


THIRD = Decimal("333333333.333333")
AGGREGATIONS = [each.value for each in Aggregation]
DAYS = [date(2026, 8, 25) + timedelta(days=number) for number in range(100)]
ANCHORS = ["2026-08-31", "2026-09-15", "2026-09-01"]


def versions_and_overrides(setting, services, chance):
    """Three versions and some overrides, at random."""
    for effective_from in ("2020-01-01", *sorted(str(chance.choice(DAYS)) for _ in range(2))):
        priced(
            setting,
            ("0", f"{chance.uniform(0.1, 3):.4f}"),
            (str(chance.randint(20, 30)), f"{chance.uniform(0.1, 3):.4f}"),
            scheme=chance.choice(["graduated", "volume"]),
            included=str(chance.choice([0, 5])),
            effective_from=effective_from,
            aggregation=chance.choice(AGGREGATIONS),
            periods=chance.choice(list(Periods)),
            price_at=chance.choice(list(PriceAt)),
        )
    for service in chance.sample(services, 2):
        start = chance.choice(DAYS[10:70])
        agreed(
            service,
            setting,
            *chance.choice([[], [("0", f"{chance.uniform(0.1, 3):.4f}"), ("9", "0.5")]]),
            start=str(start),
            end=str(start + timedelta(days=chance.randint(5, 50))),
            included=chance.choice([None, "3"]),
            discount=f"{chance.uniform(1, 60):.2f}",
        )


def collected_and_billed(server, services, chance):
    """Collect on most days, and bill at every renewal."""
    due = {date(2026, 9, 30), date(2026, 10, 15), date(2026, 10, 1), date(2026, 10, 31), date(2026, 11, 15)}
    due |= {date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1)}
    rows = 1000
    for today in DAYS:
        if today in due or today + timedelta(days=1) in due or chance.random() < 0.4:
            rows += chance.randint(0, 40)
            values = [
                tenant_says(
                    service.name,
                    disk=chance.randint(1, 40) * THIRD,
                    mailboxes=chance.randint(0, 40),
                    emails=chance.randint(0, 9),
                    traffic=chance.randint(1, 60) * THIRD,
                    rows=rows,
                )
                for service in services
            ]
            collected(server, f"{today} 06:00", *values, accept_changes=True)
        if today in due:
            with panel(says()):
                assert not create_invoices(on=today, at=at(f"{today} 07:00")).waiting


def billed(setting):
    """What was billed of a metric, by service and by the day on which the term ended."""
    found = defaultdict(Decimal)
    for line in Line.objects.filter(setting=setting).select_related("invoice").prefetch_related("invoice__claims"):
        (claim,) = line.invoice.claims.all()
        found[line.service_id, claim.term_start] += line.amount
    return dict(found)


@pytest.mark.parametrize("seed", range(5))
def test_before_is_what_was_really_billed_whatever_was_in_force(server, product, seed):
    """Monthly services with three anchors, five metrics of all types, versions and overrides at random."""
    chance = random.Random(seed)
    services = [
        a_service(product, a_client(anchor), a_tenant(server, anchor), anchor=anchor, next_term=1) for anchor in ANCHORS
    ]
    settings = [a_setting(product, declared) for declared in METRICS]
    for setting in settings:
        versions_and_overrides(setting, services, chance)
    collected_and_billed(server, services, chance)
    for declared, setting in zip(METRICS, settings, strict=True):
        lines = simulated(
            product, declared, setting.versions.first().sheet, "2026-08", "2026-11", today=date(2026, 12, 2)
        )
        before = {(line.service.pk, line.term.end): line.before.amount for line in lines if line.before}
        assert before == billed(setting), declared.system_name
        assert len(before) > 6


@pytest.mark.parametrize("seed", range(3))
def test_the_last_levels_are_the_same_whether_all_days_are_read_or_only_the_last(server, product, monkeypatch, seed):
    chance = random.Random(seed)
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for anchor in (*ANCHORS, "2026-10-07"):
        tenant = a_tenant(server, anchor)
        a_service(product, tenant=tenant, anchor=anchor, cycle=chance.choice([Cycle.MONTHLY, Cycle.QUARTERLY]))
        for today in chance.sample(DAYS, 9):
            used(tenant, MAILBOXES, **{f"d{today:%Y_%m_%d}": chance.randint(0, 40)})
    of_last = simulated(product, MAILBOXES, a_sheet(("0", "2")), today=DAYS[-1])
    monkeypatch.setattr(rating._Simulation, "is_last_enough", False)
    assert of_last == simulated(product, MAILBOXES, a_sheet(("0", "2")), today=DAYS[-1])
    assert of_last


@pytest.mark.parametrize("declared", METRICS, ids=lambda declared: declared.system_name)
def test_the_price_that_is_in_force_changes_nothing_as_a_draft(server, product, declared):
    setting = a_setting(product, declared)
    priced(setting, ("0", "1.37"), ("7", "0.61"), notation="above", included="2", aggregation="p95", periods="each")
    service = a_service(product, tenant=a_tenant(server), anchor="2026-09-10")
    agreed(service, setting, start="2026-10-03", discount="7")
    for today in ("2026-09-29", "2026-09-30", "2026-10-08", "2026-10-09", "2026-10-10", "2026-11-09", "2026-11-10"):
        number = int(today[-2:])
        values = {"disk": number * GB, "mailboxes": number, "emails": number, "traffic": number * GB, "rows": number}
        collected(server, f"{today} 06:00", tenant_says("alice", **values))
    lines = simulated(product, declared, fetched(product, declared).versions.all()[0].sheet)
    assert lines
    assert [line.before for line in lines] == [line.after for line in lines]
    assert any(line.paid for line in lines)


@pytest.mark.parametrize("on", ["2026-11-01", "2026-11-19"])
@pytest.mark.parametrize("is_renewed", [True, False])
def test_the_last_invoice_of_a_service_is_the_before_of_its_last_part(server, product, on, is_renewed):
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"), notation="above", aggregation="mean")
    service = a_service(product, tenant=a_tenant(server))
    for today in ("2026-10-20", "2026-10-31", "2026-11-01", "2026-11-18"):
        if today <= on:
            values = {"mailboxes": int(today[-2:]), "emails": int(today[-2:]), "traffic": int(today[-2:]) * GB}
            collected(server, f"{today} 06:00", tenant_says("alice", **values))
    with panel(says(tenant_says("alice", mailboxes=7, emails=11, traffic=99 * GB))):
        if is_renewed:
            create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
        service.refresh_from_db()
        terminate(service=service, on=date.fromisoformat(on), at=at(f"{on} 12:00"))
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        lines = simulated(product, declared, a_sheet(("0", "1"), unit=declared.unit))
        amounts = Line.objects.filter(setting__metric=a_metric(declared)).values_list("amount", flat=True)
        assert sorted(line.before.amount for line in lines if line.before) == sorted(amounts), declared.system_name


def test_a_termination_on_a_day_on_which_the_metric_is_off_bills_nothing_here_and_there(server, product):
    setting = a_setting(product, EMAILS)
    priced(setting, ("0", "1"))
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", emails=3))
    setting.enabled_spans.update(end=date(2026, 11, 19))
    with panel(says(tenant_says("alice", emails=4))):
        terminate(service=service, on=date(2026, 11, 19), at=at("2026-11-19 12:00"))
    assert not Line.objects.exists()
    assert table_of(simulated(product, EMAILS, a_sheet(("0", "1"), unit=EMAILS.unit))) == [("2026-11-19", None, 7)]


# Nothing written, and in few queries


def test_nothing_can_be_written_while_it_runs(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    months = Period(date(2026, 10, 1), date(2026, 11, 1))
    batches = rated(setting=fetched(product, MAILBOXES), sheet=a_sheet(("0", "1")), months=months, today=TODAY)
    next(batches)
    with pytest.raises(InternalError, match="read-only transaction"), transaction.atomic():
        Client.objects.create(name="new", currency="USD")
    batches.close()
    Client.objects.create(name="new", currency="USD")


def test_a_batch_takes_the_same_queries_whatever_its_services(server, product, monkeypatch):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"))
    counts = {}
    for batch, several in ((5, 5), (10, 5), (10, 10), (30, 0)):
        for number in range(several):
            tenant = a_tenant(server, f"{batch}-{several}-{number}")
            service = a_service(product, tenant=tenant, anchor="2026-08-01")
            agreed(service, setting, start="2026-09-01", included="1")
            used(tenant, MAILBOXES, d2026_08_31=1, d2026_10_31=2)
        monkeypatch.setattr(rating, "BATCH", batch)
        draft, found = a_sheet(("0", "1")), fetched(product, MAILBOXES)
        with CaptureQueriesContext(connection) as captured:
            lines = list(rated(setting=found, sheet=draft, months=Period(*YEAR), today=TODAY))
        counts[batch, several] = (len(lines), len(captured))
    # 5 services in one batch, 10 in one, 20 in two, 20 in one
    assert [batches for batches, _ in counts.values()] == [1, 1, 2, 1]
    assert counts[5, 5][1] == counts[10, 5][1] == counts[30, 0][1]
    assert counts[10, 10][1] == counts[5, 5][1] + 3  # usage, overrides, their prices


YEAR = date(2026, 1, 1), date(2027, 1, 1)


def test_it_says_how_many_services_are_done(server, product, monkeypatch):
    monkeypatch.setattr(rating, "BATCH", 2)
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for name in "abc":
        a_service(product, tenant=a_tenant(server, name))
    batches = rated(setting=fetched(product, MAILBOXES), sheet=a_sheet(("0", "1")), months=Period(*YEAR), today=TODAY)
    assert [(batch.done, batch.of) for batch in batches] == [(2, 3), (3, 3)]


def test_the_months_to_choose_from_are_those_with_usage_of_the_product(server, product):
    other = a_product("Other")
    a_service(product, tenant=a_tenant(server), anchor="2026-06-15")
    a_service(other, tenant=a_tenant(server, "bob"), anchor="2026-06-15")
    used(a_tenant(server), MAILBOXES, d2026_08_31=1, d2026_10_01=2, d2026_12_01=3)
    used(a_tenant(server, "bob"), MAILBOXES, d2026_07_31=1)
    used(a_tenant(server), EMAILS, d2026_09_30=1)
    found = months_with_usage(product, a_metric(MAILBOXES), TODAY)
    assert [str(first) for first in found] == ["2026-10-01", "2026-08-01"]
    assert months_with_usage(a_product("Nobody's"), a_metric(MAILBOXES), TODAY) == []


# The table for a spreadsheet


def test_the_table_has_a_row_for_each_service_and_term(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    tenant = a_tenant(server)
    a_service(product, tenant=tenant, anchor="2026-10-01")
    used(tenant, MAILBOXES, d2026_10_31=25)
    head, row = table.written([simulated(product, MAILBOXES, a_sheet(("0", "1.20")))])
    assert dict(zip(head.strip().split(","), row.strip().split(","), strict=True)) == {
        "client": "Lindqvist & Moe",
        "service": "alice",
        "tenant": "alice",
        "term start": "2026-10-01",
        "term end": "2026-11-01",
        "currency": "USD",
        "quantity before": "25",
        "unit before": "mailboxes",
        "amount before": "31.00",
        "quantity after": "25",
        "unit after": "mailboxes",
        "amount after": "30.00",
        "difference": "-1.00",
        "note": "",
    }


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_name_never_becomes_a_formula(name):
    assert table.as_text(name) == f"'{name}"
    assert table.as_text("plain = fine") == "plain = fine"
