"""The laws of the schemes."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import Bracket, Notation, Pricing, Scheme, amount, rate
from tests.catalog.pricings import CASES, prices, pricings, quantities


@CASES
@given(pricings(schemes=(Scheme.GRADUATED,)), quantities, quantities)
def test_graduated_never_falls_as_usage_rises(one, less, more):
    less, more = sorted((less, more))
    assert amount(one, less) <= amount(one, more)


@CASES
@given(st.integers(0, 50), prices, quantities)
def test_with_one_bracket_all_schemes_agree(included, price, quantity):
    costs = {
        rate(
            Pricing(scheme, (Bracket(Decimal(0), price),), included=Decimal(included)),
            quantity,
        ).amount
        for scheme in (Scheme.PER_UNIT, Scheme.VOLUME, Scheme.GRADUATED)
    }
    assert len(costs) == 1


@CASES
@given(pricings(fees=False), st.integers(0, 400))
def test_the_notations_agree_after_translation(one, quantity):
    shift = 1 if one.notation is Notation.ABOVE else -1
    other = Pricing(
        one.scheme,
        (one.brackets[0], *(Bracket(b.start + shift, b.unit_price) for b in one.brackets[1:])),
        included=one.included,
        notation=Notation.FIRST_UNIT if one.notation is Notation.ABOVE else Notation.ABOVE,
    )
    assert amount(one, Decimal(quantity)) == amount(other, Decimal(quantity))


@CASES
@given(pricings(fees=False), st.integers(0, 300))
def test_a_slow_oracle_that_prices_unit_by_unit_agrees(one, quantity):
    def price_of(unit):
        reached = one.brackets[0]
        for bracket in one.brackets[1:]:
            begins = bracket.start + 1 if one.notation is Notation.ABOVE else bracket.start
            if unit >= begins:
                reached = bracket
        return Fraction(reached.unit_price)

    charged = range(int(one.included) + 1, quantity + 1)
    if one.scheme is Scheme.GRADUATED:
        expected = sum((price_of(unit) for unit in charged), Fraction(0))
    else:
        expected = len(charged) * price_of(quantity) if charged else Fraction(0)
    assert Fraction(amount(one, Decimal(quantity))) == expected


@CASES
@given(pricings(schemes=(Scheme.GRADUATED,), fees=False), quantities, quantities)
def test_a_graduated_charge_is_the_sum_over_any_partition_of_the_range(one, first, second):
    """What lies between two quantities costs the difference, wherever the cut is."""
    less, more = sorted((first, second))
    between = Fraction(0)
    for lower, upper, bracket in one.ranges:
        start, end = max(lower, less), more if upper is None else min(upper, more)
        if end > start:
            between += (Fraction(end) - Fraction(start)) * Fraction(bracket.unit_price)
    assert Fraction(amount(one, less)) + between == Fraction(amount(one, more))


@CASES
@given(pricings(fees=False), st.integers(0, 1), quantities)
def test_more_included_is_worth_exactly_the_units_that_are_no_longer_charged(one, more, quantity):
    shifted = Pricing(one.scheme, one.brackets, included=one.included + more, notation=one.notation)
    units = min(max(quantity - one.included, Decimal(0)), Decimal(more))
    reached = one.brackets[0]
    if one.scheme is Scheme.VOLUME:
        reached = next(bracket for _, upper, bracket in one.ranges if upper is None or quantity <= upper)
    saved = Fraction(amount(one, quantity)) - Fraction(amount(shifted, quantity))
    assert saved == Fraction(units) * Fraction(reached.unit_price)
