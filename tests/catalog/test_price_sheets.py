"""Two price sheets compared in words."""

from dataclasses import replace
from decimal import Decimal

import pytest

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet, differences
from metering.units import GB, MB


def brackets(*rows):
    return tuple(Bracket(*map(Decimal, row)) for row in rows)


PRICING = Pricing(Scheme.GRADUATED, brackets(("0", "2"), ("10", "1")), Decimal(5), Notation.ABOVE)
SHEET = Sheet(GB, {"USD": PRICING})


def test_the_same_sheet_differs_in_nothing():
    assert differences(SHEET, Sheet(GB, {"USD": replace(PRICING)})) == []


def test_the_start_of_the_first_bracket_is_the_included_however_it_is_written():
    other = replace(PRICING, brackets=brackets(("5", "2"), ("10", "1")))
    assert differences(SHEET, Sheet(GB, {"USD": other})) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"included": Decimal(6)}, ["Included: 6 GB instead of 5 GB"]),
        ({"scheme": Scheme.VOLUME}, ["Scheme: total volume instead of graduated"]),
        (
            {"notation": Notation.FIRST_UNIT},
            ["Start of a bracket: the first unit at its price instead of the last unit before its price"],
        ),
        ({"minimum": Decimal(3)}, ["USD: minimum charge $3.00 instead of none"]),
        ({"maximum": Decimal(90)}, ["USD: maximum charge $90.00 instead of none"]),
        ({"brackets": brackets(("0", "2"), ("10", "1.5"))}, ["USD, from 10: $1.50 instead of $1.00, 50% more"]),
        ({"brackets": brackets(("0", "2"), ("10", "0"))}, ["USD, from 10: $0.00 instead of $1.00, 100% less"]),
        ({"brackets": brackets(("0", "2"), ("10", "1", "4"))}, ["USD, from 10: flat fee $4.00 instead of $0.00"]),
        ({"brackets": brackets(("0", "2"))}, ["USD: no bracket from 10 any more"]),
        (
            {"brackets": brackets(("0", "2"), ("10", "1"), ("20", "0.5", "9"))},
            ["USD, from 20: a new bracket at $0.50 per GB plus $9.00 once"],
        ),
    ],
)
def test_each_change_of_the_pricing_is_a_sentence(changes, words):
    assert differences(SHEET, Sheet(GB, {"USD": replace(PRICING, **changes)})) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregation": Aggregation.P95}, "Quantity of a term: 95th percentile instead of last value"),
        ({"periods": Periods.EACH}, "Periods: each rated by itself instead of summed and rated once"),
        (
            {"price_at": PriceAt.INVOICE},
            "Price of the day of the invoice instead of the day on which a period begins",
        ),
    ],
)
def test_each_change_of_how_usage_is_counted_is_a_sentence(changes, words):
    assert differences(SHEET, replace(SHEET, **changes)) == [words]


def test_another_unit_changes_what_is_included():
    assert differences(SHEET, replace(SHEET, unit=MB)) == [
        "Unit: MB instead of GB",
        "Included: 5 MB instead of 5 GB",
    ]


def test_currencies_come_and_go():
    both = Sheet(GB, {"USD": PRICING, "EUR": PRICING})
    assert differences(SHEET, both) == [
        "EUR is new: 5 GB included, then from €2.00 per GB, cheaper above 10 GB",
    ]
    assert differences(both, SHEET) == ["No price in EUR any more"]


def test_what_was_free_has_no_share_to_rise_by():
    free = Sheet(GB, {"USD": replace(PRICING, brackets=brackets(("0", "0"), ("10", "1")))})
    assert differences(free, SHEET) == ["USD, from 0: $2.00 instead of $0.00"]
