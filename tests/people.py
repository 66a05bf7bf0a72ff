"""Small functions that make people: of clients with a role, of staff with a role, and keys of the API."""

from django.contrib.auth.models import Group
from django.utils import timezone

from catalog import api_keys
from catalog.models import Client, ClientUser, Role, User
from tests.builders import a_user


def client_user(client: Client, role: str = Role.OWNER, email: str = "", **values: object) -> User:
    """Somebody of a client with a role; the same address may be of several clients."""
    address = email or f"{role}@{client.pk}.client.test"
    user = User.objects.filter(email=address).first() or a_user(address, **values)
    ClientUser.objects.update_or_create(client=client, user=user, defaults={"role": role})
    return user


def staff_with(role: str, email: str = "", **values: object) -> User:
    """Somebody of staff with one of the roles of `billing_site.roles`."""
    user = a_user(email or f"{role}@staff.test", is_staff=True, **values)
    user.groups.add(Group.objects.get(name=role))
    return user


def api_key(client: Client, name: str = "accounting") -> str:
    """A key of the API, as the text that opens it."""
    return api_keys.make(client=client, name=name, by=None, at=timezone.now())[1]


def bearer(token: str) -> dict[str, str]:
    """The header of a request that shows a key."""
    return {"authorization": f"Bearer {token}"}
