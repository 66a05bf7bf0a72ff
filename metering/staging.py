"""The staging tables of a transaction: what comes in is copied to them, before one statement stores all of it.

`staged` has a row for each value, `seen` one for each tenant that was named, also for one without values.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache

from django.db import connection
from django.db.backends.utils import CursorWrapper

from metering.intake import NULL, Intake
from metering.models import Collection
from metering.providers.base import TenantUsage


def stage(intake: Intake, answers: Iterable[TenantUsage]) -> None:
    """Copy all acceptable values and their tenants, streaming."""
    with connection.cursor() as cursor:
        _make_room(cursor)
        with cursor.copy("COPY staged FROM STDIN") as copy:
            for answer in answers:
                if rows := "".join(intake.rows(answer)):
                    copy.write(rows)
        _copy_tenants(cursor, intake.tenants)
        if numbers := intake.drop_ambiguous():
            cursor.execute("DELETE FROM staged WHERE tenant = ANY(%s)", [numbers])
            cursor.execute("DELETE FROM seen WHERE tenant = ANY(%s)", [numbers])


def stage_rows(tenants: Mapping[str, int], rows: Iterable[str]) -> None:
    """Stage rows that were checked before: lines that `staged_row` makes, and the keys of their tenants."""
    with connection.cursor() as cursor:
        _make_room(cursor)
        with cursor.copy("COPY staged FROM STDIN") as copy:
            copy.write("".join(rows))
        _copy_tenants(cursor, tenants)


def staged_row(tenant: int, metric: int, value: str, start: date, end: date) -> str:
    return f"{tenant}\t{metric}\t{value}{_other_columns(start, end)}"


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


def _copy_tenants(cursor: CursorWrapper, tenants: Mapping[str, int]) -> None:
    with cursor.copy("COPY seen (tenant, key) FROM STDIN") as copy:
        for key, number in tenants.items():
            copy.write_row((number, key))


@lru_cache(maxsize=1024)
def _other_columns(start: date, end: date) -> str:
    return f"\t{NULL}\t{NULL}\t{start}\t{end}\n"


def gone(server: int) -> list[tuple[int, int, int]]:
    """Return the metrics of which usage is known of the periods that are staged: how many tenants used it, and of how
    many that would be zero."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.metric, count(*), count(*) FILTER (WHERE s.value = 0) FROM staged s"
            " JOIN seen USING (tenant) JOIN metering_tenant t ON t.server_id = %s AND t.key = seen.key"
            " JOIN metering_usage u ON u.tenant_id = t.id AND u.metric_id = s.metric AND u.start = s.start"
            " WHERE u.value > 0 GROUP BY s.metric ORDER BY s.metric",
            [server],
        )
        return [(pk, used, now) for pk, used, now in cursor.fetchall()]
