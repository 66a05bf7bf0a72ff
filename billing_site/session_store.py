"""Sessions in the database as Django keeps them, looked up with each page that a person opens."""

from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone

from metering.prepared import execute

_DATA = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"


class SessionStore(db.SessionStore):
    def load(self) -> dict[str, Any]:
        for (data,) in execute(_DATA, [self.session_key, timezone.now()]):
            return self.decode(data)
        self._session_key = None
        return {}
