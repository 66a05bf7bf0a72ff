"""Prometheus, and what speaks its query API: usage by PromQL, one query per metric for all tenants.

PromQL calculates in binary floating point, and `increase()` extrapolates. Values are read exactly as they
are written, multiplied exactly, and then rounded half up to whole bytes or pieces (six decimals for the
unit `decimal`), which is finer than what they are worth.

A metric is an expression, or a preset: the series of a known exporter, asked as the metric's type needs it. Only the
increase of a counter may be summed over series. A sum of raw counts falls when one of them ends, and that would look
like a reset; so a preset of the type `counter` needs one series per tenant.

Every query is evaluated at an explicit instant. In an expression, `$start` and `$end` stand for unix
seconds and `$range` for the time between them, such as `3600s`: the month or day so far, the whole of a
month or day that is over, or, for a snapshot or a counter, the last hour.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any, ClassVar

from metering.decimals import EXACT, parse, round_half_up
from metering.periods import Period, local_day
from metering.providers.base import Connection, Field, Metric, MetricType, Provider, ProviderError, TenantUsage, Usage
from metering.providers.base import gettext_noop as _
from metering.providers.http import Client, HttpError, Limits, parse_json
from metering.units import BUILT_IN

HOUR = 3600
#: Values have at most this many digits before the point; a float64 without exponent takes up to LONGEST characters.
DIGITS, LONGEST = 20, 400

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

_AUTH = (("none", _("None")), ("basic", _("User name and password")), ("bearer", _("Bearer token")))
_TYPES = (
    (MetricType.SNAPSHOT.value, _("Snapshot")),
    (MetricType.DAY.value, _("Day")),
    (MetricType.MONTH.value, _("Month")),
    (MetricType.COUNTER.value, _("Counter")),
)
_UNITS = tuple((code, code) for code in BUILT_IN)


@dataclass(frozen=True, slots=True)
class _Preset:
    """A series of a known exporter: what people call it, its selector, the label of its tenants, and what it counts.

    `base` is that of the units that it can be shown in, empty for plain numbers; `per` divides what is counted.
    """

    title: str
    series: str
    label: str
    is_counter: bool
    base: str = "byte"
    per: int = 1

    def expression(self, kind: MetricType, label: str) -> str:
        """Return the expression for a type. Raises ValueError when it cannot be asked so."""
        per = f" / {self.per}" if self.per > 1 else ""
        match self.is_counter, kind:
            case True, MetricType.MONTH | MetricType.DAY:
                return f"sum by ({label}) (increase({self.series}[$range])){per}"
            case True, MetricType.COUNTER:
                return f"last_over_time({self.series}[$range]){per}"
            case False, MetricType.SNAPSHOT:
                return f"sum by ({label}) ({self.series}){per}"
        fitting = "month, day or counter" if self.is_counter else "snapshot"
        raise ValueError(f"the preset {self.title!r} has the type {fitting}")


_PRESETS = {
    "kubernetes_sent": _Preset(
        _("Kubernetes: bytes sent by pods"), "container_network_transmit_bytes_total", "namespace", True
    ),
    "kubernetes_received": _Preset(
        _("Kubernetes: bytes received by pods"), "container_network_receive_bytes_total", "namespace", True
    ),
    "kubernetes_cpu": _Preset(
        _("Kubernetes: CPU hours"), 'container_cpu_usage_seconds_total{container!=""}', "namespace", True, "", HOUR
    ),
    "kubernetes_memory": _Preset(
        _("Kubernetes: memory in use"), 'container_memory_working_set_bytes{container!=""}', "namespace", False
    ),
    "kubernetes_volumes": _Preset(
        _("Kubernetes: volumes in use"), "kubelet_volume_stats_used_bytes", "namespace", False
    ),
    "libvirt_sent": _Preset(
        _("libvirt: bytes sent by guests"), "libvirt_domain_interface_stats_transmit_bytes_total", "domain", True
    ),
    "libvirt_received": _Preset(
        _("libvirt: bytes received by guests"), "libvirt_domain_interface_stats_receive_bytes_total", "domain", True
    ),
    "minio_storage": _Preset(_("MinIO: size of buckets"), "minio_bucket_usage_total_bytes", "bucket", False),
    "minio_sent": _Preset(_("MinIO: bytes sent"), "minio_bucket_traffic_sent_bytes", "bucket", True),
}
_COLUMNS = (
    Field("system_name", _("System name"), help=_("Lower-case letters, digits and _; keep it once it is priced.")),
    Field("display_name", _("Name"), help=_("What clients read on the invoice.")),
    Field(
        "type",
        _("Type"),
        "choice",
        _("For a month, the server must keep its samples longer than that."),
        choices=_TYPES,
    ),
    Field("unit", _("Unit"), "choice", choices=_UNITS),
    Field(
        "preset",
        _("Preset"),
        "choice",
        _("Instead of PromQL: series of a known exporter. Month and day take its increase(), a counter its raw count."),
        required=False,
        choices=tuple((name, preset.title) for name, preset in _PRESETS.items()),
    ),
    Field("expression", "PromQL", "lines", _("One series per tenant. $start, $end and $range name the period."), False),
    Field(
        "label",
        _("Tenant label"),
        "text",
        _("The label that names the tenant; empty for a preset's own."),
        False,
        "tenant",
    ),
    Field("scale", _("Scale"), help=_("1024 if the expression is in KiB: value times scale is bytes."), initial="1"),
)


@dataclass(frozen=True, slots=True)
class _Query:
    """A metric, and how Prometheus is asked for it."""

    metric: Metric
    expression: str
    label: str
    scale: Decimal

    def at(self, start: int, end: int) -> str:
        """Return the expression for a period in unix seconds; PromQL knows no range of less than a second."""
        words = {"start": str(start), "end": str(end), "range": f"{max(end - start, 1)}s"}
        return re.sub(r"\$(start|end|range)\b", lambda found: words[found[1]], self.expression)

    def value(self, series: Any) -> Decimal:
        """Return the value of a series in the base of the metric's unit. Raises ValueError with the reason."""
        match series:
            case {"value": [_, str(text)]} if len(text) <= LONGEST and _NUMBER.fullmatch(text):
                value = EXACT.multiply(Decimal(text), self.scale)
            case {"value": [_, str(text)]}:
                raise ValueError(f"the value is {text[:40]!r}, not a number that can be billed")
            case _:
                raise ValueError("the answer holds no plain value; histograms need histogram_quantile() or the like")
        if value < 0:
            raise ValueError(f"the value is negative: {text[:40]}")
        if value.adjusted() >= DIGITS:
            raise ValueError(f"the value has more than {DIGITS} digits: {text[:40]}")
        unit = self.metric.unit
        return round_half_up(value, 0 if unit.base else unit.places) or Decimal(0)


