"""The lock of a server: who holds it is alone in writing what the server's tenants use, until its transaction ends.

Collections, pushes and corrections take it, and so does the decision about a held collection.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable

from metering.models import Server

#: First key of the advisory locks of servers, so that they are nobody else's.
LOCK = 7301


class Busy(Exception):
    """Somebody else holds the lock of the server, so nothing was done. The message says what is going on."""


def take(server: Server) -> None:
    """Take the lock for the rest of the transaction. Raises Busy at once when somebody else holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, server.pk])
        if not cursor.fetchone()[0]:
            raise Busy(f"A collection of {server} is running.")


@contextmanager
def alone(server: Server, *, wait: str, busy: str) -> Iterator[None]:
    """Take the lock for one transaction, in which no lock is waited for longer than `wait`, as PostgreSQL writes it.

    Raises Busy with the words `busy` when others went on for longer than that, or waited for this one in turn.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                # For all that follows: what it needs is held for moments by everybody but a collection.
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [wait])
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, server.pk])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
            raise Busy(busy) from None
        raise


def being_collected() -> set[int]:
    """Return the servers that a process is collecting just now, whatever their records say, by their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [LOCK],
        )
        return {int(row[0]) for row in cursor.fetchall()}
