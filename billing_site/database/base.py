"""Django's PostgreSQL backend, which asks the kernel whether a connection lives before it asks the server."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that was kept from the request before needs no round trip to prove that it lives.

    A server that ended it has closed its socket, after saying why. So where there is nothing to read it lives; where
    there is something, Django asks the server.
    """

    health_check_enabled: bool
    health_check_done: bool

    def close_if_health_check_failed(self) -> None:
        if self.health_check_enabled and not self.health_check_done:
            self.health_check_done = self._is_silent()
        super().close_if_health_check_failed()

    def _is_silent(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        waiting = select.poll()
        waiting.register(self.connection.fileno(), select.POLLIN)
        return not waiting.poll(0)
