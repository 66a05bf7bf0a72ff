"""Issued documents never change: the database refuses it, and a change made by force is found."""

from contextlib import contextmanager
from datetime import date
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from catalog.models import BracketPrice, Override
from invoicing import chain, termination, verification
from invoicing.billing import create_invoices
from invoicing.models import Claim, Invoice, Line, Series, Statement
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing import documents

pytestmark = pytest.mark.django_db

NAMES = ("alice", "bob", "carla")


@pytest.fixture
def billed():
    """Three services with every kind of metric, billed for October and November, one with an agreement."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.5"))
    priced(a_setting(product, DISK), ("0", "0.123456789012"), notation="above", included="1", aggregation="p95")
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    priced(a_setting(product, EMAILS), ("0", "0.001"), periods="each", included="10")
    setting = a_setting(product, ROWS)
    priced(setting, ("0", "0.4"), scheme="package")
    for name in NAMES:
        a_service(product, a_client(name), a_tenant(server, name))
    service = product.services.first()
    Override.objects.create(
        service=service, setting=setting, unit_code="rows", discount=Decimal("12.5"), currency="USD",
        reason="The first year", start=date(2026, 1, 1),
    )  # fmt: skip
    for number, moment in enumerate(
        ("2026-10-01 06:00", "2026-10-31 06:00", "2026-11-01 06:00", "2026-11-30 06:00", "2026-12-01 06:00")
    ):
        answers = [
            tenant_says(
                name, mailboxes=8 * step, disk=step * GB, traffic=7 * step * GB, emails=15 * step, rows=number * 25
            )
            for step, name in enumerate(NAMES, start=1)
        ]
        collected(server, moment, *answers)
    with panel(says()):
        for day in ("2026-11-01", "2026-12-01"):
            create_invoices(on=date.fromisoformat(day), at=at(f"{day} 07:00"))
    assert Invoice.objects.count() == 6
    return service


def findings():
    with transaction.atomic():
        return [str(finding) for finding in verification.verify()]


@contextmanager
def by_force():
    """As somebody who may switch the triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        cursor.execute("SET LOCAL session_replication_role = origin")


@pytest.mark.parametrize(
    "table", ["invoicing_invoice", "invoicing_line", "invoicing_billedperiod", "invoicing_statement"]
)
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_what_is_issued(billed, table, statement):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing is pending that would refuse a TRUNCATE by itself
        said = "issued documents never change; correct them with a credit note"
        with pytest.raises(DatabaseError, match=said), transaction.atomic():
            cursor.execute(statement.format(table))
    assert Line.objects.count() == 6 * 6


def test_what_was_issued_verifies(billed):
    assert findings() == []


def test_prices_are_kept_once_for_all_lines_that_state_the_same(billed):
    lines = list(Line.objects.filter(setting__isnull=False))
    stated = {chain.row((line.unit, line.pricing)): line.statement_id for line in lines}
    assert len(stated) == len(set(stated.values())) == Statement.objects.count()
    assert len(lines) > 2 * len(stated)


