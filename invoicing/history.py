"""What tenants used of their metrics, by day and by month, in the base of the unit.

Days and counters have a usage row for each day on which they were measured, and levels too. What a server totals
by the month has one row for the month: its days come from the readings, each with what the total rose by since
the one before. A total that stood still is not read anew, so a day without a reading between two counts as
nothing used; nothing is said of the days before the first reading of a month.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.models.functions import TruncMonth

from metering.decimals import EXACT
from metering.models import Metric, Usage
from metering.prepared import Question, execute
from metering.providers.base import MetricType

ONE_DAY = timedelta(days=1)
ZERO = Decimal(0)
#: Tenant and metric.
Key = tuple[int, int]
#: A day, or the first of a month, and what was used or measured.
Point = tuple[date, Decimal]


@dataclass(frozen=True, slots=True)
class Days:
    """What was used on each day that was measured, oldest first, or what the level was.

    `lumps` are the days whose value stands for days before it, too.
    """

    points: Sequence[Point] = ()
    lumps: frozenset[date] = field(default_factory=frozenset)

    def between(self, start: date, end: date) -> list[Point]:
        return [point for point in self.points if start <= point[0] < end]

    def still(self, since: date, last: date) -> "Days":
        """A total that stood still after its last reading: nothing was used on the days from then, or from `since` if
        that is later, up to the `last`."""
        first = self.points[-1][0] + ONE_DAY if self.points else since
        added = [(first + timedelta(days=n), ZERO) for n in range((last - first).days + 1)]
        return Days([*self.points, *added], self.lumps) if added else self

    def whole(self, start: date, end: date) -> list[Decimal]:
        """What was used on each single day of some."""
        return [value for day, value in self.points if start <= day < end and day not in self.lumps]


NONE = Days()


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month: what was used in it, or for a level the last of it; its least and its most day."""

    first: date
    value: Decimal
    least: Decimal
    most: Decimal


class Newest(NamedTuple):
    """The newest value of a metric of a tenant, as metering.models.Latest has it, and when it was last brought."""

    tenant_id: int
    metric_id: int
    value: Decimal
    quota: Decimal | None
    read_at: datetime
    collected_at: datetime


#: As `Latest.objects.with_collected_at` says it.
_NEWEST = """
SELECT l.tenant_id, l.metric_id, l.value, l.quota, l.read_at,
    greatest(coalesce(l.seen_until, s.collected_at), l.checked_at, l.read_at)
FROM metering_latest l
JOIN metering_tenant t ON t.id = l.tenant_id
JOIN metering_server s ON s.id = t.server_id
WHERE l.tenant_id = ANY(%(tenants)s)
"""


def newest(tenants: Collection[int]) -> dict[Key, Newest]:
    """Return the newest values of some tenants, in one query."""
    return {row[:2]: Newest(*row) for row in execute(*asked_newest(tenants))}


def asked_newest(tenants: Collection[int]) -> Question:
    """Return what is asked to know them."""
    return Question(_NEWEST, {"tenants": list(tenants)}, len(tenants))


#: The days of what is measured by the day, which have no month; and of totals of a month the last reading of each day,
#: where the server is. What was read after its month ended belongs to the last day of it.
_DAYS = """
WITH zones AS MATERIALIZED (  -- or the tenant of each reading would be looked up anew
    SELECT t.id, s.time_zone FROM metering_tenant t JOIN metering_server s ON s.id = t.server_id
    WHERE t.id = ANY(%(tenants)s)
)
SELECT tenant_id, metric_id, month, array_agg(day ORDER BY day), array_agg(value ORDER BY day)
FROM (
    SELECT tenant_id, metric_id, NULL::date AS month, start AS day, value FROM metering_usage
    WHERE tenant_id = ANY(%(tenants)s) AND metric_id = ANY(%(daily)s) AND start >= %(since)s AND start < %(until)s
    UNION ALL (
        SELECT DISTINCT ON (tenant_id, metric_id, start, day) tenant_id, metric_id, start, day, value
        FROM (
            SELECT r.tenant_id, r.metric_id, r.start, r.value, r.read_at,
                   least((r.read_at AT TIME ZONE z.time_zone)::date, r."end" - 1) AS day
            FROM metering_reading r
            JOIN zones z ON z.id = r.tenant_id
            WHERE r.tenant_id = ANY(%(tenants)s) AND r.metric_id = ANY(%(monthly)s) AND r.read_at >= %(read_since)s
                AND r.start < %(until)s
        ) readings
        ORDER BY tenant_id, metric_id, start, day, read_at DESC
    )
) known
GROUP BY tenant_id, metric_id, month
ORDER BY tenant_id, metric_id, month
"""


