"""What was used day by day and month by month, from usage rows and from the readings of monthly totals."""

from datetime import date
from decimal import Decimal as D

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from invoicing import history
from metering.correcting import correct
from metering.models import Latest, Server
from tests.builders import (
    DISK,
    EMAILS,
    ROWS,
    TRAFFIC,
    Usage,
    a_metric,
    a_server,
    a_staff_user,
    a_tenant,
    at,
    collected,
    tenant_says,
)

pytestmark = pytest.mark.django_db
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def days_of(tenant, declared, since=OCTOBER, until=date(2026, 12, 1)):
    metric = a_metric(declared)
    return history.by_day({tenant.pk: since}, [metric], until).get((tenant.pk, metric.pk), history.NONE)


def said(days):
    return {f"{day:%d %b}": value for day, value in days.points}


def test_days_levels_and_counters_have_a_value_for_each_day_that_was_measured():
    server = a_server()
    for day, disk, mails, rows in ((2, 5, 10, 100), (3, 7, 20, 150), (5, 6, 30, 250)):
        collected(server, f"2026-11-0{day} 06:00", tenant_says("alice", disk=disk, emails=mails, rows=rows))
    tenant = a_tenant(server)
    assert said(days_of(tenant, DISK)) == {"02 Nov": 5, "03 Nov": 7, "05 Nov": 6}
    assert said(days_of(tenant, EMAILS)) == {"02 Nov": 10, "03 Nov": 20, "05 Nov": 30}
    assert said(days_of(tenant, ROWS)) == {"02 Nov": 0, "03 Nov": 50, "05 Nov": 100}


def test_the_days_of_a_monthly_total_are_what_it_rose_by():
    server = a_server()
    for day, total in ((1, 3), (2, 5), (4, 5), (5, 9)):
        collected(server, f"2026-11-0{day} 06:00", tenant_says("alice", traffic=total))
    days = days_of(a_tenant(server), TRAFFIC)
    assert said(days) == {"01 Nov": 3, "02 Nov": 2, "03 Nov": 0, "04 Nov": 0, "05 Nov": 4}
    assert not days.lumps


def test_the_last_reading_of_a_day_counts():
    server = a_server()
    for time, total in (("06:00", 3), ("18:00", 4)):
        collected(server, f"2026-11-01 {time}", tenant_says("alice", traffic=total))
    collected(server, "2026-11-02 06:00", tenant_says("alice", traffic=6))
    assert said(days_of(a_tenant(server), TRAFFIC)) == {"01 Nov": 4, "02 Nov": 2}


def test_the_first_value_of_a_month_that_began_earlier_is_that_of_no_single_day():
    server = a_server()
    for day, total in ((10, 30), (11, 33)):
        collected(server, f"2026-11-{day} 06:00", tenant_says("alice", traffic=total))
    days = days_of(a_tenant(server), TRAFFIC)
    assert said(days) == {"10 Nov": 30, "11 Nov": 3}
    assert days.lumps == {date(2026, 11, 10)}
    assert days.whole(NOVEMBER, date(2026, 12, 1)) == [3]


def test_a_total_begins_anew_with_each_month():
    server = a_server()
    for when, total in (("10-30", 90), ("10-31", 95), ("11-01", 2), ("11-02", 5)):
        collected(server, f"2026-{when} 06:00", tenant_says("alice", traffic=total))
    assert said(days_of(a_tenant(server), TRAFFIC)) == {"30 Oct": 90, "31 Oct": 5, "01 Nov": 2, "02 Nov": 3}


def test_a_day_is_that_of_the_server():
    server = a_server(time_zone="Asia/Tokyo")
    collected(server, "2026-10-31 16:00", tenant_says("alice", traffic=1))  # 1 November, 01:00 there
    collected(server, "2026-11-01 16:00", tenant_says("alice", traffic=4))
    assert said(days_of(a_tenant(server), TRAFFIC)) == {"01 Nov": 1, "02 Nov": 3}


def test_what_was_corrected_after_the_month_belongs_to_its_last_day():
    server, tenant = a_server(), None
    for when, total in (("10-30", 90), ("10-31", 95), ("11-02", 2)):
        collected(server, f"2026-{when} 06:00", tenant_says("alice", traffic=total))
    tenant = a_tenant(server)
    by = a_staff_user()
    correct(
        tenant=tenant,
        metric=a_metric(TRAFFIC),
        start=OCTOBER,
        value=D(100),
        reason="as they said",
        by=by,
        at=at("2026-11-03 09:00"),
    )
    assert said(days_of(tenant, TRAFFIC))["31 Oct"] == 10


