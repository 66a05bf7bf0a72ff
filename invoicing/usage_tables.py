"""The tables beneath the charts of a metric's history: by day, by month, and of a total that adds up."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby

from django.utils.translation import gettext as _

from catalog.pricing import ZERO
from invoicing.chart import Table
from invoicing.history import Month
from invoicing.statistics import Statistics
from metering import dates, language
from metering.decimals import round_half_up
from metering.units import Unit

#: What is smaller would be nothing with two decimals.
CENT = Decimal("0.01")

#: A row of a table, its numbers not written yet.
Row = tuple[Decimal | str, ...]


def of_days(
    one: Statistics, values: Mapping[date, Decimal], shown: Sequence[date], lumps: Mapping[date, Decimal] | None = None
) -> Table:
    """A row for each day, and one for all days in a row without a value; for a level, one for all on which it was the
    same. `lumps` are values that stand for the days before theirs, too. All are in the base of the unit."""
    unit, name = one.unit, str(one.metric)

    def said(day: date) -> Decimal | str:
        if day in values:
            return unit.from_base(values[day])
        if lumps and day in lumps:
            return _("%(quantity)s up to here") % {"quantity": number(unit, unit.from_base(lumps[day]))}
        return _("no values")

    written = zip(shown, _column(unit, [said(day) for day in shown]), strict=True)
    adds_up, known = one.metric.adds_up, {*values, *(lumps or ())}
    rows = []
    for _same, group in groupby(written, key=lambda row: row[0] if adds_up and row[0] in known else row[1]):
        days, words = zip(*group, strict=True)
        rows.append((_days(days), words[0]))
    return Table(_caption(one), (_("Day") if adds_up else _("Days"), unit.symbol or name), rows)


def of_months(one: Statistics, known: Mapping[date, Month], shown: Sequence[date]) -> Table:
    """A row for each month, the last one first; for a level with its least and its most day."""
    name = str(one.metric)
    heads: tuple[str, ...] = (_("Month"), one.unit.symbol or name)
    if not one.metric.adds_up:
        heads = (*heads, _("Least"), _("Most"))
    rows = _in_columns(one.unit, [_row_of_month(one, first, known.get(first)) for first in reversed(shown)])
    return Table(name, heads, rows)


def of_totals(
    one: Statistics,
    each: Mapping[date, Decimal],
    totals: Mapping[date, Decimal],
    shown: Sequence[date],
    start: date,
) -> Table:
    """A row for each day, and one for all days in a row without a value: what was used, and what that makes since the
    start; both are given in the base of the unit."""
    rows: list[Row] = []
    for has_values, group in groupby(shown, key=totals.__contains__):
        if has_values:
            in_unit = one.unit.from_base
            rows += [(dates.short_day(day), in_unit(each.get(day, ZERO)), in_unit(totals[day])) for day in group]
        else:
            rows.append((_days(list(group)), _("no values"), ""))
    heads = (_("Day"), _("That day"), _("Since %(day)s") % {"day": dates.short_day(start)})
    return Table(_caption(one), heads, _in_columns(one.unit, rows))


def number(unit: Unit, value: Decimal) -> str:
    """A number with two decimals, and more where it would be nothing with two."""
    return unit.number(value, places=None if 0 < value < CENT else 2)


def _row_of_month(one: Statistics, first: date, month: Month | None) -> Row:
    name = dates.month(first)
    if month is None:
        return (name, _("no values"), *(("", "") if not one.metric.adds_up else ()))
    values = [month.value] if one.metric.adds_up else [month.value, month.least, month.most]
    return (name, *(one.unit.from_base(value) for value in values))


def _days(days: Sequence[date]) -> str:
    if len(days) == 1:
        return dates.short_day(days[0])
    return _("%(start)s to %(end)s") % {"start": dates.short_day(days[0]), "end": dates.short_day(days[-1])}


def _caption(one: Statistics) -> str:
    unit = str(one.unit)
    return f"{one.metric}, {unit}"


def _in_columns(unit: Unit, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    columns = (_column(unit, cells) for cells in zip(*rows, strict=True))
    return list(zip(*columns, strict=True))


def _column(unit: Unit, cells: Sequence[Decimal | str]) -> list[str]:
    """Write what stands below each other: its numbers with as many decimals as one of them needs."""
    most = max((_decimals(unit, cell) for cell in cells if isinstance(cell, Decimal)), default=0)
    write = language.digits(language.current())
    return [cell if isinstance(cell, str) else write(f"{round_half_up(cell, most):,f}") for cell in cells]


def _decimals(unit: Unit, value: Decimal) -> int:
    """How many decimals `number` writes."""
    shown = round_half_up(value, unit.places if 0 < value < CENT else min(2, unit.places)).normalize()
    return max(-int(shown.as_tuple().exponent), 0)
