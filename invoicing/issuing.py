"""Issuing: drafts become frozen documents with numbers, all of a batch by COPY, in the caller's transaction."""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection

from catalog.models import Client
from invoicing.drafts import Draft
from invoicing.models import BilledPeriod, Invoice, Line, Run
from metering.decimals import plain


@dataclass(slots=True)
class Document:
    """An invoice about to be written: a client's drafts that are due on the same day."""

    kind: str
    client: Client
    drafts: list[Draft]
    id: uuid.UUID
    number: str = ""

    @property
    def total(self) -> Decimal:
        return sum((draft.total for draft in self.drafts), Decimal(0))


def claim(kind: str, drafts: Sequence[Draft], starts: Sequence[date], at: datetime) -> list[Draft]:
    """Claim the term of each draft, given by its first day. Returns the drafts whose term nobody had claimed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_claim (service_id, kind, term_start, created_at)"
            " SELECT service, %s, term, %s FROM unnest(%s::bigint[], %s::date[]) AS due (service, term)"
            " ON CONFLICT DO NOTHING RETURNING service_id, id",
            [kind, at, [draft.service.pk for draft in drafts], list(starts)],
        )
        claims = dict(cursor.fetchall())
    for draft in drafts:
        draft.claim = claims.get(draft.service.pk)
    return [draft for draft in drafts if draft.claim is not None]


def issue(documents: Sequence[Document], *, on: date, at: datetime, run: Run | None) -> None:
    """Number and write the documents. Fills in their numbers."""
    issued_on = _number(documents, on)
    _copy(Invoice, _invoice_columns, [_invoice_row(document, issued_on, at, run) for document in documents])
    _copy(Line, _line_columns, (row for document in documents for row in _line_rows(document)))
    record_billed(documents)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE invoicing_claim c SET invoice_id = d.invoice FROM"
            " unnest(%s::bigint[], %s::uuid[]) AS d (claim, invoice) WHERE c.id = d.claim",
            [
                [draft.claim for document in documents for draft in document.drafts],
                [document.id for document in documents for _ in document.drafts],
            ],
        )


def record_billed(documents: Iterable[Document], *, with_lines: bool = True) -> None:
    """Write down what was billed of each usage period."""
    _copy(
        BilledPeriod,
        ("service_id", "line_id", "tenant_id", "metric_id", "start", "end", "measured_on", "value"),
        (
            (
                *(line.service.pk, line.id if with_lines else None, line.service.tenant_id, line.setting.metric_id),
                *(item.start, item.end, item.measured_on, item.value),
            )
            for document in documents
            for draft in document.drafts
            for line in draft.lines
            if line.setting is not None
            for item in line.items
        ),
    )


def _number(documents: Sequence[Document], on: date) -> date:
    """Take a block of numbers from the series of the year, and return the day of issue: never before the
    day of the number before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_series (code, next_number, last_issued_on) VALUES (%s, 1, %s)"
            " ON CONFLICT DO NOTHING",
            [str(on.year), on],
        )
        cursor.execute(
            "UPDATE invoicing_series SET next_number = next_number + %s, last_issued_on = greatest(last_issued_on, %s)"
            " WHERE code = %s RETURNING next_number, last_issued_on",
            [len(documents), on, str(on.year)],
        )
        after: int
        issued_on: date
        after, issued_on = cursor.fetchone()
    for number, document in enumerate(documents, start=after - len(documents)):
        document.number = f"{on.year}-{number:05d}"
    return issued_on


_invoice_columns = (
    *("id", "series_id", "number", "kind", "client_id", "run_id", "currency", "issued_on", "due_on", "total"),
    *("seller", "buyer", "created_at"),
)
_line_columns = (
    *("id", "invoice_id", "position", "kind", "service_id", "setting_id", "version_id", "override_id"),
    *("title", "detail", "start", "end", "quantity", "unit", "pricing", "steps", "levels", "exact", "amount"),
)


def _invoice_row(document: Document, issued_on: date, at: datetime, run: Run | None) -> tuple[Any, ...]:
    client = document.client
    seller = {"name": settings.SELLER_NAME, "address": settings.SELLER_ADDRESS}
    buyer = {"name": client.name, "address": client.address}
    return (
        *(document.id, document.number[:4], document.number, document.kind, client.pk, run.pk if run else None),
        *(client.currency, issued_on, issued_on + timedelta(days=settings.PAYMENT_DAYS), document.total),
        *(json.dumps(seller), json.dumps(buyer), at),
    )


def _line_rows(document: Document) -> Iterable[tuple[Any, ...]]:
    lines = [line for draft in document.drafts for line in draft.lines]
    for position, line in enumerate(lines, start=1):
        in_force = line.in_force
        levels = [[str(day), plain(value)] for item in line.items for day, value in item.levels]
        yield (
            *(line.id, document.id, position, line.kind, line.service.pk, line.setting.pk if line.setting else None),
            in_force.version.pk if in_force else None,
            in_force.override.pk if in_force and in_force.override else None,
            *(line.title, line.detail, line.start, line.end, line.quantity),
            None if line.unit is None else json.dumps(line.unit),
            None if line.pricing is None else json.dumps(line.pricing),
            *(json.dumps(line.steps), json.dumps(levels) if levels else None, line.exact, line.amount),
        )


def _copy(model: Any, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    with (
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(row)


def grouped(kind: str, drafts: Iterable[Draft], due: dict[int, date]) -> list[Document]:
    """Put the drafts of a client that are due on the same day onto one document, in the order of its services."""
    by_client: dict[tuple[int, date], list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_client[draft.service.client_id, due[draft.service.pk]].append(draft)
    return [
        Document(kind, group[0].service.client, sorted(group, key=lambda draft: draft.service.pk), uuid.uuid4())
        for _, group in sorted(by_client.items(), key=lambda entry: (entry[0][1], entry[0][0]))
    ]
