"""What is to be billed: periods of usage by their prices, and what waits."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from catalog.aggregation import Aggregation, Level, aggregate
from catalog.in_force import InForce
from catalog.models import MetricSetting
from catalog.pricing import Charge, Pricing, rate
from metering.decimals import exact_sum
from metering.periods import Period

#: A usage row: tenant, metric and first day of its period.
PeriodKey = tuple[int, int, date]


@dataclass(slots=True)  # not frozen: a run makes millions, and those would take four times as long
class Item:
    """The usage of one period, in the base of its unit, with the day that it was measured on.

    `levels` are the days that an aggregated level comes from, and `days` the length of its whole term.
    `part`, `revision` and `is_open` are as on BilledPeriod.
    """

    start: date
    end: date
    measured_on: date
    value: Decimal
    levels: tuple[Level, ...] = ()
    days: int = 0
    part: int = 0
    revision: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A period that is not billed yet, and why."""

    setting: MetricSetting
    start: date
    end: date
    reason: str


@dataclass(slots=True)
class Billable:
    """Periods of one metric that have the same prices and make one line."""

    setting: MetricSetting
    in_force: InForce
    items: list[Item]
    missing: list[Period] = field(default_factory=list)

    @property
    def quantities(self) -> list[Decimal]:
        """What is rated, in the unit of the prices: the sum of the periods, or each of them."""
        from_base = self.in_force.unit.from_base
        if len(self.items) == 1 or self.in_force.rates_each_period:
            return [from_base(item.value) for item in self.items]
        return [from_base(exact_sum(item.value for item in self.items))]

    def charges(self, pricing: Pricing) -> list[Charge]:
        """Rate each of the quantities. Raises PricingError."""
        return [rate(pricing, quantity) for quantity in self.quantities]


@dataclass(slots=True)
class Unbilled:
    """What there is to bill of one service."""

    billable: list[Billable] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


def level(how: Aggregation, rows: list[Item], term: Period, days: int) -> Item:
    """Return the usage of a term, from the levels that were measured in it."""
    last = rows[-1]
    if how is Aggregation.LATEST:
        return Item(term.start, term.end, last.start, last.value)
    levels = tuple((row.start, row.value) for row in rows)
    return Item(term.start, term.end, last.start, aggregate(how, levels, term, days), levels, days)
