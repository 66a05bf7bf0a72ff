"""How the levels of a term become the quantity that is rated, and the periods of a metric its charges.

Levels are measured at most once a day here: a day counts with its last value. Everything is exact but for
one rounding, half up, of a mean to the 6 decimals that usage has.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from metering.decimals import EXACT, round_half_up
from metering.periods import Period

#: Decimals of usage, in the base of its unit.
PLACES = 6

#: A day and the level that was measured on it. A series has at most one of each day, in their order.
Level = tuple[date, Decimal]


class Aggregation(StrEnum):
    """How the days of a term become one quantity, for metrics that measure a level."""

    LATEST = "latest"
    PEAK = "peak"
    MEAN = "mean"
    TIME_WEIGHTED = "time_weighted"
    P95 = "p95"
    DAYS = "days"


class Periods(StrEnum):
    """Whether the unbilled periods of a metric that adds up are summed and rated once, or rated each."""

    SUMMED = "summed"
    EACH = "each"


class PriceAt(StrEnum):
    """Which day decides what a period costs: that on which it began, or that of its invoice."""

    START = "start"
    INVOICE = "invoice"


def aggregate(how: Aggregation, levels: Sequence[Level], measured: Period, days: int) -> Decimal:
    """Turn the levels of a term into its quantity, in the base of the unit.

    `levels` are those of the days of `measured`, the part of the term that is over, and there is at least
    one; the newest may be that of the day on which it ends, which counts for LATEST alone. `days` is the
    length of the whole term. Raises ValueError without a level.
    """
    inside = levels if how is Aggregation.LATEST else [level for level in levels if level[0] in measured]
    if not inside:
        raise ValueError(f"no level was measured from {measured.start} to {measured.end}")
    return _HOW[how](inside, measured.end, days)


def _latest(levels: Sequence[Level], end: date, days: int) -> Decimal:
    return levels[-1][1]


def _peak(levels: Sequence[Level], end: date, days: int) -> Decimal:
    return max(value for _, value in levels)


def _mean(levels: Sequence[Level], end: date, days: int) -> Decimal:
    """The mean of the days that were measured."""
    return _quotient(_sum(levels), len(levels))


def _time_weighted(levels: Sequence[Level], end: date, days: int) -> Decimal:
    """Each level counts for its day and those after it until the next one; days before the first do not."""
    lengths = [(after - day).days for day, after in pairwise([*(day for day, _ in levels), end])]
    held = (EXACT.multiply(value, Decimal(length)) for (_, value), length in zip(levels, lengths, strict=True))
    total = Decimal(0)
    for amount in held:
        total = EXACT.add(total, amount)
    return _quotient(total, (end - levels[0][0]).days)


def _p95(levels: Sequence[Level], end: date, days: int) -> Decimal:
    """The level that 95 percent of the measured days do not exceed, by nearest rank: number ⌈0.95 n⌉ of n."""
    values = sorted(value for _, value in levels)
    return values[-(-95 * len(values) // 100) - 1]


def _days(levels: Sequence[Level], end: date, days: int) -> Decimal:
    """The sum of the days over the number of days in the term: a day without a level counts as 0."""
    return _quotient(_sum(levels), days)


def _sum(levels: Sequence[Level]) -> Decimal:
    total = Decimal(0)
    for _, value in levels:
        total = EXACT.add(total, value)
    return total


def _quotient(total: Decimal, days: int) -> Decimal:
    return round_half_up(EXACT.divide(total, Decimal(days)), PLACES)


_HOW: dict[Aggregation, Callable[[Sequence[Level], date, int], Decimal]] = {
    Aggregation.LATEST: _latest,
    Aggregation.PEAK: _peak,
    Aggregation.MEAN: _mean,
    Aggregation.TIME_WEIGHTED: _time_weighted,
    Aggregation.P95: _p95,
    Aggregation.DAYS: _days,
}
