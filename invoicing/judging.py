"""Which usage is billed with a cut, and at what prices: plain decisions about rows that were read.

A period is billed when it lies wholly inside the days on which its metric was enabled and usage
invoicing was on, or inside days that a person said are to be billed all the same; when a pricing was in
force when it began; and when it was read after it ended. A period that was not read in time waits for one
invoice; the next one bills what is known of it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import ceil

from django.conf import settings as site

from catalog.aggregation import Aggregation
from catalog.in_force import InForce, choose
from catalog.models import MetricSetting, Override
from catalog.terms import number_at
from invoicing import reasons, usage_invoicing
from invoicing.billable import Billable, Item, Unbilled, Waiting, level
from invoicing.cuts import ONE_DAY, Cut
from invoicing.models import InvoicingSpan
from metering.models import Server
from metering.periods import Period, day, month
from metering.providers.base import MetricType

#: The prices of a period that is billed, with what a person let be billed, if it is billed only by that.
Verdict = tuple[InForce, Period | None]


class Rules:
    """What is the same for many services: whether a period was to be billed, and what priced it."""

    def __init__(self, spans: list[InvoicingSpan], granted: Mapping[tuple[int, int], list[Period]]) -> None:
        self.spans = spans
        self.granted = granted
        self.on: dict[int, list[tuple[date, date]]] = {}
        self.changes: dict[int, list[date]] = {}
        self.prices: dict[tuple[int, int, date], InForce | None] = {}
        self.ends: dict[tuple[int, date], datetime] = {}

    def when_on(self, setting: MetricSetting) -> list[tuple[date, date]]:
        if setting.id not in self.on:
            self.on[setting.id] = usage_invoicing.when_on(setting.all_spans, self.spans)
        return self.on[setting.id]

    def in_force(self, setting: MetricSetting, agreed: list[Override], began: date, invoiced: date) -> InForce | None:
        if agreed:
            return choose(setting, agreed, began=began, invoiced=invoiced)
        if setting.id not in self.changes:
            self.changes[setting.id] = sorted(version.effective_from for version in setting.all_versions)
        # From one day on which prices change to the next they stay the same.
        key = setting.id, bisect_right(self.changes[setting.id], began), invoiced
        if key not in self.prices:
            self.prices[key] = choose(setting, (), began=began, invoiced=invoiced)
        return self.prices[key]

    def end_of(self, server: Server, last: date) -> datetime:
        """When a day was over where a server is, in UTC: comparing across time zones takes its time."""
        key = server.id, last
        if key not in self.ends:
            self.ends[key] = day(last).ends_at(server.zone).astimezone(UTC)
        return self.ends[key]


class Judge:
    """Decides about the rows of one metric of a service, and of others that have everything else in common."""

    def __init__(
        self,
        cut: Cut,
        setting: MetricSetting,
        overrides: list[Override],
        rules: Rules,
        waited: Mapping[tuple[int, int], dict[date, date]],
    ) -> None:
        self.cut = cut
        self.setting = setting
        self.metric_id = setting.metric_id
        self.adds_up = setting.metric.adds_up
        self.overrides = overrides
        self.rules = rules
        key = cut.service.id, setting.id
        self.waited = waited.get(key, {})
        self.granted = rules.granted.get(key, ())
        self.on = rules.when_on(setting)
        last = min(cut.invoiced, cut.until - ONE_DAY)
        self.is_on = usage_invoicing.was_on(self.on, last, last + ONE_DAY)
        self.invoiced = cut.invoiced
        self.since = cut.service.metered_from or date.min
        self.server = cut.service.tenant.server  # type: ignore[union-attr]
        self.verdicts: dict[tuple[date, date], Verdict | None] = {}
        self.gaps: dict[tuple[date, ...], list[Period]] = {}

    def decide(self, rows: Sequence[Item], unbilled: Unbilled, collected_at: datetime | None) -> None:
        if not self.is_on and not self.granted:
            return
        billable: dict[object, Billable] = {}
        judged = self.totals(rows, unbilled, collected_at) if self.adds_up else self.levels(rows, unbilled)
        for item, (in_force, grant) in judged:
            # Totals of the same prices make one line, and what a person let be billed one by itself, so that it
            # comes to what the person was shown. Each level is a line by itself.
            key = (in_force.key, grant) if self.adds_up else item.start
            if (known := billable.get(key)) is not None:
                known.items.append(item)
            else:
                billable[key] = Billable(self.setting, in_force, [item])
        if billable:
            next(iter(billable.values())).missing.extend(self.missing(rows))
            unbilled.billable.extend(billable.values())

    def verdict(self, start: date, end: date) -> Verdict | None:
        """Return the verdict of a period, or None where it is not billed."""
        if (start, end) not in self.verdicts:
            self.verdicts[start, end] = self.judged(start, end)
        return self.verdicts[start, end]

    def judged(self, start: date, end: date) -> Verdict | None:
        began = max(start, self.since)  # for this product and tenant
        in_force = self.rules.in_force(self.setting, self.overrides, began, self.invoiced)
        if self.adds_up:
            start, end = began, min(end, self.cut.until)
        if in_force is None:
            return None
        if self.was_regular(start, end):
            return in_force, None
        grant = self.grant(start, end)
        return (in_force, grant) if grant else None

    def was_on(self, start: date, end: date) -> bool:
        return self.was_regular(start, end) or self.grant(start, end) is not None

    def was_regular(self, start: date, end: date) -> bool:
        return self.is_on and usage_invoicing.was_on(self.on, start, end)

    def grant(self, start: date, end: date) -> Period | None:
        """What a person let be billed although something was off, if that has these days."""
        return next((each for each in self.granted if each.start <= start and end <= each.end), None)

    def totals(
        self, rows: Iterable[Item], unbilled: Unbilled, collected_at: datetime | None
    ) -> Iterator[tuple[Item, Verdict]]:
        cut = self.cut
        for row in rows:
            if (row.start if cut.is_final else row.end - ONE_DAY) >= cut.until:
                continue  # still open, or after the end
            verdict = self.verdict(row.start, row.end)
            if verdict is None:
                continue
            if cut.is_final:
                yield replace(row, is_open=True) if row.end > cut.today else row, verdict
            elif self.was_read_after(row.end, collected_at) or row.start in self.waited:
                yield row, verdict
            else:
                unbilled.waiting.append(Waiting(self.setting, row.start, row.end, reasons.NOT_READ % {"day": row.end}))

    def was_read_after(self, end: date, collected_at: datetime | None) -> bool:
        return collected_at is not None and collected_at >= self.rules.end_of(self.server, end - ONE_DAY)

    def levels(self, rows: Iterable[Item], unbilled: Unbilled) -> Iterator[tuple[Item, Verdict]]:
        is_final = self.cut.is_final
        for period, verdict, how, first_fresh, last in self.terms:
            if how is None:
                since = reasons.MADE_AHEAD % {"day": period.end}
                unbilled.waiting.append(Waiting(self.setting, period.start, period.end, since))
                continue
            has_waited = period is not self.cut.term
            measured = [row for row in rows if period.start <= row.start <= last]
            row = measured[-1] if measured else None
            if row is not None and (is_final or has_waited or row.start >= first_fresh):
                yield level(how, measured, period, self.days(period)), verdict
            elif not is_final and not has_waited:
                since = reasons.NOT_MEASURED % {"day": row.start} if row else reasons.NOT_COLLECTED
                unbilled.waiting.append(Waiting(self.setting, period.start, period.end, since))

    @cached_property
    def terms(self) -> list[tuple[Period, Verdict, Aggregation | None, date, date]]:
        """The terms that are billed, each with its verdict and its aggregation, and the first and the last day on
        which its level may have been measured last. The one of an invoice made ahead has no aggregation: it waits."""
        until = self.cut.levels_until
        waited = [Period(start, min(end, until)) for start, end in sorted(self.waited.items()) if start < until]
        found = []
        for period in [*waited, self.cut.term]:
            verdict = self.verdict(period.start, period.end) if period else None
            if period is None or verdict is None:
                continue
            how = Aggregation(verdict[0].version.aggregation)
            # Only what was measured during the term, or on the day it ends: nothing is charged on a guess.
            last = period.end if how is Aggregation.LATEST else period.end - ONE_DAY
            is_ahead = not self.cut.is_final and period.end > self.cut.until
            first_fresh = period.end - timedelta(days=ceil(site.STALE_AFTER_HOURS / 24))
            found.append((period, verdict, None if is_ahead else how, first_fresh, last))
        return found

    def days(self, period: Period) -> int:
        """The length of the whole term that a level belongs to."""
        if period is self.cut.term:
            return self.cut.days
        service = self.cut.service
        return service.term(number_at(service.anchor, service.clock, period.start)).days

    def missing(self, rows: Iterable[Item]) -> list[Period]:
        """The closed months of the term that have no record; they count as nothing, and the line says so."""
        if self.setting.metric.type != MetricType.MONTH or self.cut.term is None:
            return []
        recorded = tuple(row.start for row in rows)
        if recorded not in self.gaps:
            self.gaps[recorded] = list(self.gaps_between(recorded, self.cut.term))
        return self.gaps[recorded]

    def gaps_between(self, recorded: tuple[date, ...], term: Period) -> Iterator[Period]:
        first = min(recorded, default=self.cut.until)
        period = month(term.start)
        while period.end <= self.cut.until:
            if period.start not in recorded and period.start > first and self.was_on(period.start, period.end):
                yield period
            period = month(period.end)
