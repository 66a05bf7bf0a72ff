"""Billing cycles and the terms they make.

Term n of a service runs from its anchor + n cycles to its anchor + (n + 1) cycles, the day clamped to
the month's length and always counted from the anchor, never from the term before: an anchor of
31 January gives 28 or 29 February and then 31 March.
"""

from calendar import monthrange
from datetime import MAXYEAR, date
from enum import StrEnum

from metering.periods import Period


class Cycle(StrEnum):
    """How often a service renews."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    SEMIANNUALLY = "semiannually"
    ANNUALLY = "annually"
    BIENNIALLY = "biennially"
    TRIENNIALLY = "triennially"

    @property
    def months(self) -> int:
        return _MONTHS[self]


_MONTHS = dict(zip(Cycle, (1, 3, 6, 12, 24, 36), strict=True))


def term(anchor: date, cycle: Cycle, number: int) -> Period:
    """Return term `number` of a service; the first is 0. Raises ValueError outside the calendar."""
    if number < 0:
        raise ValueError(f"terms are numbered from 0, so there is no term {number}")
    return Period(_add_months(anchor, number * cycle.months), _add_months(anchor, (number + 1) * cycle.months))


def number_at(anchor: date, cycle: Cycle, day: date) -> int:
    """Return the number of the term that a day lies in. Raises ValueError before the anchor."""
    if day < anchor:
        raise ValueError(f"{day} is before the anchor, {anchor}")
    number = ((day.year - anchor.year) * 12 + day.month - anchor.month) // cycle.months
    return number if _add_months(anchor, number * cycle.months) <= day else number - 1


def _add_months(anchor: date, months: int) -> date:
    years, month = divmod(anchor.month - 1 + months, 12)
    year = anchor.year + years
    if year > MAXYEAR:
        raise ValueError(f"the calendar ends with the year {MAXYEAR}")
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))
