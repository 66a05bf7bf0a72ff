"""What is left to pay, for those who have to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import Count, Min, Q, Sum

from invoicing.models import Invoice, Receivable

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


def of(clients: Collection[int], today: date) -> Unpaid:
    """Return what some clients have to pay, named by their ids, in two queries."""
    rows = (
        Receivable.objects.filter(client__in=clients, left__gt=0)
        .order_by("invoice__currency")
        .values("invoice__currency")
        .annotate(
            sum=Sum("left"),
            count=Count("pk"),
            first=Min("due_on"),
            late=Sum("left", filter=Q(due_on__lt=today)),
            late_count=Count("pk", filter=Q(due_on__lt=today)),
        )
    )
    found = list(rows)
    invoices = Invoice.objects.of_clients(clients).in_state("unpaid", today).with_state(today) if found else None
    return Unpaid(
        invoices=list(invoices[:SHOWN]) if invoices is not None else [],
        count=sum(row["count"] for row in found),
        totals=[(row["invoice__currency"], row["sum"]) for row in found],
        overdue_count=sum(row["late_count"] for row in found),
        overdue_totals=[(row["invoice__currency"], row["late"]) for row in found if row["late"]],
        first_due_on=min((row["first"] for row in found), default=None),
        today=today,
    )


def latest(clients: Collection[int], unpaid: Unpaid, most: int = SHOWN) -> list[Invoice]:
    """Return the newest documents of some clients, after those that are unpaid, with their state."""
    first = sorted(unpaid.invoices[:most], key=lambda invoice: (invoice.due_on, invoice.number))
    settled = Invoice.objects.of_clients(clients).filter(Q(receivable=None) | Q(receivable__left__lt=0))
    return [*first, *settled.with_state(unpaid.today)[:most]][:most]
