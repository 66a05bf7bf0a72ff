"""How a thing is found by a part of what it is called: by how it begins first, then by what it has somewhere.

Two indexes of a column answer that in milliseconds among millions of rows: one of the text in lower case, byte by
byte, and one of its parts, all three letters in a row that it has (`metering_parts`, a function in SQL). They are
made by migrations and need no extension of PostgreSQL, which the embedded one does not have.
"""

from typing import Any, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db.models import F, Func, Model, QuerySet, TextField, Value
from django.db.models.functions import Collate, Lower, StrIndex

Row = TypeVar("Row", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])

#: Nothing that is looked for is longer; the rest of what was typed is not looked at.
LONGEST = 100
#: So many rows are looked at where a list is searched.
MOST = 1000
#: A text below this length is looked for at the beginning only: it has no part that an index could know.
PART = 3
#: So many parts of a text are asked of the index.
MOST_PARTS = 16
#: Comes after every text that begins in the same way.
_LAST = "\U0010ffff"


class Parts(Func):
    """All three letters in a row of a text, in lower case."""

    function = "metering_parts"
    arity = 1
    output_field = ArrayField(TextField())


def cleaned(text: str | None) -> str:
    """Return what was typed into a search box, without what cannot be meant, and cut to LONGEST."""
    return " ".join((text or "")[: 4 * LONGEST].replace("\0", " ").split())[:LONGEST]


def number(text: str | None) -> int | None:
    """Return the number that an address asks for; None where it is none that a row has."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None


def in_order(rows: Rows, name: str) -> Rows:
    """Order rows by a text column as the index does: by its lower case, byte by byte."""
    return rows.order_by(_lowered(name), "pk")


def beginning(rows: Rows, name: str, text: str) -> Rows:
    """Return rows of which a column begins with a text, in order: one that is just the text comes first."""
    low = Lower(Value(text))
    found = rows.alias(beginning=_lowered(name)).filter(beginning__gte=low, beginning__lt=Lower(Value(text + _LAST)))
    return found.order_by("beginning")


def containing(rows: Rows, name: str, text: str) -> Rows:
    """Return rows of which a column has a text somewhere, in no order."""
    if len(text) < PART:
        return beginning(rows, name, text).order_by()
    place = StrIndex(Lower(F(name)), Lower(Value(text)))
    return rows.alias(parts=Parts(name), place=place).filter(parts__contains=_parts_of(text), place__gt=0).order_by()


def _parts_of(text: str) -> Func:
    """Return the different parts of a text that is looked for, some of them if it is long: what was found by them is
    compared with all of it. The database makes them small, as it did those of the index."""
    windows = dict.fromkeys(text[place : place + PART] for place in range(len(text) - PART + 1))
    small = [Lower(Value(window)) for window in list(windows)[:MOST_PARTS]]
    array = ArrayField(TextField())
    return Func(*small, function="ARRAY", template="%(function)s[%(expressions)s]::text[]", output_field=array)


def best(rows: QuerySet[Row], names: tuple[str, ...], text: str, most: int) -> list[Row]:
    """Return the rows that fit best, in at most two queries for each of the columns."""
    found: dict[Any, Row] = {}
    for find in (beginning, containing):
        for name in names:
            if (left := most - len(found)) > 0:
                for row in find(rows.exclude(pk__in=list(found)), name, text)[:left]:
                    found[row.pk] = row
    return list(found.values())


def found(rows: QuerySet[Any], names: tuple[str, ...], text: str) -> list[Any]:
    """Return the ids of rows of which a column has a text, at most MOST for each column: who looks for what more
    have would not find it among them."""
    return [pk for name in names for pk in containing(rows, name, text).values_list("pk", flat=True)[:MOST]]


def _lowered(name: str) -> Collate:
    return Collate(Lower(F(name)), "C")
