"""How values become the places of a drawing."""

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing import chart
from invoicing.chart import Ahead, Point, Table

EMPTY = Table("", (), [])


def written(value: D) -> str:
    return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"


def line(*values: str, **more: object) -> chart.Chart:
    parts = [[Point(number / 10, float(value)) for number, value in enumerate(values)]] if values else []
    wanted = {"title": "t", "sentence": "s", "table": EMPTY, "parts": parts, "write": written, "ticks": [], **more}
    most = max((D(point.value) for part in wanted["parts"] for point in part), default=D(0))
    return chart.draw_line(most=most, last_said=values[-1] if values else "", **wanted)


def bars(*values: str | None, **more: object) -> chart.Chart:
    wanted = {"title": "t", "sentence": "s", "table": EMPTY, "write": written, "ticks": [], **more}
    return chart.draw_bars(values=[None if value is None else D(value) for value in values], **wanted)


@pytest.mark.parametrize(
    ("most", "smallest", "step", "top"),
    [
        ("25", "1", "10", "30"),
        ("22.06", "0", "10", "30"),
        ("5400", "1", "2000", "6000"),
        ("1", "1", "1", "1"),
        ("3", "1", "1", "3"),
        ("0", "1", "1", "1"),
        ("0", "0.000001", "1", "1"),
        ("0.000004", "0.000001", "0.000001", "0.000004"),
        ("1000000000000000", "1", "500000000000000", "1000000000000000"),
        ("100", "0", "50", "100"),
    ],
)
def test_an_axis_ends_with_a_round_number_of_few_steps(most, smallest, step, top):
    scale = chart.scale(D(most), smallest=D(smallest))
    assert (scale.step, scale.top) == (D(step), D(top))


@given(st.decimals("0.000001", 10**15, places=6))
def test_every_value_lies_on_its_axis_and_near_its_end(most):
    scale = chart.scale(most)
    assert most <= scale.top
    assert 0 <= scale.y(most) <= chart.DEPTH
    assert 1 <= len(scale.lines) <= chart.LINES
    assert scale.top - scale.step < most


def test_a_line_runs_from_value_to_value_with_its_area_below():
    drawn = line("0", "10")
    assert drawn.lines == ("0.0,152.0 100.0,0.0",)
    assert drawn.areas == ("0.0,152 0.0,152.0 100.0,0.0 100.0,152",)
    assert drawn.dot.label == "10"


def test_all_zero_lies_on_the_base():
    assert line("0", "0", "0").lines == ("0.0,152.0 100.0,152.0 200.0,152.0",)
    assert bars("0", "0").bars == ()


def test_a_point_alone_can_be_seen():
    [only] = line("5").lines
    first, last = only.split()
    assert first != last


def test_nothing_is_an_empty_chart():
    drawn = line()
    assert (drawn.lines, drawn.dot) == ((), None)
    assert len(drawn.grid) == 1


def test_between_two_parts_nothing_is_drawn():
    parts = [[Point(0, 1), Point(0.2, 1)], [Point(0.5, 2), Point(0.6, 2)]]
    drawn = line(parts=parts, gaps=[(0.2, 0.5)])
    assert len(drawn.lines) == len(drawn.areas) == 2
    assert (drawn.gaps[0].x, drawn.gaps[0].width) == ("20.00", "30.00")


def test_what_is_expected_goes_from_the_last_value_to_the_end():
    drawn = line("0", "10", ahead=Ahead(D(15), D(20), D(30)))
    assert drawn.ahead == "100.0,101.3 1000.0,50.7"
    assert drawn.range == "100.0,101.3 1000.0,76.0 1000.0,0.0"


def test_what_is_certain_has_no_range():
    drawn = line("5", "5", ahead=Ahead(D(5), D(5), D(5)))
    assert drawn.ahead
    assert not drawn.range


def test_the_axis_has_room_for_what_is_expected_and_included():
    assert line("5", ahead=Ahead(D(5), D(6), D(95))).grid[-1].label == "100"
    assert line("5", mark=(D(95), "95 included")).grid[-1].label == "100"


def test_a_bar_is_as_high_as_its_value_and_nothing_measured_is_a_gap():
    drawn = bars("5", "10", None, None, "0")
    assert [bar.height for bar in drawn.bars] == ["76.0", "152.0"]
    assert [(gap.x, gap.width) for gap in drawn.gaps] == [("40.00", "40.00")]


def test_what_is_more_than_nothing_can_be_seen():
    assert bars("0.000001", "1000000").bars[0].height == "1.0"


def test_some_names_stand_below_the_bars_the_last_one_always():
    labels = [str(number) for number in range(1, 31)]
    chosen = chart.spread(labels)
    assert [label for _, label in chosen] == ["6", "14", "22", "30"]
    assert chart.spread([]) == []


def test_the_words_of_the_axis_stand_beside_bars_and_above_the_lines_of_a_curve():
    beside, within = bars("5", "1000000"), line("5", "1000000")
    assert beside.axis >= 7 * len("1000000")
    assert within.axis == 0
    assert float(beside.grid[0].label_y) > float(beside.grid[0].y)
    assert float(within.grid[0].label_y) < float(within.grid[0].y)


def test_where_the_words_of_a_mark_stand_further_left_those_of_its_line_are_left_out():
    parts = [[Point(0, 1), Point(0.6, 11)]]
    far, near = line("1", mark=(D(10), "10 included")), line(parts=parts, mark=(D(10), "10 included"))
    assert "10" in [one.label for one in far.grid]
    assert "10" not in [one.label for one in near.grid]
    assert "5" in [one.label for one in near.grid]


def test_the_words_below_begin_and_end_with_the_chart():
    ticks = bars("1", ticks=[(0.01, "first"), (0.5, "middle"), (0.99, "last")]).ticks
    assert [(tick.x, tick.anchor) for tick in ticks] == [("0.00", "start"), ("50.00", "middle"), ("100.00", "end")]


@given(st.lists(st.one_of(st.none(), st.decimals(0, 10**15, places=6)), max_size=40))
def test_every_place_lies_in_the_drawing(values):
    drawn = chart.draw_bars(title="", sentence="", table=EMPTY, values=values, write=written, ticks=[])
    for bar in drawn.bars:
        assert 0 <= float(bar.x) <= 100
        assert chart.TOP <= float(bar.y) <= chart.TOP + chart.DEPTH
        assert 0 < float(bar.height) <= chart.DEPTH
