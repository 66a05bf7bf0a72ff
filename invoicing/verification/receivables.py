"""What was given back of invoices, and what is left to pay of them."""

from collections.abc import Iterator

from django.db import connection
from django.db.models import F, Sum

from invoicing.models import Invoice, Line
from invoicing.verification.findings import Finding


def given_back() -> Iterator[Finding]:
    """No line may be given back by more than it charged, nor by a document for another invoice."""
    lines = Line.objects.exclude(credits=None)
    for one in lines.values("credits__invoice__number", "credits__position", "credits__amount").annotate(
        given=Sum("amount")
    ):
        if one["given"] > one["credits__amount"]:
            about = f"{one['credits__invoice__number']}, line {one['credits__position']}"
            yield Finding(about, f"{one['given']:f} was given back of {one['credits__amount']:f}")
    strange = lines.exclude(invoice__credits=F("credits__invoice")).select_related("invoice")
    for line in strange:
        yield Finding(f"{line.invoice}, line {line.position}", "gives back a line of another invoice than it says")
    for note in Invoice.objects.exclude(credits=None).exclude(
        credits__client=F("client"), credits__currency=F("currency")
    ):
        yield Finding(note.number, "is for another client or in another currency than the invoice that it credits")


#: What is left to pay of an invoice, computed anew, where it is not what is kept of it.
_LEFT = """
    SELECT i.number, trim_scale(coalesce(r."left", 0)),
        trim_scale(i.total - coalesce(n.credited, 0) - coalesce(p.paid, 0)),
        r.due_on <> i.due_on OR r.client_id <> i.client_id
    FROM invoicing_invoice i
    LEFT JOIN invoicing_receivable r ON r.invoice_id = i.id
    LEFT JOIN (
        SELECT credits_id, sum(total) AS credited FROM invoicing_invoice WHERE credits_id IS NOT NULL GROUP BY 1
    ) n ON n.credits_id = i.id
    LEFT JOIN (SELECT invoice_id, sum(amount) AS paid FROM invoicing_payment GROUP BY 1) p ON p.invoice_id = i.id
    WHERE i.kind <> 'credit_note' AND (
        coalesce(r."left", 0) <> i.total - coalesce(n.credited, 0) - coalesce(p.paid, 0)
        OR r.due_on <> i.due_on OR r.client_id <> i.client_id
    ) OR i.kind = 'credit_note' AND (r.invoice_id IS NOT NULL OR p.invoice_id IS NOT NULL)
    ORDER BY i.number
"""


def left_to_pay() -> Iterator[Finding]:
    """What is left to pay must be the total less what was credited and paid."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT)
        for number, kept, left, is_astray in cursor:
            if kept != left:
                yield Finding(number, f"{kept:f} is said to be left to pay, but it is {left:f}")
            elif is_astray:
                yield Finding(number, "what is left to pay of it is kept for another day or client")
            else:
                yield Finding(number, "it is a credit note, but was paid")
