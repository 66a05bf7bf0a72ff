"""What a pricing charges and what one unit costs on average, as two curves and as their table.

Quantities and amounts are exact; only places in the drawing are rounded, to a ten thousandth of its width. The
charge runs straight between its corners, so that they are all there is to draw. A jump is upright: it goes from
the last quantity before it to the very next that can be rated.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from functools import cached_property

from babel.numbers import format_compact_currency
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.money import minor_units, write_rounded
from catalog.pricing import MAX_QUANTITY, ONE, QUANTITY_PLACES, ZERO, Pricing, Scheme, amount
from metering import language
from metering.decimals import EXACT, plain, round_half_up
from metering.units import Unit

#: Lines are drawn in a box of this width, which is stretched to that of the page.
WIDTH = 1000
#: More packages than this would be too narrow to see, and are drawn as one slope.
MAX_STAIRS = 20
#: Falls that the sentence for screen readers counts up; the table has them all.
MAX_SAID = 5
#: The smallest difference between two quantities.
STEP = ONE.scaleb(-QUANTITY_PLACES)
#: Where an axis may end, and into how many round parts that divides.
_ENDS = {"1": 5, "1.2": 4, "1.5": 3, "2": 4, "3": 3, "4": 4, "5": 5, "6": 3, "8": 4, "10": 5}
#: Where it ends when nothing in the pricing says how much is usual.
_USUAL = Decimal(100)
#: Pixels that a digit takes, and those between the sides of a chart on the narrowest page.
_DIGIT, _NARROW = 7, 280


@dataclass(frozen=True, slots=True)
class Point:
    """A quantity, and the charge or the price of one that belongs to it."""

    quantity: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a chart, percent from its left and pixels from its top, and what is written there."""

    x: str
    y: str
    label: str = ""
    label_y: str = ""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as it is drawn, with every number as text.

    `line` runs in a box of WIDTH by `depth` that lies between `top` and `base`, in pixels from the top, and
    `area` is what lies below it. `cliffs` are the quantities on both sides of each fall.
    """

    title: str
    sentence: str
    points: tuple[Point, ...]
    line: str
    area: str
    height: str
    depth: str
    top: str
    base: str
    grid: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    cliffs: tuple[Mark, ...]
    end: Mark


@dataclass(frozen=True, slots=True)
class Row:
    """A quantity, what it costs, and what one of it costs on average."""

    quantity: str
    total: str
    average: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Two charts and their table. `note` says what of a draft they leave out."""

    charts: tuple[Chart, Chart]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Money:
    """Amounts that stand below each other, with the same number of decimals."""

    currency: str
    places: int

    def write(self, value: Decimal) -> str:
        return write_rounded(round_half_up(value, self.places), self.currency, self.places)


@dataclass(frozen=True)
class _Axis:
    """Quantities from 0 to the `last`."""

    unit: Unit
    last: Decimal

    @cached_property
    def ticks(self) -> list[Decimal]:
        parts = _ENDS[plain(self.last.scaleb(-self.last.adjusted()))]
        return [self.last * part / parts for part in range(parts + 1)]

    def number(self, quantity: Decimal) -> str:
        return self.unit.number(quantity)

    def percent(self, quantity: Decimal) -> str:
        return f"{quantity / self.last * 100:.2f}%"

    def labels(self, y: int) -> tuple[Mark, ...]:
        """Return the ticks, or halves, or only the ends: as many as there is room for on a narrow page."""
        halves, ends = [ZERO, self.last / 2, self.last], [ZERO, self.last]
        shown = next((each for each in (self.ticks, halves) if self._has_room(each)), ends)
        anchors = ["start", *["middle"] * (len(shown) - 2), "end"]
        return tuple(
            Mark(self.percent(tick), str(y), self.number(tick), anchor=anchor)
            for tick, anchor in zip(shown, anchors, strict=True)
        )

    def _has_room(self, ticks: list[Decimal]) -> bool:
        """Say whether the last two fit beside each other: the last ends where the others have their middle."""
        before, last = (len(self.number(tick)) * _DIGIT for tick in ticks[-2:])
        return before / 2 + last + _DIGIT <= _NARROW / (len(ticks) - 1)


def curve(pricing: Pricing, unit: Unit, currency: str) -> Curve:
    """Draw what 0 to about twice the highest start cost, in total and one on average."""
    with localcontext(EXACT):
        axis = _Axis(unit, _last(pricing, unit))
        corners = _corners(pricing, axis.last, unit)
        total = [Point(quantity, amount(pricing, quantity)) for quantity in corners]
        listed = [Point(quantity, amount(pricing, quantity)) for quantity in _listed(corners, axis, total[0].value)]
        sampled = _sampled(corners, axis.last, unit)
        average = [Point(quantity, amount(pricing, quantity) / quantity) for quantity in sampled]
        totals = _Money(currency, _places([point.value for point in listed], currency))
        # right above what is included the price of one is next to nothing, which says nothing about its decimals
        round_ones = [amount(pricing, tick) / tick for tick in axis.ticks[1:]]
        averages = _Money(currency, _places(round_ones, currency))
        return Curve(
            (_total_chart(total, _falls(pricing, unit), axis, totals), _average_chart(average, axis, averages)),
            tuple(_row(point, corners, axis, totals, averages) for point in listed),
        )


