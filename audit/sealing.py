"""The chain over the entries: what seals them, and what checks the seals.

Each entry carries a digest of its content. A seal covers all entries since the one before it: its digest is made of
that one's and of theirs, in order, so that whoever changes, adds or takes away a sealed entry has to make every later
seal anew. Why entries are not chained one by one: `docs/decisions/0011-audit.md`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import OperationalError, connection, transaction

from audit.models import Seal
from audit.tables import LOGGED

logger = logging.getLogger(__name__)

#: What a chain begins with.
START = "0" * 64
#: How many entries are sealed, or checked, at once.
BATCH = 10_000
#: How long a seal waits for those who are writing entries, and makes others wait, before it leaves it to the next.
PATIENCE = "250ms"

#: What an entry's digest is made of; the database computes it by a function of its own when it is written.
_CONTENT = """encode(sha256(convert_to(jsonb_build_array(
    id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), transaction, what, "table",
    key, about, changes, actor_id, actor, source, path)::text, 'UTF8')), 'hex')"""
_CHAIN = "encode(sha256(convert_to(%s || string_agg(digest, '' ORDER BY id), 'UTF8')), 'hex')"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written, and where."""

    about: str
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


def seal() -> int:
    """Seal all entries that are not sealed yet. Returns how many; 0 too when somebody is writing just now.

    While the table is locked nobody is in the middle of writing entries, so that none with a lower number can come
    later. Billing writes none, and so never keeps a seal waiting.
    """
    done = 0
    try:
        while sealed := _seal_batch():
            done += sealed
    except OperationalError:
        logger.info("entries of the audit log are sealed later: somebody is writing some")
    return done


@transaction.atomic
def _seal_batch() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [PATIENCE])
        cursor.execute("LOCK TABLE audit_entry IN SHARE ROW EXCLUSIVE MODE")
        last = Seal.objects.order_by("-id").first()
        cursor.execute(
            f"SELECT max(id), count(*), {_CHAIN} FROM (SELECT id, digest FROM audit_entry WHERE id > %s"  # noqa: S608  # nosec B608
            " ORDER BY id LIMIT %s) AS batch",
            [last.digest if last else START, last.through if last else 0, BATCH],
        )
        through, entries, digest = cursor.fetchone()
    if not entries:
        return 0
    made = Seal.objects.create(through=through, entries=entries, digest=digest)
    # Somewhere else than in the database, so that who owns that cannot rewrite it unseen.
    logger.info("audit log sealed through entry %s: %s", made.through, made.digest)
    return int(entries)


def verify(*, known: str = "") -> Iterator[Finding]:
    """Compute everything again. Yields what is wrong; with a digest that is `known`, also that it is not there."""
    yield from _triggers()
    yield from _entries()
    yield from _seals()
    if known and not Seal.objects.filter(digest=known).exists():
        yield Finding("Seals", f"none has the digest {known}: entries were taken away, or the chain was made anew")


def _triggers() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
            " AND tgfoid::regproc::text LIKE 'audit\\_%%'"
        )
        found = cursor.fetchall()
    logging_tables = {table for table, _, _ in found}
    for table in (*LOGGED, "audit_entry", "audit_seal"):
        if table not in logging_tables:
            yield Finding(table, "nothing is logged or kept: its triggers are gone")
    for table, name, state in found:
        if state not in ("O", "A"):
            yield Finding(table, f"the trigger {name} is switched off")


def _entries() -> Iterator[Finding]:
    """Entries whose content is not that of their digest, a batch at a time."""
    last = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                f"SELECT id, digest = {_CONTENT} FROM audit_entry WHERE id > %s ORDER BY id LIMIT %s",  # noqa: S608  # nosec B608
                [last, BATCH],
            )
            rows = cursor.fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for number, is_right in rows:
                if not is_right:
                    yield Finding(f"Entry {number}", "is not as it was written")


def _seals() -> Iterator[Finding]:
    before, through = START, 0
    with connection.cursor() as cursor:
        for each in Seal.objects.order_by("id").iterator():
            cursor.execute(
                f"SELECT count(*), {_CHAIN} FROM audit_entry WHERE id > %s AND id <= %s",  # noqa: S608  # nosec B608
                [before, through, each.through],
            )
            entries, digest = cursor.fetchone()
            if entries != each.entries or digest != each.digest:
                gone = f", of which {each.entries - entries} are gone" if entries < each.entries else ""
                more = f" and {entries - each.entries} that were added" if entries > each.entries else ""
                yield Finding(
                    f"Seal {each.pk}",
                    f"entries {through + 1} to {each.through} are not the {each.entries} that were sealed{gone}{more}",
                )
            before, through = each.digest, each.through
