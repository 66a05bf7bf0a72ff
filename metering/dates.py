"""Days, months and times as people read them, in the language they read.

Days are dates of the site's calendar, whoever asks; a moment is shown in the time zone that is active.
"""

from datetime import date, datetime
from functools import lru_cache

from babel.dates import format_date, format_skeleton
from django.utils import timezone
from django.utils.translation import gettext as _

from metering import language


def site_day(at: datetime | None = None) -> date:
    """Return the day of the site's calendar that an instant falls on, or today's.

    What is decided on a day and what is written down with one goes by it: in the time zone of the person who looks it
    may be another one.
    """
    return timezone.localdate(at, timezone.get_default_timezone())


def day(of: date) -> str:
    """Write a day: `18 Nov 2026`."""
    return _written(_day(of), "medium", language.current())


def full_day(of: date) -> str:
    """Write a day with its month in full: `18 November 2026`."""
    return _written(_day(of), "long", language.current())


def weekday(of: date) -> str:
    """Write a day with its name: `Wednesday, 18 November 2026`."""
    return _written(_day(of), "full", language.current())


def short_day(of: date) -> str:
    """Write a day of a year that is known: `18 Nov`."""
    return _skeleton(_day(of), "MMMd", language.current())


def long_day(of: date) -> str:
    """Write a day of a year that is known, its month in full: `18 November`."""
    return _skeleton(_day(of), "MMMMd", language.current())


def month(of: date) -> str:
    """Write a month: `November 2026`."""
    return _skeleton(_day(of), "yMMMM", language.current())


def short_month(of: date) -> str:
    """Write a month: `Nov 2026`."""
    return _skeleton(_day(of), "yMMM", language.current())


def month_name(of: date) -> str:
    """Write a month of a year that is known: `November`."""
    return _written(_day(of), "LLLL", language.current())


def span(start: date, end: date) -> str:
    """Write a span of days by its bounds: `1 November to 1 December 2026`."""
    first = long_day(start) if start.year == end.year else full_day(start)
    return _("%(start)s to %(end)s") % {"start": first, "end": full_day(end)}


def months(first: date, last: date) -> str:
    """Write a row of months: `November 2026`, or `October to November 2026`."""
    if first == last:
        return month(first)
    start = month_name(first) if first.year == last.year else month(first)
    return _("%(start)s to %(end)s") % {"start": start, "end": month(last)}


def time(at: datetime) -> str:
    """Write the time of day of an instant: `18:00`."""
    return _time(timezone.localtime(at))


def moment(at: datetime) -> str:
    """Write an instant shortly: `today, 06:00`, `17 Nov, 18:00` or `17 Nov 2025, 18:00`."""
    zone = timezone.get_current_timezone()
    local, today = at.astimezone(zone), timezone.now().astimezone(zone).date()
    if local.date() == today:
        return _("today, %(time)s") % {"time": _time(local)}
    written = short_day(local.date()) if local.year == today.year else day(local.date())
    return f"{written}, {_time(local)}"


def exact_moment(at: datetime) -> str:
    """Write an instant to the second: `17 Nov 2026, 18:00:05`."""
    local = timezone.localtime(at)
    return f"{day(local.date())}, {local:%H:%M:%S}"


def _time(local: datetime) -> str:
    return f"{local.hour:02}:{local.minute:02}"


def _day(of: date) -> date:
    """The day of an instant is that of the time zone that is active."""
    return timezone.localtime(of).date() if isinstance(of, datetime) else of


@lru_cache(maxsize=8192)
def _written(of: date, style: str, locale: str) -> str:
    return str(format_date(of, style, locale=language.of_dates(locale)))


@lru_cache(maxsize=8192)
def _skeleton(of: date, skeleton: str, locale: str) -> str:
    return str(format_skeleton(skeleton, datetime(of.year, of.month, of.day), locale=language.of_dates(locale)))  # noqa: DTZ001
