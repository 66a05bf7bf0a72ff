"""Sessions in the database as Django keeps them, looked up with each page that a person opens."""

from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone

from metering.prepared import execute

_DATA = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"


class SessionStore(db.SessionStore):
    def load(self) -> dict[str, Any]:
        rows = execute(_DATA, [self.session_key, timezone.now()])
        if not rows:
            self._session_key = None
            return {}
        [(data,)] = rows
        return self.decode(data)