def test_a_total_that_stood_still_used_nothing():
    days = history.Days([(NOVEMBER, D(3))]).still(OCTOBER, date(2026, 11, 3))
    assert said(days) == {"01 Nov": 3, "02 Nov": 0, "03 Nov": 0}
    assert said(history.NONE.still(date(2026, 11, 2), date(2026, 11, 3))) == {"02 Nov": 0, "03 Nov": 0}


def test_each_tenant_is_looked_at_from_its_own_day_on():
    server = a_server()
    for day in (2, 3, 4):
        answers = [tenant_says(name, emails=day, disk=day) for name in ("alice", "bob")]
        collected(server, f"2026-11-0{day} 06:00", *answers)
    alice, bob, emails, disk = a_tenant(server), a_tenant(server, "bob"), a_metric(EMAILS), a_metric(DISK)
    since = {alice.pk: date(2026, 11, 3), bob.pk: date(2026, 11, 4)}
    found = history.by_day(since, [emails], date(2026, 12, 1))
    assert said(found[alice.pk, emails.pk]) == {"03 Nov": 3, "04 Nov": 4}
    assert said(found[bob.pk, emails.pk]) == {"04 Nov": 4}
    levels = history.levels(since, [disk.pk])
    assert levels == {(alice.pk, disk.pk): (3, 4), (bob.pk, disk.pk): (4, 4)}


def test_months_add_up_or_end_with_their_last_level():
    server = a_server()
    for when, disk, mails in (("10-30", 5, 10), ("10-31", 9, 20), ("11-01", 4, 1), ("11-02", 6, 2)):
        answer = tenant_says("alice", disk=disk, emails=mails, traffic=Usage(D(mails)))
        collected(server, f"2026-{when} 06:00", answer)
    tenant = a_tenant(server)

    def months(declared):
        rows = history.by_month(tenant.pk, a_metric(declared), OCTOBER, date(2026, 12, 1))
        return [(row.first, row.value, row.least, row.most) for row in rows]

    assert months(EMAILS) == [(OCTOBER, 30, 10, 20), (NOVEMBER, 3, 1, 2)]
    assert months(DISK) == [(OCTOBER, 9, 5, 9), (NOVEMBER, 6, 4, 6)]
    assert months(TRAFFIC) == [(OCTOBER, 20, 20, 20), (NOVEMBER, 2, 2, 2)]


def test_any_number_of_tenants_and_days_takes_one_query():
    server = a_server()
    for day in (1, 2):
        answers = [tenant_says(f"user-{n}", emails=day, traffic=day) for n in range(5)]
        collected(server, f"2026-11-0{day} 06:00", *answers)
    since = {a_tenant(server, f"user-{n}").pk: OCTOBER for n in range(5)}
    metrics = [a_metric(EMAILS), a_metric(TRAFFIC)]
    with CaptureQueriesContext(connection) as captured:
        assert len(history.by_day(since, metrics, date(2026, 12, 1))) == 10
    assert len(captured) == 1


def test_nobody_has_no_history():
    assert history.by_day({}, [], OCTOBER) == {}
    assert history.levels({}, [1]) == {}


@pytest.mark.parametrize("is_collected", [True, False])
@pytest.mark.parametrize("seen_until", [None, "2026-11-17 06:00"])
@pytest.mark.parametrize("checked_at", [None, "2026-11-18 06:00", "2026-11-20 06:00"])
def test_when_a_value_was_last_brought_is_the_same_as_its_model_says(is_collected, seen_until, checked_at):
    tenant = a_tenant(a_server())
    Server.objects.update(collected_at=at("2026-11-19 06:00") if is_collected else None)
    Latest.objects.create(
        tenant_id=tenant.pk,
        metric_id=1,
        value=D(5),
        start=date(2026, 11, 1),
        read_at=at("2026-11-16 06:00"),
        seen_until=seen_until and at(seen_until),
        checked_at=checked_at and at(checked_at),
        collection_id=1,
    )
    [newest] = history.newest([tenant.pk]).values()
    assert newest.collected_at == Latest.objects.with_collected_at().get().collected_at
