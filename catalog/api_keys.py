"""The deeds of a client's API keys: to make one, to revoke it, and to let a request in that shows it."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil

from catalog.models import ApiKey, Client, User

PREFIX = "tpc_"
#: What is kept of a key so that people can tell it from others: its beginning.
SHOWN = len(PREFIX) + 4
#: The limit on requests holds for each minute of a key, which begins with its first request.
WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Use:
    """A request that showed a usable key: which of its minute it is, and when that minute is over."""

    key: ApiKey
    requests: int
    seconds_left: int


def make(
    *, client: Client, name: str, by: User | None, at: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for a client, and return it with the text that opens the API, which is kept nowhere."""
    token = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        client=client,
        name=name,
        begins_with=token[:SHOWN],
        digest=digest_of(token),
        created_at=at,
        created_by=by,
        expires_at=expires_at,
    )
    key.save(force_insert=True)
    return key, token


def revoke(*, key: ApiKey, by: User | None, at: datetime) -> bool:
    """Let a key open nothing any more. Returns whether it was revoked only now."""
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at, revoked_by=by))


def use(token: str, *, at: datetime) -> Use | None:
    """Count a request that shows `token`; None when no usable key is that.

    The key is counted and read by one statement, so that two requests at once are never the same one of a minute. It
    is found by its digest, so that no comparison takes longer the more of it is right.
    """
    values = {"digest": digest_of(token), "at": at, "before": at - WINDOW}
    for key in ApiKey.objects.raw(_COUNTED, values):
        assert key.window_started_at is not None  # as it was counted
        return Use(key, key.window_requests, max(1, ceil((key.window_started_at + WINDOW - at).total_seconds())))
    return None


# A window that has not begun is one of a clock that was set back: it locks nobody out.
_COUNTED = """
WITH counted AS (
    UPDATE catalog_apikey SET
        last_used_at = %(at)s,
        window_started_at =
            CASE WHEN window_started_at > %(before)s AND window_started_at <= %(at)s
                THEN window_started_at ELSE %(at)s END,
        window_requests =
            CASE WHEN window_started_at > %(before)s AND window_started_at <= %(at)s
                THEN window_requests + 1 ELSE 1 END
    WHERE digest = %(digest)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(at)s)
    RETURNING *
)
SELECT * FROM counted
"""


def digest_of(token: str) -> str:
    # A key of 256 random bits cannot be guessed from its digest, so that this may be fast.
    return sha256(token.encode(errors="surrogateescape")).hexdigest()
