"""Months as reports choose, name and compare them."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

from metering.decimals import EXACT, round_half_up
from metering.periods import month


def previous(first: date) -> date:
    """Return the first day of the month before."""
    return month(first - timedelta(days=1)).start


def year_before(first: date) -> date:
    return first.replace(year=first.year - 1)


def between(first: date, last: date) -> list[date]:
    """Return the first days of the months from one to another, both counted in."""
    found = []
    while first <= last:
        found.append(first)
        first = month(first).end
    return found


def through(known: Iterable[date], today: date) -> list[date]:
    """Return all months from the first of some to this one, the newest first, also those that have nothing."""
    first = min(known, default=None)
    return [] if first is None else between(first.replace(day=1), today.replace(day=1))[::-1]


def growth(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    """Return by how much something grew, in percent to one decimal. None where there is nothing to compare with."""
    if now is None or not before:
        return None
    return round_half_up(EXACT.divide((now - before) * 100, before), 1)
