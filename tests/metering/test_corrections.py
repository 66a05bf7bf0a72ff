"""Corrections: what staff say that a closed period's usage was, beside collections that go on."""

from datetime import date
from decimal import Decimal

import psycopg
import pytest
from django.db import DataError, IntegrityError, connection, transaction

from metering import collection, correcting, server_lock
from metering.approval import approve
from metering.correcting import CannotCorrect, correct
from metering.models import Collection, Correction, Latest, Reading, Restated, Server, Usage
from metering.providers import base
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    ROWS,
    TRAFFIC,
    a_metric,
    a_server,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db

NOON = "2026-11-19 12:00"


def a_collected_tenant(**values):
    """A tenant that was collected on 18 and 19 November, whose October has 10 GB of traffic."""
    server = a_server(**values)
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=10 * GB))
    collected(server, "2026-11-18 18:00", tenant_says("alice", disk=5 * GB, emails=25, rows=100))
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=6 * GB, emails=3, rows=130))
    return a_tenant(server)


def corrected(tenant, declared, start, value, *, when=NOON, reason="the panel counted twice", by=None):
    return correct(
        tenant=tenant,
        metric=a_metric(declared),
        start=date.fromisoformat(start),
        value=Decimal(value),
        reason=reason,
        by=by,
        at=at(when),
    )


def look_back(server, when, **values):
    """Collect with a provider that answers for every closed period that it is asked for."""

    def answers(connection, period):
        if period is None:
            yield tenant_says("alice")
            return
        kind = "traffic" if period.days > 1 else "emails"
        if kind in values:
            yield tenant_says("alice", **{kind: base.Usage(Decimal(values[kind]), start=period.start, end=period.end)})

    with panel(answers):
        server.refresh_from_db()
        return collection.collect_with_look_back(server=server, as_of=at(when))


def restated():
    return {(row.metric_id, str(row.start)): row.noted_at for row in Restated.objects.all()}


# ---- what it writes


def test_a_correction_counts_and_says_who_when_why_and_what_was_before():
    tenant, ines = a_collected_tenant(), a_staff_user()
    made = corrected(tenant, EMAILS, "2026-11-18", "12", by=ines)
    assert usage_of(tenant, EMAILS) == {"2026-11-18": 12, "2026-11-19": 3}
    made = Correction.objects.get(pk=made.pk)
    assert (made.before, made.value, made.by, made.at) == (25, 12, ines, at(NOON))
    assert (made.reason, str(made.start), str(made.end)) == ("the panel counted twice", "2026-11-18", "2026-11-19")
    assert Usage.objects.get(metric_id=a_metric(EMAILS).pk, start=made.start).correction_id == made.pk


def test_the_readings_stay_and_the_correction_is_a_new_one():
    tenant = a_collected_tenant()
    before = list(Reading.objects.order_by("metric_id", "read_at").values())
    made = corrected(tenant, EMAILS, "2026-11-18", "12")
    assert list(Reading.objects.filter(correction_id=None).order_by("metric_id", "read_at").values()) == before
    new = Reading.objects.get(correction_id=made.pk)
    assert (new.value, new.read_at, str(new.start), new.collection_id) == (12, at(NOON), "2026-11-18", None)


def test_a_correction_is_noted_for_billing():
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-18", "12")
    assert restated() == {(a_metric(EMAILS).pk, "2026-11-18"): at(NOON)}


def test_a_month_is_corrected_whole():
    tenant = a_collected_tenant()
    made = corrected(tenant, TRAFFIC, "2026-10-01", 7 * GB)
    assert usage_of(tenant, TRAFFIC) == {"2026-10-01": 7 * GB}
    assert str(made.end) == "2026-11-01"


def test_a_day_of_a_level_is_corrected_and_what_the_server_says_now_stays():
    tenant = a_collected_tenant()
    before = list(Latest.objects.order_by("metric_id").values())
    corrected(tenant, DISK, "2026-11-18", 4 * GB)
    assert usage_of(tenant, DISK) == {"2026-11-18": 4 * GB, "2026-11-19": 6 * GB}
    assert list(Latest.objects.order_by("metric_id").values()) == before


def test_a_corrected_day_of_a_counter_leaves_the_next_increase_alone():
    tenant = a_collected_tenant()
    corrected(tenant, ROWS, "2026-11-18", "70")
    collected(tenant.server, "2026-11-20 06:00", tenant_says("alice", disk=6 * GB, emails=1, rows=135))
    assert usage_of(tenant, ROWS) == {"2026-11-18": 70, "2026-11-19": 30, "2026-11-20": 5}


def test_a_period_of_which_nothing_was_known_is_given_a_value():
    tenant = a_collected_tenant()
    made = corrected(tenant, EMAILS, "2026-08-05", "40")
    assert made.before is None
    assert usage_of(tenant, EMAILS)["2026-08-05"] == 40


