"""From a line to the readings behind it, for everybody who may see the invoice."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from catalog.aggregation import Periods
from catalog.money import round_amount
from invoicing import parts, questions
from invoicing.models import BilledPeriod, Invoice, Line, Question
from invoicing.parts import Part
from invoicing.stated import Stated
from metering.decimals import exact_sum
from metering.units import Unit

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
    unit: Unit | None
    currency: str
    periods: list[tuple[BilledPeriod, Decimal]] = field(default_factory=list)
    readings: list[Seen] = field(default_factory=list)
    origin: Line | None = None
    later: list[Line] = field(default_factory=list)
    beside: list[Line] = field(default_factory=list)
    #: The newest question about it, on the page of the invoice.
    question: Question | None = None

    @property
    def is_usage(self) -> bool:
        """Whether a quantity was rated. A credit for another reason has none."""
        return self.unit is not None and self.line.quantity is not None

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

    @property
    def unit_title(self) -> str:
        assert self.unit is not None
        return self.unit.symbol or str(self.unit).capitalize()


def of_invoice(invoice: Invoice, among: QuerySet[Invoice]) -> list[Proof]:
    """Return the invoice's lines with what is behind each, in five to nine queries for any number of lines.

    `among` are the invoices that the viewer may see.
    """
    proofs = of_lines(list(with_sources(invoice.lines.order_by("position"))), among)
    last = [proof.periods[-1][0] for proof in proofs if proof.periods]
    readings = _readings(last, invoice.created_at)
    threads = questions.by_line(proof.line for proof in proofs)
    for proof in proofs:
        proof.question = threads.get(proof.line.pk)
        if (unit := proof.unit) is not None:
            proof.readings = [
                Seen(read_at, unit.from_base(value), collection)
                for read_at, value, collection in readings[proof.line.pk]
            ]
    return proofs


def with_sources(lines: QuerySet[Line]) -> QuerySet[Line]:
    """Fetch what the proof of a line reads of others, except its invoice."""
    rows = lines.select_related("service", "setting__metric")
    return rows.prefetch_related("override__setting__metric", "override__prices")


def of_lines(lines: Sequence[Line], among: QuerySet[Invoice]) -> list[Proof]:
    """Return lines with their periods and the lines that they belong to, in two or three queries. See `of_invoice`."""
    periods: dict[UUID, list[BilledPeriod]] = defaultdict(list)
    for period in BilledPeriod.objects.filter(line__in=lines).order_by("start", "part"):
        assert period.line_id is not None
        periods[period.line_id].append(period)
    kin = _Kin(lines, among)
    proofs = []
    for line in lines:
        unit = Unit.from_json(line.unit) if line.unit else None
        related = kin.origin(line), kin.later[line.pk], kin.beside(line)
        proof = Proof(line, unit, line.invoice.currency, [], [], *related)
        if unit is not None:
            proof.periods = [(period, unit.from_base(period.value)) for period in periods[line.pk]]
        proofs.append(proof)
    return proofs


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


def _readings(
    periods: Sequence[BilledPeriod], until: datetime
) -> dict[UUID, list[tuple[datetime, Decimal, int | None]]]:
    """Return the newest readings of each line's last period that there were at an instant, newest first.

    A level that did not change has no reading of its own day, so the newest one before the day counts.
    """
    found: dict[UUID, list[tuple[datetime, Decimal, int | None]]] = defaultdict(list)
    if not periods:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.line, r.read_at, r.value, r.collection_id"
            " FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::date[])"
            "      AS p (line, tenant, metric, measured_on)"
            " CROSS JOIN LATERAL (SELECT read_at, value, collection_id FROM metering_reading"
            "   WHERE tenant_id = p.tenant AND metric_id = p.metric AND start <= p.measured_on AND read_at <= %s"
            "   ORDER BY read_at DESC LIMIT %s) r"
            " ORDER BY r.read_at DESC",
            [
                [period.line_id for period in periods],
                [period.tenant_id for period in periods],
                [period.metric_id for period in periods],
                [period.measured_on for period in periods],
                until,
                SHOWN,
            ],
        )
        for line, *reading in cursor.fetchall():
            found[line].append(tuple(reading))
    return found
