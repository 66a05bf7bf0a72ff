"""When something is on: spans of days, switched on and off."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Span(models.Model):
    """Days on which something is on, `[start, end)`; without an end it is on still."""

    start = models.DateField(_("first day"))
    end = models.DateField(_("day after the last"), null=True, blank=True)

    class Meta:
        abstract = True


S = TypeVar("S", bound=Span)


def covered(spans: Iterable[Span], day: date, last: date | None = None) -> bool:
    """Say whether one span holds a day, or all days from it to the `last`."""
    return any(span.start <= day and (span.end is None or (last or day) < span.end) for span in spans)


def switch(spans: models.QuerySet[S], *, on: bool, day: date, **owner: Any) -> bool:
    """Switch on or off from a day. Returns whether that changed anything. The caller holds a lock.

    Off on the day on which it was switched on undoes that, and so does on on the day on which it was
    switched off: an hour of doubt must not cut a period in two. `owner` are the fields of a new span.
    """
    current = spans.filter(end=None).first()
    if on is (current is not None):
        return False
    if current is None:
        if not spans.filter(end=day).update(end=None):
            spans.create(start=day, **owner)
    elif current.start >= day:
        current.delete()
    else:
        spans.filter(pk=current.pk).update(end=day)
    return True
