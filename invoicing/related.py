"""The documents that have to do with an invoice: what was given back of it, and what bills again what was."""

from collections.abc import Sequence
from dataclasses import dataclass

from invoicing.models import Invoice
from invoicing.models.documents import InvoiceQuerySet


@dataclass(frozen=True, slots=True)
class Related:
    """`credit_notes` give back of an invoice and `replacements` bill it again; `credited` is the one that a credit note
    gives back of, `replaced` are the voided ones that a replacement bills again. Each in the order of writing."""

    credit_notes: Sequence[Invoice] = ()
    replacements: Sequence[Invoice] = ()
    credited: Invoice | None = None
    replaced: Sequence[Invoice] = ()


def of_invoice(invoice: Invoice, among: InvoiceQuerySet) -> Related:
    """Return what there is `among` the documents that the viewer may see. Most invoices have nothing, which takes no
    query, if it came `with_credited`."""
    if invoice.credits_id is not None:
        return Related(credited=among.filter(pk=invoice.credits_id).first())
    is_credited, is_replacement = invoice.given_back is not None, invoice.kind == Invoice.Kind.REPLACEMENT
    return Related(
        credit_notes=list(among.filter(credits=invoice).order_by("entry")) if is_credited else (),
        replacements=list(among.replacing(invoice)) if is_credited else (),
        replaced=list(among.replaced_by(invoice)) if is_replacement else (),
    )
