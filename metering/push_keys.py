"""The deeds of push keys: to make one, to revoke it, and to let a request in that shows it."""

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Prefetch, prefetch_related_objects

from metering import keys
from metering.models import PushKey, Server

PREFIX = "tp_"


def make(
    *, server: Server, name: str, metrics: Iterable[str] = (), by: AbstractBaseUser | None, at: datetime
) -> tuple[PushKey, str]:
    """Make a key for a server, and return it with the text that opens it, which is kept nowhere.

    With `metrics` it may push these only, by system name.
    """
    token = keys.new_token(PREFIX)
    key = PushKey(
        server=server,
        name=name,
        begins_with=keys.beginning_of(token),
        digest=keys.digest_of(token),
        metrics=sorted(metrics),
        created_at=at,
        created_by_id=by.pk if by else None,
    )
    key.save(force_insert=True)
    return key, token


def revoke(*, key: PushKey, by: AbstractBaseUser | None, at: datetime) -> bool:
    """Let a key open nothing any more. Returns whether it did until now."""
    return bool(PushKey.objects.usable().filter(pk=key.pk).update(revoked_at=at, revoked_by_id=by.pk if by else None))


def use(token: str, *, at: datetime) -> keys.Use[PushKey] | None:
    """Count a request that shows `token`; None when no usable key is that. Its server comes without credentials."""
    counted = keys.use(PushKey, token, at=at)
    if counted:
        prefetch_related_objects([counted.key], Prefetch("server", Server.objects.defer("credentials")))
    return counted
