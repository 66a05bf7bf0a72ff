"""How values get into the database: one COPY to a staging table, then one statement that does the rest.

A collection of any size takes the same number of statements. Values are checked on their way in; what
is refused is written down with its tenant, metric and reason, and the rest goes on.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from django.db import connection
from django.db.backends.utils import CursorWrapper

from metering import partitions
from metering.models import MAX_VALUE, Collection, Latest, Metric, Server
from metering.periods import Period, day, local_day, month
from metering.providers.base import MetricType, TenantUsage
from metering.units import PLACES

#: A run that refuses more keeps counting, but lists no further ones.
MAX_PROBLEMS = 500
MAX_KEY = 255


@dataclass
class Intake:
    """What came in from one server: which tenants, how many values, and what was refused."""

    metrics: Mapping[str, Metric]
    open_day: date
    as_of: datetime
    tenants: dict[str, int] = field(default_factory=dict)
    ambiguous: set[str] = field(default_factory=set)
    seen_metrics: set[int] = field(default_factory=set)
    months: set[date] = field(default_factory=set)
    values: int = 0
    rejected: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    #: By metric: its number and its open period, as the columns before and behind a value.
    columns: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, metric in self.metrics.items():
            period = self.open_period(metric)
            self.columns[name] = (metric.pk, f"{period.start}\t{period.end}\n")
            self.months.add(period.start)

    def open_period(self, metric: Metric) -> Period:
        return month(self.open_day) if metric.type == MetricType.MONTH else day(self.open_day)

    def refuse(self, tenant: str, metric: str, reason: str) -> None:
        self.rejected += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"tenant": printable(tenant), "metric": printable(metric), "reason": reason[:500]})

    def named_period(self, metric: Metric, start: date | None, end: date | None) -> Period:
        """Return the period that a value names. Raises ValueError when it is not one of its metric."""
        if start is None or end is None:
            raise ValueError("a period needs its start and its end")
        if metric.type == MetricType.COUNTER:
            raise ValueError("a counter has a value now, not for a period")
        period = Period(start, end)
        if period != (month(start) if metric.type == MetricType.MONTH else day(start)):
            raise ValueError(f"{start} to {end} is not one {metric.type} of this metric")
        if start > self.open_day or start.year < self.open_day.year - 5:
            raise ValueError(f"the period from {start} is in the future or too far back")
        return period


def printable(text: str) -> str:
    """Return a name from outside as it may be shown and stored: no control characters, not too long."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def stage(intake: Intake, answers: Iterable[TenantUsage]) -> None:
    """Copy all acceptable values into the staging table `staged`, and their tenants into `seen`, streaming."""
    with connection.cursor() as cursor:
        _make_room(cursor)
        with cursor.copy("COPY staged FROM STDIN") as copy:
            for answer in answers:
                if rows := "".join(_rows(intake, answer)):
                    copy.write(rows)
        _copy_tenants(cursor, intake.tenants)
        _drop_ambiguous(cursor, intake)


def stage_rows(tenants: Mapping[str, int], rows: Iterable[str]) -> None:
    """Stage rows that were checked before: lines that `staged_row` makes, and the keys of their tenants."""
    with connection.cursor() as cursor:
        _make_room(cursor)
        with cursor.copy("COPY staged FROM STDIN") as copy:
            copy.write("".join(rows))
        _copy_tenants(cursor, tenants)


def staged_row(tenant: int, metric: int, value: str, start: date, end: date) -> str:
    return f"{tenant}\t{metric}\t{value}{_period_columns(start, end)}"


@lru_cache(maxsize=1024)
def _period_columns(start: date, end: date) -> str:
    return f"\t\\N\t\\N\t{start}\t{end}\n"


def _copy_tenants(cursor: CursorWrapper, tenants: Mapping[str, int]) -> None:
    with cursor.copy("COPY seen (tenant, key) FROM STDIN") as copy:
        for key, number in tenants.items():
            copy.write_row((number, key))


