"""Collecting a server: what is stored, what is refused, and what the record says."""

from datetime import date
from decimal import Decimal

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from metering import collection, server_lock
from metering.models import Collection, Latest, Reading, Tenant
from metering.periods import Period
from metering.providers.base import ProviderError, TenantUsage, Usage
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    ROWS,
    TRAFFIC,
    Panel,
    a_metric,
    a_server,
    a_tenant,
    at,
    collected,
    panel,
    says,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db


def test_two_polls_in_a_month_leave_one_month_record_with_the_second_value():
    """Statement 3."""
    server = a_server()
    collected(server, "2026-11-03 06:00", tenant_says("alice", traffic=5 * GB))
    collected(server, "2026-11-19 06:00", tenant_says("alice", traffic=13 * GB))
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-11-01": 13 * GB}


def test_two_polls_in_a_day_leave_one_day_record_and_polls_on_two_days_leave_two():
    """Statement 4."""
    server = a_server()
    collected(server, "2026-11-18 06:00", tenant_says("alice", emails=10))
    collected(server, "2026-11-18 18:00", tenant_says("alice", emails=25))
    collected(server, "2026-11-19 06:00", tenant_says("alice", emails=4))
    assert usage_of(a_tenant(server), EMAILS) == {"2026-11-18": 25, "2026-11-19": 4}


def test_a_poll_in_march_leaves_february_alone_unless_the_value_names_february():
    """Statement 5."""
    server = a_server()
    february = Usage(9 * GB, start=date(2026, 2, 1), end=date(2026, 3, 1))
    collected(server, "2026-02-28 18:00", tenant_says("alice", traffic=7 * GB))
    collected(server, "2026-03-01 06:00", tenant_says("alice", traffic=1 * GB))
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-02-01": 7 * GB, "2026-03-01": 1 * GB}
    collected(server, "2026-03-01 18:00", tenant_says("alice", traffic=february))
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-02-01": 9 * GB, "2026-03-01": 1 * GB}


def test_polling_twice_changes_nothing_when_the_server_says_the_same():
    """Statement 6."""
    server = a_server()
    answer = tenant_says("alice", disk=16 * GB, emails=3, traffic=2 * GB, rows=100)
    first = collected(server, "2026-11-19 06:00", answer)
    before = list(Reading.objects.values())
    second = collected(server, "2026-11-19 18:00", answer)
    assert (first.readings_stored, second.readings_stored) == (4, 0)
    assert list(Reading.objects.values()) == before
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-19": 0}


def test_zero_is_a_value_and_replaces_what_was_there():
    """Statement 8 (the sample code of WHMCS gets it wrong)."""
    server = a_server()
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=5 * GB))
    collected(server, "2026-11-19 18:00", tenant_says("alice", disk=0))
    assert usage_of(a_tenant(server), DISK) == {"2026-11-19": 0}
    assert Latest.objects.get().value == 0


def test_an_absent_metric_keeps_its_value_and_its_old_timestamp():
    """Statement 9."""
    server = a_server()
    collected(server, "2026-11-17 18:00", tenant_says("alice", disk=5 * GB, emails=1))
    collected(server, "2026-11-19 06:00", tenant_says("alice", emails=2))
    latest = Latest.objects.with_collected_at().get(metric_id=a_metric(DISK).pk)
    assert (latest.value, latest.collected_at) == (5 * GB, at("2026-11-17 18:00"))
    emails = Latest.objects.with_collected_at().get(metric_id=a_metric(EMAILS).pk)
    assert emails.collected_at == at("2026-11-19 06:00")


def test_a_value_that_stays_the_same_is_confirmed_by_each_collection_without_a_new_reading():
    server = a_server()
    for when in ("2026-11-17 18:00", "2026-11-18 06:00", "2026-11-18 18:00"):
        collected(server, when, tenant_says("alice", disk=5 * GB))
    assert Reading.objects.count() == 1
    latest = Latest.objects.with_collected_at().get()
    assert (latest.read_at, latest.collected_at) == (at("2026-11-17 18:00"), at("2026-11-18 18:00"))
    assert len(usage_of(a_tenant(server), DISK)) == 2


def test_a_metric_that_comes_back_is_current_again():
    server = a_server()
    collected(server, "2026-11-17 06:00", tenant_says("alice", disk=5 * GB))
    collected(server, "2026-11-18 06:00", tenant_says("alice", emails=1))
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=5 * GB, emails=1))
    latest = Latest.objects.with_collected_at().get(metric_id=a_metric(DISK).pk)
    assert latest.collected_at == at("2026-11-19 06:00")


