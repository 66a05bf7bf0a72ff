"""What services have used so far, what that costs, and what it will come to: the figures of the client's panel and
of staff's.

The charge so far is what an invoice of today would bill, by the same code, and the forecast goes on from there.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cached_property
from operator import attrgetter

from django.conf import settings as site

from catalog.aggregation import Aggregation
from catalog.in_force import InForce, choose
from catalog.models import OVER, MetricSetting, Override, Service
from catalog.money import round_amount
from catalog.pricing import ZERO, Charge, Pricing, PricingError, added, rate
from invoicing import forecast, history, outlook
from invoicing.billable import Billable
from invoicing.forecast import LOOK_BACK, NOTHING, Range
from invoicing.history import Days, Newest
from invoicing.known import Known, say_the_pace, zone_of
from invoicing.outlook import NextUnit, Observed, Outlook, Priced
from invoicing.usage_invoicing import was_on, when_on
from metering.decimals import exact_sum
from metering.declaring import declared_metrics
from metering.models import Metric
from metering.periods import Period, local_day
from metering.providers import base
from metering.providers.base import MetricType
from metering.units import Unit

ONE_DAY = timedelta(days=1)


@dataclass
class Statistics:
    """The figures of one metric of one service."""

    metric: Metric
    unit: Unit
    currency: str
    setting: MetricSetting | None = None
    is_enabled: bool = False
    latest: Newest | None = None
    is_stale: bool = False
    quantity: Decimal | None = None
    since: date | None = None
    limit: Decimal | None = None
    in_force: InForce | None = None
    pricing: Pricing | None = None
    charges: list[Charge] = field(default_factory=list)
    #: What it would cost if it were billed: it is off, or was switched on or priced after the term began.
    unbilled: Charge | None = None
    has_no_price: bool = False
    #: What was agreed for this service and does not price the current period yet.
    to_come: list[Override] = field(default_factory=list)
    #: The current term of a service that runs, what it will come to, and the days that were measured.
    term: Period | None = None
    outlook: Outlook | None = None
    is_waiting_for_days: bool = False
    days: Days = history.NONE
    zone: tzinfo = UTC
    #: The service is over; what its tenant uses now may be another's, and is not shown.
    has_ended: bool = False

    @cached_property
    def amount(self) -> Decimal | None:
        """What it costs so far, rounded as it would be on the invoice; None without a price or a value."""
        if not self.charges:
            return None
        return exact_sum(round_amount(charge.amount, self.currency) for charge in self.charges)

    @property
    def unbilled_amount(self) -> Decimal | None:
        return round_amount(self.unbilled.amount, self.currency) if self.unbilled else None

    @property
    def charged_quantity(self) -> Decimal:
        return self.charges[0].quantity if self.charges else ZERO

    @property
    def agreed(self) -> Override | None:
        """What was agreed for this service and is in force for it."""
        return self.in_force.override if self.in_force else None

    @property
    def included(self) -> Decimal:
        """The quantity included in the prices, or none."""
        return self.pricing.included if self.pricing else ZERO

    @property
    def aggregation(self) -> Aggregation:
        """How the days of a level become what is charged."""
        return Aggregation(self.in_force.version.aggregation) if self.in_force else Aggregation.LATEST

    @property
    def has_plain_level(self) -> bool:
        """Whether it is a level that counts as it is when the term ends."""
        return not self.metric.adds_up and self.aggregation is Aggregation.LATEST

    @property
    def next_unit(self) -> NextUnit | None:
        """What one more costs; None where nothing is charged or each period is rated by itself."""
        if self.quantity is None or self.pricing is None or self.in_force is None or len(self.charges) != 1:
            return None
        return None if self.in_force.rates_each_period else outlook.next_unit(self.pricing, self.charges[0].quantity)

    @property
    def is_over_limit(self) -> bool:
        return self.limit is not None and self.quantity is not None and self.quantity > self.limit

    @property
    def has_included_left(self) -> bool:
        return self.metric.adds_up and self.quantity is not None and self.quantity < self.included

    @property
    def ran_out_on(self) -> date | None:
        """The day on which the quantity included was used up; None where it is not, or that is not known."""
        included = self.included
        if not included or not self.metric.adds_up or self.quantity is None or self.quantity <= included:
            return None
        if self.since is None or not self.days.points or self.days.points[0][0] > self.since:
            return None
        return forecast.ran_out_on(self.unit.to_base(included), self.days.between(self.since, date.max))


def of_service(service: Service, *, at: datetime) -> list[Statistics]:
    """Return every metric that the service's server declares, and what else its product bills or its tenant ever
    brought, with what is known of this service. Without a tenant, that is every metric of the provider."""
    declared = declared_metrics(service.product.provider) if service.product.provider else []
    known = Known([service], at, with_days=True, declared=declared)
    found = _of_metrics(known, service, declared)
    if service.tenant is None:
        return found
    server, brought = service.tenant.server, {metric for _, metric in known.latest}
    names = {metric.system_name for metric in base.declared(server.provider, server.settings)}
    return [one for one in found if one.setting or one.metric.id in brought or one.metric.system_name in names]


def enabled_of(service: Service, *, at: datetime) -> list[Statistics]:
    """Return the metrics that are enabled for a service, with what is known of them and their days."""
    return _of_metrics(Known([service], at, with_days=True), service)


def enabled_of_each(
    services: Sequence[Service], *, at: datetime, with_days: bool = False
) -> dict[int, list[Statistics]]:
    """Return the metrics that are enabled for some services, by their ids, with what they cost and will come to, in a
    constant number of queries. How much was used is left out of what is not charged, unless they come `with_days`."""
    known = Known(services, at, with_days=with_days)
    return {service.id: _of_metrics(known, service) for service in services}


def total(metrics: Iterable[Statistics]) -> Decimal:
    """Return what several metrics cost so far, together."""
    return exact_sum(one.amount for one in metrics if one.amount is not None)


def expected(metrics: Iterable[Statistics]) -> Range | None:
    """Return what several metrics will have cost when their term ends, together; None while one of them has not
    enough days to say so."""
    return _together(metrics, attrgetter("amounts"))


def billed(metrics: Iterable[Statistics]) -> Range | None:
    """Return what of that the invoice of the term's end says, without months that are open then."""
    return _together(metrics, attrgetter("billed"))


