"""What the page of a document shows, staff's and the client's: its lines, payments, and what has to do with it."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from invoicing import payments, proof, questions, related
from invoicing.models import Invoice, Line
from invoicing.models.documents import InvoiceQuerySet
from metering.prepared import Prepared, execute

#: What is shown of a line: it has more, to say how it came about.
_SHOWN = [
    *("invoice", "position", "kind", "statement", "title", "detail", "quantity", "before", "amount"),
    *("corrects", "credits", "service__name"),
]
_LINES = Prepared(
    lambda invoice: (
        Line.objects.filter(invoice=invoice)
        .select_related(None)
        .select_related("service")
        .only(*_SHOWN)
        .order_by("position")
    )
)
#: What most documents have nothing of, so one query asks for all of it.
_HAS = """SELECT
    EXISTS (SELECT FROM invoicing_payment WHERE invoice_id = %(invoice)s) AS payments,
    EXISTS (SELECT FROM invoicing_question WHERE line_id = ANY(%(lines)s)) AS questions,
    EXISTS (SELECT FROM invoicing_line WHERE corrects_id = ANY(%(lines)s))
        OR EXISTS (SELECT FROM invoicing_line WHERE credits_id = ANY(%(lines)s)) AS kin"""


def of(invoice: Invoice, among: InvoiceQuerySet, today: date) -> dict[str, Any]:
    """Return what the templates of a document need, in two to nine queries for any number of lines.

    `invoice` comes `with_state`; `among` are the documents that the viewer may see.
    """
    lines = _LINES.all(invoice.pk)
    for line in lines:
        line.invoice = invoice
    has = _has(invoice, lines)
    have_kin = has["kin"] or any(line.corrects_id or line.credits_id for line in lines)
    proofs = proof.with_kin(lines, among) if have_kin else proof.alone(lines)
    if has["questions"]:
        threads = questions.by_line(lines)
        for each in proofs:
            each.question = threads.get(each.line.pk)
    return {
        "invoice": invoice,
        "days_overdue": (today - invoice.due_on).days,
        "payments": payments.of_invoice(invoice) if has["payments"] else [],
        "proofs": proofs,
        "related": related.of_invoice(invoice, among),
    }


def _has(invoice: Invoice, lines: Sequence[Line]) -> Mapping[str, bool]:
    (found,) = execute(_HAS, {"invoice": invoice.pk, "lines": [line.pk for line in lines]})
    return dict(zip(("payments", "questions", "kin"), found, strict=True))