def test_one_failing_tenant_does_not_lose_the_others():
    """Statement 10."""
    server = a_server()
    failing = TenantUsage("bob", {}, {"disk": "permission denied"})
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", disk=GB), failing, tenant_says("carol", disk=0))
    assert record.status == Collection.Status.PARTIAL
    assert record.problems == [{"tenant": "bob", "metric": "disk", "reason": "permission denied"}]
    assert Latest.objects.count() == 2


def test_an_unknown_tenant_is_kept_although_no_service_claims_it():
    """Statement 12 says ignored; the design keeps it, to be shown as unbilled usage."""
    server = a_server()
    collected(server, "2026-11-19 06:00", tenant_says("stranger", disk=GB))
    assert usage_of(a_tenant(server, "stranger"), DISK) == {"2026-11-19": GB}


def test_the_same_tenant_name_on_two_servers_does_not_mix():
    """Statement 15."""
    one, two = a_server("one"), a_server("two")
    collected(one, "2026-11-19 06:00", tenant_says("alice", disk=1 * GB))
    collected(two, "2026-11-19 06:00", tenant_says("alice", disk=2 * GB))
    assert usage_of(a_tenant(one), DISK) == {"2026-11-19": 1 * GB}
    assert usage_of(a_tenant(two), DISK) == {"2026-11-19": 2 * GB}


def test_refreshing_asks_for_one_tenant_and_moves_only_its_timestamp():
    """Statement 18."""
    server = a_server()
    answers = (tenant_says("alice", disk=1 * GB), tenant_says("bob", disk=1 * GB))
    collected(server, "2026-11-19 06:00", *answers)
    collected(server, "2026-11-19 09:30", *answers, tenant="alice")
    assert Panel.asked == [("tenant_usage", "alice")]
    ages = {row.tenant_id: row.collected_at for row in Latest.objects.with_collected_at()}
    assert ages == {
        a_tenant(server, "alice").pk: at("2026-11-19 09:30"),
        a_tenant(server, "bob").pk: at("2026-11-19 06:00"),
    }


def test_a_value_at_half_past_eleven_on_the_last_day_belongs_to_that_local_month():
    """Statement 34."""
    server = a_server(time_zone="America/New_York")
    collected(server, "2026-11-01 03:30", tenant_says("alice", traffic=8 * GB))  # 23:30 on 31 October there
    collected(server, "2026-11-01 05:30", tenant_says("alice", traffic=1 * GB))
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-10-01": 8 * GB, "2026-11-01": 1 * GB}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Decimal("NaN"), "NaN is not a number"),
        (Decimal("Infinity"), "Infinity is not a number"),
        (Decimal(-1), "-1 is negative"),
        (Decimal(10) ** 30, "is not below 1E+18"),
        (Decimal(10) ** 18, "is not below 1E+18"),
        (Decimal("0.1234567"), "has more than 6 decimal places"),
        (1.5, "is of type float, not a Decimal"),
        (True, "is of type bool, not a Decimal"),
        (None, "is of type NoneType, not a Decimal"),
    ],
)
def test_a_value_that_is_no_quantity_is_refused_and_the_rest_kept(value, reason):
    server = a_server()
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", disk=Usage(value), emails=3))
    assert record.status == Collection.Status.PARTIAL
    assert reason in record.problems[0]["reason"]
    assert usage_of(a_tenant(server), DISK) == {}
    assert usage_of(a_tenant(server), EMAILS) == {"2026-11-19": 3}


def test_a_tenant_named_twice_is_refused_whole_and_the_others_kept():
    server = a_server()
    twice = (tenant_says("alice", disk=1 * GB), tenant_says("alice", disk=2 * GB))
    record = collected(server, "2026-11-19 06:00", *twice, tenant_says("bob", disk=3 * GB))
    assert record.problems == [
        {"tenant": "alice", "metric": "", "reason": "named twice in one answer; nothing of it was stored"}
    ]
    assert list(Tenant.objects.values_list("key", flat=True)) == ["bob"]


@pytest.mark.parametrize("key", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 256])
def test_a_tenant_with_an_impossible_name_is_refused_and_the_others_kept(key):
    server = a_server()
    record = collected(server, "2026-11-19 06:00", tenant_says(key, disk=1), tenant_says("bob", disk=3))
    assert (record.status, record.rejected) == (Collection.Status.PARTIAL, 1)
    assert list(Tenant.objects.values_list("key", flat=True)) == ["bob"]


