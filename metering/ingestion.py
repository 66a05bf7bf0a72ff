"""How values that are staged get into the database: as tenants, readings, latest values and usage.

One statement does nearly all of it, so that a collection of any size takes the same number of them.
"""

from collections.abc import Collection as Several
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from metering import partitions
from metering.models import Collection, Latest, Metric, Server
from metering.periods import local_day
from metering.providers.base import MetricType


@dataclass(frozen=True, slots=True)
class Change:
    """How the current values of a metric changed, of the tenants that had one of the same period before.

    `values` counts them, `used` those that were above zero, `gone` those of them that are zero now; `before`
    and `now` are the sums. `fell` counts the totals that are less than they were, `fallen` names some of their
    tenants.
    """

    metric_id: int
    values: int
    used: int
    gone: int
    before: Decimal
    now: Decimal
    fell: int
    fallen: list[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing a collection did: readings that were new, current values that were brought again, values
    that are as they were, and how each metric changed."""

    readings: int
    confirmed: int
    unchanged: int
    changes: list[Change]


def store(
    *,
    collection: Collection,
    metrics: Several[Metric],
    months: Iterable[date],
    before: Collection | None,
    at: datetime | None = None,
) -> Stored:
    """Turn what was staged, of these metrics and months, into tenants, readings, latest values and usage.

    `before` is the last whole collection of the server that was stored. A counter of a tenant that is new
    since then counts in full; one that is only new to us starts from its first value. What it confirmed on
    the same day needs no writing when it is still so. `at` is when that is, if it is later than the collection.
    """
    partitions.ensure({*months, collection.as_of.date()})
    server = collection.server
    open_day = local_day(collection.as_of, server.zone)
    is_same_day = before is not None and local_day(before.as_of, server.zone) == open_day
    types = {kind: [row.pk for row in metrics if row.type == kind] for kind in MetricType}
    with connection.cursor() as cursor:
        _match_tenants(cursor, collection)
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute(
            _STORE,
            {
                "collection": collection.pk,
                "as_of": collection.as_of,
                "checked_at": collection.as_of if collection.is_of_some else None,
                "counters": types[MetricType.COUNTER],
                "resetting": types[MetricType.DAY] + types[MetricType.MONTH],
                "counted_before": before.metrics if before else [],
                "open_day": open_day,
                "stored_at": at or collection.as_of,
                "today": local_day(at or collection.as_of, server.zone),
                "is_same_day": is_same_day and not collection.is_of_some,
                "collected_at": server.collected_at,
            },
        )
        return _stored(cursor.fetchall())


def _match_tenants(cursor: CursorWrapper, collection: Collection) -> None:
    """Give every tenant seen its row, making those that are new."""
    server, as_of = collection.server_id, collection.as_of
    cursor.execute(
        "INSERT INTO metering_tenant (server_id, key)"
        " SELECT %s, key FROM seen WHERE NOT EXISTS"
        " (SELECT FROM metering_tenant old WHERE old.server_id = %s AND old.key = seen.key)"
        " ON CONFLICT DO NOTHING",
        [server, server],
    )
    cursor.execute(
        "UPDATE seen SET tenant_id = t.id, is_new = t.first_seen_at IS NULL, is_back = t.missing_since IS NOT NULL"
        " FROM metering_tenant t WHERE t.server_id = %s AND t.key = seen.key",
        [server],
    )
    # Who was there in a period that is over need not be there any more.
    if collection.period_start is None:
        cursor.execute(
            "UPDATE metering_tenant t SET first_seen_at = coalesce(first_seen_at, %s), missing_since = NULL"
            " FROM seen WHERE t.id = seen.tenant_id AND (seen.is_new OR seen.is_back)",
            [as_of],
        )
    cursor.execute("CREATE INDEX ON seen (tenant_id)")
    cursor.execute("ANALYZE staged, seen")


def _stored(rows: Iterable[tuple[Any, ...]]) -> Stored:
    """Add up what the statement says of each metric."""
    readings = of_closed = confirmed = unchanged = 0
    changes = []
    for metric, new, current, same, closed, *change in rows:
        readings += new
        of_closed = closed  # of all metrics, on every row
        confirmed += current
        unchanged += same
        if change[0]:
            changes.append(Change(metric, *change))
    return Stored(readings + of_closed, confirmed, unchanged, changes)


def current_values(server: Server) -> int:
    """Return how many values the server's last collection is said to have brought."""
    return Latest.objects.filter(tenant_id__in=server.tenants.values("pk"), seen_until=None).count()


def mark_missing(*, collection: Collection, last_collected_at: datetime | None, is_whole: bool) -> None:
    """Write down which values, and if the answer was whole which tenants, this collection did not bring.

    Their latest values stay what they were; that they are no longer confirmed makes them age.
    """
    with connection.cursor() as cursor:
        # The statistics of a table that just grew say that it is small, and then a nested loop over all
        # of the staged values looks cheap.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(
            "UPDATE metering_latest l SET seen_until = coalesce(%s, l.read_at) FROM metering_tenant t"
            " WHERE t.server_id = %s AND t.id = l.tenant_id AND l.seen_until IS NULL"
            " AND NOT EXISTS (SELECT FROM staged s JOIN seen ON seen.tenant = s.tenant"
            "                 WHERE seen.tenant_id = l.tenant_id AND s.metric = l.metric_id)",
            [last_collected_at, collection.server_id],
        )
        if is_whole:
            cursor.execute(
                "UPDATE metering_tenant t SET missing_since = %s WHERE t.server_id = %s AND t.missing_since IS NULL"
                " AND t.first_seen_at IS NOT NULL AND NOT EXISTS (SELECT FROM seen WHERE seen.tenant_id = t.id)",
                [collection.as_of, collection.server_id],
            )
        cursor.execute("SET LOCAL enable_nestloop = on")