class Prometheus(Provider):
    """Asks one Prometheus, or another server with its query API, such as VictoriaMetrics.

    Series without the tenant label come out as a tenant with an empty name that has failures and no values.
    """

    title: ClassVar[str] = "Prometheus"
    tenant_is: ClassVar[str] = _("the value of a label")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help=_("https://host:9090, with the path in front of /api/v1 if there is one.")),
        Field("auth", _("Authentication"), "choice", initial="none", choices=_AUTH),
        Field("username", _("User name"), required=False),
        Field("password", _("Password or bearer token"), kind="secret", required=False),
        Field(
            "ca", _("CA certificate"), "lines", required=False, help=_("PEM text, if the system does not know the CA.")
        ),
        Field("metrics", _("Metrics"), kind="rows", columns=_COLUMNS),
    )
    resets: ClassVar[str] = _(
        "Month and day metrics begin anew with the calendar in the time zone of the server, and can be asked for again "
        "as long as Prometheus keeps its samples (15 days unless told otherwise). Counters fall when what they count "
        "restarts. Values are as late as scraping is."
    )
    can_look_back: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries, self._faults = _read(connection.settings)

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        """Return the metrics of the rows that can be used; `check` names the others."""
        return [query.metric for query in _read(settings or {})[0]]

    def check(self) -> str:
        """Ask for the version, and evaluate every expression once."""
        if self._faults:
            raise ProviderError(_list(self._faults))
        with self._client() as http:
            match http.read_json(http.get("/api/v1/status/buildinfo")):
                case {"data": {"version": str(version)}}:
                    version = http.quote(version)
                case _:
                    raise ProviderError("The server answers, but not as Prometheus does. Check the URL.")
            reasons = {query.metric.system_name: self._ask(http, query, None)[1] for query in self._queries}
        if any(reasons.values()):
            raise ProviderError(_list({name: reason for name, reason in reasons.items() if reason}))
        return f"Prometheus {version}, {len(reasons)} metric{'' if len(reasons) == 1 else 's'} configured"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every tenant. Raises ProviderError for a period that is not over, too."""
        queries = self._queries
        if period:
            if _instant(period.end, self._connection.time_zone) > self._connection.as_of.timestamp():
                raise ProviderError(f"The period from {period.start} to {period.end} is not over. Ask when it is.")
            kind = MetricType.DAY if period.days == 1 else MetricType.MONTH
            queries = [query for query in queries if query.metric.type is kind]
        values: dict[str, dict[str, Usage]] = defaultdict(dict)
        failures: dict[str, dict[str, str]] = defaultdict(dict)
        unread = dict(self._faults)
        with self._client() as http:
            for query in queries:
                name = query.metric.system_name
                outcomes, reason = self._ask(http, query, period)
                if reason:
                    unread[name] = reason
                for tenant, outcome in outcomes.items():
                    if isinstance(outcome, str):
                        failures[tenant][name] = outcome
                    else:
                        values[tenant][name] = outcome
        if unread and not (values or failures):
            raise ProviderError(_list(unread))
        for tenant in dict.fromkeys([*values, *failures]):
            yield TenantUsage(tenant, values.get(tenant, {}), unread | failures.get(tenant, {}))

    def tenant_usage(self, tenant: str) -> TenantUsage:
        """Pick one tenant out of what `usage` says of all."""
        for found in self.usage():
            if found.tenant == tenant != "":
                return found
        raise ProviderError(f"No expression gives a series for the tenant {tenant!r}. Check its name and the labels.")

    def _client(self) -> Client:
        settings, secret = self._connection.settings, self._connection.credentials.get("password", "")
        kind = settings.get("auth") or "none"
        if kind != "none" and not secret:
            raise ProviderError("The password or bearer token is missing. Enter it, or turn authentication off.")
        if not self._queries:
            raise ProviderError(_list(self._faults) or "No metric is configured. Add at least one.")
        return Client(
            str(settings.get("url") or ""),
            auth=(str(settings.get("username") or ""), secret) if kind == "basic" else None,
            headers={"Authorization": f"Bearer {secret}"} if kind == "bearer" else None,
            ca=str(settings.get("ca") or ""),
            secrets=self._connection.credentials.values(),
            limits=self.limits,
            cost=self._connection.cost,
        )

    def _ask(self, http: Client, query: _Query, period: Period | None) -> tuple[Mapping[str, Usage | str], str]:
        """Return what a metric says of each tenant, and why it could not be read, if so."""
        match self._post(http, query, period):
            case {"status": "error", "error": said}:
                return {}, f"Prometheus says: {http.quote(str(said))}"
            case {"status": "success", "data": {"resultType": "vector", "result": list(result)}, **rest}:
                tenants = _by_tenant(result, query.label)
                if said := rest.get("warnings"):
                    partial = f"Prometheus says that the answer is partial: {http.quote(str(said))}"
                    return dict.fromkeys(tenants, partial), partial
                return {tenant: _outcome(query, tenant, series, period) for tenant, series in tenants.items()}, ""
            case {"status": "success", "data": {"resultType": kind}}:
                return {}, f"the expression gives a {http.quote(str(kind))}, not a vector with a series per tenant"
        return {}, "the answer is not that of Prometheus' query API"

    def _post(self, http: Client, query: _Query, period: Period | None) -> Any:
        start, end = self._span(query.metric.type, period)
        # Given a little less time than we wait, Prometheus says itself that a query takes too long.
        form = {"query": query.at(start, end), "time": str(end), "timeout": f"{max(1, int(self.limits.read) - 1)}s"}
        try:
            return http.read_json(http.post("/api/v1/query", form))
        except HttpError as error:
            # What Prometheus itself refuses is wrong with this query; anything else is wrong with the server.
            with suppress(ProviderError):
                answer = parse_json(error.body)
                if error.status not in (401, 403) and isinstance(answer, dict) and answer.get("status") == "error":
                    return answer
            raise

    def _span(self, kind: MetricType, period: Period | None) -> tuple[int, int]:
        """Return the unix seconds between which a metric is asked."""
        zone, as_of = self._connection.time_zone, self._connection.as_of
        if period:
            return _instant(period.start, zone), _instant(period.end, zone)
        today, end = local_day(as_of, zone), int(as_of.timestamp())
        if kind is MetricType.MONTH:
            return _instant(today.replace(day=1), zone), end
        return _instant(today, zone) if kind is MetricType.DAY else end - HOUR, end


def _instant(start_of: date, zone: tzinfo) -> int:
    # Differences of such instants, unlike those of local times, count the hours that a change of clocks moves.
    return int(datetime.combine(start_of, time.min, zone).timestamp())


def _by_tenant(result: list[Any], label: str) -> dict[str, list[Any]]:
    tenants: dict[str, list[Any]] = defaultdict(list)
    for series in result:
        labels = series.get("metric") if isinstance(series, dict) else None
        tenant = labels.get(label) if isinstance(labels, dict) else None
        tenants[tenant if isinstance(tenant, str) else ""].append(series)
    return tenants


def _outcome(query: _Query, tenant: str, series: list[Any], period: Period | None) -> Usage | str:
    if not tenant:
        return f"{len(series)} series without the label {query.label}; aggregate by ({query.label}) in the expression"
    if len(series) > 1 and query.metric.type is MetricType.COUNTER:
        # One of them that ends would make their sum fall, which is what a reset looks like.
        return f"{len(series)} series; a counter must be one, so take a month or day of increase() instead"
    if len(series) > 1:
        return f"{len(series)} series; sum by ({query.label}) in the expression"
    try:
        value = query.value(series[0])
    except ValueError as error:
        return str(error)
    return Usage(value, start=period.start, end=period.end) if period else Usage(value)


def _read(settings: Mapping[str, Any]) -> tuple[list[_Query], dict[str, str]]:
    """Return what can be asked, and what is wrong with the other rows, by system name where there is one."""
    queries: dict[str, _Query] = {}
    faults: dict[str, str] = {}
    rows = settings.get("metrics")
    for number, row in enumerate(rows if isinstance(rows, list | tuple) else (), start=1):
        name = str(row.get("system_name") or "") if isinstance(row, Mapping) else ""
        try:
            if name in queries or name in faults:
                name = ""
                raise ValueError("its system name is that of another row")
            queries[name] = _query(row)
        except ValueError as error:
            faults[name or f"row {number}"] = str(error)
    return list(queries.values()), faults


def _query(row: Any) -> _Query:
    """Read a row of the configuration. Raises ValueError with the reason."""
    if not isinstance(row, Mapping):
        raise ValueError("it is not a row")
    initial = {
        column.name: "" if row.get("preset") and column.name == "label" else column.initial for column in _COLUMNS
    }
    text = {name: str(row.get(name) or initial[name] or "").strip() for name in initial}
    name, expression, preset = text["system_name"], text["expression"], _PRESETS.get(text["preset"])
    label = text["label"] or (preset.label if preset else "")
    if not _NAME.fullmatch(name):
        raise ValueError("the system name is not of lower-case letters, digits and _")
    if text["type"] not in list(MetricType) or text["unit"] not in BUILT_IN:
        raise ValueError("the type or the unit is unknown")
    if text["preset"] and (not preset or expression):
        raise ValueError("the preset is unknown, or there is PromQL beside it")
    if preset and preset.base != BUILT_IN[text["unit"]].base:
        counted = "bytes: choose a unit of bytes" if preset.base else "a plain number: choose decimal"
        raise ValueError(f"the preset {preset.title!r} is {counted}")
    if preset and _LABEL.fullmatch(label):
        expression = preset.expression(MetricType(text["type"]), label)
    if not _LABEL.fullmatch(label) or not expression:
        raise ValueError("the expression is empty, or the label is not the name of one")
    if not (scale := parse(text["scale"], places=12)):
        raise ValueError("the scale is 0")
    metric = Metric(name, text["display_name"] or name, MetricType(text["type"]), BUILT_IN[text["unit"]])
    return _Query(metric, expression, label, scale)


def _list(reasons: Mapping[str, str]) -> str:
    return " ".join(f"Metric {name}: {reason.rstrip('.')}." for name, reason in reasons.items())
