"""Push: usage that nobody asks for, because it is sent: by `POST /api/v1/usage`, or imported from a file.

A server of it is where usage comes from, such as one product of one's own. Its metrics are declared in its
settings, so that any product can be metered; metering.pushing takes what is sent.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from metering.periods import Period
from metering.providers.base import Connection, Field, Metric, MetricType, Provider, ProviderError, TenantUsage
from metering.providers.base import gettext_noop as _
from metering.units import BUILT_IN

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.ASCII)
_TYPES = (
    (MetricType.SNAPSHOT.value, _("Snapshot")),
    (MetricType.DAY.value, _("Day")),
    (MetricType.MONTH.value, _("Month")),
    (MetricType.COUNTER.value, _("Counter")),
)
_COLUMNS = (
    Field("system_name", _("System name"), help=_("As lines call it: lower-case letters, digits and _ . - only.")),
    Field("display_name", _("Name"), help=_("What clients read on the invoice.")),
    Field(
        "type",
        _("Type"),
        "choice",
        _("Snapshot: a level. Day, month: a total that lines set or add to. Counter: a count that only rises."),
        choices=_TYPES,
    ),
    Field(
        "unit",
        _("Unit"),
        "choice",
        _("What a line without a unit is in."),
        choices=tuple((code, code) for code in BUILT_IN),
    ),
)


class Push(Provider):
    """A server that is never asked."""

    title: ClassVar[str] = _("Push and import")
    tenant_is: ClassVar[str] = _("what the lines call it")
    resets: ClassVar[str] = _("Nothing resets by itself: a line says which day or month it is for.")
    fields: ClassVar[tuple[Field, ...]] = (Field("metrics", _("Metrics"), kind="rows", columns=_COLUMNS),)
    can_look_back: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def __init__(self, connection: Connection) -> None:
        self._settings = connection.settings

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        """Return the metrics of the rows that can be used, the first of each system name."""
        rows = (settings or {}).get("metrics")
        found: dict[str, Metric] = {}
        for row in rows if isinstance(rows, list | tuple) else ():
            if (metric := _metric(row)) is not None:
                found.setdefault(metric.system_name, metric)
        return list(found.values())

    def check(self) -> str:
        number = len(self.metrics(self._settings))
        if not number:
            raise ProviderError("No metric is declared. Add at least one.")
        return f"Nothing is asked; {number} metric{'' if number == 1 else 's'} can be pushed"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        self._refuse()

    def tenant_usage(self, tenant: str) -> TenantUsage:
        self._refuse()

    def _refuse(self) -> NoReturn:
        # An empty answer would say that every tenant is gone.
        raise ProviderError("There is nothing to ask: usage of this server is pushed or imported.")


def _metric(row: Any) -> Metric | None:
    if not isinstance(row, Mapping):
        return None
    name, shown, kind, unit = (str(row.get(column.name) or "").strip() for column in _COLUMNS)
    if not _NAME.fullmatch(name) or kind not in list(MetricType) or unit not in BUILT_IN:
        return None
    return Metric(name, shown or name, MetricType(kind), BUILT_IN[unit])