#: The readings, latest values and usage of a collection, from the staged values. In words:
#: - `incoming` knows, for each value, the latest one before it and how much a counter rose;
#: - usage of the open period takes the value, or for a counter grows by the increase since the latest
#:   count; a count that fell was reset, and so was one that the server says began since it was read last: all
#:   of it is increase. One that fell though the server says that it went on lost a part that nobody knows;
#: - usage of a closed period takes the value; a raw count is no value of a period;
#: - what the last collection confirmed today and is still so needs no writing, unless a counter restarted and came
#:   to the same count again;
#: - a reading is kept when the value differs from the latest one, or begins a new period of a total; of a
#:   closed period that was asked for again, when it changed that period's usage;
#: - what changed after its period had ended is noted as restated, and what staff corrected stays. The open period
#:   has ended when its values were held beyond its end, or when by an earlier time zone a later one had begun;
#: - the latest value moves with the open period only.
#: Only the holder of the server's lock writes rows of its tenants, so that nothing changes meanwhile.
_STORE = """
WITH incoming AS MATERIALIZED (
    SELECT seen.tenant_id, s.metric AS metric_id, s.value, s.quota, s.start, s."end", is_counter, is_open,
           is_open AND (s.value IS DISTINCT FROM l.value OR (is_resetting AND s.start IS DISTINCT FROM l.start))
               AS is_new,
           is_open AND l.value = s.value AND l.seen_until IS NULL
               AND CASE WHEN is_resetting THEN l.start = s.start ELSE %(is_same_day)s END AS is_confirmed,
           l.seen_until IS NOT NULL OR l.quota IS DISTINCT FROM s.quota AS is_other,
           l.tenant_id IS NOT NULL AS is_known,
           is_open AND l.tenant_id IS NOT NULL AND l.seen_until IS NULL AS is_current,
           s."end" <= %(today)s::date OR l.start > s.start AS is_over,
           is_open AND l.seen_until IS NULL AND NOT is_counter AND (NOT is_resetting OR l.start = s.start)
               AS is_comparable,
           is_open AND is_resetting AND l.seen_until IS NULL AND l.start = s.start AND s.value < l.value AS has_fallen,
           l.value AS before,
           CASE
               WHEN s.counting_since > greatest(l.read_at, l.checked_at, l.seen_until, CASE WHEN l.seen_until IS NULL
                   THEN %(collected_at)s::timestamptz END) THEN s.value
               WHEN l.value <= s.value THEN s.value - l.value
               WHEN l.value > s.value AND s.counting_since IS NULL THEN s.value
               WHEN seen.is_new AND s.metric = ANY(%(counted_before)s)
                   AND coalesce(s.counting_since > %(collected_at)s::timestamptz, true) THEN s.value
               ELSE 0
           END AS increase
    FROM (
        SELECT *, metric = ANY(%(counters)s) AS is_counter, metric = ANY(%(resetting)s) AS is_resetting,
               "end" > %(open_day)s::date AS is_open
        FROM staged
    ) s
    JOIN seen ON seen.tenant = s.tenant
    LEFT JOIN metering_latest l ON l.tenant_id = seen.tenant_id AND l.metric_id = s.metric
), used AS NOT MATERIALIZED (
    SELECT * FROM incoming WHERE is_open AND (is_confirmed IS NOT TRUE OR (is_counter AND increase > 0))
), open_usage AS (
    INSERT INTO metering_usage AS u (tenant_id, metric_id, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, start, "end", CASE WHEN is_counter THEN increase ELSE value END, %(collection)s
    FROM used
    ON CONFLICT (tenant_id, metric_id, start) DO UPDATE
        SET value = CASE WHEN u.metric_id = ANY(%(counters)s) THEN u.value + excluded.value ELSE excluded.value END,
            collection_id = excluded.collection_id
        WHERE u.correction_id IS NULL
            AND CASE WHEN u.metric_id = ANY(%(counters)s) THEN excluded.value <> 0 ELSE u.value <> excluded.value END
), closed_usage AS (
    INSERT INTO metering_usage AS u (tenant_id, metric_id, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, start, "end", value, %(collection)s
    FROM incoming WHERE NOT is_open AND NOT is_counter
    ON CONFLICT (tenant_id, metric_id, start) DO UPDATE
        SET value = excluded.value, collection_id = excluded.collection_id
        WHERE u.value <> excluded.value AND u.correction_id IS NULL
    RETURNING tenant_id, metric_id, start, "end", value
), restated AS (
    INSERT INTO metering_restated (tenant_id, metric_id, start, noted_at)
    SELECT tenant_id, metric_id, start, %(stored_at)s::timestamptz FROM closed_usage
    UNION ALL SELECT tenant_id, metric_id, start, %(stored_at)s FROM used WHERE is_over
    ON CONFLICT (tenant_id, metric_id, start) DO UPDATE SET noted_at = excluded.noted_at
), newer AS (
    UPDATE metering_latest l SET
        value = i.value, quota = i.quota, start = i.start, collection_id = %(collection)s,
        read_at = CASE WHEN l.value = i.value THEN l.read_at ELSE %(as_of)s END,
        checked_at = coalesce(%(checked_at)s, l.checked_at),
        seen_until = CASE WHEN %(checked_at)s IS NULL THEN NULL ELSE l.seen_until END
    FROM incoming i
    WHERE l.tenant_id = i.tenant_id AND l.metric_id = i.metric_id
        AND i.is_known AND i.is_open AND (i.is_new OR i.is_other OR %(checked_at)s IS NOT NULL)
), first AS (
    INSERT INTO metering_latest (tenant_id, metric_id, value, quota, start, read_at, checked_at, collection_id)
    SELECT tenant_id, metric_id, value, quota, start, %(as_of)s, %(checked_at)s, %(collection)s
    FROM incoming WHERE is_open AND NOT is_known
), readings AS (
    INSERT INTO metering_reading (tenant_id, metric_id, read_at, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, %(as_of)s, start, "end", value, %(collection)s FROM incoming WHERE is_new
), corrections AS (
    INSERT INTO metering_reading (tenant_id, metric_id, read_at, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, %(as_of)s, start, "end", value, %(collection)s FROM closed_usage
)
SELECT metric_id, count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE is_current),
       count(*) FILTER (WHERE is_open AND NOT is_new), (SELECT count(*) FROM closed_usage),
       count(before) FILTER (WHERE is_comparable), count(*) FILTER (WHERE is_comparable AND before > 0),
       count(*) FILTER (WHERE is_comparable AND before > 0 AND value = 0),
       coalesce(sum(before) FILTER (WHERE is_comparable), 0), coalesce(sum(value) FILTER (WHERE is_comparable), 0),
       coalesce(cardinality(array_agg(tenant_id) FILTER (WHERE has_fallen)), 0),
       ARRAY(SELECT key FROM metering_tenant
             WHERE id = ANY((array_agg(tenant_id) FILTER (WHERE has_fallen))[1:3]) ORDER BY key)
FROM incoming GROUP BY metric_id
"""
