"""What other terms do to a price: laws of another quantity included and of a discount, and their words."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import Bracket, Notation, Pricing, PricingError, Scheme, amount, rate
from catalog.wording import agreed, agreement, price_sentence
from metering.units import GB, MAILBOXES
from tests.catalog.pricings import FEWER, pricings, quantities, shares

ZERO = Decimal(0)
#: Whole numbers too, which fall upon the bounds of brackets.
more = st.integers(0, 200).map(Decimal) | st.decimals(0, 500, places=3)


@FEWER
@given(pricings(schemes=(Scheme.GRADUATED,), fees=False), more, quantities)
def test_more_included_takes_off_exactly_what_those_units_cost(one, further, quantity):
    included = one.included + further
    quantity = max(quantity, included)
    expected = Fraction(amount(one, quantity)) - Fraction(amount(one, included))
    assert Fraction(amount(one.with_included(included), quantity)) == expected


@FEWER
@given(pricings(fees=False), more, quantities)
def test_what_is_included_costs_nothing_by_every_scheme(one, further, quantity):
    included = one.included + further
    assert amount(one.with_included(included), min(quantity, included)) == 0


@FEWER
@given(pricings(schemes=(Scheme.VOLUME,), fees=False), more, quantities)
def test_by_total_volume_the_total_still_finds_the_bracket(one, further, quantity):
    included = one.included + further
    quantity = max(quantity, included + 1)
    reached = next(bracket for _, upper, bracket in one.ranges if upper is None or quantity <= upper)
    expected = (Fraction(quantity) - Fraction(included)) * Fraction(reached.unit_price)
    assert Fraction(amount(one.with_included(included), quantity)) == expected


@FEWER
@given(pricings(), st.integers(0, 500))
def test_a_price_with_its_own_included_is_itself_and_another_can_be_taken_back(one, further):
    assert one.with_included(one.included).ranges == one.ranges
    less = Decimal(min(further, int(one.included)))
    there = one.with_included(less)
    assert there.with_included(one.included).ranges == one.ranges


@FEWER
@given(pricings(), shares, quantities)
def test_a_discount_is_exactly_its_share_of_the_charge(one, share, quantity):
    full = Pricing(
        one.scheme, one.brackets, one.included, one.notation, one.package_size, one.minimum, one.maximum, ZERO
    )
    off = Pricing(
        one.scheme, one.brackets, one.included, one.notation, one.package_size, one.minimum, one.maximum, share
    )
    expected = Fraction(amount(full, quantity)) * (100 - Fraction(share)) / 100
    assert Fraction(amount(off, quantity)) == expected


@FEWER
@given(pricings(), more, shares, quantities)
def test_the_steps_of_agreed_prices_add_up(one, further, share, quantity):
    there = one.with_included(one.included + further)
    there = Pricing(there.scheme, there.brackets, there.included, there.notation, there.package_size, discount=share)
    charge = rate(there, quantity)
    assert sum((Fraction(step.amount) for step in charge.steps), Fraction(0)) == Fraction(charge.amount)
    for step in charge.steps:
        assert Fraction(step.quantity) * Fraction(step.unit_price) + Fraction(step.flat_fee) == Fraction(step.amount)


BRACKETS = (Bracket(ZERO, Decimal(2)), Bracket(Decimal(10), Decimal(1)), Bracket(Decimal(20), Decimal("0.5")))
GRADUATED = Pricing(Scheme.GRADUATED, BRACKETS, notation=Notation.FIRST_UNIT)


def test_brackets_inside_the_included_fall_away_and_the_others_stay_where_they_are():
    """12 included of 25: 7 at 1.00 up to the 19th, 6 at 0.50."""
    there = GRADUATED.with_included(Decimal(12))
    assert [(lower, upper, bracket.unit_price) for lower, upper, bracket in there.ranges] == [
        (12, 19, 1),
        (19, None, Decimal("0.5")),
    ]
    assert amount(there, Decimal(25)) == 10


def test_included_up_to_the_end_of_a_bracket_leaves_only_those_above_it():
    """9 included of 12: the 10th to the 12th at 1.00."""
    there = GRADUATED.with_included(Decimal(9))
    assert [bracket.unit_price for bracket in there.brackets] == [1, Decimal("0.5")]
    assert amount(there, Decimal(12)) == 3


def test_less_included_lets_the_first_bracket_begin_sooner():
    ten = Pricing(Scheme.PER_UNIT, BRACKETS[:1], included=Decimal(10))
    assert amount(ten.with_included(Decimal(4)), Decimal(12)) == 16


def test_an_included_quantity_out_of_bounds_is_refused():
    with pytest.raises(PricingError, match=r"included: .* is above"):
        GRADUATED.with_included(Decimal(10**15 + 1))


def words(included=None, own=None, discount="0", unit=GB):
    quantity = None if included is None else Decimal(included)
    return agreed(included=quantity, own=own, discount=Decimal(discount), unit=unit, currency="USD")


def test_what_is_agreed_is_said_in_one_sentence():
    one = Pricing(Scheme.PER_UNIT, (Bracket(ZERO, Decimal("0.8")),))
    assert words("20") == "20 GB included"
    assert words("0") == "nothing included"
    assert words(discount="12.50") == "12.5% discount"
    assert words("20", discount="10") == "20 GB included, 10% discount"
    assert words("20", one) == "20 GB included, then $0.80 per GB"
    assert words("0", one) == "nothing included, $0.80 per GB"
    assert words(own=one, discount="5") == "$0.80 per GB, 5% discount"
    assert words(own=GRADUATED, unit=MAILBOXES) == "from $2.00 per mailbox, cheaper from the 10th and from the 20th"


def test_days_are_said_with_the_last_one_counted_in():
    start = date(2026, 12, 1)
    since = agreement(what="20 GB included", start=start, end=None, reason="a trial")
    assert since == "agreed for this service from 1 December 2026: 20 GB included (a trial)"
    until = agreement(what="20 GB included", start=start, end=date(2027, 1, 1), reason="a trial")
    assert until == "agreed for this service from 1 December 2026 until 31 December 2026: 20 GB included (a trial)"


def test_a_price_says_its_discount():
    pricing = Pricing(Scheme.PER_UNIT, BRACKETS[:1], included=Decimal(10), discount=Decimal(15))
    assert price_sentence(pricing, GB, "USD") == "10 GB included, then $2.00 per GB, less 15%"
