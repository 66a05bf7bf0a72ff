"""Keys of an API: the text that opens it, what is kept of that, and how the requests that show it are counted."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import ClassVar, Generic, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _

#: The limit on requests holds for each minute of a key, which begins with its first request.
WINDOW = timedelta(minutes=1)


class Key(models.Model):
    """What opens an API. The key itself is shown once; its digest is kept.

    `window_started_at` and `window_requests` count the requests of a minute, for the limit on them.
    """

    begins_with = models.CharField(_("begins with"), max_length=12, editable=False)
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False, help_text="SHA-256 of the key.")
    created_at = models.DateTimeField(_("created at"))
    last_used_at = models.DateTimeField(_("last used at"), null=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True)
    window_started_at = models.DateTimeField(_("minute began at"), null=True)
    window_requests = models.PositiveIntegerField(_("requests in this minute"), default=0)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]


K = TypeVar("K", bound=Key)


@dataclass(frozen=True, slots=True)
class Use(Generic[K]):
    """A request that showed a usable key: which of its minute it is, and when that minute is over."""

    key: K
    requests: int
    seconds_left: int


def new_token(prefix: str) -> str:
    """Return a text that opens an API, which nobody guesses. The prefix ends with `_` and tells of which API it is."""
    return prefix + secrets.token_urlsafe(32)


def beginning_of(token: str) -> str:
    """Return what is kept of a key so that people can tell it from others: its prefix and four more characters."""
    return token[: token.index("_") + 5]


def digest_of(token: str) -> str:
    # A key of 256 random bits cannot be guessed from its digest, so that this may be fast.
    return sha256(token.encode(errors="surrogateescape")).hexdigest()


def use(model: type[K], token: str, *, at: datetime, usable: str = "revoked_at IS NULL") -> Use[K] | None:
    """Count a request that shows `token`; None when no key of the model that is `usable`, in SQL, is that.

    The key is counted and read by one statement, so that two requests at once are never the same one of a minute. It
    is found by its digest, so that no comparison takes longer the more of it is right.
    """
    values = {"digest": digest_of(token), "at": at, "before": at - WINDOW}
    for key in model._default_manager.raw(_COUNTED.format(table=model._meta.db_table, usable=usable), values):
        assert key.window_started_at is not None  # as it was counted
        return Use(key, key.window_requests, max(1, ceil((key.window_started_at + WINDOW - at).total_seconds())))
    return None


# A window that has not begun is one of a clock that was set back: it locks nobody out.
_COUNTED = """
WITH counted AS (
    UPDATE {table} SET
        last_used_at = %(at)s,
        window_started_at =
            CASE WHEN window_started_at > %(before)s AND window_started_at <= %(at)s
                THEN window_started_at ELSE %(at)s END,
        window_requests =
            CASE WHEN window_started_at > %(before)s AND window_started_at <= %(at)s
                THEN window_requests + 1 ELSE 1 END
    WHERE digest = %(digest)s AND {usable}
    RETURNING *
)
SELECT * FROM counted
"""
