"""What of services' usage is to be billed: a choice of rows, and then plain decisions about them.

At a boundary, where a service ends or gets another product or tenant, the open period is billed to date.
What is used of it afterwards is the next part of the same period.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection
from django.db.models import Model

from catalog.in_force import overrides_of
from catalog.models import MetricSetting, Override
from invoicing import unusual
from invoicing.billable import Item, PeriodKey, Unbilled
from invoicing.cuts import Cut
from invoicing.judging import Judge, Rules
from invoicing.models import BackBilling, BilledPeriod, Deferral, InvoicingSpan
from metering.decimals import EXACT, exact_sum
from metering.models import Latest, Metric, Usage
from metering.periods import Period
from metering.prepared import FEW, Question, execute
from metering.providers.base import MetricType

#: So many rows of usage are read at once, where many services are asked about.
CHUNK = 10_000


def find(
    cuts: Several[Cut],
    settings: Mapping[int, list[MetricSetting]],
    *,
    taken: Several[PeriodKey] = frozenset(),
    granted: Mapping[tuple[int, int], list[Period]] | None = None,
    spans: list[InvoicingSpan] | None = None,
    has: frozenset[type[Model]] | None = None,
) -> dict[int, Unbilled]:
    """Return what there is to bill of each service, by its id, in four queries for any number of them, and more
    where something about one is out of the ordinary.

    `settings` holds the metric settings of each product, fetched `with_pricing`. `taken` are periods that
    are settled otherwise. `granted` are the days that are billed although something was off, by service and
    setting; those that were granted, if not given. `spans` and `has`, what is unusual about the services, are
    given if the caller has read them.
    """
    found = {cut.service.id: Unbilled() for cut in cuts}
    metered = [cut for cut in cuts if cut.service.tenant_id]
    if has is None or spans is None:
        known = unusual.about([cut.service for cut in metered])
        has, spans = (known.has if has is None else has), (known.spans if spans is None else spans)
    if granted is None:
        granted = _granted(metered) if BackBilling in has else {}
    rules = Rules(spans, granted)
    waited = _waited(metered) if Deferral in has else {}
    rests = list(_rests(metered)) if BilledPeriod in has else []
    usage = _usage(metered, settings, waited, taken, rests)
    # What is billed to date counts as it is, however long ago it was read.
    collected = {} if all(cut.is_final for cut in metered) else _collected(metered, settings)
    overrides = overrides_of([cut.service.id for cut in metered]) if Override in has else {}
    special = {service for service, _ in (*overrides, *waited, *rules.granted)}
    shared: dict[object, list[Judge]] = {}
    for cut in metered:
        service, tenant_id = cut.service, cut.tenant_id
        # What services have in common is decided once for all of them.
        key = (service.product_id, service.id if service.id in special else None, cut.in_common)
        if key not in shared:
            shared[key] = [
                Judge(cut, setting, overrides.get((service.id, setting.id), []), rules, waited)
                for setting in settings.get(service.product_id, ())
            ]
        for judge in shared[key]:
            name = tenant_id, judge.metric_id
            judge.decide(usage.get(name, ()), found[service.id], collected.get(name))
    return found


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
    metrics = _metrics(cuts, settings)
    begins = {cut.tenant_id: cut.begins for cut in cuts}

    # A month that began before the service counts whole; a day before it does not.
    first_months = {tenant_id: first.replace(day=1) for tenant_id, first in begins.items()}
    since = {pk: first_months if metric.type == MetricType.MONTH else begins for pk, metric in metrics.items()}
    for tenant_id, metric_id, item in rests:
        if metric_id in since and item.start >= since[metric_id][tenant_id]:
            grouped[tenant_id, metric_id].append(item)
    for tenant_id, metric_id, start, end, value in _rows(asked_usage(cuts, settings, waited)):
        if start >= since[metric_id][tenant_id] and (not taken or (tenant_id, metric_id, start) not in taken):
            grouped[tenant_id, metric_id].append(Item(start, end, start, value))
    return grouped


def asked_usage(
    cuts: list[Cut],
    settings: Mapping[int, list[MetricSetting]],
    waited: Mapping[tuple[int, int], dict[date, date]] = MappingProxyType({}),
) -> Question:
    """Return what is asked to know the usage of some cuts, if so many periods `waited`."""
    metrics = _metrics(cuts, settings)
    terms = [cut.term.start for cut in cuts if cut.term] + [start for starts in waited.values() for start in starts]
    asked = {
        "tenants": list({cut.tenant_id: None for cut in cuts}),
        "until": max(cut.until for cut in cuts),
        "totals": [pk for pk, metric in metrics.items() if metric.adds_up],
        "since": min(cut.begins for cut in cuts).replace(day=1),
        "levels": [pk for pk, metric in metrics.items() if not metric.adds_up],
        "levels_since": min(terms, default=date.max),
    }
    return Question(_USAGE, asked, len(cuts))


def _metrics(cuts: list[Cut], settings: Mapping[int, list[MetricSetting]]) -> dict[int, Metric]:
    return {setting.metric_id: setting.metric for cut in cuts for setting in settings.get(cut.service.product_id, ())}


#: The totals that are on no invoice, and the levels: one of those is billed by its term, not by its day.
_USAGE = """
SELECT tenant_id, metric_id, start, "end", value FROM metering_usage u
WHERE tenant_id = ANY(%(tenants)s) AND metric_id = ANY(%(totals)s) AND start BETWEEN %(since)s AND %(until)s
    AND NOT EXISTS (
        SELECT FROM invoicing_billedperiod b
        WHERE b.tenant_id = u.tenant_id AND b.metric_id = u.metric_id AND b.start = u.start
    )
