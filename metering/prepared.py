"""Statements of the pages that are opened most: written once, and planned once by each connection.

A statement of six tables takes Django longer to write than PostgreSQL to answer, and that longer to plan than to run;
of a table with a part for each month it plans every part. This is for what finds few rows by keys: a plan that is kept
thinks of every array as ten values.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar, cast

from django.contrib.postgres.fields import ArrayField
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import BigIntegerField, Field, Func, Model, QuerySet, Value
from django.db.models.functions import Cast
from psycopg import Connection, Cursor, OperationalError
from psycopg import Error as PsycopgError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.datetime import TimestamptzLoader

from metering import instances

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
        return self._written.instances(execute(*self.asked(*values)))

    def first(self, *values: Any) -> Row | None:
        """Return the first row that the queryset finds for these values."""
        return next(iter(self.all(*values)), None)

    def asked(self, *values: Any) -> "Question":
        """Return what is asked for these values."""
        one = self._written
        return Question(
            one.statement, [values[each.number] if isinstance(each, _Place) else each for each in one.given]
        )

    @cached_property
    def _written(self) -> "_Written":
        places = (Value(_Place(number)) for number in range(self._build.__code__.co_argcount))
        compiler: Any = self._build(*places).query.get_compiler(connection.alias)
        return _Written(compiler, *compiler.as_sql())


class _Written:
    """A statement with what is given to it, and how its rows become instances: what Django finds out anew for each."""

    def __init__(self, compiler: Any, statement: str, given: Sequence[Any]) -> None:
        self.statement = statement
        self.given = given
        found = compiler.klass_info
        first, last = found["select_fields"][0], found["select_fields"][-1]
        self._own = slice(first, last + 1)
        self._make = partial(
            instances.maker(found["model"]),
            compiler.using,
            [column.target.attname for column, *_ in compiler.select[self._own]],
        )
        self._related = instances.related(found, compiler.select, compiler.using)
        self._annotated = compiler.annotation_col_map or {}
        self._convert = partial(
            compiler.apply_converters, converters=compiler.get_converters([column for column, *_ in compiler.select])
        )

    def instances(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        """Make what Django makes of rows."""
        made = []
        for row in self._convert(rows):
            one = self._make(row[self._own])
            for related in self._related:
                related.populate(row, one)
            for name, place in self._annotated.items():
                setattr(one, name, row[place])
            made.append(one)
        return made


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the value of this number goes in a statement."""

    number: int


def any_of(place: Value, field: Field[Any, Any] | None = None) -> Any:
    """Return what a queryset looks for with `__in` at the place of a list of ids, which are numbers or of a field."""
    of = field or BigIntegerField()
    listed = Cast(place, ArrayField(of))
    return Func(listed, template="(SELECT unnest(%(expressions)s))", output_field=of)


class Question(NamedTuple):
    """What `execute` is asked: a statement, what is given to it, and about how many things it is."""

    statement: str
    values: Sequence[Any] | Mapping[str, Any] = ()
    about: int = 1


def execute(statement: str, values: Sequence[Any] | Mapping[str, Any] = (), about: int = 1) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; if it asks `about` few things, by the plan that this connection has of it."""
    one: Any = connections[DEFAULT_DB_ALIAS]
    if about > FEW or one.queries_logged:  # a log has them whole, with their values
        with one.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    cursor = _ready(one)
    if cursor.waiting and (known := cursor.answer_to(statement, values)) is not None:
        return known
    try:
        return cursor.ask(statement, values)
    except PsycopgError:
        with one.wrap_database_errors:
            raise


@contextmanager
def together(*questions: Question) -> Iterator[None]:
    """Ask several things in one round trip: while this lasts, `execute` has the answer of each, once.

    Each round trip has the server and this process wait for each other, for as long as a small answer takes. What is
    about many things is asked when it is asked for.
    """
    one: Any = connections[DEFAULT_DB_ALIAS]
    few = [each for each in questions if each.about <= FEW]
    if one.queries_logged or not few:
        yield
        return
    cursor = _ready(one)
    try:
        cursor.ask_ahead(few)
    except PsycopgError:
        with one.wrap_database_errors:
            raise
    try:
        yield
    finally:
        cursor.waiting.clear()


def _ready(one: Any) -> "_Preparing":
    """Make sure of the connection as Django's cursors do, and return what asks by it."""
    one.close_if_health_check_failed()
    one.ensure_connection()
    one.validate_no_broken_transaction()
    return _preparing(one.connection)


