"""A table of a report: what a page shows is what its CSV has, in the same order.

Pure: cells are written already, and carry the plain value for the CSV beside.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from invoicing.spreadsheet import as_csv, as_text
from metering.decimals import plain

Value = str | int | Decimal | date | None


@dataclass(frozen=True)
class Column:
    """A column: what stands above it, and in the CSV, where a head has no second line to say its unit in."""

    title: str
    is_number: bool = True
    name: str = ""
    is_long: bool = False
    note: str = ""

    @property
    def csv_title(self) -> str:
        return self.name or self.title


@dataclass(frozen=True)
class Cell:
    """A text for people and a plain value for the CSV. `value` None: there is nothing to say."""

    text: str
    value: Value = None
    note: str = ""
    link: str = ""


NOTHING = Cell("—")


@dataclass(frozen=True)
class Row:
    """A row: what it is about, and a cell for each column but the first. `group` is the row above it that it is a
    part of; a row without one may be the sum of such rows."""

    head: Cell
    cells: Sequence[Cell]
    group: str = ""
    is_strong: bool = False


@dataclass(frozen=True)
class Table:
    """`columns` begin with that of the heads; `total` comes after all rows. `group_title` is what the groups are, for
    the CSV."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    total: Row | None = None
    group_title: str = ""

    @property
    def pairs(self) -> Iterator[tuple[Row, list[tuple[Column, Cell]]]]:
        """Each row, with its columns and cells."""
        for row in self.rows:
            yield row, self._beside(row)

    @property
    def total_pairs(self) -> list[tuple[Column, Cell]]:
        return self._beside(self.total) if self.total else []

    def _beside(self, row: Row) -> list[tuple[Column, Cell]]:
        return list(zip(self.columns[1:], row.cells, strict=True))


def written(tables: Iterable[tuple[Sequence[str], Table]], heads: Sequence[str]) -> Iterator[str]:
    """Yield tables as one CSV. Each comes with the values of the columns that are before its own, such as its
    currency, which `heads` name; a part of a group has the group before its own name."""
    return as_csv(_rows(tables, heads))


def _rows(tables: Iterable[tuple[Sequence[str], Table]], heads: Sequence[str]) -> Iterator[list[Any]]:
    is_first = True
    for before, table in tables:
        groups = [table.group_title] if table.group_title else []
        if is_first:
            yield [*heads, *groups, *(column.csv_title for column in table.columns)]
            is_first = False
        for row in [*table.rows, *([table.total] if table.total else [])]:
            if not any(cell.text for cell in row.cells):
                continue  # the name of a group, which its rows have beside theirs
            name = _plain(row.head.text if row.head.value is None else row.head.value)
            names = ([as_text(row.group), name] if row.group else [name, ""]) if groups else [name]
            yield [*map(as_text, before), *names, *(_plain(cell.value) for cell in row.cells)]


def _plain(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    return as_text(value) if isinstance(value, str) else str(value)