def _together(metrics: Iterable[Statistics], of: Callable[[Outlook], Range | None]) -> Range | None:
    whole = NOTHING
    for one in metrics:
        if one.is_waiting_for_days:
            return None
        if one.outlook is not None and (ahead := of(one.outlook)) is not None:
            whole += ahead
        elif one.amount is not None:
            whole = whole.plus(one.amount)
    return whole


def _of_metrics(known: Known, service: Service, declared: Sequence[Metric] | None = None) -> list[Statistics]:
    """Return the metrics that are declared, or else those that are enabled for a service."""
    settings = {setting.metric_id: setting for setting in known.settings.get(service.product_id, ())}
    if declared is None:
        declared = [setting.metric for setting in settings.values() if setting.id in known.enabled]
    lines: dict[int, list[Billable]] = defaultdict(list)
    for line in known.lines_of(service):
        lines[line.setting.metric_id].append(line)
    return [
        _of_metric(known, service, metric, settings.get(metric.id), lines.get(metric.id, [])) for metric in declared
    ]


def _of_metric(
    known: Known, service: Service, metric: Metric, setting: MetricSetting | None, lines: list[Billable]
) -> Statistics:
    latest, zone = known.latest.get((service.tenant_id or 0, metric.id)), zone_of(service)
    has_ended = service.status in OVER
    if has_ended and latest and local_day(latest.collected_at, zone) >= service.ends:
        latest = None
    one = Statistics(metric, metric.unit, service.currency, setting, latest=latest, zone=zone, has_ended=has_ended)
    days = known.days_of(service, metric, latest)
    if known.with_days:
        one.days = days
    if setting is not None:
        one.is_enabled = setting.id in known.enabled
        agreed = known.overrides.get((service.id, setting.id), [])
        _set_prices(one, setting, agreed, lines, local_day(known.at, zone))
    is_on = bool(lines) or _is_on(known, service, one)
    # What is charged and on no line was used before it was switched on.
    used = _used(lines) if is_on else _uncharged(one, max(known.terms[service.id].start, service.begins))
    _fill(one, latest, used, known.at)
    _charge(one, lines, is_on=is_on)
    if latest is not None and one.is_enabled and service.is_billable:
        one.term = known.terms[service.id]
        _look_ahead(known, one, days, lines, used[0] if used else ZERO)
    return one


