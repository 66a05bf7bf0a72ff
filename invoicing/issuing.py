"""Issuing: drafts become frozen documents with numbers, all of a batch by COPY, in the caller's transaction."""

import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Model

from catalog.models import Client, TaxRate
from invoicing import chain, taxes
from invoicing.drafts import Draft, DraftLine
from invoicing.models import BilledPeriod, Invoice, Line, Message, Run, Statement
from invoicing.taxes import Tax, Taxed
from metering.decimals import EXACT, exact_sum, plain

#: Rows that are sent to the database at once.
CHUNK = 100


@dataclass(slots=True)
class Document:
    """An invoice about to be written: a client's drafts that are due on the same day. Or a credit note, which
    `credits` an invoice for a reason. It is in the client's currency, unless it has to be in that of another
    document."""

    kind: str
    client: Client
    drafts: list[Draft]
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    currency: str = ""
    term_start: date = date.min
    credits: uuid.UUID | None = None
    reason: str = ""
    number: str = ""
    tax: Tax | None = None

    def __post_init__(self) -> None:
        self.currency = self.currency or self.client.currency

    @property
    def net(self) -> Decimal:
        """What its lines come to, before tax."""
        return exact_sum(draft.total for draft in self.drafts)

    @property
    def is_made(self) -> bool:
        """Whether it is issued: usage alone that comes to nothing makes no invoice."""
        lines = (line for draft in self.drafts for line in draft.lines)
        return any(line.kind != Line.Kind.USAGE for line in lines) or bool(self.net)

    @property
    def total(self) -> Decimal:
        """What is to be paid, or given back, once it is issued: with tax."""
        return EXACT.add(self.net, self.tax.amount) if self.tax else self.net


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


def issue(documents: Sequence[Document], *, on: date, at: datetime, run: Run | None = None) -> None:
    """Number, chain and write the documents. Fills in their numbers. Credit notes have a series of their own."""
    _levy(documents)
    series = [_number(chosen, f"{prefix}{on.year}", on) for prefix, chosen in _by_series(documents)]
    _state(documents)
    invoices: list[str] = []
    periods: list[str] = []
    # Foreign keys are looked at in the end, so the lines may go first: they have to, for an invoice's digest.
    _copy(Line, chain.LINE, (row for each in series for row in _chained(each, invoices, periods, at, run)))
    _copy(Invoice, (*chain.INVOICE, *chain.TAX, "run_id", "digest"), invoices)
    _chain_on(series)
    _copy(BilledPeriod, _PERIOD, periods)
    _queue_mails(documents, at)
    with connection.cursor() as cursor:
        claimed = [(document.id, draft.claim) for document in documents for draft in document.drafts if draft.claim]
        cursor.execute(
            "UPDATE invoicing_claim c SET invoice_id = d.invoice FROM"
            " unnest(%s::bigint[], %s::uuid[]) AS d (claim, invoice) WHERE c.id = d.claim",
            [[each for _, each in claimed], [each for each, _ in claimed]],
        )


def lock_invoices(on: date) -> None:
    """Lock the series of invoices before a credit note is issued, if an invoice is issued after it: in the order of
    everybody else, or two would wait for each other's for ever."""
    _number([], f"{on.year}", on)


def _by_series(documents: Sequence[Document]) -> Iterable[tuple[str, list[Document]]]:
    """Invoices first: a credit note may refer to one of them. By the prefix of their series."""
    for prefix, is_credit_note in (("", False), ("C", True)):
        if chosen := [each for each in documents if (each.credits is not None) is is_credit_note]:
            yield prefix, chosen


def _levy(documents: Sequence[Document]) -> None:
    """Tax invoices as their clients are taxed now, and credit notes as what they credit was."""
    invoices = {each.id: each for each in documents if each.credits is None}
    rates = TaxRate.objects.in_bulk({each.client.tax_rate_id for each in invoices.values()} - {None})
    known: dict[uuid.UUID, Taxed] = {}
    for invoice in invoices.values():
        if invoice.client.tax_rate_id is not None:
            invoice.tax = taxes.at(rates[invoice.client.tax_rate_id], invoice.net, invoice.currency)
            known[invoice.id] = Taxed(invoice.tax)
    if earlier := {each.credits for each in documents if each.credits is not None} - invoices.keys():
        known |= taxes.credited(earlier)
    for document in documents:
        if document.credits is not None and (taxed := known.get(document.credits)):
            document.tax = taxed.give_back(document.net, document.currency)


