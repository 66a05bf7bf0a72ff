"""The lines of a simulation as a table for a spreadsheet."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from invoicing.simulation.rating import Line, Rated
from invoicing.spreadsheet import as_csv, as_text
from metering.decimals import plain

HEAD = [
    *("client", "service", "tenant", "term start", "term end", "currency"),
    *("quantity before", "unit before", "amount before", "quantity after", "unit after", "amount after"),
    *("difference", "note"),
]


def written(batches: Iterable[Iterable[Line]]) -> Iterator[str]:
    """Yield the table as CSV: its head, then the rows of each batch, one per service and term.

    The end of a term is the day after its last, or the day of a termination. Names that a spreadsheet would take
    for a formula begin with an apostrophe; numbers do not, so that a difference stays a number. What is not
    charged is empty, never 0.
    """
    yield from as_csv([HEAD])
    for lines in batches:
        yield from as_csv(map(_row, lines))


def _row(line: Line) -> list[Any]:
    service, term = line.service, line.term
    names = [as_text(name) for name in (service.client, service.name, service.tenant)]
    return [
        *(*names, term.start, term.end, service.currency),
        *(*_rated(line.before), *_rated(line.after)),
        "" if line.is_unpriced else _money(line.would_pay - line.paid),
        _note(line),
    ]


def _note(line: Line) -> str:
    if line.is_unpriced:
        return f"the draft has no price in {line.service.currency}"
    return "there was no price" if line.before and line.before.amount is None else ""


def _rated(one: Rated | None) -> list[str]:
    if one is None:
        return ["", "", ""]
    return [plain(one.quantity), as_text(str(one.unit)), "" if one.amount is None else _money(one.amount)]


def _money(amount: Decimal) -> str:
    """Write an amount with the decimals that it was rounded to."""
    return f"{amount:f}"
