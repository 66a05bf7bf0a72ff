"""The contract of `metering.providers.base` as tests, for whoever writes a provider.

    from metering.providers.contract import ProviderContract

    class TestAcme(ProviderContract):
        provider_class = Acme
        zero = ("carol", "disk_used")

        def connection(self):
            return Connection({"url": …}, {"token": …}, as_of=datetime.now(UTC), time_zone=UTC)

Run it with pytest against a real server, or against something that answers like one. Needs neither Django
nor a plugin; mixed into a `unittest.TestCase` it runs with unittest as well.
"""

import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from traceback import format_exception
from typing import Any, ClassVar, NoReturn
from unittest.mock import patch

from metering.periods import Period, day, local_day, month
from metering.providers.base import (
    BANDWIDTH,
    DISK,
    Connection,
    Field,
    Metric,
    MetricType,
    Provider,
    ProviderError,
    TenantUsage,
)
from metering.providers.inspection import wrong_with
from metering.providers.secrecy import holds
from metering.units import BUILT_IN, PLACES, Unit

#: A credential that no server knows.
WRONG = "wrong-5e0f7c21b94a"
#: A tenant that no server has.
NOBODY = "nobody-5e0f7c21b94a"

_NAME = re.compile(r"[a-z0-9_]{1,100}", re.ASCII)
_KINDS = {"text", "lines", "number", "choice", "secret", "rows"}


