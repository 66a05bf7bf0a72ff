"""Days and months where clocks are changed, and at both ends of the world's time.

Rows that say when a day begins and ends in UTC were worked out by hand from the rules of each zone.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo, available_timezones

import pytest

from metering import collection, periods
from metering.correcting import correct
from metering.models import Usage
from metering.periods import Period, local_day
from tests.builders import EMAILS, ROWS, TRAFFIC, a_metric, a_server, a_tenant, at, collected, panel, says, tenant_says
from tests.builders import usage_of as rows_of

#: Ten years that are over, so that no parliament changes their clocks.
FIRST, LAST = date(2016, 1, 1), date(2026, 1, 1)
ONE_DAY, ONE_SECOND = timedelta(days=1), timedelta(seconds=1)
#: How often clocks were changed in these years. Samoa stopped after April 2021.
CHANGES = {
    "Europe/Berlin": 20,
    "America/New_York": 20,
    "Australia/Lord_Howe": 20,
    "Pacific/Apia": 11,
    "Pacific/Kiritimati": 0,
    "Pacific/Pago_Pago": 0,
    "UTC": 0,
}
#: Zone, day, when it begins and ends in UTC, and its hours.
BY_HAND = [
    ("Europe/Berlin", "2025-03-30", "2025-03-29 23:00", "2025-03-30 22:00", "23"),
    ("Europe/Berlin", "2025-10-26", "2025-10-25 22:00", "2025-10-26 23:00", "25"),
    ("Europe/Berlin", "2025-10-31", "2025-10-30 23:00", "2025-10-31 23:00", "24"),
    ("America/New_York", "2025-03-09", "2025-03-09 05:00", "2025-03-10 04:00", "23"),
    ("America/New_York", "2025-11-02", "2025-11-02 04:00", "2025-11-03 05:00", "25"),
    ("Australia/Lord_Howe", "2025-04-06", "2025-04-05 13:00", "2025-04-06 13:30", "24.5"),
    ("Australia/Lord_Howe", "2025-10-05", "2025-10-04 13:30", "2025-10-05 13:00", "23.5"),
    ("Pacific/Apia", "2020-09-27", "2020-09-26 11:00", "2020-09-27 10:00", "23"),
    ("Pacific/Apia", "2021-04-04", "2021-04-03 10:00", "2021-04-04 11:00", "25"),
    ("Pacific/Kiritimati", "2025-12-31", "2025-12-30 10:00", "2025-12-31 10:00", "24"),
    ("Pacific/Pago_Pago", "2025-12-31", "2025-12-31 11:00", "2026-01-01 11:00", "24"),
]


def begins_at(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins, in UTC: when the one before is over."""
    return periods.day(day - ONE_DAY).ends_at(zone).astimezone(UTC)


def length(day: date, zone: ZoneInfo) -> timedelta:
    return begins_at(day + ONE_DAY, zone) - begins_at(day, zone)


def days(first: date = FIRST, last: date = LAST) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days)]


def months() -> list[Period]:
    found = [periods.month(FIRST)]
    while found[-1].end < LAST:
        found.append(periods.month(found[-1].end))
    return found


# ---- days and months


@pytest.mark.parametrize(("name", "text", "begins", "ends", "hours"), BY_HAND)
def test_a_day_has_the_instants_that_were_worked_out_by_hand(name, text, begins, ends, hours):
    zone, day = ZoneInfo(name), date.fromisoformat(text)
    assert (begins_at(day, zone), begins_at(day + ONE_DAY, zone)) == (at(begins), at(ends))
    assert length(day, zone) == timedelta(hours=float(hours))
    assert periods.day(day).days == 1


@pytest.mark.parametrize(("name", "text", "begins", "ends", "hours"), BY_HAND)
def test_the_seconds_around_midnight_fall_on_their_sides_of_it(name, text, begins, ends, hours):
    zone, day = ZoneInfo(name), date.fromisoformat(text)
    around = [at(edge) + step * ONE_SECOND for edge in (begins, ends) for step in (-1, 0, 1)]
    walls = [f"{each.astimezone(zone):%H:%M:%S}" for each in around]
    assert walls == ["23:59:59", "00:00:00", "00:00:01"] * 2
    before, after = day - ONE_DAY, day + ONE_DAY
    assert [local_day(each, zone) for each in around] == [before, day, day, day, after, after]


@pytest.mark.parametrize("name", CHANGES)
def test_ten_years_of_days_follow_each_other_without_a_gap_or_an_overlap(name):
    zone = ZoneInfo(name)
    for day in days():
        begins, ends = begins_at(day, zone), begins_at(day + ONE_DAY, zone)
        assert begins < ends
        inside = [begins, begins + ONE_SECOND, begins + (ends - begins) / 2, ends - ONE_SECOND]
        assert {local_day(each, zone) for each in inside} == {day}
        assert local_day(begins - ONE_SECOND, zone) == day - ONE_DAY
        assert local_day(ends, zone) == day + ONE_DAY