def _state(documents: Sequence[Document]) -> None:
    """Keep what lines state, once for all that ever state the same."""
    lines = (line for document in documents for draft in document.drafts for line in draft.lines)
    stated = {line.statement.id: line.statement for line in lines if line.statement is not None}
    # In order: two batches that wait for each other's would wait for ever.
    Statement.objects.bulk_create([stated[key] for key in sorted(stated)], ignore_conflicts=True)


def _queue_mails(documents: Sequence[Document], at: datetime) -> None:
    """Put a mail into the outbox for each document whose client has an address."""
    _copy(
        Message,
        ("id", "kind", "client_id", "invoice_id", "to", "created_at", "attempts", "error"),
        [
            chain.row(
                (uuid.uuid4(), Message.Kind.ISSUED, document.client.pk, document.id, document.client.email, at, 0, "")
            )
            for document in documents
            if document.client.email
        ],
    )


#: The columns of what was billed of a period, and the last of them for one that was billed once and in full.
_PERIOD = (
    *("service_id", "tenant_id", "metric_id", "line_id", "start", "end", "measured_on", "value"),
    *("part", "revision", "is_open"),
)
_WHOLE = chain.row((0, 0, False))


def record_billed(documents: Sequence[Document]) -> None:
    """Write down what was billed of each usage period of documents that are not made, since it comes to nothing, and
    by which claims: of what product, client and currency they were."""
    drafts = [(document, draft) for document in documents for draft in document.drafts if draft.claim is not None]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE invoicing_claim c SET product_id = d.product, client_id = d.client, currency = d.currency FROM"
            " unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[]) AS d (claim, product, client, currency)"
            " WHERE c.id = d.claim",
            [
                [draft.claim for _, draft in drafts],
                [draft.service.product_id for _, draft in drafts],
                [document.client.pk for document, _ in drafts],
                [document.currency for document, _ in drafts],
            ],
        )
    rows = (
        f"{row}\t{line.claim or draft.claim or chain.NULL}"
        for document in documents
        for draft in document.drafts
        for line in draft.lines
        for row in _periods_of(line)
    )
    _copy(BilledPeriod, (*_PERIOD, "claim_id"), rows)


def _period_rows(document: Document) -> Iterator[str]:
    """The values of _PERIOD, of each period of each line."""
    return (row for draft in document.drafts for line in draft.lines for row in _periods_of(line))


def _periods_of(line: DraftLine) -> Iterator[str]:
    if line.setting is None:
        return
    tenant = line.tenant_id or line.service.tenant_id
    about = f"{line.service.pk}\t{tenant}\t{line.setting.metric_id}\t{line.id or chain.NULL}"
    for item in line.items:
        is_whole = not (item.part or item.revision or item.is_open)
        part = _WHOLE if is_whole else chain.row((item.part, item.revision, item.is_open))
        start, end, measured_on = chain.day(item.start), chain.day(item.end), chain.day(item.measured_on)
        yield f"{about}\t{start}\t{end}\t{measured_on}\t{plain(item.value)}\t{part}"


@dataclass(slots=True)
class _Series:
    """The documents that a series goes on with, its day of issue and the digest of its last document."""

    code: str
    documents: Sequence[Document]
    issued_on: date
    last: str


