"""Services and clients by what they are called, a thousand of each at most (metering.lookup)."""

from uuid import UUID

from django.db.models import Q, QuerySet

from catalog.models import Client, Service
from metering import lookup
from metering.models import Tenant


def services_called(rows: QuerySet[Service], text: str) -> QuerySet[Service]:
    """Return services by name, by the names of their clients, and by the keys of their tenants."""
    if (number := public_id(text)) is not None:
        return rows.filter(public_id=number)
    named = lookup.found(Service.objects.all(), ("name",), text)
    tenants = lookup.found(Tenant.objects.all(), ("key",), text)
    return rows.filter(Q(pk__in=named) | Q(client__in=ids_of_clients(text)) | Q(tenant__in=tenants))


def clients_called(rows: QuerySet[Client], text: str) -> QuerySet[Client]:
    """Return clients by name and by address of mail."""
    return rows.filter(pk__in=lookup.found(Client.objects.all(), ("name", "email"), text))


def ids_of_clients(text: str) -> list[int]:
    """Return the ids of clients by name."""
    return lookup.found(Client.objects.all(), ("name",), text)


def public_id(text: str) -> UUID | None:
    """Return the id that a text is, as it is copied out of an address."""
    try:
        return UUID(text)
    except ValueError:
        return None
