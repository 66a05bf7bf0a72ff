"""An answer that cannot be right is held: nothing of it counts until a person has looked at it."""

import pytest

from metering import approval
from metering.models import Collection, HeldValue, Latest, Reading
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    a_server,
    a_staff_user,
    a_tenant,
    at,
    collected,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db
NAMES = ("alice", "bob", "carol", "dave")
HELD, COMPLETE, DROPPED = Collection.Status.HELD, Collection.Status.COMPLETE, Collection.Status.DROPPED


def everybody(**values):
    return [tenant_says(name, **values) for name in NAMES]


def known(**values):
    """A server whose four tenants have these values since yesterday."""
    server = a_server()
    collected(server, "2026-11-18 06:00", *everybody(**values))
    return server


def test_a_metric_that_falls_to_zero_for_everybody_is_held():
    server = known(disk=5 * GB, mailboxes=3)
    record = collected(server, "2026-11-19 06:00", *everybody(disk=0, mailboxes=3))
    assert record.status == HELD
    assert record.error.startswith("Disk space would fall to zero for 4 of 4 tenants that use it.")
    assert usage_of(a_tenant(server), DISK) == {"2026-11-18": 5 * GB}
    assert usage_of(a_tenant(server), MAILBOXES) == {"2026-11-18": 3}
    assert (record.readings_stored, Reading.objects.filter(read_at=record.as_of).count()) == (0, 0)
    assert server.collected_at == at("2026-11-18 06:00")


def test_levels_that_jump_by_a_factor_are_held():
    server = known(disk=5 * GB)
    record = collected(server, "2026-11-19 06:00", *everybody(disk=5120 * GB))
    assert record.status == HELD
    assert record.error.startswith("Disk space would be 1,024 times what it was, over 4 tenants.")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"traffic": 900 * GB}, {"traffic": 0}),
        ({"emails": 500}, {"emails": 0}),
        ({"rows": 10**9}, {"rows": 0}),
        ({"disk": 0}, {"disk": 900 * GB}),
        ({"traffic": 1}, {"traffic": 900 * GB}),
    ],
)
def test_what_resets_may_be_zero_and_what_was_nothing_may_grow(before, now):
    server = a_server()
    collected(server, "2026-10-31 06:00", *everybody(**before))
    assert collected(server, "2026-11-01 06:00", *everybody(**now)).status == COMPLETE


def test_a_total_that_falls_to_zero_within_its_month_is_held():
    server = known(traffic=900 * GB)
    assert collected(server, "2026-11-19 06:00", *everybody(traffic=0)).status == HELD
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-11-01": 900 * GB}


def test_a_few_tenants_may_do_what_they_like():
    server = a_server()
    collected(server, "2026-11-18 06:00", tenant_says("alice", disk=5 * GB), tenant_says("bob", disk=1))
    answer = tenant_says("alice", disk=0), tenant_says("bob", disk=900 * GB)
    assert collected(server, "2026-11-19 06:00", *answer).status == COMPLETE


def test_what_was_held_is_stored_as_it_was():
    server = known(disk=5 * GB, rows=100)
    record = collected(server, "2026-11-19 06:00", *everybody(disk=0, rows=130, emails=7), tenant_says("erin"))
    assert (record.status, HeldValue.objects.count()) == (HELD, 13)
    ines = a_staff_user()
    approval.approve(record=record, at=at("2026-11-19 09:00"), by=ines)
    record.refresh_from_db()
    assert (record.status, record.decided_by, record.error) == (COMPLETE, ines, "")
    assert usage_of(a_tenant(server), DISK) == {"2026-11-18": 5 * GB, "2026-11-19": 0}
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 0, "2026-11-19": 30}
    assert usage_of(a_tenant(server), EMAILS) == {"2026-11-19": 7}
    assert set(server.tenants.values_list("key", flat=True)) == {*NAMES, "erin"}
    assert {row.read_at for row in Latest.objects.exclude(metric_id=0)} == {record.as_of}
    server.refresh_from_db()
    assert server.collected_at == record.as_of
    assert not HeldValue.objects.exists()


def test_what_was_held_is_stored_once():
    server = known(rows=100)
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", rows=130))
    ines = a_staff_user()
    approval.approve(record=record, at=at("2026-11-19 09:00"), by=ines)
    with pytest.raises(approval.NotHeld, match="is complete, not held"):
        approval.approve(record=record, at=at("2026-11-19 09:01"), by=ines)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 0, "2026-11-19": 30}


def test_tenants_that_vanish_are_missing_once_that_is_approved():
    server = known(disk=5 * GB)
    record = collected(server, "2026-11-19 06:00", tenant_says("alice", disk=5 * GB))
    approval.approve(record=record, at=at("2026-11-19 09:00"), by=a_staff_user())
    assert server.tenants.exclude(missing_since=None).count() == 3


def test_what_was_held_is_dropped():
    server = known(disk=5 * GB)
    record = collected(server, "2026-11-19 06:00", *everybody(disk=0))
    approval.drop(record=record, at=at("2026-11-19 09:00"), by=a_staff_user())
    assert (record.status, HeldValue.objects.exists()) == (DROPPED, False)
    with pytest.raises(approval.NotHeld, match="is dropped, not held"):
        approval.approve(record=record, at=at("2026-11-19 09:00"), by=a_staff_user("o@staff.test"))


def test_newer_values_overtake_what_is_held():
    server = known(disk=5 * GB)
    record = collected(server, "2026-11-19 06:00", *everybody(disk=0))
    collected(server, "2026-11-19 18:00", *everybody(disk=6 * GB))
    record.refresh_from_db()
    assert (record.status, HeldValue.objects.exists()) == (DROPPED, False)
    assert usage_of(a_tenant(server), DISK) == {"2026-11-18": 5 * GB, "2026-11-19": 6 * GB}