def test_a_metric_that_was_not_declared_is_refused_and_the_others_kept():
    server = a_server()
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", disk=1, surprise=3))
    assert record.problems[0]["reason"] == "the provider did not declare this metric"
    assert Latest.objects.count() == 1


def test_a_server_that_fails_leaves_a_record_and_stores_nothing():
    server = a_server()

    def down(connection, period):
        raise ProviderError("No answer from panel.test within 5 s.")
        yield

    with panel(down):
        record = collection.collect(server=server, as_of=at("2026-11-19 06:00"))
    assert (record.status, record.error) == (Collection.Status.FAILED, "No answer from panel.test within 5 s.")
    server.refresh_from_db()
    assert server.collected_at is None


def test_what_came_before_a_failure_in_mid_answer_is_kept():
    server = a_server()
    collected(server, "2026-11-18 06:00", tenant_says("alice", disk=1), tenant_says("bob", disk=1))

    def breaks_off(connection, period):
        yield tenant_says("alice", disk=2)
        raise ProviderError("The answer broke off.")

    with panel(breaks_off):
        record = collection.collect(server=server, as_of=at("2026-11-19 06:00"))
    assert (record.status, record.error) == (Collection.Status.PARTIAL, "The answer broke off.")
    assert usage_of(a_tenant(server), DISK)["2026-11-19"] == 2
    bob = Latest.objects.with_collected_at().get(tenant_id=a_tenant(server, "bob").pk)
    assert bob.collected_at == at("2026-11-18 06:00")
    assert a_tenant(server, "bob").missing_since is None


@pytest.mark.parametrize("raised", [TypeError("token=s3cret"), SystemExit(1), RecursionError()])
def test_whatever_a_provider_raises_is_recorded_without_its_text(raised):
    server = a_server()

    def broken(connection, period):
        raise raised
        yield

    with panel(broken):
        record = collection.collect(server=server, as_of=at("2026-11-19 06:00"))
    assert record.status == Collection.Status.FAILED
    assert type(raised).__name__ in record.error
    assert "s3cret" not in record.error


def test_an_answer_without_most_tenants_is_held_until_somebody_accepts_it():
    server = a_server()
    everybody = [tenant_says(name, disk=5) for name in ("a", "b", "c", "d")]
    collected(server, "2026-11-18 06:00", *everybody)
    record = collected(server, "2026-11-19 06:00", everybody[0])
    assert (record.status, record.missing_tenants) == (Collection.Status.HELD, 3)
    assert usage_of(a_tenant(server, "a"), DISK) == {"2026-11-18": 5}
    accepted = collected(server, "2026-11-19 07:00", everybody[0], accept_changes=True)
    assert accepted.status == Collection.Status.COMPLETE
    assert Tenant.objects.exclude(missing_since=None).count() == 3


def test_an_empty_answer_is_not_zero_for_everybody():
    server = a_server()
    collected(server, "2026-11-18 06:00", *[tenant_says(name, disk=5) for name in "abcd"])
    assert collected(server, "2026-11-19 06:00").status == Collection.Status.HELD
    assert set(Latest.objects.values_list("value", flat=True)) == {Decimal(5)}


def test_a_closed_month_is_asked_for_again_for_two_days():
    server = a_server()
    with panel(says()):
        early = collection.periods_to_ask_again(server, at("2026-11-02 18:00"))
        late = collection.periods_to_ask_again(server, at("2026-11-19 06:00"))
    assert early[0] == Period(date(2026, 10, 1), date(2026, 11, 1))
    assert late == [Period(date(2026, 11, 17), date(2026, 11, 18)), Period(date(2026, 11, 18), date(2026, 11, 19))]


@pytest.mark.parametrize(("zeros", "is_believed"), [(10, False), (9, True)])
def test_a_closed_month_that_is_zero_for_all_who_used_it_is_not_believed(zeros, is_believed):
    server, names = a_server(), "abcdefghij"
    collected(server, "2026-10-31 18:00", *[tenant_says(name, traffic=100 * GB) for name in names])

    def panel_in_november(connection, period):
        for number, name in enumerate(names):
            if period is None:
                yield tenant_says(name, traffic=1 * GB)
            elif period.days > 1:
                used = Decimal(0) if number < zeros else 101 * GB
                yield tenant_says(name, traffic=Usage(used, start=period.start, end=period.end))

    with panel(panel_in_november):
        server.refresh_from_db()
        collection.collect_with_look_back(server=server, as_of=at("2026-11-01 06:00"))
    october = {usage_of(a_tenant(server, name), TRAFFIC)["2026-10-01"] for name in names}
    again = Collection.objects.get(period_start="2026-10-01")
    if is_believed:
        assert (again.status, october) == (Collection.Status.COMPLETE, {0, 101 * GB})
    else:
        assert (again.status, october) == (Collection.Status.FAILED, {100 * GB})
        assert "Bandwidth of a period that is over would be zero for 10 of 10 tenants that used it" in again.error