def test_what_lines_state_is_read_with_them(billed, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert all(line.pricing["version"] for line in Line.objects.all() if line.setting_id)


def test_a_final_invoice_verifies_too(billed):
    with panel(says(tenant_says("alice", mailboxes=3, disk=GB, traffic=9 * GB, emails=99, rows=500))):
        ended = termination.terminate(service=billed, on=date(2026, 12, 10), at=at("2026-12-10 09:00"))
    assert ended.invoice
    assert findings() == []


def test_each_series_is_a_chain_whatever_the_batches(billed):
    newest = Invoice.objects.order_by("number").last()
    assert Series.objects.get().last_digest == newest.digest
    assert len(set(Invoice.objects.values_list("digest", flat=True))) == 6


#: Each change by force, and what is said of it.
FORGERIES = {
    "UPDATE invoicing_line SET title = 'Gift' WHERE position = 1 AND invoice_id = (SELECT id FROM invoicing_invoice"
    " ORDER BY number LIMIT 1)": "the chain breaks",
    "UPDATE invoicing_invoice SET buyer = '{\"name\": \"Other\"}'": "the chain breaks",
    "UPDATE invoicing_invoice SET total = total + 1": "is not the sum of its lines",
    "UPDATE invoicing_line SET amount = amount + 0.01 WHERE kind = 'usage'": "rounded once",
    "UPDATE invoicing_line SET exact = exact + 1, amount = amount + 1 WHERE kind = 'usage'": "but its usage costs",
    "UPDATE invoicing_line SET quantity = quantity + 1 WHERE kind = 'usage'": "of its periods",
    "UPDATE invoicing_statement SET pricing = jsonb_set(pricing, '{version}', '7')": "that lines state were changed",
    "UPDATE invoicing_statement SET unit = jsonb_set(unit, '{singular}', '\"gift\"')": "that lines state were changed",
    "UPDATE invoicing_line SET statement_id = NULL WHERE position = 2": "nothing says by what unit and prices",
    "DELETE FROM invoicing_statement": "have a statement_id that leads nowhere",
    "UPDATE invoicing_line SET steps = '[]' WHERE kind = 'usage'": "its steps are not those of its charge",
    "UPDATE invoicing_line SET levels = jsonb_set(levels::jsonb, '{0,1}', '\"999999999999\"')"
    " WHERE levels IS NOT NULL": (
        "the quantity is not what its days come to"
    ),
    "UPDATE invoicing_billedperiod SET value = value + 1000000000": "but its usage costs",
    "DELETE FROM invoicing_billedperiod": "no usage period says what it billed",
    "DELETE FROM invoicing_billedperiod WHERE line_id IN (SELECT l.id FROM invoicing_line l JOIN"
    " catalog_metricsetting s ON s.id = l.setting_id JOIN metering_metric m ON m.id = s.metric_id"
    " WHERE m.system_name = 'mailboxes')": "is on no invoice",
    "UPDATE invoicing_billedperiod SET \"end\" = \"end\" + 5": "was billed twice",
    "UPDATE invoicing_claim SET invoice_id = NULL": "was claimed but is on no invoice",
    "UPDATE invoicing_series SET next_number = next_number + 1": "the next number is 8, the last one 2026-00006",
    "UPDATE invoicing_series SET last_digest = 'x'": "its last digest is not that of its last document",
    "UPDATE invoicing_invoice SET issued_on = issued_on - 60 WHERE number = '2026-00005'": "before 2026-00004",
}  # fmt: skip


@pytest.mark.parametrize(("statement", "said"), FORGERIES.items())
def test_a_change_by_force_is_found(billed, statement, said):
    with by_force() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount
    found = findings()
    assert any(said in finding for finding in found), found


def test_a_document_taken_away_leaves_a_gap_and_breaks_the_chain(billed):
    gone = Invoice.objects.get(number="2026-00003")
    with by_force() as cursor:
        for table, column in (
            ("invoicing_billedperiod", "line_id IN (SELECT id FROM invoicing_line WHERE invoice_id = %s)"),
            ("invoicing_line", "invoice_id = %s"),
            ("invoicing_claim", "invoice_id = %s"),
            ("invoicing_invoice", "id = %s"),
        ):
            cursor.execute(f"DELETE FROM {table} WHERE {column}", [gone.pk])
    found = findings()
    assert "2026-00004: the series goes on with 2026-00003: a number is missing" in found
    assert any(finding.startswith("2026-00004") and "the chain breaks" in finding for finding in found)


def test_numbers_go_on_after_99999():
    client = a_client()
    for number in (99_999, 100_000, 100_001):
        documents.issued(
            client, documents.fee(a_service(a_product(f"product {number}"), client)), number=f"2026-{number}"
        )
    Series.objects.update(next_number=100_002)
    found = [finding for finding in findings() if "number" in finding]
    assert found == ["2026-99999: the series goes on with 2026-00001: a number is missing"]


def test_a_price_changed_under_an_issued_line_is_found(billed):
    BracketPrice.objects.filter(start=10).update(unit_price=Decimal("1.5"))
    assert any("prices of version 1 are not what the line states" in finding for finding in findings())


@pytest.mark.django_db(transaction=True)
def test_the_command_exits_with_1_and_a_list(capsys):
    a_service(a_product())
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    call_command("verify_billing")
    assert capsys.readouterr().out == "1 documents are as they were issued.\n"
    Claim.objects.update(invoice=None)
    with pytest.raises(CommandError, match="1 things are wrong") as refused:
        call_command("verify_billing")
    assert refused.value.returncode == 1
    assert "the term from 2026-11-01 was claimed but is on no invoice" in capsys.readouterr().out


def test_it_takes_as_many_queries_for_twelve_documents_as_for_two():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    names, counts = [], []
    for more in ("ab", "cdefghijkl"):
        for name in more:
            names.append(name)
            a_service(product, a_client(name), a_tenant(server, name))
        collected(server, "2026-11-01 06:00", *(tenant_says(name, mailboxes=1) for name in names), accept_changes=True)
        with panel(says()):
            create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
        with CaptureQueriesContext(connection) as captured:
            assert findings() == []
        counts.append(len(captured))
    assert counts[0] == counts[1]
