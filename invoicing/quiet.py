"""The hours of their day in which a person gets no alert by mail."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from catalog.models import User


def until(user: User, at: datetime) -> datetime | None:
    """Return when the quiet hours end that an instant is in; None if it is in none.

    They may go over midnight. On the day on which clocks change they begin and end by the clock on the wall.
    """
    begin, end = user.quiet_from, user.quiet_until
    if begin is None or end is None or begin == end:
        return None
    zone = ZoneInfo(user.time_zone or settings.TIME_ZONE)
    local = at.astimezone(zone)
    if not _is_within(local.time().replace(fold=0), begin, end):
        return None
    day = local.date() + timedelta(days=1) if end <= local.time().replace(fold=0) else local.date()
    ends = datetime.combine(day, end, zone).astimezone(UTC)
    # The hour that comes twice: its second half is after the first end.
    return ends if ends > at else datetime.combine(day, end.replace(fold=1), zone).astimezone(UTC)


def _is_within(now: time, begin: time, end: time) -> bool:
    return begin <= now < end if begin < end else now >= begin or now < end
