"""The price curve: every point of it is a charge, every jump is upright, and nothing leaves its box."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.cautions import cautions
from catalog.curve import MAX_STAIRS, STEP, WIDTH, curve
from catalog.pricing import Bracket, Notation, Pricing, Scheme, amount
from metering.decimals import EXACT
from metering.units import DATABASES, GB, MAILBOXES

CASES = settings(max_examples=300)
VOLUME, GRADUATED, PER_UNIT, PACKAGE = Scheme.VOLUME, Scheme.GRADUATED, Scheme.PER_UNIT, Scheme.PACKAGE
THREE = [("0", "2"), ("10", "1"), ("20", "0.50")]


def a_pricing(*brackets, scheme=GRADUATED, notation=Notation.FIRST_UNIT, **values):
    rows = tuple(Bracket(*map(Decimal, bracket)) for bracket in brackets)
    return Pricing(scheme, rows, notation=notation, **{name: Decimal(value) for name, value in values.items()})


def above(*brackets, **values):
    return a_pricing(*brackets, notation=Notation.ABOVE, **values)


def drawn(pricing, unit=DATABASES, chart=0):
    """The corners of a line, as text: quantity and value."""
    return [(str(point.quantity), str(point.value)) for point in curve(pricing, unit, "USD").charts[chart].points]


def total_of(pricing, unit=DATABASES, currency="USD"):
    return curve(pricing, unit, currency).charts[0]


def table(pricing, unit=DATABASES):
    return [(row.quantity, row.total, row.average) for row in curve(pricing, unit, "USD").rows]


def box(chart):
    """The points of a line as they lie in its box, x to the right and y down."""
    return [tuple(map(Decimal, pair.split(","))) for pair in chart.line.split()]


# The line


def test_a_graduated_charge_bends_where_a_bracket_ends():
    chart = total_of(a_pricing(*THREE))
    assert [(int(point.quantity), point.value) for point in chart.points] == [
        *((0, 0), (9, 18), (19, 28), (40, Decimal("38.5"))),
    ]
    assert chart.line == "0.0,106.0 225.0,58.3 475.0,31.8 1000.0,4.0"
    assert chart.area == f"0,106 {chart.line} 1000,106"


def test_by_total_volume_the_line_falls_upright_behind_the_last_quantity_at_the_old_price():
    assert drawn(a_pricing(*THREE, scheme=VOLUME))[:5] == [
        ("0", "0"),
        ("9", "18"),
        ("9.000001", "9.000001"),
        ("19", "19"),
        ("19.000001", "9.50000050"),
    ]
    assert total_of(a_pricing(*THREE, scheme=VOLUME)).line == (
        "0.0,106.0 225.0,10.6 225.0,58.3 475.0,5.3 475.0,55.6 1000.0,0.0"
    )


def test_both_sides_of_a_cliff_are_marked():
    chart = total_of(a_pricing(*THREE, scheme=VOLUME))
    assert [(mark.x, mark.y) for mark in chart.cliffs] == [
        *(("22.50%", "32.6"), ("25.00%", "75.0")),
        *(("47.50%", "27.3"), ("50.00%", "75.0")),
    ]


def test_for_decimal_units_both_sides_of_a_cliff_lie_above_each_other():
    chart = total_of(above(*THREE, scheme=VOLUME), GB)
    assert [(mark.x, mark.y) for mark in chart.cliffs][:2] == [("25.00%", "22.0"), ("25.00%", "75.0")]


def test_what_falls_only_between_two_whole_units_does_not_fall():
    pricing = a_pricing(("0", "1"), ("10", "0.95"), scheme=VOLUME)
    assert drawn(pricing) == [("0", "0"), ("9", "9"), ("10", "9.50"), ("2E+1", "19.00")]
    assert not total_of(pricing).cliffs
    assert total_of(pricing, GB).cliffs


def test_a_flat_fee_is_an_upright_jump():
    assert drawn(above(("0", "0", "50"), ("10", "0", "80"), scheme=VOLUME), GB) == [
        ("0", "0"),
        ("0.000001", "50.000000"),
        ("10", "50"),
        ("10.000001", "80.000000"),
        ("2E+1", "80"),
    ]


def test_packages_are_stairs():
    pricing = a_pricing(("0", "0.40"), scheme=PACKAGE, included="5000", package_size="1000")
    assert [f"{quantity} {value}" for quantity, value in drawn(pricing)][:6] == [
        *("0 0", "5000 0", "5000.000001 0.40", "6000 0.40", "6000.000001 0.80", "7000 0.80"),
    ]


def test_packages_too_small_to_see_are_one_slope():
    pricing = a_pricing(("0", "0.40"), scheme=PACKAGE, included="5000", package_size="1")
    assert len(drawn(pricing)) == 4
    assert drawn(pricing)[-1] == ("1E+4", "2000.00")


def test_a_minimum_and_a_maximum_are_level_and_their_ends_are_corners():
    pricing = above(("0", "1"), scheme=PER_UNIT, included="3", minimum="5", maximum="50")
    assert drawn(pricing, GB) == [("0", "5"), ("3", "5"), ("8.000000", "5.000000"), ("2E+1", "17")]
    unlimited = above(("0", "1"), scheme=PER_UNIT, minimum="5", maximum="50")
    assert drawn(unlimited, GB)[1:] == [("5.000000", "5.000000"), ("50.000000", "50.000000"), ("1E+2", "50")]


def test_a_discount_is_in_the_curve():
    assert drawn(a_pricing(("0", "2"), ("10", "1"), discount="10"))[1] == ("9", "16.2")


def test_the_average_begins_with_the_first_unit_and_follows_every_jump():
    points = dict(drawn(a_pricing(*THREE, scheme=VOLUME), chart=1))
    assert (points["1.000000"], points["9"], points["19"]) == ("2", "2", "1")
    assert Decimal(points["9.000001"]) == 1


def test_the_average_begins_where_a_flat_fee_does_not_dwarf_the_rest():
    stairs = a_pricing(("0", "0", "50"), ("1001", "0", "200"), ("5001", "0", "350"), scheme=VOLUME)
    first = curve(stairs, DATABASES, "USD").charts[1].points[0]
    assert (first.quantity, first.value) == (250, Decimal("0.2"))


# The axes


@pytest.mark.parametrize(
    ("pricing", "unit", "last"),
    [
        (a_pricing(*THREE), DATABASES, "40"),
        (a_pricing(("0", "2"), ("1001", "1"), ("5001", "1")), DATABASES, "10000"),
        (a_pricing(("0", "2"), ("3", "1")), DATABASES, "10"),
        (above(("0", "2"), ("0.5", "1")), GB, "1"),
        (above(("0", "2"), ("0.000001", "1")), GB, "0.00001"),
        (above(("0", "2"), included="75", scheme=PER_UNIT), GB, "150"),
        (above(("0", "2"), scheme=PER_UNIT), GB, "100"),
        (above(("0", "2"), scheme=PER_UNIT, maximum="600"), GB, "600"),
        (above(("0", "2"), ("10", "1"), maximum="1000000"), GB, "20"),
        (a_pricing(("0", "1"), scheme=PACKAGE, package_size="1000"), DATABASES, "4000"),
        (above(("0", "2"), ("999999999999999", "1")), GB, "1000000000000000"),
        (above(("0", "2"), scheme=PER_UNIT, included="1000000000000000"), GB, "1000000000000000"),
    ],
)
def test_the_axis_ends_with_a_round_number_about_twice_the_last_change(pricing, unit, last):
    assert total_of(pricing, unit).points[-1].quantity == Decimal(last)


def test_ticks_and_grid_lines_are_round():
    chart = total_of(a_pricing(*THREE))
    assert [(tick.label, tick.x, tick.anchor) for tick in chart.ticks] == [
        ("0", "0.00%", "start"),
        ("10", "25.00%", "middle"),
        ("20", "50.00%", "middle"),
        ("30", "75.00%", "middle"),
        ("40", "100.00%", "end"),
    ]
    assert [(line.label, line.y) for line in chart.grid] == [("$20", "75.0"), ("$40", "22.0")]
    assert (chart.end.label, chart.end.x, chart.end.y) == ("$38.50", "100.00%", "26.0")


def test_long_numbers_leave_room_for_each_other():
    long = total_of(a_pricing(("0", "2"), ("5001", "1")))
    assert [tick.label for tick in long.ticks] == ["0", "5,000", "10,000"]
    longest = total_of(above(("0", "2"), ("999999999999", "1")), GB)
    assert [tick.label for tick in longest.ticks] == ["0", "2,000,000,000,000"]


def test_title_and_sentence_say_what_the_chart_shows():
    total, average = curve(a_pricing(*THREE, scheme=VOLUME), DATABASES, "USD").charts
    assert total.title == "Total charge, for 0 to 40 databases"
    assert total.sentence == (
        "Total charge for 0 to 40 databases. It falls from $18.00 to $10.00 at 10, from $19.00 to $10.00 at 20, and "
        "comes to $20.00."
    )
    assert average.sentence == "Price per database on average: $2.00 at 1, $0.50 at 40."
    assert total_of(a_pricing(*THREE)).sentence.endswith(" It rises from $0.00 to $38.50.")
    assert total_of(above(*THREE, scheme=VOLUME), GB).sentence.count("from $20.00 to $10.00 above") == 2


def test_many_falls_are_counted_and_not_read_out():
    rows = [(str(number * 10), str(20 - number)) for number in range(10)]
    assert ", at 3 more places, and comes to" in total_of(a_pricing(*rows, scheme=VOLUME)).sentence


def test_a_free_pricing_is_a_level_line_at_nothing():
    total, average = curve(a_pricing(("0", "0"), scheme=PER_UNIT), GB, "USD").charts
    assert {y for _, y in box(total)} == {Decimal(106)}
    assert {y for _, y in box(average)} == {Decimal(76)}
    assert (total.grid, total.end.label) == ((), "$0.00")
    assert total.sentence == "Total charge for 0 to 100 GB. It stays at $0.00."


def test_yen_are_written_without_decimals():
    assert total_of(a_pricing(("0", "150"), scheme=PER_UNIT), currency="JPY").end.label == "¥15,000"


# The table


def test_the_table_has_both_sides_of_what_changes_and_round_quantities():
    assert table(a_pricing(*THREE, scheme=VOLUME)) == [
        ("1", "$2.00", "$2.00"),
        ("9", "$18.00", "$2.00"),
        ("10", "$10.00", "$1.00"),
        ("19", "$19.00", "$1.00"),
        ("20", "$10.00", "$0.50"),
        ("30", "$15.00", "$0.50"),
        ("40", "$20.00", "$0.50"),
    ]


def test_the_table_of_a_decimal_unit_says_what_is_just_above():
    assert table(above(("0", "2"), ("10", "1"), scheme=VOLUME, minimum="3"), GB) == [
        ("0", "$3.00", "—"),
        ("1.5", "$3.00", "$2.00"),
        ("5", "$10.00", "$2.00"),
        ("10", "$20.00", "$2.00"),
        ("just above 10", "$10.00", "$1.00"),
        ("15", "$15.00", "$1.00"),
        ("20", "$20.00", "$1.00"),
    ]


def test_of_whole_units_only_whole_quantities_are_in_the_table():
    rows = table(a_pricing(("0", "1.00000005"), scheme=PER_UNIT, minimum="10"))
    assert [quantity for quantity, _, _ in rows] == ["0", "1", "5", "9", "10", "15", "20"]


def test_prices_far_below_a_cent_are_not_rounded_away():
    rows = table(a_pricing(("0", "0.0000002"), scheme=PER_UNIT), MAILBOXES)
    assert rows[0] == ("1", "$0.0000002", "$0.0000002")
    assert rows[-1] == ("100", "$0.0000200", "$0.0000002")


def test_the_largest_numbers_that_can_be_typed_are_drawn():
    pricing = above(("0", "999999999999.999999999999"), ("999999999999999", "1"), scheme=VOLUME)
    chart = total_of(pricing, GB)
    assert chart.points[1].value == Decimal("999999999999998999999999000.000000000001")
    assert table(pricing, GB)[-1] == ("1,000,000,000,000,000", "$1,000,000,000,000,000.00", "$1.00")


@pytest.mark.parametrize("unit", [DATABASES, GB])
@pytest.mark.parametrize("scheme", [GRADUATED, VOLUME])
@pytest.mark.parametrize("included", ["0", "10"])
def test_a_bracket_that_begins_with_the_largest_quantity_is_drawn_and_looked_at(unit, scheme, included):
    pricing = above(("0", "2"), ("1000000000000000", "1"), scheme=scheme, included=Decimal(included))
    assert total_of(pricing, unit).points
    cautions(pricing, unit, "USD")


# Laws


prices = st.decimals(0, 1000, places=3) | st.decimals(0, "0.000001", places=12)
UNITS = [DATABASES, GB]


@st.composite
def pricings(draw):
    scheme = draw(st.sampled_from(list(Scheme)))
    included = draw(st.integers(0, 50))
    gaps = draw(st.lists(st.integers(3, 100), max_size=5)) if scheme in (VOLUME, GRADUATED) else []
    starts = [Decimal(0), *(Decimal(included + sum(gaps[: n + 1])) for n in range(len(gaps)))]
    least, most = sorted(draw(st.tuples(prices, prices)))
    return Pricing(
        scheme,
        tuple(Bracket(start, draw(prices), draw(st.just(Decimal(0)) | prices)) for start in starts),
        included=Decimal(included),
        notation=draw(st.sampled_from(list(Notation))),
        package_size=Decimal(draw(st.integers(1, 2000))),
        minimum=draw(st.none() | st.just(least)),
        maximum=draw(st.none() | st.just(most)),
        discount=draw(st.just(Decimal(0)) | st.decimals(0, 100, places=1)),
    )


@CASES
@given(pricings(), st.sampled_from(UNITS))
def test_every_point_is_what_its_quantity_costs(pricing, unit):
    total, average = curve(pricing, unit, "USD").charts
    assert all(point.value == amount(pricing, point.quantity) for point in total.points)
    assert all(point.value == EXACT.divide(amount(pricing, point.quantity), point.quantity) for point in average.points)


@CASES
@given(pricings(), st.sampled_from(UNITS))
def test_nothing_leaves_the_box_and_every_line_runs_from_left_to_right(pricing, unit):
    for chart in curve(pricing, unit, "USD").charts:
        across = [x for x, _ in box(chart)]
        assert across == sorted(across)
        assert across[-1] == WIDTH
        assert 0 <= across[0] < WIDTH / 2
        assert all(0 <= y <= Decimal(chart.depth) for _, y in box(chart))
        for mark in (*chart.cliffs, chart.end, *chart.grid):
            assert 0 <= Decimal(mark.x.rstrip("%")) <= 100
            assert Decimal(chart.top) <= Decimal(mark.y) <= Decimal(chart.base)


#: Packages too narrow to see, the last of which is cut off by a maximum.
CUT_OFF = Pricing(
    PACKAGE,
    (Bracket(Decimal(0), Decimal("1.004"), Decimal(0)),),
    included=Decimal(0),
    package_size=Decimal(1),
    maximum=Decimal("16.103"),
)


@CASES
@given(pricings(), st.integers(0, 10**6))
@example(CUT_OFF, 376284)
def test_between_two_corners_the_charge_is_where_the_line_is(pricing, place):
    points = total_of(pricing, GB).points
    quantity = (points[-1].quantity * place / 10**6).quantize(STEP)
    before, after = next(pair for pair in pairwise(points) if pair[0].quantity <= quantity <= pair[1].quantity)
    share = Fraction(quantity - before.quantity) / Fraction(after.quantity - before.quantity)
    straight = Fraction(before.value) + share * (Fraction(after.value) - Fraction(before.value))
    # a corner lies up to a millionth beside a bend, and packages too narrow to see are off by one
    dearest = max(bracket.unit_price for bracket in pricing.brackets)
    packages = (points[-1].quantity - pricing.included) / pricing.package_size
    off = dearest if pricing.scheme is PACKAGE and packages > MAX_STAIRS else dearest * 2 * STEP
    assert abs(straight - Fraction(amount(pricing, quantity))) <= Fraction(off)


@CASES
@given(pricings(), st.sampled_from(UNITS))
def test_as_many_points_are_drawn_as_the_pricing_has_corners(pricing, unit):
    total, average = curve(pricing, unit, "USD").charts
    most = 2 + 2 * MAX_STAIRS if pricing.scheme is PACKAGE else 2 + 4 * len(pricing.brackets)
    assert len(total.points) <= most
    assert len(average.points) <= most + 61


@CASES
@given(pricings(), st.sampled_from(UNITS))
def test_the_marks_are_where_the_next_quantity_costs_less(pricing, unit):
    chart = total_of(pricing, unit)
    ends = [upper for _, upper, _ in pricing.ranges[:-1]]
    step = Decimal(1).scaleb(-unit.places)
    falls = [end for end in ends if amount(pricing, end + step) < amount(pricing, end)]
    assert len(chart.cliffs) == 2 * len(falls)
    assert ("falls" in chart.sentence) == bool(falls)
