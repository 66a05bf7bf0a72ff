"""What a line that is sent means on its server: which metric and period it is for, and how much; or why it is none."""

from collections.abc import Collection as Several
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from metering import units
from metering.acceptable import MAX_YEARS, bad_key, checked
from metering.decimals import EXACT, plain
from metering.formats import Fault, Line, Mode
from metering.models import Metric, Server
from metering.periods import Period, local_day
from metering.providers.base import MetricType

#: How far ahead of ours a sender's clock may be.
AHEAD = timedelta(minutes=5)
#: A count is counted when it comes, and not any more when it was read longer ago than this.
LATE_COUNT = timedelta(hours=1)
#: A line adds to a period only so long after its end.
ADD_BACK = timedelta(days=35)

#: Tenant, metric, and the first day of the period.
Key = tuple[str, int, date]
ZERO = Decimal(0)


class Status:
    """What became of a line, as HTTP says it."""

    STORED = 200
    FORBIDDEN = 403
    CONFLICT = 409
    UNUSABLE = 422


class Refused(Exception):
    """A line is not stored. The message says why, and what to do."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Item(NamedTuple):
    """A line that can be used: what it is about, in the base of the metric's unit.

    `digest` tells one line from another under the same id; a line without an id has none.
    """

    line: Line
    metric: Metric
    key: Key
    end: date
    value: Decimal
    adds: bool
    digest: bytes


class Interpreter:
    """Says what lines mean on a server at an instant. `allowed` names the metrics that they may be of, if not all."""

    def __init__(self, server: Server, at: datetime, metrics: Mapping[str, Metric], allowed: Several[str]) -> None:
        self.server, self.at, self.metrics, self.allowed = server, at, metrics, allowed
        self.zone = server.zone
        self.today = local_day(at, self.zone)
        self._good_keys: set[str] = set()
        self._factors: dict[tuple[int, str], Decimal] = {}
        self._periods: dict[tuple[int, datetime | None, Period | None], Period] = {}

    def understood(self, line: Line | Fault) -> Item:
        """Return what a line means. Raises Refused."""
        if isinstance(line, Fault):
            raise Refused(Status.UNUSABLE, line.reason)
        metric = self._metric(line)
        try:
            self._check_tenant(line.tenant)
            value = self._value(metric, line)
            period = self._period(metric, line)
            adds = self._adds(metric, line, period)
        except ValueError as error:
            raise Refused(Status.UNUSABLE, str(error)) from None
        digest = _digest(line, value, adds) if line.id else b""
        return Item(line, metric, (line.tenant, metric.pk, period.start), period.end, value, adds, digest)

    def _metric(self, line: Line) -> Metric:
        metric = self.metrics.get(line.metric)
        if metric is None:
            known = ", ".join(self.metrics) or "none yet"
            said = f"there is no metric {line.metric[:40]!r} on {self.server}; known are {known}"
            raise Refused(Status.UNUSABLE, said)
        if self.allowed and line.metric not in self.allowed:
            raise Refused(Status.FORBIDDEN, f"this key may not push {line.metric}")
        return metric

    def _check_tenant(self, key: str) -> None:
        if key not in self._good_keys:
            if reason := bad_key(key):
                raise ValueError(reason)
            self._good_keys.add(key)

    def _value(self, metric: Metric, line: Line) -> Decimal:
        """Return the value in the base of the metric's unit. Raises ValueError."""
        value = line.value
        if not value:
            return ZERO
        if not -40 < value.adjusted() < 40:
            raise ValueError(f"the value {value:.3E} is too large or too small")
        factor = self._factors.get((metric.pk, line.unit)) or self._factor(metric, line.unit)
        if factor != 1:
            value = EXACT.multiply(value, factor)
        checked(value)
        return value

    def _factor(self, metric: Metric, code: str) -> Decimal:
        own = metric.unit
        for unit in units.alike(own):
            if unit.code == (code or own.code):
                self._factors[metric.pk, code] = Decimal(unit.factor)
                return self._factors[metric.pk, code]
        known = ", ".join(unit.code for unit in units.alike(own))
        raise ValueError(f"{metric.system_name} cannot be in {code[:20]!r}, but in {known}")

    def _period(self, metric: Metric, line: Line) -> Period:
        """Return the period that a line is for. Raises ValueError."""
        asked = metric.pk, line.time, line.period
        if (found := self._periods.get(asked)) is None:
            found = self._periods[asked] = self._find_period(metric, line.time, line.period)
        return found

    def _find_period(self, metric: Metric, time: datetime | None, named: Period | None) -> Period:
        if named is not None:
            _check_named(metric, named)
        period = named or metric.period_of(self._day(metric, time))
        if period.start > self.today:
            raise ValueError("the period is in the future")
        if period.start.year < self.today.year - MAX_YEARS:
            raise ValueError(f"the period lies more than {MAX_YEARS} years back")
        return period

    def _day(self, metric: Metric, time: datetime | None) -> date:
        """Return the day on which a value was measured; of a count, today, since it is counted when it comes."""
        if time is None:
            return self.today
        if time > self.at + AHEAD:
            raise ValueError(f"the time is in the future; it is {self.at:%Y-%m-%dT%H:%M:%SZ} here")
        if metric.type == MetricType.COUNTER:
            if time < self.at - LATE_COUNT:
                raise ValueError("the count was read more than an hour ago; send the newest instead")
            return self.today
        if time.year < self.at.year - MAX_YEARS - 1:
            raise ValueError("the time is too far back")
        return local_day(min(time, self.at), self.zone)

    def _adds(self, metric: Metric, line: Line, period: Period) -> bool:
        """Whether a line is added to what counts so far. Raises ValueError when it should be and cannot."""
        is_total = metric.type in (MetricType.DAY, MetricType.MONTH)
        if line.mode is Mode.SET or (line.mode is Mode.EVENT and not is_total):
            return False
        if not is_total:
            raise ValueError(f"{metric.system_name} is a {metric.type}, which can only be set")
        if not line.id:
            raise ValueError("mode add needs an id, or the line would count twice when it is sent again")
        if period.end < self.today - ADD_BACK:
            raise ValueError(f"the period ended more than {ADD_BACK.days} days ago; set its total instead of adding")
        return True


def _check_named(metric: Metric, period: Period) -> None:
    """Raise ValueError when the period that a line names is none of its metric."""
    if metric.type == MetricType.COUNTER:
        raise ValueError("a count is one now, not for a period; leave out the period")
    is_month = metric.type == MetricType.MONTH
    if (period.days > 1) != is_month:
        example = "a month, such as 2026-11" if is_month else "a day, such as 2026-11-20"
        raise ValueError(f"{metric.system_name} needs {example}, as its period")


def _digest(line: Line, value: Decimal, adds: bool) -> bytes:
    """Return what tells one line from another under the same id: what it means, not how it is written."""
    when = line.time.timestamp() if line.time else line.period and f"{line.period.start}/{line.period.end}"
    said = f"{line.tenant}\0{line.metric}\0{plain(value)}\0{when}\0{adds}"
    return blake2b(said.encode(), digest_size=16).digest()
