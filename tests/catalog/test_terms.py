"""Billing cycles: known terms, no drift, and the command."""

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.terms import Cycle, number_at, term

ROOT = Path(__file__).resolve().parents[2]
CASES = json.loads((ROOT / "tests/conformance/terms.json").read_text())
anchors = st.dates(date(2000, 1, 1), date(2090, 1, 1))


def terms(*arguments):
    return subprocess.run(
        [sys.executable, "manage.py", "terms", *arguments], capture_output=True, cwd=ROOT, text=True, timeout=60
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_known_term_comes_out_as_known(case):
    anchor, cycle = date.fromisoformat(case["anchor"]), Cycle(case["cycle"])
    period = term(anchor, cycle, case["number"])
    assert str(period.end) == case["end"]
    assert str(period.start) == case.get("start", str(period.start))
    if "at" in case:
        assert number_at(anchor, cycle, date.fromisoformat(case["at"])) == case["number"]


def test_the_command_writes_terms_as_json_lines():
    done = terms("--anchor", "2024-01-31", "--cycle", "monthly", "--number", "1", "--count", "2")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"number": 1, "start": "2024-02-29", "end": "2024-03-31"},
        {"number": 2, "start": "2024-03-31", "end": "2024-04-30"},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--anchor", "2024-13-01", "--cycle", "monthly"),
        ("--anchor", "31.1.2024", "--cycle", "monthly"),
        ("--anchor", "2024-01-31", "--cycle", "weekly"),
        ("--anchor", "2024-01-31", "--cycle", "monthly", "--number", "-1"),
        ("--anchor", "2024-01-31", "--cycle", "monthly", "--count", "0"),
        ("--anchor", "9999-12-31", "--cycle", "monthly"),
        ("--cycle", "monthly"),
    ],
)
def test_a_wrong_call_exits_with_2_and_says_why(arguments):
    done = terms(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_the_last_day_of_a_month_stays_the_last_day():
    starts = [term(date(2023, 1, 31), Cycle.MONTHLY, number).start for number in range(15)]
    assert [start.day for start in starts] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29, 31]


@given(anchors, st.sampled_from(list(Cycle)), st.integers(0, 100))
def test_terms_tile_the_calendar_without_drift(anchor, cycle, number):
    this, following = term(anchor, cycle, number), term(anchor, cycle, number + 1)
    assert this.end == following.start
    assert this.start.day == anchor.day or (this.start + timedelta(days=1)).day == 1


@given(anchors, st.sampled_from(list(Cycle)), st.integers(0, 20_000))
def test_every_day_lies_in_the_term_of_its_number(anchor, cycle, days):
    day = anchor + timedelta(days=days)
    assert day in term(anchor, cycle, number_at(anchor, cycle, day))


@given(anchors)
def test_twelve_months_are_a_year(anchor):
    assert term(anchor, Cycle.MONTHLY, 12).start == term(anchor, Cycle.ANNUALLY, 1).start
