"""The laws of every charge, whatever its scheme."""

from dataclasses import replace
from decimal import ROUND_DOWN, Context, Decimal, Inexact, Overflow, Rounded, Subnormal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import Bracket, Pricing, Scheme, amount, rate
from tests.catalog.pricings import CASES, FEWER, pricings, quantities


@CASES
@given(pricings(schemes=list(Scheme)), quantities)
def test_the_steps_add_up_to_the_amount(one, quantity):
    charge = rate(one, quantity)
    assert sum((Fraction(step.amount) for step in charge.steps), Fraction(0)) == Fraction(charge.amount)
    for step in charge.steps:
        assert Fraction(step.quantity) * Fraction(step.unit_price) + Fraction(step.flat_fee) == Fraction(step.amount)
    assert amount(one, quantity) == charge.amount


@FEWER
@given(pricings(), quantities, st.integers(1, 1000))
def test_prices_times_k_cost_times_k(one, quantity, k):
    def times(value):
        return None if value is None else value * k

    scaled = Pricing(
        one.scheme,
        tuple(Bracket(b.start, b.unit_price * k, b.flat_fee * k) for b in one.brackets),
        included=one.included,
        notation=one.notation,
        minimum=times(one.minimum),
        maximum=times(one.maximum),
        discount=one.discount,
    )
    assert Fraction(amount(scaled, quantity)) == k * Fraction(amount(one, quantity))


@FEWER
@given(pricings(schemes=list(Scheme)), quantities)
def test_nothing_depends_on_the_decimal_context_of_the_caller(one, quantity):
    charge = rate(one, quantity)
    hostile = Context(prec=2, rounding=ROUND_DOWN, Emin=0, Emax=1, traps=[Inexact, Rounded, Overflow, Subnormal])
    with localcontext(hostile):
        # another object, so that nothing is remembered from outside
        assert rate(replace(one), quantity) == charge


@FEWER
@given(pricings(schemes=list(Scheme)), quantities)
def test_nothing_used_costs_nothing_and_no_charge_is_below_zero(one, quantity):
    assert amount(one, quantity) >= 0
    assert amount(replace(one, minimum=None), min(quantity, one.included)) == 0


@FEWER
@given(pricings(schemes=list(Scheme)), quantities)
def test_a_discount_is_exactly_its_share_of_the_charge(one, quantity):
    whole = Fraction(amount(replace(one, discount=Decimal(0)), quantity))
    assert Fraction(amount(one, quantity)) == whole * (100 - Fraction(one.discount)) / 100
