"""What a person may do for a client: the one place that says so, for pages, templates and deeds."""

from collections.abc import Iterable
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from catalog.clients import Role


class Deed(StrEnum):
    """What can be done for a client in the portal."""

    SEE = "see"  # its services, usage and invoices
    ALERTS = "alerts"  # set alerts and budgets
    QUESTIONS = "questions"  # question a line
    USERS = "users"  # say who else may, and invite people
    KEYS = "keys"  # make and revoke API keys
    DATA = "data"  # change its name, address, tax number and language


MAY: dict[Role, frozenset[Deed]] = {
    Role.OWNER: frozenset(Deed),
    Role.BILLING: frozenset({Deed.SEE, Deed.ALERTS, Deed.QUESTIONS}),
    Role.READER: frozenset({Deed.SEE}),
}

NAMES: dict[Role, Promise] = {
    Role.OWNER: _("Owner"),
    Role.BILLING: _("Billing"),
    Role.READER: _("Read only"),
}
#: What each role means, for whoever chooses one.
MEANINGS: dict[Role, Promise] = {
    Role.OWNER: _("sees everything, and decides who else may, the API keys and the address on invoices"),
    Role.BILLING: _("sees everything, sets alerts and budgets, and questions lines of invoices"),
    Role.READER: _("sees services, usage and invoices"),
}


def may(role: str, deed: str) -> bool:
    """Whether a role may do a deed. A role or deed that is not known may not, and is not."""
    return role in MAY and deed in MAY[Role(role)]


def roles_that_may(deed: str) -> Iterable[Role]:
    return [role for role, deeds in MAY.items() if deed in deeds]
