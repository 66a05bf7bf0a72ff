"""What a term will come to: pure arithmetic, with the numbers of the design."""

from datetime import date, timedelta
from decimal import Decimal as D

import pytest

from catalog.aggregation import Aggregation
from catalog.pricing import Bracket, Notation, Pricing, Scheme, amount
from invoicing import forecast, outlook
from invoicing.forecast import Range
from metering.periods import Period

NOVEMBER = Period(date(2026, 11, 1), date(2026, 12, 1))


def days(*values: str | int) -> list[D]:
    return [D(value) for value in values]


def per_unit(price: str, **values: object) -> Pricing:
    return Pricing(Scheme.PER_UNIT, (Bracket(D(0), D(price)),), **values)


def test_usage_goes_on_at_the_mean_of_the_days_so_far():
    """13.42 GB in 18.25 days are 22.06 GB in 30."""
    pace = forecast.pace(used=D("13.42"), elapsed=D("18.25"), days=days(*[1] * 18), before=[])
    left = D(30) - D("18.25")
    assert round(D("13.42") + pace.per_day.expected * left, 2) == D("22.06")


def test_low_and_high_go_on_at_the_slow_and_the_fast_quarter_of_the_days():
    pace = forecast.pace(used=D(30), elapsed=D(5), days=days(2, 4, 6, 8, 10), before=[])
    assert (pace.per_day.low, pace.per_day.expected, pace.per_day.high) == (4, 6, 8)


def test_the_spread_of_a_young_term_is_that_of_the_last_one():
    pace = forecast.pace(used=D(12), elapsed=D("2"), days=days(6, 6), before=days(2, 4, 6, 8, 10))
    assert (pace.per_day.low, pace.per_day.expected, pace.per_day.high) == (4, 6, 8)
    assert not pace.is_of_last_term


def test_in_its_first_day_a_term_goes_on_as_the_last_one_did():
    pace = forecast.pace(used=D(1), elapsed=D("0.25"), days=[], before=days(2, 4, 6, 8, 10))
    assert pace.per_day.expected == 6
    assert pace.is_of_last_term


@pytest.mark.parametrize(("so_far", "before"), [(0, 0), (4, 0), (0, 4), (4, 4)])
def test_fewer_than_five_days_say_nothing(so_far, before):
    asked = {"days": days(*[1] * so_far), "before": days(*[1] * before)}
    assert forecast.pace(used=D(so_far), elapsed=D(so_far), **asked) is None


def test_a_percentile_lies_in_a_straight_line_between_two_days():
    assert forecast.percentile(days(10, 0), D("0.25")) == D("2.5")
    assert forecast.percentile(days(7), D("0.75")) == 7


def test_a_level_stays_what_it_is():
    levels = [(date(2026, 11, day), D(10)) for day in range(1, 16)]
    assert forecast.level(Aggregation.LATEST, (), D(25), NOVEMBER, 30) == 25
    assert forecast.level(Aggregation.PEAK, levels, D(25), NOVEMBER, 30) == 25
    assert forecast.level(Aggregation.MEAN, levels, D(20), NOVEMBER, 30) == 15


def test_the_mean_of_a_term_that_is_over_is_what_was_measured():
    levels = [(date(2026, 11, day), D(day)) for day in range(1, 31)]
    assert forecast.level(Aggregation.MEAN, levels, D(99), NOVEMBER, 30) == D("15.5")


def test_more_may_cost_less_where_a_higher_bracket_prices_all_units():
    """19 cost 19.00, and 20 cost 10.00: low to high has both, wherever the expected quantity lies."""
    volume = Pricing(Scheme.VOLUME, (Bracket(D(0), D(1)), Bracket(D(20), D("0.50"))), notation=Notation.FIRST_UNIT)
    quantities = Range(D(17), D(18), D(22))
    corners = forecast.corners(volume, quantities, 0)
    cost = forecast.amounts(lambda quantity: amount(volume, quantity), quantities, corners)
    assert (cost.low, cost.expected, cost.high) == (D(10), D(18), D(19))


def test_the_included_runs_out_after_so_many_days_at_this_pace():
    assert forecast.days_until(D(5000), D(3120), D(188)) == D(10)
    assert forecast.days_until(D(5), D(5), D(1)) == 0
    assert forecast.days_until(D(5), D(0), D(0)) is None


def test_the_included_ran_out_on_the_day_that_went_above_it():
    used = [(date(2026, 11, day), D("0.8")) for day in range(1, 20)]
    assert forecast.ran_out_on(D(8), used) == date(2026, 11, 11)
    assert forecast.ran_out_on(D(80), used) is None


@pytest.mark.parametrize(
    ("pricing", "quantity", "cost", "free_by"),
    [
        (per_unit("2"), 25, 2, ""),
        (per_unit("2", included=D(30)), 25, 0, "included"),
        (per_unit("2", maximum=D(20)), 25, 0, "maximum"),
        (per_unit("2", minimum=D(100)), 25, 0, "minimum"),
        (Pricing(Scheme.PACKAGE, (Bracket(D(0), D(4)),), package_size=D(10)), 25, 0, "package"),
        (Pricing(Scheme.PACKAGE, (Bracket(D(0), D(4)),), package_size=D(10)), 30, 4, ""),
        (Pricing(Scheme.VOLUME, (Bracket(D(0), D(2)), Bracket(D(25), D(1)))), 25, -24, ""),
        (per_unit("2", discount=D(50)), 25, 1, ""),
    ],
)
def test_the_next_unit_costs_what_the_charge_rises_by(pricing, quantity, cost, free_by):
    following = outlook.next_unit(pricing, D(quantity))
    assert (following.amount, following.free_by) == (cost, free_by)


def test_a_quantity_at_the_end_of_all_has_no_next_one():
    assert outlook.next_unit(per_unit("2"), D(10**15)) is None


def test_time_that_is_over_leaves_nothing():
    assert forecast.fraction(timedelta(hours=-3)) == 0
    assert forecast.fraction(timedelta(hours=6)) == D("0.25")


def test_a_range_is_in_order():
    with pytest.raises(ValueError, match="does not lie between"):
        Range(D(2), D(1), D(3))
