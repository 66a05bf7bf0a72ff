"""What people did about access that changes no row: noted beside what the triggers write."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import cache
from django.http import HttpRequest

from audit.actors import at_work
from audit.models import Entry, reference, references

#: How many seconds a person who is refused the same page again is not noted again.
QUIET = 300


def note(what: Entry.What, *, by: Any = None, about: Iterable[Any] = (), **said: str | int | None) -> None:
    """Write down what a person did, by default the one at work, and about which rows.

    `said` is kept with it, and must hold no secret. To view as a client is noted by
    `note(Entry.What.VIEW_AS_BEGAN, about=[client])` and `VIEW_AS_ENDED`.
    """
    now = at_work()
    user, name = (by.pk, str(by)) if by is not None else (now.user, now.name)
    named = references(get_user_model()._meta.db_table, [user] if user else [])
    Entry(
        what=what,
        about=sorted({*named, *(reference(each) for each in about)}),
        changes={field: [None, value] for field, value in said.items()},
        actor_id=user,
        actor=name[:300],
        source=now.source,
        path=now.path,
    ).save(force_insert=True)


def note_refusal(request: HttpRequest) -> None:
    """A person was refused a page: noted once in a while, however often they try."""
    match = request.resolver_match
    if request.user.is_authenticated and cache.add(f"refused:{request.user.pk}:{match and match.route}", 1, QUIET):
        note(Entry.What.REFUSED, by=request.user)


def note_login(user: AbstractBaseUser, **_: Any) -> None:
    note(Entry.What.LOGIN, by=user)


def note_logout(user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        note(Entry.What.LOGOUT, by=user)


def note_failed_login(credentials: dict[str, Any], **_: Any) -> None:
    """Somebody tried a wrong password. What was typed instead of an address is not written down: it may be the
    password. Whoever tries often is stopped by the login's own limits."""
    users = get_user_model()
    typed = credentials.get("email") or credentials.get("username") or ""
    found = users._default_manager.filter(**{f"{users.USERNAME_FIELD}__iexact": str(typed)[:300]}).first()
    note(Entry.What.LOGIN_FAILED, about=[found] if found else [])
