"""Django's `migrate`, one at a time: who comes second waits, and finds nothing left to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands import migrate
from django.db import connections

#: The lock that one migration of a database has.
MIGRATING = 5_200_702


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with self._alone(options["database"]):
            super().handle(*args, **options)

    @contextmanager
    def _alone(self, database: str) -> Iterator[None]:
        """Hold the lock by a connection of its own, since migrations begin and end transactions.

        It goes with the connection, so that one who dies keeps nobody waiting.
        """
        holder = connections[database].copy()
        try:
            holder.set_autocommit(False)
            with holder.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [MIGRATING])
                if cursor.fetchone() != (True,):
                    self.stderr.write("Another migration is at work; this one waits for it.")
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATING])
            yield
        finally:
            holder.close()
