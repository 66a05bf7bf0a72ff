"""What lines state of prices, and what rows refer to: no reference of the database checks these."""

from collections.abc import Iterator

from django.db import connection

from invoicing import chain
from invoicing.models import Statement
from invoicing.verification.findings import BATCH, Finding

#: What documents, lines and billed periods refer to: table, column, table. No reference of the database checks these.
REFERENCES = (
    ("invoicing_invoice", "run_id", "invoicing_run"),
    ("invoicing_invoice", "series_id", "invoicing_series"),
    ("invoicing_payment", "invoice_id", "invoicing_invoice"),
    ("invoicing_receivable", "invoice_id", "invoicing_invoice"),
    ("invoicing_line", "invoice_id", "invoicing_invoice"),
    ("invoicing_line", "service_id", "catalog_service"),
    ("invoicing_line", "setting_id", "catalog_metricsetting"),
    ("invoicing_line", "version_id", "catalog_pricingversion"),
    ("invoicing_line", "override_id", "catalog_override"),
    ("invoicing_line", "statement_id", "invoicing_statement"),
    ("invoicing_line", "corrects_id", "invoicing_line"),
    ("invoicing_line", "credits_id", "invoicing_line"),
    ("invoicing_billedperiod", "line_id", "invoicing_line"),
    ("invoicing_billedperiod", "service_id", "catalog_service"),
)


def statements() -> Iterator[Finding]:
    """What lines state must have the digest by which they name it."""
    for one in Statement.objects.iterator(BATCH):
        if one.pk != chain.statement(one.unit, one.pricing):
            yield Finding(f"statement {one.pk[:12]}", "the unit or the prices that lines state were changed")


def lost() -> Iterator[Finding]:
    """Every line and billed period must lead to something that is there."""
    with connection.cursor() as cursor:
        for table, column, other in REFERENCES:
            key = "code" if other == "invoicing_series" else "id"
            cursor.execute(
                f"SELECT count(*) FROM {table} a LEFT JOIN {other} b ON b.{key} = a.{column}"  # noqa: S608  # nosec B608
                f" WHERE a.{column} IS NOT NULL AND b.{key} IS NULL"
            )
            if count := cursor.fetchone()[0]:
                yield Finding(table, f"{count} rows have a {column} that leads nowhere")
