"""Which services of a product a simulation is about, which of their terms, and which usage belongs to each."""

from collections.abc import Collection, Iterable
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

from django.db import connection
from django.db.models import Max, OuterRef, Q, Subquery

from catalog.models import Product, Service
from catalog.terms import Cycle, number_at, term
from metering.models import Metric
from metering.periods import Period, month
from metering.providers.base import MetricType

_DAY = timedelta(days=1)


_MONTHS = """
    SELECT first::date
    FROM generate_series(
        (SELECT date_trunc('month', min(anchor))::timestamp FROM catalog_service WHERE product_id = %(product)s),
        %(today)s::timestamp, interval '1 month'
    ) AS first
    WHERE EXISTS (
        SELECT FROM catalog_service s JOIN metering_usage u USING (tenant_id)
        WHERE s.product_id = %(product)s AND u.metric_id = %(metric)s
            AND u.start >= first::date AND u.start < (first + interval '1 month')::date
    )
    ORDER BY first DESC
"""


class Served(NamedTuple):
    """A service, as few columns as there are: a product may have tens of thousands of them.

    `terminated_on` is None while it is not terminated. `taken_until` is the day on which an earlier service
    of the same tenant was terminated: what began until then is on its last invoice.
    """

    pk: int
    public_id: str
    name: str
    client_id: int
    client: str
    currency: str
    tenant_id: int
    tenant: str
    anchor: date
    clock: str
    next_term: int
    terminated_on: date | None
    taken_until: date | None


class Ended(NamedTuple):
    """A term, or the part of it before a termination, that is over.

    `days` is the length of the whole term, `invoiced` the day of its invoice. `last` is the last day of what
    that invoice bills: it decides the month in which the term ended.
    """

    start: date
    end: date
    days: int
    invoiced: date
    last: date
    is_final: bool = False

    @property
    def month(self) -> date:
        return self.last.replace(day=1)


def months_with_usage(product: Product, metric: Metric, today: date) -> list[date]:
    """Return the first day of each month, up to today, in which a metric was measured for a product, newest first.

    A month is looked up until the first row is found, in the partition that holds it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, {"product": product.pk, "metric": metric.pk, "today": today})
        return [first for (first,) in cursor]


def services(product: Product, months: Period, only: Collection[int] | None = None) -> list[Served]:
    """Return the services that were metered and billed in some months, or `only` some of them, by client, in one
    query."""
    earlier = Service.objects.filter(tenant=OuterRef("tenant"), pk__lt=OuterRef("pk"), status="terminated")
    taken = earlier.order_by().values("tenant").annotate(day=Max("terminated_on")).values("day")
    rows = (
        Service.objects.filter(product=product, tenant__isnull=False, anchor__lt=months.end)
        .filter(status__in=["active", "suspended", "terminated"])
        .filter(Q() if only is None else Q(pk__in=only))
        .with_clock()
        .annotate(taken_until=Subquery(taken))
        .order_by("client__name", "client_id", "name", "pk")
    )
    client = ("client_id", "client__name", "client__currency", "tenant_id", "tenant__key")
    terms = ("anchor", "billed_every", "next_term", "terminated_on", "taken_until")
    columns = ("pk", "public_id", "name", *client, *terms)
    return [Served(*columns) for columns in rows.values_list(*columns)]


def ended(service: Served, months: Period, today: date) -> Iterable[Ended]:
    """Return the terms of a service whose last day lies in some months, oldest first."""
    if service.terminated_on is None:
        return _whole(service.anchor, Cycle(service.clock), months, today)
    return _until(service, service.terminated_on, months)


@lru_cache(maxsize=10_000)
def _whole(anchor: date, cycle: Cycle, months: Period, today: date) -> tuple[Ended, ...]:
    found = []
    number = number_at(anchor, cycle, max(months.start, anchor))
    while (one := term(anchor, cycle, number)).end <= min(months.end, today):
        found.append(Ended(one.start, one.end, one.days, one.end, one.end - _DAY))
        number += 1
    return tuple(found)


def _until(service: Served, on: date, months: Period) -> list[Ended]:
    """The terms that were renewed, and what the last invoice billed: the part of the current term that was over.

    A service that ends on the first day of a term was renewed before, or not: its terms say so.
    """
    if on < service.anchor:
        return []
    cycle = Cycle(service.clock)
    number = number_at(service.anchor, cycle, on)
    current = term(service.anchor, cycle, number)
    if current.start == on and number > 0 and service.next_term <= number:
        current = term(service.anchor, cycle, number - 1)
    whole = _whole(service.anchor, cycle, months, current.start)
    final = Ended(current.start, on, current.days, on, on, is_final=True)
    return [*whole, final] if final.last in months else list(whole)


def rows_of(one: Ended, kind: str) -> tuple[date, date]:
    """Return between which days the usage rows begin that count for a term: from the first, before the second.

    A total belongs to the term in which it closed; a termination bills the open ones too. A level may be that
    of the day on which the term ends.
    """
    if kind == MetricType.SNAPSHOT:
        return one.start, one.end + _DAY
    stop = one.last + _DAY
    if kind == MetricType.MONTH:
        return one.start.replace(day=1), stop if one.is_final else stop.replace(day=1)
    return one.start, stop


def closes(start: date, metric: Metric) -> date:
    """Return the day on which a period of a metric is over that begins on a day."""
    return month(start).end if metric.type == MetricType.MONTH else start + _DAY