def test_a_correction_may_be_corrected_again():
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-18", "12")
    again = corrected(tenant, EMAILS, "2026-11-18", "13", when="2026-11-19 13:00", reason="12 was a typing mistake")
    assert (again.before, again.value) == (12, 13)
    assert usage_of(tenant, EMAILS)["2026-11-18"] == 13
    assert Correction.objects.count() == 2
    assert list(restated().values()) == [at("2026-11-19 13:00")]


def test_zero_is_a_correction_too():
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-18", "0")
    assert usage_of(tenant, EMAILS)["2026-11-18"] == 0


# ---- what is refused


def refused(tenant, *arguments, **options):
    with pytest.raises(CannotCorrect) as caught:
        corrected(tenant, *arguments, **options)
    assert not Correction.objects.exists()
    assert not Restated.objects.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("-1", "-1 is negative."),
        ("NaN", "NaN is not a number."),
        ("Infinity", "Infinity is not a number."),
        ("1e18", "1.000E+18 is not below 1E+18."),
        ("0.1234567", "0.1234567 has more than 6 decimal places."),
    ],
)
def test_a_value_that_is_no_quantity_is_refused(value, why):
    assert refused(a_collected_tenant(), EMAILS, "2026-11-18", value) == why


@pytest.mark.parametrize("value", ["999999999999999999.999999", "0.123456"])
def test_the_most_and_the_finest_value_are_taken(value):
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-18", value)
    assert usage_of(tenant, EMAILS)["2026-11-18"] == Decimal(value)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_is_required(reason):
    assert refused(a_collected_tenant(), EMAILS, "2026-11-18", "1", reason=reason) == "A correction needs a reason."


def test_the_value_that_counts_already_is_refused_in_words():
    said = refused(a_collected_tenant(), DISK, "2026-11-18", 5 * GB)
    assert said == "18 November 2026 counts 5 GB already."


def test_an_open_period_is_not_corrected():
    tenant = a_collected_tenant()
    assert refused(tenant, EMAILS, "2026-11-19", "1").startswith("19 November 2026 is not over in UTC")
    assert refused(tenant, TRAFFIC, "2026-11-01", "1").startswith("November 2026 is not over in UTC")
    assert refused(tenant, EMAILS, "2026-11-20", "1").startswith("20 November 2026 is not over")


@pytest.mark.parametrize(
    ("zone", "ends"),
    [
        ("Europe/Berlin", "2026-11-18 23:00:00"),
        ("America/New_York", "2026-11-19 05:00:00"),
        ("Pacific/Kiritimati", "2026-11-18 10:00:00"),
        ("Pacific/Pago_Pago", "2026-11-19 11:00:00"),
    ],
)
def test_a_day_is_over_when_it_is_over_where_the_server_is(zone, ends):
    tenant = a_tenant(a_server(time_zone=zone))
    last = at(ends).timestamp() - 1
    refused(tenant, EMAILS, "2026-11-18", "1", when=str(at(ends).fromtimestamp(last, at(ends).tzinfo))[:19])
    assert corrected(tenant, EMAILS, "2026-11-18", "1", when=ends)


def test_a_month_begins_on_its_first_day():
    said = refused(a_collected_tenant(), TRAFFIC, "2026-10-02", "1")
    assert said == "Bandwidth counts by calendar month, and 2 October 2026 is not the first day of one."


def test_a_period_years_back_is_refused():
    assert refused(a_collected_tenant(), EMAILS, "2020-12-31", "1").endswith("lies more than 5 years back.")


def test_a_metric_of_another_provider_is_refused():
    tenant = a_collected_tenant()
    with pytest.raises(CannotCorrect, match="Emails sent is not measured on panel-01"):
        correct(
            tenant=tenant,
            metric=a_metric(EMAILS, provider="prometheus"),
            start=date(2026, 11, 18),
            value=Decimal(1),
            reason="no",
            by=None,
            at=at(NOON),
        )


@pytest.mark.parametrize("fields", [{"value": -1}, {"value": 10**18 + 1}, {"reason": ""}])
def test_the_database_refuses_a_correction_that_is_none(fields):
    tenant, metric = a_collected_tenant(), a_metric(EMAILS)
    right = {"start": "2026-11-18", "end": "2026-11-19", "value": 1, "reason": "why", "at": at(NOON)}
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        Correction.objects.create(tenant=tenant, metric=metric, **{**right, **fields})


# ---- beside collections


def other_process():
    params = connection.get_connection_params()
    return psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"])


@pytest.mark.django_db(transaction=True)
def test_a_correction_waits_for_a_collection_and_then_says_that_the_server_is_busy(monkeypatch):
    tenant = a_collected_tenant()
    monkeypatch.setattr(correcting, "WAIT", "100ms")
    with other_process() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [server_lock.LOCK, tenant.server_id])
        with pytest.raises(server_lock.Busy, match="A collection of panel-01 is running"):
            corrected(tenant, EMAILS, "2026-11-18", "12")
    assert usage_of(tenant, EMAILS)["2026-11-18"] == 25
    assert corrected(tenant, EMAILS, "2026-11-18", "12")


