"""The lines of a simulation as a table for a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

from invoicing.simulation.rating import Line, Rated
from metering.decimals import plain

HEAD = [
    *("client", "service", "tenant", "term start", "term end", "currency"),
    *("quantity before", "unit before", "amount before", "quantity after", "unit after", "amount after"),
    *("difference", "note"),
]
#: What a spreadsheet takes for the beginning of a formula, or skips before one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def written(batches: Iterable[Iterable[Line]]) -> Iterator[str]:
    """Yield the table as CSV: its head, then the rows of each batch, one per service and term.

    The end of a term is the day after its last, or the day of a termination. Names that a spreadsheet would take
    for a formula begin with an apostrophe; numbers do not, so that a difference stays a number. What is not
    charged is empty, never 0.
    """
    yield _csv([HEAD])
    for lines in batches:
        yield _csv(map(_row, lines))


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


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


def as_text(words: str) -> str:
    """Keep a spreadsheet from working out what a person typed."""
    return f"'{words}" if words.startswith(_FORMULA) else words
