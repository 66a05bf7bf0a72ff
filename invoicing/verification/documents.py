"""Every document: its number and its day in the series, its place in the chain, its sum, and its lines."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db.models.functions import Length

from invoicing import chain
from invoicing.models import Invoice, Series
from invoicing.verification import rows
from invoicing.verification.charges import Check
from invoicing.verification.findings import BATCH, Finding, batches
from metering.decimals import exact_sum

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
            if chain.link(previous, _row(invoice), [line.row for line in own]) != invoice["digest"]:
                yield Finding(invoice["number"], "its content or its place in the series was changed: the chain breaks")
            if invoice["total"] != exact_sum(line.amount for line in own):
                yield Finding(invoice["number"], f"the total {invoice['total']:f} is not the sum of its lines")
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


def _row(invoice: Mapping[str, Any]) -> str:
    return chain.row([invoice[name] for name in chain.INVOICE])


def series() -> Iterator[Finding]:
    """Each series goes on from its last document."""
    for one in Series.objects.order_by("code"):
        last = Invoice.objects.filter(series=one).order_by(*BY_NUMBER).last()
        if one.next_number != (int(last.number.rpartition("-")[2]) + 1 if last else 1):
            newest = last.number if last else "none"
            yield Finding(f"series {one.code}", f"the next number is {one.next_number}, the last one {newest}")
        if one.last_digest != (last.digest if last else chain.START):
            yield Finding(f"series {one.code}", "its last digest is not that of its last document")