class _Preparing(Cursor[tuple[Any, ...]]):
    """Asks by the statements that it prepared, in the server's own words.

    psycopg would write each anew, look for it among those it prepared, and count: five times what asking takes.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection)
        self._is_told = False
        # Django's own is written in Python.
        self.adapters.register_loader("timestamptz", TimestamptzLoader)
        self._translated = Transformer(self)
        #: What each is called here, by its text and the types of what is given to it.
        self._names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        #: What was asked ahead, and answered.
        self.waiting: list[tuple[str, Sequence[Any] | Mapping[str, Any], list[tuple[Any, ...]]]] = []

    def ask(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        self._begin()
        return self._read(self.connection.pgconn.exec_prepared(*self._bound(statement, values)))

    def ask_ahead(self, questions: Iterable[Question]) -> None:
        """Ask all of these, and keep the answers. Raises what the server said of the first that failed."""
        self._begin()
        server = self.connection.pgconn
        bound = [self._bound(statement, values) for statement, values, _ in questions]
        server.enter_pipeline_mode()
        for each in bound:
            server.send_query_prepared(*each)
        server.pipeline_sync()
        answers = []
        for _ in bound:
            answers.append(server.get_result())
            server.get_result()  # that there is no more of it
        server.get_result()  # that of the sync
        server.exit_pipeline_mode()
        self.waiting = [
            (statement, values, self._read(answer))
            for (statement, values, _), answer in zip(questions, answers, strict=True)
        ]

    def answer_to(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]] | None:
        for place, (asked, given, _) in enumerate(self.waiting):
            if asked == statement and given == values:
                return self.waiting.pop(place)[2]
        return None

    def _bound(
        self, statement: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> tuple[bytes, Sequence[bytes], Sequence[int] | None]:
        """Return the name of a statement, and what is given to it as the server reads it."""
        given: Sequence[Any]
        if isinstance(values, Mapping):
            alone = tuple(name for name in _lists(statement) if len(values[name]) == 1)
            statement = _comparing(statement, alone)
            text, names = _numbered(statement)
            given = [_alone(values[name]) if name in alone else values[name] for name in names]
        else:
            text, given = _numbered(statement)[0], values
        said = self._translated.dump_sequence([_as_text(value) for value in given], [PyFormat.AUTO] * len(given))
        types = self._translated.types or ()
        name = self._names.get((statement, types))
        if name is None:
            name = f"kept_{next(_number)}".encode()
            self._read(self.connection.pgconn.prepare(name, text, types))
            self._names[statement, types] = name
        return name, cast("Sequence[bytes]", said), self._translated.formats

    def _begin(self) -> None:
        is_idle = self.connection.pgconn.transaction_status == TransactionStatus.IDLE
        if self._is_told and (self.connection.autocommit or not is_idle):
            return
        # Or it would plan anew, each time, what finds its months while it is planned. It begins the transaction, too.
        self.connection.execute("SET plan_cache_mode = force_generic_plan")
        self._is_told = is_idle and self.connection.autocommit  # in a transaction it may be rolled back

    def _read(self, answer: PGresult | None) -> list[tuple[Any, ...]]:
        if answer is None:
            raise OperationalError("the connection to the database was lost before it answered")
        if answer.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise error_from_result(answer)
        self._translated.set_pgresult(answer)
        return self._translated.load_rows(0, answer.ntuples, tuple)


@cache
def _numbered(statement: str) -> tuple[bytes, list[str]]:
    """Return a statement with its places as PostgreSQL numbers them, and the names that they have."""
    numbers: dict[str, int] = {}

    def number(place: re.Match[str]) -> str:
        if place[0] == "%%":
            return "%"
        return f"${numbers.setdefault(place[1] or str(len(numbers)), len(numbers) + 1)}"

    return re.sub(r"%(?:%|s|\((\w+)\)s)", number, statement).encode(), list(numbers)


@cache
def _lists(statement: str) -> list[str]:
    """The names of lists in which a statement looks for something, and that stand nowhere else in it."""
    looked_in = Counter(re.findall(r"= ANY\(%\((\w+)\)s\)", statement))
    return [name for name, times in looked_in.items() if statement.count(f"%({name})s") == times]


@cache
def _comparing(statement: str, alone: tuple[str, ...]) -> str:
    """Return a statement for lists of which these have one thing alone: PostgreSQL prepares a list anew for each table
    that it looks in, and usage has one for each month."""
    for name in alone:
        statement = statement.replace(f"= ANY(%({name})s)", f"= %({name})s")
    return statement


def _alone(values: Sequence[Any]) -> Any:
    """Return the one of a list. Of an id PostgreSQL knows what type it is; psycopg would name one of three by its
    size, for each of which the statement would be prepared."""
    [value] = values
    return str(value) if type(value) is int else value


def _as_text(value: Any) -> Any:
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
#: No two statements of a process have one name: a connection may go from one thread to another.
_number = count()
