"""The deeds of who may act for a client: to change a role, and to take somebody off."""

from datetime import datetime

from django.db import transaction

from catalog.models import Client, ClientUser, Invitation, Role


class LastOwner(Exception):
    """A client keeps an owner: without one nobody of it could let anybody in."""


@transaction.atomic
def set_role(*, member: ClientUser, role: Role) -> bool:
    """Give somebody of a client another role. Returns whether it is another.

    Raises LastOwner where nobody would own the client any more.
    """
    current = _locked(member)
    if current is None or current.role == role:
        return False
    if current.role == Role.OWNER:
        _refuse_without_another_owner(current)
    current.role = role
    current.save(update_fields=["role"])
    return True


@transaction.atomic
def remove(*, member: ClientUser, at: datetime) -> bool:
    """Take somebody off a client, who sees nothing of it from the next request on, and revoke what would let the
    same address in again. Returns whether they were on it.

    Raises LastOwner where nobody would own the client any more.
    """
    current = _locked(member)
    if current is None:
        return False
    if current.role == Role.OWNER:
        _refuse_without_another_owner(current)
    invitations = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    invitations.filter(client_id=current.client_id, email__iexact=current.user.email).update(revoked_at=at)
    current.delete()
    return True


def _locked(member: ClientUser) -> ClientUser | None:
    """The membership as it is now. The client is locked, so that two owners who remove each other do not both."""
    Client.objects.select_for_update(no_key=True).get(pk=member.client_id)
    return ClientUser.objects.select_related("user").filter(pk=member.pk).first()


def _refuse_without_another_owner(member: ClientUser) -> None:
    others = ClientUser.objects.filter(client_id=member.client_id, role=Role.OWNER, user__is_active=True)
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner
