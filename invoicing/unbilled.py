"""What of a service's usage is to be billed: a choice of rows, and then plain decisions about them.

A period is billed when it lies wholly inside the days on which its metric was enabled and usage
invoicing was on, a pricing was in force when it began, and it was read after it ended. A period that was
not read in time waits for one invoice; the next one bills what is known of it.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil

from django.conf import settings as site
from django.db.models import Exists, OuterRef, QuerySet

from catalog.aggregation import Aggregation, Level, aggregate
from catalog.in_force import InForce, choose, overrides_of
from catalog.models import MetricSetting, Override, Service
from catalog.pricing import Charge, Pricing, rate
from catalog.spans import covered
from catalog.terms import Cycle, term
from invoicing.models import BilledPeriod, Deferral, InvoicingSpan
from metering.decimals import exact_sum
from metering.models import Latest, Usage
from metering.periods import Period, month
from metering.providers.base import MetricType


@dataclass(frozen=True, slots=True)
class Item:
    """The usage of one period, in the base of its unit, with the day that it was measured on.

    `levels` are the days that an aggregated level comes from, and `days` the length of its whole term.
    """

    start: date
    end: date
    measured_on: date
    value: Decimal
    levels: tuple[Level, ...] = ()
    days: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A period that is not billed yet, and why."""

    setting: MetricSetting
    start: date
    end: date
    reason: str


@dataclass
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
        if self.in_force.rates_each_period:
            return [from_base(item.value) for item in self.items]
        return [from_base(exact_sum(item.value for item in self.items))]

    def charges(self, pricing: Pricing) -> list[Charge]:
        """Rate each of the quantities. Raises PricingError."""
        return [rate(pricing, quantity) for quantity in self.quantities]


@dataclass
class Unbilled:
    """What there is to bill of one service."""

    billable: list[Billable] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cut:
    """Up to where a service is billed: the term that closes, and whether the open period counts too.

    `days` is the length of the whole term, of which `term` may be the part that is over.
    """

    service: Service
    term: Period | None
    days: int
    until: date
    is_final: bool = False

    @property
    def tenant_id(self) -> int:
        assert self.service.tenant_id is not None  # only metered services are asked
        return self.service.tenant_id

    @property
    def invoiced(self) -> date:
        """The day of the invoice: of the renewal, however late its run, or the last one of the service."""
        return self.until - timedelta(days=1) if self.is_final else self.until


def of_renewal(service: Service) -> Cut:
    """Bill what closed before the term that is due."""
    number, due = service.next_term, service.next_due_on
    assert due is not None
    closing = term(service.anchor, Cycle(service.cycle), number - 1) if number else None
    return Cut(service, closing, closing.days if closing else 0, due)


def of_termination(service: Service, on: date) -> Cut:
    """Bill everything to date. A term that would only begin on that day has no level to bill."""
    current = term(service.anchor, Cycle(service.cycle), max(service.next_term - 1, 0))
    closing = Period(current.start, on) if current.start < on else None
    return Cut(service, closing, current.days, on + timedelta(days=1), is_final=True)


def to_date(service: Service, on: date) -> Cut:
    """What would be billed if everything were billed today: the level counts on the first day of a term too."""
    current = term(service.anchor, Cycle(service.cycle), max(service.next_term - 1, 0))
    tomorrow = on + timedelta(days=1)
    return Cut(
        service, Period(current.start, max(tomorrow, current.start + timedelta(days=1))), current.days, tomorrow, True
    )


def find(cuts: Several[Cut], settings: Mapping[int, list[MetricSetting]]) -> dict[int, Unbilled]:
    """Return what there is to bill of each service, by its id, in seven queries for any number of them.

    `settings` holds the metric settings of each product, fetched `with_pricing`.
    """
    found = {cut.service.pk: Unbilled() for cut in cuts}
    rules = _Rules(list(InvoicingSpan.objects.all()))
    metered = [cut for cut in cuts if cut.service.tenant_id]
    waited = _waited(metered)
    usage = _usage(metered, settings, waited)
    collected = _collected(metered)
    overrides = overrides_of([cut.service.pk for cut in metered])
    for cut in metered:
        for setting in settings.get(cut.service.product_id, ()):
            key = (cut.tenant_id, setting.metric_id)
            rows = usage.get(key, [])
            agreed = overrides.get((cut.service.pk, setting.pk), [])
            judge = _Judge(cut, setting, agreed, rules, waited, collected.get(key))
            judge.decide(rows, found[cut.service.pk])
    return found


