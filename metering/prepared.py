"""Statements of the pages that are opened most: written once, and planned once by each connection.

A statement of six tables takes Django longer to write than PostgreSQL to answer, and that longer to plan than to run;
of a table with a part for each month it plans every part. This is for what finds few rows by keys: a plan that is kept
thinks of every array as ten values.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import BigIntegerField, Field, Func, Model, QuerySet, Value
from django.db.models.functions import Cast
from django.db.models.query import ModelIterable
from psycopg import Connection, Cursor
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

#: A plan that is kept does for so many things that are asked about at once.
FEW = 50

Row = TypeVar("Row", bound=Model)


class Prepared(Generic[Row]):
    """A queryset whose statement is written once.

    `build` makes it of places for the values that differ, which stand wherever a queryset takes an expression. What it
    prefetches is left to be read when it is looked at.
    """

    def __init__(self, build: Callable[..., QuerySet[Row]]) -> None:
        self._build = build

    def all(self, *values: Any) -> list[Row]:
        """Return what the queryset finds for these values, in one query."""
        compiler, statement, given = self._written
        rows = execute(statement, [values[each.number] if isinstance(each, _Place) else each for each in given])
        return _instances(compiler, rows)

    def first(self, *values: Any) -> Row | None:
        """Return the first row that the queryset finds for these values."""
        return next(iter(self.all(*values)), None)

    @cached_property
    def _written(self) -> tuple[Any, str, Sequence[Any]]:
        places = (Value(_Place(number)) for number in range(self._build.__code__.co_argcount))
        compiler: Any = self._build(*places).query.get_compiler(connection.alias)
        statement, given = compiler.as_sql()
        converters = compiler.get_converters([column for column, *_ in compiler.select])
        compiler.get_converters = lambda _columns: converters  # or it would look for them each time
        return compiler, statement, given


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the value of this number goes in a statement."""

    number: int


def any_of(place: Value, field: Field[Any, Any] | None = None) -> Any:
    """Return what a queryset looks for with `__in` at the place of a list of ids, which are numbers or of a field."""
    of = field or BigIntegerField()
    listed = Cast(place, ArrayField(of))
    return Func(listed, template="(SELECT unnest(%(expressions)s))", output_field=of)


def _instances(compiler: Any, rows: list[tuple[Any, ...]]) -> list[Any]:
    """Make what Django makes of rows, by the compiler that wrote their statement."""
    asked = copy(compiler)  # it belongs to the thread that wrote it
    asked.connection, asked.execute_sql = connection, lambda **_: [rows]
    query = SimpleNamespace(get_compiler=lambda using: asked)
    known: Any = SimpleNamespace(db=asked.using, query=query, _known_related_objects={})
    return list(ModelIterable(known))


def execute(statement: str, values: Sequence[Any] | Mapping[str, Any] = (), *, about: int = 1) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; if it asks `about` few things, by the plan that this connection has of it."""
    one = connections[DEFAULT_DB_ALIAS]
    if about > FEW or one.queries_logged:  # a log has them whole, with their values
        with one.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    one.close_if_health_check_failed()
    one.ensure_connection()
    one.validate_no_broken_transaction()
    with one.wrap_database_errors:
        return _preparing(one.connection).ask(statement, values)


class _Preparing(Cursor[tuple[Any, ...]]):
    """The cursor of a connection whose statements are all prepared. It is used again and again: to make one takes
    half as long as to ask."""

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection)
        self._is_told = False
        # Django's own is written in Python.
        self.adapters.register_loader("timestamptz", TimestamptzLoader)

    def ask(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        connection = self.connection
        if not self._is_told:
            # Or it would plan anew, each time, what finds its months while it is planned.
            connection.execute("SET plan_cache_mode = force_generic_plan")
            # In a transaction it may be rolled back.
            self._is_told = connection.info.transaction_status is TransactionStatus.IDLE
        given = (
            {name: _written(value) for name, value in values.items()}
            if isinstance(values, Mapping)
            else [_written(value) for value in values]
        )
        # Elsewhere nothing is to be prepared, nor counted: psycopg would keep the last hundred statements of any size.
        connection.prepare_threshold = 0
        try:
            return self.execute(statement, given, prepare=True).fetchall()
        finally:
            connection.prepare_threshold = None


def _written(value: Any) -> Any:
    """Return a list of ids as PostgreSQL writes it: psycopg takes thirty calls to find out of what type a list is."""
    if type(value) is list and value and type(value[0]) is int:
        return f"{{{','.join(map(str, value))}}}"
    return value


def _preparing(connection: Connection[Any]) -> _Preparing:
    cursor: _Preparing | None = getattr(_of_thread, "cursor", None)
    if cursor is None or cursor.connection is not connection:
        cursor = _of_thread.cursor = _Preparing(connection)
    return cursor


_of_thread = threading.local()