def _total_chart(points: list[Point], falls: list[tuple[Point, Point]], axis: _Axis, money: _Money) -> Chart:
    told = {"quantity": axis.unit.write(axis.last)}
    begin = _("Total charge for 0 to %(quantity)s.") % told
    first, last = money.write(points[0].value), money.write(points[-1].value)
    course = _("It stays at %(amount)s.") % {"amount": first}
    if first != last:
        course = _("It rises from %(first)s to %(last)s.") % {"first": first, "last": last}
    if falls:
        said = [_fall(before, after, axis, money) for before, after in falls[:MAX_SAID]]
        if more := len(falls[MAX_SAID:]):
            said.append(ngettext("at %(count)s more places", "at %(count)s more places", more) % {"count": more})
        course = _("It falls %(falls)s, and comes to %(last)s.") % {"falls": ", ".join(said), "last": last}
    return _chart(
        _("Total charge, for 0 to %(quantity)s") % told,
        f"{begin} {course}",
        points,
        axis,
        money,
        depth=106,
        has_area=True,
        cliffs=[point for fall in falls for point in fall],
    )


def _fall(before: Point, after: Point, axis: _Axis, money: _Money) -> str:
    told = {"before": money.write(before.value), "after": money.write(after.value)}
    if axis.unit.is_whole:
        return _("from %(before)s to %(after)s at %(quantity)s") % {**told, "quantity": axis.number(after.quantity)}
    return _("from %(before)s to %(after)s above %(quantity)s") % {**told, "quantity": axis.number(before.quantity)}


def _average_chart(points: list[Point], axis: _Axis, money: _Money) -> Chart:
    first, last = points[0], points[-1]
    told = {
        "unit": axis.unit.noun(ONE),
        "first": money.write(first.value),
        "start": axis.number(first.quantity),
        "last": money.write(last.value),
        "end": axis.number(last.quantity),
    }
    return _chart(
        _("Price of one, on average"),
        _("Price per %(unit)s on average: %(first)s at %(start)s, %(last)s at %(end)s.") % told,
        points,
        axis,
        money,
        depth=76,
    )


def _chart(
    title: str,
    sentence: str,
    points: list[Point],
    axis: _Axis,
    money: _Money,
    *,
    depth: int,
    has_area: bool = False,
    cliffs: Sequence[Point] = (),
) -> Chart:
    top, grid = 22, _grid(max(point.value for point in points))
    highest = grid[-1] if grid else ONE
    base = top + depth

    def down(value: Decimal) -> Decimal:
        return depth - value / highest * depth

    def mark(point: Point, label: str = "") -> Mark:
        y = top + down(point.value)
        return Mark(axis.percent(point.quantity), f"{y:.1f}", label, f"{y - 9:.1f}")

    line = " ".join(f"{point.quantity / axis.last * WIDTH:.1f},{down(point.value):.1f}" for point in points)
    return Chart(
        title,
        sentence,
        tuple(points),
        line=line,
        area=f"0,{depth} {line} {WIDTH},{depth}" if has_area else "",
        height=str(base + 22),
        depth=str(depth),
        top=str(top),
        base=str(base),
        grid=tuple(
            Mark("0", f"{top + down(value):.1f}", _grid_label(value, grid, money), f"{top + down(value) - 4:.1f}")
            for value in grid
        ),
        ticks=axis.labels(base + 18),
        cliffs=tuple(map(mark, cliffs)),
        end=mark(points[-1], money.write(points[-1].value)),
    )


def _last(pricing: Pricing, unit: Unit) -> Decimal:
    """Return where the axis ends: a round number about twice the highest quantity at which the price changes."""
    highest = pricing.ranges[-1][0]
    if pricing.scheme is Scheme.PACKAGE:
        highest = max(highest, pricing.package_size * 2)
    bends = [bend for piece in _pieces(pricing, MAX_QUANTITY)[-1:] for bend in _bends(pricing, *piece)]
    # a minimum or maximum far beyond the brackets would press them together
    near = [bend for bend in bends if not highest or bend <= highest * 10]
    return _round_up(min(max([highest, *near]) * 2 or _USUAL, MAX_QUANTITY), ONE.scaleb(1 - unit.places))


def _round_up(quantity: Decimal, least: Decimal) -> Decimal:
    power = max(quantity, least).adjusted()
    return next(end for each in _ENDS if (end := Decimal(each).scaleb(power)) >= max(quantity, least))


