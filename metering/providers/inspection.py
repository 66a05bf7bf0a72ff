"""Asking a server in order to say what is wrong with it: its settings, its address, its certificate, its answers."""

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metering.providers import networks, trust
from metering.providers.base import Connection, Field, Metric, Provider, ProviderError, TenantUsage, Usage
from metering.providers.secrecy import blotted, traced
from metering.units import PLACES

#: A value is below this.
MAX_VALUE = 10**18
#: Kinds of failures that are listed, and tenants that are named for each.
MOST_KINDS, EXAMPLES = 20, 3
#: Seconds to wait for a certificate.
WAIT = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `topic` is a word, `text` a sentence for staff."""

    topic: str
    text: str
    is_wrong: bool = False


def inspect(kind: type[Provider], connection: Connection) -> Iterator[Finding]:
    """Ask a server, and yield what there is to say about it as it is found. Credentials are in none of it.

    A server that `check` refuses is asked no further, since further tries may lock its account.
    """
    for finding in _inspect(kind, connection):
        yield replace(finding, text=blotted(finding.text, connection.credentials.values()))


def wrong_with(usage: Any) -> str:
    """Say why what a provider yields for a metric is no Usage that can be stored, or nothing."""
    if not isinstance(usage, Usage):
        return f"{usage!r:.40} is no Usage"
    if (usage.start is None) != (usage.end is None):
        return "a period needs its start and its end"
    if any(type(bound) not in (date, type(None)) for bound in (usage.start, usage.end)):
        return f"the period from {usage.start!r} to {usage.end!r} is not one of dates"
    for at in (usage.collected_at, usage.counting_since):
        if at is not None and getattr(at, "tzinfo", None) is None:
            return f"{at!r} is no instant, for it has no time zone"
    limit = "" if usage.limit is None else _wrong_number(usage.limit)
    return _wrong_number(usage.value) or (limit and f"its limit {limit} (None is unlimited)")


def _wrong_number(value: Any) -> str:
    if not isinstance(value, Decimal):
        return f"{value!r:.40} is of type {type(value).__name__}, not Decimal"
    if not value.is_finite():
        return f"{value} is no number"
    if not 0 <= value < MAX_VALUE:
        return f"{value:.3E} is negative, or not below {MAX_VALUE:.0E}"
    return "" if value == round(value, PLACES) else f"{value:f} has more than {PLACES} decimals"


def _inspect(kind: type[Provider], connection: Connection) -> Iterator[Finding]:
    faults = list(_faults(kind.fields, {**connection.settings, **connection.credentials}))
    yield from faults or [Finding("settings", "All that is required is there.")]
    if faults:
        return
    yield from _address(connection)
    start = time.monotonic()
    try:
        provider = kind(connection)
        said = str(provider.check())
    except ProviderError as error:
        yield Finding("check", str(error), is_wrong=True)
    except (Exception, SystemExit) as error:
        yield Finding("check", f"It stopped with {traced(error)}.", is_wrong=True)
    else:
        yield Finding("check", f"{said.rstrip('.')}. It took {_since(start)}.")
        yield from _usage(provider, kind.metrics(connection.settings), connection)


def _faults(fields: Sequence[Field], entered: dict[str, Any]) -> Iterator[Finding]:
    for asked in fields:
        value = entered.get(asked.name)
        # What a form would begin with is what a provider takes for it, too.
        if asked.required and asked.initial is None and value in (None, "", [], ()):
            yield Finding("settings", f"{asked.label} ({asked.name}) is missing. {asked.help}".strip(), is_wrong=True)
        elif asked.kind == "choice" and value not in (None, "") and value not in dict(asked.choices):
            known = ", ".join(name for name, _ in asked.choices)
            text = f"{asked.label} ({asked.name}) is {value!r}, not one of {known}."
            yield Finding("settings", text, is_wrong=True)


def _address(connection: Connection) -> Iterator[Finding]:
    url, host = connection.settings.get("url"), connection.settings.get("host")
    try:
        parts = urlsplit(str(url or f"//{host}:{connection.settings.get('port') or 0}"))
        name, port = parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        name, port = "", 0
    if not url and (not host or str(host).startswith("/")):
        if host and not Path(str(host)).exists():
            yield Finding("address", f"There is no {host} on this machine.", is_wrong=True)
        return
    if not name:
        yield Finding("address", "The URL cannot be used. Write it as https://host or http://host:port.", is_wrong=True)
        return
    try:
        addresses = networks.look_up(name, port)
    except networks.Blocked as error:
        # Only what speaks HTTP keeps to that.
        yield Finding("address", f"{error}.", is_wrong=bool(url))
    except (OSError, UnicodeError) as error:
        yield Finding("address", f"{name} has no address: {error}. Check its name, and the name server.", is_wrong=True)
    else:
        yield Finding("address", f"{name} is {', '.join(addresses)}; port {port}.")
        if parts.scheme == "https":
            yield from _certificate(name, addresses[0], port)
        elif url and not all(address.startswith("127.") or address == "::1" for address in addresses):
            yield Finding("certificate", "There is none: whoever listens on the way reads the credentials. Use https.")


def _certificate(name: str, address: str, port: int) -> Iterator[Finding]:
    """Read the certificate without trusting it. What is trusted is for `check` to say."""
    try:
        with (
            socket.create_connection((address, port), WAIT) as bare,
            trust.whoever().wrap_socket(bare, server_hostname=name) as stream,
        ):
            digest = sha256(stream.getpeercert(binary_form=True) or b"").hexdigest()
            version = stream.version()
    except OSError as error:
        yield Finding("certificate", f"There is no TLS at {address}, port {port}: {error}.", is_wrong=True)
    else:
        yield Finding("certificate", f"{version}; the fingerprint of its certificate is {networks.written(digest)}.")


@dataclass
class _Seen:
    """What a server said of all its tenants, counted."""

    declared: dict[str, Metric]
    tenants: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[Decimal]] = field(default_factory=lambda: defaultdict(list))
    limits: Counter[str] = field(default_factory=Counter)
    #: By metric and reason: the tenants.
    failed: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    undeclared: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, answer: TenantUsage) -> None:
        tenant = answer.tenant
        self.tenants[tenant] += 1
        for name, reason in answer.failures.items():
            # The same reason of many tenants is one.
            said = reason.replace(tenant, "…") if len(tenant) > 2 else reason
            self.failed[name, said].append(tenant)
        for name, usage in answer.values.items():
            if name not in self.declared:
                self.undeclared[name, "the provider does not declare it"].append(tenant)
            elif reason := wrong_with(usage):
                self.refused[name, reason].append(tenant)
            else:
                self.values[name].append(usage.value)
                self.limits[name] += usage.limit is not None


def _usage(provider: Provider, declared: Sequence[Metric], connection: Connection) -> Iterator[Finding]:
    seen, start, cost = _Seen({metric.system_name: metric for metric in declared}), time.monotonic(), connection.cost
    error, is_whole = "", True
    calls, size = cost.calls, cost.bytes
    try:
        for answer in provider.usage():
            seen.add(answer)
            if time.monotonic() > cost.ends:
                is_whole = False
                break
    except ProviderError as failure:
        error = str(failure)
    except (Exception, SystemExit) as failure:
        error = f"It stopped with {traced(failure)}."
    asked = f"{_count(cost.calls - calls, 'call')}, {cost.bytes - size:,} bytes" if cost.calls > calls else ""
    told = f"{_count(len(seen.tenants), 'tenant')} in {_since(start)}{asked and f', {asked}'}."
    if not is_whole:
        told += " That is not all: the time was over."
    yield Finding("usage", told, is_wrong=not seen.tenants and not error)
    if error:
        yield Finding("usage", error, is_wrong=True)
    if twice := [tenant for tenant, times in seen.tenants.items() if times > 1]:
        yield Finding("usage", f"Named more than once, so nothing is stored: {_some(twice)}.", is_wrong=True)
    for metric in declared:
        yield _of_metric(metric, seen)
    for topic, found in (("failed", seen.failed), ("refused", seen.refused), ("undeclared", seen.undeclared)):
        kinds = sorted(found.items(), key=lambda each: -len(each[1]))
        for (name, reason), tenants in kinds[:MOST_KINDS]:
            yield Finding(topic, f"{len(tenants)} × {name}: {reason.rstrip('.')} ({_some(tenants)}).", is_wrong=True)
        if len(kinds) > MOST_KINDS:
            yield Finding(topic, f"… and {len(kinds) - MOST_KINDS} other reasons.", is_wrong=True)


def _of_metric(metric: Metric, seen: _Seen) -> Finding:
    values, name, unit = seen.values.get(metric.system_name), metric.system_name, metric.unit
    if not values:
        return Finding("metric", f"{name} ({metric.type}): no value.")
    span = " to ".join(dict.fromkeys(unit.write(unit.from_base(end), places=3) for end in (min(values), max(values))))
    zeros, limits = values.count(Decimal(0)), seen.limits[name]
    more = "".join(f", {number:,} {what}" for number, what in ((zeros, "zero"), (limits, "with a limit")) if number)
    return Finding("metric", f"{name} ({metric.type}): {_count(len(values), 'value')}{more}; {span}.")


def _since(start: float) -> str:
    return f"{time.monotonic() - start:.2f} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(tenants: Sequence[str]) -> str:
    shown = ", ".join(repr(tenant) for tenant in tenants[:EXAMPLES])
    return f"{shown}, …" if len(tenants) > EXAMPLES else shown
