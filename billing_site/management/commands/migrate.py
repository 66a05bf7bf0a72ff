"""Django's `migrate`, one at a time, and each migration whole or not at all, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.core.management.commands import migrate
from django.db import connections, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

from billing_site.management.commands.makemigrations import Changes

#: The lock that one migration of a database has.
MIGRATING = 5_200_702


class Executor(MigrationExecutor):
    """Writes down what was done in the transaction that does it. Django's own may do so only after it is committed,
    and who is killed between the two finds tables that nobody made."""

    def apply_migration(self, state: ProjectState, migration: Migration, *args: Any, **options: Any) -> ProjectState:
        with transaction.atomic(self.connection.alias) if migration.atomic else nullcontext():
            return super().apply_migration(state, migration, *args, **options)


migrate.MigrationExecutor = Executor  # type: ignore[attr-defined]  # the command knows no other way to choose


class Command(migrate.Command):
    autodetector = Changes

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
