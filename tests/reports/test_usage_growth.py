"""Usage of a month is what was measured of the services that had the tenants then; months that are missing stay so."""

from datetime import date
from decimal import Decimal

import pytest

from metering.correcting import correct
from metering.models import Usage
from metering.partitions import ensure
from metering.periods import day, month
from reports import growth, measuring
from reports.models import MeasuredMonth, UsageSum
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    TRAFFIC,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_staff_user,
    a_tenant,
    at,
)

pytestmark = pytest.mark.django_db

NOW = at("2026-11-19 08:00")
TODAY = NOW.date()


def used(tenant, declared, when, value):
    first = date.fromisoformat(when)
    whole = month(first) if declared is TRAFFIC else day(first)
    ensure([first])
    Usage.objects.create(
        tenant_id=tenant.pk,
        metric_id=a_metric(declared).pk,
        start=whole.start,
        end=whole.end,
        value=Decimal(value),
        collection_id=1,
    )


def a_tenant_of(product="Business Web", name="alice", anchor="2025-09-10", **values):
    tenant = a_tenant(a_server_once(), name)
    a_service(a_product(product), tenant=tenant, anchor=anchor, **values)
    return tenant


def a_server_once():
    from metering.models import Server

    return Server.objects.first() or a_server()


def sum_usage(now=NOW):
    return measuring.sum_usage(at=now)


def quantities(one):
    return {f"{first:%Y-%m}": used.quantity for first, used in one.by_month.items()}


def test_totals_are_summed_and_of_levels_the_last_one_of_each_service_counts():
    alice, bert = a_tenant_of(), a_tenant_of(name="bert")
    for tenant, first, last in ((alice, 5, 7), (bert, 100, 2)):
        used(tenant, DISK, "2026-10-03", first * GB)
        used(tenant, DISK, "2026-10-30", last * GB)
        used(tenant, EMAILS, "2026-10-03", 10)
        used(tenant, EMAILS, "2026-10-31", 30)
        used(tenant, TRAFFIC, "2026-10-01", 3 * GB)
    sum_usage()
    found = {one.metric.system_name: one for one in growth.usages()}
    assert {name: quantities(one) for name, one in found.items()} == {
        "disk": {"2026-10": 9},
        "emails": {"2026-10": 80},
        "traffic": {"2026-10": 6},
    }
    assert found["disk"].by_month[date(2026, 10, 1)].services == 2


def test_a_month_is_compared_with_the_one_before_and_with_the_year_before():
    alice = a_tenant_of()
    for when, value in (("2025-10-01", 8), ("2026-09-01", 12), ("2026-10-01", 10)):
        used(alice, TRAFFIC, when, value * GB)
    sum_usage()
    [one] = growth.usages()
    assert one.against_month(date(2026, 10, 1)) == Decimal("-16.7")
    assert one.against_year(date(2026, 10, 1)) == 25


def test_with_a_missing_month_there_is_nothing_to_compare_with():
    alice = a_tenant_of()
    used(alice, TRAFFIC, "2026-08-01", 5 * GB)
    used(alice, TRAFFIC, "2026-10-01", 10 * GB)
    sum_usage()
    [one] = growth.usages()
    assert one.quantity(date(2026, 9, 1)) is None
    assert one.against_month(date(2026, 10, 1)) is None
    table = growth.history(one, [date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)], TODAY)
    texts = {row.head.text: [cell.text for cell in row.cells] for row in table.rows}
    assert texts["September 2026"] == ["—"] * 5
    assert texts["October 2026"] == ["10 GB", "—", "—", "1", "10 GB"]


def test_nothing_in_the_month_before_is_no_growth_in_percent():
    alice = a_tenant_of()
    used(alice, TRAFFIC, "2026-09-01", 0)
    used(alice, TRAFFIC, "2026-10-01", 10 * GB)
    sum_usage()
    [one] = growth.usages()
    assert one.quantity(date(2026, 9, 1)) == 0
    assert one.against_month(date(2026, 10, 1)) is None


def test_the_open_month_is_shown_so_far_and_compared_with_nothing():
    alice = a_tenant_of()
    used(alice, TRAFFIC, "2026-10-01", 10 * GB)
    used(alice, TRAFFIC, "2026-11-01", 4 * GB)
    sum_usage()
    [one] = growth.usages()
    newest, _ = growth.history(one, [date(2026, 10, 1), date(2026, 11, 1)], TODAY).rows
    assert newest.head.note == "so far"
    assert [cell.text for cell in newest.cells] == ["4 GB", "—", "—", "1", "4 GB"]


def test_usage_belongs_to_the_service_that_had_the_tenant_then():
    tenant = a_tenant_of(anchor="2026-08-01", status="terminated", terminated_on=date(2026, 10, 2))
    used(tenant, TRAFFIC, "2026-08-01", 1 * GB)
    used(tenant, TRAFFIC, "2026-10-01", 2 * GB)
    a_service(a_product("Storage"), tenant=tenant, anchor="2026-10-05")
    sum_usage()
    assert {one.product.name: quantities(one) for one in growth.usages()} == {
        "Business Web": {"2026-08": 1},
        "Storage": {"2026-10": 2},
    }


def test_a_tenant_that_nobody_has_is_in_no_sum():
    a_tenant_of()
    used(a_tenant(a_server_once(), "nobody"), TRAFFIC, "2026-10-01", 5 * GB)
    sum_usage()
    assert growth.usages() == []


def test_months_that_are_over_for_long_are_summed_once():
    a_tenant_of(anchor="2026-05-10")
    assert sum_usage() == 7  # May to November
    assert sum_usage() == 0
    # The next day: the open month and those that servers may still say something of
    assert sum_usage(at("2026-11-20 08:00")) == 2


def test_a_corrected_month_is_summed_again_however_old_it_is():
    alice = a_tenant_of(anchor="2026-05-10")
    used(alice, TRAFFIC, "2026-05-01", 5 * GB)
    sum_usage()
    correct(
        tenant=alice,
        metric=a_metric(TRAFFIC),
        start=date(2026, 5, 1),
        value=Decimal(4 * GB),
        reason="counted twice",
        by=a_staff_user(),
        at=at("2026-11-19 09:00"),
    )
    assert sum_usage(at("2026-11-19 10:00")) == 1
    assert UsageSum.objects.get(month=date(2026, 5, 1)).value == 4 * GB
    assert MeasuredMonth.objects.get(month=date(2026, 5, 1)).at == at("2026-11-19 10:00")


def test_changes_are_written_with_their_sign():
    words = [growth.signed_percent(Decimal(share)) for share in ("4.8", "-12", "0")]
    assert words == ["+4.8%", "−12.0%", "0.0%"]
