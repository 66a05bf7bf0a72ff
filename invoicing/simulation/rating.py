"""What the terms of a product's services cost by the prices that were in force, and by a draft.

It reads the usage of some hundred services with one statement and rates it in memory. Nothing is written:
the transaction is read-only.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from django.db import connection, transaction

from catalog.aggregation import Aggregation, Level, aggregate
from catalog.in_force import overrides_of
from catalog.models import MetricSetting, Override
from catalog.money import round_amount
from catalog.pricing import ZERO, PricingError, amount
from catalog.sheet import Sheet
from invoicing.models import InvoicingSpan
from invoicing.simulation.prices import After, Before, Key, Prices, Pricings, Run
from invoicing.simulation.terms import Ended, Served, ended, rows_of, services
from metering.decimals import exact_sum
from metering.periods import Period, day
from metering.units import Unit

#: Services whose usage is read at once.
BATCH = 250

#: Every row of some tenants.
_ALL = """
    SELECT tenant_id, array_agg(start ORDER BY start), array_agg(value ORDER BY start)
    FROM metering_usage
    WHERE metric_id = %s AND tenant_id = ANY(%s) AND start >= %s AND start < %s
    GROUP BY tenant_id
"""
#: Of each term of a tenant only the newest row, which takes an index probe where a year of days takes a sort.
_LAST = """
    SELECT term.tenant_id, array_agg(last.start ORDER BY last.start), array_agg(last.value ORDER BY last.start)
    FROM unnest(%s::int[], %s::date[], %s::date[]) AS term (tenant_id, first, stop)
    CROSS JOIN LATERAL (
        SELECT start, value FROM metering_usage u
        WHERE metric_id = %s AND u.tenant_id = term.tenant_id AND start >= first AND start < stop
        ORDER BY start DESC LIMIT 1
    ) last
    GROUP BY term.tenant_id