def _pieces(pricing: Pricing, last: Decimal) -> list[tuple[Decimal, Decimal, Decimal]]:
    """Return between which quantities the charge is straight, and its slope before a minimum or maximum."""
    if pricing.scheme is not Scheme.PACKAGE:
        return [
            (lower, last if upper is None else min(upper, last), bracket.unit_price)
            for lower, upper, bracket in pricing.ranges
            if lower < last
        ]
    price, size, start = pricing.brackets[0].unit_price, pricing.package_size, pricing.included
    stairs = ((last - start) / size).to_integral_value(ROUND_CEILING)
    if stairs > MAX_STAIRS:
        return [(start, last, price / size)]
    return [(start + size * n, min(start + size * (n + 1), last), ZERO) for n in range(int(stairs))]


def _bends(pricing: Pricing, lower: Decimal, upper: Decimal, slope: Decimal) -> Iterator[Decimal]:
    """Yield where in a straight piece the minimum ends and the maximum begins."""
    after = lower + STEP
    begins = amount(replace(pricing, minimum=None, maximum=None, discount=ZERO), after)
    for bound in (pricing.minimum, pricing.maximum):
        if bound is not None and slope and after < (bend := after + (bound - begins) / slope) < upper:
            yield bend.quantize(STEP, ROUND_FLOOR)


def _corners(pricing: Pricing, last: Decimal, unit: Unit) -> list[Decimal]:
    """Return the quantities between which the charge runs straight, with both sides of every jump."""
    corners = {ZERO, min(pricing.included, last)}
    for lower, upper, slope in _pieces(pricing, last):
        rise = amount(pricing, lower + STEP) - amount(pricing, lower)
        following = min(lower + ONE, upper)
        if unit.is_whole and rise < 0 and amount(pricing, following) >= amount(pricing, lower):
            corners.add(following)  # it would fall only where there is no whole unit
        elif not 0 <= rise <= slope * STEP:
            corners.add(lower + STEP)
        corners |= {*_bends(pricing, lower, upper, slope), upper}
    return sorted(corners)


def _sampled(corners: Iterable[Decimal], last: Decimal, unit: Unit) -> list[Decimal]:
    """Return the quantities through which the average is drawn, closer to each other where it bends more.

    It begins with the first unit, or near enough to it: right above 0 a flat fee for one unit knows no bounds.
    """
    first = max(min(last / 40, *(corner for corner in corners if corner > STEP)), ONE.scaleb(-unit.places))
    along = ((last * part * part / 3600).quantize(STEP) for part in range(1, 61))
    return sorted({first.quantize(STEP), *(quantity for quantity in (*along, *corners) if quantity > first)})


def _falls(pricing: Pricing, unit: Unit) -> list[tuple[Point, Point]]:
    """Return both sides of each boundary at which more usage costs less."""
    found = []
    for _lower, upper, _bracket in pricing.ranges[:-1]:
        assert upper is not None
        following = min(upper + ONE.scaleb(-unit.places), MAX_QUANTITY)
        before, after = (Point(each, amount(pricing, each)) for each in (upper, following))
        if after.value < before.value:
            found.append((before, after))
    return found


def _listed(corners: list[Decimal], axis: _Axis, at_none: Decimal) -> list[Decimal]:
    """Return the quantities of the table: round ones, and both sides of what changes."""
    sides = [each for each in corners if each != STEP]
    if axis.unit.is_whole:
        sides = [corner.to_integral_value(ROUND_FLOOR) + more for corner in corners for more in (ZERO, ONE)]
    return sorted(each for each in {*sides, *axis.ticks} if each <= axis.last and (each or at_none))


def _row(point: Point, corners: list[Decimal], axis: _Axis, totals: _Money, averages: _Money) -> Row:
    quantity, before = axis.number(point.quantity), point.quantity - STEP
    if before in corners and not axis.unit.is_whole:
        quantity = _("just above %(quantity)s") % {"quantity": axis.number(before)}
    average = averages.write(point.value / point.quantity) if point.quantity else "—"
    return Row(quantity, totals.write(point.value), average)


def _places(values: Sequence[Decimal], currency: str) -> int:
    """Return with how many decimals the least of some amounts still shows two digits, unless fewer are exact."""
    least = min((value for value in values if value), default=ONE)
    exact = max(len(plain(value).partition(".")[2]) for value in values)
    return max(minor_units(currency), min(1 - least.adjusted(), exact))


def _grid(highest: Decimal) -> list[Decimal]:
    """Return at most three round amounts, the last as high as the chart."""
    if not highest:
        return []
    steps = (Decimal(digit).scaleb(highest.adjusted() + power) for power in (-1, 0) for digit in (1, 2, 5))
    step = next(step for step in steps if highest <= step * 3)
    return [step * line for line in range(1, int((highest / step).to_integral_value(ROUND_CEILING)) + 1)]


def _grid_label(value: Decimal, grid: list[Decimal], money: _Money) -> str:
    if value >= 10**6:
        return str(format_compact_currency(value, money.currency, locale=language.current(), fraction_digits=1))
    exact = max(len(plain(each).partition(".")[2]) for each in grid)
    places = 0 if grid[-1] >= 10 and not exact else max(exact, minor_units(money.currency))
    return write_rounded(value, money.currency, places)
