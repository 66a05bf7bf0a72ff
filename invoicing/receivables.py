"""What is left to pay, for those who have to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import DateField, ExpressionWrapper, Q

from invoicing.models import Invoice
from metering.prepared import Prepared, any_of, execute

#: So many invoices are named.
SHOWN = 5


@dataclass(frozen=True)
class Unpaid:
    """What some clients have to pay: how many invoices, their sums by currency, and how long they wait.

    `invoices` are those that wait longest, with their state, SHOWN at most. `days` is how long the first one is
    overdue; `overdue` are how many and their sums.
    """

    invoices: list[Invoice]
    count: int
    totals: list[tuple[str, Decimal]]
    overdue_count: int
    overdue_totals: list[tuple[str, Decimal]]
    first_due_on: date | None
    today: date

    @property
    def is_overdue(self) -> bool:
        return self.overdue_count > 0

    @property
    def days(self) -> int:
        return max((self.today - self.first_due_on).days, 0) if self.first_due_on else 0

    @property
    def next_due_on(self) -> date | None:
        """The first day on which something becomes due, unless something is overdue."""
        return None if self.is_overdue else self.first_due_on


_SUMS = """
SELECT i.currency, sum(r."left"), count(*), min(r.due_on),
    sum(r."left") FILTER (WHERE r.due_on < %(today)s), count(*) FILTER (WHERE r.due_on < %(today)s)
FROM invoicing_receivable r
JOIN invoicing_invoice i ON i.id = r.invoice_id
WHERE r.client_id = ANY(%(clients)s) AND r."left" > 0
GROUP BY i.currency
ORDER BY i.currency
"""
_UNPAID = Prepared(
    lambda clients, today: (
        Invoice.objects.of_clients(any_of(clients))
        .in_state("unpaid", today)
        .with_state(ExpressionWrapper(today, DateField()))[:SHOWN]
    )
)
_SETTLED = Prepared(
    lambda clients, today: (
        Invoice.objects.of_clients(any_of(clients))
        .filter(Q(receivable=None) | Q(receivable__left__lt=0))
        .with_state(ExpressionWrapper(today, DateField()))[:SHOWN]
    )
)


def of(clients: Collection[int], today: date) -> Unpaid:
    """Return what some clients have to pay, named by their ids, in two queries."""
    rows = execute(_SUMS, {"clients": list(clients), "today": today})
    return Unpaid(
        invoices=_UNPAID.all(list(clients), today) if rows else [],
        count=sum(count for _, _, count, _, _, _ in rows),
        totals=[(currency, left) for currency, left, *_ in rows],
        overdue_count=sum(count for *_, count in rows),
        overdue_totals=[(currency, late) for currency, *_, late, _ in rows if late],
        first_due_on=min((first for _, _, _, first, _, _ in rows), default=None),
        today=today,
    )


def latest(clients: Collection[int], unpaid: Unpaid) -> list[Invoice]:
    """Return the newest documents of some clients, SHOWN at most, after those that are unpaid, with their state."""
    first = sorted(unpaid.invoices, key=lambda invoice: (invoice.due_on, invoice.number))
    return [*first, *_SETTLED.all(list(clients), unpaid.today)][:SHOWN]
