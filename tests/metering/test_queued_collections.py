"""Servers whose turn comes late are collected as of the instant at which they are asked, not as of the job's."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing_site import jobs
from metering.collectors import collect_all
from metering.models import Collection
from metering.providers.base import ProviderError
from tests.builders import EMAILS, Panel, a_server, a_tenant, at, panel, tenant_says, usage_of

pytestmark = pytest.mark.django_db

MIDNIGHT = at("2026-11-19 00:00")


@pytest.fixture(autouse=True)
def _no_look_back(monkeypatch):
    monkeypatch.setattr(Panel, "can_look_back", False)


def bobs_panel():
    """What the second server says: its total of the day begins again at midnight."""
    return tenant_says("bob", emails=1000 if timezone.now() < MIDNIGHT else 3)


def test_a_server_whose_turn_comes_after_midnight_says_nothing_about_the_day_before(time_machine):
    a_server("a"), a_server("b", settings={"host": "b"})

    def answers(connection, period=None):
        if connection.settings["host"] == "b":
            yield bobs_panel()
        else:
            yield tenant_says("alice", emails=1)
            time_machine.move_to(timezone.now() + timedelta(minutes=15), tick=False)

    with panel(answers):
        for when in ("2026-11-18 12:00", "2026-11-18 23:50"):
            time_machine.move_to(at(when), tick=False)
            collect_all(as_of=timezone.now())
    bob = a_tenant(Collection.objects.get(as_of=at("2026-11-19 00:05")).server, "bob")
    assert usage_of(bob, EMAILS) == {"2026-11-18": 1000, "2026-11-19": 3}


def test_a_server_that_is_asked_again_by_a_later_job_is_asked_as_of_then(time_machine):
    a_server("a"), a_server("b", settings={"host": "b"})
    tried = []

    def answers(connection, period=None):
        if connection.settings["host"] == "b":
            yield bobs_panel()
        elif not tried:
            tried.append(connection)
            time_machine.move_to(timezone.now() + timedelta(minutes=20), tick=False)
            raise ProviderError("It hung.")
        else:
            yield tenant_says("alice", emails=0)

    with panel(answers):
        time_machine.move_to(at("2026-11-18 23:50"), tick=False)
        jobs.run_named(["TenantUsageMetrics", "UsageUpdate"], at=timezone.now())
    asked = list(Collection.objects.order_by("pk").values_list("server__name", "as_of"))
    assert asked == [("a", at("2026-11-18 23:50")), ("b", at("2026-11-19 00:10")), ("a", at("2026-11-19 00:10"))]


def test_a_clock_that_is_set_back_meanwhile_changes_nothing(time_machine):
    a_server("a"), a_server("b")

    def answers(connection, period=None):
        yield tenant_says("alice", emails=1)
        time_machine.move_to(timezone.now() - timedelta(minutes=15), tick=False)

    time_machine.move_to(MIDNIGHT, tick=False)
    with panel(answers):
        assert {record.as_of for record in collect_all(as_of=MIDNIGHT)} == {MIDNIGHT}