@pytest.mark.django_db(transaction=True)
def test_no_collection_starts_while_a_correction_is_written():
    tenant = a_collected_tenant()
    with transaction.atomic():
        corrected(tenant, EMAILS, "2026-11-18", "12")
        with other_process() as other:
            asked = "SELECT pg_try_advisory_xact_lock(%s, %s)"
            assert other.execute(asked, [server_lock.LOCK, tenant.server_id]).fetchone() == (False,)


def test_a_look_back_leaves_a_corrected_period_alone():
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-18", "12")
    look_back(tenant.server, "2026-11-19 18:00", emails=26)
    assert usage_of(tenant, EMAILS)["2026-11-18"] == 12
    assert restated()[a_metric(EMAILS).pk, "2026-11-18"] == at(NOON)


def test_a_value_that_names_a_corrected_month_leaves_it_alone():
    tenant = a_collected_tenant()
    corrected(tenant, TRAFFIC, "2026-10-01", 7 * GB)
    october = base.Usage(11 * GB, start=date(2026, 10, 1), end=date(2026, 11, 1))
    collected(tenant.server, "2026-11-19 18:00", tenant_says("alice", traffic=october))
    assert usage_of(tenant, TRAFFIC) == {"2026-10-01": 7 * GB}


def test_a_collection_that_began_before_midnight_leaves_the_day_that_was_corrected_since_alone():
    tenant = a_collected_tenant()
    corrected(tenant, EMAILS, "2026-11-19", "2", when="2026-11-20 00:10")
    corrected(tenant, ROWS, "2026-11-19", "20", when="2026-11-20 00:10")
    collected(tenant.server, "2026-11-19 23:59", tenant_says("alice", emails=9, rows=150))
    assert usage_of(tenant, EMAILS)["2026-11-19"] == 2
    assert usage_of(tenant, ROWS)["2026-11-19"] == 20


# ---- what collections note of closed periods


def test_a_look_back_that_changes_a_closed_day_notes_it():
    tenant = a_collected_tenant()
    look_back(tenant.server, "2026-11-19 18:00", emails=26)
    # 17 November was asked for again too, and had no value at all until now.
    assert usage_of(tenant, EMAILS) == {"2026-11-17": 26, "2026-11-18": 26, "2026-11-19": 3}
    emails = a_metric(EMAILS).pk
    assert restated() == dict.fromkeys([(emails, "2026-11-17"), (emails, "2026-11-18")], at("2026-11-19 18:00"))


def test_a_look_back_that_changes_nothing_notes_nothing():
    tenant = a_collected_tenant()
    look_back(tenant.server, "2026-11-19 18:00", emails=26)
    Restated.objects.all().delete()
    readings = Reading.objects.count()
    look_back(tenant.server, "2026-11-19 19:00", emails=26)
    assert restated() == {}
    assert Reading.objects.count() == readings


def test_a_late_first_value_of_a_closed_month_is_noted():
    server = a_server()
    collected(server, "2026-11-01 03:00", tenant_says("alice", emails=1))
    look_back(server, "2026-11-01 06:00", traffic=11 * GB)
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-10-01": 11 * GB}
    assert restated() == {(a_metric(TRAFFIC).pk, "2026-10-01"): at("2026-11-01 06:00")}


def test_values_of_an_open_period_are_not_noted():
    a_collected_tenant()
    assert restated() == {}


@pytest.mark.parametrize(("stored", "noted"), [("2026-11-19 23:00", []), ("2026-11-20 09:00", [DISK, EMAILS, ROWS])])
def test_what_was_held_is_noted_when_it_is_stored_after_its_day(stored, noted):
    server, names = a_server(), [f"user{number}" for number in range(6)]

    def everybody(when, disk, more=0):
        values = {"disk": disk * GB, "emails": 5 + more, "rows": 100 + more, "traffic": (1 + more) * GB}
        return collected(server, when, *[tenant_says(name, **values) for name in names])

    everybody("2026-11-19 06:00", 1)
    record = everybody("2026-11-19 18:00", 100, more=7)
    assert (record.status, restated()) == (Collection.Status.HELD, {})
    approve(record=record, at=at(stored), by=a_staff_user())
    assert {row.tenant_id for row in Restated.objects.all()} == {a_tenant(server, name).pk for name in names if noted}
    assert restated() == {(a_metric(metric).pk, "2026-11-19"): at(stored) for metric in noted}


def test_what_changes_a_day_that_was_over_by_an_earlier_time_zone_is_noted():
    server = a_server(time_zone="Europe/Berlin")
    collected(server, "2026-11-18 18:00", tenant_says("alice", emails=5, rows=100))
    collected(server, "2026-11-18 23:10", tenant_says("alice", emails=1, rows=107))  # after midnight in Berlin
    Server.objects.filter(pk=server.pk).update(time_zone="America/New_York")
    collected(server, "2026-11-19 02:00", tenant_says("alice", emails=9, rows=111))
    assert restated().keys() == {(a_metric(metric).pk, "2026-11-18") for metric in (EMAILS, ROWS)}
