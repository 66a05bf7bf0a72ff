"""Half-open spans of days, `[start, end)`, cut in a server's own time zone."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from `start` up to, but not including, `end`.

    Raises ValueError when it would be empty or reversed.
    """

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"a period must end after it starts, not run from {self.start} to {self.end}")

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def ends_at(self, zone: tzinfo) -> datetime:
        """Return the instant at which the period is over in `zone`."""
        return datetime.combine(self.end, time.min, zone)


def day(of: date) -> Period:
    return Period(of, of + timedelta(days=1))


@lru_cache(maxsize=1024)
def month(of: date) -> Period:
    """Return the calendar month that a day lies in."""
    first = of.replace(day=1)
    return Period(first, (first + timedelta(days=31)).replace(day=1))


def local_day(at: datetime, zone: tzinfo) -> date:
    """Return the calendar day that an instant falls on in `zone`."""
    return at.astimezone(zone).date()
