"""The queue of the worker: django-q2's own, that takes only what the site's jobs are and what it can read.

A payload is a signed pickle of a dotted path and arguments. Whatever cannot be read, because a key was
replaced or a version was deployed in between, or whatever would call anything else, is thrown away and
reported; the schedule makes the work anew. The original would lose its pusher over some of these.
"""

import logging
from typing import Any

from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.signing import SignedPackage

logger = logging.getLogger(__name__)

#: The only functions that the worker calls.
ALLOWED = frozenset(
    f"billing_site.jobs.{name}" for name in ("tick", "issue", "dry_run", "collect", "mail_reset", "tell_user")
)


class Broker(ORM):  # type: ignore[misc]
    def enqueue(self, task: str) -> Any:
        """Queue a call, unless the same one waits already: a worker that was busy for long has one tick to do."""
        call = _call(task)
        for row in self.get_connection().filter(key=self.list_key).order_by("id")[:100]:
            if call is not None and _call(row.payload) == call and not self._is_taken(row):
                return row.pk
        return super().enqueue(task)

    def dequeue(self) -> list[tuple[int, str]]:
        readable = []
        for pk, payload in super().dequeue() or ():
            call = _call(payload)
            if call is not None and call[0] in ALLOWED:
                readable.append((pk, payload))
                continue
            logger.error(
                "entry %s of the queue %s, and was thrown away",
                pk,
                "cannot be read" if call is None else f"calls {call[0]}, which is none of the site's jobs",
            )
            self.fail(pk)
        return readable

    @staticmethod
    def _is_taken(row: Any) -> bool:
        """A row that a worker took is locked for a while, into the future."""
        return bool(row.lock > timezone.now())


def _call(payload: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
    """Return what a payload would call: path and arguments. None if it cannot be read."""
    try:
        task = SignedPackage.loads(payload)
        return str(task["func"]), tuple(task["args"]), dict(task["kwargs"])
    except Exception:
        # Whoever wrote it, with whatever key and version: unpickling raises anything.
        return None
