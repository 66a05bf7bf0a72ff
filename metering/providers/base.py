"""The contract between Tallyport and a provider.

A provider is a class that an installed package names in the entry-point group `tallyport.providers`;
installing the package is the whole installation, and the built-in providers come in by the same door.
A provider is given its configuration, answers with values, and sees neither a model nor a clock.

Zero, absent and failed are three different things. A value of zero is yielded and stored. A metric that
the server has no value for is left out of `values`. A metric that could not be read is named in
`failures` with the reason; when nothing could be read, ProviderError is raised.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from metering.periods import Period
from metering.units import Unit

logger = logging.getLogger(__name__)


def gettext_noop(text: str) -> str:
    """Mark a text for translation: it is found by this name, and translated where it is shown."""
    return text


GROUP = "tallyport.providers"
#: What the metrics for used space and for traffic are called by every provider that has them: by these names
#: both areas show used of limit, and overage is billed.
DISK, BANDWIDTH = "disk_used", "bandwidth"


class ProviderError(Exception):
    """A server could not be asked, or its answer could not be understood.

    The message is shown to staff: it says what was tried and what to do, and never holds a credential.
    """


class MetricType(StrEnum):
    """How a server counts, and so how values become usage.

    `snapshot` is a level that never resets; `day` and `month` are totals that the server resets at the
    turn of its day or calendar month; `counter` only ever rises, and falls when something restarts.
    """

    SNAPSHOT = "snapshot"
    DAY = "day"
    MONTH = "month"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """A thing that a provider can measure. `unit` is what people see; values come in the unit's base."""

    system_name: str
    display_name: str
    type: MetricType
    unit: Unit

    def __str__(self) -> str:
        """Its name, in English; metering.models.Metric has it in the reader's language."""
        return self.display_name


@dataclass(frozen=True, slots=True)
class Usage:
    """One observed value.

    `value` is in the base of the metric's unit (bytes for a metric in GB, the raw count for a counter).
    `collected_at` is when the server says that it measured, if it says so. `start` and `end` name the
    period that the value belongs to, half-open, so that a closed month can be corrected; without them it
    belongs to the day or month of the collection. `limit` is the quota, where the server has one.
    `counting_since` is when a counter began to count, where the server knows: a restart is then seen even
    when the counter has passed its old value since.
    """

    value: Decimal
    collected_at: datetime | None = None
    start: date | None = None
    end: date | None = None
    limit: Decimal | None = None
    counting_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What a server said of one tenant: values by metric, and reasons for those that could not be read.

    Failures of an empty tenant could not be attributed to any; they are listed, and values beside them are not.
    """

    tenant: str
    values: Mapping[str, Usage]
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Cost:
    """What asking a server has cost: remote calls, and bytes of their answers. Nothing is asked any more after
    `ends`, an instant of the monotonic clock."""

    ends: float = math.inf
    calls: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one server, and the one instant of the collection that asks it.

    `settings` and `credentials` hold the values of the provider's `fields`; a collection belongs to the
    day and month that `as_of` falls on in `time_zone`. What is asked is added to `cost`.
    """

    settings: Mapping[str, Any]
    credentials: Mapping[str, str] = field(repr=False)
    as_of: datetime
    time_zone: tzinfo
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True)
class Field:
    """A setting that the server form asks for.

    `kind` is `text`, `lines` (text of several lines), `number`, `choice` (of `choices`), `secret` (stored
    encrypted, never shown again) or `rows` (a list of mappings, with a column per field of `columns`).
    """

    name: str
    label: str
    kind: str = "text"
    help: str = ""
    required: bool = True
    initial: Any = None
    choices: tuple[tuple[str, str], ...] = ()
    columns: tuple["Field", ...] = ()


class Provider(Protocol):
    """A kind of system that can be asked for usage."""

    #: What people call the system: "PostgreSQL".
    title: ClassVar[str]
    #: What the system calls a tenant: "a database name".
    tenant_is: ClassVar[str]
    #: Which values reset, when and in which time zone, and how late they are: a sentence or two for staff.
    resets: ClassVar[str] = ""
    #: What a server of this kind needs to be reached.
    fields: ClassVar[tuple[Field, ...]]
    #: Whether `usage(period)` can answer for a day or month that is over.
    can_look_back: ClassVar[bool]
    #: Whether its servers are asked at all, or send their usage by themselves.
    asks: ClassVar[bool] = True

    def __init__(self, connection: Connection) -> None: ...

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        """Return what can be measured, without a server and without the network.

        `settings` are those of a server whose metrics are part of its configuration; without them,
        return the metrics that every server of this kind has. Called for products and on every page
        that lists metrics, so it must be quick. Must not raise.
        """
        ...

    def check(self) -> str:
        """Ask the server whether it answers, and return a sentence about what it is.

        Raises ProviderError with what to change.
        """
        ...

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every tenant of the server, once each, in as few remote calls as the system allows, streaming.

        With `period`, a closed day or calendar month, yield its values instead of the current ones, each
        with its `start` and `end`: those of the day metrics for a day, of the month metrics for a month.
        Only asked for when `can_look_back`.

        Raises ProviderError when the server cannot be asked at all. What goes wrong for one tenant or
        one metric belongs into `failures`.
        """
        ...

    def tenant_usage(self, tenant: str) -> TenantUsage:
        """Return the current values of one tenant.

        Raises ProviderError when the server cannot be asked, or has no such tenant.
        """
        ...


@cache
def installed() -> dict[str, type[Provider]]:
    """Return the class of each installed provider, by its entry-point name, sorted by that name.

    A package that cannot be imported is left out and logged; it must not stop the others.
    """
    found: dict[str, type[Provider]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found[entry.name] = entry.load()
        except Exception:
            logger.exception("the provider %s (%s) cannot be imported", entry.name, entry.value)
    return found


def asks(name: str) -> bool:
    """Whether servers of the provider called `name` are asked; one that is not installed would be."""
    return getattr(installed().get(name), "asks", True)


def declared(name: str, settings: Mapping[str, Any]) -> Sequence[Metric]:
    """Return the metrics that a server with these settings declares; none when its provider is not installed."""
    known = installed().get(name)
    return known.metrics(settings) if known else ()


def provider(name: str) -> type[Provider]:
    """Return the provider called `name`. Raises ProviderError when its package is not installed."""
    try:
        return installed()[name]
    except KeyError:
        known = ", ".join(installed())
        raise ProviderError(f"No provider called {name!r} is installed. Installed are: {known}.") from None
