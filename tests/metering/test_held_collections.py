"""A held collection on its page: what it would change, and who decided what."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from metering import held
from metering.models import Collection, HeldValue, Latest, Server
from tests.builders import (
    DISK,
    GB,
    MAILBOXES,
    ROWS,
    Usage,
    a_server,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    says,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db
NAMES = tuple(f"user{number:02}" for number in range(10))
WHEN, LATER = "2026-11-18 06:00", "2026-11-19 06:00"


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    with panel():
        yield client


def everybody(**values):
    return [tenant_says(name, **values) for name in NAMES]


def known(**values):
    server = a_server()
    collected(server, WHEN, *everybody(**values))
    return server


def page(client, record):
    response = client.get(reverse("staff_collection", args=[record.pk]))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def decided(client, record, verdict, follow=True):
    response = client.post(reverse("staff_collection_decide", args=[record.pk]), {"verdict": verdict}, follow=follow)
    record.refresh_from_db()
    return " ".join(response.content.decode().split())


def by_name(found):
    return {one.metric.system_name: one for one in found.metrics}


def test_tenants_that_would_vanish_and_that_are_new_are_named(staff):
    server = known(disk=5 * GB)
    a_tenant(server, "named-but-never-seen")
    record = collected(server, LATER, tenant_says("user00", disk=5 * GB), tenant_says("zoe", disk=GB))
    found = held.differences(record)
    assert (found.vanishing.count, found.vanishing.first) == (9, list(NAMES[1:]))
    assert (found.new.count, found.new.first) == (1, ["zoe"])
    disk = by_name(found)["disk"]
    assert (disk.values_before, disk.values, disk.before, disk.now) == (10, 2, 50, 6)
    shown = page(staff, record)
    assert "9 of 10 tenants would vanish." in shown
    assert "9 would vanish" in shown
    assert "1 would be new" in shown
    assert "50 GB" in shown


def test_no_more_than_fifty_tenants_are_named(staff):
    server = a_server()
    collected(server, WHEN, *[tenant_says(f"user{number:03}", disk=GB) for number in range(80)])
    record = collected(server, LATER, tenant_says("user000", disk=GB))
    found = held.differences(record).vanishing
    assert (found.count, len(found.first), found.first[-1]) == (79, 50, "user050")
    shown = page(staff, record)
    assert "The first 50 by name" in shown
    assert "user051" not in shown


def test_everything_that_would_fall_to_zero_is_counted_by_metric(staff):
    server = known(disk=5 * GB, mailboxes=3)
    record = collected(server, LATER, *everybody(disk=0, mailboxes=3))
    found = by_name(held.differences(record))
    assert (found["disk"].gone, found["disk"].before, found["disk"].now) == (10, 50, 0)
    assert (found["mailboxes"].gone, found["mailboxes"].before, found["mailboxes"].now) == (0, 30, 30)


def test_the_largest_changes_come_first_each_as_a_part_of_its_metric(staff):
    server = known(disk=5 * GB, mailboxes=3)
    answer = [tenant_says(name, disk=500 * GB * number, mailboxes=3) for number, name in enumerate(NAMES, start=1)]
    answer[4] = tenant_says("user04", disk=5 * GB, mailboxes=300)
    record = collected(server, LATER, *answer)
    largest = held.differences(record).largest
    assert [(one.tenant, one.metric.system_name, one.before, one.now) for one in largest[:3]] == [
        ("user04", "mailboxes", 3, 300),
        ("user09", "disk", 5, 5000),
        ("user08", "disk", 5, 4500),
    ]
    assert len(largest) == 10
    shown = page(staff, record)
    assert "Disk space would be" in shown
    assert "300 mailboxes" in shown
    assert "5,000 GB" in shown


def test_a_total_of_a_month_that_began_since_is_no_measure(staff):
    server = a_server()
    collected(server, "2026-10-31 06:00", *everybody(traffic=900 * GB, disk=GB))
    record = collected(server, "2026-11-01 06:00", *everybody(traffic=0, disk=0))
    traffic = by_name(held.differences(record))["traffic"]
    assert (traffic.gone, traffic.begins_anew, traffic.before) == (0, True, 9000)
    assert "which began anew since" in page(staff, record)


def test_a_closed_period_is_not_compared(staff):
    server = known(disk=GB)
    closed = Usage(Decimal(7), start=at(WHEN).date(), end=at(LATER).date())
    record = collected(server, LATER, *everybody(disk=0, emails=closed))
    assert "emails" not in by_name(held.differences(record))


def test_the_comparison_takes_four_queries(staff):
    record = collected(known(disk=GB, mailboxes=2), LATER, *everybody(disk=0, mailboxes=2))
    with CaptureQueriesContext(connection) as queries:
        held.differences(record)
    assert len(queries) == 4


def test_storing_keeps_exactly_what_was_held(staff):
    server = known(disk=5 * GB, rows=100)
    record = collected(
        server,
        LATER,
        tenant_says("user00", disk=Usage(Decimal(0), limit=9 * GB), rows=130),
        tenant_says("user01", rows=40),
        tenant_says("empty"),
        *[tenant_says(name, disk=0, rows=100) for name in NAMES[2:]],
    )
    collected_elsewhere = a_server("other")
    collected(collected_elsewhere, LATER, tenant_says("user00", disk=GB))
    shown = decided(staff, record, "store")
    assert "It was held, and stored on purpose" in shown
    assert "ines@staff.test decided so" in shown
    user = a_tenant(server, "user00")
    assert usage_of(user, DISK) == {"2026-11-18": 5 * GB, "2026-11-19": 0}
    assert usage_of(user, ROWS)["2026-11-19"] == 30
    assert usage_of(a_tenant(server, "user01"), ROWS)["2026-11-19"] == 40  # a count that fell was reset
    latest = Latest.objects.filter(tenant_id=user.pk).order_by("metric_id")
    assert {(row.value, row.quota, row.read_at) for row in latest} == {
        (0, 9 * GB, record.as_of),
        (130, None, record.as_of),
    }
    assert server.tenants.get(key="empty").first_seen_at == record.as_of
    assert (record.status, record.tenants, HeldValue.objects.count()) == ("complete", 11, 0)


def test_dropping_stores_nothing_and_says_who(staff):
    server = known(disk=5 * GB)
    record = collected(server, LATER, *everybody(disk=0))
    shown = decided(staff, record, "drop")
    assert "ines@staff.test dropped what it held" in shown
    assert usage_of(a_tenant(server, "user00"), DISK) == {"2026-11-18": 5 * GB}
    assert not HeldValue.objects.exists()
    assert "Store these values" not in shown


def test_a_second_decision_changes_nothing_and_says_so(staff):
    server = known(rows=100)
    record = collected(server, LATER, tenant_says("user00", rows=130))
    decided(staff, record, "store")
    before = record.decided_at
    for verdict in ("store", "drop"):
        assert "Nothing was changed." in decided(staff, record, verdict)
    assert (record.status, record.decided_at) == ("complete", before)
    assert usage_of(a_tenant(server, "user00"), ROWS)["2026-11-19"] == 30


def test_what_newer_values_overtook_cannot_be_stored(staff):
    server = known(mailboxes=3, disk=GB)
    record = collected(server, LATER, *everybody(mailboxes=0, disk=GB))
    collected(server, "2026-11-19 18:00", *everybody(mailboxes=4, disk=GB))
    assert "Nothing was changed." in decided(staff, record, "store")
    assert "before anybody had decided" in page(staff, record)
    assert usage_of(a_tenant(server, "user00"), MAILBOXES)["2026-11-19"] == 4


@pytest.mark.parametrize(
    ("when", "zone"), [("2026-11-19 18:00", "Asia/Tokyo"), ("2026-11-19 06:00", "America/Los_Angeles")]
)
def test_counts_that_are_of_another_day_by_a_new_time_zone_cannot_be_stored(staff, when, zone):
    server = known(rows=1_000_000, disk=GB)
    record = collected(server, when, *everybody(rows=1_000_030, disk=0))
    Server.objects.filter(pk=server.pk).update(time_zone=zone)
    assert "The time zone of panel-01 was changed since." in decided(staff, record, "store")
    assert record.status == "held"
    assert usage_of(a_tenant(server, "user00"), ROWS) == {"2026-11-18": 0}
    record = collected(server, when, *everybody(rows=1_000_030, disk=0))
    decided(staff, record, "store")
    assert record.status == "complete"
    assert sum(usage_of(a_tenant(server, "user00"), ROWS).values()) == 30


@pytest.mark.parametrize("verdict", ["", "keep"])
def test_no_decision_decides_nothing(staff, verdict):
    record = collected(known(disk=GB), LATER, *everybody(disk=0))
    assert "Choose to store the values or to drop them." in decided(staff, record, verdict)
    assert record.status == "held"


def test_collecting_again_is_offered_beside_it(staff):
    server = known(disk=GB)
    record = collected(server, LATER, *everybody(disk=0))
    assert "Collect again</button>" in page(staff, record)
    with panel(says(*everybody(disk=2 * GB))):
        staff.post(reverse("staff_server_collect", args=[server.pk]))
    record.refresh_from_db()
    assert (record.status, record.decided_by) == ("dropped", None)


def test_who_may_only_look_sees_what_would_change_and_no_buttons(client):
    record = collected(known(disk=GB), LATER, *everybody(disk=0))
    user = a_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_collection"))
    client.force_login(user)
    with panel():
        shown = page(client, record)
        assert "Largest changes" in shown
        assert "Store these values" not in shown
        assert "Collect again</button>" not in shown
        assert client.post(reverse("staff_collection_decide", args=[record.pk])).status_code == 403
    assert Collection.objects.get(pk=record.pk).status == "held"


def test_names_from_outside_are_text(staff):
    evil = "<img src=x>"
    server = known(disk=GB)
    record = collected(server, LATER, tenant_says(evil, disk=GB), *everybody(disk=0))
    shown = page(staff, record)
    assert "&lt;img src=x&gt;" in shown
    assert "<img" not in shown


def test_one_that_is_held_is_not_forgotten_when_a_later_one_fails(staff):
    server = known(disk=GB)
    record = collected(server, LATER, *everybody(disk=0))
    Collection.objects.create(
        server=server, as_of=at(LATER), started_at=at(LATER), ended_at=at(LATER), status="failed", error="No answer."
    )
    shown = " ".join(staff.get(reverse("staff_server", args=[server.pk])).content.decode().split())
    assert "Failing: its last collection failed." in shown
    assert reverse("staff_collection", args=[record.pk]) in shown
    assert "See what would change" in shown
    assert "Store these values" in page(staff, record)
