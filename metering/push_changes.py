"""What the lines of a file do to each period: what counted for it before the first of them, and after the last.

A file may have any number of batches and of periods, so they are kept in a table of its transaction.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from metering.push_lines import Key


class Sums(NamedTuple):
    """Of a metric: how many periods are new, changed and as they were, and what counted and counts for them all."""

    metric_id: int
    new: int
    changed: int
    same: int
    before: Decimal
    after: Decimal


def begin() -> None:
    """Make the table, which the end of the transaction drops."""
    with connection.cursor() as cursor:
        # In case this transaction has imported before.
        cursor.execute("DROP TABLE IF EXISTS pg_temp.push_change")
        cursor.execute(
            "CREATE TEMPORARY TABLE push_change (number bigint GENERATED ALWAYS AS IDENTITY, tenant text,"
            " metric integer, start date, before numeric, after numeric) ON COMMIT DROP"
        )


def note(changes: Iterable[tuple[Key, Decimal | None, Decimal]]) -> None:
    """Note what a batch did to its periods, after what those before it did."""
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY push_change (tenant, metric, start, before, after) FROM STDIN") as copy,
    ):
        for key, before, after in changes:
            copy.write_row((*key, before, after))


def summed() -> list[Sums]:
    """Return what all batches did together, by metric."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT metric, count(*) FILTER (WHERE before IS NULL), count(*) FILTER (WHERE before <> after),"
            " count(*) FILTER (WHERE before = after), coalesce(sum(before), 0), sum(after)"
            " FROM (SELECT metric, (array_agg(before ORDER BY number))[1] AS before,"
            "              (array_agg(after ORDER BY number DESC))[1] AS after"
            "       FROM push_change GROUP BY tenant, metric, start) period"
            " GROUP BY metric"
        )
        return [Sums(*row) for row in cursor.fetchall()]
