"""What lists of invoices can be narrowed to: how an invoice stands, its year, and a part of its number."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import cast

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from invoicing.models import Invoice
from invoicing.models.documents import InvoiceQuerySet
from metering import lookup
from metering.prepared import execute

#: By the word in the address.
STATES = {
    "unpaid": _("Unpaid"),
    "overdue": _("Overdue"),
    "paid": _("Paid"),
    "credit_notes": _("Credit notes"),
}
#: No document is older than this.
FIRST_YEAR = 1970


@dataclass(frozen=True)
class Chosen:
    """What somebody wants to see of a list. What cannot be meant is not looked at."""

    state: str = ""
    year: int | None = None
    number: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Chosen:
        state, year = asked.get("state", ""), asked.get("year", "")
        return cls(
            state=state if state in STATES else "",
            year=int(year)
            if len(year) == 4 and year.isascii() and year.isdecimal() and int(year) >= FIRST_YEAR
            else None,
            number=lookup.cleaned(asked.get("q")),
        )

    def __bool__(self) -> bool:
        return bool(self.state or self.year or self.number)

    @property
    def states(self) -> list[tuple[str, str, bool]]:
        """The states to choose from: word, name, and whether it is chosen."""
        return [(word, str(name), word == self.state) for word, name in STATES.items()]

    def narrow(self, found: QuerySet[Invoice], today: date) -> InvoiceQuerySet:
        """Return the rows that were asked for, with their state, but for the number: see `numbered`."""
        rows = cast(InvoiceQuerySet, found)
        if self.year is not None:
            rows = rows.filter(issued_on__gte=date(self.year, 1, 1), issued_on__lte=date(self.year, 12, 31))
        if self.state:
            rows = rows.in_state(self.state, today)
        return rows.with_state(today)

    def numbered(self, rows: InvoiceQuerySet) -> InvoiceQuerySet:
        """Return the rows of which the number has what was typed; of a few clients, since it looks at all of theirs."""
        return rows.filter(number__icontains=self.number) if self.number else rows


_ENDS = "SELECT min(issued_on), max(issued_on) FROM invoicing_invoice WHERE client_id = ANY(%(clients)s)"


def years(clients: Collection[int]) -> list[int]:
    """Return the years of what some clients were sent, newest first: all between the first and the last one."""
    [(first, last)] = execute(_ENDS, {"clients": list(clients)}, about=len(clients))
    return list(range(last.year, first.year - 1, -1)) if first else []
