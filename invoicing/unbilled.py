"""What of a service's usage is to be billed: a choice of rows, and then plain decisions about them.

A period is billed when it lies wholly inside the days on which its metric was enabled and usage
invoicing was on, or inside days that a person said are to be billed all the same; when a pricing was in
force when it began; and when it was read after it ended. A period that was not read in time waits for one
invoice; the next one bills what is known of it.

At a boundary, where a service ends or gets another product or tenant, the open period is billed to date.
What is used of it afterwards is the next part of the same period.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from math import ceil

from django.conf import settings as site
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Exists, Model, OuterRef, QuerySet

from catalog.aggregation import Aggregation, Level, aggregate
from catalog.in_force import InForce, choose, overrides_of
from catalog.models import MetricSetting, Override, Service
from catalog.pricing import Charge, Pricing, rate
from catalog.spans import covered
from catalog.terms import number_at
from invoicing import unusual
from invoicing.models import BackBilling, BilledPeriod, Deferral, InvoicingSpan
from metering.decimals import EXACT, exact_sum
from metering.models import Latest, Server, Usage
from metering.periods import Period, day, month
from metering.providers.base import MetricType

ONE_DAY = timedelta(days=1)
#: So many rows of usage are read at once, where more than so many services are asked about.
CHUNK, FEW = 10_000, 50
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


@dataclass(frozen=True, slots=True)
class Cut:
    """Up to where a service is billed: the term that closes, and whether the open period counts too.

    `days` is the length of the whole term, of which `term` may be the part that is over. `today` is the
    day on which the open period is billed to date, where the server is.
    """

    service: Service
    term: Period | None
    days: int
    until: date
    is_final: bool = False
    today: date = date.max

    @property
    def tenant_id(self) -> int:
        assert self.service.tenant_id is not None  # only metered services are asked
        return self.service.tenant_id

    @property
    def in_common(self) -> tuple[object, ...]:
        """All that decides about its usage, unless there is something special about the service itself."""
        service = self.service
        assert service.tenant is not None
        term = self.term and (self.term.start, self.term.end)
        return term, self.days, self.until, self.is_final, self.today, service.metered_from, service.tenant.server_id

    @property
    def invoiced(self) -> date:
        """The day of the invoice: of the renewal, however late its run, or the last one of the service."""
        return self.until - timedelta(days=1) if self.is_final else self.until

    @property
    def begins(self) -> date:
        """The first day that counts: of the service, or since it has its product and its tenant."""
        return self.service.metered_from or self.service.anchor


def of_renewal(service: Service, on: date) -> Cut:
    """Bill what closed before the term that is due, or before the day on which it is invoiced ahead."""
    due = service.next_due_on
    assert due is not None
    return of_term(service, service.next_term, min(due, on))


def of_term(service: Service, number: int, until: date) -> Cut:
    """Bill what closed before a day, with the term before the one of that number."""
    if not number:
        return Cut(service, None, 0, until)
    whole = service.term(number - 1)
    return Cut(service, _since(service, whole.start, whole.end), whole.days, until)


def of_boundary(service: Service, on: date, today: date) -> Cut:
    """Bill everything to date, with the day itself. A term that would only begin on that day has no level to
    bill. Of periods that are not over where the server is, `today`, what is used later is another part."""
    current = service.term(max(service.next_term - 1, 0))
    until = on + timedelta(days=1)
    return Cut(service, _since(service, current.start, on), current.days, until, is_final=True, today=today)


def to_date(service: Service, on: date) -> Cut:
    """What would be billed if everything were billed today: the level counts on the first day of a term too."""
    current = service.term(max(service.next_term - 1, 0))
    tomorrow = on + timedelta(days=1)
    start = max(current.start, service.metered_from or current.start)
    return Cut(service, Period(start, max(tomorrow, start + timedelta(days=1))), current.days, tomorrow, True)


def _since(service: Service, start: date, end: date) -> Period | None:
    """The part of some days on which the service had its product and tenant, if any."""
    start = max(start, service.metered_from or start)
    return Period(start, end) if start < end else None


def find(
    cuts: Several[Cut],
    settings: Mapping[int, list[MetricSetting]],
    *,
    taken: Several[PeriodKey] = frozenset(),
    granted: Mapping[tuple[int, int], list[Period]] | None = None,
    spans: list[InvoicingSpan] | None = None,
    has: frozenset[type[Model]] | None = None,
) -> dict[int, Unbilled]:
    """Return what there is to bill of each service, by its id, in five queries for any number of them, and more
    where something about one is out of the ordinary.

    `settings` holds the metric settings of each product, fetched `with_pricing`. `taken` are periods that
    are settled otherwise. `granted` are the days that are billed although something was off, by service and
    setting; those that were granted, if not given. `spans` and `has`, what is unusual about the services, are
    given if the caller has read them.
    """
    found = {cut.service.id: Unbilled() for cut in cuts}
    metered = [cut for cut in cuts if cut.service.tenant_id]
    if has is None:
        has = unusual.about([cut.service for cut in metered])
    if granted is None:
        granted = _granted(metered) if BackBilling in has else {}
    rules = _Rules(list(InvoicingSpan.objects.all()) if spans is None else spans, granted)
    waited = _waited(metered) if Deferral in has else {}
    rests = list(_rests(metered)) if BilledPeriod in has else []
    usage = _usage(metered, settings, waited, taken, rests)
    # What is billed to date counts as it is, however long ago it was read.
    collected = {} if all(cut.is_final for cut in metered) else _collected(metered, settings)
    overrides = overrides_of([cut.service.pk for cut in metered]) if Override in has else {}
    special = {service for service, _ in (*overrides, *waited, *rules.granted)}
    shared: dict[object, list[_Judge]] = {}
    for cut in metered:
        service, tenant_id = cut.service, cut.tenant_id
        # What services have in common is decided once for all of them.
        key = (service.product_id, service.pk if service.pk in special else None, cut.in_common)
        if key not in shared:
            shared[key] = [
                _Judge(cut, setting, overrides.get((service.pk, setting.pk), []), rules, waited)
                for setting in settings.get(service.product_id, ())
            ]
        for judge in shared[key]:
            name = tenant_id, judge.metric_id
            judge.decide(usage.get(name, ()), found[service.id], collected.get(name))
    return found


class _Rules:
    """What is the same for many services: whether a period was to be billed, and what priced it."""

    def __init__(self, spans: list[InvoicingSpan], granted: Mapping[tuple[int, int], list[Period]]) -> None:
        self.spans = spans
        self.granted = granted
        self.on: dict[tuple[int, date, date], bool] = {}
        self.prices: dict[tuple[int, date, date], InForce | None] = {}
        self.ends: dict[tuple[int, date], datetime] = {}

    def was_on(self, setting: MetricSetting, start: date, end: date) -> bool:
        key = setting.id, start, end
        if key not in self.on:
            self.on[key] = was_on(setting, self.spans, start, end)
        return self.on[key]

    def in_force(self, setting: MetricSetting, agreed: list[Override], began: date, invoiced: date) -> InForce | None:
        if agreed:
            return choose(setting, agreed, began=began, invoiced=invoiced)
        key = setting.id, began, invoiced
        if key not in self.prices:
            self.prices[key] = choose(setting, (), began=began, invoiced=invoiced)
        return self.prices[key]

    def end_of(self, server: Server, last: date) -> datetime:
        """When a day was over where a server is, in UTC: comparing across time zones takes its time."""
        key = server.id, last
        if key not in self.ends:
            self.ends[key] = day(last).ends_at(server.zone).astimezone(UTC)
        return self.ends[key]


class _Judge:
    """Decides about the rows of one metric of a service, and of others that have everything else in common."""

    def __init__(
        self,
        cut: Cut,
        setting: MetricSetting,
        overrides: list[Override],
        rules: _Rules,
        waited: Mapping[tuple[int, int], dict[date, date]],
    ) -> None:
        self.cut = cut
        self.setting = setting
        self.metric_id = setting.metric_id
        self.adds_up = setting.metric.adds_up
        self.overrides = overrides
        self.rules = rules
        key = cut.service.id, setting.id
        self.waited = waited.get(key, {})
        self.granted = rules.granted.get(key, ())
        self.is_on = rules.was_on(setting, cut.until - timedelta(days=1), cut.until)
        self.since = cut.service.metered_from or date.min
        self.server = cut.service.tenant.server  # type: ignore[union-attr]
        self.verdicts: dict[tuple[date, date], tuple[InForce, Period | None] | None] = {}
        self.gaps: dict[tuple[date, ...], list[Period]] = {}

    def decide(self, rows: Sequence[Item], unbilled: Unbilled, collected_at: datetime | None) -> None:
        if not self.is_on and not self.granted:
            return
        billable: dict[object, Billable] = {}
        for item in self.totals(rows, unbilled, collected_at) if self.adds_up else self.levels(rows, unbilled):
            verdict = self.verdict(item.start, item.end)
            assert verdict is not None  # or there would be no item
            in_force, grant = verdict
            # Totals of the same prices make one line, and what a person let be billed one by itself, so that it
            # comes to what the person was shown. Each level is a line by itself.
            key = (in_force.key, grant) if self.adds_up else item.start
            if (known := billable.get(key)) is not None:
                known.items.append(item)
            else:
                billable[key] = Billable(self.setting, in_force, [item])
        if billable:
            next(iter(billable.values())).missing.extend(self.missing(rows))
            unbilled.billable.extend(billable.values())

    def verdict(self, start: date, end: date) -> tuple[InForce, Period | None] | None:
        """Return the prices of a period, with what a person let be billed, if it is billed only by that. None where
        it is not billed."""
        if (start, end) not in self.verdicts:
            self.verdicts[start, end] = self.judged(start, end)
        return self.verdicts[start, end]

    def judged(self, start: date, end: date) -> tuple[InForce, Period | None] | None:
        began = max(start, self.since)  # for this product and tenant
        in_force = self.rules.in_force(self.setting, self.overrides, began, self.cut.invoiced)
        if self.adds_up:
            start, end = began, min(end, self.cut.until)
        if in_force is None or not self.was_on(start, end):
            return None
        return in_force, None if self.was_regular(start, end) else self.grant(start, end)

    def was_on(self, start: date, end: date) -> bool:
        return self.was_regular(start, end) or self.grant(start, end) is not None

    def was_regular(self, start: date, end: date) -> bool:
        return self.is_on and self.rules.was_on(self.setting, start, end)

    def grant(self, start: date, end: date) -> Period | None:
        """What a person let be billed although something was off, if that has these days."""
        return next((each for each in self.granted if each.start <= start and end <= each.end), None)

    def totals(self, rows: Iterable[Item], unbilled: Unbilled, collected_at: datetime | None) -> Iterator[Item]:
        cut = self.cut
        for row in rows:
            if (row.start if cut.is_final else row.end - ONE_DAY) >= cut.until:
                continue  # still open, or after the end
            if self.verdict(row.start, row.end) is None:
                continue
            if cut.is_final:
                yield replace(row, is_open=True) if row.end > cut.today else row
            elif self.was_read_after(row.end, collected_at) or row.start in self.waited:
                yield row
            else:
                unbilled.waiting.append(
                    Waiting(self.setting, row.start, row.end, f"not read since the period ended on {row.end}")
                )

    def was_read_after(self, end: date, collected_at: datetime | None) -> bool:
        return collected_at is not None and collected_at >= self.rules.end_of(self.server, end - ONE_DAY)

    def levels(self, rows: Iterable[Item], unbilled: Unbilled) -> Iterator[Item]:
        is_final = self.cut.is_final
        for period, how, first_fresh, last in self.terms:
            if how is None:
                since = f"the term runs until {period.end}, and its invoice is made ahead"
                unbilled.waiting.append(Waiting(self.setting, period.start, period.end, since))
                continue
            has_waited = period is not self.cut.term
            measured = [row for row in rows if period.start <= row.start <= last]
            row = measured[-1] if measured else None
            if row is not None and (is_final or has_waited or row.start >= first_fresh):
                yield level(how, measured, period, self.days(period))
            elif not is_final and not has_waited:
                since = f"not measured since {row.start}" if row else "not collected yet"
                unbilled.waiting.append(Waiting(self.setting, period.start, period.end, since))

    @cached_property
    def terms(self) -> list[tuple[Period, Aggregation | None, date, date]]:
        """The terms that are billed, each with its aggregation and the first and the last day on which its level
        may have been measured last. The one of an invoice made ahead has no aggregation: it waits."""
        waited = [Period(start, end) for start, end in sorted(self.waited.items())]
        found = []
        for period in [*waited, self.cut.term]:
            verdict = self.verdict(period.start, period.end) if period else None
            if period is None or verdict is None:
                continue
            how = Aggregation(verdict[0].version.aggregation)
            # Only what was measured during the term, or on the day it ends: nothing is charged on a guess.
            last = period.end if how is Aggregation.LATEST else period.end - ONE_DAY
            is_ahead = not self.cut.is_final and period.end > self.cut.until
            first_fresh = period.end - timedelta(days=ceil(site.STALE_AFTER_HOURS / 24))
            found.append((period, None if is_ahead else how, first_fresh, last))
        return found

    def days(self, period: Period) -> int:
        """The length of the whole term that a level belongs to."""
        if period is self.cut.term:
            return self.cut.days
        service = self.cut.service
        return service.term(number_at(service.anchor, service.clock, period.start)).days

    def missing(self, rows: Iterable[Item]) -> list[Period]:
        """The closed months of the term that have no record; they count as nothing, and the line says so."""
        if self.setting.metric.type != MetricType.MONTH or self.cut.term is None:
            return []
        recorded = tuple(row.start for row in rows)
        if recorded not in self.gaps:
            self.gaps[recorded] = list(self.gaps_between(recorded, self.cut.term))
        return self.gaps[recorded]

    def gaps_between(self, recorded: tuple[date, ...], term: Period) -> Iterator[Period]:
        first = min(recorded, default=self.cut.until)
        period = month(term.start)
        while period.end <= self.cut.until:
            if period.start not in recorded and period.start > first and self.was_on(period.start, period.end):
                yield period
            period = month(period.end)


def was_on(setting: MetricSetting, spans: Iterable[InvoicingSpan], start: date, end: date) -> bool:
    """Whether a period lies wholly inside one span of its metric and one of usage invoicing."""
    last = end - timedelta(days=1)
    return covered(setting.enabled_spans.all(), start, last) and covered(spans, start, last)


def level(how: Aggregation, rows: list[Item], term: Period, days: int) -> Item:
    """Return the usage of a term, from the levels that were measured in it."""
    last = rows[-1]
    if how is Aggregation.LATEST:
        return Item(term.start, term.end, last.start, last.value)
    levels = tuple((row.start, row.value) for row in rows)
    return Item(term.start, term.end, last.start, aggregate(how, levels, term, days), levels, days)


def _usage(
    cuts: list[Cut],
    settings: Mapping[int, list[MetricSetting]],
    waited: Mapping[tuple[int, int], dict[date, date]],
    taken: Several[PeriodKey],
    rests: Iterable[tuple[int, int, Item]],
) -> dict[tuple[int, int], list[Item]]:
    """Return the usage rows to decide about, by tenant and metric, oldest first: the totals that no invoice
    has billed or not to their end, and the levels of the terms that close."""
    grouped: dict[tuple[int, int], list[Item]] = defaultdict(list)
    if not cuts:
        return grouped
    metrics = {
        setting.metric_id: setting.metric for cut in cuts for setting in settings.get(cut.service.product_id, ())
    }
    begins = {cut.tenant_id: cut.begins for cut in cuts}
    rows = Usage.objects.filter(tenant_id__in=list(begins), start__lte=max(cut.until for cut in cuts))
    totals = without_billed(rows).filter(
        metric_id__in=[pk for pk, metric in metrics.items() if metric.adds_up],
        start__gte=min(begins.values()).replace(day=1),
    )
    terms = [cut.term.start for cut in cuts if cut.term] + [start for starts in waited.values() for start in starts]
    levels = rows.filter(
        metric_id__in=[pk for pk, metric in metrics.items() if not metric.adds_up],
        start__gte=min(terms, default=date.max),
    )

    # A month that began before the service counts whole; a day before it does not.
    first_months = {tenant_id: first.replace(day=1) for tenant_id, first in begins.items()}
    since = {pk: first_months if metric.type == MetricType.MONTH else begins for pk, metric in metrics.items()}
    for tenant_id, metric_id, item in rests:
        if metric_id in since and item.start >= since[metric_id][tenant_id]:
            grouped[tenant_id, metric_id].append(item)
    columns = ("tenant_id", "metric_id", "start", "end", "value")
    chosen = totals.values_list(*columns).union(levels.values_list(*columns), all=True).order_by("start")
    # A cursor of the server keeps the rows of a run out of memory; for few services it costs more than the rows.
    for tenant_id, metric_id, start, end, value in chosen.iterator(chunk_size=CHUNK) if len(cuts) > FEW else chosen:
        if start >= since[metric_id][tenant_id] and (not taken or (tenant_id, metric_id, start) not in taken):
            grouped[tenant_id, metric_id].append(Item(start, end, start, value))
    return grouped


def _rests(cuts: list[Cut]) -> Iterator[tuple[int, int, Item]]:
    """What was used of a period since it was billed while it was open: its next part, if there is more."""
    tenants = [cut.tenant_id for cut in cuts]
    opened = set(
        BilledPeriod.objects.filter(tenant_id__in=tenants, is_open=True).values_list("tenant_id", "metric_id", "start")
    )
    billed: dict[PeriodKey, dict[int, tuple[Decimal, bool]]] = defaultdict(dict)
    names = {"tenant_id__in": tenants, "start__in": {start for _, _, start in opened}}
    parts = BilledPeriod.objects.filter(**names).order_by("part", "revision")
    columns = ("tenant_id", "metric_id", "start", "part", "value", "is_open")
    for tenant_id, metric_id, start, part, value, is_open in parts.values_list(*columns):
        billed[tenant_id, metric_id, start][part] = value, is_open  # the newest revision comes last
    rows = Usage.objects.filter(**names).order_by("start")
    for tenant_id, metric_id, start, end, value in rows.values_list("tenant_id", "metric_id", "start", "end", "value"):
        if (tenant_id, metric_id, start) not in opened:
            continue
        known = billed[tenant_id, metric_id, start]
        part = max(known)
        rest = EXACT.subtract(value, exact_sum(value for value, _ in known.values()))
        if known[part][1] and rest > 0:
            yield tenant_id, metric_id, Item(start, end, start, rest, part=part + 1)


def _granted(cuts: list[Cut]) -> dict[tuple[int, int], list[Period]]:
    """Return the days that a person said are to be billed although something was off, by service and setting."""
    found: dict[tuple[int, int], list[Period]] = defaultdict(list)
    rows = BackBilling.objects.filter(service_id__in=[cut.service.pk for cut in cuts])
    for service_id, setting_id, start, end in rows.values_list("service_id", "setting_id", "start", "end"):
        found[service_id, setting_id].append(Period(start, end))
    return found


def without_billed(rows: QuerySet[Usage]) -> QuerySet[Usage]:
    """Leave out the totals that are on an invoice. A level is billed by its term, not by its day."""
    billed = BilledPeriod.objects.filter(
        tenant_id=OuterRef("tenant_id"), metric_id=OuterRef("metric_id"), start=OuterRef("start")
    )
    return rows.exclude(Exists(billed))


def _collected(cuts: list[Cut], settings: Mapping[int, list[MetricSetting]]) -> dict[tuple[int, int], datetime]:
    """Return when each metric that adds up was last brought by a collection, by tenant and metric."""
    asked = {setting.metric for group in settings.values() for setting in group if setting.metric.adds_up}
    rows = Latest.objects.filter(tenant_id__in=[cut.tenant_id for cut in cuts]).with_collected_at()
    rows = rows.filter(metric_id__in=[metric.pk for metric in asked])
    # Most were brought by the same collection, and an instant takes its time to be read.
    together = rows.values_list("collected_at").annotate(tenants=ArrayAgg("tenant_id"), metrics=ArrayAgg("metric_id"))  # type: ignore[misc]  # annotated
    return {
        name: collected_at for collected_at, tenants, metrics in together for name in zip(tenants, metrics, strict=True)
    }


def _waited(cuts: list[Cut]) -> dict[tuple[int, int], dict[date, date]]:
    """Return the periods that waited for an earlier invoice already, by service and setting: end by start."""
    found: dict[tuple[int, int], dict[date, date]] = defaultdict(dict)
    rows = Deferral.objects.filter(service_id__in=[cut.service.pk for cut in cuts])
    for service_id, setting_id, start, end in rows.values_list("service_id", "setting_id", "start", "end"):
        found[service_id, setting_id][start] = end
    return found