class _Rules:
    """What is the same for many services: whether a period was to be billed, and what priced it."""

    def __init__(self, spans: list[InvoicingSpan]) -> None:
        self.spans = spans
        self.on: dict[tuple[int, date, date], bool] = {}
        self.prices: dict[tuple[int, date, date], InForce | None] = {}

    def was_on(self, setting: MetricSetting, start: date, end: date) -> bool:
        key = setting.pk, start, end
        if key not in self.on:
            self.on[key] = was_on(setting, self.spans, start, end)
        return self.on[key]

    def in_force(self, setting: MetricSetting, agreed: list[Override], began: date, invoiced: date) -> InForce | None:
        if agreed:
            return choose(setting, agreed, began=began, invoiced=invoiced)
        key = setting.pk, began, invoiced
        if key not in self.prices:
            self.prices[key] = choose(setting, (), began=began, invoiced=invoiced)
        return self.prices[key]


class _Judge:
    """Decides about the rows of one metric of one service."""

    def __init__(
        self,
        cut: Cut,
        setting: MetricSetting,
        overrides: list[Override],
        rules: _Rules,
        waited: Mapping[tuple[int, int], dict[date, date]],
        collected_at: datetime | None,
    ) -> None:
        self.cut = cut
        self.setting = setting
        self.overrides = overrides
        self.rules = rules
        self.waited = waited.get((cut.service.pk, setting.pk), {})
        self.collected_at = collected_at

    def decide(self, rows: list[Item], unbilled: Unbilled) -> None:
        if not self.was_on(self.cut.until - timedelta(days=1), self.cut.until):
            return
        billable: dict[object, Billable] = {}
        adds_up = self.setting.metric.adds_up
        for item in self.totals(rows, unbilled) if adds_up else self.levels(rows, unbilled):
            in_force = self.in_force(item.start)
            assert in_force is not None  # or there would be no item
            # Totals of the same prices make one line; each level is a line by itself.
            key = in_force.key if adds_up else item.start
            billable.setdefault(key, Billable(self.setting, in_force, [])).items.append(item)
        if billable:
            next(iter(billable.values())).missing.extend(self.missing(rows))
        unbilled.billable.extend(billable.values())

    def in_force(self, began: date) -> InForce | None:
        return self.rules.in_force(self.setting, self.overrides, began, self.cut.invoiced)

    def was_on(self, start: date, end: date) -> bool:
        return self.rules.was_on(self.setting, start, end)

    def totals(self, rows: list[Item], unbilled: Unbilled) -> Iterable[Item]:
        for row in rows:
            if (row.start if self.cut.is_final else row.end - timedelta(days=1)) >= self.cut.until:
                continue  # still open, or after the end
            if self.in_force(row.start) is None or not self.was_on(row.start, min(row.end, self.cut.until)):
                continue
            if self.cut.is_final or self.was_read_after(row.end) or row.start in self.waited:
                yield row
            else:
                unbilled.waiting.append(
                    Waiting(self.setting, row.start, row.end, f"not read since the period ended on {row.end}")
                )

    def was_read_after(self, end: date) -> bool:
        zone = self.cut.service.tenant.server.zone  # type: ignore[union-attr]
        return self.collected_at is not None and self.collected_at >= Period(end - timedelta(days=1), end).ends_at(zone)

    def levels(self, rows: list[Item], unbilled: Unbilled) -> Iterable[Item]:
        terms = [(Period(start, end), None) for start, end in sorted(self.waited.items())]
        for period, days in [*terms, (self.cut.term, self.cut.days)]:
            in_force = self.in_force(period.start) if period else None
            if period is None or in_force is None or not self.was_on(period.start, period.end):
                continue
            has_waited = days is None
            how = Aggregation(in_force.version.aggregation)
            # Only what was measured during the term, or on the day it ends: nothing is charged on a guess.
            last = period.end if how is Aggregation.LATEST else period.end - timedelta(days=1)
            measured = [row for row in rows if period.start <= row.start <= last]
            row = measured[-1] if measured else None
            if row is not None and (self.cut.is_final or has_waited or self.is_fresh(row, period)):
                yield _level(how, measured, period, days or period.days)
            elif not self.cut.is_final and not has_waited:
                since = f"not measured since {row.start}" if row else "not collected yet"
                unbilled.waiting.append(Waiting(self.setting, period.start, period.end, since))

    def is_fresh(self, row: Item, period: Period) -> bool:
        return row.start >= period.end - timedelta(days=ceil(site.STALE_AFTER_HOURS / 24))

    def missing(self, rows: list[Item]) -> list[Period]:
        """The closed months of the term that have no record; they count as nothing, and the line says so."""
        if self.setting.metric.type != MetricType.MONTH or self.cut.term is None:
            return []
        recorded, found = {row.start for row in rows}, []
        first = min(recorded, default=self.cut.until)
        period = month(self.cut.term.start)
        while period.end <= self.cut.until:
            if period.start not in recorded and period.start > first and self.was_on(period.start, period.end):
                found.append(period)
            period = month(period.end)
        return found


