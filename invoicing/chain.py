"""The chain of issued documents: each carries a digest of its content and of the one before it in its series.

Whoever changes, adds or takes away a document later would have to change every one after it. What is in a
digest is listed here. It is taken of the very text by which rows are copied into the database: a row's values
with tabs between them, each written in one way only, so that what is read back later has the same text.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from metering.decimals import plain

#: What a series begins with.
START = "0" * 64
INVOICE = (
    *("id", "series_id", "number", "kind", "client_id", "credits_id", "reason", "currency", "issued_on", "due_on"),
    *("total", "seller", "buyer", "created_at"),
)
#: Part of the digest of documents that are taxed, and of no other: there were documents before there was tax.
TAX = ("tax_name", "tax_percent", "tax_note", "tax")
#: What lines of the same prices and quantity say alike.
SAID = (
    *("setting_id", "version_id", "override_id", "title", "detail", "start", "end", "quantity"),
    *("statement_id", "steps", "exact", "amount"),
)
LINE = (
    *("id", "invoice_id", "position", "kind", "service_id"),
    *SAID,
    *("levels", "corrects_id", "credits_id", "before", "settled"),
)
NULL = r"\N"


def digest(previous: str, invoice: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the digest of an invoice and its lines, in their order, that follow a document."""
    return link(previous, document(invoice), [row(line[name] for name in LINE) for line in lines])


def link(previous: str, invoice: str, lines: Iterable[str]) -> str:
    """Return the digest of an invoice and its lines, given as rows."""
    return sha256("\n".join((previous, invoice, *lines)).encode()).hexdigest()


def document(values: Mapping[str, Any]) -> str:
    """Return what the digest of an invoice is taken of, beside its lines."""
    names = INVOICE if values.get("tax_percent") is None else INVOICE + TAX
    return row(values[name] for name in names)


def statement(unit: Mapping[str, Any], pricing: Mapping[str, Any]) -> str:
    """Return the digest of a unit and prices, by which lines state them."""
    return sha256("\t".join((written(unit), written(pricing))).encode()).hexdigest()


def row(values: Iterable[Any]) -> str:
    """Write the values of a row, by type, as COPY reads them."""
    return "\t".join([_WRITE[type(value)](value) for value in values])


#: Writes a JSON value: its keys sorted, without spaces.
written = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


_ESCAPED = re.compile(r"\\.", re.DOTALL)


def _json(value: Any) -> str:
    return _escaped(written(value))


#: As COPY itself writes them, so that what it writes is what was read.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\b": r"\b", "\f": r"\f", "\v": r"\v"})
_PLAIN = {escape: text for text, escape in ((chr(code), escape) for code, escape in _ESCAPES.items())}


def _escaped(text: str) -> str:
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)


def unescaped(text: str) -> str:
    """Read a text as it stands in a row."""
    return _ESCAPED.sub(lambda found: _PLAIN[found[0]], text) if "\\" in text else text


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


#: Writes a day. There are few, in many rows.
day = lru_cache(maxsize=4096)(date.isoformat)


class _Writers(dict[type, Any]):
    """How a value is written, by its type; kinds and other enumerations are texts."""

    def __missing__(self, kind: type) -> Any:
        self[kind] = next(self[base] for base in kind.__mro__[1:] if base in self)
        return self[kind]


_WRITE = _Writers(
    {
        str: _escaped,
        int: str,
        bool: str,
        Decimal: plain,
        date: day,
        datetime: _instant,
        UUID: str,
        dict: _json,
        list: _json,
        type(None): lambda _: NULL,
    }
)
#: The last values of LINE, of a line that has to do with no other and lists no days.
ALONE = row((None, None, None, None, 0))