class ProviderContract:
    """Subclass it, name the provider, and say how to reach a server that has at least one tenant."""

    provider_class: ClassVar[type[Provider]]
    #: A tenant and a metric of which the server says 0; None if it cannot be brought to say it.
    zero: ClassVar[tuple[str, str] | None]
    #: Levels that may differ between two questions, such as connections that are open at the moment.
    volatile: ClassVar[frozenset[str]] = frozenset()
    #: So many tenants are asked for one by one.
    sample: ClassVar[int] = 3

    def connection(self) -> Connection:
        """Return how to reach the server, in whose answers nothing changes during a test."""
        raise NotImplementedError("Let `connection` return how to reach your server.")

    def wrong_connection(self) -> Connection | None:
        """Return the connection with credentials that the server refuses, or None if it asks for none."""
        connection = self.connection()
        wrong = dict.fromkeys(connection.credentials, WRONG)
        return replace(connection, credentials=wrong) if wrong else None

    def closed_periods(self) -> list[Period]:
        """Return days and calendar months that are over, to ask for again: yesterday, and the month before."""
        connection = self.connection()
        today = local_day(connection.as_of, connection.time_zone)
        return [day(today - timedelta(days=1)), month(today.replace(day=1) - timedelta(days=1))]

    # What it says of itself

    def test_it_says_what_it_is_and_what_it_asks_for(self) -> None:
        kind = self.provider_class
        for name in ("title", "tenant_is"):
            text = getattr(kind, name, None)
            assert _is_text(text), f"`{name}` is {text!r}, not a text for people"
        assert isinstance(kind.resets, str), "`resets` is no text; leave it empty if nothing resets"
        assert isinstance(kind.can_look_back, bool), "`can_look_back` is neither True nor False"
        _check_fields("fields", kind.fields)
        asked = {field.name for field in kind.fields if field.kind == "secret"}
        given = set(self.connection().credentials)
        assert given <= asked, f"{given - asked} are credentials of the test, but no field of kind `secret`"

    def test_metrics_are_declared_without_a_network(self) -> None:
        settings = self.connection().settings
        with _no_network():
            start = time.perf_counter()
            for known in (None, {}, settings, dict.fromkeys(settings), {name: [None] for name in settings}):
                first, again = self._names(known), self._names(known)
                assert first == again, f"metrics({known!r}) answers {first}, and then {again}"
            took = time.perf_counter() - start
        assert took < 1, f"metrics() took {took / 10:.2f} s a call; it is called on every page that lists metrics"
        assert self._names(settings), "metrics() declares none for the settings of this server"

    def test_metrics_and_units_are_valid(self) -> None:
        for metric in (*self.provider_class.metrics(), *self._declared().values()):
            _check_metric(metric)

    # What it says of a server

    def test_check_says_what_the_server_is(self) -> None:
        with self._quiet(self.connection()) as connection:
            said = self.provider_class(connection).check()
        assert _is_text(said), f"check() answers {said!r}, not a sentence"
        _check_secrecy(said, connection, "the answer of check()")

    def test_every_tenant_comes_once(self) -> None:
        seen: set[str] = set()
        for answer in self._usage():
            key = answer.tenant
            assert isinstance(answer, TenantUsage), f"usage() yields {type(answer).__name__}, not TenantUsage"
            assert isinstance(key, str), f"{key!r} is no name of a tenant"
            assert len(key) <= 255, f"{key:.300} has {len(key)} characters; a tenant may have 255"
            assert key not in seen, f"the tenant {key!r} comes twice; nothing of it would be stored"
            assert key.isprintable(), f"{key!r} holds characters that cannot be shown"
            assert key.strip() or not key, f"{key!r} is blank"
            assert key or (answer.failures and not answer.values), "values without a tenant are nobody's"
            seen.add(key)
        assert seen - {""}, "usage() names no tenant; let the server of the test have one"

    def test_values_are_exact_and_of_declared_metrics(self) -> None:
        declared = self._declared()
        for answer in self._usage():
            for name in (*answer.values, *answer.failures):
                # What a setting of the server spoiled is named by its row, without being a metric.
                assert name in declared or name in answer.failures, f"{answer.tenant!r}: {name!r} is not declared"
            both = answer.values.keys() & answer.failures.keys()
            assert not both, f"{answer.tenant!r}: {both} have a value, and failed"
            for name, usage in answer.values.items():
                assert not wrong_with(usage), f"{answer.tenant!r}, {name}: {wrong_with(usage)}"
                assert (usage.start, usage.end) == (None, None) or declared[name].type != MetricType.COUNTER, (
                    f"{name!r} is a counter: it has a value now, not for a period"
                )

    def test_reasons_of_failures_are_told_and_hold_no_credential(self) -> None:
        connection = self.connection()
        for answer in self.provider_class(connection).usage():
            for name, reason in answer.failures.items():
                assert _is_text(reason), f"{answer.tenant!r}: {name} failed for no reason"
                _check_secrecy(reason, connection, f"the reason why {name} of {answer.tenant!r} failed")

    def test_zero_is_a_value(self) -> None:
        zero = getattr(self, "zero", "unknown")
        assert zero != "unknown", "say with `zero` of which tenant and metric the server says 0; None if of none"
        if self.zero is None:
            return
        tenant, metric = self.zero
        found = {answer.tenant: answer for answer in self._usage()}
        assert tenant in found, f"usage() does not name {tenant!r}, of which the server says 0"
        assert metric in found[tenant].values, f"{metric} of {tenant!r} is left out, and the server says 0 of it"
        assert found[tenant].values[metric].value == 0, f"{metric} of {tenant!r} is {found[tenant].values[metric]}"

    def test_usage_is_a_stream_that_may_be_left(self) -> None:
        provider = self.provider_class(self.connection())
        answers = provider.usage()
        assert isinstance(answers, Iterator), f"usage() returns a {type(answers).__name__}; let it yield"
        first = next(answers, None)
        assert first, "usage() yields nothing; let the server of the test have a tenant"
        if hasattr(answers, "close"):
            answers.close()
        with closing(_closable(provider.usage())) as again:
            assert next(again).tenant == first.tenant, "after a stream was left, the next begins differently"

    def test_one_tenant_is_told_what_all_are_told(self) -> None:
        provider, declared = self.provider_class(self.connection()), self._declared()
        for of_all in islice((answer for answer in self._usage() if answer.tenant), self.sample):
            alone = provider.tenant_usage(of_all.tenant)
            assert alone.tenant == of_all.tenant, f"asked for {of_all.tenant!r}, it answers for {alone.tenant!r}"
            assert alone.values.keys() == of_all.values.keys(), (
                f"{alone.tenant!r} has {sorted(alone.values)} alone, and {sorted(of_all.values)} among all"
            )
            for name, usage in alone.values.items():
                among = of_all.values[name].value
                is_level = declared[name].type == MetricType.SNAPSHOT
                is_same = usage.value == among if is_level else usage.value >= among
                assert is_same or name in self.volatile, (
                    f"{name} of {alone.tenant!r} is {usage.value} alone, and was {among} among all"
                )

    def test_a_tenant_that_is_not_there_is_an_error(self) -> None:
        with self._quiet(self.connection()) as connection:
            error = _refusal(lambda: self.provider_class(connection).tenant_usage(NOBODY), "for an unknown tenant")
        _check_secrecy(error, connection, "the error for an unknown tenant")

    def test_a_wrong_credential_is_an_error_that_does_not_repeat_it(self) -> None:
        wrong = self.wrong_connection()
        if wrong is None:
            return
        for ask in ("check", "usage", "tenant_usage"):
            with self._quiet(wrong) as connection:
                provider = self.provider_class(connection)
                arguments = (NOBODY,) if ask == "tenant_usage" else ()
                error = _refusal(lambda: _exhaust(getattr(provider, ask)(*arguments)), f"of {ask}()")  # noqa: B023
            _check_secrecy(error, connection, f"the error of {ask}()")

    def test_a_period_that_is_over_is_answered_with_its_own_days(self) -> None:
        if not self.provider_class.can_look_back:
            return
        declared, provider = self._declared(), self.provider_class(self.connection())
        types = {metric.type for metric in declared.values()}
        for period in self.closed_periods():
            kind = MetricType.DAY if period.days == 1 else MetricType.MONTH
            seen: set[str] = set()
            for answer in provider.usage(period) if kind in types else ():
                assert answer.tenant not in seen, f"the tenant {answer.tenant!r} comes twice for {period}"
                seen.add(answer.tenant)
                for name, usage in answer.values.items():
                    where = f"{answer.tenant!r}, {name}"
                    assert name in declared, f"{where} is not declared"
                    assert declared[name].type == kind, f"{where} is not a metric of type {kind}"
                    assert not wrong_with(usage), f"{where}: {wrong_with(usage)}"
                    assert (usage.start, usage.end) == (period.start, period.end), (
                        f"{where} was asked for {period.start} to {period.end}, and answers for "
                        f"{usage.start} to {usage.end}"
                    )

    def _usage(self) -> Iterator[TenantUsage]:
        return self.provider_class(self.connection()).usage()

    def _declared(self) -> dict[str, Metric]:
        settings = self.connection().settings
        return {metric.system_name: metric for metric in self.provider_class.metrics(settings)}

    def _names(self, settings: Mapping[str, Any] | None) -> list[str]:
        try:
            found = [metric.system_name for metric in self.provider_class.metrics(settings)]
        except Exception as error:
            raise AssertionError(f"metrics({settings!r}) raises {error!r}; it must not raise") from error
        assert len(found) == len(set(found)), f"metrics({settings!r}) declares a name twice: {found}"
        return found

    @contextmanager
    def _quiet(self, connection: Connection) -> Iterator[Connection]:
        """Watch over what is logged meanwhile."""
        logged = _Logged()
        root = logging.getLogger()
        before = root.level
        root.addHandler(logged)
        root.setLevel(logging.DEBUG)
        try:
            yield connection
        finally:
            root.removeHandler(logged)
            root.setLevel(before)
        _check_secrecy("\n".join(logged.lines), connection, "the log")


