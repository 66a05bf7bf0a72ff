"""Which prices apply to the periods of a term: those that were in force, or those of a draft."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import groupby, pairwise
from typing import NamedTuple

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.in_force import InForce, agreed_pricing, agreed_unit, choose
from catalog.models import MetricSetting, Override, PricingVersion
from catalog.pricing import Pricing, PricingError
from catalog.sheet import Sheet
from catalog.spans import covered
from invoicing.models import InvoicingSpan
from invoicing.simulation.terms import Ended, closes, rows_of
from invoicing.usage_invoicing import was_on, when_on
from metering.models import Metric
from metering.periods import day
from metering.units import Unit

#: What has the same prices: a version, None for the draft, and an override, if there is one.
Key = tuple[int | None, int | None]


class Prices(NamedTuple):
    """How usage becomes an amount in one currency. Without a pricing it cannot."""

    unit: Unit
    pricing: Pricing | None
    aggregation: Aggregation
    is_each: bool


class Run(NamedTuple):
    """Periods that begin from a day on and before another and have the same prices."""

    first: date
    stop: date
    key: Key
    priced: PricingVersion | Sheet
    override: Override | None


@dataclass
class Before:
    """What was in force. Terms are asked about again and again, so the answers are kept."""

    setting: MetricSetting
    spans: list[InvoicingSpan]
    known: dict[Ended, list[Run]] = field(default_factory=dict)

    def runs(self, one: Ended, agreed: list[Override]) -> list[Run]:
        """Return the prices of the periods of a term whose usage was to be billed, in their order."""
        if one not in self.known:
            # A metric that nobody ever switched on or priced is not even in the database.
            self.known[one] = list(self._for_everybody(one)) if self.setting.pk else []
        runs = self.known[one]
        return [part for run in runs for part in self._agreed(run, one, agreed)] if agreed else runs

    def _for_everybody(self, one: Ended) -> Iterator[Run]:
        metric = self.setting.metric
        first, stop = rows_of(one, metric.type)
        if one.is_final and not was_on(self._on, one.last, day(one.last).end):
            return
        begins = _begins(first, stop, metric) if metric.adds_up else [first]
        for state, days in groupby(begins, key=lambda began: self._state(began, one)):
            begin, *others = days
            if state is not None:
                yield _run(begin, closes((others or [begin])[-1], metric) if metric.adds_up else stop, state[1])

    @cached_property
    def _on(self) -> list[tuple[date, date]]:
        return when_on(self.setting.all_spans, self.spans)

    def _state(self, began: date, one: Ended) -> tuple[PricingVersion | None, InForce] | None:
        """Return the version of the day on which a period began and what prices it, None if nothing was billed.

        The two differ where the day of the invoice decides, and then an override is chosen by that day too.
        """
        metric = self.setting.metric
        end = min(closes(began, metric), day(one.last).end) if metric.adds_up else one.end
        if began >= end or not was_on(self._on, began, end):
            return None
        in_force = choose(self.setting, [], began=began, invoiced=one.invoiced)
        return (self.setting.version_on(began), in_force) if in_force else None

    def _agreed(self, run: Run, one: Ended, agreed: list[Override]) -> Iterator[Run]:
        for first, stop in _cut(run.first, run.stop, agreed):
            chosen = choose(self.setting, agreed, began=first, invoiced=one.invoiced)
            assert chosen is not None  # there is a version for everybody
            yield _run(first, stop, chosen)


@dataclass
class After:
    """What a draft would charge, as if it had always been in force and its metric always on."""

    metric: Metric
    sheet: Sheet
    known: dict[Ended, list[Run]] = field(default_factory=dict)

    def runs(self, one: Ended, agreed: list[Override]) -> list[Run]:
        """Return the prices of all periods of a term, in their order."""
        if agreed:
            return list(self._agreed(one, agreed))
        if one not in self.known:
            self.known[one] = list(self._agreed(one, []))
        return self.known[one]

    def _agreed(self, one: Ended, agreed: list[Override]) -> Iterator[Run]:
        first, stop = rows_of(one, self.metric.type)
        is_by_invoice = self.sheet.price_at is PriceAt.INVOICE
        for begin, end in [(first, stop)] if is_by_invoice else _cut(first, stop, agreed):
            decides = one.invoiced if is_by_invoice else begin
            override = next((each for each in agreed if covered([each], decides)), None)
            yield Run(begin, end, (None, override.pk if override else None), self.sheet, override)


@dataclass
class Pricings:
    """Pricings by what has the same prices and by currency, made once."""

    known: dict[tuple[Key, str], Prices] = field(default_factory=dict)

    def of(self, run: Run, currency: str) -> Prices:
        key = run.key, currency
        if key not in self.known:
            self.known[key] = _prices(run, currency)
        return self.known[key]

    def forget_agreed(self) -> None:
        """Keep what is for everybody: there may be as many overrides as services."""
        self.known = {key: prices for key, prices in self.known.items() if key[0][1] is None}


def _prices(run: Run, currency: str) -> Prices:
    priced, override = run.priced, run.override
    try:
        pricing = agreed_pricing(priced, override, currency)
    except PricingError:
        pricing = None
    return Prices(
        agreed_unit(priced, override),
        pricing,
        Aggregation(priced.aggregation),
        priced.periods == Periods.EACH,
    )


def _run(first: date, stop: date, in_force: InForce) -> Run:
    return Run(first, stop, in_force.key, in_force.version, in_force.override)


def _cut(first: date, stop: date, agreed: Iterable[Override]) -> Iterator[tuple[date, date]]:
    """Cut some days where what was agreed changes."""
    changes = {each for override in agreed for each in (override.start, override.end) if each and first < each < stop}
    return pairwise([first, *sorted(changes), stop])


def _begins(first: date, stop: date, metric: Metric) -> Iterator[date]:
    """Yield the days on which the periods of a metric begin."""
    while first < stop:
        yield first
        first = closes(first, metric)
