"""How values over time are drawn: pure arithmetic that ends in the numbers of an SVG, each as text.

A chart is a box that stretches to the width of the page: places from left to right are percents, or thousandths
where lines are drawn, and places from top to bottom are pixels. Values keep their order and their gaps; only
places are rounded. How a value is written is the caller's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from metering import language
from metering.decimals import EXACT

#: Lines are drawn in a box of this width, which is stretched to that of the page.
WIDTH = 1000
#: Pixels from the top to the first line of the grid, and from there to the base.
TOP, DEPTH = 14, 152
#: Pixels below the base, for the words of the axis, and of the whole chart.
HEIGHT = TOP + DEPTH + 22
#: The share of the width that a bar takes at most, however few there are.
WIDEST = 0.06
#: Pixels that a letter at the axis takes at most, and between it and the bars.
LETTER, BESIDE = 8, 8
#: Pixels from line to line in which two words, one above the other, can be read.
ROOM = 14
#: Lines of the grid above the base, at most.
LINES = 4
_STEPS = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
ZERO = Decimal(0)

Write = Callable[[Decimal], str]


class Point(NamedTuple):
    """A value at a place from left, 0, to right, 1, between which it must lie. It is only drawn: a float is enough, and
    since there are many of them, a plain pair."""

    place: float
    value: float


class Mark(NamedTuple):
    """A place in a chart, percent from its left and pixels from its top, and what is written there."""

    x: str = ""
    y: str = ""
    label: str = ""
    label_y: str = ""
    anchor: str = ""


class Block(NamedTuple):
    """A part of the width of a chart, in percent: a bar with its top and height in pixels, or a gap."""

    x: str
    width: str
    y: str = ""
    height: str = ""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is expected: from the last value, straight to the end, between a low and a high."""

    low: Decimal
    expected: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Table:
    """The table beneath a chart: what it shows, the heads of its columns, and its rows. The first column names the
    row, and all others are numbers."""

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as it is drawn. `key` says what the parts are called that it has: `line`, `bar`, `ahead`, `gap`, `mark`.

    `axis` is how many pixels beside the box the words of its grid take; without, they stand in it.
    """

    title: str
    sentence: str
    #: What makes its table. Few look at it.
    table: Callable[[], Table]
    lines: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    bars: tuple[Block, ...] = ()
    ahead: str = ""
    range: str = ""
    gaps: tuple[Block, ...] = ()
    grid: tuple[Mark, ...] = ()
    ticks: tuple[Mark, ...] = ()
    mark: Mark | None = None
    dot: Mark | None = None
    key: dict[str, str] = field(default_factory=dict)
    axis: int = 0
    height: int = HEIGHT
    depth: int = DEPTH
    top: int = TOP
    base: int = TOP + DEPTH


class Scale(NamedTuple):
    """An axis from 0 to `top`, with a line at each `step`."""

    step: Decimal
    top: Decimal

    @property
    def lines(self) -> list[Decimal]:
        count = int(self.top / self.step)
        return [EXACT.multiply(self.step, Decimal(number)) for number in range(1, count + 1)]

    def y(self, value: Decimal | float) -> float:
        """How many pixels below the top of the box a value lies."""
        return DEPTH - float(value) / float(self.top) * DEPTH


def scale(most: Decimal, *, smallest: Decimal = ZERO) -> Scale:
    """Return an axis on which `most` still lies, with round steps, none below the `smallest` there is."""
    if most <= 0:
        step = max(smallest, Decimal(1))
        return Scale(step, step)
    rough = EXACT.divide(most, Decimal(LINES))
    unit = Decimal(1).scaleb(rough.adjusted())
    step = next(EXACT.multiply(each, unit) for each in _STEPS if EXACT.multiply(each, unit) >= rough)
    step = max(step, smallest)
    count = EXACT.divide(most, step).to_integral_value(ROUND_CEILING)
    return Scale(step, EXACT.multiply(step, count))


def draw_line(
    *,
    title: str,
    sentence: str,
    table: Callable[[], Table],
    parts: Iterable[Sequence[tuple[float, float]]],
    most: Decimal,
    last_said: str,
    write: Write,
    ticks: Sequence[tuple[float, str]],
    gaps: Iterable[tuple[float, float]] = (),
    ahead: Ahead | None = None,
    mark: tuple[Decimal, str] | None = None,
    smallest: Decimal = ZERO,
    key: dict[str, str] | None = None,
) -> Chart:
    """Draw values as a line with what lies below it; between the `parts` nothing was measured. The `most` of them and
    how the last one is written are given, since the points are floats.

    `ticks` are places with their words, `mark` is a value with what it means. `ahead` begins at the last value.
    """
    drawn = [part for part in parts if part]
    last = Point(*drawn[-1][-1]) if drawn else None
    axis = scale(max([most, *([ahead.high] if ahead else []), *([mark[0]] if mark else [])]), smallest=smallest)
    lines = tuple(_line(part, axis) for part in drawn)
    said = _mark(mark, axis, last) if mark else None
    return Chart(
        title=title,
        sentence=sentence,
        table=table,
        lines=lines,
        areas=tuple(
            f"{_x(part[0][0])},{DEPTH} {line} {_x(part[-1][0])},{DEPTH}"
            for part, line in zip(drawn, lines, strict=True)
        ),
        ahead=_ahead(last, ahead.expected, axis) if ahead and last else "",
        range=f"{_ahead(last, ahead.low, axis)} {_x(1)},{_y(ahead.high, axis)}"
        if ahead and last and ahead.low != ahead.high
        else "",
        gaps=tuple(_block(start, end) for start, end in gaps),
        grid=_beside(said, _grid(axis, write)),
        ticks=_ticks(ticks),
        mark=said,
        dot=_dot(last, axis, last_said) if last else None,
        key=key or {},
    )


def draw_bars(
    *,
    title: str,
    sentence: str,
    table: Callable[[], Table],
    values: Sequence[Decimal | None],
    write: Write,
    ticks: Sequence[tuple[float, str]],
    mark: tuple[Decimal, str] | None = None,
    smallest: Decimal = ZERO,
    key: dict[str, str] | None = None,
) -> Chart:
    """Draw values as bars side by side, of the same width; where one is None nothing was measured. The words of the
    axis stand beside them, where no bar is.

    Every bar has the same share of the width, so that bar `n` of `m` is in the middle at `(n + 0.5) / m`.
    """
    known = [value for value in values if value is not None]
    axis = scale(max([*known, *([mark[0]] if mark else [])], default=ZERO), smallest=smallest)
    share = 1 / len(values) if values else 1.0
    width = min(share * 0.75, WIDEST)
    bars, gaps = [], []
    for number, value in enumerate(values):
        if value is None:
            gaps.append(_block(number * share, (number + 1) * share))
        elif value:
            y = min(axis.y(value), DEPTH - 1.0)  # what is more than nothing can be seen
            middle = (number + 0.5) * share
            block = _block(middle - width / 2, middle + width / 2)
            bars.append(Block(block.x, block.width, _pixels(TOP + y), _pixels(DEPTH - y)))
    grid = _grid(axis, write, above=-4)
    return Chart(
        title=title,
        sentence=sentence,
        table=table,
        bars=tuple(bars),
        gaps=_joined(gaps),
        grid=grid,
        axis=max(len(line.label) for line in grid) * LETTER + BESIDE,
        ticks=_ticks(ticks),
        mark=_mark(mark, axis, None) if mark else None,
        key=key or {},
    )


def spread(labels: Sequence[str], most: int = 4) -> list[tuple[float, str]]:
    """Choose some of the names of bars to stand below them, the last one always."""
    if not labels:
        return []
    every = max(1, -(-len(labels) // most))
    chosen = range(len(labels) - 1, -1, -every)
    return [((number + 0.5) / len(labels), labels[number]) for number in sorted(chosen)]


def _line(part: Sequence[tuple[float, float]], axis: Scale) -> str:
    if len(part) == 1:  # a point alone would not be seen
        [(place, value)] = part
        part = [(max(place - 0.004, 0), value), (min(place + 0.004, 1), value)]
    deep = DEPTH / float(axis.top)
    places = [number for place, value in part for number in (place * WIDTH, DEPTH - value * deep)]
    return " ".join(["%.1f,%.1f"] * len(part)) % tuple(places)


def _ahead(last: Point, value: Decimal, axis: Scale) -> str:
    return f"{_x(last.place)},{_y(last.value, axis)} {_x(1)},{_y(value, axis)}"


@language.said_once
def _grid(axis: Scale, write: Write, *, above: int = 4) -> tuple[Mark, ...]:
    """The lines of the grid, with the base of their words so many pixels `above` them. Remembered: most axes are one of
    a few."""
    heights = [(TOP + axis.y(value), value) for value in axis.lines]
    return tuple(Mark(y=_pixels(y), label=write(value), label_y=_pixels(y - above)) for y, value in heights)


def _beside(mark: Mark | None, grid: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """The lines of the grid, without the words for which those of a mark that stand further left leave no room."""
    if mark is None or mark.x == _percent(1):
        return grid
    return tuple(line._replace(label="") if abs(float(line.y) - float(mark.y)) < ROOM else line for line in grid)


def _ticks(ticks: Sequence[tuple[float, str]]) -> tuple[Mark, ...]:
    """The words below: at both ends they begin and end with the box, whatever their width."""
    return tuple(
        Mark(x=_percent(0), label=label, anchor="start")
        if place <= 0.06
        else Mark(x=_percent(1), label=label, anchor="end")
        if place >= 0.94
        else Mark(x=_percent(place), label=label, anchor="middle")
        for place, label in ticks
    )


def _mark(mark: tuple[Decimal, str], axis: Scale, last: Point | None) -> Mark:
    """Where the line of a mark is; its words stand at its right, or further left where the last value would be."""
    value, label = mark
    y = TOP + axis.y(value)
    is_near = last is not None and last.place > 0.55 and abs(TOP + axis.y(last.value) - y) < 24
    return Mark(x="45.00" if is_near else "100.00", y=_pixels(y), label=label, label_y=_pixels(y - 5), anchor="end")


def _dot(last: Point, axis: Scale, label: str) -> Mark:
    y = TOP + axis.y(last.value)
    is_left = last.place < 0.3
    return Mark(
        x=_percent(last.place),
        y=_pixels(y),
        label=label,
        label_y=_pixels(y - 9 if y > TOP + 6 else y + 18),
        anchor="start" if is_left else "end",
    )


def _joined(gaps: Sequence[Block]) -> tuple[Block, ...]:
    """Gaps that touch each other are one."""
    joined: list[Block] = []
    for gap in gaps:
        if joined and abs(float(joined[-1].x) + float(joined[-1].width) - float(gap.x)) < 0.02:
            first = joined.pop()
            joined.append(Block(first.x, f"{float(gap.x) + float(gap.width) - float(first.x):.2f}"))
        else:
            joined.append(gap)
    return tuple(joined)


def _block(start: float, end: float) -> Block:
    return Block(_percent(start), _percent(max(end - start, 0)))


def _x(place: float) -> str:
    return f"{min(max(place, 0), 1) * WIDTH:.1f}"


def _y(value: Decimal | float, axis: Scale) -> str:
    return f"{axis.y(value):.1f}"


def _percent(place: float) -> str:
    return f"{place * 100:.2f}"


def _pixels(y: float) -> str:
    return f"{y:.1f}"
