"""What came in from one server: each value is checked on its way to the staging table, and becomes a row of it.

What is refused is written down with its tenant, metric and reason, and the rest goes on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from metering.acceptable import MAX_YEARS, Refusals, bad_key, checked
from metering.models import Metric
from metering.periods import Period
from metering.providers.base import MetricType, TenantUsage, Usage

#: A column without a value, as COPY writes it.
NULL = "\\N"


@dataclass
class Intake:
    """Which tenants were named, by their numbers in the staging tables, how many values came, and what was refused."""

    metrics: Mapping[str, Metric]
    open_day: date
    as_of: datetime
    tenants: dict[str, int] = field(default_factory=dict)
    ambiguous: set[str] = field(default_factory=set)
    seen_metrics: set[int] = field(default_factory=set)
    months: set[date] = field(default_factory=set)
    values: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    #: By metric: its number and its open period, as the columns before and behind a value.
    columns: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, metric in self.metrics.items():
            self.columns[name] = (metric.pk, self._period_columns(metric.period_of(self.open_day)))

    def rows(self, answer: TenantUsage) -> Iterator[str]:
        """Yield the rows of what may be stored of an answer, as COPY reads them, and write down what may not."""
        key, number = answer.tenant, self._number(answer)
        if number is None:
            return
        for name, usage in answer.values.items():
            try:
                metric, period = self.columns[name]
                if usage.start is not None or usage.end is not None:
                    period = self._period_columns(self._named_period(self.metrics[name], usage))
                since = self._since(usage.counting_since) if usage.counting_since else NULL
                value = checked(usage.value)
            except KeyError:
                self.refusals.add(key, name, "the provider did not declare this metric")
            except ValueError as error:
                self.refusals.add(key, name, str(error))
            else:
                self.values += 1
                self.seen_metrics.add(metric)
                quota = NULL if usage.limit is None else self._quota(key, name, usage.limit)
                yield f"{number}\t{metric}\t{value}\t{quota}\t{since}\t{period}"

    def drop_ambiguous(self) -> list[int]:
        """Refuse the tenants that were named twice. Returns their numbers, of which no row may stay."""
        for key in sorted(self.ambiguous):
            self.refusals.add(key, "", "named twice in one answer; nothing of it was stored")
        return [self.tenants.pop(key) for key in self.ambiguous]

    def _number(self, answer: TenantUsage) -> int | None:
        """Give a tenant its number; None to one of whom nothing is stored."""
        key = answer.tenant
        if reason := bad_key(key):
            for name, failure in answer.failures.items() or [("", reason)]:
                self.refusals.add(key, name, failure)
            return None
        if key in self.tenants:
            # Two different answers for one name: neither can be believed.
            self.ambiguous.add(key)
            return None
        for name, failure in answer.failures.items():
            self.refusals.add(key, name, failure)
        number = self.tenants[key] = len(self.tenants)
        return number

    def _period_columns(self, period: Period) -> str:
        self.months.add(period.start)
        return f"{period.start}\t{period.end}\n"

    def _named_period(self, metric: Metric, usage: Usage) -> Period:
        """Return the period that a value names. Raises ValueError when it is not one of its metric."""
        start, end = usage.start, usage.end
        if start is None or end is None:
            raise ValueError("a period needs its start and its end")
        if metric.type == MetricType.COUNTER:
            raise ValueError("a counter has a value now, not for a period")
        period = Period(start, end)
        if period != metric.period_of(start):
            raise ValueError(f"{start} to {end} is not one {metric.type} of this metric")
        if start > self.open_day or start.year < self.open_day.year - MAX_YEARS:
            raise ValueError(f"the period from {start} is in the future or too far back")
        return period

    def _since(self, counting_since: datetime) -> str:
        """Return the column that says when a counter began. Raises ValueError when that is yet to come."""
        if counting_since > self.as_of:
            # Counted now, it would seem to have restarted once more the next time, and all of it count again.
            since = counting_since.isoformat(" ", "seconds")
            raise ValueError(f"it says to count since {since}, which is after the collection; is its clock ahead?")
        return counting_since.isoformat()

    def _quota(self, tenant: str, metric: str, limit: Decimal) -> str:
        """Return the column of a limit. One that is no quantity is refused and left out; the value counts."""
        try:
            return checked(limit)
        except ValueError as error:
            self.refusals.add(tenant, metric, f"its limit: {error}")
            return NULL
