"""The deeds of a client's API keys: to make one, to revoke it, and to let a request in that shows it."""

from datetime import datetime

from catalog.models import ApiKey, Client, User
from metering import keys

PREFIX = "tpc_"
_USABLE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(at)s)"


def make(
    *, client: Client, name: str, by: User | None, at: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for a client, and return it with the text that opens the API, which is kept nowhere."""
    token = keys.new_token(PREFIX)
    key = ApiKey(
        client=client,
        name=name,
        begins_with=keys.beginning_of(token),
        digest=keys.digest_of(token),
        created_at=at,
        created_by=by,
        expires_at=expires_at,
    )
    key.save(force_insert=True)
    return key, token


def revoke(*, key: ApiKey, by: User | None, at: datetime) -> bool:
    """Let a key open nothing any more. Returns whether it was revoked only now."""
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at, revoked_by=by))


def use(token: str, *, at: datetime) -> keys.Use[ApiKey] | None:
    """Count a request that shows `token`; None when no usable key is that."""
    return keys.use(ApiKey, token, at=at, usable=_USABLE)
