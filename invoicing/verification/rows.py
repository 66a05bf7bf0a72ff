"""Lines as the text of their rows: what the chain takes its digest of, and as fast as they can be read."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from invoicing import chain


class LineRow:
    """A line as the text of its row, with that of its billed periods."""

    __slots__ = ("corrects", "id", "invoice", "kin", "kind", "periods", "position", "row", "said", "statement")

    def __init__(self, row: str) -> None:
        self.row = row
        self.id, self.invoice, self.position, self.kind, _, rest = row.split("\t", 5)
        *said, levels, self.corrects, credits_, before, settled = rest.split("\t")
        self.said = "\t".join(said)
        self.kin = "\t".join((levels, self.corrects, credits_, before, settled))
        self.statement = said[_STATEMENT]
        self.periods: list[str] = []

    @property
    def amount(self) -> Decimal:
        return Decimal(self.said.rpartition("\t")[2])

    def values(self) -> dict[str, Any]:
        """Read the values of chain.LINE, and those of the periods."""
        texts = zip(chain.LINE, self.row.split("\t"), strict=True)
        line: dict[str, Any] = {
            name: None if text == chain.NULL else _READ.get(name, str)(text) for name, text in texts
        }
        line["periods"] = [
            {"start": date.fromisoformat(start), "end": date.fromisoformat(end), "value": Decimal(value)}
            for start, end, value in (period.split("\t") for period in self.periods)
        ]
        return line


def _json(text: str) -> Any:
    return json.loads(chain.unescaped(text))


_STATEMENT = chain.SAID.index("statement_id")
#: How the values of a line are read of its row; those that are not named are texts.
_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("setting_id", "version_id", "override_id"), int),
    **dict.fromkeys(("quantity", "exact", "amount", "before", "settled"), Decimal),
    **dict.fromkeys(("id", "corrects_id", "credits_id"), UUID),
    **dict.fromkeys(("steps", "levels"), _json),
}
#: As the chain writes numbers: without zeros at the end.
_NUMBERS = {"quantity", "exact", "amount", "before", "settled"}


def lines_of(invoices: Sequence[Mapping[str, Any]]) -> dict[str, list[LineRow]]:
    """Return the lines of invoices by the id of the invoice, as COPY writes them: the text that they are chained by."""
    lines: dict[str, list[LineRow]] = defaultdict(list)
    by_id: dict[str, LineRow] = {}
    ids = f"'{{{','.join(str(invoice['id']) for invoice in invoices)}}}'"
    columns = ", ".join(f'trim_scale("{name}")' if name in _NUMBERS else f'"{name}"' for name in chain.LINE)
    query = f"SELECT {columns} FROM invoicing_line WHERE invoice_id = ANY({ids}) ORDER BY invoice_id, position"  # noqa: S608  # nosec B608
    for row in _copied(query):
        line = LineRow(row)
        by_id[line.id] = line
        lines[line.invoice].append(line)
    query = (
        'SELECT p.line_id, p.start, p."end", trim_scale(p.value) FROM invoicing_billedperiod p'  # noqa: S608  # nosec B608
        f" JOIN invoicing_line l ON l.id = p.line_id WHERE l.invoice_id = ANY({ids}) ORDER BY p.start"
    )
    for row in _copied(query):
        line_id, _, period = row.partition("\t")
        by_id[line_id].periods.append(period)
    return lines


def _copied(query: str) -> Iterator[str]:
    """Yield the rows of a query, as COPY writes them."""
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT") as copy,
    ):
        text = b"".join(map(bytes, copy)).decode()
    yield from text.split("\n")[:-1]