def _is_on(known: Known, service: Service, one: Statistics) -> bool:
    """Whether what is open now is charged: all of it must have been switched on and have a price."""
    if one.setting is None or not one.is_enabled or not service.is_billable:
        return False
    today, since = local_day(known.at, one.zone), known.terms[service.id].start
    period = one.metric.period_of(today)
    if not one.metric.adds_up and since <= today:
        period = Period(since, today + ONE_DAY)
    began = max(period.start, service.metered_from or period.start)
    end = max(period.end, began + ONE_DAY)
    on = when_on(one.setting.all_spans, known.spans)
    return one.setting.version_on(began) is not None and was_on(on, began, end)


def _used(lines: Sequence[Billable]) -> tuple[Decimal, date] | None:
    """What some lines bill together, and since when."""
    items = [item for line in lines for item in line.items]
    return (exact_sum(item.value for item in items), min(item.start for item in items)) if items else None


def _uncharged(one: Statistics, start: date) -> tuple[Decimal, date] | None:
    """What was used since the term began of what no invoice bills, and since when."""
    if not one.metric.adds_up:
        return None
    if one.metric.type == MetricType.MONTH:
        start = start.replace(day=1)
    points = one.days.between(start, date.max)
    return (exact_sum(value for _day, value in points), start) if points else None


def _fill(one: Statistics, latest: Newest | None, used: tuple[Decimal, date] | None, at: datetime) -> None:
    if latest is None:
        return
    one.is_stale = at - latest.collected_at > timedelta(hours=site.STALE_AFTER_HOURS)
    one.limit = one.unit.from_base(latest.quota) if latest.quota is not None else None
    if one.metric.type == MetricType.SNAPSHOT:
        one.quantity = one.unit.from_base(latest.value)
    else:
        total, one.since = used if used else (ZERO, None)
        one.quantity = one.unit.from_base(total)


def _set_prices(
    one: Statistics, setting: MetricSetting, overrides: list[Override], lines: list[Billable], today: date
) -> None:
    one.in_force = lines[-1].in_force if lines else choose(setting, overrides, began=today)
    if one.in_force is not None:
        one.unit = one.in_force.unit
        one.pricing = _pricing(one.in_force, one.currency)
        one.has_no_price = one.pricing is None
    one.to_come = [each for each in overrides if each != one.agreed and each.state(today) != "over"]


def _charge(one: Statistics, lines: list[Billable], *, is_on: bool) -> None:
    try:
        one.charges = [
            added(line.charges(pricing))
            for line in lines
            if (pricing := _pricing(line.in_force, one.currency)) is not None
        ]
        if not lines and one.pricing is not None and one.quantity is not None and not is_on:
            one.unbilled = rate(one.pricing, one.quantity)
    except PricingError:
        one.charges = []


def _pricing(in_force: InForce, currency: str) -> Pricing | None:
    try:
        return in_force.pricing(currency)
    except PricingError:
        return None


def _look_ahead(known: Known, one: Statistics, measured: Days, lines: list[Billable], used: Decimal) -> None:
    latest, term = one.latest, one.term
    assert latest is not None  # nothing is expected of what nobody measured
    assert term is not None
    days = measured
    if one.metric.type != MetricType.MONTH:
        of_lines = [(item.start, item.value) for line in lines for item in line.items]
        if say_the_pace((day for day, _ in of_lines), term.start):
            days = Days(of_lines)
    observed = Observed(
        at=latest.collected_at,
        zone=one.zone,
        days=days,
        before=measured.whole(term.start - timedelta(days=LOOK_BACK), term.start),
        level=latest.value,
        least_and_most=known.levels.get((latest.tenant_id, latest.metric_id)),
    )
    is_charged = one.in_force is not None and one.pricing is not None and one.unbilled is None
    priced = Priced(lines, one.in_force, one.pricing, one.currency) if is_charged else None  # type: ignore[arg-type]
    try:
        total = used if one.metric.adds_up else latest.value
        one.outlook = outlook.of_metric(one.metric, one.unit, term, observed, total, priced)
    except PricingError:
        return  # what cannot be rated is said where the charge is
    one.is_waiting_for_days = one.outlook is None and is_charged
