"""Laws of the forecast, whatever the days, the quantities and the prices."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from types import SimpleNamespace

from hypothesis import assume, given
from hypothesis import strategies as st

from catalog.money import round_amount
from catalog.pricing import amount
from invoicing import forecast, outlook
from invoicing.billable import Billable, Item
from invoicing.forecast import Range
from invoicing.history import Days
from invoicing.outlook import Observed, Priced
from metering.decimals import exact_sum
from metering.periods import Period
from metering.providers.base import MetricType
from metering.units import GB, WHOLE
from tests.catalog.pricings import pricings

TERM = Period(date(2026, 11, 1), date(2026, 12, 1))
quantities = st.decimals(0, 10**9, places=6)
used_days = st.lists(quantities, min_size=5, max_size=29)
BYTES_METRIC = SimpleNamespace(type=MetricType.DAY, adds_up=True)


def observed(values: list[D], *, at: datetime) -> Observed:
    points = [(TERM.start + timedelta(days=number), value) for number, value in enumerate(values)]
    return Observed(at, UTC, Days(points))


def priced(pricing: object, values: list[D], *, each: bool = False) -> Priced:
    in_force = SimpleNamespace(
        unit=WHOLE, rates_each_period=each, pricing=lambda currency: pricing, version=SimpleNamespace()
    )
    items = [
        Item(TERM.start + timedelta(days=n), TERM.start + timedelta(days=n + 1), TERM.start, value)
        for n, value in enumerate(values)
    ]
    return Priced([Billable(None, in_force, items)] if items else [], in_force, pricing, "USD")


def at_the_end_of(values: list[D]) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=len(values))


@given(used_days)
def test_low_is_never_above_the_expected_nor_that_above_high(values):
    pace = forecast.pace(used=exact_sum(values), elapsed=D(len(values)), days=values, before=[])
    assert pace.per_day.low <= pace.per_day.expected <= pace.per_day.high


@given(quantities, st.integers(5, 29))
def test_days_that_are_all_alike_leave_no_doubt(value, count):
    pace = forecast.pace(used=value * count, elapsed=D(count), days=[value] * count, before=[])
    assert pace.per_day.is_certain


@given(st.lists(st.integers(0, 10**6), min_size=30, max_size=30), pricings(), st.booleans())
def test_at_the_end_of_the_term_the_forecast_is_the_charge_so_far(whole, pricing, each):
    values = [D(value) for value in whole]
    lines = priced(pricing, values, each=each)
    found = outlook.of_metric(
        BYTES_METRIC, WHOLE, TERM, observed(values, at=at_the_end_of(values)), exact_sum(values), lines
    )
    so_far = round_amount(exact_sum(charge.amount for charge in lines.lines[0].charges(pricing)), "USD")
    assert found.amounts == Range(so_far, so_far, so_far)
    assert found.quantities.expected == exact_sum(values)


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=29), pricings(), st.booleans())
def test_what_is_expected_lies_between_low_and_high_and_never_below_what_was_used(whole, pricing, each):
    values = [D(value) for value in whole]
    found = outlook.of_metric(
        BYTES_METRIC,
        WHOLE,
        TERM,
        observed(values, at=at_the_end_of(values)),
        exact_sum(values),
        priced(pricing, values, each=each),
    )
    assert found.amounts.low <= found.amounts.expected <= found.amounts.high
    assert exact_sum(values) <= found.quantities.low


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=29), pricings())
def test_money_is_what_the_pricing_makes_of_the_quantity(whole, pricing):
    """One arithmetic for the forecast and the invoice."""
    values = [D(value) for value in whole]
    lines = priced(pricing, values)
    found = outlook.of_metric(
        BYTES_METRIC, WHOLE, TERM, observed(values, at=at_the_end_of(values)), exact_sum(values), lines
    )
    assert found.amounts.expected == round_amount(amount(pricing, found.quantities.expected), "USD")


@given(pricings(), st.integers(0, 10**6))
def test_the_next_unit_is_the_difference_of_two_charges(pricing, quantity):
    following = outlook.next_unit(pricing, D(quantity))
    assume(following is not None)
    assert following.amount == amount(pricing, D(quantity + 1)) - amount(pricing, D(quantity))


@given(st.decimals(1, 10**6, places=3), st.decimals(0, 10**6, places=3), st.decimals("0.001", 10**4, places=3))
def test_on_the_day_on_which_it_runs_out_all_of_it_is_used(included, used, per_day):
    days = forecast.days_until(GB.to_base(included), GB.to_base(used), GB.to_base(per_day))
    reached = max(included, used)
    assert abs(used + days * per_day - reached) < D("0.000001")
