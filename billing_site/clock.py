"""Whether the clock is believed. Every tick is written down, and one far from the last is doubted.

A clock that jumped a year ahead would bill a year of terms. So while it says something more than
MOST_APART from the last tick, either way, nothing is billed until a person confirms it or it is set right;
after a standstill that long it is confirmed once. The first tick ever has nothing to be compared with.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing_site.models import Tick

logger = logging.getLogger(__name__)

MOST_APART = timedelta(hours=36)


def look(*, at: datetime) -> Tick:
    """Write down what the clock says, unless it is to be doubted. Returns the last tick that was believed."""
    with transaction.atomic():
        tick, _ = Tick.objects.select_for_update().get_or_create(pk=1, defaults={"at": at})
        if abs(at - tick.at) > MOST_APART:
            tick.doubted_at = at
            logger.error("%s", doubt(tick))
        else:
            tick.at, tick.doubted_at = max(at, tick.at), None
        tick.save()
    return tick


def confirm(*, at: datetime, by: str) -> None:
    """Believe what the clock says, because a person looked at it."""
    Tick.objects.update_or_create(pk=1, defaults={"at": at, "doubted_at": None})
    logger.warning("%s confirmed that it is %s", by, _written(at))


def doubt(tick: Tick | None) -> str:
    """Say what is wrong with the clock, and what to do. Empty while it is believed."""
    if tick is None or tick.doubted_at is None:
        return ""
    apart = tick.doubted_at - tick.at
    words = _("The clock said %(time)s, which is %(span)s before the last tick, at %(last)s.")
    if apart > timedelta():
        words = _("The clock said %(time)s, which is %(span)s after the last tick, at %(last)s.")
    told = {"time": _written(tick.doubted_at), "span": long(abs(apart)), "last": _written(tick.at)}
    advice = _(
        "Nothing is billed until that is confirmed: on the staff home, or with manage.py cron --confirm-clock. If the "
        "clock is wrong, set it, and billing goes on by itself."
    )
    return f"{words % told} {advice}"


def _written(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}"


def long(span: timedelta) -> str:
    """Say how long something is: `30 hours`, `5 days`."""
    if span.days > 2:
        return ngettext("%(count)s day", "%(count)s days", span.days) % {"count": span.days}
    hours = span // timedelta(hours=1)
    return ngettext("%(count)s hour", "%(count)s hours", hours) % {"count": hours}
