"""What the list of services can be narrowed to: in which state they are, and what a person should look at."""

from typing import TypeVar

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from catalog.models import OVER, Service
from invoicing import review

Rows = TypeVar("Rows", bound=QuerySet[Service])

#: By the word in the address.
STATES = {
    **dict(Service.Status.choices),
    "waits": _("held, parked or waiting for approval"),
    "unmetered": _("metered, but without a tenant"),
}


def states(chosen: str) -> list[tuple[str, str, bool]]:
    """Return the states to choose from: word, name, and whether it is chosen."""
    return [(word, str(name), word == chosen) for word, name in STATES.items()]


def in_state(rows: Rows, state: str) -> Rows:
    """Return those of the services that are in a state; all of them for a word that is none."""
    if state == "waits":
        return rows.filter(pk__in=review.waiting())
    if state == "unmetered":
        return rows.filter(tenant=None).exclude(product__provider="").exclude(status__in=OVER)
    return rows.filter(status=state) if state in Service.Status.values else rows
