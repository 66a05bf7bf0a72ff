"""Every table of the list writes an entry for each row that is added, changed or deleted, and no model is forgotten."""

import pytest
from django.apps import apps
from django.db import connection

from audit.models import Entry
from audit.names import KINDS
from audit.tables import LOGGED
from tests.audit.rows import OTHER, a_row, changed, columns, deleted, triggers

pytestmark = pytest.mark.django_db

#: What a person does not decide, what other rows say already, or what is frozen and chained itself.
NOT_LOGGED = {
    *("audit_entry", "audit_seal", "auth_permission", "account_emailconfirmation"),
    *("metering_reading", "metering_usage", "metering_latest", "metering_restated", "metering_pushed"),
    *("metering_heldvalue", "metering_upload", "metering_metric", "metering_tenant"),
    "catalog_usedoflimit",
    *("invoicing_line", "invoicing_statement", "invoicing_billedperiod", "invoicing_claim", "invoicing_series"),
    *("invoicing_receivable", "invoicing_runnote", "invoicing_parked", "invoicing_deferral", "invoicing_difference"),
    *("invoicing_overagecharge", "invoicing_preview", "invoicing_draftinvoice", "invoicing_message"),
    # A thread of questions and answers is its own record, and is never changed.
    *("invoicing_question", "invoicing_post", "invoicing_crossing"),
}
#: Apps whose rows neither cost money nor open anything, or are moved by the site itself.
OTHER_APPS = {"admin", "contenttypes", "sessions", "usersessions", "django_q", "billing_site", "reports"}
#: Of these only what a person did is logged.
IN_PART = {"invoicing_run", "invoicing_invoice", "metering_collection"}
FROZEN = {"invoicing_payment"}
WHOLE = sorted(set(LOGGED) - IN_PART)


def what(table, key):
    return [entry.what for entry in Entry.objects.filter(table=table, key=str(key)).order_by("id")]


@pytest.mark.parametrize("table", WHOLE)
def test_every_row_that_is_added_changed_or_deleted_is_logged(table):
    key = a_row(table)
    assert what(table, key) == ["insert"]
    if table in FROZEN:
        return
    secret, left_out, _ = triggers(table)["audit_update"]
    for name, kind in columns(table):
        if kind in OTHER and name not in left_out and name not in secret:
            changed(table, key, **{name: OTHER[kind]})
            newest = Entry.objects.filter(table=table, key=str(key)).latest("id")
            assert newest.what == "update", name
            assert list(newest.changes) == [name], name
    deleted(table, key)
    assert what(table, key)[-1] == "delete"
    assert set(what(table, key)[1:-1]) == {"update"}


@pytest.mark.parametrize("table", WHOLE)
def test_a_row_that_is_written_as_it_was_is_not_logged(table):
    if table in FROZEN:
        return
    key = a_row(table)
    name = next(name for name, kind in columns(table) if kind in OTHER)
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE "{table}" SET "{name}" = "{name}" WHERE id = %s', [key])
    assert what(table, key) == ["insert"]


@pytest.mark.parametrize("table", LOGGED)
def test_a_column_is_either_looked_at_or_left_out_on_purpose(table):
    """So that a column that is added later is not forgotten where updates are looked at by a list of columns."""
    for name, (_, left_out, only) in triggers(table).items():
        if name == "audit_update" and only and table not in IN_PART:
            assert {column for column, _ in columns(table)} == only | left_out


def test_all_tables_of_the_list_have_their_triggers_and_no_others_do():
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = 'audit_write'::regproc")
        assert {table for (table,) in cursor.fetchall()} == set(LOGGED)


def test_every_model_is_logged_or_not_on_purpose():
    models = [model for model in apps.get_models(include_auto_created=True) if model._meta.app_label not in OTHER_APPS]
    tables = {model._meta.db_table for model in models if model._meta.managed}
    assert tables == {*LOGGED, *NOT_LOGGED}


def test_every_table_of_the_list_has_a_name_for_people():
    assert set(KINDS) == set(LOGGED)


@pytest.mark.parametrize("table", [table for table in WHOLE if table not in FROZEN])
def test_emptying_a_table_is_logged(table):
    with connection.cursor() as cursor:
        # Whatever else would keep it from being emptied is not the matter here.
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
            " AND tgfoid <> 'audit_write'::regproc",
            [table],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'ALTER TABLE "{table}" DISABLE TRIGGER "{name}"')
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE confrelid = %s::regclass", [table]
        )
        for other, name in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {other} DROP CONSTRAINT "{name}"')
        cursor.execute(f'TRUNCATE "{table}"')
    assert Entry.objects.filter(table=table, what="truncate").count() == 1


def test_of_runs_only_those_that_a_person_started():
    a_row("invoicing_run", started_by_id=None)
    by_hand = a_row("invoicing_run")
    changed("invoicing_run", by_hand, services=8)
    assert list(Entry.objects.filter(table="invoicing_run").values_list("what", "key")) == [("insert", str(by_hand))]


@pytest.mark.parametrize(
    ("kind", "run", "is_logged"),
    [("credit_note", None, True), ("replacement", None, True), ("credit_note", 7, False), ("renewal", None, False)],
)
def test_of_documents_only_those_that_a_person_issued(kind, run, is_logged):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE invoicing_invoice DISABLE TRIGGER invoicing_invoice_is_receivable")
    key = a_row("invoicing_invoice", id="7d444840-9dc0-11d1-b245-5ffdce74fad3", kind=kind, run_id=run)
    assert Entry.objects.filter(table="invoicing_invoice", key=str(key)).exists() == is_logged


def test_of_collections_only_what_a_person_decided():
    key = a_row("metering_collection", decided_by_id=None)
    changed("metering_collection", key, status="failed")
    assert not Entry.objects.filter(table="metering_collection").exists()
    changed("metering_collection", key, status="dropped", decided_by_id=7)
    (entry,) = Entry.objects.filter(table="metering_collection")
    assert entry.changes == {"status": ["failed", "dropped"], "decided_by_id": [None, 7]}
