"""Queueing reminders of what is left to pay: before an invoice is due, and in steps after it was.

All of a day by one statement each, from the rows that say what is left, of which paid invoices have none. A reminder
is queued once, whatever is started how often: the database has one row for each step of an invoice.
"""

from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import connection

from invoicing.models import Message

# An invoice whose whole time to pay is as short as the reminder's has had its mail just now.
_DUE = """
    INSERT INTO invoicing_message (id, kind, client_id, invoice_id, step, "to", created_at, attempts, error)
    SELECT gen_random_uuid(), %(kind)s, r.client_id, r.invoice_id, 0, c.email, %(at)s, 0, ''
    FROM invoicing_receivable r
    JOIN catalog_client c ON c.id = r.client_id
    JOIN invoicing_invoice i ON i.id = r.invoice_id
    WHERE r.due_on BETWEEN %(on)s AND %(on)s::date + %(days)s AND r."left" > 0 AND c.email <> ''
        AND i.issued_on < r.due_on - %(days)s
    ORDER BY r.due_on, r.invoice_id
    ON CONFLICT DO NOTHING
"""
# Of several steps that were passed since the last look, only the newest is sent.
_OVERDUE = """
    INSERT INTO invoicing_message (id, kind, client_id, invoice_id, step, "to", created_at, attempts, error)
    SELECT gen_random_uuid(), %(kind)s, late.client_id, late.invoice_id, late.step, late.email, %(at)s, 0, ''
    FROM (
        SELECT r.client_id, r.invoice_id, r.due_on, c.email,
            (SELECT count(*) FROM unnest(%(steps)s::int[]) AS step WHERE %(on)s::date - r.due_on >= step) AS step
        FROM invoicing_receivable r JOIN catalog_client c ON c.id = r.client_id
        WHERE r.due_on <= %(on)s::date - %(first)s AND r."left" > 0 AND c.email <> ''
    ) AS late
    WHERE NOT EXISTS (
        SELECT FROM invoicing_message m
        WHERE m.invoice_id = late.invoice_id AND m.kind = %(kind)s AND m.step >= late.step
    )
    ORDER BY late.due_on, late.invoice_id
    ON CONFLICT DO NOTHING
"""


def queue_due(*, on: date, at: datetime) -> int:
    """Queue a mail for each invoice that is due within REMIND_DAYS_BEFORE days. Returns how many are new."""
    if settings.REMIND_DAYS_BEFORE <= 0:
        return 0
    return _queue(_DUE, kind=Message.Kind.DUE.value, on=on, at=at, days=settings.REMIND_DAYS_BEFORE)


def queue_overdue(*, on: date, at: datetime) -> int:
    """Queue a mail for each invoice that has been overdue for one more of OVERDUE_DAYS. Returns how many are new."""
    if not (steps := sorted(settings.OVERDUE_DAYS)):
        return 0
    return _queue(_OVERDUE, kind=Message.Kind.OVERDUE.value, on=on, at=at, steps=steps, first=steps[0])


def _queue(statement: str, **values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