UNION ALL
SELECT tenant_id, metric_id, start, "end", value FROM metering_usage
WHERE tenant_id = ANY(%(tenants)s) AND metric_id = ANY(%(levels)s) AND start BETWEEN %(levels_since)s AND %(until)s
ORDER BY start
"""


def _rows(asked: Question) -> Iterable[tuple[Any, ...]]:
    """A cursor of the server keeps the rows of a run out of memory; for few services it costs more than the rows."""
    return execute(*asked) if asked.about <= FEW else _rows_of_many(asked)


def _rows_of_many(asked: Question) -> Iterator[tuple[Any, ...]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(asked.statement, asked.values)
        while rows := cursor.fetchmany(CHUNK):
            yield from rows


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
    rows = BackBilling.objects.filter(service_id__in=[cut.service.id for cut in cuts])
    for service_id, setting_id, start, end in rows.values_list("service_id", "setting_id", "start", "end"):
        found[service_id, setting_id].append(Period(start, end))
    return found


def _collected(cuts: list[Cut], settings: Mapping[int, list[MetricSetting]]) -> dict[tuple[int, int], datetime]:
    """Return when each metric that adds up was last brought by a collection, by tenant and metric."""
    asked = {setting.metric_id for group in settings.values() for setting in group if setting.metric.adds_up}
    rows = Latest.objects.filter(tenant_id__in=[cut.tenant_id for cut in cuts]).with_collected_at()
    rows = rows.filter(metric_id__in=asked)
    # Most were brought by the same collection, and an instant takes its time to be read.
    together = rows.values_list("collected_at").annotate(tenants=ArrayAgg("tenant_id"), metrics=ArrayAgg("metric_id"))  # type: ignore[misc]  # annotated
    return {
        name: collected_at for collected_at, tenants, metrics in together for name in zip(tenants, metrics, strict=True)
    }


def _waited(cuts: list[Cut]) -> dict[tuple[int, int], dict[date, date]]:
    """Return the periods that waited for an earlier invoice already, by service and setting: end by start."""
    found: dict[tuple[int, int], dict[date, date]] = defaultdict(dict)
    rows = Deferral.objects.filter(service_id__in=[cut.service.id for cut in cuts])
    for service_id, setting_id, start, end in rows.values_list("service_id", "setting_id", "start", "end"):
        found[service_id, setting_id][start] = end
    return found