@pytest.mark.parametrize("name", CHANGES)
def test_ten_years_of_months_follow_each_other_without_a_gap_or_an_overlap(name):
    zone = ZoneInfo(name)
    for month in months():
        begins, ends = begins_at(month.start, zone), month.ends_at(zone).astimezone(UTC)
        first, last = local_day(begins, zone), local_day(ends - ONE_SECOND, zone)
        assert (first, last) == (month.start, month.end - ONE_DAY)
        assert periods.month(first) == periods.month(last) == month
        assert periods.month(local_day(begins - ONE_SECOND, zone)).end == month.start
        assert periods.month(local_day(ends, zone)).start == month.end


@pytest.mark.parametrize(("name", "count"), CHANGES.items())
def test_each_day_on_which_clocks_change_is_one_period(name, count):
    zone = ZoneInfo(name)
    changed = [day for day in days() if length(day, zone) != ONE_DAY]
    assert len(changed) == count
    step = timedelta(minutes=30 if name == "Australia/Lord_Howe" else 60)
    assert {abs(length(day, zone) - ONE_DAY) for day in changed} <= {step}
    for day in changed:
        hours = [begins_at(day, zone) + number * step for number in range(length(day, zone) // step)]
        assert {periods.day(local_day(each, zone)) for each in hours} == {periods.day(day)}
        assert {periods.month(local_day(each, zone)) for each in hours} == {periods.month(day)}


def test_in_no_time_zone_of_the_world_does_an_instant_lie_on_two_days_or_on_none():
    year = [(day - ONE_DAY, day) for day in days(date(2025, 1, 1))]
    wrong = [
        (name, day)
        for name, zone in ((name, ZoneInfo(name)) for name in available_timezones())
        for before, day in year
        if [local_day(begins_at(day, zone) - ONE_SECOND, zone), local_day(begins_at(day, zone), zone)] != [before, day]
    ]
    assert wrong == []


def test_the_day_that_samoa_left_out_holds_no_instant():
    zone, skipped = ZoneInfo("Pacific/Apia"), date(2011, 12, 30)
    assert length(skipped, zone) == timedelta(0)
    assert begins_at(skipped, zone) == at("2011-12-30 10:00")
    assert local_day(at("2011-12-30 09:59:59"), zone) == skipped - ONE_DAY
    assert local_day(at("2011-12-30 10:00:00"), zone) == skipped + ONE_DAY


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("hour", [0, 5, 11])
def test_collections_twice_a_day_leave_no_day_of_ten_years_without_a_value(name, hour):
    zone, polls = ZoneInfo(name), 2 * (LAST - FIRST).days
    first = datetime(FIRST.year, 1, 1, hour, tzinfo=UTC)
    seen = {local_day(first + number * timedelta(hours=12), zone) for number in range(polls)}
    assert not set(days(FIRST + ONE_DAY, LAST - ONE_DAY)) - seen


# ---- through a collection

in_the_database = pytest.mark.django_db


def usage_of(server, declared):
    return {start: int(value) for start, value in rows_of(a_tenant(server), declared).items()}


@in_the_database
@pytest.mark.parametrize(("name", "text", "begins", "ends", "hours"), BY_HAND)
def test_values_around_midnight_land_on_the_day_of_the_server(name, text, begins, ends, hours):
    server, day = a_server(time_zone=name), date.fromisoformat(text)
    number = 0
    for edge in (begins, ends):
        for step in (-1, 0, 1):
            number += 1
            when = f"{at(edge) + step * ONE_SECOND:%Y-%m-%d %H:%M:%S}"
            collected(server, when, tenant_says("alice", emails=number, rows=100 * number))
    assert usage_of(server, EMAILS) == {str(day - ONE_DAY): 1, str(day): 4, str(day + ONE_DAY): 6}
    # The first count is where it starts from; the day has its own three.
    assert usage_of(server, ROWS) == {str(day - ONE_DAY): 0, str(day): 300, str(day + ONE_DAY): 200}
    assert {row.end - row.start for row in Usage.objects.filter(metric_id=a_metric(EMAILS).pk)} == {ONE_DAY}


@in_the_database
def test_the_hour_that_comes_twice_is_counted_once():
    server = a_server(time_zone="Europe/Berlin")
    walls = []
    for when, count in [("2025-10-26 00:30", 5), ("2025-10-26 01:30", 9)]:  # both are half past two
        walls.append(f"{at(when).astimezone(server.zone):%d %H:%M}")
        collected(server, when, tenant_says("alice", emails=count, rows=10 * count))
    assert walls == ["26 02:30", "26 02:30"]
    assert usage_of(server, EMAILS) == {"2025-10-26": 9}
    assert usage_of(server, ROWS) == {"2025-10-26": 40}


@in_the_database
def test_the_hour_that_is_left_out_loses_nothing():
    server = a_server(time_zone="Europe/Berlin")
    walls = []
    for when, count in [("2025-03-30 00:59:59", 5), ("2025-03-30 01:00:00", 9)]:
        walls.append(f"{at(when).astimezone(server.zone):%d %H:%M:%S}")
        collected(server, when, tenant_says("alice", emails=count, rows=10 * count))
    assert walls == ["30 01:59:59", "30 03:00:00"]
    assert usage_of(server, EMAILS) == {"2025-03-30": 9}
    assert usage_of(server, ROWS) == {"2025-03-30": 40}


@in_the_database
@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("Europe/Berlin", "2025-10-31 23:00:00"),
        ("America/New_York", "2025-11-01 04:00:00"),
        ("Pacific/Kiritimati", "2025-10-31 10:00:00"),
        ("Pacific/Pago_Pago", "2025-11-01 11:00:00"),
        ("Australia/Lord_Howe", "2025-10-31 13:00:00"),
    ],
)
def test_a_month_ends_at_midnight_of_the_server(name, turn):
    server = a_server(time_zone=name)
    for step, value in ((-1, 10), (0, 1), (1, 2)):
        when = f"{at(turn) + step * ONE_SECOND:%Y-%m-%d %H:%M:%S}"
        collected(server, when, tenant_says("alice", traffic=value))
    assert usage_of(server, TRAFFIC) == {"2025-10-01": 10, "2025-11-01": 2}


