"""Counters only ever rise; what falls was reset. The ledger counts increases, exactly."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from metering.providers.base import Usage
from tests.builders import ROWS, a_server, a_tenant, at, collected, tenant_says, usage_of

pytestmark = pytest.mark.django_db


def poll(server, when, **rows):
    return collected(
        server, when, *[tenant_says(name, rows=value) for name, value in rows.items()], accept_changes=True
    )


def test_the_first_value_of_a_counter_is_where_counting_begins():
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=7_000)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 0}


def test_a_day_holds_the_increases_seen_on_it():
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=100)
    poll(server, "2026-11-18 18:00", alice=130)
    poll(server, "2026-11-18 23:00", alice=150)
    poll(server, "2026-11-19 06:00", alice=157)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 50, "2026-11-19": 7}


def test_a_count_that_fell_was_reset_and_all_of_it_is_new():
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=2_084_670)
    poll(server, "2026-11-18 18:00", alice=586)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 586}


def since(count, when):
    return Usage(Decimal(count), counting_since=at(when))


def test_a_restart_is_seen_even_when_the_count_has_passed_its_old_value():
    """The server says since when it counts."""
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=since(100, "2026-11-01 00:00"))
    poll(server, "2026-11-18 12:00", alice=since(150, "2026-11-01 00:00"))
    poll(server, "2026-11-18 18:00", alice=since(400, "2026-11-18 13:00"))
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 50 + 400}


def test_a_restart_long_ago_is_not_counted_again_when_nothing_else_changed():
    server = a_server()
    for when in ("06:00", "12:00", "18:00"):
        poll(server, f"2026-11-18 {when}", alice=since(100, "2026-11-18 05:00"))
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 0}


@pytest.mark.parametrize("day", ["2026-11-18", "2026-11-19"])
def test_a_restart_is_seen_even_when_it_counted_up_to_the_same_value(day):
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=since(100, "2026-11-01 00:00"))
    poll(server, "2026-11-18 12:00", alice=since(150, "2026-11-01 00:00"))
    for hour in ("18:00", "21:00"):
        poll(server, f"{day} {hour}", alice=since(150, f"{day} 13:00"))
    assert sum(usage_of(a_tenant(server), ROWS).values()) == 50 + 150


def test_a_count_that_fell_without_a_restart_adds_nothing():
    """A network card was taken away, and what it had counted with it."""
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=since(900, "2026-11-01 00:00"))
    poll(server, "2026-11-18 12:00", alice=since(400, "2026-11-01 00:00"))
    poll(server, "2026-11-18 18:00", alice=since(430, "2026-11-01 00:00"))
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 30}


def test_a_new_tenant_counts_in_full_only_if_its_counter_began_since_the_last_collection():
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=1)
    poll(
        server,
        "2026-11-18 18:00",
        alice=1,
        moved=since(7_000, "2026-10-01 00:00"),
        young=since(50, "2026-11-18 12:00"),
    )
    assert usage_of(a_tenant(server, "moved"), ROWS) == {"2026-11-18": 0}
    assert usage_of(a_tenant(server, "young"), ROWS) == {"2026-11-18": 50}


def test_a_counter_that_wraps_is_one_that_was_reset():
    """What it counted up to its end is not known, so nothing is charged that was not seen."""
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=2**32 - 10)
    poll(server, "2026-11-18 18:00", alice=25)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 25}


def test_a_late_poll_puts_the_increase_on_its_own_day():
    server = a_server()
    poll(server, "2026-11-15 06:00", alice=100)
    poll(server, "2026-11-18 06:00", alice=400)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-15": 0, "2026-11-18": 300}


def test_asking_twice_counts_once():
    server = a_server()
    for when in ("06:00", "12:00", "18:00"):
        poll(server, f"2026-11-18 {when}", alice=100)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-18": 0}


def test_the_counter_of_a_tenant_that_is_new_on_a_known_server_counts_in_full():
    server = a_server()
    poll(server, "2026-11-18 06:00", alice=100)
    poll(server, "2026-11-18 18:00", alice=100, carol=7_000)
    assert usage_of(a_tenant(server, "carol"), ROWS) == {"2026-11-18": 7_000}


def test_a_counter_that_an_old_tenant_begins_to_report_starts_from_its_first_value():
    server = a_server()
    collected(server, "2026-11-18 06:00", tenant_says("alice", rows=1), tenant_says("bob", disk=1))
    collected(server, "2026-11-18 18:00", tenant_says("alice", rows=1), tenant_says("bob", disk=1, rows=9_000))
    assert usage_of(a_tenant(server, "bob"), ROWS) == {"2026-11-18": 0}


def test_a_counter_that_was_missing_for_a_while_counts_what_happened_meanwhile():
    server = a_server()
    poll(server, "2026-11-17 06:00", alice=100, bob=1)
    poll(server, "2026-11-18 06:00", bob=1)
    poll(server, "2026-11-19 06:00", alice=180, bob=1)
    assert usage_of(a_tenant(server), ROWS) == {"2026-11-17": 0, "2026-11-19": 80}


class AnyHistory(TestCase):
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 10**12), min_size=1, max_size=10))
    def test_all_increases_are_counted_exactly_once(self, counts):
        server = a_server()
        for hour, count in enumerate(counts):
            poll(server, f"2026-11-{10 + hour // 3:02} {6 * (hour % 3):02}:00", alice=count)
        pairs = itertools.pairwise(counts)
        expected = sum(later - earlier if later >= earlier else later for earlier, later in pairs)
        assert sum(usage_of(a_tenant(server), ROWS).values()) == expected
