"""Servers are asked side by side: the slow and the dead do not delay the others, and all is written at the end."""

import threading
import time

import pytest
from django.db import connections
from django.test import override_settings

from metering import collection, collectors
from metering.models import Collection, Server
from metering.providers.base import ProviderError
from tests.builders import DISK, a_server, a_tenant, at, panel, says, tenant_says, usage_of

pytestmark = pytest.mark.django_db(transaction=True)
WHEN = at("2026-11-19 06:00")


def five_servers():
    return [a_server(f"panel-{number:02}", settings={"host": str(number)}) for number in range(5)]


def test_they_are_asked_at_the_same_time():
    servers, all_here = five_servers(), threading.Barrier(5)

    def meets(asked, period=None):
        if period is None:
            all_here.wait(20)  # breaks unless all five are asked at once
            yield tenant_says("alice", disk=5)

    with panel(meets):
        records = collectors.collect_all(as_of=WHEN)
    assert {record.status for record in records} == {Collection.Status.COMPLETE}
    assert {usage_of(a_tenant(server), DISK)["2026-11-19"] for server in servers} == {5}


def test_a_dead_server_and_one_that_raises_do_not_touch_the_others():
    servers, ended = five_servers(), []

    def some_are_ill(asked, period=None):
        number = int(asked.settings["host"])
        if period is None and number == 1:
            raise ProviderError("It is dead.")
        if period is None and number == 2:
            raise RuntimeError
        if period is None:
            yield tenant_says("alice", disk=number)

    with panel(some_are_ill):
        collectors.collect_all(as_of=WHEN, done=lambda server, record: ended.append((server.name, record.status)))
    assert sorted(ended) == [
        ("panel-00", "complete"),
        ("panel-01", "failed"),
        ("panel-02", "failed"),
        ("panel-03", "complete"),
        ("panel-04", "complete"),
    ]
    assert usage_of(a_tenant(servers[4]), DISK) == {"2026-11-19": 4}


def test_no_further_server_is_begun_once_it_is_to_stop():
    five_servers()
    with panel(says(tenant_says("alice", disk=1))):
        assert collectors.collect_all(as_of=WHEN, should_stop=lambda: True) == []
    assert not Collection.objects.exists()


@override_settings(COLLECTORS=2)
def test_no_more_are_asked_at_once_than_is_set_and_no_connection_stays():
    five_servers()
    now, most, lock = [0], [0], threading.Lock()

    def counts(asked, period=None):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        yield from () if period else [tenant_says("alice", disk=1)]

    before = other_connections()
    with panel(counts):
        collectors.collect_all(as_of=WHEN)
    assert most[0] == 2
    # A connection that was closed is still listed until its process on the server has ended.
    until = time.monotonic() + 10
    while other_connections() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert other_connections() <= before


def other_connections():
    """How many clients are connected besides this one; the server's own workers come and go."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@override_settings(COLLECTING_SECONDS=1)
def test_a_server_that_hangs_is_left_behind(caplog):
    """A mount that is dead, for example: neither an answer nor a time-out."""
    servers, released = five_servers(), threading.Event()

    def hangs(asked, period=None):
        if asked.settings["host"] == "3":
            released.wait(60)
        yield from () if period else [tenant_says("alice", disk=1)]

    begin = time.monotonic()
    try:
        with panel(hangs):
            records = collectors.collect_all(as_of=WHEN)
        assert time.monotonic() - begin < 30
        assert {record.server.name for record in records} == {server.name for server in servers} - {"panel-03"}
        assert "left behind, since they did not end in time: panel-03" in caplog.text
    finally:
        released.set()
        deadline = time.monotonic() + 30
        while Collection.objects.filter(status="running").exists() and time.monotonic() < deadline:
            time.sleep(0.05)


def test_how_far_it_is_can_be_seen_while_it_runs():
    a_server()
    seen = []

    def long(asked, period=None):
        for number in range(0 if period else 1500):
            yield tenant_says(f"tenant-{number}", disk=1)
        if period is None:
            other = connections.create_connection("default")
            with other.cursor() as cursor:
                cursor.execute("SELECT status, seen_so_far FROM metering_collection")
                seen.append(cursor.fetchone())
            other.close()

    with panel(long):
        collection.collect(server=Server.objects.get(), as_of=WHEN)
    assert seen == [("running", 1000)]


@override_settings(COLLECTION_SECONDS=0)
def test_nothing_is_asked_any_more_when_its_time_is_over():
    ends = []

    def notes(asked, period=None):
        ends.append(asked.cost.ends)
        yield from ()

    with panel(notes):
        collection.collect(server=a_server(), as_of=WHEN)
    assert ends[0] <= time.monotonic()
