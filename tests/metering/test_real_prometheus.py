"""The provider against the real server: what it scrapes, what it calculates, what it refuses."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering.periods import Period, day, month
from metering.providers.base import Connection, ProviderError, TenantUsage
from metering.providers.prometheus import Prometheus
from tests.metering.real_prometheus import RealPrometheus, real_prometheus

BERLIN = ZoneInfo("Europe/Berlin")
MARCH = month(date(2026, 3, 1))  # its 29th has 23 hours in Berlin
PAGE = """\
# TYPE tenant_disk_kib gauge
tenant_disk_kib{tenant="alice"} 512000
tenant_disk_kib{tenant="bob"} 0
# TYPE tenant_sent_bytes_total counter
tenant_sent_bytes_total{tenant="alice",node="a"} 9007199254740993
tenant_sent_bytes_total{tenant="alice",node="b"} 1
tenant_sent_bytes_total{tenant="bob",node="a"} 7
tenant_sent_bytes_total{node="a"} 5
# TYPE tenant_ratio gauge
tenant_ratio{tenant="alice"} NaN
tenant_ratio{tenant="bob"} +Inf
tenant_ratio{tenant="carol"} -1
tenant_ratio{tenant="dave"} 0.1
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RealPrometheus]:
    with real_prometheus(PAGE, history=hours_of_march()) as running:
        running.wait_for("tenant_ratio")
        yield running


def hours_of_march() -> str:
    """Samples at half past: 1 in every hour of 28 to 30 March in Berlin, and just inside both ends of the month.

    Just outside, they are 1000.
    """
    in_utc = [(2, 28, 22, 2), (3, 27, 22, 73), (3, 31, 21, 2)]  # from 23:30, 23:30 and, in summer, 23:30 in Berlin
    starts = [(datetime(2026, m, d, hour, 30, tzinfo=UTC), count) for m, d, hour, count in in_utc]
    hours = [start + timedelta(hours=n) for start, count in starts for n in range(count)]
    values = [1000, *[1] * (len(hours) - 2), 1000]
    stamps = [int(at.timestamp()) for at in hours]
    lines = [f'tenant_hour{{tenant="alice"}} {value} {at}' for value, at in zip(values, stamps, strict=True)]
    return "\n".join(["# TYPE tenant_hour gauge", *lines, "# EOF", ""])


def a_row(name: str, expression: str, **columns: str) -> dict[str, str]:
    return {"system_name": name, "display_name": name, "type": "snapshot", "unit": "GB", "expression": expression} | {
        "label": "tenant",
        "scale": "1",
        **columns,
    }


def provider(server: RealPrometheus, *rows: dict[str, str]) -> Prometheus:
    settings: dict[str, Any] = {"url": server.url, "auth": "none", "metrics": list(rows)}
    # The provider asks for whole seconds: the next one is the first that knows what was scraped in this one.
    return Prometheus(Connection(settings, {}, datetime.now(UTC) + timedelta(seconds=1), BERLIN))


def usage(server: RealPrometheus, *rows: dict[str, str], period: Period | None = None) -> dict[str, TenantUsage]:
    return {found.tenant: found for found in provider(server, *rows).usage(period)}


def test_it_says_what_it_talks_to(server):
    assert provider(server, a_row("disk", "tenant_disk_kib")).check().startswith("Prometheus 2.")


def test_scraped_values_arrive_in_bytes_and_zero_is_a_value(server):
    found = usage(server, a_row("disk", "tenant_disk_kib", scale="1024"))
    assert {name: said.values["disk"].value for name, said in found.items()} == {
        "alice": Decimal(524288000),
        "bob": Decimal(0),
    }


def test_a_counter_is_read_raw_and_only_float64_costs_digits(server):
    found = usage(server, a_row("sent", "sum by (tenant) (last_over_time(tenant_sent_bytes_total[$range]))", unit="B"))
    assert found["alice"].values["sent"].value == 2**53  # which 2**53 + 1 becomes in a float64, and one more stays
    assert found["bob"].values["sent"].value == 7


def test_what_names_no_tenant_or_a_tenant_twice_is_not_counted(server):
    found = usage(server, a_row("sent", "tenant_sent_bytes_total"))
    assert found["alice"].failures == {"sent": "2 series; sum by (tenant) in the expression"}
    assert found["bob"].values["sent"].value == 7
    assert "without the label tenant" in found[""].failures["sent"]
    assert not found[""].values


def test_numbers_that_cannot_be_billed_fail_alone(server):
    found = usage(server, a_row("ratio", "tenant_ratio", unit="decimal"))
    assert "'NaN'" in found["alice"].failures["ratio"]
    assert "'+Inf'" in found["bob"].failures["ratio"]
    assert "negative" in found["carol"].failures["ratio"]
    assert found["dave"].values["ratio"].value == Decimal("0.1")


def test_a_month_ends_and_starts_at_local_midnight(server):
    row = a_row("hours", "sum_over_time(tenant_hour[$range])", type="month", unit="whole")
    found = usage(server, row, period=MARCH)["alice"].values["hours"]
    assert found.value == 1 + 73 + 1
    assert (found.start, found.end) == (MARCH.start, MARCH.end)


@pytest.mark.parametrize(("of", "hours"), [(28, 24), (29, 23), (30, 24)])
def test_a_day_has_the_hours_that_its_clocks_showed(server, of, hours):
    row = a_row("hours", "sum_over_time(tenant_hour[$range])", type="day", unit="whole")
    assert usage(server, row, period=day(date(2026, 3, of)))["alice"].values["hours"].value == hours


def test_the_period_reaches_the_expression_in_seconds(server):
    row = a_row("seconds", 'label_replace(vector($end - $start), "tenant", "all", "", "")', type="day", unit="whole")
    assert usage(server, row, period=day(date(2026, 3, 29)))["all"].values["seconds"].value == 23 * 3600


def test_an_expression_with_a_mistake_is_named_by_the_check(server):
    rows = [a_row("disk", "tenant_disk_kib"), a_row("sent", "sum(("), a_row("one", "1")]
    with pytest.raises(ProviderError) as refused:
        provider(server, *rows).check()
    assert "Metric sent: Prometheus says: invalid parameter" in str(refused.value)
    assert "Metric one: the expression gives a scalar" in str(refused.value)
    assert "Metric disk" not in str(refused.value)


def test_a_failing_metric_leaves_the_others(server):
    twice = "tenant_disk_kib * on (job) tenant_disk_kib"
    found = usage(server, a_row("disk", "tenant_disk_kib"), a_row("twice", twice))["alice"]
    assert found.values["disk"].value == 512000
    assert "many-to-many" in found.failures["twice"] or "duplicate series" in found.failures["twice"]


def test_a_page_that_changes_is_seen(server):
    server.page = PAGE.replace("512000", "613000")
    server.wait_for('tenant_disk_kib{tenant="alice"} == 613000')
    assert provider(server, a_row("disk", "tenant_disk_kib")).tenant_usage("alice").values["disk"].value == 613000


def test_an_unknown_tenant_is_an_error(server):
    with pytest.raises(ProviderError, match="'mallory'"):
        provider(server, a_row("disk", "tenant_disk_kib")).tenant_usage("mallory")
