"""Usage that changed after it was billed: the whole line is rated again, and the difference is settled once.

What is to be charged more goes on the next invoice as an adjustment; what is to be given back, on a credit
note for the invoice that charged it. A line and all that corrects it make a chain: what the chain charges
together is what its usage costs.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from catalog.aggregation import Aggregation, Periods
from catalog.in_force import choose, overrides_of
from catalog.models import OVER, Client, MetricSetting, Service
from catalog.money import round_amount, write
from catalog.pricing import Charge, added, rate
from catalog.quote import read_pricing, step_json
from catalog.wording import charge_sentence
from catalog.writing import Writing
from invoicing import drafts, issuing, required, unbilled
from invoicing.drafts import Draft, DraftLine
from invoicing.issuing import Document
from invoicing.models import BilledPeriod, Difference, Invoice, InvoicingSpan, Line, Run
from invoicing.unbilled import Billable, Item, PeriodKey, Unbilled
from metering.decimals import EXACT, exact_sum
from metering.models import Usage
from metering.periods import Period
from metering.units import Unit

#: How many notes of restated usage are looked at in one transaction.
BATCH = 20_000
NOTHING = Decimal(0)

#: A line by which periods were billed first, or the service and metric of those that are on no invoice. None is
#: a line that is not asked about.
Chain = UUID | tuple[int, int] | None
#: A period as it is now, and as it was billed.
Change = tuple[Item, BilledPeriod | None]


def assess(at: datetime) -> int:
    """Look at what was restated since the last time, and write down which lines it may change.

    Whether it does is found out when they are settled. Returns how many lines wait now because of it.
    """
    found = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ASSESS, {"limit": BATCH, "at": at})
            noted: int
            new: int
            noted, new = cursor.fetchone()
        found += new
        if noted < BATCH:
            return found


#: A line is concerned when it billed the period, when the period lies within its days and came too late for it,
#: or when a level of its term was measured then: the last of a term may be that of the day on which it ends.
_ASSESS = """
WITH noted AS (
    DELETE FROM metering_restated WHERE (tenant_id, metric_id, start) IN (
        SELECT tenant_id, metric_id, start FROM metering_restated LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) RETURNING tenant_id, metric_id, start
), concerned AS (
    SELECT DISTINCT b.service_id, coalesce(l.setting_id, m.id) AS setting_id, coalesce(l.corrects_id, l.id) AS line_id
    FROM noted n
    JOIN invoicing_billedperiod b ON b.tenant_id = n.tenant_id AND b.metric_id = n.metric_id
    JOIN metering_metric k ON k.id = n.metric_id
    JOIN catalog_service s ON s.id = b.service_id
    LEFT JOIN catalog_metricsetting m ON m.product_id = s.product_id AND m.metric_id = b.metric_id
    LEFT JOIN invoicing_line l ON l.id = b.line_id
    WHERE b.start = n.start OR (b.start <= n.start AND n.start < b."end")
        OR (k.type = 'snapshot' AND n.start = b."end")
        OR (l.start <= n.start AND n.start < l."end")
), waiting AS (
    INSERT INTO invoicing_difference (service_id, setting_id, line_id, since)
    SELECT service_id, setting_id, line_id, %(at)s FROM concerned WHERE setting_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM noted), (SELECT count(*) FROM waiting)
