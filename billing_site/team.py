"""The deeds about staff: to change a role, to let somebody in no more, and to let them in again.

Nobody raises their own rights, nobody gives what they do not have, nobody but a superuser touches a superuser, and an
administrator always remains.
"""

from dataclasses import dataclass

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet

from billing_site import roles, sessions
from catalog.models import User


class Refused(Exception):
    """`why` is one of the reasons below."""

    OWN = "own"
    ABOVE = "above"
    LAST = "last"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of staff; `role` is empty for who has none, or rights of their own."""

    user: User
    role: str
    may_change: bool


def groups() -> dict[str, Group]:
    """The roles' groups, by role, in order of what they may."""
    found = {group.name: group for group in Group.objects.filter(name__in=roles.NAMES)}
    return {role: found[role] for role in roles.NAMES if role in found}


def of_staff(by: User) -> list[Member]:
    """All staff with their roles, in two queries; the active ones first."""
    users = User.objects.filter(Q(is_staff=True) | Q(is_superuser=True)).prefetch_related("groups")
    return [
        Member(user, role_of(user), user.pk != by.pk and (by.is_superuser or not user.is_superuser))
        for user in users.order_by("-is_active", "email")
    ]


def role_of(user: User) -> str:
    if user.is_superuser:
        return roles.ADMINISTRATOR
    names = {group.name for group in user.groups.all()}
    return next((role for role in reversed(roles.NAMES) if role in names), "")


def may_give(by: User, role: str) -> bool:
    """Whether somebody has all that a role gives."""
    if by.is_superuser:
        return True
    held = {f"{app}.{name}" for app, name in _permissions(role)}
    return held <= by.get_all_permissions()


def _permissions(role: str) -> QuerySet[Group, tuple[str, str]]:
    rows = Group.objects.filter(name=role, permissions__isnull=False)
    return rows.values_list("permissions__content_type__app_label", "permissions__codename")


@transaction.atomic
def set_role(*, user: User, role: str, by: User) -> None:
    """Give somebody of staff one role in place of all others. Raises Refused."""
    current = _locked(user, by)
    if not may_give(by, role):
        raise Refused(Refused.ABOVE)
    current.groups.remove(*Group.objects.filter(name__in=roles.NAMES).exclude(name=role))
    current.groups.add(Group.objects.get(name=role))
    if role != roles.ADMINISTRATOR:
        if current.is_superuser:
            current.is_superuser = False
            current.save(update_fields=["is_superuser"])
        # Rights that were given one by one would outlive the role.
        current.user_permissions.clear()
    _refuse_without_administrator()


@transaction.atomic
def deactivate(*, user: User, by: User) -> None:
    """Let somebody in no more, from the next request on. Raises Refused."""
    current = _locked(user, by)
    current.is_active = False
    current.save(update_fields=["is_active"])
    sessions.end(current)
    _refuse_without_administrator()


@transaction.atomic
def activate(*, user: User, by: User) -> None:
    """Let somebody in again, with the role they had. Raises Refused."""
    current = _locked(user, by)
    if not may_give(by, role_of(current)):
        raise Refused(Refused.ABOVE)
    current.is_active = True
    current.save(update_fields=["is_active"])


def _locked(user: User, by: User) -> User:
    """The user as they are now; one change of staff at a time, so that two administrators cannot remove each other."""
    list(Group.objects.select_for_update(no_key=True).filter(name=roles.ADMINISTRATOR))
    current = User.objects.get(pk=user.pk)
    if current.pk == by.pk:
        raise Refused(Refused.OWN)
    if current.is_superuser and not by.is_superuser:
        raise Refused(Refused.ABOVE)
    return current


def _refuse_without_administrator() -> None:
    can = Q(is_superuser=True) | Q(groups__name=roles.ADMINISTRATOR, is_staff=True)
    if not User.objects.filter(can, is_active=True).exists():
        raise Refused(Refused.LAST)
