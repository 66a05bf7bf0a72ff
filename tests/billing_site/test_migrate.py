"""`migrate` beside another one, and after one that was killed: the database ends up the same."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = """
import django
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
"""
#: Dies when it is about to write down that it did one of the migrations.
DYING = """
import os
from django.db.migrations.recorder import MigrationRecorder
done = MigrationRecorder.record_applied
MigrationRecorder.record_applied = lambda *of: os._exit(9) if of[1:] == ("admin", "0001_initial") else done(*of)
"""
#: What makes a schema, without the numbers that a server gives.
SCHEMA = """
    SELECT 'column', table_name, column_name, data_type || is_nullable FROM information_schema.columns
    WHERE table_schema = 'public'
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'migration', app, name, '' FROM django_migrations
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def database(transactional_db):
    """An empty database beside that of the tests."""
    name = f"migrating_{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def migrating(database, before=""):
    """Begin to migrate a database, after some code."""
    address = f"postgres://postgres@/{database}?host={connection.get_connection_params()['host']}"
    environment = {**os.environ, "DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", before + MIGRATE], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )


def schema(database):
    """What is in a database, but for the partitions of months, which come with the first usage."""
    other = connection.copy()
    other.settings_dict = {**other.settings_dict, "NAME": database}
    try:
        with other.cursor() as cursor:
            cursor.execute(SCHEMA)
            return [row for row in cursor.fetchall() if "_20" not in row[1]]
    finally:
        other.close()


def test_two_at_once_are_as_one(database):
    both = [migrating(database) for _ in range(2)]
    said = [each.communicate(timeout=180)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sum("waits for it" in each for each in said) == 1
    assert schema(database) == schema(connection.settings_dict["NAME"])


def test_one_that_was_killed_anywhere_is_finished_by_the_next(database):
    """What a migration did is there as a whole or not at all, and the next begins where it stopped."""
    dying = migrating(database, DYING)
    dying.communicate(timeout=180)
    assert dying.returncode == 9
    for _ in range(2):
        killed = migrating(database)
        deadline = time.monotonic() + 60
        while not has_begun(database):
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(random.uniform(0.2, 1.2))
        killed.kill()
        killed.communicate()
    last = migrating(database)
    _, said = last.communicate(timeout=180)
    assert last.returncode == 0, said
    assert schema(database) == schema(connection.settings_dict["NAME"])


def has_begun(database):
    """Whether somebody holds the lock in the other database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND d.datname = %s",
            [database],
        )
        return cursor.fetchone() != (0,)
