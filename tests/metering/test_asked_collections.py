"""A collection that a person asks for: the worker does it, once, and its page says how far it is."""

from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from billing_site import broker, jobs
from metering import asked_collections, collection, health, server_lock
from metering.models import Collection
from metering.providers.base import ProviderError
from tests.builders import DISK, GB, Panel, a_server, a_staff_user, a_tenant, panel, says, tenant_says, usage_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def handed(monkeypatch):
    """What was handed to a worker that never comes."""
    left = []
    monkeypatch.setattr(asked_collections, "hand_over", lambda job, pk: left.append((job, pk)))
    return left


def asked(server, ago=timedelta(0)):
    return asked_collections.ask(server=server, at=timezone.now() - ago, by=None)


def carried_out(record, *answers):
    with panel(says(*answers)):
        jobs.collect(record.pk)
    record.refresh_from_db()
    return record


def page(client, record, **headers):
    response = client.get(reverse("staff_collection", args=[record.pk]), headers=headers)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_the_worker_may_call_it():
    assert "billing_site.jobs.collect" in broker.ALLOWED


def test_one_that_waits_is_not_asked_for_twice(handed):
    server, other = a_server(), a_server("other")
    record = asked(server)
    assert asked(server) == record
    assert asked(other) != record
    assert handed[0] == ("billing_site.jobs.collect", record.pk)
    assert len(handed) == 2


def test_the_worker_does_it_once_as_of_then(handed):
    server = a_server()
    record = asked(server, ago=timedelta(minutes=20))
    was_asked_at = record.started_at
    carried_out(record, tenant_says("alice", disk=GB))
    assert (record.status, record.tenants) == ("complete", 1)
    assert record.as_of == record.started_at > was_asked_at
    again = carried_out(record, tenant_says("alice", disk=2 * GB))
    assert (again.ended_at, Panel.asked) == (record.ended_at, [])
    assert list(usage_of(a_tenant(server), DISK).values()) == [GB]


def test_one_that_comes_too_late_is_not_begun_and_says_so(handed):
    record = carried_out(asked(a_server(), ago=timedelta(minutes=61)), tenant_says("alice", disk=GB))
    assert record.status == "failed"
    assert record.error.startswith("No worker took it for more than an hour")
    assert Panel.asked == []


def test_one_of_a_server_that_is_not_active_any_more_is_not_begun(handed):
    server = a_server()
    record = asked(server)
    server.is_active = False
    server.save()
    assert "is not active any more" in carried_out(record, tenant_says("alice", disk=GB)).error
    assert Panel.asked == []


def test_one_that_a_newer_collection_overtook_is_not_done(handed):
    """Its values would be newer than those of a record that comes after it."""
    server = a_server()
    record = asked(server)
    with panel(says(tenant_says("alice", disk=GB))):
        newer = collection.collect(server=server, as_of=timezone.now())
    carried_out(record, tenant_says("alice", disk=5 * GB))
    assert record.status == "failed"
    assert f"Collection {newer} of panel-01 was begun before it" in record.error
    assert list(usage_of(a_tenant(server), DISK).values()) == [GB]


def test_one_that_meets_another_says_so_and_can_be_tried_again(handed):
    server = a_server()
    record = asked(server)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [server_lock.LOCK, server.pk])
        assert server_lock.being_collected() == {server.pk}
        carried_out(record)
        cursor.execute("SELECT pg_advisory_unlock_all()")
    other.close()
    assert (record.status, Panel.asked) == ("failed", [])
    assert server_lock.being_collected() == set()
    assert asked(server) != record


def test_what_a_failing_server_says_is_on_the_record(handed):
    record = asked(a_server())

    def fails(*_):
        raise ProviderError("No answer.")

    with panel(fails):
        jobs.collect(record.pk)
    record.refresh_from_db()
    assert (record.status, record.error) == ("failed", "No answer.")


@pytest.mark.parametrize(
    ("ago", "state", "words"),
    [
        (0, "waiting", "The worker begins it as soon as it is free."),
        (40, "late", "No worker has taken it for 40 s."),
        (3700, "died", "it is not begun any more"),
    ],
)
def test_the_page_of_one_that_waits_says_so_and_whether_a_worker_is_there(client, handed, ago, state, words):
    client.force_login(a_staff_user())
    record = asked(a_server(), ago=timedelta(seconds=ago))
    assert health.state(record, timezone.now()) == state
    shown = page(client, record)
    assert words in shown
    assert ("live.js" in shown, 'data-live="1"' in shown) == ((state != "died"),) * 2
    assert ("Try again</button>" in shown) == (state == "died")


def test_a_live_page_asks_for_its_part_only(client, handed):
    client.force_login(a_staff_user())
    record = asked(a_server())
    shown = page(client, record, **{"X-Live": "1"})
    assert shown.startswith("<div")
    assert 'data-live="1"' in shown
    carried_out(record, tenant_says("alice", disk=GB))
    assert "data-live" not in page(client, record, **{"X-Live": "1"})


def test_one_whose_process_died_says_so(client, handed):
    client.force_login(a_staff_user())
    record = asked(a_server())
    ago = timezone.now() - timedelta(minutes=2)
    Collection.objects.filter(pk=record.pk).update(status="running", started_at=ago, as_of=ago)
    shown = page(client, record)
    assert "The process that did it stopped before the end." in shown
    assert "Try again</button>" in shown
