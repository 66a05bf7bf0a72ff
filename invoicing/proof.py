"""From a line to the readings behind it, for everybody who may see the invoice."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from babel.dates import format_date
from django.db import connection

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.money import write_price
from catalog.pricing import Charge, Step
from catalog.quote import read_pricing
from catalog.wording import agreed_days, charge_rows, day_words
from invoicing.models import BilledPeriod, Invoice, Line
from metering.decimals import exact_sum
from metering.units import Unit

#: How many readings a line shows, the newest ones.
SHOWN = 6
#: How the days of a term became one quantity, to stand below it.
_AGGREGATED = {
    Aggregation.PEAK: "The highest of the {measured} days that were measured.",
    Aggregation.MEAN: "The mean of the {measured} days that were measured.",
    Aggregation.TIME_WEIGHTED: "The mean of the days; one that was not measured counts as the one before it.",
    Aggregation.P95: "The highest of the {measured} days that were measured, once the top 5 % are left out.",
    Aggregation.DAYS: "The sum of the {measured} days that were measured, over all days of the term.",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading, in the unit of its line."""

    read_at: datetime
    quantity: Decimal
    collection_id: int


@dataclass(frozen=True, slots=True)
class Part:
    """What was rated at once, the whole line or one of its periods: range, quantity, price, amount by row."""

    rows: list[tuple[str, str, str, str]]
    period: str = ""
    quantity: str = ""
    amount: str = ""


@dataclass
class Proof:
    """A line with its unit, usage periods and readings."""

    line: Line
    unit: Unit | None
    currency: str
    periods: list[tuple[BilledPeriod, Decimal]] = field(default_factory=list)
    readings: list[Seen] = field(default_factory=list)

    @property
    def rates_each_period(self) -> bool:
        """Whether the steps are those of one period each, and name it."""
        return self._frozen.get("periods") == Periods.EACH and len(self.periods) > 1

    @property
    def parts(self) -> list[Part]:
        """The charge, by period where each was rated by itself; a period that cost nothing has no part."""
        if self.rates_each_period:
            return list(self._parts_by_period())
        assert self.line.quantity is not None
        return [Part(self._rows(Charge(self.line.quantity, self.line.exact, tuple(map(_step, self.line.steps)))))]

    @property
    def free_periods(self) -> int:
        """How many of the periods that were rated by themselves cost nothing."""
        return len(self.periods) - len(self.parts) if self.rates_each_period else 0

    @property
    def unit_title(self) -> str:
        assert self.unit is not None
        return self.unit.symbol or self.unit.plural.capitalize()

    @property
    def price_note(self) -> str:
        """Which prices these are."""
        frozen, override = self._frozen, self.line.override
        since = f"in force since {day_words(date.fromisoformat(frozen['effective_from']))}, version {frozen['version']}"
        if override is not None and override.has_own_prices:
            return f"What was not agreed is as the price of the product says, {since}."
        on_invoice = frozen.get("price_at") == PriceAt.INVOICE
        return f"The price on the day of the invoice, {since}." if on_invoice else f"Price {since}."

    @property
    def agreed_note(self) -> str:
        """What was agreed for the service, on which days and why; nothing where its prices are everybody's."""
        frozen, override = self._frozen.get("override"), self.line.override
        if not frozen or override is None:
            return ""
        end = date.fromisoformat(frozen["end"]) if frozen["end"] else None
        days = agreed_days(date.fromisoformat(frozen["start"]), end)
        return f"Agreed for this service {days}: {override.what}. {frozen['reason']}"

    @property
    def levels(self) -> list[tuple[date, Decimal]]:
        """The days of a level that was aggregated, in the unit of the line."""
        assert self.unit is not None
        pairs = self.line.levels or []
        return [(date.fromisoformat(day), self.unit.from_base(Decimal(value))) for day, value in pairs]

    @property
    def aggregated(self) -> str:
        """How those days became one quantity."""
        how = Aggregation(self._frozen.get("aggregation", Aggregation.LATEST))
        return _AGGREGATED[how].format(measured=len(self.line.levels)) if self.line.levels else ""

    @property
    def _frozen(self) -> dict[str, Any]:
        return dict(self.line.pricing or {})

    def _parts_by_period(self) -> Iterator[Part]:
        assert self.unit is not None
        steps: dict[str, list[Step]] = defaultdict(list)
        for step in self.line.steps:
            steps[step["period"]].append(_step(step))
        for period, quantity in self.periods:
            if own := steps.get(str(period.start)):
                amount = exact_sum(step.amount for step in own)
                yield Part(
                    rows=self._rows(Charge(quantity, amount, tuple(own))),
                    period=_period_words(period),
                    quantity=self.unit.write(quantity),
                    amount=write_price(amount, self.currency),
                )

    def _rows(self, charge: Charge) -> list[tuple[str, str, str, str]]:
        assert self.unit is not None
        return charge_rows(read_pricing(self._frozen), charge, self.unit, self.currency)


def _step(step: dict[str, str | None]) -> Step:
    """Read a step as it is stored on a line."""
    start, end, *numbers = (
        None if (text := step[name]) is None else Decimal(text)
        for name in ("from", "to", "quantity", "unit_price", "flat_fee", "amount")
    )
    quantity, unit_price, flat_fee, amount = (number or Decimal(0) for number in numbers)
    return Step(start, end, quantity, unit_price, flat_fee, amount)


def _period_words(period: BilledPeriod) -> str:
    """`30 October 2026` for a day, `October 2026` for a month."""
    is_day = (period.end - period.start).days == 1
    return day_words(period.start) if is_day else str(format_date(period.start, "MMMM y", locale="en"))


def of_invoice(invoice: Invoice) -> list[Proof]:
    """Return the invoice's lines with what is behind each, in four queries for any number of lines."""
    related = ("service", "setting__metric", "override__setting__metric")
    lines = list(invoice.lines.select_related(*related).prefetch_related("override__prices"))
    periods: dict[UUID, list[BilledPeriod]] = defaultdict(list)
    for period in BilledPeriod.objects.filter(line__in=lines).order_by("start"):
        assert period.line_id is not None
        periods[period.line_id].append(period)
    readings = _readings([group[-1] for group in periods.values()], invoice.created_at)
    proofs = []
    for line in lines:
        unit = Unit.from_json(line.unit) if line.unit else None
        proof = Proof(line, unit, invoice.currency)
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