def was_on(setting: MetricSetting, spans: Iterable[InvoicingSpan], start: date, end: date) -> bool:
    """Whether a period lies wholly inside one span of its metric and one of usage invoicing."""
    last = end - timedelta(days=1)
    return covered(setting.enabled_spans.all(), start, last) and covered(spans, start, last)


def _level(how: Aggregation, rows: list[Item], term: Period, days: int) -> Item:
    """Return the usage of a term, from the levels that were measured in it."""
    last = rows[-1]
    if how is Aggregation.LATEST:
        return Item(term.start, term.end, last.start, last.value)
    levels = tuple((row.start, row.value) for row in rows)
    return Item(term.start, term.end, last.start, aggregate(how, levels, term, days), levels, days)


def _usage(
    cuts: list[Cut], settings: Mapping[int, list[MetricSetting]], waited: Mapping[tuple[int, int], dict[date, date]]
) -> dict[tuple[int, int], list[Item]]:
    """Return the usage rows to decide about, by tenant and metric, oldest first: the totals that no invoice
    has billed, and the levels of the terms that close."""
    grouped: dict[tuple[int, int], list[Item]] = defaultdict(list)
    if not cuts:
        return grouped
    metrics = {
        setting.metric_id: setting.metric for cut in cuts for setting in settings.get(cut.service.product_id, ())
    }
    anchors = {cut.tenant_id: cut.service.anchor for cut in cuts}
    rows = Usage.objects.filter(tenant_id__in=list(anchors), start__lte=max(cut.until for cut in cuts))
    totals = without_billed(rows).filter(
        metric_id__in=[pk for pk, metric in metrics.items() if metric.adds_up],
        start__gte=min(anchors.values()).replace(day=1),
    )
    terms = [cut.term.start for cut in cuts if cut.term] + [start for starts in waited.values() for start in starts]
    levels = rows.filter(
        metric_id__in=[pk for pk, metric in metrics.items() if not metric.adds_up],
        start__gte=min(terms, default=date.max),
    )
    for choice in (totals, levels):
        values = choice.order_by("start").values_list("tenant_id", "metric_id", "start", "end", "value")
        for tenant_id, metric_id, start, end, value in values.iterator(chunk_size=10_000):
            # A month that began before the service counts whole; a day before it does not.
            anchor = anchors[tenant_id]
            if start >= (anchor.replace(day=1) if metrics[metric_id].type == MetricType.MONTH else anchor):
                grouped[tenant_id, metric_id].append(Item(start, end, start, value))
    return grouped


def without_billed(rows: QuerySet[Usage]) -> QuerySet[Usage]:
    """Leave out the totals that are on an invoice. A level is billed by its term, not by its day."""
    billed = BilledPeriod.objects.filter(
        tenant_id=OuterRef("tenant_id"), metric_id=OuterRef("metric_id"), start=OuterRef("start")
    )
    return rows.exclude(Exists(billed))


def _collected(cuts: list[Cut]) -> dict[tuple[int, int], datetime]:
    """Return when each metric of each tenant was last brought by a collection."""
    rows = Latest.objects.filter(tenant_id__in=[cut.tenant_id for cut in cuts]).with_collected_at()
    values = rows.values_list("tenant_id", "metric_id", "collected_at")  # type: ignore[misc]  # annotated
    return {(tenant_id, metric_id): collected_at for tenant_id, metric_id, collected_at in values}


def _waited(cuts: list[Cut]) -> dict[tuple[int, int], dict[date, date]]:
    """Return the periods that waited for an earlier invoice already, by service and setting: end by start."""
    found: dict[tuple[int, int], dict[date, date]] = defaultdict(dict)
    rows = Deferral.objects.filter(service_id__in=[cut.service.pk for cut in cuts])
    for service_id, setting_id, start, end in rows.values_list("service_id", "setting_id", "start", "end"):
        found[service_id, setting_id][start] = end
    return found
