"""From a line to the readings behind it, for everybody who may see the invoice."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection

from invoicing.models import BilledPeriod, Invoice, Line
from metering.units import Unit

#: How many readings a line shows, the newest ones.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading, in the unit of its line."""

    read_at: datetime
    quantity: Decimal
    collection_id: int


@dataclass
class Proof:
    """A line with its unit, usage periods and readings."""

    line: Line
    unit: Unit | None
    periods: list[tuple[BilledPeriod, Decimal]] = field(default_factory=list)
    readings: list[Seen] = field(default_factory=list)

    @property
    def steps(self) -> list[dict[str, str]]:
        return list(self.line.steps)


def of_invoice(invoice: Invoice) -> list[Proof]:
    """Return the invoice's lines with what is behind each, in three queries for any number of lines."""
    lines = list(invoice.lines.select_related("service", "setting__metric"))
    periods: dict[UUID, list[BilledPeriod]] = defaultdict(list)
    for period in BilledPeriod.objects.filter(line__in=lines).order_by("start"):
        assert period.line_id is not None
        periods[period.line_id].append(period)
    readings = _readings([group[-1] for group in periods.values()], invoice.created_at)
    proofs = []
    for line in lines:
        unit = Unit.from_json(line.unit) if line.unit else None
        proof = Proof(line, unit)
        if unit is not None:
            proof.periods = [(period, unit.from_base(period.value)) for period in periods[line.pk]]
            proof.readings = [
                Seen(read_at, unit.from_base(value), collection) for read_at, value, collection in readings[line.pk]
            ]
        proofs.append(proof)
    return proofs


def _readings(periods: Sequence[BilledPeriod], until: datetime) -> dict[UUID, list[tuple[datetime, Decimal, int]]]:
    """Return the newest readings of each line's last period that there were at an instant, oldest first.

    A level that did not change has no reading of its own day, so the newest one before the day counts.
    """
    found: dict[UUID, list[tuple[datetime, Decimal, int]]] = defaultdict(list)
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
            " ORDER BY r.read_at",
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