def by_day(since: Mapping[int, date], metrics: Collection[Metric], until: date) -> dict[Key, Days]:
    """Return the days of tenants, each from the day that `since` says up to, but not including, `until`, in one
    query."""
    if not since or not metrics:
        return {}
    found: dict[Key, tuple[list[Point], set[date]]] = {}
    for tenant_id, metric_id, month, days, values in execute(*asked_by_day(since, metrics, until)):
        points, lumps = found.setdefault((tenant_id, metric_id), ([], set()))
        measured = list(zip(days, values, strict=True))
        if month is not None:
            measured, is_lump = _increases(month, measured)
            if is_lump:
                lumps.add(measured[0][0])
        first = since[tenant_id]
        if measured[0][0] < first or measured[-1][0] >= until:
            measured = [point for point in measured if first <= point[0] < until]
        points += measured
    return {key: Days(points, frozenset(lumps)) for key, (points, lumps) in found.items()}


def asked_by_day(since: Mapping[int, date], metrics: Iterable[Metric], until: date) -> Question:
    """Return what is asked to know them."""
    asked: dict[str, Any] = {"tenants": list(since), "since": min(since.values()), "until": until}
    # A day is up to 14 hours over before it is in UTC, and the first of a month is read with it.
    asked["read_since"] = datetime.combine(asked["since"].replace(day=1), time.min, UTC) - ONE_DAY
    asked["daily"], asked["monthly"] = [], []
    for metric in metrics:
        asked["monthly" if metric.type == MetricType.MONTH else "daily"].append(metric.id)
    return Question(_DAYS, asked, len(since))


_LEVELS = """
SELECT u.tenant_id, u.metric_id, min(u.value), max(u.value)
FROM unnest(%s::integer[], %s::date[]) AS asked (tenant_id, since)
JOIN metering_usage u ON u.tenant_id = asked.tenant_id AND u.start >= asked.since
WHERE u.metric_id = ANY(%s) AND u.start >= %s
GROUP BY u.tenant_id, u.metric_id
"""


def levels(since: Mapping[int, date], metrics: Collection[int]) -> dict[Key, tuple[Decimal, Decimal]]:
    """Return the least and the most that was measured of tenants, each from its day on, in one query."""
    if not since or not metrics:
        return {}
    asked = [list(since), list(since.values()), list(metrics), min(since.values())]
    rows = execute(_LEVELS, asked, about=len(since))
    return {(tenant_id, metric_id): (least, most) for tenant_id, metric_id, least, most in rows}


def levels_among(
    days: Mapping[Key, Days], since: Mapping[int, date], metrics: Collection[int]
) -> dict[Key, tuple[Decimal, Decimal]]:
    """Return what `levels` does, of days that were read already."""
    found = {}
    for (tenant_id, metric_id), known in days.items():
        values = [value for _, value in known.between(since[tenant_id], date.max)] if metric_id in metrics else []
        if values:
            found[tenant_id, metric_id] = min(values), max(values)
    return found


def by_month(tenant_id: int, metric: Metric, since: date, until: date) -> list[Month]:
    """Return the months that begin from `since` on and before `until`, oldest first, in one query."""
    rows = Usage.objects.of(tenant_id, metric.id).filter(start__gte=since, start__lt=until)
    months = []
    points = rows.annotate(month=TruncMonth("start")).values_list("month", "value")
    for first, group in groupby(points, key=itemgetter(0)):
        values = [value for _, value in group]
        total = values[0]
        for value in values[1:]:
            total = EXACT.add(total, value)
        months.append(Month(first, total if metric.adds_up else values[-1], min(values), max(values)))
    return months


def _increases(start: date, totals: list[Point]) -> tuple[list[Point], bool]:
    """Return what a total rose by on each day since its first, and whether that one stands for days before it."""
    points = [totals[0]]
    for (day, total), (next_day, next_total) in pairwise(totals):
        if (days := (next_day - day).days) > 1:
            points += [(day + timedelta(days=n), ZERO) for n in range(1, days)]
        points.append((next_day, EXACT.subtract(next_total, total) if next_total > total else ZERO))
    return points, totals[0][0] > start
