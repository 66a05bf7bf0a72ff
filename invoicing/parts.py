"""The charge of a line as it was rated: at once, or each of its periods by itself."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.money import write_price
from catalog.pricing import Charge, Step
from catalog.quote import read_pricing
from catalog.wording import charge_rows
from invoicing.models import BilledPeriod, Line
from metering import dates
from metering.decimals import exact_sum
from metering.periods import month
from metering.units import Unit


@dataclass(frozen=True, slots=True)
class Part:
    """What was rated at once, the whole line or one of its periods: range, quantity, price, amount by row."""

    rows: list[tuple[str, str, str, str]]
    period: str = ""
    quantity: str = ""
    amount: str = ""
    start: date | None = None
    exact: Decimal = Decimal(0)


def together(line: Line, unit: Unit, currency: str) -> Part:
    """Return the charge of a line whose periods were rated at once."""
    assert line.quantity is not None
    if any("period" in step for step in line.steps):
        # A credit of which another line has the periods.
        amount = write_price(line.exact, currency)
        return Part([(_("Each period by itself"), unit.number(line.quantity), "", amount)])
    charge = Charge(line.quantity, line.exact, tuple(map(read_step, line.steps)))
    return Part(charge_rows(read_pricing(dict(line.pricing or {})), charge, unit, currency))


def by_period(line: Line, unit: Unit, currency: str, periods: Sequence[tuple[BilledPeriod, Decimal]]) -> Iterator[Part]:
    """Yield the charge of each period of a line; one that cost nothing has no part."""
    pricing = read_pricing(dict(line.pricing or {}))
    steps: dict[str, list[Step]] = defaultdict(list)
    for step in line.steps:
        steps[step["period"]].append(read_step(step))
    for period, quantity in periods:
        if own := steps.pop(str(period.start), None):
            amount = exact_sum(step.amount for step in own)
            yield Part(
                rows=charge_rows(pricing, Charge(quantity, amount, tuple(own)), unit, currency),
                period=period_words(period.start, period.end),
                quantity=unit.write(quantity),
                amount=write_price(amount, currency),
                start=period.start,
                exact=amount,
            )


def read_step(step: dict[str, str | None]) -> Step:
    """Read a step as it is stored on a line."""
    start, end, *numbers = (
        None if (text := step[name]) is None else Decimal(text)
        for name in ("from", "to", "quantity", "unit_price", "flat_fee", "amount")
    )
    quantity, unit_price, flat_fee, amount = (number or Decimal(0) for number in numbers)
    return Step(start, end, quantity, unit_price, flat_fee, amount)


def period_words(start: date, end: date) -> str:
    """`30 October 2026` for a day, `October 2026` for a month, else its two ends, as on the line."""
    last = end - timedelta(days=1)
    if start == last:
        return dates.full_day(start)
    if start.day == 1 and end == month(start).end:
        return dates.month(start)
    return dates.span(start, end)
