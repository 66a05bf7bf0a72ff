"""From a line to the readings behind it, for everybody who may see the invoice."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from uuid import UUID

from django.db.models import Q, QuerySet, UUIDField

from catalog.aggregation import Periods
from catalog.models import Service
from catalog.money import round_amount
from invoicing import parts
from invoicing.models import BilledPeriod, Invoice, Line, Question
from invoicing.parts import Part
from invoicing.stated import Stated
from metering.decimals import exact_sum
from metering.prepared import Prepared, any_of, execute
from metering.providers.base import MetricType
from metering.units import Unit

#: What the proof of a line reads of others, except its invoice; and what of an agreement, which most lines have not.
SOURCES = ("service", "setting__metric")
OF_OVERRIDE = ("override__setting__metric", "override__prices")
_PERIODS = Prepared(
    lambda lines: BilledPeriod.objects.filter(line__in=any_of(lines, UUIDField())).order_by("start", "part")
)
_HAS_KIN = """SELECT EXISTS (SELECT FROM invoicing_line WHERE corrects_id = ANY(%(lines)s))
    OR EXISTS (SELECT FROM invoicing_line WHERE credits_id = ANY(%(lines)s))"""
_READINGS = """SELECT read_at, value, collection_id FROM metering_reading
    WHERE tenant_id = %(tenant)s AND metric_id = %(metric)s AND start >= %(since)s AND start <= %(last)s
        AND read_at <= %(until)s
    ORDER BY read_at DESC LIMIT %(most)s"""
#: How many readings a line shows on its invoice, the newest ones.
SHOWN = 6
#: How many periods are listed there; more than this are summed up.
MOST = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading, in the unit of its line. One without a collection is a correction by staff."""

    read_at: datetime
    quantity: Decimal
    collection_id: int | None


@dataclass
class Proof:
    """A line with its unit, usage periods and readings, and the lines that have to do with it.

    `origin` is the line that it corrects or gives back, `later` are those that do so to it, oldest first, and
    `beside` the other lines of the same correction; all without what the viewer may not see.
    """

    line: Line
    currency: str
    periods: list[tuple[BilledPeriod, Decimal]] = field(default_factory=list)
    readings: list[Seen] = field(default_factory=list)
    origin: Line | None = None
    later: list[Line] = field(default_factory=list)
    beside: list[Line] = field(default_factory=list)
    #: The newest question about it, on the page of the invoice.
    question: Question | None = None

    @cached_property
    def unit(self) -> Unit | None:
        return Unit.from_json(self.line.unit) if self.line.unit else None

    @property
    def is_usage(self) -> bool:
        """Whether a quantity was rated. A credit for another reason has none."""
        return self.line.statement_id is not None and self.line.quantity is not None

    @property
    def is_correction(self) -> bool:
        """Whether usage of another line was rated again, and this is the difference."""
        return self.is_usage and _is_correction(self.line)

    @property
    def amount(self) -> Decimal:
        """The amount with its sign: what is given back is negative."""
        return -self.line.amount if self.is_credit else self.line.amount

    @property
    def is_credit(self) -> bool:
        return self.line.kind == Line.Kind.CREDIT

    @property
    def charged(self) -> Decimal:
        """What all of it costs, rounded once; of a correction, before what was charged already is taken off."""
        return round_amount(self.line.exact, self.currency)

    @property
    def difference(self) -> Decimal:
        """What a correction comes to. More than the amount, where several lines give it back."""
        return self.charged - self.line.settled

    @cached_property
    def stated(self) -> Stated:
        return Stated(self.line, self.unit)

    @property
    def rates_each_period(self) -> bool:
        """Whether the steps are those of one period each, and name it."""
        return self.stated.frozen.get("periods") == Periods.EACH and len(self.periods) > 1

    @cached_property
    def parts(self) -> list[Part]:
        """The charge, by period where each was rated by itself; a period that cost nothing has no part."""
        assert self.unit is not None
        if self.rates_each_period:
            return list(parts.by_period(self.line, self.unit, self.currency, self.periods))
        return [parts.together(self.line, self.unit, self.currency)]

    @property
    def lists_parts(self) -> bool:
        """Whether they are few enough to be listed with their steps."""
        return len(self.parts) <= MOST

    @property
    def free_periods(self) -> int:
        """How many of the periods that were rated by themselves cost nothing."""
        return len(self.periods) - len(self.parts) if self.rates_each_period else 0

    @property
    def lists_periods(self) -> bool:
        """Whether the periods are few enough to be listed on the invoice."""
        return len(self.periods) <= MOST

    @property
    def is_rounded_by_period(self) -> bool:
        """Whether the periods as they are written do not add up, since they are added before they are rounded."""
        return len(self.periods) > 1 and exact_sum(quantity for _period, quantity in self.periods) != self.line.quantity


def with_sources(lines: QuerySet[Line]) -> QuerySet[Line]:
    """Fetch what the proof of a line reads of others, except its invoice."""
    return lines.select_related(*SOURCES).prefetch_related(*OF_OVERRIDE)


