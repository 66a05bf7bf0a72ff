"""Choosing entries: by who, what, when and about which thing, a page at a time, without counting them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.utils import timezone

from audit.models import Entry, EntryQuerySet

#: Rows of a page, and of a part of a table that is downloaded.
PAGE, PART = 50, 1000
#: What stands for all that is noted about access.
ACCESS = "access"
SITE = "site"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries to show. `who` is the number of a user or SITE; `kind` a table or ACCESS. With `things`,
    only what is about one of these references; None asks about nothing particular."""

    who: str = ""
    kind: str = ""
    day: date | None = None
    things: tuple[str, ...] | None = None

    def entries(self) -> EntryQuerySet:
        found = Entry.objects.order_by("-at", "-id")
        if self.who == SITE:
            found = found.filter(actor_id=None)
        elif self.who:
            found = found.filter(actor_id=int(self.who))
        if self.kind:
            found = found.filter(table="" if self.kind == ACCESS else self.kind)
        if self.day:
            found = found.filter(at__gte=_midnight(self.day), at__lt=_midnight(self.day + timedelta(days=1)))
        return found if self.things is None else found.about(*self.things)

    def page(self, before: int | None) -> tuple[list[Entry], int | None]:
        """Return a page of entries, the newest first or those before a number, and the number to go on from."""
        found = self.entries()
        if before and (entry := Entry.objects.filter(pk=before).first()):
            found = found.older_than(entry)
        rows = list(found[: PAGE + 1])
        return rows[:PAGE], rows[PAGE - 1].pk if len(rows) > PAGE else None

    def parts(self) -> Iterator[list[Entry]]:
        """Yield all entries, some hundred at a time."""
        found, last = self.entries(), None
        while rows := list(found.older_than(last)[:PART] if last else found[:PART]):
            yield rows
            last = rows[-1]


def together(entry: Entry, most: int = PAGE) -> list[Entry]:
    """Return what was changed in the same transaction, in order, and with it the entry itself."""
    near = timedelta(hours=6)
    # Numbers of transactions begin anew when a database is restored elsewhere.
    found = Entry.objects.filter(transaction=entry.transaction, at__gte=entry.at - near, at__lte=entry.at + near)
    return list(found.order_by("id")[:most])


def as_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def tables(kinds: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    """Sort tables by what they are called."""
    return sorted(((table, str(kind)) for table, kind in kinds), key=lambda pair: pair[1].casefold())


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
