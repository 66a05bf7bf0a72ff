"""What the site says of itself: to a load balancer, to a monitoring system, and to staff."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import override_settings

from billing_site import health, jobs
from billing_site.models import Job, Tick
from catalog.models import Client, Service
from invoicing import outbox
from invoicing.models import Message, Parked
from tests.builders import a_product, a_service, a_staff_user, a_user, at

pytestmark = pytest.mark.django_db

MORNING = at("2026-11-01 07:00")


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(MORNING, tick=False)
    yield
    health._migrated.cache_clear()


def a_due_service(**values):
    return a_service(a_product("VPS", provider=""), Client.objects.create(name="c", currency="USD"), **values)


def ready(client, **headers):
    answer = client.get("/readyz", headers=headers)
    assert answer["Cache-Control"].count("no-store") == 1
    return answer.status_code, answer.json()


def names(answer):
    return [problem["name"] for problem in answer["problems"]]


def test_a_process_that_reaches_its_database_is_alive(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert client.post("/healthz").status_code == 405


def test_a_process_without_its_database_is_not(client, monkeypatch):
    def broken():
        raise OperationalError("could not connect as billing with password hunter2")

    monkeypatch.setattr(connection, "cursor", broken)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "no database"})
    assert ready(client) == (503, {"ready": False})


def test_a_new_site_with_nothing_due_is_ready(client):
    assert ready(client) == (200, {"ready": True})


@override_settings(MONITORING_TOKEN="a token")
def test_a_database_of_another_version_is_not_ready(client, monkeypatch):
    monkeypatch.setattr("django.db.migrations.executor.MigrationExecutor.migration_plan", lambda *_: ["one"])
    assert ready(client, authorization="Bearer a token") == (
        503,
        {"ready": False, "problems": [{"name": "migrations"}]},
    )
    monkeypatch.undo()
    assert ready(client)[0] == 200


@override_settings(MONITORING_TOKEN="a token")
def test_services_that_are_due_and_no_run_in_25_hours_are_not_ready(client, time_machine):
    """J15 and J17."""
    a_due_service()
    status, answer = ready(client, authorization="Bearer a token")
    assert (status, names(answer), answer["oldest_due"], answer["due"]) == (503, ["run"], "2026-11-01", 1)
    jobs.tick()
    assert ready(client)[0] == 200
    time_machine.move_to(at("2026-12-01 09:00"), tick=False)
    Tick.objects.update(at=at("2026-12-01 08:55"))  # it ticks, but billing does not come to its end
    Job.objects.filter(name="CreateInvoices").update(succeeded_at=at("2026-11-30 07:00"), error="disk full: hunter2")
    status, answer = ready(client, authorization="Bearer a token")
    assert (status, names(answer)) == (503, ["run", "job"])
    assert "hunter2" not in str(answer)


@override_settings(MONITORING_TOKEN="a token")
def test_what_waits_for_a_person_is_counted_and_makes_nothing_unready(client):
    """J17: last run, last tick, oldest due service, parked."""
    jobs.tick()
    service = a_due_service()
    Parked.objects.create(service=service, reason="no price", since=MORNING)
    Message.objects.create(kind="issued", client=service.client, to="a@b.test", created_at=MORNING, attempts=99)
    status, answer = ready(client, authorization="Bearer a token")
    assert (status, answer["problems"], answer["parked"], answer["mails_failed"]) == (200, [], 1, 1)
    assert answer["last_tick"] == "2026-11-01T07:00:00Z"
    assert answer["last_run"].startswith("2026-11-01T07:00:00")
    assert answer["oldest_due"] is None
    assert Service.objects.due(MORNING.date()).exists()
    assert outbox.given_up().exists()


def test_a_clock_that_is_doubted_and_a_worker_that_is_gone_are_not_ready(client, time_machine):
    jobs.run_due(at=MORNING - timedelta(days=3))
    jobs.tick()
    client.force_login(a_staff_user())
    assert (ready(client)[0], names(ready(client)[1])) == (503, ["clock"])
    time_machine.move_to(MORNING + timedelta(hours=26), tick=False)
    assert names(ready(client)[1]) == ["clock", "ticks"]


def test_details_are_for_staff_and_for_who_has_the_token(client):
    plain = {"ready": True}
    assert ready(client, authorization="Bearer ")[1] == plain
    with override_settings(MONITORING_TOKEN="a token"):
        assert ready(client, authorization="Bearer a tokem")[1] == plain
        assert ready(client, authorization="Basic a token")[1] == plain
        assert "last_run" in ready(client, authorization="Bearer a token")[1]
    client.force_login(a_user())
    assert ready(client)[1] == plain
    client.force_login(a_staff_user())
    assert "last_run" in ready(client)[1]


@override_settings(SECURE_SSL_REDIRECT=True, SECURE_REDIRECT_EXEMPT=[r"^healthz$", r"^readyz$"])
def test_they_answer_without_tls(client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/").status_code == 301
