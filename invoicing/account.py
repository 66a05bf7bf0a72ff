"""What the pages about who acts for a client show: its users, its invitations and its API keys."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from catalog.access import clients_of
from catalog.models import Client, ClientUser, Role
from catalog.permissions import MEANINGS, NAMES, Deed
from invoicing import inviting

#: Revoked keys that are still shown.
LAST = 10


def page(request: HttpRequest, client: Client, deed: Deed, address: str) -> dict[str, Any]:
    """What every page about a client knows: which one, and which others there are to choose from."""
    able = clients_of(request, deed)
    others = list(Client.objects.filter(pk__in=able)) if len(able) > 1 else []
    return {"section": "account", "page": str(deed), "client": client, "others": others, "of_client": address}


def people(client: Client) -> dict[str, Any]:
    """What `_partials/_people.html` shows of a client: its users and its invitations, in two queries."""
    now = timezone.now()
    return {
        "members": list(ClientUser.objects.filter(client=client).select_related("user").order_by("user__email")),
        "invitations": [(each, each.expires_at <= now) for each in inviting.to_client(client)],
        "roles": [(role, NAMES[role], MEANINGS[role]) for role in Role],
        "role_names": NAMES,
    }


def keys(client: Client) -> dict[str, Any]:
    """What `_partials/_api_keys.html` shows of a client, in one query."""
    rows = list(client.api_keys.select_related("created_by", "revoked_by"))
    return {
        "now": timezone.now(),
        "keys": [key for key in rows if not key.revoked_at],
        "revoked": [key for key in rows if key.revoked_at][:LAST],
    }
