"""What a metric of a service will have used and cost when its term ends: the forecast, rated as an invoice is.

The lines that an invoice of today would have are taken as they are; the last of them goes on, at the prices in
force for it. A price that is planned and not in force yet is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal

from catalog.aggregation import Aggregation
from catalog.in_force import InForce
from catalog.money import round_amount
from catalog.pricing import ONE, ZERO, Pricing, PricingError, Scheme, added, amount
from invoicing import forecast
from invoicing.billable import Billable
from invoicing.forecast import NOTHING, Pace, Range
from invoicing.history import Days
from metering.decimals import EXACT, exact_sum
from metering.models import Metric
from metering.periods import Period, month
from metering.providers.base import MetricType
from metering.units import Unit


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a metric of a tenant: when a collection last brought it, its days in the term and in the last
    one, and for a level what it is now and between which values it lay. In the base of the unit."""

    at: datetime
    zone: tzinfo
    days: Days
    before: Sequence[Decimal] = ()
    level: Decimal = ZERO
    least_and_most: tuple[Decimal, Decimal] | None = None

    def days_until(self, day: date) -> Decimal:
        """How many days there are until one begins; below zero after that."""
        return forecast.fraction(datetime.combine(day, time.min, self.zone) - self.at)


@dataclass(frozen=True, slots=True)
class Priced:
    """How a metric is charged: the lines that there are, and what prices their last one or the next."""

    lines: Sequence[Billable]
    in_force: InForce
    pricing: Pricing
    currency: str

    @property
    def settled(self) -> Decimal:
        """What the lines before the last one come to, each rounded as on an invoice. Raises PricingError."""
        return exact_sum(self._amount(line) for line in self.lines[:-1])

    @property
    def so_far(self) -> Decimal:
        """What all lines come to, each rounded as on an invoice. Raises PricingError."""
        return exact_sum(self._amount(line) for line in self.lines)

    def _amount(self, line: Billable) -> Decimal:
        pricing = line.in_force.pricing(self.currency)
        return round_amount(added(line.charges(pricing)).amount, self.currency) if pricing else ZERO


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a metric will have used when its term ends on the day `ends`, in its unit, and what that costs.

    `level` is what it will be then if it is a level: of what the term comes to, that may be one value of many.
    `amounts` is None where nothing is charged; `closed` is what of it is billed when the term ends, where a month is
    open then, whose total waits for the next invoice. `pace` is None for a level. `runs_out` is the day on which the
    quantity included runs out at this pace, if that is before the end.
    """

    ends: date
    quantities: Range
    level: Range | None = None
    amounts: Range | None = None
    pace: Pace | None = None
    runs_out: date | None = None
    closed: Range | None = None

    @property
    def billed(self) -> Range | None:
        """What the invoice of the term's end says."""
        return self.amounts if self.closed is None else self.closed

    @property
    def is_of_last_term(self) -> bool:
        return self.pace is not None and self.pace.is_of_last_term


def of_metric(
    metric: Metric, unit: Unit, term: Period, observed: Observed, used: Decimal, priced: Priced | None
) -> Outlook | None:
    """Return what a metric will come to, or None while there are not enough days to say so.

    `used` is what was used and not billed yet, or the level. Raises PricingError where the prices cannot rate it.
    """
    if not metric.adds_up:
        return _of_level(unit, term, observed, priced)
    pace = _pace(term, observed)
    if pace is None:
        return None
    quantities = pace.per_day.times(observed.days_until(term.end)).plus(used).each(unit.from_base)
    if priced is None:
        return Outlook(term.end, quantities, pace=pace)
    amounts = _of_totals(metric, unit, term, observed, priced, pace)
    runs_out = _runs_out(unit, term, observed, used, priced, pace)
    closed = _of_closed(metric, unit, term, observed, priced, pace)
    return Outlook(term.end, quantities, amounts=amounts, pace=pace, runs_out=runs_out, closed=closed)


def _pace(term: Period, observed: Observed) -> Pace | None:
    """How fast it was used since the term began, or since it was first measured in it."""
    points = observed.days.between(term.start, term.end)
    first = term.start if observed.before or not points or observed.days.lumps else points[0][0]
    today = observed.at.astimezone(observed.zone).date()
    return forecast.pace(
        used=exact_sum(value for _, value in points),
        elapsed=forecast.fraction(observed.at - datetime.combine(first, time.min, observed.zone)),
        days=observed.days.whole(term.start, min(today, term.end)),
        before=observed.before,
    )


def _of_totals(metric: Metric, unit: Unit, term: Period, observed: Observed, priced: Priced, pace: Pace) -> Range:
    left = observed.days_until(term.end)
    last = priced.lines[-1] if priced.lines else None
    charge, pricing = _charge(priced), priced.pricing
    if not priced.in_force.rates_each_period:
        so_far = exact_sum(item.value for item in last.items) if last else ZERO
        quantities = pace.per_day.times(left).plus(so_far).each(unit.from_base)
        corners = forecast.corners(pricing, quantities, unit.places)
        return forecast.amounts(lambda quantity: charge([quantity]), quantities, corners).plus(priced.settled)
    known = last.quantities if last else []
    ahead = list(_parts(metric, term, observed, left))
    if metric.type == MetricType.MONTH and known and last and last.items[-1].end > ahead[0][0]:
        # The month that is open grows; those after it are rated by themselves.
        open_month, known = last.items[-1].value, known[:-1]
    else:
        open_month = ZERO

    def rated(per_day: Decimal) -> Decimal:
        values = [EXACT.multiply(per_day, days) for _, days in ahead]
        values[:1] = [EXACT.add(value, open_month) for value in values[:1]]
        return charge([*known, *(unit.from_base(value) for value in values)])

    return forecast.amounts(rated, pace.per_day).plus(priced.settled)