"""


class Rated(NamedTuple):
    """A quantity in its unit and what it costs, each line rounded; None when it cannot be priced."""

    quantity: Decimal
    unit: Unit
    amount: Decimal | None


class Line(NamedTuple):
    """What a term of a service cost and what it would cost. None: nothing is charged."""

    service: Served
    term: Ended
    before: Rated | None
    after: Rated | None

    @property
    def is_unpriced(self) -> bool:
        """Whether the draft has no price for it."""
        return self.after is not None and self.after.amount is None

    @property
    def paid(self) -> Decimal:
        return (self.before.amount if self.before else None) or ZERO

    @property
    def would_pay(self) -> Decimal:
        """Meaningless for what the draft cannot price."""
        return (self.after.amount if self.after else None) or ZERO


@dataclass(frozen=True)
class Batch:
    """How many services are done, of how many, and the lines of the last of them."""

    done: int
    of: int
    lines: list[Line]


class Series(NamedTuple):
    """The usage of a tenant: the days on which its periods begin, in their order, and the values."""

    starts: list[date]
    values: list[Decimal]

    def between(self, first: date, stop: date) -> slice:
        return slice(bisect_left(self.starts, first), bisect_left(self.starts, stop))


def rated(
    *, setting: MetricSetting, sheet: Sheet, months: Period, today: date, only: Collection[int] | None = None
) -> Iterator[Batch]:
    """Rate what the services of a product used in the terms that ended in some months, before and after; or `only`
    some of its services, by their ids.

    Before is what was in force; after is the sheet of a draft, with what was agreed for each service.
    `setting` was fetched `with_pricing`. Nothing is written, and the database would refuse it. Each batch
    takes the same few queries.
    """
    with _read_only():
        found = services(setting.product, months, only)
        simulation = _Simulation(setting, sheet, months, today)
        for first in range(0, len(found), BATCH):
            batch = found[first : first + BATCH]
            yield Batch(first + len(batch), len(found), simulation.lines(batch))


@contextmanager
def _read_only() -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield


class _Simulation:
    def __init__(self, setting: MetricSetting, sheet: Sheet, months: Period, today: date) -> None:
        self.setting = setting
        self.metric = setting.metric
        self.months, self.today = months, today
        self.before = Before(setting, list(InvoicingSpan.objects.all()))
        self.after = After(setting.metric, sheet)
        self.pricings = Pricings()

    def lines(self, batch: Sequence[Served]) -> list[Line]:
        """Return the lines of some services, in their order."""
        self.pricings.forget_agreed()
        terms = [(service, one) for service in batch for one in ended(service, self.months, self.today)]
        usage = self.usage(terms)
        overrides = overrides_of([service.pk for service in batch]) if self.setting.pk else {}
        return [
            line
            for service, one in terms
            if (series := usage.get(service.tenant_id))
            and (line := self.line(service, one, series, overrides.get((service.pk, self.setting.pk), [])))
        ]

    @cached_property
    def is_last_enough(self) -> bool:
        """Whether no version and not the draft asks for more than the last level of a term."""
        versions = self.setting.all_versions if self.setting.pk else []
        asked = {self.after.sheet.aggregation, *(Aggregation(version.aggregation) for version in versions)}
        return not self.metric.adds_up and asked == {Aggregation.LATEST}

    def usage(self, terms: Sequence[tuple[Served, Ended]]) -> dict[int, Series]:
        tenants = [service.tenant_id for service, _ in terms]
        days = [rows_of(one, self.metric.type) for _, one in terms]
        firsts, stops = [first for first, _ in days], [stop for _, stop in days]
        with connection.cursor() as cursor:
            if self.is_last_enough:
                cursor.execute(_LAST, [tenants, firsts, stops, self.metric.pk])
            else:
                span = min(firsts, default=None), max(stops, default=None)
                cursor.execute(_ALL, [self.metric.pk, sorted(set(tenants)), *span])
            return {tenant: Series(starts, values) for tenant, starts, values in cursor}

    def line(self, service: Served, one: Ended, series: Series, agreed: list[Override]) -> Line | None:
        runs = self.before.runs(one, agreed), self.after.runs(one, agreed)
        if self.metric.adds_up:
            before, after = (self.total(service, series, each) for each in runs)
        else:
            levels = self.levels(one, series)
            before, after = (self.level(service, one, levels, each) for each in runs)
        return Line(service, one, before, after) if before or after else None

    def total(self, service: Served, series: Series, runs: list[Run]) -> Rated | None:
        """Periods of the same prices make one line, as on an invoice."""
        groups: dict[Key, tuple[Prices, list[Decimal]]] = {}
        for run in runs:
            if values := series.values[series.between(_first(run, service), run.stop)]:
                if run.key in groups:
                    groups[run.key][1].extend(values)
                else:
                    groups[run.key] = self.pricings.of(run, service.currency), values
        return _added([_rated(prices, values, service.currency) for prices, values in groups.values()])

    def levels(self, one: Ended, series: Series) -> list[Level]:
        where = series.between(*rows_of(one, self.metric.type))
        return list(zip(series.starts[where], series.values[where], strict=True)) if one.start < one.end else []

    def level(self, service: Served, one: Ended, levels: list[Level], runs: list[Run]) -> Rated | None:
        """A level has the prices of the day on which its term began."""
        if not levels or not runs:
            return None
        prices = self.pricings.of(runs[0], service.currency)
        if prices.aggregation is not Aggregation.LATEST and levels[0][0] == one.end:
            return None  # a level of the last day counts as the last value only
        value = aggregate(prices.aggregation, levels, Period(one.start, one.end), one.days)
        return _rated(prices, [value], service.currency)


def _first(run: Run, service: Served) -> date:
    taken = service.taken_until
    return run.first if taken is None else max(run.first, day(taken).end)


def _rated(prices: Prices, values: list[Decimal], currency: str) -> Rated:
    """Rate the sum of some periods, or each of them, and round once."""
    unit, pricing = prices.unit, prices.pricing
    several = [unit.from_base(value) for value in values] if prices.is_each else [unit.from_base(exact_sum(values))]
    quantity = exact_sum(several)
    if pricing is None:
        return Rated(quantity, unit, None)
    try:
        return Rated(quantity, unit, round_amount(exact_sum([amount(pricing, each) for each in several]), currency))
    except PricingError:
        return Rated(quantity, unit, None)


def _added(lines: list[Rated]) -> Rated | None:
    """Add the lines of a term up, in the unit of the last one."""
    if len(lines) < 2:
        return lines[0] if lines else None
    unit = lines[-1].unit
    amounts = [line.amount for line in lines if line.amount is not None]
    return Rated(
        exact_sum([unit.from_base(line.unit.to_base(line.quantity)) for line in lines]),
        unit,
        exact_sum(amounts) if len(amounts) == len(lines) else None,
    )