def _make_room(cursor: CursorWrapper) -> None:
    # In case this transaction has collected before; else the end of it drops them.
    cursor.execute("DROP TABLE IF EXISTS pg_temp.staged, pg_temp.seen")
    cursor.execute(
        "CREATE TEMPORARY TABLE staged (tenant integer, metric integer, value numeric(24, 6),"
        ' quota numeric(24, 6), counting_since timestamptz, start date, "end" date) ON COMMIT DROP'
    )
    cursor.execute(
        "CREATE TEMPORARY TABLE seen (tenant integer, key text, tenant_id integer, is_new boolean,"
        " is_back boolean) ON COMMIT DROP"
    )


def hold(collection: Collection) -> None:
    """Keep what is staged for a person to look at."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_heldvalue"
            ' (collection_id, tenant, metric_id, value, quota, counting_since, start, "end")'
            ' SELECT %s, seen.key, s.metric, s.value, s.quota, s.counting_since, s.start, s."end"'
            " FROM seen LEFT JOIN staged s ON s.tenant = seen.tenant",
            [collection.pk],
        )


def stage_held(collection: Collection) -> None:
    """Stage again what was held, as it was."""
    with connection.cursor() as cursor:
        _make_room(cursor)
        cursor.execute(
            "INSERT INTO seen (tenant, key) SELECT row_number() OVER (), tenant"
            " FROM (SELECT DISTINCT tenant FROM metering_heldvalue WHERE collection_id = %s) held",
            [collection.pk],
        )
        cursor.execute(
            'INSERT INTO staged SELECT seen.tenant, metric_id, value, quota, counting_since, start, "end"'
            " FROM metering_heldvalue held JOIN seen ON seen.key = held.tenant"
            " WHERE collection_id = %s AND metric_id IS NOT NULL",
            [collection.pk],
        )


def _rows(intake: Intake, answer: TenantUsage) -> Iterator[str]:
    key = answer.tenant
    if reason := bad_key(key):
        for name, failure in answer.failures.items() or [("", reason)]:
            intake.refuse(key, name, failure)
        return
    if key in intake.tenants:
        # Two different answers for one name: neither can be believed.
        intake.ambiguous.add(key)
        return
    number = intake.tenants[key] = len(intake.tenants)
    for name, reason in answer.failures.items():
        intake.refuse(key, name, reason)
    for name, usage in answer.values.items():
        try:
            columns = intake.columns[name]
            period = columns[1]
            if usage.start is not None or usage.end is not None:
                named = intake.named_period(intake.metrics[name], usage.start, usage.end)
                intake.months.add(named.start)
                period = f"{named.start}\t{named.end}\n"
            if usage.counting_since and usage.counting_since > intake.as_of:
                # Counted now, it would seem to have restarted once more the next time, and all of it count again.
                since = usage.counting_since.isoformat(" ", "seconds")
                raise ValueError(f"it says to count since {since}, which is after the collection; is its clock ahead?")
            value = checked(usage.value)
        except KeyError:
            intake.refuse(key, name, "the provider did not declare this metric")
        except ValueError as error:
            intake.refuse(key, name, str(error))
        else:
            intake.values += 1
            intake.seen_metrics.add(columns[0])
            quota = _quota(intake, key, name, usage.limit)
            since = usage.counting_since.isoformat() if usage.counting_since else "\\N"
            yield f"{number}\t{columns[0]}\t{value}\t{quota}\t{since}\t{period}"


def _quota(intake: Intake, tenant: str, metric: str, limit: Decimal | None) -> str:
    """Return the column of a limit. One that is no quantity is refused and left out; the value counts."""
    if limit is not None:
        try:
            return checked(limit)
        except ValueError as error:
            intake.refuse(tenant, metric, f"its limit: {error}")
    return "\\N"


def bad_key(key: str) -> str:
    """Say why a tenant cannot be called so; empty if it can."""
    if not key.strip():
        return "a tenant without a name"
    if len(key) > MAX_KEY:
        return f"a tenant's name of more than {MAX_KEY} characters"
    if not key.isprintable():
        return "a tenant's name with control characters or broken text"
    return ""


#: What almost every value looks like: up to 18 digits and 6 decimals, so that no bound is crossed.
_ORDINARY = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,6})?", re.ASCII)


def checked(value: Decimal) -> str:
    """Return the value as text if it may be stored. Raises ValueError with the reason."""
    if not isinstance(value, Decimal):
        raise ValueError(f"{value!r:.40} is of type {type(value).__name__}, not a Decimal")
    text = str(value)
    if _ORDINARY.fullmatch(text):
        return text
    if not value.is_finite():
        raise ValueError(f"{value} is not a number")
    if value < 0:
        raise ValueError(f"{value} is negative")
    if value >= MAX_VALUE:
        raise ValueError(f"{value:.3E} is not below {MAX_VALUE:.0E}")
    if value.as_tuple().exponent < -PLACES and value != round(value, PLACES):  # type: ignore[operator]
        raise ValueError(f"{value} has more than {PLACES} decimal places")
    return text


def _drop_ambiguous(cursor: CursorWrapper, intake: Intake) -> None:
    for key in sorted(intake.ambiguous):
        intake.refuse(key, "", "named twice in one answer; nothing of it was stored")
    numbers = [intake.tenants.pop(key) for key in intake.ambiguous]
    if numbers:
        cursor.execute("DELETE FROM staged WHERE tenant = ANY(%s)", [numbers])
        cursor.execute("DELETE FROM seen WHERE tenant = ANY(%s)", [numbers])


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
    *, collection: Collection, metrics: Iterable[Metric], months: Iterable[date], before: Collection | None
) -> Stored:
    """Turn what was staged, of these metrics and months, into tenants, readings, latest values and usage.

    `before` is the last whole collection of the server that was stored. A counter of a tenant that is new
    since then counts in full; one that is only new to us starts from its first value. What it confirmed on
    the same day needs no writing when it is still so.
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
                "is_same_day": is_same_day and not collection.is_of_some,
                "collected_at": server.collected_at,
            },
        )
        rows = cursor.fetchall()
    readings, confirmed, unchanged = (sum(row[number] for row in rows) for number in range(1, 4))
    changes = [Change(metric, *counts) for metric, _, _, _, _, *counts in rows if counts[0]]
    return Stored(readings + (rows[0][4] if rows else 0), confirmed, unchanged, changes)


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
    cursor.execute(
        "UPDATE metering_tenant t SET first_seen_at = coalesce(first_seen_at, %s), missing_since = NULL"
        " FROM seen WHERE t.id = seen.tenant_id AND (seen.is_new OR seen.is_back)",
        [as_of],
    )
    cursor.execute("CREATE INDEX ON seen (tenant_id)")
    cursor.execute("ANALYZE staged, seen")


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
#: - what the last collection confirmed today and is still so needs no writing;
#: - a reading is kept when the value differs from the latest one, or begins a new period of a total; of a
#:   closed period that was asked for again, when it changed that period's usage;
#: - what changed after its period had ended is noted as restated, and what staff corrected stays;
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
), open_usage AS (
    INSERT INTO metering_usage AS u (tenant_id, metric_id, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, start, "end", CASE WHEN is_counter THEN increase ELSE value END, %(collection)s
    FROM incoming WHERE is_open AND is_confirmed IS NOT TRUE
    ON CONFLICT (tenant_id, metric_id, start) DO UPDATE
        SET value = CASE WHEN u.metric_id = ANY(%(counters)s) THEN u.value + excluded.value ELSE excluded.value END,
            collection_id = excluded.collection_id
        WHERE u.correction_id IS NULL
            AND CASE WHEN u.metric_id = ANY(%(counters)s) THEN excluded.value <> 0 ELSE u.value <> excluded.value END
), closed_usage AS (
    INSERT INTO metering_usage AS u (tenant_id, metric_id, start, "end", value, collection_id)
    SELECT tenant_id, metric_id, start, "end", value, %(collection)s FROM incoming WHERE NOT is_open
    ON CONFLICT (tenant_id, metric_id, start) DO UPDATE
        SET value = excluded.value, collection_id = excluded.collection_id
        WHERE u.value <> excluded.value AND u.correction_id IS NULL
    RETURNING tenant_id, metric_id, start, "end", value
), restated AS (
    INSERT INTO metering_restated (tenant_id, metric_id, start, noted_at)
    SELECT tenant_id, metric_id, start, %(as_of)s FROM closed_usage
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
