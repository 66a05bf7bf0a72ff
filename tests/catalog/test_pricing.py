"""The documented example, its boundaries, and the laws that hold for every pricing."""

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest

from catalog.pricing import Bracket, Notation, Pricing, PricingError, Scheme, amount, rate


def pricing(scheme="graduated", notation="first_unit", included="0", brackets=None, **values):
    rows = brackets or [("0", "2"), ("10", "1"), ("20", "0.50")]
    return Pricing(
        Scheme(scheme),
        tuple(Bracket(Decimal(start), Decimal(price)) for start, price in rows),
        included=Decimal(included),
        notation=Notation(notation),
        **values,
    )


def cost(quantity, **values):
    return rate(pricing(**values), Decimal(quantity)).amount


@pytest.mark.parametrize(
    ("statement", "scheme", "quantity", "expected"),
    [
        (43, "volume", "8", "16"),
        (44, "volume", "25", "12.50"),
        (45, "graduated", "8", "16"),
        (46, "graduated", "25", "31"),
        (47, "volume", "9", "18"),
        (47, "volume", "10", "10"),
        (48, "graduated", "9", "18"),
        (48, "graduated", "10", "19"),
        (48, "graduated", "19", "28"),
        (48, "graduated", "20", "28.50"),
        (49, "volume", "19", "19"),
        (49, "volume", "20", "10"),
        (55, "graduated", "9.5", "18.50"),
    ],
)
def test_the_documented_example_with_the_first_unit_notation(statement, scheme, quantity, expected):
    """Statements 43 to 49 and 55."""
    assert cost(quantity, scheme=scheme) == Decimal(expected)


@pytest.mark.parametrize(
    ("quantity", "expected"), [("8", "16"), ("9.5", "19"), ("10", "20"), ("19", "29"), ("20", "30"), ("25", "32.50")]
)
def test_the_documented_example_with_the_above_notation(quantity, expected):
    """Statements 55 and 56: a documented difference from WHMCS."""
    assert cost(quantity, notation="above") == Decimal(expected)


def test_per_unit_multiplies_and_takes_exactly_one_bracket():
    """Statements 50 and 51."""
    assert cost("3", scheme="per_unit", brackets=[("0", "1")]) == 3
    with pytest.raises(PricingError, match="brackets: per_unit takes exactly one, not 3"):
        pricing("per_unit")


@pytest.mark.parametrize(("quantity", "expected"), [("10.0", "0"), ("10.5", "0.50"), ("12", "2.00"), ("3", "0")])
def test_only_what_exceeds_the_included_quantity_is_charged(quantity, expected):
    """Statement 52."""
    assert cost(quantity, scheme="per_unit", included="10", brackets=[("0", "1")]) == Decimal(expected)


@pytest.mark.parametrize(("quantity", "expected"), [("10", "0"), ("15", "1.00")])
def test_accounts_beyond_the_included_ones(quantity, expected):
    """Statement 53."""
    assert cost(quantity, scheme="per_unit", included="10", brackets=[("0", "0.20")]) == Decimal(expected)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_no_usage_costs_nothing(scheme):
    """Statement 54."""
    assert cost("0", scheme=scheme, brackets=[("0", "2")]) == 0


def test_brackets_lie_on_the_axis_of_total_usage():
    """Statement 57: included 10, then from the 11th and from the 20th."""
    charge = rate(pricing(included="10", brackets=[("11", "1"), ("20", "0.5")]), Decimal(25))
    assert [(step.start, step.end, step.quantity) for step in charge.steps] == [(11, 19, 9), (20, 25, 6)]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"included": "12"}, "brackets[2].start"),  # statement 58
        ({"brackets": [("0", "2"), ("10", "1"), ("10", "3")]}, "brackets[3].start"),  # statement 59
        ({"brackets": [("0", "2"), ("20", "1"), ("10", "3")]}, "brackets[3].start"),
        ({"brackets": [("-1", "2")]}, "brackets[1].start"),
        ({"brackets": [("5", "2")]}, "brackets[1].start"),
        ({"brackets": [("0", "-2")]}, "brackets[1].unit_price"),
        ({"brackets": [("0", "NaN")]}, "brackets[1].unit_price"),
        ({"brackets": [("0", "Infinity")]}, "brackets[1].unit_price"),
        ({"brackets": [("0", "1e-19")]}, "brackets[1].unit_price"),
        ({"included": "-1"}, "included"),
        ({"included": "1e16"}, "included"),
        ({"package_size": Decimal(0)}, "package_size"),
        ({"minimum": Decimal(5), "maximum": Decimal(4)}, "maximum"),
    ],
)
def test_a_pricing_that_could_be_read_in_two_ways_is_refused_at_its_field(values, field):
    with pytest.raises(PricingError) as caught:
        pricing(**values)
    assert caught.value.field == field


@pytest.mark.parametrize("quantity", [Decimal(-1), Decimal("NaN"), Decimal("1e16"), Decimal("1e-7"), 1.5, "3"])
@pytest.mark.parametrize("function", [rate, amount])
def test_a_quantity_that_is_none_is_refused(function, quantity):
    with pytest.raises(PricingError, match=r"^quantity: "):
        function(pricing(), quantity)


def test_a_price_of_zero_is_allowed():
    """Statement 60."""
    assert cost("25", brackets=[("0", "0"), ("10", "1")]) == 16


def test_the_fourteenth_decimal_counts():
    """Statement 62."""
    assert cost("1000000000000", scheme="per_unit", brackets=[("0", "0.00000000000001")]) == Decimal("0.01")


def test_nothing_depends_on_the_callers_decimal_context():
    one = pricing(brackets=[("0", "0.333333333333"), ("7.5", "0.123456789012")], notation="above")
    quantity = Decimal("999999999999999.999999")
    exact = rate(one, quantity)
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        again = rate(pricing(brackets=[("0", "0.333333333333"), ("7.5", "0.123456789012")], notation="above"), quantity)
    assert again == exact
    expected = Fraction("7.5") * Fraction("0.333333333333") + (Fraction(quantity) - Fraction("7.5")) * Fraction(
        "0.123456789012"
    )
    assert Fraction(exact.amount) == expected
