"""What a held collection would change: its values beside those that are stored, for the person who decides.

The whole comparison is made by the database, in four queries for any number of tenants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection

from metering.models import Collection, Metric
from metering.periods import local_day
from metering.units import Unit

#: So many tenants of each kind are named, and so many changes are listed.
MOST_TENANTS, MOST_CHANGES = 50, 20


@dataclass(frozen=True, slots=True)
class Tenants:
    """Tenants that would vanish, or that are new: how many, and the first of them by name."""

    count: int
    first: list[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric before and now: how many values, their sums in its unit, and how many would fall to zero.

    `begins_anew` is said of a total whose day or month began since: it may well be lower.
    """

    metric: Metric
    values_before: int
    values: int
    before: Decimal
    now: Decimal
    gone: int
    begins_anew: bool

    @property
    def unit(self) -> Unit:
        return self.metric.unit


@dataclass(frozen=True, slots=True)
class Changed:
    """A value that would change, in the metric's unit."""

    tenant: str
    metric: Metric
    before: Decimal
    now: Decimal

    @property
    def unit(self) -> Unit:
        return self.metric.unit


@dataclass(frozen=True, slots=True)
class Differences:
    """What storing a held collection would change."""

    vanishing: Tenants
    new: Tenants
    metrics: list[Compared]
    largest: list[Changed]


def differences(record: Collection) -> Differences:
    """Compare what a collection holds with what is stored of its server."""
    values: dict[str, Any] = {
        "collection": record.pk,
        "server": record.server_id,
        "open_day": local_day(record.as_of, record.server.zone),
    }
    metrics = {row.pk: row for row in Metric.objects.filter(provider=record.server.provider)}
    with connection.cursor() as cursor:
        cursor.execute(_TENANTS, {**values, "most": MOST_TENANTS})
        tenants = {kind: Tenants(count, first) for kind, count, first in cursor.fetchall()}
        cursor.execute(_COMPARED + _METRICS, values)
        compared = [_compared(metrics, row) for row in cursor.fetchall()]
        cursor.execute(_COMPARED + _LARGEST, {**values, "most": MOST_CHANGES})
        largest = [_changed(metrics, row) for row in cursor.fetchall()]
    nobody = Tenants(0, [])
    return Differences(
        vanishing=tenants.get("vanishing", nobody),
        new=tenants.get("new", nobody),
        metrics=sorted(compared, key=lambda one: one.metric.display_name),
        largest=largest,
    )


def _compared(metrics: Mapping[int, Metric], row: tuple[Any, ...]) -> Compared:
    pk, values_before, values, before, now, gone, begins_anew = row
    from_base = metrics[pk].unit.from_base
    return Compared(metrics[pk], values_before, values, from_base(before), from_base(now), gone, begins_anew)


def _changed(metrics: Mapping[int, Metric], row: tuple[Any, ...]) -> Changed:
    tenant, pk, before, now = row
    from_base = metrics[pk].unit.from_base
    return Changed(tenant, metrics[pk], from_base(before), from_base(now))


_TENANTS = """
WITH held AS (SELECT DISTINCT tenant FROM metering_heldvalue WHERE collection_id = %(collection)s),
known AS (
    SELECT key FROM metering_tenant
    WHERE server_id = %(server)s AND first_seen_at IS NOT NULL AND missing_since IS NULL
), different AS (
    SELECT coalesce(key, tenant) AS name, CASE WHEN key IS NULL THEN 'new' ELSE 'vanishing' END AS kind
    FROM held FULL JOIN known ON key = tenant WHERE key IS NULL OR tenant IS NULL
)
SELECT kind, count(*), (array_agg(name ORDER BY name))[1:%(most)s] FROM different GROUP BY kind
"""

#: The current values of tenants that are known, beside the held ones of open periods. A total of an earlier day
#: or month is no measure for one that began since.
_COMPARED = """
WITH held AS (
    SELECT tenant, metric_id, value, start FROM metering_heldvalue
    WHERE collection_id = %(collection)s AND metric_id IS NOT NULL AND "end" > %(open_day)s::date
), stored AS (
    SELECT t.key, l.metric_id, l.value, l.start FROM metering_latest l
    JOIN metering_tenant t ON t.id = l.tenant_id
    WHERE t.server_id = %(server)s AND t.missing_since IS NULL AND l.seen_until IS NULL
), compared AS (
    SELECT coalesce(tenant, key) AS tenant, k.id AS metric_id, s.value AS before, h.value AS now,
           k.type IN ('day', 'month') AND h.start <> s.start AS begins_anew
    FROM held h FULL JOIN stored s ON s.key = h.tenant AND s.metric_id = h.metric_id
    JOIN metering_metric k ON k.id = coalesce(h.metric_id, s.metric_id)
)
"""
_METRICS = """
SELECT metric_id, count(before), count(now), coalesce(sum(before), 0), coalesce(sum(now), 0),
       count(*) FILTER (WHERE before > 0 AND now = 0 AND begins_anew IS NOT TRUE), coalesce(bool_or(begins_anew), false)
FROM compared GROUP BY metric_id
"""
#: Metrics have different units, so a change is as large as its part of all that its metric has.
_LARGEST = """
SELECT tenant, metric_id, before, now FROM (
    SELECT *, sum(before) OVER of_metric AS all_before, sum(now) OVER of_metric AS all_now FROM compared
    WHERE before IS NOT NULL AND now IS NOT NULL AND begins_anew IS NOT TRUE
    WINDOW of_metric AS (PARTITION BY metric_id)
) c
WHERE before <> now
ORDER BY abs(now - before) / greatest(all_before, all_now) DESC, tenant, metric_id
LIMIT %(most)s
"""