class _Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the network was asked")

    with (
        patch.object(socket.socket, "connect", refuse),
        patch.object(socket.socket, "connect_ex", refuse),
        patch.object(socket, "getaddrinfo", refuse),
    ):
        yield


def _refusal(ask: Any, what: str) -> str:
    """Return the error with its traceback and what it came from."""
    try:
        answer = ask()
    except ProviderError as error:
        said, trace = str(error), "".join(format_exception(error))
    except Exception as error:
        raise AssertionError(f"the error {what} is {error!r}, not a ProviderError") from error
    else:
        raise AssertionError(f"there is no ProviderError {what}, but {answer!r}")
    assert said.strip(), f"the error {what} says nothing"
    return trace


def _is_text(said: object) -> bool:
    return isinstance(said, str) and bool(said.strip())


def _exhaust(answer: Any) -> Any:
    return list(answer) if isinstance(answer, Iterator) else answer


def _closable(answers: Iterator[TenantUsage]) -> Any:
    return answers if hasattr(answers, "close") else (answer for answer in answers)


def _check_secrecy(text: str, connection: Connection, what: str) -> None:
    for name, secret in connection.credentials.items():
        # The shorter ones are words that may stand anywhere.
        if len(secret) > 3:
            assert not holds(text, [secret]), f"{what} holds the {name}"


def _check_fields(where: str, fields: tuple[Field, ...]) -> None:
    names = [field.name for field in fields]
    assert len(names) == len(set(names)), f"two of {where} have the same name: {names}"
    for field in fields:
        assert field.name.isidentifier(), f"{field.name!r} is no name of a field"
        assert field.label.strip(), f"{field.name} has no label"
        assert field.kind in _KINDS, f"{field.name} is of kind {field.kind!r}, not one of {sorted(_KINDS)}"
        assert bool(field.choices) == (field.kind == "choice"), (
            f"{field.name} is a choice, or has choices, but not both"
        )
        assert bool(field.columns) == (field.kind == "rows"), f"{field.name} is rows, or has columns, but not both"
        initial = {value for value, _ in field.choices} | {None}
        assert field.kind != "choice" or field.initial in initial, f"{field.name} begins with what is no choice"
        assert field.kind != "secret" or field.initial is None, f"{field.name} is secret, and would begin with a value"
        _check_fields(f"the columns of {field.name}", field.columns)


def _check_metric(metric: Metric) -> None:
    name, unit = metric.system_name, metric.unit
    assert _NAME.fullmatch(name), f"{name!r} is not of lower-case letters, digits and _"
    assert _is_text(metric.display_name), f"{name} has no name for people"
    assert len(metric.display_name) <= 200, f"the name of {name} for people has more than 200 characters"
    assert isinstance(metric.type, MetricType), f"{name} is of type {metric.type!r}, not one of MetricType"
    assert isinstance(unit, Unit), f"{name} is in {unit!r}, which is no Unit"
    assert all([unit.code, unit.singular, unit.plural]), f"the unit of {name} has no code or no nouns"
    assert 0 <= unit.places <= PLACES, f"the unit of {name} has {unit.places} places; at most {PLACES} are kept"
    assert unit.factor >= 1, f"a unit of {name} is {unit.factor} of its base"
    assert BUILT_IN.get(unit.code, unit) == unit, f"the unit of {name} is not what {unit.code} means elsewhere"
    if name in (DISK, BANDWIDTH):
        assert unit.family == "byte", f"{name} is shown as used of limit, and must be in bytes or a multiple"
