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
from invoicing import chain
from invoicing.drafts import Draft
from invoicing.models import BilledPeriod, Invoice, Line, Run
from metering.decimals import exact_sum, plain


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
        return exact_sum(draft.total for draft in self.drafts)


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
    """Number, chain and write the documents. Fills in their numbers."""
    issued_on, previous = _number(documents, on)
    invoices, lines = [], []
    for document in documents:
        invoice = _invoice_values(document, issued_on, at, run)
        own = list(_line_values(document))
        invoice["digest"] = previous = chain.digest(previous, invoice, own)
        invoices.append(invoice)
        lines.extend(own)
    _copy(Invoice, invoices)
    _copy(Line, lines)
    _chain_on(documents[-1].number[:4], previous)
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
        [
            {
                "service_id": line.service.pk,
                "line_id": line.id if with_lines else None,
                "tenant_id": line.service.tenant_id,
                "metric_id": line.setting.metric_id,
                "start": item.start,
                "end": item.end,
                "measured_on": item.measured_on,
                "value": item.value,
            }
            for document in documents
            for draft in document.drafts
            for line in draft.lines
            if line.setting is not None
            for item in line.items
        ],
    )


def _number(documents: Sequence[Document], on: date) -> tuple[date, str]:
    """Take a block of numbers from the series of the year. Returns the day of issue, never before the day of
    the number before, and the digest of the document before. The series is locked until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_series (code, next_number, last_issued_on, last_digest) VALUES (%s, 1, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [str(on.year), on, chain.START],
        )
        cursor.execute(
            "UPDATE invoicing_series SET next_number = next_number + %s, last_issued_on = greatest(last_issued_on, %s)"
            " WHERE code = %s RETURNING next_number, last_issued_on, last_digest",
            [len(documents), on, str(on.year)],
        )
        after: int
        issued_on: date
        previous: str
        after, issued_on, previous = cursor.fetchone()
    for number, document in enumerate(documents, start=after - len(documents)):
        document.number = f"{on.year}-{number:05d}"
    return issued_on, previous


def _chain_on(series: str, last: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE invoicing_series SET last_digest = %s WHERE code = %s", [last, series])


def _invoice_values(document: Document, issued_on: date, at: datetime, run: Run | None) -> dict[str, Any]:
    client = document.client
    return {
        "id": document.id,
        "series_id": document.number[:4],
        "number": document.number,
        "kind": document.kind,
        "client_id": client.pk,
        "run_id": run.pk if run else None,
        "currency": client.currency,
        "issued_on": issued_on,
        "due_on": issued_on + timedelta(days=settings.PAYMENT_DAYS),
        "total": document.total,
        "seller": {"name": settings.SELLER_NAME, "address": settings.SELLER_ADDRESS},
        "buyer": {"name": client.name, "address": client.address},
        "created_at": at,
    }


def _line_values(document: Document) -> Iterable[dict[str, Any]]:
    lines = [line for draft in document.drafts for line in draft.lines]
    for position, line in enumerate(lines, start=1):
        in_force = line.in_force
        levels = [[str(day), plain(value)] for item in line.items for day, value in item.levels]
        yield {
            "id": line.id,
            "invoice_id": document.id,
            "position": position,
            "kind": line.kind,
            "service_id": line.service.pk,
            "setting_id": line.setting.pk if line.setting else None,
            "version_id": in_force.version.pk if in_force else None,
            "override_id": in_force.override.pk if in_force and in_force.override else None,
            "title": line.title,
            "detail": line.detail,
            "start": line.start,
            "end": line.end,
            "quantity": line.quantity,
            "unit": line.unit,
            "pricing": line.pricing,
            "steps": line.steps,
            "levels": levels or None,
            "exact": line.exact,
            "amount": line.amount,
        }


def _copy(model: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, all with the same columns, by COPY."""
    if not rows:
        return
    names = ", ".join(f'"{column}"' for column in rows[0])
    with (
        connection.wrap_database_errors,  # COPY is the driver's own, and so would be its errors
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row([json.dumps(each) if isinstance(each, (dict, list)) else each for each in row.values()])


def grouped(kind: str, drafts: Iterable[Draft], due: dict[int, date]) -> list[Document]:
    """Put the drafts of a client that are due on the same day onto one document, in the order of its services."""
    by_client: dict[tuple[int, date], list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_client[draft.service.client_id, due[draft.service.pk]].append(draft)
    return [
        Document(kind, group[0].service.client, sorted(group, key=lambda draft: draft.service.pk), uuid.uuid4())
        for _, group in sorted(by_client.items(), key=lambda entry: (entry[0][1], entry[0][0]))
    ]
