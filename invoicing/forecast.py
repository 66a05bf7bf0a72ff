"""What a term will come to, and how sure that is: pure arithmetic on days, quantities and prices.

Usage that adds up goes on at the mean of the term's days so far; low and high go on at their 25th and 75th
percentile. While the term has fewer than FEW whole days, its spread is that of the last term's days, and in its
first day the mean is too. A level stays what it is; low and high are the least and the most of the last
LOOK_BACK days. Quantities are in the base of their unit. Nothing here rounds money: who rates does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from catalog.aggregation import Aggregation, Level, aggregate
from catalog.pricing import MAX_QUANTITY, ONE, ZERO, Pricing, Scheme, amount
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.periods import Period

#: Fewer days than this say nothing about slower and faster ones.
FEW = 5
#: Days before today in which a level is looked at, and before a term of which the days stand for the last one.
LOOK_BACK = 30
#: Decimals of what is used on average in a day.
PLACES = 12
ONE_DAY = timedelta(days=1)
_QUARTER, _THREE_QUARTERS = Decimal("0.25"), Decimal("0.75")


@dataclass(frozen=True, slots=True)
class Range:
    """Something expected, between a low and a high: `low <= expected <= high`. Raises ValueError otherwise."""

    low: Decimal
    expected: Decimal
    high: Decimal

    def __post_init__(self) -> None:
        if not self.low <= self.expected <= self.high:
            raise ValueError(f"{self.expected} does not lie between {self.low} and {self.high}")

    @classmethod
    def about(cls, expected: Decimal, others: Iterable[Decimal] = ()) -> "Range":
        """What is expected, between the least and the most of it and others."""
        values = [expected, *others]
        return cls(min(values), expected, max(values))

    @property
    def is_certain(self) -> bool:
        return self.low == self.high

    def __add__(self, other: "Range") -> "Range":
        return Range(
            EXACT.add(self.low, other.low),
            EXACT.add(self.expected, other.expected),
            EXACT.add(self.high, other.high),
        )

    def plus(self, value: Decimal) -> "Range":
        return self + Range(value, value, value)

    def times(self, factor: Decimal) -> "Range":
        """Each of the three, times a factor that is not negative."""
        return self.each(lambda value: EXACT.multiply(value, factor))

    def each(self, change: Callable[[Decimal], Decimal]) -> "Range":
        """What becomes of the three by something that never turns their order round."""
        return Range(change(self.low), change(self.expected), change(self.high))


NOTHING = Range(ZERO, ZERO, ZERO)


@dataclass(frozen=True, slots=True)
class Pace:
    """What is used in a day."""

    per_day: Range
    is_of_last_term: bool = False


def pace(*, used: Decimal, elapsed: Decimal, days: Sequence[Decimal], before: Sequence[Decimal]) -> Pace | None:
    """Return how fast something is used, or None while there are not enough days to say so.

    `used` was used in the `elapsed` days of the term so far, the last of them in part. `days` are what its whole
    days used, and `before` those of the last term.
    """
    spread = days if len(days) >= FEW else before
    if len(spread) < FEW:
        return None
    is_new = elapsed < ONE
    mean = _mean(before) if is_new else _quotient(used, elapsed)
    return Pace(Range.about(mean, (percentile(spread, _QUARTER), percentile(spread, _THREE_QUARTERS))), is_new)


def percentile(values: Sequence[Decimal], share: Decimal) -> Decimal:
    """Return the value that a share of the values does not exceed, between two of them in a straight line."""
    ordered = sorted(values)
    place = EXACT.multiply(share, Decimal(len(ordered) - 1))
    below = int(place)
    if below == len(ordered) - 1:
        return ordered[below]
    between = EXACT.subtract(place, Decimal(below))
    return EXACT.add(ordered[below], EXACT.multiply(EXACT.subtract(ordered[below + 1], ordered[below]), between))


def level(how: Aggregation, levels: Sequence[Level], now: Decimal, term: Period, days: int) -> Decimal:
    """Return the quantity of a term whose level stays what it is `now` until the term ends.

    `levels` are those that were measured in it so far, and `days` the length of the whole term.
    """
    if how is Aggregation.LATEST:
        return now
    known = [each for each in levels if each[0] in term]
    first = known[-1][0] + ONE_DAY if known else term.start
    ahead = ((first + timedelta(days=number), now) for number in range((term.end - first).days))
    return aggregate(how, [*known, *ahead], term, days)


def amounts(charge: Callable[[Decimal], Decimal], quantities: Range, corners: Iterable[Decimal] = ()) -> Range:
    """Return what quantities cost. More may cost less, where a higher bracket prices all units: `corners` are the
    quantities between low and high where that may happen."""
    return Range.about(
        charge(quantities.expected), [charge(each) for each in (quantities.low, quantities.high, *corners)]
    )


def corners(pricing: Pricing, quantities: Range, places: int) -> list[Decimal]:
    """Return the quantities between low and high on both sides of which all units have another price."""
    if pricing.scheme is not Scheme.VOLUME or len(pricing.brackets) == 1:
        return []
    step = ONE.scaleb(-places)
    bounds = [upper for _, upper, _ in pricing.ranges if upper is not None]
    sides = [side for bound in bounds for side in (bound, EXACT.add(bound, step))]
    return [side for side in sides if quantities.low < side < quantities.high]


def next_unit(pricing: Pricing, quantity: Decimal) -> Decimal | None:
    """Return by how much the exact charge rises with one more unit; None at the end of all quantities. It is below
    zero where one more makes all units cheaper."""
    more = EXACT.add(quantity, ONE)
    return EXACT.subtract(amount(pricing, more), amount(pricing, quantity)) if more <= MAX_QUANTITY else None


def days_until(included: Decimal, used: Decimal, per_day: Decimal) -> Decimal | None:
    """Return in how many days the quantity included runs out at this pace; None if it never does."""
    if used >= included:
        return ZERO
    return _quotient(EXACT.subtract(included, used), per_day) if per_day else None


def ran_out_on(included: Decimal, days: Iterable[tuple[date, Decimal]]) -> date | None:
    """Return the day on which what was used since the first of the days exceeded the quantity included."""
    used = ZERO
    for day, value in days:
        used = EXACT.add(used, value)
        if used > included:
            return day
    return None


def fraction(span: timedelta) -> Decimal:
    """A span of time in days; nothing if it is negative."""
    microseconds = max(span, timedelta()) // timedelta(microseconds=1)
    return EXACT.divide(Decimal(microseconds), Decimal(86_400_000_000))


def _mean(values: Sequence[Decimal]) -> Decimal:
    return _quotient(exact_sum(values), Decimal(len(values)))


def _quotient(value: Decimal, by: Decimal) -> Decimal:
    return round_half_up(EXACT.divide(value, by), PLACES)
