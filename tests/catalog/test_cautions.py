"""What may surprise in a pricing is said in numbers, and only what is really surprising."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.cautions import MAX_LINES, Caution, cautions, inside_included, missing_prices
from catalog.pricing import Bracket, Notation, Pricing, Scheme, amount
from metering.units import DATABASES, GB

CASES = settings(max_examples=300)
VOLUME, GRADUATED, PER_UNIT, PACKAGE = Scheme.VOLUME, Scheme.GRADUATED, Scheme.PER_UNIT, Scheme.PACKAGE
THREE = [("0", "2"), ("10", "1"), ("20", "0.50")]
CLIFF = "More usage would cost less"


def a_pricing(*brackets, scheme=GRADUATED, notation=Notation.FIRST_UNIT, **values):
    rows = tuple(Bracket(*map(Decimal, bracket)) for bracket in brackets)
    return Pricing(scheme, rows, notation=notation, **{name: Decimal(value) for name, value in values.items()})


def above(*brackets, **values):
    return a_pricing(*brackets, notation=Notation.ABOVE, **values)


def said(pricing, unit=DATABASES, currency="USD"):
    """Titles and lines."""
    return {caution.title: list(caution.lines) for caution in cautions(pricing, unit, currency)}


# A cliff


def test_a_cliff_is_two_numbers_a_boundary():
    assert cautions(a_pricing(*THREE, scheme=VOLUME), DATABASES, "USD") == [
        Caution(
            CLIFF,
            ("9 cost $18.00, 10 cost $10.00", "19 cost $19.00, 20 cost $10.00"),
            "With total volume, reaching a bracket changes the price of every unit. If only the further units should "
            "be cheaper, choose graduated. You can save this as it is.",
        )
    ]


@pytest.mark.parametrize(
    ("pricing", "unit", "lines"),
    [
        (
            above(*THREE, scheme=VOLUME),
            GB,
            [
                "10 GB cost $20.00, a little more costs $10.00",
                "20 GB cost $20.00, a little more costs $10.00",
            ],
        ),
        (
            a_pricing(*THREE, scheme=VOLUME),
            GB,
            [
                "9 GB cost $18.00, a little more costs $9.00",
                "19 GB cost $19.00, a little more costs $9.50",
            ],
        ),
        (
            above(*THREE, scheme=VOLUME),
            DATABASES,
            ["10 cost $20.00, 11 cost $11.00", "20 cost $20.00, 21 cost $10.50"],
        ),
        (a_pricing(("0", "2"), ("2", "0.50"), scheme=VOLUME), DATABASES, ["1 costs $2.00, 2 cost $1.00"]),
        (above(("0", "2"), ("1", "1"), scheme=VOLUME), GB, ["1 GB costs $2.00, a little more costs $1.00"]),
        (
            a_pricing(("0", "2"), ("10", "1"), scheme=VOLUME, included="5"),
            DATABASES,
            ["9 cost $8.00, 10 cost $5.00"],
        ),
        (
            a_pricing(("0", "2"), ("1001", "1"), scheme=VOLUME, discount="50"),
            DATABASES,
            ["1,000 cost $1,000.00, 1,001 cost $500.50"],
        ),
        (
            a_pricing(("0", "0.0002"), ("10", "0.0001"), scheme=VOLUME),
            DATABASES,
            ["9 cost $0.002, 10 cost $0.001"],
        ),
    ],
)
def test_a_cliff_is_told_truly_in_both_notations_and_for_parts_of_units(pricing, unit, lines):
    assert said(pricing, unit) == {CLIFF: lines}


def test_a_flat_fee_that_is_lower_further_up_is_a_cliff_of_its_own_kind():
    caution = cautions(a_pricing(("0", "0", "50"), ("11", "0", "20"), scheme=VOLUME), DATABASES, "USD")[0]
    assert caution.lines == ("10 cost $50.00, 11 cost $20.00",)
    assert caution.note.startswith("With total volume, only the flat fee of the bracket that is reached counts.")


@pytest.mark.parametrize(
    "pricing",
    [
        a_pricing(("0", "1"), ("10", "0.95"), scheme=VOLUME),
        a_pricing(*THREE, scheme=VOLUME, minimum="100"),
        a_pricing(*THREE, scheme=VOLUME, discount="100"),
        a_pricing(("0", "2"), ("10", "1", "8"), scheme=VOLUME),
        a_pricing(*THREE),
        a_pricing(("0", "5"), scheme=PACKAGE, package_size="10"),
    ],
)
def test_what_does_not_fall_is_no_cliff(pricing):
    assert CLIFF not in said(pricing)


def test_a_maximum_makes_a_cliff_lower_or_takes_it_away():
    lines = ["9 cost $15.00, 10 cost $10.00", "19 cost $15.00, 20 cost $10.00"]
    assert said(a_pricing(*THREE, scheme=VOLUME, maximum="15"))[CLIFF] == lines
    assert CLIFF not in said(a_pricing(*THREE, scheme=VOLUME, maximum="10"))


def test_the_largest_numbers_that_can_be_typed_are_written_in_full():
    pricing = above(("0", "999999999999.999999999999"), ("999999999999999", "1"), scheme=VOLUME)
    assert said(pricing, GB)[CLIFF] == [
        "999,999,999,999,999 GB cost $999,999,999,999,998,999,999,999,000.00, a little more costs "
        "$999,999,999,999,999.00"
    ]


def test_many_boundaries_are_counted_after_the_first_few():
    rows = [(str(number * 10), str(2**-number)) for number in range(12)]
    lines = said(a_pricing(*rows, scheme=VOLUME))[CLIFF]
    assert len(lines) == MAX_LINES
    assert lines[-1] == "and 6 more"


# Prices that go up, or away


def test_a_dearer_bracket_says_both_prices():
    assert said(a_pricing(("0", "1"), ("10", "3"))) == {
        "A later bracket is dearer": ["From 10: $3.00 per database, before that $1.00"]
    }
    assert said(above(("0", "1"), ("10", "3"), scheme=VOLUME), GB) == {
        "A later bracket is dearer": ["Above 10 GB: $3.00 per GB, before that $1.00"]
    }


def test_units_that_cost_something_after_free_ones_are_a_usual_offer():
    assert said(a_pricing(("0", "0"), ("10", "1"))) == {}


def test_units_for_nothing_after_units_with_a_price_are_named():
    assert said(a_pricing(("0", "1"), ("10", "0"), ("20", "0"))) == {
        "A later bracket is free": ["From 10: $0.00 per database, before that $1.00"]
    }
    assert said(a_pricing(("0", "1"), ("10", "0", "5")), GB).keys() == {"A flat fee makes the charge jump"}
    assert said(a_pricing(("0", "0"), ("10", "0"))) == {}


def test_by_total_volume_units_for_nothing_are_a_cliff_and_said_once():
    assert said(a_pricing(("0", "1"), ("10", "0"), scheme=VOLUME)) == {CLIFF: ["9 cost $9.00, 10 cost $0.00"]}


# Flat fees


def test_a_flat_fee_above_the_price_of_a_unit_makes_the_charge_jump():
    assert said(a_pricing(("0", "2"), ("10", "1", "5"))) == {
        "A flat fee makes the charge jump": ["9 cost $18.00, 10 cost $24.00"]
    }
    assert said(above(("0", "1", "50"), scheme=PER_UNIT, included="10"), GB) == {
        "A flat fee makes the charge jump": ["10 GB cost $0.00, a little more costs $50.00"]
    }


@pytest.mark.parametrize(
    "pricing",
    [
        a_pricing(("0", "2", "5"), scheme=PER_UNIT),
        a_pricing(("0", "2"), ("10", "1", "0.10")),
        a_pricing(("0", "0", "50"), ("1001", "0", "200"), scheme=VOLUME),
        a_pricing(("0", "2", "5"), ("10", "2", "5"), scheme=VOLUME),
    ],
)
def test_a_fee_that_starts_with_the_first_unit_is_small_or_makes_stairs_is_meant(pricing):
    assert said(pricing) == {}


def test_a_fee_that_the_maximum_swallows_is_not_a_jump():
    assert said(a_pricing(("0", "2"), ("10", "1", "5"), maximum="18")).keys() == {
        "The maximum charge is reached before a bracket"
    }


# The maximum charge


def test_a_maximum_that_leaves_a_bracket_without_effect_is_named():
    assert said(a_pricing(*THREE, maximum="18")) == {
        "The maximum charge is reached before a bracket": ["From 10: $18.00, whatever is used"]
    }
    assert said(a_pricing(*THREE, maximum="19")) == {
        "The maximum charge is reached before a bracket": ["From 10: $19.00, whatever is used"]
    }
    assert said(above(*THREE, maximum="25"), GB) == {
        "The maximum charge is reached before a bracket": ["Above 20 GB: $25.00, whatever is used"]
    }


def test_a_maximum_that_the_first_unit_reaches_is_named():
    assert said(a_pricing(("0", "1", "50"), scheme=PER_UNIT, maximum="20")) == {
        "The maximum charge is reached at once": ["1 would cost $51.00 without it, it is $20.00"]
    }
    title = "The maximum charge is reached at once"
    assert said(above(("0", "1", "50"), scheme=PER_UNIT, included="10", maximum="20"), GB)[title] == [
        "Anything above 10 GB would cost $50.00 without it, it is $20.00"
    ]


def test_a_minimum_that_is_the_maximum_makes_every_quantity_cost_the_same():
    assert said(a_pricing(*THREE, minimum="5", maximum="5")) == {
        "Every quantity costs the same": ["Minimum and maximum charge are both $5.00"]
    }


@pytest.mark.parametrize("maximum", ["29", "1000"])
def test_a_maximum_that_every_bracket_can_stay_below_is_what_a_maximum_is_for(maximum):
    assert said(a_pricing(*THREE, maximum=maximum)) == {}
    assert said(a_pricing(("0", "2"), scheme=PER_UNIT, minimum="5", maximum=maximum)) == {}


# What misses in a form


def test_missing_prices_name_their_brackets_and_whom_that_concerns():
    assert missing_prices("EUR", [3], is_every=False, services=4) == Caution(
        "Prices in EUR are missing",
        ("Bracket 3 has none",),
        "4 services are billed in EUR. This can be saved once every bracket has one.",
    )
    assert missing_prices("EUR", [1, 2, 4], is_every=False, services=1).lines == ("Brackets 1, 2 and 4 have none",)
    every = missing_prices("EUR", [1, 2], is_every=True, services=0)
    assert (every.lines, every.note) == (("No bracket has one",), "This can be saved once every bracket has one.")


def test_a_bracket_inside_what_is_included_is_named_with_the_way_out():
    caution = inside_included([(2, Decimal(8)), (3, Decimal(10))], Decimal(10), GB)
    assert caution.lines == (
        "Bracket 2 starts with 8, 10 GB are included",
        "Bracket 3 starts with 10, 10 GB are included",
    )
    assert caution.note == "Included units are never charged. Include less, start it above 10, or remove it."
    assert inside_included([(1, Decimal(1))], Decimal(1), GB).lines == ("Bracket 1 starts with 1, 1 GB is included",)
    assert "Start the first bracket with 0" in inside_included([(1, Decimal(5))], Decimal(10), GB).note


# Laws


prices = st.decimals(0, 100, places=2) | st.just(Decimal(0))


@st.composite
def pricings(draw):
    scheme = draw(st.sampled_from([VOLUME, GRADUATED]))
    included = draw(st.integers(0, 10))
    gaps = draw(st.lists(st.integers(2, 15), max_size=3))
    starts = [Decimal(0), *(Decimal(included + sum(gaps[: n + 1])) for n in range(len(gaps)))]
    least, most = sorted(draw(st.tuples(prices, prices)))
    return Pricing(
        scheme,
        tuple(Bracket(start, draw(prices), draw(prices)) for start in starts),
        included=Decimal(included),
        notation=draw(st.sampled_from(list(Notation))),
        minimum=draw(st.none() | st.just(least)),
        maximum=draw(st.none() | st.just(most)),
    )


@CASES
@given(pricings())
def test_a_cliff_is_said_exactly_where_one_more_unit_costs_less(pricing):
    costs = [amount(pricing, Decimal(quantity)) for quantity in range(80)]
    falls = [quantity for quantity in range(79) if costs[quantity + 1] < costs[quantity]]
    lines = said(pricing).get(CLIFF, [])
    assert [int(line.split()[0]) for line in lines] == falls


@CASES
@given(pricings())
def test_a_bracket_that_the_maximum_leaves_without_effect_has_one_charge(pricing):
    lines = said(pricing).get("The maximum charge is reached before a bracket", [])
    for line in lines:
        start = Decimal(line.split()[1].rstrip(":"))
        first = start + 1 if pricing.notation is Notation.ABOVE else start
        last = next((upper for _, upper, _ in pricing.ranges if upper is not None and upper >= first), Decimal(200))
        assert {amount(pricing, first), amount(pricing, last)} == {pricing.maximum}


@CASES
@given(pricings(), st.sampled_from([DATABASES, GB]))
def test_every_caution_has_a_title_lines_and_a_way_to_go_on(pricing, unit):
    for caution in cautions(pricing, unit, "USD"):
        assert caution.title
        assert 0 < len(caution.lines) <= MAX_LINES
        assert caution.note.endswith("You can save this as it is.")
