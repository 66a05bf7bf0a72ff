"""Who is at work: told to the database, whose triggers write it into the audit log.

It is told by settings of the session, in one statement, and taken back the same way. A pool between the site and
the database must therefore keep a session to one client, as PgBouncer's `session` mode does.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, cast

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Error

logger = logging.getLogger(__name__)

_TELL = (
    "SELECT set_config('tallyport.actor', %s, false), set_config('tallyport.actor_name', %s, false),"
    " set_config('tallyport.source', %s, false), set_config('tallyport.path', %s, false)"
)
#: How the statements begin by which Django changes rows.
_WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class AtWork:
    """A person, by number and name, or the site itself, and by which way: `page`, `api`, `command` or `job`.

    Who is at work with another program has no source.
    """

    user: int | None = None
    name: str = ""
    source: str = ""
    path: str = ""


NOBODY = AtWork()
_at_work: ContextVar[AtWork] = ContextVar("at_work", default=NOBODY)


def at_work() -> AtWork:
    return _at_work.get()


@contextmanager
def reading(known: AtWork) -> Iterator[None]:
    """Know who is at work, and tell the database only if something is written after all."""
    token, is_told = _at_work.set(known), False

    def look(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_told
        if not is_told and isinstance(sql, str) and sql.startswith(_WRITES):
            is_told = True
            _tell()
        return execute(sql, params, many, context)

    try:
        with connection.execute_wrapper(look):
            yield
    finally:
        _at_work.reset(token)
        if is_told:
            _tell()


@contextmanager
def working(**known: Any) -> Iterator[None]:
    """Say who is at work, for a while: fields of AtWork, in addition to what is known already. A decorator, too."""
    before = _at_work.get()
    token = _at_work.set(replace(before, **known))
    try:
        _tell()
        yield
    finally:
        _at_work.reset(token)
        _tell()


def is_by(user: Any = None, *, name: str = "") -> None:
    """Say whose request this is, once it is known: of an API key, after it was looked up. It holds until the
    request ends."""
    _at_work.set(replace(_at_work.get(), user=user.pk if user else None, name=(name or str(user or ""))[:300]))
    _tell()


def tell_new_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """A connection that is made while somebody is at work hears of it."""
    if connection.alias == DEFAULT_DB_ALIAS and _at_work.get() != NOBODY:
        _send(connection)


def _tell() -> None:
    """Tell the open connection, if there is one; one that is made later hears of it then."""
    if connection.connection is None:
        return
    connection.close_if_health_check_failed()
    if connection.connection is None:
        return
    try:
        _send(connections[DEFAULT_DB_ALIAS])
    except Error:
        # It is broken, or in a transaction that is rolled back, and these settings with it. Outside of one nothing
        # may stay that names the wrong person.
        if not connection.in_atomic_block:
            logger.warning("A database connection was closed because it could not be told who is at work.")
            connection.close()


def _send(connection: BaseDatabaseWrapper) -> None:
    now = _at_work.get()
    # Not by a cursor of Django's: it is none of the page's queries.
    raw = cast("Any", connection.connection)
    raw.execute(_TELL, ("" if now.user is None else str(now.user), now.name, now.source, now.path))
