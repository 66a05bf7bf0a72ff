"""What was logged stays: the database refuses to change it, by whatever way, and finds it if that was switched off."""

import io
import logging

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import IntegrityError

from audit import sealing
from audit.models import Entry, Seal
from tests.builders import a_client

pytestmark = pytest.mark.django_db

TAMPERING = [
    "UPDATE {table} SET at = now()",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
]


@pytest.fixture(autouse=True)
def _before(db):
    """Migrations make groups, and so entries: they are sealed before."""
    sealing.seal()


def some_entries(count=3):
    for number in range(count):
        a_client(f"client {number}")


def newest_seals(count):
    return list(Seal.objects.order_by("-id")[:count])[::-1]


@pytest.mark.parametrize("statement", TAMPERING)
@pytest.mark.parametrize("table", ["audit_entry", "audit_seal"])
def test_the_database_refuses_to_change_or_delete(table, statement):
    some_entries()
    sealing.seal()
    refused = pytest.raises(IntegrityError, match="is refused: what was logged stays")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table=table))
    assert Entry.objects.filter(table="catalog_client").count() == 3


@pytest.mark.parametrize("model", [Entry, Seal])
def test_so_it_does_for_the_models(model):
    some_entries()
    sealing.seal()
    one = model.objects.first()
    for deed in (one.save, one.delete, model.objects.all().delete, lambda: model.objects.update(digest="x")):
        with pytest.raises(IntegrityError), transaction.atomic():
            deed()


def test_a_time_or_a_digest_cannot_be_given():
    entry = Entry.objects.create(what="login", at="2001-01-01T00:00Z", digest="made up", transaction=7)
    entry.refresh_from_db()
    assert entry.at.year > 2001
    assert len(entry.digest) == 64
    assert entry.transaction != 7


def test_a_change_that_is_rolled_back_leaves_no_entry():
    with transaction.atomic():
        a_client()
        transaction.set_rollback(True)
    assert not Entry.objects.filter(table="catalog_client").exists()


def test_seals_chain_all_entries():
    some_entries(3)
    assert sealing.seal() == 3
    some_entries(2)
    assert sealing.seal() == 2
    assert sealing.seal() == 0
    first, second = newest_seals(2)
    assert (first.entries, second.entries) == (3, 2)
    assert second.through == Entry.objects.latest("id").pk
    assert list(sealing.verify()) == []


def test_many_entries_are_sealed_in_parts(monkeypatch):
    monkeypatch.setattr(sealing, "BATCH", 4)
    some_entries(10)
    assert sealing.seal() == 10
    assert [each.entries for each in newest_seals(3)] == [4, 4, 2]
    assert list(sealing.verify()) == []


def tampered(statement, *values):
    """Do what somebody does who owns the tables, and so can switch triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values if "%s" in statement else None)
        cursor.execute("SET LOCAL session_replication_role = origin")


REWRITE = (
    "UPDATE audit_entry SET actor = 'somebody else', digest = encode(sha256(convert_to(jsonb_build_array("
    """id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), transaction, what, "table","""
    " key, about, changes, actor_id, 'somebody else'::text, source, path)::text, 'UTF8')), 'hex')"
)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit_entry SET actor = 'somebody else' WHERE id = %s", "Entry {pk}: is not as it was written"),
        ("UPDATE audit_entry SET changes = '{{}}' WHERE id = %s", "Entry {pk}: is not as it was written"),
        ("UPDATE audit_entry SET at = at + interval '1 us' WHERE id = %s", "Entry {pk}: is not as it was written"),
        (REWRITE.replace("{", "{{").replace("}", "}}") + " WHERE id = %s", "are not the 3 that were sealed"),
        ("DELETE FROM audit_entry WHERE id = %s", "of which 1 are gone"),
        ("DELETE FROM audit_seal WHERE id > %s OR true", None),
    ],
)
def test_tampering_behind_the_triggers_is_found(statement, found):
    some_entries(3)
    sealing.seal()
    pk, known = Entry.objects.order_by("-id")[1].pk, newest_seals(1)[0].digest
    tampered(statement.format(), pk)
    said = list(map(str, sealing.verify(known=known)))
    if found is None:
        assert said == [f"Seals: none has the digest {known}: entries were taken away, or the chain was made anew"]
    else:
        assert any(found.format(pk=pk) in each for each in said), said


def test_a_trigger_that_is_switched_off_or_gone_is_found():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE catalog_client DISABLE TRIGGER audit_update")
        for name in ("insert", "update", "delete", "truncate"):
            cursor.execute(f"DROP TRIGGER audit_{name} ON catalog_product")
    assert [str(each) for each in sealing.verify()] == [
        "catalog_product: nothing is logged or kept: its triggers are gone",
        "catalog_client: the trigger audit_update is switched off",
    ]


def test_the_command_says_that_all_is_well_and_which_digest_to_keep(caplog):
    some_entries()
    with caplog.at_level(logging.INFO, logger="audit"):
        sealing.seal()
    some_entries(1)
    out = io.StringIO()
    call_command("verify_audit", stdout=out)
    digest = newest_seals(1)[0].digest
    assert out.getvalue().splitlines() == [
        "All entries are as they were written. 1 are not sealed yet.",
        f"Keep the newest digest somewhere else: {digest}",
    ]
    assert digest in caplog.text
    call_command("verify_audit", known=digest, stdout=out)


def test_the_command_fails_when_something_is_wrong():
    some_entries()
    tampered("UPDATE audit_entry SET path = 'elsewhere' WHERE \"table\" = %s", "catalog_client")
    with pytest.raises(CommandError, match="3 things are wrong"):
        call_command("verify_audit", stdout=io.StringIO())


@pytest.mark.django_db(transaction=True)
def test_a_seal_waits_for_nobody_who_writes():
    some_entries()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE catalog_client SET name = 'in the middle of it' WHERE name = 'client 1'")
        assert sealing.seal() == 0
        cursor.execute("COMMIT")
    other.close()
    assert sealing.seal() == 4
    assert list(sealing.verify()) == []