"""


@dataclass(slots=True)
class Link:
    """A line of a chain that charged something, and how much of that was given back."""

    line: Line
    given_back: Decimal = NOTHING
    corrected: Decimal = NOTHING

    @property
    def left(self) -> Decimal:
        """What may still be given back."""
        return EXACT.subtract(self.line.amount, self.given_back)


@dataclass(slots=True)
class Settlement:
    """A line whose usage changed, what its periods are and cost now, and the lines that settle it.

    `amount` is to be charged more, or below 0 given back. `invoices` are those of the lines that credits
    give back.
    """

    difference: Difference
    title: str
    number: str
    client: Client
    currency: str
    unit: Unit
    before: Decimal
    quantity: Decimal
    costs: Decimal
    settled: Decimal
    keys: list[PeriodKey]
    lines: list[DraftLine] = field(default_factory=list)
    invoices: dict[UUID, UUID] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        return self.difference.service

    @property
    def amount(self) -> Decimal:
        return EXACT.subtract(self.costs, self.settled)

    @property
    def fits_next_invoice(self) -> bool:
        """Whether the next invoice of the service is for the same client, in the same currency."""
        service = self.service
        return service.is_billable and (self.client.pk, self.currency) == (service.client_id, service.currency)


def waiting(services: Several[Service]) -> dict[int, list[Settlement]]:
    """Return what is to be settled of some services, by their ids, in one query where nothing is.

    Differences that turn out to be none are deleted, so the caller has a transaction and the services' locks.
    """
    found: dict[int, list[Settlement]] = defaultdict(list)
    by_id = {service.pk: service for service in services}
    differences = list(
        Difference.objects.filter(service__in=by_id).select_related("setting__metric", "setting__product")
    )
    if not differences:
        return found
    for difference in differences:
        difference.service = by_id[difference.service_id]
    settled = list(of_differences(differences))
    real = {settlement.difference.pk for settlement in settled}
    Difference.objects.filter(pk__in=[each.pk for each in differences if each.pk not in real]).delete()
    for settlement in settled:
        # What is to be charged waits until its invoice may be issued; what is given back does not.
        if settlement.amount <= 0 or not required.why_not(settlement.client):
            found[settlement.service.pk].append(settlement)
    return found


def of_differences(differences: Several[Difference]) -> Iterator[Settlement]:
    """Rate the lines of some differences again, each with its service. Yields those that do differ."""
    facts = _Facts(differences)
    for difference in differences:
        if (settlement := facts.settlement(difference)) is not None:
            yield settlement


class _Facts:
    """What is known about some lines and their usage, read in eight queries for any number of them."""

    def __init__(self, differences: Several[Difference]) -> None:
        roots = [each.line_id for each in differences if each.line_id]
        related = ("invoice__client", "setting__metric")
        chains = Line.objects.filter(Q(pk__in=roots) | Q(corrects__in=roots, credits=None)).select_related(*related)
        self.chains: dict[UUID, list[Link]] = defaultdict(list)
        links: dict[UUID, Link] = {}
        for line in chains.order_by("invoice__entry", "position"):
            links[line.pk] = link = Link(line)
            self.chains[line.corrects_id or line.pk].append(link)
        given = Line.objects.filter(credits__in=links).values_list("credits_id", "corrects_id", "amount")
        for credited, corrects, amount in given:
            link = links[credited]
            link.given_back = EXACT.add(link.given_back, amount)
            if corrects is not None:
                link.corrected = EXACT.add(link.corrected, amount)
        self._read_periods(differences, roots)
        self._read_usage(differences)
        self.spans = list(InvoicingSpan.objects.all())
        self.overrides = overrides_of({each.service_id for each in differences})
        settings = {each.setting_id for each in differences}
        self.settings = {each.pk: each for each in MetricSetting.objects.filter(pk__in=settings).with_pricing()}

    def _read_periods(self, differences: Several[Difference], roots: list[UUID]) -> None:
        """The newest revision of every part of the periods, by the chain that billed it."""
        lines = Line.objects.filter(Q(pk__in=roots) | Q(corrects__in=roots))
        self.root_of = {pk: corrects or pk for pk, corrects in lines.values_list("pk", "corrects")}
        nowhere = {(each.service_id, each.setting.metric_id) for each in differences if each.line_id is None}
        own = Q(line__in=self.root_of) | Q(
            line=None,
            service__in=[service for service, _metric in nowhere],
            metric_id__in=[metric for _service, metric in nowhere],
        )
        #: A chain has periods of one tenant only, which need not be the one that its service has today.
        self.tenants: dict[Chain, int] = {self._chain(row): row.tenant_id for row in BilledPeriod.objects.filter(own)}
        self.parts: dict[PeriodKey, dict[int, BilledPeriod]] = defaultdict(dict)
        rows = BilledPeriod.objects.filter(
            tenant_id__in=set(self.tenants.values()), metric_id__in={each.setting.metric_id for each in differences}
        )
        for row in rows.order_by("part", "revision"):
            self.parts[row.tenant_id, row.metric_id, row.start][row.part] = row
        self.billed: dict[Chain, list[BilledPeriod]] = defaultdict(list)
        for key in sorted(self.parts):
            for _part, row in sorted(self.parts[key].items()):
                self.billed[self._chain(row)].append(row)

    def _chain(self, row: BilledPeriod) -> Chain:
        """Which chain a period is part of: that of its line, or of a service and metric on no invoice."""
        return (row.service_id, row.metric_id) if row.line_id is None else self.root_of.get(row.line_id)

    def _read_usage(self, differences: Several[Difference]) -> None:
        self.usage: dict[tuple[int, int], list[Usage]] = defaultdict(list)
        tenants = set(self.tenants.values())
        days = [(row.start, row.end) for chain in self.tenants for row in self.billed[chain]]
        if days:
            rows = Usage.objects.filter(
                tenant_id__in=tenants,
                metric_id__in={each.setting.metric_id for each in differences},
                start__gte=min(start for start, _end in days),
                start__lte=max(end for _start, end in days),
            )
            for row in rows.order_by("start"):
                self.usage[row.tenant_id, row.metric_id].append(row)
        living = Service.objects.filter(tenant__in=tenants).exclude(status__in=OVER).values_list("tenant_id", flat=True)
        self.living = set(living)

    def settlement(self, difference: Difference) -> Settlement | None:
        """Rate a line again, if it differs."""
        changes = self.changes(difference)
        if all(was is not None and was.value == item.value for item, was in changes):
            return None
        chain = _chain_of(difference)
        items, billed = [item for item, _billed in changes], self.billed[chain]
        keys = [(self.tenants[chain], difference.setting.metric_id, item.start) for item in items]
        if difference.line_id is None:
            return self._first_charge(difference, billed, items, keys)
        return self._corrected(difference, self.chains[difference.line_id][0].line, billed, items, keys)

    def changes(self, difference: Difference) -> list[Change]:
        """The periods of a line as they are now; none when all of it is on another line by now."""
        metric, chain = difference.setting.metric, _chain_of(difference)
        if not (billed := self.billed.get(chain)):
            return []
        root = self.chains[difference.line_id][0].line if difference.line_id else None
        rows = self.usage[self.tenants[chain], metric.pk]
        if not metric.adds_up:
            return [change for row in billed for change in self._levels(root, row, rows)]
        found = self._totals(chain, billed, rows)
        if root is not None:
            found += [(item, None) for item in self._late(root, rows, difference)]
        return sorted(found, key=lambda change: (change[0].start, change[0].part))

    def _first_charge(
        self, difference: Difference, billed: list[BilledPeriod], items: list[Item], keys: list[PeriodKey]
    ) -> Settlement | None:
        """What had come to nothing on no invoice is rated as it would have been there."""
        service, setting = difference.service, self.settings[difference.setting_id]
        agreed = self.overrides.get((service.pk, setting.pk), [])
        in_force = choose(setting, agreed, began=items[0].start)
        if in_force is None:
            return None
        [line] = drafts.usage_lines(service, Unbilled([Billable(setting, in_force, items)]))
        return Settlement(
            difference=difference,
            title=line.title,
            number="",
            client=service.client,
            currency=service.currency,
            unit=in_force.unit,
            before=in_force.unit.from_base(exact_sum(row.value for row in billed)),
            quantity=line.quantity or NOTHING,
            costs=line.amount,
            settled=NOTHING,
            keys=keys,
            lines=[line],
        )

    def _corrected(
        self,
        difference: Difference,
        root: Line,
        billed: list[BilledPeriod],
        items: list[Item],
        keys: list[PeriodKey],
    ) -> Settlement:
        unit, pricing = Unit.from_json(root.unit or {}), read_pricing(root.pricing or {})
        is_each = (root.pricing or {}).get("periods") == Periods.EACH
        values = [item.value for item in items] if is_each else [exact_sum(item.value for item in items)]
        charges = [rate(pricing, unit.from_base(value)) for value in values]
        charge, links, currency = added(charges), self.chains[root.pk], root.invoice.currency
        with Writing(root.invoice.client.language):
            told = {"quantity": unit.write(charge.quantity), "count": len(charges)}
            sentence = _("%(quantity)s in %(count)s periods, each rated by itself") % told
            if len(charges) == 1:
                sentence = charge_sentence(pricing, charge, unit, currency)
        one = Settlement(
            difference=difference,
            title=root.title,
            number=root.invoice.number,
            client=root.invoice.client,
            currency=currency,
            unit=unit,
            before=unit.from_base(exact_sum(row.value for row in billed)),
            quantity=charge.quantity,
            costs=round_amount(charge.amount, currency),
            # What was given back for another reason than usage stays given.
            settled=exact_sum(EXACT.subtract(link.line.amount, link.corrected) for link in links),
            keys=keys,
            invoices={link.line.pk: link.line.invoice_id for link in links},
        )
        with Writing(root.invoice.client.language):
            one.lines = list(_lines(one, root, links, items, charges, sentence))
        return one

    def _totals(self, chain: Chain, billed: list[BilledPeriod], rows: list[Usage]) -> list[Change]:
        usage = {row.start: row for row in rows}
        found: list[Change] = []
        owed: dict[date, Decimal] = {}
        for row in reversed(billed):
            if row.start not in owed:
                parts = self.parts[row.tenant_id, row.metric_id, row.start]
                owed[row.start] = self._difference(usage.get(row.start), parts, chain)
            # The last part takes the difference; what it cannot give back, the one before gives.
            value = max(EXACT.add(row.value, owed[row.start]), NOTHING)
            owed[row.start] = EXACT.subtract(owed[row.start], EXACT.subtract(value, row.value))
            found.append((_revised(row, value), row))
        return found[::-1]

    def _difference(self, now: Usage | None, parts: dict[int, BilledPeriod], chain: Chain) -> Decimal:
        """How much more a period has now than all of its parts billed."""
        last = parts[max(parts)]
        if now is None or self._chain(last) != chain:
            return NOTHING
        if last.is_open and (now.correction_id is None or now.tenant_id in self.living):
            return NOTHING  # what was used since belongs to the next part, if to anybody
        return EXACT.subtract(now.value, exact_sum(row.value for row in parts.values()))

    def _late(self, root: Line, rows: list[Usage], difference: Difference) -> Iterator[Item]:
        """Periods within the days of the line that were not there when it was billed, at the same prices."""
        setting = self.settings[difference.setting_id]
        agreed = self.overrides.get((difference.service_id, setting.pk), [])
        for row in rows:
            if not (root.start <= row.start and row.end <= root.end):
                continue
            if self.parts.get((row.tenant_id, row.metric_id, row.start)):
                continue
            if not unbilled.was_on(setting, self.spans, row.start, row.end):
                continue
            in_force = choose(setting, agreed, began=row.start, invoiced=root.invoice.issued_on)
            if in_force is not None and in_force.key == (root.version_id, root.override_id):
                yield Item(row.start, row.end, row.start, row.value)

    def _levels(self, root: Line | None, row: BilledPeriod, rows: list[Usage]) -> list[Change]:
        frozen = dict((root.pricing if root else None) or {})
        how = Aggregation(frozen.get("aggregation", Aggregation.LATEST))
        term = Period(row.start, row.end)
        # The day of renewal itself counts as it was read then, unless it was corrected.
        measured = [
            Item(each.start, each.end, each.start, each.value)
            for each in rows
            if each.start in term or (each.start == term.end and how is Aggregation.LATEST and each.correction_id)
        ]
        was_read_on_renewal = row.measured_on == term.end
        if not measured or (was_read_on_renewal and measured[-1].start != term.end):
            return [(_revised(row, row.value), row)]
        new = unbilled.level(how, measured, term, frozen.get("term_days") or term.days)
        return [(replace(new, part=row.part, revision=row.revision + 1), row)]


def _chain_of(difference: Difference) -> Chain:
    return difference.line_id or (difference.service_id, difference.setting.metric_id)


def as_it_is(lines: Iterable[Line]) -> dict[UUID, list[Item]]:
    """Return the periods of some lines as they are now, to be billed by another line."""
    asked = [
        Difference(service=line.service, setting=line.setting, line_id=line.corrects_id or line.pk) for line in lines
    ]
    facts = _Facts(asked)
    return {one.line_id: [item for item, _billed in facts.changes(one)] for one in asked if one.line_id}


def as_billed(lines: Iterable[Line]) -> dict[UUID, list[Item]]:
    """Return the periods of some corrected lines as they were billed last, to be billed so again."""
    asked = [
        Difference(service=line.service, setting=line.setting, line_id=line.corrects_id or line.pk) for line in lines
    ]
    facts = _Facts(asked)
    return {
        one.line_id: [_revised(row, row.value) for row in facts.billed.get(one.line_id, ())]
        for one in asked
        if one.line_id
    }


def _revised(row: BilledPeriod, value: Decimal) -> Item:
    return Item(
        row.start, row.end, row.measured_on, value, part=row.part, revision=row.revision + 1, is_open=row.is_open
    )


def _lines(
    one: Settlement, root: Line, links: list[Link], items: list[Item], charges: list[Charge], sentence: str
) -> Iterator[DraftLine]:
    """The adjustment, or the credits: newest charge first, none by more than is left of it."""
    told = {
        "now": one.unit.write(one.quantity),
        "before": one.unit.write(one.before),
        "how": sentence,
        "amount": write(one.settled, one.currency),
        "number": one.number,
    }
    detail = _("%(now)s instead of %(before)s: %(how)s; %(amount)s of it was billed with %(number)s") % told
    if one.amount < 0:
        detail = _("%(billed)s, and nothing is left of that to give back") % {"billed": detail}
    adjustment = DraftLine(
        kind=Line.Kind.ADJUSTMENT,
        service=one.service,
        setting=root.setting,
        version_id=root.version_id,
        override_id=root.override_id,
        title=_("%(title)s, corrected") % {"title": root.title[:270]},
        detail=detail,
        start=items[0].start,
        end=items[-1].end,
        quantity=one.quantity,
        statement=root.statement,
        steps=[
            {"period": str(item.start), **step_json(step)} if len(charges) > 1 else step_json(step)
            for item, charge in zip(items, charges, strict=False)
            for step in charge.steps
        ],
        items=items,
        corrects=root.pk,
        before=one.before,
        settled=one.settled,
        exact=added(charges).amount,
        amount=max(one.amount, NOTHING),
    )
    owed, stood = max(-one.amount, NOTHING), one.settled
    credits = []
    for link in reversed(links):
        if given := min(owed, link.left):
            told |= {"amount": write(given, one.currency), "number": link.line.invoice.number}
            detail = _("%(now)s instead of %(before)s: %(how)s; %(amount)s of %(number)s is given back") % told
            credit = replace(adjustment, kind=Line.Kind.CREDIT, credits=link.line.pk, detail=detail)
            credits.append(replace(credit, settled=stood, amount=given, items=[]))
            owed, stood = EXACT.subtract(owed, given), EXACT.subtract(stood, given)
    if credits:
        credits[-1].items = items  # the last one says what the usage is now
    yield from credits or [adjustment]


def adjustments(settlements: Iterable[Settlement]) -> list[DraftLine]:
    """What goes on the next invoice of a service."""
    return [line for one in settlements if one.fits_next_invoice for line in one.lines if line.credits is None]


def documents(settlements: Iterable[Settlement], *, with_adjustments: bool = False) -> list[Document]:
    """The credit notes, one for each invoice that charged too much, and what no next invoice can hold."""
    lines: dict[tuple[UUID | None, int, str], list[DraftLine]] = defaultdict(list)
    clients: dict[int, Client] = {}
    for one in settlements:
        clients[one.client.pk] = one.client
        for line in one.lines:
            if line.credits is not None or with_adjustments or not one.fits_next_invoice:
                credited = one.invoices[line.credits] if line.credits else None
                lines[credited, one.client.pk, one.currency].append(line)
    return [
        Document(
            kind=Invoice.Kind.CREDIT_NOTE if credited else Invoice.Kind.SETTLEMENT,
            client=clients[client],
            drafts=[Draft(line.service, [line], []) for line in group],
            currency=currency,
            credits=credited,
            reason=_reason(clients[client]),
        )
        for (credited, client, currency), group in lines.items()
        if credited or any(line.amount for line in group)
    ]


def _reason(client: Client) -> str:
    with Writing(client.language):
        return _("The usage was corrected after it had been billed.")


def taken(settlements: Iterable[Settlement]) -> set[PeriodKey]:
    """The periods that are settled with an earlier line, so that no other line bills them."""
    return {key for one in settlements for key in one.keys}


def strike(settlements: Iterable[Settlement]) -> None:
    """They do not wait any more."""
    Difference.objects.filter(pk__in=[one.difference.pk for one in settlements]).delete()


def settle(*, service: Service, on: date, at: datetime, run: Run | None = None) -> list[Document]:
    """Settle what waits of a service now, on an invoice of its own or by credit notes, in one transaction.

    Returns the documents; none where nothing differs any more.
    """
    assess(at)
    with transaction.atomic():
        locked = Service.objects.select_related("client", "product").select_for_update(of=("self",)).get(pk=service.pk)
        return _settle([locked], on, at, run)


def settle_over(*, on: date, at: datetime, run: Run | None = None) -> list[Document]:
    """Settle what waits of services that are over, and so have no next invoice."""
    done: list[Document] = []
    over = Service.objects.filter(status__in=OVER, differences__isnull=False).distinct().values_list("pk", flat=True)
    for first in range(0, len(ids := sorted(over)), 500):
        with transaction.atomic():
            chosen = Service.objects.filter(pk__in=ids[first : first + 500]).select_related("client", "product")
            done += _settle(list(chosen.select_for_update(skip_locked=True, of=("self",))), on, at, run)
    return done


def _settle(services: list[Service], on: date, at: datetime, run: Run | None) -> list[Document]:
    settlements = [one for group in waiting(services).values() for one in group]
    made = documents(settlements, with_adjustments=True)
    if made:
        issuing.issue(made, on=on, at=at, run=run)
    strike(settlements)
    return made