@in_the_database
def test_one_instant_is_three_days_around_the_world():
    found = {}
    for name in ("Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"):
        server = a_server(name, time_zone=name)
        collected(server, "2026-01-01 10:30", tenant_says("alice", emails=1, traffic=1))
        found[name] = [*usage_of(server, EMAILS), *usage_of(server, TRAFFIC)]
    assert found == {
        "Pacific/Kiritimati": ["2026-01-02", "2026-01-01"],
        "UTC": ["2026-01-01", "2026-01-01"],
        "Pacific/Pago_Pago": ["2025-12-31", "2025-12-01"],
    }


@in_the_database
def test_a_server_that_moves_from_one_end_of_time_to_the_other_has_each_day_once():
    server = a_server(time_zone="Pacific/Kiritimati")
    collected(server, "2025-12-30 12:00", tenant_says("alice", emails=5))
    collected(server, "2025-12-31 12:00", tenant_says("alice", emails=7))
    server.time_zone = "Pacific/Pago_Pago"
    server.save()
    collected(server, "2025-12-31 12:30", tenant_says("alice", emails=8))
    collected(server, "2026-01-01 12:30", tenant_says("alice", emails=2))
    assert usage_of(server, EMAILS) == {"2025-12-31": 8, "2026-01-01": 2}


@in_the_database
def test_a_day_that_was_corrected_stays_so_when_the_server_moves_and_the_day_is_open_again():
    server = a_server(time_zone="Pacific/Kiritimati")
    collected(server, "2025-12-30 12:00", tenant_says("alice", emails=5))
    correct(
        tenant=a_tenant(server),
        metric=a_metric(EMAILS),
        start=date(2025, 12, 31),
        value=Decimal(3),
        reason="two of them were tests",
        by=None,
        at=at("2025-12-31 12:00"),
    )
    server.time_zone = "Pacific/Pago_Pago"
    server.save()
    collected(server, "2025-12-31 12:30", tenant_says("alice", emails=8))
    assert usage_of(server, EMAILS) == {"2025-12-31": 3}


@in_the_database
@pytest.mark.parametrize(
    ("closed", "over"),
    [
        ("2025-10-25", "2025-10-25 22:00:00"),  # the day after it has 25 hours
        ("2025-03-29", "2025-03-29 23:00:00"),  # the day after it has 23
        ("2025-06-10", "2025-06-10 22:00:00"),
    ],
)
def test_a_closed_day_is_asked_for_again_for_48_hours_however_long_the_next_days_are(closed, over):
    server, wanted = a_server(time_zone="Europe/Berlin"), periods.day(date.fromisoformat(closed))
    with panel(says()):
        asked = [
            wanted in collection.periods_to_ask_again(server, at(over) + after)
            for after in (-ONE_SECOND, timedelta(0), timedelta(hours=48) - ONE_SECOND, timedelta(hours=48))
        ]
    assert asked == [False, True, True, False]
