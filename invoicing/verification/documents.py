"""Every document: its number and its day in the series, its place in the chain, its sum, its tax, and its lines."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import F, Sum
from django.db.models.functions import Length

from invoicing import chain, taxes
from invoicing.models import Invoice, Series
from invoicing.verification import rows
from invoicing.verification.charges import Check
from invoicing.verification.findings import BATCH, Finding, batches
from metering.decimals import EXACT, exact_sum, plain

#: Numbers grow by a digit after 99999.
BY_NUMBER = (Length("number"), "number")
Progress = Callable[[int, int], None]


def issued(progress: Progress) -> Iterator[Finding]:
    """Number, chain, sums and every line of every document, in the order of the numbers."""
    done, of = 0, Invoice.objects.count()
    check, last = Check(), None
    for batch in batches(Invoice.objects.order_by("series", *BY_NUMBER).values().iterator(BATCH)):
        lines = rows.lines_of(batch)
        check.read([line for group in lines.values() for line in group])
        for invoice in batch:
            own = lines[str(invoice["id"])]
            if last is not None and last["series_id"] != invoice["series_id"]:
                last = None
            yield from _in_order(invoice, last)
            previous = last["digest"] if last else chain.START
            if chain.link(previous, chain.document(invoice), [line.row for line in own]) != invoice["digest"]:
                yield Finding(invoice["number"], "its content or its place in the series was changed: the chain breaks")
            for what in _sums(invoice, exact_sum(line.amount for line in own)):
                yield Finding(invoice["number"], what)
            for line in own:
                for what in check.findings(line, invoice["currency"]):
                    yield Finding(f"{invoice['number']}, line {line.position}", what)
            last = invoice
        done += len(batch)
        progress(done, of)


def _in_order(invoice: Mapping[str, Any], last: Mapping[str, Any] | None) -> Iterator[Finding]:
    expected = f"{invoice['series_id']}-{int(last['number'].rpartition('-')[2]) + 1 if last else 1:05d}"
    if invoice["number"] != expected:
        yield Finding(invoice["number"], f"the series goes on with {expected}: a number is missing")
    if last is not None and invoice["issued_on"] < last["issued_on"]:
        yield Finding(invoice["number"], f"issued on {invoice['issued_on']}, before {last['number']}")


def _sums(invoice: Mapping[str, Any], net: Decimal) -> Iterator[str]:
    """The total is the sum of its lines and its tax. What the tax of a credit note is, others of its invoice say."""
    total, tax, percent = invoice["total"], invoice["tax"], invoice["tax_percent"]
    if total != EXACT.add(net, tax):
        yield f"the total {total:f} is not the sum of its lines{' and its tax' if tax else ''}"
    if percent is None:
        if tax or invoice["tax_name"] or invoice["tax_note"]:
            yield "it is not taxed, but states a tax, which is not in the chain"
    elif invoice["credits_id"] is None and tax != taxes.of(net, percent, invoice["currency"]):
        yield f"the tax {tax:f} is not {plain(percent)}% of {net:f} rounded once"


def taxes_given_back() -> Iterator[Finding]:
    """Credit notes are taxed as the invoice that they credit, and all of one together to the cent as their sum is."""
    with connection.cursor() as cursor:
        cursor.execute(_TAXED_OTHERWISE)
        for number, invoice in cursor:
            yield Finding(number, f"it is taxed otherwise than {invoice}, which it credits")
    taxed = Invoice.objects.filter(tax_percent__isnull=False, credit_notes__isnull=False).order_by("number")
    sums = {"back": Sum(F("credit_notes__total") - F("credit_notes__tax")), "given": Sum("credit_notes__tax")}
    by_invoice = taxed.values_list("number", "currency", "tax_percent").annotate(**sums)
    for number, currency, percent, net, given in by_invoice.iterator(BATCH):
        if given != (right := taxes.of(net, percent, currency)):
            yield Finding(number, f"{given:f} of its tax was given back with {net:f}, of which the tax is {right:f}")


#: The amount is not compared: of what part of an invoice it is the tax depends on the credit notes before.
_TAXED_OTHERWISE = """
    SELECT n.number, i.number FROM invoicing_invoice n JOIN invoicing_invoice i ON i.id = n.credits_id
    WHERE (n.tax_name, n.tax_percent, n.tax_note) IS DISTINCT FROM (i.tax_name, i.tax_percent, i.tax_note)
    ORDER BY n.number
"""


def series() -> Iterator[Finding]:
    """Each series goes on from its last document."""
    for one in Series.objects.order_by("code"):
        last = Invoice.objects.filter(series=one).order_by(*BY_NUMBER).last()
        if one.next_number != (int(last.number.rpartition("-")[2]) + 1 if last else 1):
            newest = last.number if last else "none"
            yield Finding(f"series {one.code}", f"the next number is {one.next_number}, the last one {newest}")
        if one.last_digest != (last.digest if last else chain.START):
            yield Finding(f"series {one.code}", "its last digest is not that of its last document")
