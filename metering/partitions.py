"""Monthly partitions of the hot tables: made ahead of need by the daily job, or when a value needs one.

A flat table slows by half with 24 months behind it; monthly partitions do not, and old months can be
dropped at once.
"""

from collections.abc import Iterable
from datetime import date

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from metering.models import Reading, Usage
from metering.periods import month

#: Key of the advisory lock of those who attach partitions, and nobody else's.
_ATTACHING = 7302
#: Usage rows are overwritten while their period is open; free space keeps the new version on the page.
_FILL = {Usage._meta.db_table: 50, Reading._meta.db_table: 100}


def ensure(months: Iterable[date]) -> None:
    """Make the partitions of all calendar months that these days lie in, unless they exist.

    Attaching one does not block readers or writers of the others; who attaches another waits until this transaction
    ends.
    """
    wanted = {
        (table, first): _name(table, first) for first in {day.replace(day=1) for day in months} for table in _FILL
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname = ANY(%s)", [list(wanted.values())])
        existing = {name for (name,) in cursor.fetchall()}
        missing = [(table, name, first) for (table, first), name in sorted(wanted.items()) if name not in existing]
        if missing:
            # One lock for all months, before PostgreSQL's own on the whole table: with one for each, two transactions
            # that attach several could wait for each other.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ATTACHING])
        for table, name, first in missing:
            _attach(cursor, table, name, first)


def ensure_ahead(today: date, count: int = 3) -> None:
    """Make the partitions of this month and the next `count`."""
    first = today.replace(day=1)
    months = [first]
    for _ in range(count):
        months.append(month(months[-1]).end)
    ensure(months)


def _name(table: str, first: date) -> str:
    return f"{table}_{first:%Y_%m}"


def _attach(cursor: CursorWrapper, table: str, name: str, first: date) -> None:
    # Two processes may need the same month at once: the second has waited for the lock and finds it made.
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    if cursor.fetchone()[0]:
        return
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH (fillfactor = {_FILL[table]})")
    cursor.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)",
        [str(first), str(month(first).end)],
    )