def _of_closed(
    metric: Metric, unit: Unit, term: Period, observed: Observed, priced: Priced, pace: Pace
) -> Range | None:
    """What of the totals of months is over when the term ends; None where that is all."""
    until = month(term.end).start
    if metric.type != MetricType.MONTH or not term.start < until < term.end:
        return None
    lines = (replace(line, items=[item for item in line.items if item.start < until]) for line in priced.lines)
    over = replace(priced, lines=[line for line in lines if line.items])
    if observed.days_until(until) <= ZERO:
        return NOTHING.plus(over.so_far)
    return _of_totals(metric, unit, Period(term.start, until), observed, over, pace)


def _parts(metric: Metric, term: Period, observed: Observed, left: Decimal) -> Iterator[tuple[date, Decimal]]:
    """The periods that are ahead, as their first day and how many days of them are left."""
    today = observed.at.astimezone(observed.zone).date()
    if metric.type == MetricType.MONTH:
        start = today
        while start < term.end:
            end = min(month(start).end, term.end)
            rest = Decimal((term.end - end).days)
            yield start, EXACT.subtract(left, rest)
            left, start = rest, end
        if today >= term.end:
            yield today, ZERO
    else:
        # What is left of today is not rated by itself.
        for number in range(1, (term.end - today).days):
            yield today + timedelta(days=number), ONE


def _of_level(unit: Unit, term: Period, observed: Observed, priced: Priced | None) -> Outlook:
    if priced is None:
        level = Range.about(observed.level, observed.least_and_most or ()).each(unit.from_base)
        return Outlook(term.end, level, level)
    how = Aggregation(priced.in_force.version.aggregation)
    item = priced.lines[-1].items[-1] if priced.lines else None
    now = item.value if item and how is Aggregation.LATEST else observed.level
    levels = Range.about(now, observed.least_and_most or ())
    inside = Period(max(item.start, term.start), term.end) if item and item.start < term.end else term
    known, days = (item.levels, item.days or term.days) if item else ((), term.days)
    quantities = levels.each(lambda value: unit.from_base(forecast.level(how, known, value, inside, days)))
    charge = _charge(priced)
    corners = forecast.corners(priced.pricing, quantities, unit.places)
    amounts = forecast.amounts(lambda quantity: charge([quantity]), quantities, corners)
    return Outlook(term.end, quantities, levels.each(unit.from_base), amounts.plus(priced.settled))


def _charge(priced: Priced) -> Callable[[Sequence[Decimal]], Decimal]:
    """What quantities that are rated each come to, rounded as a line is."""

    def charge(quantities: Sequence[Decimal]) -> Decimal:
        exact = exact_sum(amount(priced.pricing, quantity) for quantity in quantities)
        return round_amount(exact, priced.currency)

    return charge


def _runs_out(unit: Unit, term: Period, observed: Observed, used: Decimal, priced: Priced, pace: Pace) -> date | None:
    included = priced.pricing.included
    if not included or priced.in_force.rates_each_period:
        return None
    days = forecast.days_until(unit.to_base(included), used, pace.per_day.expected)
    if not days or days > Decimal((term.end - term.start).days):
        return None
    on = (observed.at + timedelta(microseconds=int(days * 86_400_000_000))).astimezone(observed.zone).date()
    return on if on < term.end else None


@dataclass(frozen=True, slots=True)
class NextUnit:
    """What one more unit costs, exactly, and why it costs nothing: `included`, `package`, `maximum`, `minimum`, or
    empty."""

    amount: Decimal
    free_by: str = ""

    @property
    def saved(self) -> Decimal:
        """By how much all units together become cheaper, if they do."""
        return max(self.amount.copy_negate(), ZERO)


def next_unit(pricing: Pricing, quantity: Decimal) -> NextUnit | None:
    """Return what one more unit costs, or None where that cannot be said."""
    try:
        more = forecast.next_unit(pricing, quantity)
    except PricingError:
        return None
    if more is None:
        return None
    if more:
        return NextUnit(more)
    if quantity + 1 <= pricing.included:
        return NextUnit(more, "included")
    exact = amount(pricing, quantity)
    if pricing.maximum is not None and exact >= _less_discount(pricing, pricing.maximum):
        return NextUnit(more, "maximum")
    if pricing.minimum is not None and exact <= _less_discount(pricing, pricing.minimum):
        return NextUnit(more, "minimum")
    return NextUnit(more, "package" if pricing.scheme is Scheme.PACKAGE else "")


def _less_discount(pricing: Pricing, value: Decimal) -> Decimal:
    return EXACT.add(value, EXACT.multiply(value, pricing.share_off))
