"""What staff find by a word of theirs: clients, services, tenants and invoices, in at most a dozen queries.

What is called just so comes first, then what begins so, then what has it somewhere. Nobody finds what they may not
see. However long the word, only its first letters are looked for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from catalog.models import OVER, Client, Service, User
from catalog.naming import clients_called, ids_of_clients, public_id, services_called
from invoicing import review
from invoicing.models import Invoice, Line, Message, Series
from metering import lookup
from metering.models import Tenant

#: So many are shown of each kind.
SHOWN = 8
#: What is shorter finds too much.
SHORTEST = 2
#: A number of a document without its series, or the series with a part of the number.
_NUMBER = re.compile(r"(?:([A-Z]*[0-9]{4})-)?0*([0-9]{1,12})", re.ASCII)


@dataclass
class Group:
    """What was found of one kind. `address` lists all of it."""

    name: str
    title: str
    found: list[Any] = field(default_factory=list)
    address: str = ""

    @property
    def shown(self) -> list[Any]:
        return self.found[:SHOWN]

    @property
    def has_more(self) -> bool:
        return len(self.found) > SHOWN


def search(user: User, text: str) -> list[Group]:
    """Return what a user finds by a text, kinds without a hit left out."""
    return [group for group in _groups(user, text) if group.found]


def _groups(user: User, text: str) -> Iterator[Group]:
    query = urlencode({"q": text})
    if user.has_perm("catalog.view_client"):
        yield Group("clients", _("Clients"), clients(text), f"{reverse('staff_clients')}?{query}")
    if user.has_perm("catalog.view_service"):
        yield Group("services", _("Services"), services(text), f"{reverse('staff_services')}?{query}")
    if user.has_perm("metering.view_tenant"):
        yield Group("tenants", _("Tenants"), tenants(text), f"{reverse('admin:metering_tenant_changelist')}?{query}")
    if user.has_perm("invoicing.view_invoice"):
        yield Group("invoices", _("Invoices"), invoices(text), f"{reverse('staff_invoices')}?{query}")


def clients(text: str) -> list[Client]:
    return lookup.best(Client.objects.all(), ("name", "email"), text, SHOWN + 1)


def services(text: str) -> list[Service]:
    rows = review.with_waiting(Service.objects.select_related("client", "product"))
    if (number := public_id(text)) is not None:
        return list(rows.filter(public_id=number))
    return lookup.best(rows, ("name",), text, SHOWN + 1)


def tenants(text: str) -> list[Tenant]:
    """Tenants, each with `service`, the living one that has it, if one has."""
    rows = Tenant.objects.select_related("server").defer("server__credentials", "server__settings")
    found: list[Any] = lookup.best(rows, ("key",), text, SHOWN + 1)
    having = Service.objects.filter(tenant__in=found).exclude(status__in=OVER).select_related("client")
    by_tenant = {service.tenant_id: service for service in having}
    for tenant in found:
        tenant.service = by_tenant.get(tenant.pk)
    return found


def invoices(text: str) -> list[Invoice]:
    rows = Invoice.objects.select_related("client")
    if (number := public_id(text)) is not None:
        of_line = Line.objects.filter(pk=number).values("invoice")
        return list(rows.filter(Q(pk=number) | Q(pk__in=of_line)))
    found = list(rows.filter(number__in=_numbers(text)))
    beginning = _beginning(text).select_related("client").exclude(pk__in=[one.pk for one in found])
    return found + list(beginning[: max(SHOWN + 1 - len(found), 0)])


def _numbers(text: str) -> list[str]:
    """The document numbers that a text is short for: `5`, `00005` and `2026-5` for `2026-00005`."""
    written = [text.upper()]
    if match := _NUMBER.fullmatch(text.upper()):
        code, number = match[1], int(match[2])
        codes = [code] if code else Series.objects.values_list("code", flat=True)
        written += [f"{each}-{number:05d}" for each in codes]
    return written


# ---- lists that are searched: by the ids of what is called so, which are a thousand of each kind at most


def listed_services(text: str) -> QuerySet[Service]:
    """Services by name, of clients by name, and of tenants by key; all of them without a text."""
    rows = lookup.in_order(Service.objects.all(), "name")
    return services_called(rows, text) if text else rows


def listed_invoices(text: str, rows: QuerySet[Invoice] | None = None) -> QuerySet[Invoice]:
    """Documents by number, and of clients by name, the newest first; all of them without a text."""
    rows = Invoice.objects.all() if rows is None else rows
    if not text:
        return rows
    if (number := public_id(text)) is not None:
        return rows.filter(pk=number)
    return rows.filter(Q(pk__in=numbered(text)) | Q(client__in=ids_of_clients(text)))


def numbered(text: str) -> list[UUID]:
    """Return the ids of documents by their number or by how it begins, a thousand at most."""
    exact = Invoice.objects.filter(number__in=_numbers(text)).order_by().values_list("pk", flat=True)
    return [*exact, *_beginning(text).order_by().values_list("pk", flat=True)[: lookup.MOST]]


def _beginning(text: str) -> QuerySet[Invoice]:
    """Documents of which the number begins with a text. Numbers are of capitals, digits and hyphens, so that the
    index finds them between the text and the text with a `z`, in every collation."""
    text = text.upper()
    return Invoice.objects.filter(number__gte=text, number__lt=f"{text}z", number__startswith=text)


def listed_clients(text: str) -> QuerySet[Client]:
    """Clients by name and by address of mail; all of them without a text."""
    rows = lookup.in_order(Client.objects.all(), "name")
    return clients_called(rows, text) if text else rows


def listed_mails(text: str) -> QuerySet[Message]:
    """Mails by how the address begins, and to clients by name; all of them without a text."""
    rows = Message.objects.all()
    if not text:
        return rows
    addressed = lookup.beginning(rows, "to", text).order_by().values_list("pk", flat=True)[: lookup.MOST]
    return rows.filter(Q(pk__in=list(addressed)) | Q(client__in=ids_of_clients(text)))