def of_line(line: Line, among: QuerySet[Invoice]) -> Proof:
    """Return a line, fetched `with_sources`, with its newest readings, in three to six queries. See `of_lines`."""
    [proof] = of_lines([line], among)
    if proof.periods and proof.unit is not None:
        proof.readings = list(_readings(line, proof.periods[0][0].start, proof.periods[-1][0], proof.unit))
    return proof


def of_lines(lines: Sequence[Line], among: QuerySet[Invoice]) -> list[Proof]:
    """Return lines with their periods and the lines that they belong to, in two to four queries.

    `among` are the invoices that the viewer may see.
    """
    periods: dict[UUID, list[BilledPeriod]] = defaultdict(list)
    ids = [line.pk for line in lines]
    for period in _PERIODS.all(ids):
        assert period.line_id is not None
        periods[period.line_id].append(period)
    proofs = with_kin(lines, among) if _have_kin(lines) else alone(lines)
    for proof in proofs:
        if (unit := proof.unit) is not None:
            proof.periods = [(period, unit.from_base(period.value)) for period in periods[proof.line.pk]]
    return proofs


def alone(lines: Sequence[Line]) -> list[Proof]:
    """Return lines that no other has to do with."""
    return [Proof(line, line.invoice.currency) for line in lines]


def _have_kin(lines: Sequence[Line]) -> bool:
    """Whether any of them corrects or gives back a line, or is corrected or given back: most do not."""
    if any(line.corrects_id or line.credits_id for line in lines):
        return True
    ((has_kin,),) = execute(_HAS_KIN, {"lines": [line.pk for line in lines]}, about=len(lines))
    return bool(has_kin)


def with_kin(lines: Sequence[Line], among: QuerySet[Invoice]) -> list[Proof]:
    """Return lines with the lines that they belong to and nothing else, in one query or two."""
    kin = _Kin(lines, among)
    return [
        Proof(line, line.invoice.currency, origin=kin.origin(line), later=kin.later[line.pk], beside=kin.beside(line))
        for line in lines
    ]


class _Kin:
    """The lines that have to do with some lines, in one query, and one more if there are any."""

    def __init__(self, lines: Sequence[Line], among: QuerySet[Invoice]) -> None:
        ids = [line.pk for line in lines]
        corrected = [line.corrects_id for line in lines if line.corrects_id is not None]
        credited = [line.credits_id for line in lines if line.credits_id is not None]
        wanted = Q(pk__in=corrected + credited) | Q(corrects__in=ids + corrected) | Q(credits__in=ids)
        # Most lines have none: their invoices are read only where there is one.
        found = Line.objects.filter(wanted, invoice__in=among).prefetch_related("invoice")
        self.rows = {row.pk: row for row in found.order_by("invoice__entry", "position")}
        self.later: dict[UUID, list[Line]] = defaultdict(list)
        for row in self.rows.values():
            for pk in {row.corrects_id if _is_correction(row) else None, row.credits_id} - {None}:
                assert pk is not None
                self.later[pk].append(row)

    def origin(self, line: Line) -> Line | None:
        source = line.corrects_id if _is_correction(line) else line.credits_id
        return self.rows.get(source) if source else None

    def beside(self, line: Line) -> list[Line]:
        """The others of its correction: what it gives back may be the charge of several lines."""
        if line.corrects_id is None or not _is_correction(line):
            return []
        others = (row for row in self.later[line.corrects_id] if row.pk != line.pk and _is_correction(row))
        return [row for row in others if row.invoice.created_at == line.invoice.created_at]


def _is_correction(line: Line) -> bool:
    """Whether usage was rated again. A voided line is given back without that."""
    return line.corrects_id is not None and line.before is not None


def _readings(line: Line, since: date, period: BilledPeriod, unit: Unit) -> Iterator[Seen]:
    """Yield the newest readings of a line up to a period that there were when it was issued, newest first.

    `since` is its first day. A level goes on from what was read before that, of the service itself; one that did not
    change since the service began has a single reading, from before.
    """
    is_level = line.setting is not None and line.setting.metric.type == MetricType.SNAPSHOT
    if is_level:
        since = own_since(line.service, period)
    told = {
        **{"tenant": period.tenant_id, "metric": period.metric_id, "until": line.invoice.created_at},
        **{"since": since, "last": period.measured_on, "most": SHOWN},
    }
    rows = execute(_READINGS, told)
    if is_level and not rows:
        rows = execute(_READINGS, told | {"since": date.min, "most": 1})
    for read_at, value, collection in rows:
        yield Seen(read_at, unit.from_base(value), collection)


def own_since(service: Service, period: BilledPeriod) -> date:
    """The day from which on the tenant of a period was the service's. If it got another tenant later, only the period
    says that this one was its own."""
    return service.begins if service.begins <= period.measured_on else period.start
