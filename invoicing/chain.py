"""The chain of issued documents: each carries a digest of its content and of the one before it in its series.

Whoever changes, adds or takes away a document later would have to change every one after it. What is in a
digest is listed here; how a value is written is canonical, so that the same content read back from the
database has the same digest.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from metering.decimals import plain

#: What a series begins with.
START = "0" * 64
INVOICE = (
    *("id", "series_id", "number", "kind", "client_id", "currency", "issued_on", "due_on", "total"),
    *("seller", "buyer", "created_at"),
)
LINE = (
    *("id", "position", "kind", "service_id", "setting_id", "version_id", "override_id", "title", "detail"),
    *("start", "end", "quantity", "unit", "pricing", "steps", "levels", "exact", "amount"),
)


def digest(previous: str, invoice: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the digest of an invoice and its lines, in their order, that follow a document."""
    content = {
        "previous": previous,
        "invoice": {name: invoice[name] for name in INVOICE},
        "lines": [{name: line[name] for name in LINE} for line in lines],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_canonical)
    return sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    assert isinstance(value, UUID)
    return str(value)
