"""A line, its periods and its readings as tables for a spreadsheet: decimals exact, instants with their zone."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from catalog.money import round_amount
from invoicing import explanation
from invoicing.explanation import Explanation
from invoicing.models import Invoice, Line
from invoicing.parts import Part
from invoicing.spreadsheet import as_text
from metering.decimals import plain
from metering.units import Unit

LINES = [
    *("invoice", "line", "kind", "service", "title", "detail", "start", "end", "quantity", "unit"),
    *("quantity before", "charged before", "exact charge", "amount", "currency", "corrects", "gives back"),
]
PERIODS = [
    *("period", "start", "end", "part", "revision", "billed before it ended", "measured on"),
    *("value", "unit of value", "quantity", "unit", "exact charge", "currency", "readings"),
]
READINGS = [
    *("read at", "day or month", "value", "unit of value", "quantity", "unit", "increase", "note"),
    *("collection", "collected as of", "reason of correction"),
]
#: What staff see beyond that.
STAFF_READINGS = ["server", "corrected by"]


def of_lines(invoice: Invoice, among: QuerySet[Invoice]) -> Iterator[list[Any]]:
    """Yield the lines of an invoice, streamed. What is given back is negative.

    `among` are the invoices that the viewer may see; a line of another is not named.
    """
    yield LINES
    numbers = dict(among.filter(lines__in=_sources(invoice)).values_list("pk", "number"))
    lines = invoice.lines.select_related("service", "corrects", "credits")
    for line in lines.iterator(chunk_size=1000):
        yield [
            *(invoice.number, line.position, line.kind, as_text(line.service.name)),
            *(as_text(line.title), as_text(line.detail), line.start, line.end),
            *(_number(line.quantity), as_text(str(Unit.from_json(line.unit))) if line.unit else ""),
            *(_number(line.before), "" if line.before is None else _money(line.settled, invoice.currency)),
            plain(line.exact),
            _money(-line.amount if line.kind == Line.Kind.CREDIT else line.amount, invoice.currency),
            invoice.currency,
            *(_place(line.corrects, numbers), _place(line.credits, numbers)),
        ]


def _sources(invoice: Invoice) -> set[Any]:
    """The lines that its lines correct or give back."""
    corrected = invoice.lines.exclude(corrects=None).values_list("corrects", flat=True)
    return {*corrected, *invoice.lines.exclude(credits=None).values_list("credits", flat=True)}


def _place(line: Line | None, numbers: dict[Any, str]) -> str:
    return f"{number}, line {line.position}" if line and (number := numbers.get(line.invoice_id)) else ""


def of_periods(explained: Explanation) -> Iterator[list[Any]]:
    """Yield the usage periods of a line. The end is the day after the last one of the period."""
    yield PERIODS
    currency = explained.proof.currency
    for period in explained.periods:
        billed = period.billed
        yield [
            *(period.number, billed.start, billed.end, billed.part, billed.revision),
            *("yes" if billed.is_open else "no", billed.measured_on if explained.is_level else ""),
            *(plain(billed.value), base_unit(explained.unit)),
            *(plain(period.quantity), as_text(str(explained.unit))),
            *(_charge(explained, period.part), currency, period.readings),
        ]


def _charge(explained: Explanation, part: Part | None) -> str:
    """What a period cost that was rated by itself; without steps, nothing."""
    if not explained.proof.rates_each_period:
        return ""
    return plain(part.exact) if part else "0"


def of_readings(explained: Explanation, *, for_staff: bool) -> Iterator[list[Any]]:
    """Yield the readings of all periods of a line, oldest first, streamed.

    The value is as it was reported, in the base of the unit; the quantity is the same in the unit of the line,
    rounded to its decimals. A count has its increase since the reading before.
    """
    yield [*READINGS, *(STAFF_READINGS if for_staff else [])]
    last_count: Decimal | None = None
    for row, is_before in explanation.all_readings(explained):
        rise = None
        if explained.is_count and row.correction_id is None:
            previous: Decimal | None = getattr(row, "previous", None)
            rise = None if is_before else explanation.increase(row.value, last_count if previous is None else previous)
            last_count = row.value
        sources: Any = row  # annotated
        yield [
            *(_instant(row.read_at), row.start, plain(row.value), base_unit(explained.unit)),
            *(plain(explained.unit.from_base(row.value)), as_text(str(explained.unit)), _number(rise)),
            "before the first period" if is_before else "correction" if row.correction_id else "",
            *(row.collection_id or "", _instant(sources.as_of), as_text(sources.reason or "")),
            *([as_text(sources.server or ""), as_text(sources.by or "")] if for_staff else []),
        ]


def base_unit(unit: Unit) -> str:
    """The unit of stored values: bytes for whatever is measured in bytes, else the unit itself."""
    return f"{unit.base}s" if unit.base else as_text(unit.plural)


def _number(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def _money(amount: Decimal, currency: str) -> str:
    """Write an amount with the decimals of its currency."""
    return f"{round_amount(amount, currency):f}"


def _instant(at: datetime | None) -> str:
    return timezone.localtime(at).isoformat() if at else ""