def test_the_tail_of_a_month_is_read_after_its_end():
    server = a_server()
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=10 * GB))

    def panel_in_november(connection, period):
        if period is None:
            yield tenant_says("alice", traffic=1 * GB)
        elif period.days > 1:
            yield tenant_says("alice", traffic=Usage(11 * GB, start=period.start, end=period.end))

    with panel(panel_in_november):
        server.refresh_from_db()
        collection.collect_with_look_back(server=server, as_of=at("2026-11-01 06:00"))
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-10-01": 11 * GB, "2026-11-01": 1 * GB}
    assert Latest.objects.get().value == 1 * GB


def test_who_is_named_for_a_closed_month_only_is_not_there_now():
    server = a_server()

    def panel_in_november(connection, period):
        if period is None:
            yield tenant_says("a", traffic=1 * GB)
        elif period.days > 1:
            for name in "abcde":
                yield tenant_says(name, traffic=Usage(7 * GB, start=period.start, end=period.end))

    collected(server, "2026-10-31 06:00", *[tenant_says(name, traffic=5 * GB) for name in "abcd"])
    collected(server, "2026-10-31 18:00", tenant_says("a", traffic=6 * GB), accept_changes=True)
    with panel(panel_in_november):
        for when in ("2026-11-01 06:00", "2026-11-01 18:00"):
            server.refresh_from_db()
            record = collection.collect_with_look_back(server=server, as_of=at(when))
            assert (record.status, record.missing_tenants) == (Collection.Status.COMPLETE, 0)
    assert {a_tenant(server, name).missing_since for name in "bcd"} == {at("2026-10-31 18:00")}
    assert a_tenant(server, "e").first_seen_at is None
    assert [usage_of(a_tenant(server, name), TRAFFIC)["2026-10-01"] for name in "abcde"] == [7 * GB] * 5


def test_a_collection_takes_the_same_number_of_statements_for_any_number_of_tenants():
    collected(a_server("first"), "2026-11-19 01:00")  # makes the partitions of the month
    counts = []
    for size in (2, 300):
        server = a_server(f"server-{size}")
        for hour, step in (("06", 0), ("12", 1)):
            answers = [tenant_says(f"{n}", disk=n + step, emails=n, traffic=n, rows=n) for n in range(size)]
            with CaptureQueriesContext(connection) as captured:
                collected(server, f"2026-11-19 {hour}:00", *answers)
            counts.append(len(captured))
    assert Latest.objects.count() == 4 * 302
    assert counts[:2] == counts[2:]


def test_a_limit_that_is_no_quantity_costs_the_limit_and_not_the_value():
    server = a_server()
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", disk=Usage(GB, limit=Decimal("NaN"))))
    assert record.problems == [{"tenant": "alice", "metric": "disk", "reason": "its limit: NaN is not a number"}]
    assert (Latest.objects.get().value, Latest.objects.get().quota) == (GB, None)


def test_a_period_with_one_end_is_refused():
    half = Usage(GB, start=date(2026, 10, 1))
    record = collected(a_server(), "2026-11-19 06:00", tenant_says("alice", traffic=half))
    assert record.problems[0]["reason"] == "a period needs its start and its end"
    assert Latest.objects.count() == 0


def test_a_server_that_another_process_collects_is_left_alone():
    server = a_server()
    params = connection.get_connection_params()
    with psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"]) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [server_lock.LOCK, server.pk])
        with pytest.raises(server_lock.Busy, match="A collection of panel-01 is running"):
            collected(server, "2026-11-19 06:00", tenant_says("alice", disk=1))
        assert not Collection.objects.exists()
    assert collected(server, "2026-11-19 06:00", tenant_says("alice", disk=1)).status == Collection.Status.COMPLETE


def test_a_record_that_a_dead_process_left_running_is_closed():
    server = a_server()
    left = Collection.objects.create(server=server, as_of=at("2026-11-18 06:00"), started_at=at("2026-11-18 06:00"))
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=1))
    left.refresh_from_db()
    assert (left.status, left.error) == (Collection.Status.FAILED, "The process stopped before the end.")
