"""What was issued before there was tax stays as it is, through the migrations that bring the tax, and back."""

from decimal import Decimal

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from catalog.models import Client
from invoicing import chain
from invoicing.models import Invoice, InvoicingSpan, Receivable
from invoicing.verification import rows, verify
from tests.builders import (
    GB,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    priced,
    tenant_says,
)
from tests.invoicing.test_tax import bill, credit

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("catalog", "0010_living_services_by_product"), ("invoicing", "0016_alerts_keep_their_unit")]
#: The columns of a document before there was tax.
DOCUMENT = f"SELECT {', '.join(chain.INVOICE)}, digest, entry, run_id FROM invoicing_invoice ORDER BY entry"


def migrate(to=None):
    executor = MigrationExecutor(connection)
    executor.migrate(to or executor.loader.graph.leaf_nodes())


def columns(table):
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def stored():
    with connection.cursor() as cursor:
        cursor.execute(DOCUMENT)
        return cursor.fetchall()


@pytest.fixture
def documents():
    """An invoice of 114.00, and a credit note of 12.50 of it, whose digests are as they were before there was tax."""
    InvoicingSpan.objects.get_or_create(start="2000-01-01")
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill()
    invoice = Invoice.objects.get()
    credit(invoice, {invoice.lines.get(kind="usage").pk: Decimal("12.50")})
    issued = list(Invoice.objects.order_by("entry").values())
    lines = rows.lines_of(issued)
    for one in issued:
        own = [line.row for line in lines[str(one["id"])]]
        assert chain.link(chain.START, chain.row(one[name] for name in chain.INVOICE), own) == one["digest"]
    return stored()


def test_documents_of_before_verify_after_it_and_after_the_way_back(documents):
    try:
        migrate(BEFORE)
        assert not {"tax", "tax_percent", "tax_name", "tax_note"} & columns("invoicing_invoice")
        assert "tax_rate_id" not in columns("catalog_client")
        assert "catalog_taxrate" not in connection.introspection.table_names()
        assert stored() == documents
    finally:
        migrate()
    assert stored() == documents
    assert [(one.tax, one.tax_percent, one.tax_name, one.tax_note) for one in Invoice.objects.all()] == [
        (0, None, "", "")
    ] * 2
    assert all(one.net == one.total for one in Invoice.objects.all())
    assert Client.objects.get().tax_rate is None
    assert Receivable.objects.get().left == Decimal("101.50")
    assert [str(finding) for finding in verify()] == []


def test_what_is_issued_after_it_goes_on_in_the_same_chain(documents):
    try:
        migrate(BEFORE)
    finally:
        migrate()
    old = Invoice.objects.get(credits=None)
    note = credit(old, {old.lines.get(kind="recurring").pk: Decimal(24)})
    assert (note.number, note.tax_percent) == ("C2026-00002", None)
    bill("2026-12-01")
    assert Invoice.objects.filter(credits=None).count() == 2
    assert [str(finding) for finding in verify()] == []
    assert at("2026-12-01 07:00") == Invoice.objects.filter(credits=None).latest("entry").created_at