def _number(documents: Sequence[Document], code: str, on: date) -> _Series:
    """Take a block of numbers from a series, which is locked until the transaction ends. The day of issue is
    never before that of the number before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_series AS s (code, next_number, last_issued_on, last_digest)"
            " VALUES (%(code)s, 1 + %(count)s, %(on)s, %(start)s) ON CONFLICT (code) DO UPDATE"
            " SET next_number = s.next_number + %(count)s, last_issued_on = greatest(s.last_issued_on, %(on)s)"
            " RETURNING next_number, last_issued_on, last_digest",
            {"code": code, "count": len(documents), "on": on, "start": chain.START},
        )
        after, issued_on, last = cursor.fetchone()
    for number, document in enumerate(documents, start=after - len(documents)):
        document.number = f"{code}-{number:05d}"
    return _Series(code, documents, issued_on, last)


def _chained(series: _Series, invoices: list[str], periods: list[str], at: datetime, run: Run | None) -> Iterator[str]:
    """Yield the rows of all lines, while the database takes in those before; put those of the invoices and of the
    periods aside."""
    ids = _new_ids(sum(len(draft.lines) for document in series.documents for draft in document.drafts), at)
    for document in series.documents:
        lines = _line_rows(document, ids)
        invoice, tax = _invoice_row(document, series, at), _tax_row(document)
        series.last = chain.link(series.last, f"{invoice}\t{tax}" if document.tax else invoice, lines)
        invoices.append(f"{invoice}\t{tax}\t{run.pk if run else chain.NULL}\t{series.last}")
        periods.extend(_period_rows(document))
        yield from lines


def _chain_on(series: Iterable[_Series]) -> None:
    with connection.cursor() as cursor:
        for each in series:
            cursor.execute("UPDATE invoicing_series SET last_digest = %s WHERE code = %s", [each.last, each.code])


def _invoice_row(document: Document, series: _Series, at: datetime) -> str:
    """The values of chain.INVOICE."""
    client, issued_on = document.client, series.issued_on
    return chain.row(
        (
            *(document.id, series.code, document.number, document.kind, client.pk, document.credits, document.reason),
            *(document.currency, issued_on),
            max(issued_on + timedelta(days=settings.PAYMENT_DAYS), document.term_start),
            document.total,
            _seller(),
            _buyer(document),
            at,
        )
    )


_UNTAXED = chain.row(("", None, "", 0))


def _tax_row(document: Document) -> str:
    """The values of chain.TAX."""
    tax = document.tax
    return chain.row((tax.name, tax.percent, tax.note, tax.amount)) if tax else _UNTAXED


def _seller() -> dict[str, str]:
    return {
        "name": settings.SELLER_NAME,
        "address": settings.SELLER_ADDRESS,
        "tax_number": settings.SELLER_TAX_NUMBER,
        "note": settings.SELLER_NOTE,
        "payment": settings.SELLER_PAYMENT,
    }


def _buyer(document: Document) -> dict[str, Any]:
    """The client, the language of the document, and what the services on it are called."""
    client = document.client
    return {
        "name": client.name,
        "address": client.address,
        "tax_number": client.tax_number,
        "language": client.language or settings.LANGUAGE_CODE,
        "services": {str(draft.service.pk): draft.service.name for draft in document.drafts},
    }


def _line_rows(document: Document, ids: Iterator[str]) -> list[str]:
    """The values of chain.LINE, of each line, which gets its id."""
    rows, invoice = [], str(document.id)
    lines = (line for draft in document.drafts for line in draft.lines)
    for position, line in enumerate(lines, start=1):
        line.id = next(ids)
        place = (line.id, invoice, str(position), line.kind, str(line.service.id))
        rows.append("\t".join((*place, line.said, _kin(line))))
    return rows


def _kin(line: DraftLine) -> str:
    levels = [[str(day), plain(value)] for item in line.items if item.levels for day, value in item.levels]
    if levels or line.corrects or line.credits or line.before is not None or line.settled:
        return chain.row((levels or None, line.corrects, line.credits, line.before, line.settled))
    return chain.ALONE


def _new_ids(count: int, at: datetime) -> Iterator[str]:
    """Yield UUIDs of version 7: those that are made together lie together in an index. The rest is random."""
    since = f"{int(at.timestamp() * 1000):012x}"
    head = f"{since[:8]}-{since[8:]}-7"
    digits = os.urandom(10 * count).hex()
    for start in range(0, len(digits), 20):
        each = digits[start : start + 20]
        yield f"{head}{each[:3]}-{_VARIANT[each[3]]}{each[4:7]}-{each[7:19]}"


#: The digit of a UUID that has two bits to say its variant, by a random digit.
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def _copy(model: type[Model], columns: Iterable[str], rows: Iterable[str]) -> None:
    """Write rows, as chain.row writes them, by COPY. They are made while the database takes in those before."""
    rows = iter(rows)
    if not (chunk := list(islice(rows, CHUNK))):
        return
    names = ", ".join(f'"{column}"' for column in columns)
    with (
        connection.wrap_database_errors,  # COPY is the driver's own, and so would be its errors
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy,
    ):
        while chunk:
            copy.write("\n".join((*chunk, "")))
            chunk = list(islice(rows, CHUNK))


def grouped(kind: str, drafts: Iterable[Draft], due: dict[int, date]) -> list[Document]:
    """Put the drafts of a client that are due on the same day onto one document, in the order of its services."""
    by_client: dict[tuple[int, date], list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_client[draft.service.client_id, due[draft.service.pk]].append(draft)
    return [
        Document(kind, group[0].service.client, sorted(group, key=lambda draft: draft.service.pk), term_start=key[1])
        for key, group in sorted(by_client.items(), key=lambda entry: (entry[0][1], entry[0][0]))
    ]
