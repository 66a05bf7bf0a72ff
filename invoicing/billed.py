"""What lines billed of usage, and what that usage is now: it may have changed since.

A line and all that corrects it make a chain. What came to nothing on an invoice that was not made has no line; that of
one claim and metric makes a chain, too.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q

from catalog.aggregation import Aggregation
from catalog.in_force import InForce, choose, overrides_of
from catalog.models import OVER, MetricSetting, Service
from catalog.terms import number_at
from invoicing import cuts, usage_invoicing
from invoicing.billable import Item, PeriodKey, level
from invoicing.models import BilledPeriod, Claim, Difference, InvoicingSpan, Line
from metering.decimals import EXACT, exact_sum
from metering.models import Usage
from metering.periods import Period

NOTHING = Decimal(0)

#: A line by which periods were billed first, or the claim and metric of those that are on no invoice. None is
#: a line that is not asked about.
Chain = UUID | tuple[int | None, int] | None
#: A period as it is now, and as it was billed.
Change = tuple[Item, BilledPeriod | None]


class Measured(NamedTuple):
    """What a chain bills, and the tenant that used it: not always the one that its service has today."""

    items: list[Item]
    tenant_id: int | None


def invoiced_on(line: Line) -> date:
    """The day whose prices count where that of the invoice decides: the one that is frozen on the line."""
    frozen = (line.pricing or {}).get("invoiced")
    return date.fromisoformat(frozen) if frozen else line.invoice.issued_on


def chain_of(difference: Difference) -> Chain:
    return difference.line_id or (difference.claim_id, difference.setting.metric_id)


class Billed:
    """The lines of some chains and what they billed, read in three queries for any number of them, and in one more
    where some are on no invoice.

    `lines` are those that charged something, by the first of their chain, in the order in which they were issued;
    `periods` what each chain billed, as it was billed last, and `tenants` whose usage that was: of one tenant, which
    need not be the one that the service has today. `parts` has every part of those periods, whoever billed it.
    `claims` are those of what came to nothing.
    """

    def __init__(self, differences: Several[Difference]) -> None:
        roots = {each.line_id for each in differences if each.line_id}
        self.metrics = {each.setting.metric_id for each in differences}
        self.lines: dict[UUID, list[Line]] = defaultdict(list)
        self._roots: dict[UUID, UUID] = {}
        lines = Line.objects.filter(Q(pk__in=roots) | Q(corrects__in=roots))
        lines = lines.select_related("invoice__client", "setting__metric").order_by("invoice__entry", "position")
        for line in lines:
            self._roots[line.pk] = root = line.corrects_id or line.pk
            if line.pk in roots or line.credits_id is None:
                self.lines[root].append(line)
        nowhere = {each.claim_id: each.service_id for each in differences if each.line_id is None and each.claim_id}
        self.claims: dict[int, Claim] = {}
        own = Q(line__in=self._roots)
        if nowhere:
            self.claims = Claim.objects.select_related("product", "client__tax_rate").in_bulk(nowhere)
            services = set(nowhere.values())
            own |= Q(line=None, service__in=services, claim__in=nowhere, metric_id__in=self.metrics)
        self.tenants: dict[Chain, int] = {self.chain(row): row.tenant_id for row in BilledPeriod.objects.filter(own)}
        self.parts: dict[PeriodKey, dict[int, BilledPeriod]] = defaultdict(dict)
        rows = BilledPeriod.objects.filter(tenant_id__in=set(self.tenants.values()), metric_id__in=self.metrics)
        for row in rows.order_by("part", "revision"):  # so the newest revision comes last
            self.parts[row.tenant_id, row.metric_id, row.start][row.part] = row
        self.periods: dict[Chain, list[BilledPeriod]] = defaultdict(list)
        for key in sorted(self.parts):
            for _part, row in sorted(self.parts[key].items()):
                self.periods[self.chain(row)].append(row)

    def chain(self, row: BilledPeriod) -> Chain:
        """Which chain a period is part of: that of its line, or of a claim and metric on no invoice."""
        return (row.claim_id, row.metric_id) if row.line_id is None else self._roots.get(row.line_id)

    def root(self, difference: Difference) -> Line | None:
        """The line by which the periods were billed first, if there is one."""
        return self.lines[difference.line_id][0] if difference.line_id else None

    def again(self, difference: Difference) -> list[Item]:
        """The periods of a chain as they were billed last, to be billed so again."""
        return [_revised(row, row.value) for row in self.periods.get(chain_of(difference), ())]

    def tenant(self, difference: Difference) -> int | None:
        """Whose usage it is."""
        return self.tenants.get(chain_of(difference))


class Changes:
    """What some chains billed as it is now, and what prices it: as many queries for any number of them."""

    def __init__(self, billed: Billed, differences: Several[Difference]) -> None:
        self.billed = billed
        self._read_usage()
        self.spans = list(InvoicingSpan.objects.all())
        self.overrides = overrides_of({each.service_id for each in differences})
        settings = {each.setting_id for each in differences}
        self.settings = {each.pk: each for each in MetricSetting.objects.filter(pk__in=settings).with_pricing()}
        #: By which chain a late day is billed: two lines may have it within their days.
        self._late_of: dict[PeriodKey, Chain] = {}

    def _read_usage(self) -> None:
        self.usage: dict[tuple[int, int], list[Usage]] = defaultdict(list)
        tenants = set(self.billed.tenants.values())
        days = [(row.start, row.end) for chain in self.billed.tenants for row in self.billed.periods[chain]]
        if days:
            rows = Usage.objects.filter(
                tenant_id__in=tenants,
                metric_id__in=self.billed.metrics,
                start__gte=min(start for start, _end in days),
                start__lte=max(end for _start, end in days),
            )
            for row in rows.order_by("start"):
                self.usage[row.tenant_id, row.metric_id].append(row)
        living = Service.objects.filter(tenant__in=tenants).exclude(status__in=OVER).values_list("tenant_id", flat=True)
        self.living = set(living)

    def of(self, difference: Difference) -> list[Change]:
        """The periods of a chain as they are now; none when all of it is on another line by now."""
        chain = chain_of(difference)
        if not (periods := self.billed.periods.get(chain)):
            return []
        metric, root = difference.setting.metric, self.billed.root(difference)
        rows = self.usage[self.billed.tenants[chain], metric.pk]
        if not metric.adds_up:
            return [self._level(difference, root, row, rows) for row in periods]
        found = self._totals(periods, rows)
        if root is not None:
            found += [(item, None) for item in self._late(root, rows, difference)]
        return sorted(found, key=lambda change: (change[0].start, change[0].part))

    def in_force(self, difference: Difference, began: date, invoiced: date | None = None) -> InForce | None:
        """What prices a period of the service and metric of a difference."""
        agreed = self.overrides.get((difference.service_id, difference.setting_id), [])
        return choose(self.settings[difference.setting_id], agreed, began=began, invoiced=invoiced)

    def in_force_of(self, difference: Difference, period: Period) -> InForce | None:
        """What priced a period that came to nothing: as on the invoice that was not made."""
        claim = self.billed.claims[difference.claim_id or 0]
        invoiced, since = claim.term_start, difference.service.metered_from
        if claim.kind == Claim.Kind.RENEWAL and claim.product is not None:
            invoiced = cuts.invoiced_on(claim.product, claim.term_start)
        began = since if since and since in period and since <= claim.term_start else period.start
        return self.in_force(difference, began, invoiced)

    def _totals(self, periods: list[BilledPeriod], rows: list[Usage]) -> list[Change]:
        usage = {row.start: row for row in rows}
        values: dict[date, dict[int, Decimal]] = {}
        for row in periods:
            if row.start not in values:
                parts = self.billed.parts[row.tenant_id, row.metric_id, row.start]
                values[row.start] = self._parts_as_they_are(usage.get(row.start), parts)
        return [(_revised(row, values[row.start][row.part]), row) for row in periods]

    def _parts_as_they_are(self, now: Usage | None, parts: dict[int, BilledPeriod]) -> dict[int, Decimal]:
        """What each part of a period comes to, whoever billed it. The last one takes the difference; what it cannot
        give back, the one before gives."""
        owed, found = self._difference(now, parts), {}
        for part in sorted(parts, reverse=True):
            was = parts[part].value
            found[part] = max(EXACT.add(was, owed), NOTHING)
            owed = EXACT.subtract(owed, EXACT.subtract(found[part], was))
        return found

    def _difference(self, now: Usage | None, parts: dict[int, BilledPeriod]) -> Decimal:
        """How much more a period has now than all of its parts billed."""
        last = parts[max(parts)]
        if now is None:
            return NOTHING
        if last.is_open and (now.correction_id is None or now.tenant_id in self.living):
            return NOTHING  # what was used since belongs to the next part, if to anybody
        return EXACT.subtract(now.value, exact_sum(row.value for row in parts.values()))

    def _late(self, root: Line, rows: list[Usage], difference: Difference) -> Iterator[Item]:
        """Periods within the days of the line that were not there when it was billed, at the same prices."""
        for row in rows:
            if not (root.start <= row.start and row.end <= root.end):
                continue
            if self.billed.parts.get((row.tenant_id, row.metric_id, row.start)):
                continue
            on = usage_invoicing.when_on(self.settings[difference.setting_id].all_spans, self.spans)
            if not usage_invoicing.was_on(on, row.start, row.end):
                continue
            in_force = self.in_force(difference, row.start, invoiced_on(root))
            if in_force is None or in_force.key != (root.version_id, root.override_id):
                continue
            if self._late_of.setdefault((row.tenant_id, row.metric_id, row.start), root.pk) == root.pk:
                yield Item(row.start, row.end, row.start, row.value)

    def _level(self, difference: Difference, root: Line | None, row: BilledPeriod, rows: list[Usage]) -> Change:
        """The level of a term, of what was measured in it by now."""
        term = Period(row.start, row.end)
        how, days = self._aggregation(difference, root, term)
        # The day of renewal itself counts as it was read then, unless it was corrected.
        measured = [
            Item(each.start, each.end, each.start, each.value)
            for each in rows
            if each.start in term or (each.start == term.end and how is Aggregation.LATEST and each.correction_id)
        ]
        was_read_on_renewal = row.measured_on == term.end
        if not measured or (was_read_on_renewal and measured[-1].start != term.end):
            return _revised(row, row.value), row
        new = level(how, measured, term, days)
        return replace(new, part=row.part, revision=row.revision + 1), row

    def _aggregation(self, difference: Difference, root: Line | None, term: Period) -> tuple[Aggregation, int]:
        """How the days of a level become what is charged, and the length of the whole term: as frozen on its line."""
        if root is not None:
            frozen = root.pricing or {}
            return Aggregation(frozen.get("aggregation", Aggregation.LATEST)), frozen.get("term_days") or term.days
        in_force, service = self.in_force_of(difference, term), difference.service
        how = Aggregation(in_force.version.aggregation) if in_force else Aggregation.LATEST
        return how, service.term(number_at(service.anchor, service.clock, term.start)).days


def _revised(row: BilledPeriod, value: Decimal) -> Item:
    return Item(
        row.start, row.end, row.measured_on, value, part=row.part, revision=row.revision + 1, is_open=row.is_open
    )


def as_it_is(lines: Iterable[Line]) -> dict[UUID, Measured]:
    """Return the periods of some lines as they are now, by the first line of their chain, to be billed by another."""
    asked = by_root(lines)
    billed = Billed(asked.values())
    changes = Changes(billed, asked.values())
    return {
        root: Measured([item for item, _billed in changes.of(one)], billed.tenant(one)) for root, one in asked.items()
    }


def by_root(lines: Iterable[Line]) -> dict[UUID, Difference]:
    """The chains of some lines, by their first, as they would be asked about."""
    roots = ((line.corrects_id or line.pk, line) for line in lines)
    return {root: Difference(service=line.service, setting=line.setting, line_id=root) for root, line in roots}
