"""What a migration does to have a table logged: one line for each table.

    operations = [audited("catalog_apikey", secret=["digest"], part_of={"client_id": "catalog_client"})]

in a migration that depends on `("audit", "0001_initial")`, and the table's name in `audit.tables.LOGGED`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.migrations import RunSQL

#: As RunSQL takes it.
Statement = str | tuple[str, dict[str, Any] | list[str] | tuple[str, ...] | None]


def audited(
    table: str,
    *,
    secret: Iterable[str] = (),
    left_out: Iterable[str] = (),
    part_of: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    when: str = "",
    what: Iterable[str] = ("INSERT", "UPDATE", "DELETE"),
) -> RunSQL:
    """Log every change of a row of `table`, which has a column `id`.

    Of `secret` columns only that they changed is written. Those `left_out` are moved by the site and not looked
    at. `part_of` says which columns name what the row is a part of, by table, so that it is found there too. With
    `only`, updates of other columns cost nothing at all. `when` is a condition on NEW, for inserts and updates.
    """
    arguments = ", ".join(
        _text(",".join(words))
        for words in (secret, left_out, [f"{column}={parent}" for column, parent in (part_of or {}).items()])
    )
    columns = f" OF {', '.join(map(_name, only))}" if only else ""
    conditions = {
        "INSERT": [when],
        "UPDATE": ["OLD.* IS DISTINCT FROM NEW.*", when],
        "DELETE": [],
    }
    create: list[Statement] = []
    drop: list[Statement] = []
    for deed in what:
        given = " AND ".join(f"({each})" for each in conditions[deed] if each)
        create.append(
            f"CREATE TRIGGER audit_{deed.lower()} AFTER {deed}{columns if deed == 'UPDATE' else ''} ON {_name(table)}"
            f" FOR EACH ROW{f' WHEN ({given})' if given else ''} EXECUTE FUNCTION audit_write({arguments})"
        )
        drop.append(f"DROP TRIGGER audit_{deed.lower()} ON {_name(table)}")
    if "DELETE" in what:
        create.append(
            f"CREATE TRIGGER audit_truncate AFTER TRUNCATE ON {_name(table)}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION audit_write({arguments})"
        )
        drop.append(f"DROP TRIGGER audit_truncate ON {_name(table)}")
    return RunSQL(create, drop)


def _name(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _text(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
