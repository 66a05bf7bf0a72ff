"""How the levels of a term become its quantity: worked out by hand, and the laws that always hold."""

from datetime import date, timedelta
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.aggregation import Aggregation, aggregate
from metering.periods import Period

NOVEMBER = Period(date(2026, 11, 1), date(2026, 12, 1))


def levels(*pairs):
    return [(date(2026, 11, day), Decimal(value)) for day, value in pairs]


#: A term of 30 days in which 6 were measured: 10 GB for ten days, 40 for a peak, then 20.
WORKED = levels((1, "10"), (2, "10"), (5, "10"), (11, "40"), (12, "20"), (30, "20"))


@pytest.mark.parametrize(
    ("how", "quantity"),
    [
        ("latest", "20"),
        ("peak", "40"),
        # (10 + 10 + 10 + 40 + 20 + 20) / 6 = 110 / 6
        ("mean", "18.333333"),
        # 10 for days 1 to 10, 40 for day 11, 20 for days 12 to 30: (100 + 40 + 380) / 30
        ("time_weighted", "17.333333"),
        # sorted 10 10 10 20 20 40; number ⌈0.95 × 6⌉ = 6
        ("p95", "40"),
        # 110 / 30, the days that were not measured count as 0
        ("days", "3.666667"),
    ],
)
def test_a_term_worked_by_hand(how, quantity):
    assert aggregate(Aggregation(how), WORKED, NOVEMBER, 30) == Decimal(quantity)


@pytest.mark.parametrize(
    ("count", "number"),
    [(1, 1), (2, 2), (10, 10), (19, 19), (20, 19), (21, 20), (30, 29), (31, 30), (40, 38), (60, 57), (100, 95)],
)
def test_the_95th_percentile_is_the_level_of_nearest_rank(count, number):
    term = Period(date(2026, 1, 1), date(2026, 1, 1) + timedelta(days=count))
    days = [(term.start + timedelta(days=day), Decimal(day + 1)) for day in reversed(range(count))][::-1]
    assert aggregate(Aggregation.P95, days, term, count) == number


def test_half_a_term_at_ten_costs_what_a_whole_term_at_five_does():
    half = levels(*((day, "10") for day in range(1, 16)))
    assert aggregate(Aggregation.DAYS, half, NOVEMBER, 30) == 5


def test_a_term_cut_short_still_counts_in_whole_terms():
    """Terminated on the 16th: 15 days at 10 GB of a term of 30."""
    half = levels(*((day, "10") for day in range(1, 16)))
    assert aggregate(Aggregation.DAYS, half, Period(date(2026, 11, 1), date(2026, 11, 16)), 30) == 5


def test_the_day_on_which_a_term_ends_counts_for_the_last_value_alone():
    days = [*levels((29, "1"), (30, "2")), (date(2026, 12, 1), Decimal(9))]
    found = {how: aggregate(how, days, NOVEMBER, 30) for how in Aggregation}
    assert found == {
        Aggregation.LATEST: 9,
        Aggregation.PEAK: 2,
        Aggregation.MEAN: Decimal("1.5"),
        Aggregation.TIME_WEIGHTED: Decimal("1.5"),
        Aggregation.P95: 2,
        Aggregation.DAYS: Decimal("0.1"),
    }


def test_days_before_the_first_level_weigh_nothing():
    assert aggregate(Aggregation.TIME_WEIGHTED, levels((21, "3"), (26, "5")), NOVEMBER, 30) == 4


def test_a_mean_is_rounded_half_up_to_six_decimals():
    days = levels((1, "0.000001"), (2, "0.000002"))
    assert aggregate(Aggregation.MEAN, days, NOVEMBER, 30) == Decimal("0.000002")


@pytest.mark.parametrize("how", list(Aggregation))
def test_a_term_without_a_level_has_no_quantity(how):
    with pytest.raises(ValueError, match="no level was measured from 2026-11-01 to 2026-12-01"):
        aggregate(how, [], NOVEMBER, 30)


series = st.dictionaries(
    st.integers(0, 29), st.decimals(0, 10**18, places=6, allow_nan=False, allow_infinity=False), min_size=1
).map(lambda found: [(NOVEMBER.start + timedelta(days=day), found[day]) for day in sorted(found)])


@given(series, st.sampled_from(list(Aggregation)))
def test_every_quantity_lies_between_the_least_and_the_most_level(days, how):
    values = [value for _, value in days]
    least = Decimal(0) if how is Aggregation.DAYS else min(values)
    assert least <= aggregate(how, days, NOVEMBER, 30) <= max(values)


@given(st.decimals(0, 10**18, places=6), st.sampled_from(list(Aggregation)))
def test_a_level_that_never_changes_is_the_quantity_in_every_way(value, how):
    days = [(NOVEMBER.start + timedelta(days=day), value) for day in range(30)]
    assert aggregate(how, days, NOVEMBER, 30) == value


@given(series, st.sampled_from(list(Aggregation)))
def test_nothing_depends_on_the_decimal_context_of_the_caller(days, how):
    quantity = aggregate(how, days, NOVEMBER, 30)
    with localcontext(prec=3):
        assert aggregate(how, days, NOVEMBER, 30) == quantity
