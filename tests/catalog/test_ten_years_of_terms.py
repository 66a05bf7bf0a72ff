"""Terms over ten years: every anchor day that months lack, every cycle, and leap days.

The golden rows were worked out by hand, from a calendar and the rule: count from the anchor, and where
the month lacks the day, take its last one.
"""

from calendar import monthrange
from datetime import date, timedelta

import pytest

from catalog.terms import Cycle, number_at, term

ANCHORS = [
    *(date(2023, month, day) for month in (1, 2, 4, 8, 12) for day in (1, 15, 28)),
    *(date(2023, month, day) for month in (1, 3, 4, 6, 8, 11, 12) for day in (29, 30)),
    *(date(2023, month, 31) for month in (1, 3, 5, 7, 8, 10, 12)),
    *(date(year, 2, day) for year in (2020, 2024, 2028) for day in (28, 29)),
]
YEARS = 10
EVERY = [pytest.param(anchor, cycle, id=f"{anchor}-{cycle}") for anchor in ANCHORS for cycle in Cycle]


def terms_of_ten_years(anchor, cycle):
    """Every term that begins within ten years of the anchor."""
    return [term(anchor, cycle, number) for number in range(-(-YEARS * 12 // cycle.months))]


@pytest.mark.parametrize(("anchor", "cycle"), EVERY)
def test_terms_tile_ten_years_without_a_gap_or_an_overlap(anchor, cycle):
    found = terms_of_ten_years(anchor, cycle)
    assert found[0].start == anchor
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert found[-1].end >= anchor.replace(year=anchor.year + YEARS, day=min(anchor.day, 28))
    assert sum(each.days for each in found) == (found[-1].end - anchor).days


@pytest.mark.parametrize(("anchor", "cycle"), EVERY)
def test_each_term_begins_on_the_anchors_day_or_on_the_last_that_its_month_has(anchor, cycle):
    for number, each in enumerate(terms_of_ten_years(anchor, cycle)):
        assert each.start.day == min(anchor.day, monthrange(each.start.year, each.start.month)[1])
        months = (each.start.year - anchor.year) * 12 + each.start.month - anchor.month
        assert months == number * cycle.months


@pytest.mark.parametrize(("anchor", "cycle"), EVERY)
def test_each_day_of_ten_years_lies_in_one_term(anchor, cycle):
    for number, each in enumerate(terms_of_ten_years(anchor, cycle)):
        found = {number_at(anchor, cycle, each.start + timedelta(days=day)) for day in range(each.days)}
        assert found == {number}


@pytest.mark.parametrize("anchor", ANCHORS, ids=str)
@pytest.mark.parametrize(
    ("cycle", "shorter", "times"),
    [
        (Cycle.QUARTERLY, Cycle.MONTHLY, 3),
        (Cycle.SEMIANNUALLY, Cycle.QUARTERLY, 2),
        (Cycle.ANNUALLY, Cycle.MONTHLY, 12),
        (Cycle.ANNUALLY, Cycle.SEMIANNUALLY, 2),
        (Cycle.BIENNIALLY, Cycle.ANNUALLY, 2),
        (Cycle.TRIENNIALLY, Cycle.ANNUALLY, 3),
    ],
)
def test_a_long_term_is_just_as_many_shorter_ones(anchor, cycle, shorter, times):
    for number, each in enumerate(terms_of_ten_years(anchor, cycle)):
        parts = [term(anchor, shorter, number * times + part) for part in range(times)]
        assert (parts[0].start, parts[-1].end) == (each.start, each.end)
        assert sum(part.days for part in parts) == each.days


#: First days of the months of an anchor on the 31st, 30th and 29th, from January 2023 to the end of 2032, by
#: year: what they are in a common year, and only February differs in a leap year.
COMMON = {
    31: [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
    30: [30, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30],
    29: [29, 28, 29, 29, 29, 29, 29, 29, 29, 29, 29, 29],
}
LEAP_YEARS = (2024, 2028, 2032)


@pytest.mark.parametrize("day", [29, 30, 31])
def test_ten_years_of_months_from_the_end_of_january(day):
    for year in range(2023, 2033):
        expected = [(month, each) for month, each in enumerate(COMMON[day], start=1)]
        if year in LEAP_YEARS:
            expected[1] = (2, 29)
        starts = [term(date(2023, 1, day), Cycle.MONTHLY, (year - 2023) * 12 + month).start for month in range(12)]
        assert [(each.month, each.day) for each in starts] == expected
        assert {each.year for each in starts} == {year}


#: Anchor, cycle, and the first days of terms 0, 1, 2, … worked out by hand.
GOLDEN = [
    # The day comes back after February.
    ("2023-01-31", "monthly", "2023-01-31 2023-02-28 2023-03-31 2023-04-30 2023-05-31"),
    ("2024-01-31", "monthly", "2024-01-31 2024-02-29 2024-03-31 2024-04-30 2024-05-31"),
    ("2023-01-30", "monthly", "2023-01-30 2023-02-28 2023-03-30"),
    ("2024-01-30", "monthly", "2024-01-30 2024-02-29 2024-03-30"),
    ("2023-01-29", "monthly", "2023-01-29 2023-02-28 2023-03-29"),
    ("2024-01-29", "monthly", "2024-01-29 2024-02-29 2024-03-29"),
    # Across the turn of a year.
    ("2023-12-31", "monthly", "2023-12-31 2024-01-31 2024-02-29 2024-03-31"),
    ("2024-12-31", "monthly", "2024-12-31 2025-01-31 2025-02-28 2025-03-31"),
    # An anchor on the 28th or on a last February day is a day of the month, not "the last day".
    ("2023-02-28", "monthly", "2023-02-28 2023-03-28 2023-04-28"),
    ("2024-02-28", "annually", "2024-02-28 2025-02-28 2026-02-28 2027-02-28 2028-02-28"),
    ("2024-02-29", "monthly", "2024-02-29 2024-03-29 2024-04-29"),
    ("2023-04-30", "monthly", "2023-04-30 2023-05-30 2023-06-30"),
    # 29 February in years without one, and again when there is one.
    (
        "2024-02-29",
        "annually",
        "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29 2029-02-28 2030-02-28 2031-02-28 2032-02-29"
        " 2033-02-28 2034-02-28",
    ),
    ("2024-02-29", "biennially", "2024-02-29 2026-02-28 2028-02-29 2030-02-28 2032-02-29 2034-02-28"),
    ("2024-02-29", "triennially", "2024-02-29 2027-02-28 2030-02-28 2033-02-28 2036-02-29"),
    ("2024-02-29", "semiannually", "2024-02-29 2024-08-29 2025-02-28 2025-08-29 2026-02-28 2026-08-29"),
    ("2024-02-29", "quarterly", "2024-02-29 2024-05-29 2024-08-29 2024-11-29 2025-02-28 2025-05-29"),
    # Quarters and half-years from a 31st and a 30th.
    ("2023-08-31", "quarterly", "2023-08-31 2023-11-30 2024-02-29 2024-05-31 2024-08-31 2024-11-30 2025-02-28"),
    ("2023-11-30", "quarterly", "2023-11-30 2024-02-29 2024-05-30 2024-08-30 2024-11-30 2025-02-28 2025-05-30"),
    ("2023-08-31", "semiannually", "2023-08-31 2024-02-29 2024-08-31 2025-02-28 2025-08-31 2026-02-28"),
    ("2023-03-31", "semiannually", "2023-03-31 2023-09-30 2024-03-31 2024-09-30"),
    ("2023-12-31", "quarterly", "2023-12-31 2024-03-31 2024-06-30 2024-09-30 2024-12-31"),
    # Long ones, to the tenth year.
    ("2023-08-31", "triennially", "2023-08-31 2026-08-31 2029-08-31 2032-08-31 2035-08-31"),
    ("2023-06-15", "biennially", "2023-06-15 2025-06-15 2027-06-15 2029-06-15 2031-06-15 2033-06-15"),
    # 2100 is no leap year, 2000 was one.
    ("2096-02-29", "annually", "2096-02-29 2097-02-28 2098-02-28 2099-02-28 2100-02-28 2101-02-28"),
    ("1999-11-30", "quarterly", "1999-11-30 2000-02-29 2000-05-30"),
    ("2099-12-31", "monthly", "2099-12-31 2100-01-31 2100-02-28 2100-03-31"),
]


@pytest.mark.parametrize(("anchor", "cycle", "starts"), GOLDEN)
def test_a_row_that_was_worked_out_by_hand(anchor, cycle, starts):
    first, kind = date.fromisoformat(anchor), Cycle(cycle)
    assert " ".join(str(term(first, kind, number).start) for number in range(len(starts.split()))) == starts


#: How many days a term has, by hand.
LENGTHS = [
    ("2023-02-01", "monthly", 0, 28),
    ("2024-02-01", "monthly", 0, 29),
    ("2023-01-31", "monthly", 0, 28),
    ("2023-01-31", "monthly", 1, 31),
    ("2023-01-31", "monthly", 2, 30),
    ("2024-01-31", "monthly", 0, 29),
    ("2024-01-30", "monthly", 1, 30),
    ("2023-03-01", "annually", 0, 366),
    ("2024-03-01", "annually", 0, 365),
    ("2024-02-29", "annually", 0, 365),
    ("2024-02-29", "annually", 3, 366),
    ("2024-02-29", "annually", 4, 365),
    ("2024-02-29", "triennially", 0, 1095),
    ("2024-01-01", "triennially", 0, 1096),
    ("2096-03-01", "annually", 3, 365),
]


@pytest.mark.parametrize(("anchor", "cycle", "number", "days"), LENGTHS)
def test_a_term_has_the_days_that_a_calendar_counts(anchor, cycle, number, days):
    assert term(date.fromisoformat(anchor), Cycle(cycle), number).days == days
