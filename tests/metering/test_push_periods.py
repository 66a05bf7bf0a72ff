"""Which period a pushed line is for, closed and corrected periods, how fresh that is, and counters."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from catalog.models import MetricSetting
from invoicing import billing
from invoicing.models import Invoice
from metering import collection, collectors
from metering.correcting import correct
from metering.models import Collection, Latest, Metric, Reading, Restated, Tenant
from tests.builders import a_product, a_service, at, priced
from tests.metering.pushed import NOW, a_push_server, errors, pushed, usage

pytestmark = pytest.mark.django_db

GB = Decimal(10**9)
SNAPSHOT = {"tenant": "alice", "metric": "disk", "value": "5"}
MONTH = {"tenant": "alice", "metric": "bandwidth", "value": "7"}
DAY = {"tenant": "alice", "metric": "emails", "value": "40"}
COUNT = {"tenant": "alice", "metric": "calls"}


@pytest.fixture
def server():
    return a_push_server(time_zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("line", "start"),
    [
        (SNAPSHOT, "2026-11-20"),
        (MONTH, "2026-11-01"),
        ({**SNAPSHOT, "time": "2026-11-18T22:59:59Z"}, "2026-11-18"),
        ({**SNAPSHOT, "time": "2026-11-18T23:00:00Z"}, "2026-11-19"),
        ({**MONTH, "time": "2026-10-31T22:59:59Z"}, "2026-10-01"),
        ({**MONTH, "time": "2026-10-31T23:00:00Z"}, "2026-11-01"),
        ({**DAY, "period": "2026-11-18"}, "2026-11-18"),
        ({**MONTH, "period": "2026-10"}, "2026-10-01"),
        ({**SNAPSHOT, "time": "2026-11-20T12:05:00Z"}, "2026-11-20"),
    ],
)
def test_a_line_belongs_to_the_day_or_month_of_its_server(server, line, start):
    assert errors(pushed(server, line)) == []
    assert list(usage(server, line["metric"])) == [start]


def test_a_clock_a_little_ahead_does_not_reach_into_tomorrow(server):
    pushed(server, {**SNAPSHOT, "time": "2026-11-20T23:02:00Z"}, when="2026-11-20 22:58")
    assert list(usage(server, "disk")) == ["2026-11-20"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({**SNAPSHOT, "time": "2026-11-20T12:05:01Z"}, "in the future"),
        ({**SNAPSHOT, "time": "9999-12-31T23:59:59-23:59"}, "in the future"),
        ({**SNAPSHOT, "time": "0001-01-01T00:00:00+23:59"}, "too far back"),
        ({**SNAPSHOT, "time": "2020-12-31T22:59:59Z"}, "5 years back"),
        ({**DAY, "period": "2026-11-21"}, "in the future"),
        ({**MONTH, "period": "2026-12"}, "in the future"),
        ({**MONTH, "period": "2020-12"}, "5 years back"),
        ({**MONTH, "period": "2026-11-20"}, "needs a month"),
        ({**SNAPSHOT, "period": "2026-11"}, "needs a day"),
        ({**COUNT, "value": 1, "period": "2026-11-20"}, "leave out the period"),
        ({**COUNT, "value": 1, "time": "2026-11-20T10:59:59Z"}, "more than an hour ago"),
        ({**SNAPSHOT, "tenant": " "}, "without a name"),
        ({**SNAPSHOT, "tenant": "a\x00"}, "control characters"),
        ({**SNAPSHOT, "tenant": "x" * 256}, "more than 255"),
        ({**SNAPSHOT, "value": "0.0000000000000001"}, "decimal places"),
        ({**SNAPSHOT, "value": "999999999999"}, "not below"),
        ({**SNAPSHOT, "unit": "mailboxes"}, "but in GB, B, kB, MB, TB, KiB"),
        ({**DAY, "unit": "GB"}, "but in whole"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(server, line, word):
    assert word in errors(pushed(server, line))[0]
    assert not Latest.objects.exists()


@pytest.mark.parametrize(
    ("value", "unit", "base_value"),
    [("1", "KiB", "1024"), ("0.1", "KiB", "102.4"), ("1.5", "GB", "1500000000"), ("9007199254740993", "B", None)],
)
def test_units_of_the_same_family_are_converted_exactly(server, value, unit, base_value):
    pushed(server, {**SNAPSHOT, "value": value, "unit": unit})
    assert usage(server, "disk") == {"2026-11-20": Decimal(base_value or value)}


def test_many_days_of_one_tenant_come_in_one_request(server):
    days = [{**DAY, "period": f"2026-11-{day:02}", "value": day} for day in range(1, 21)]
    assert pushed(server, *days).stored == 20
    assert list(usage(server, "emails").values()) == list(range(1, 21))
    latest = Latest.objects.get()
    assert (latest.start, latest.value) == (date(2026, 11, 20), 20)


# ---- closed periods


def test_a_closed_period_is_stored_and_noted_as_restated(server):
    pushed(server, {**MONTH, "period": "2026-10"})
    assert usage(server, "bandwidth") == {"2026-10-01": 7 * GB}
    assert Restated.objects.get().start == date(2026, 10, 1)
    assert Reading.objects.count() == 1
    pushed(server, {**MONTH, "period": "2026-10", "mode": "add", "id": "1"})
    assert usage(server, "bandwidth") == {"2026-10-01": 14 * GB}


def test_the_latest_value_is_that_of_the_newest_period_and_not_what_came_last(server):
    pushed(server, {**MONTH, "period": "2026-09", "value": 1}, when="2026-10-01 06:00")
    latest = Latest.objects.get()
    assert (latest.start, latest.value, latest.checked_at) == (date(2026, 9, 1), GB, at("2026-10-01 06:00"))
    pushed(server, {**MONTH, "value": 2}, when="2026-10-10 06:00")
    pushed(server, {**MONTH, "period": "2026-09", "value": 3}, when="2026-11-02 06:00")
    latest = Latest.objects.get()
    assert (latest.start, latest.value, latest.checked_at) == (date(2026, 10, 1), 2 * GB, at("2026-10-10 06:00"))
    pushed(server, {**MONTH, "period": "2026-10", "value": 2}, when="2026-11-02 07:00")
    assert Latest.objects.get().checked_at == at("2026-11-02 07:00")


def corrected(server, value=3 * GB):
    tenant, metric = Tenant.objects.get(), Metric.objects.get(system_name="bandwidth")
    correct(tenant=tenant, metric=metric, start=date(2026, 10, 1), value=value, reason="as agreed", by=None, at=at(NOW))


def test_what_staff_corrected_stays_and_the_line_says_so(server):
    pushed(server, {**MONTH, "period": "2026-10", "id": "1"})
    corrected(server)
    outcome = pushed(
        server,
        {**MONTH, "period": "2026-10", "value": "9", "id": "2"},
        {**MONTH, "period": "2026-10", "mode": "add", "id": "3"},
        {**MONTH, "period": "2026-10", "id": "1"},
        MONTH,
    )
    assert [result.status for result in outcome.results] == [409, 409, 200, 200]
    assert "staff corrected" in errors(outcome)[0]
    assert usage(server, "bandwidth") == {"2026-10-01": 3 * GB, "2026-11-01": 7 * GB}


def test_a_month_that_is_pushed_after_its_end_is_billed_and_a_later_change_is_the_difference(server):
    product = a_product(provider="push")
    pushed(server, {**MONTH, "value": 1, "period": "2026-09"}, when="2026-10-01 08:00")
    setting = MetricSetting.objects.create(product=product, metric=Metric.objects.get(system_name="bandwidth"))
    setting.enabled_spans.create(start=date(2020, 1, 1))
    priced(setting, ("0", "2"), notation="above")
    a_service(product, tenant=Tenant.objects.get(), anchor="2026-10-01", next_term=1)
    pushed(server, {**MONTH, "period": "2026-10", "value": "10"}, when="2026-11-01 00:30")
    billing.create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 09:00"))
    assert Invoice.objects.get().total == 24 + 20
    pushed(server, {**MONTH, "period": "2026-10", "value": "12"}, when="2026-11-03 00:30")
    billing.create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 09:00"))
    newest = Invoice.objects.order_by("-entry").first()
    assert [line.amount for line in newest.lines.all() if line.kind == "adjustment"] == [4]


# ---- counters


def counts(server, *values, when=NOW, **line):
    return pushed(server, *[{**COUNT, "value": value, **line} for value in values], when=when)


def test_a_counter_counts_from_its_first_value_on(server):
    counts(server, 1000)
    counts(server, 1400)
    assert usage(server, "calls") == {"2026-11-20": 400}


def test_several_counts_in_one_request_and_a_restart_among_them(server):
    counts(server, 1000)
    counts(server, 1100, 1300, 50, 80)
    assert usage(server, "calls") == {"2026-11-20": 300 + 80}
    assert Latest.objects.get().value == 80


def test_a_count_that_comes_twice_adds_nothing(server):
    counts(server, 1000, 1500)
    counts(server, 1500)
    assert usage(server, "calls") == {"2026-11-20": 500}


def test_an_older_count_that_comes_late_is_no_restart(server):
    counts(server, 1000, time="2026-11-20T11:50:00Z")
    counts(server, 2000, time="2026-11-20T11:59:00Z")
    late = counts(server, 1900, time="2026-11-20T11:58:00Z")
    assert "in their order" in errors(late)[0]
    counts(server, 2100, time="2026-11-20T11:59:30Z")
    assert usage(server, "calls") == {"2026-11-20": 1100}


def test_a_count_that_restarts_all_the_time_is_refused_in_the_end(server):
    outcome = counts(server, *range(100, 50, -1))
    assert "restarts" in errors(outcome)[0]


# ---- servers that are not asked


def test_collecting_leaves_out_servers_that_are_not_asked(server):
    pushed(server, SNAPSHOT)
    assert collectors.collect_all(as_of=at(NOW)) == []
    assert Collection.objects.count() == 1
    record = collection.collect(server=server, as_of=at(NOW))
    assert record.error == "There is nothing to ask: usage of this server is pushed or imported."
    assert Tenant.objects.get().missing_since is None


def test_pushing_says_nothing_of_tenants_that_are_left_out(server):
    pushed(server, SNAPSHOT, {**SNAPSHOT, "tenant": "bob"})
    pushed(server, SNAPSHOT, when=datetime.fromisoformat("2026-11-20T13:00Z") + timedelta(days=2))
    assert set(Tenant.objects.values_list("missing_since", flat=True)) == {None}
    assert set(Latest.objects.values_list("seen_until", flat=True)) == {None}
    ages = Latest.objects.with_collected_at().order_by("tenant_id").values_list("collected_at", flat=True)
    assert list(ages) == [at("2026-11-22 13:00"), at(NOW)]
