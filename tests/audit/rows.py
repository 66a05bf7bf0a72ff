"""Rows of any table, made by SQL with whatever fits: what they say does not matter to the audit log."""

from django.db import connection

FITS = {
    "boolean": True,
    "date": "2026-11-01",
    "timestamp with time zone": "2026-11-01 06:00+00",
    "time without time zone": "06:00",
    "uuid": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
    "jsonb": "{}",
    "ARRAY": "{}",
    **dict.fromkeys(["bigint", "integer", "smallint", "numeric"], 7),
}
#: Another value of the same kind.
OTHER = {
    "boolean": False,
    "date": "2026-12-01",
    "timestamp with time zone": "2026-12-01 06:00+00",
    "character varying": "y",
    "text": "y",
    **dict.fromkeys(["bigint", "integer", "smallint", "numeric"], 8),
}


def columns(table):
    """The columns of a table but its key, with their types."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_name = %s AND column_name <> 'id' AND is_generated = 'NEVER' ORDER BY ordinal_position",
            [table],
        )
        return cursor.fetchall()


def without_checks(table):
    """Let a table take what makes no sense, until the test's transaction is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'f')", [table]
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')


def a_row(table, **values):
    """Insert a row and return its key."""
    without_checks(table)
    row = {name: FITS.get(kind, "x") for name, kind in columns(table)} | values
    names, places = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
    with connection.cursor() as cursor:
        cursor.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places}) RETURNING id', list(row.values()))
        return cursor.fetchone()[0]


def changed(table, key, **values):
    names = ", ".join(f'"{name}" = %s' for name in values)
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE "{table}" SET {names} WHERE id = %s', [*values.values(), key])


def deleted(table, key):
    with connection.cursor() as cursor:
        cursor.execute(f'DELETE FROM "{table}" WHERE id = %s', [key])


def triggers(table):
    """What the triggers of a table are told: the secret columns, those left out, and those of updates, by trigger."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, encode(tgargs, 'escape'), ARRAY(SELECT attname FROM unnest(tgattr) AS number"
            " JOIN pg_attribute ON attrelid = tgrelid AND attnum = number) FROM pg_trigger"
            " WHERE tgrelid = %s::regclass AND tgfoid = 'audit_write'::regproc",
            [table],
        )
        return {
            name: (*(set(filter(None, words.split(","))) for words in arguments.split("\\000")[:2]), set(only))
            for name, arguments, only in cursor.fetchall()
        }
