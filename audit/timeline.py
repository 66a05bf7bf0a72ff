"""What happened to one thing and its parts, newest first.

A page shows it by `{% include "staff/_timeline.html" with timeline=timeline %}`, where `timeline` is what `of` returns:

    timeline.of(reference(client), *references("catalog_user", user_ids))

A thing is found by its own reference and by those of what it is a part of, as the triggers write them: the entries of a
product have its prices, metric settings and overage terms; those of a metric setting have its versions and agreements.
Ready-made: `catalog.timelines.of_client`, `of_product`, `invoicing.timelines.of_service`, and here `of_server`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.models import Entry, reference
from audit.telling import Change, tell

#: How many events a page shows before it links to all of them.
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: when, in a sentence, and what it means or where it can be read."""

    at: datetime
    sentence: str
    icon: str = "info"
    note: str = ""
    page: str = ""
    #: `bad` or `warn` marks what a person should look at.
    state: str = ""
    changes: tuple[Change, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The newest events, and the reference by which the audit log finds all entries about the thing."""

    events: list[Event]
    about: str
    has_more: bool


def of(about: str, *parts: str, more: Iterable[Event] = (), own_page: str = "", shown: int = SHOWN) -> Timeline:
    """Return what happened to a thing and its parts, which are named as `audit.models.reference` names them.

    `more` are events that are no entries. What leads to `own_page` is not linked, since it is read there.
    """
    entries = list(Entry.objects.about(about, *parts)[: shown + 1])
    events = [
        Event(
            at=told.entry.at,
            sentence=told.sentence,
            icon=told.icon,
            page=told.page if told.page != own_page else "",
            state="bad" if told.is_bad else "",
            changes=tuple(told.short),
            # Where nobody is known by name, the sentence says so already.
            source=told.source if told.entry.actor_id and told.entry.source != "page" else "",
        )
        for told in tell(entries[:shown])
    ]
    events = sorted((*events, *more), key=lambda event: event.at, reverse=True)
    return Timeline(events[:shown], about, len(entries) > shown or len(events) > shown)


def of_server(server: Any, *, own_page: str = "") -> Timeline:
    """What happened to a server and its push keys."""
    return of(reference(server), own_page=own_page)
