"""What a service has used so far and what that costs: the figures of the client's panel and of staff's.

The charge so far is what an invoice of today would bill, by the same code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings as site
from django.db.models import Min, Q, Sum

from catalog.in_force import InForce, choose, overrides_of
from catalog.models import MetricSetting, Override, Service
from catalog.money import round_amount
from catalog.pricing import HUNDRED, Charge, Pricing, PricingError, added, rate
from catalog.wording import charge_sentence, price_sentence, ranges
from invoicing import unbilled
from invoicing.billing import Catalog
from metering.collection import declared_metrics
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.models import Latest, Metric, Usage
from metering.providers.base import MetricType
from metering.units import Unit


@dataclass(frozen=True, slots=True)
class Meter:
    """The bar of used against included and limit, in percent of its length."""

    inside: Decimal
    over: Decimal
    tick: Decimal | None


@dataclass
class Statistics:
    """One metric of one service."""

    metric: Metric
    unit: Unit
    currency: str
    setting: MetricSetting | None = None
    is_enabled: bool = False
    latest: Latest | None = None
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

    @property
    def amount(self) -> Decimal | None:
        """What it costs so far, rounded as it would be on the invoice; None without a price or a value."""
        if not self.charges:
            return None
        return exact_sum(round_amount(charge.amount, self.currency) for charge in self.charges)

    @property
    def agreed(self) -> Override | None:
        """What was agreed for this service and is in force for it."""
        return self.in_force.override if self.in_force else None

    @property
    def unbilled_amount(self) -> Decimal | None:
        return round_amount(self.unbilled.amount, self.currency) if self.unbilled else None

    @property
    def price_words(self) -> str:
        return price_sentence(self.pricing, self.unit, self.currency) if self.pricing else ""

    @property
    def reason(self) -> str:
        """How the amount comes about, in a sentence."""
        charges = self.charges or ([self.unbilled] if self.unbilled else [])
        return "; ".join(
            charge_sentence(self.pricing, charge, self.unit, self.currency) for charge in charges if self.pricing
        )

    @property
    def price_table(self) -> list[tuple[str, Decimal, Decimal]]:
        """The brackets as (range in words, unit price, flat fee)."""
        if self.pricing is None:
            return []
        words = ranges(self.pricing, self.unit)
        return [
            (text, bracket.unit_price, bracket.flat_fee)
            for text, bracket in zip(words, self.pricing.brackets, strict=True)
        ]

    @property
    def shown_number(self) -> str:
        return "" if self.quantity is None else self.unit.number(self.quantity, places=2)

    @property
    def shown_noun(self) -> str:
        """What the number counts, and since when: `GB now`, `emails since 1 November`."""
        noun = self.unit.noun(self.quantity or Decimal(0))
        if self.metric.type == MetricType.SNAPSHOT:
            return f"{noun} on {_day(self.latest.collected_at)}" if self.latest and self.is_stale else f"{noun} now"
        return f"{noun} since {_day(self.since)}" if self.since else noun

    @property
    def meter_end(self) -> str:
        """What stands at the end of the bar: the limit, the quantity included, or what was used beyond it."""
        if self.limit:
            return f"{self.unit.number(self.limit, places=2)} limit"
        meter = self.meter
        return self.shown_number if meter and meter.tick else self.meter_tick

    @property
    def meter_tick(self) -> str:
        included = self.pricing.included if self.pricing else Decimal(0)
        return f"{self.unit.number(included, places=2)} included"

    @property
    def meter_words(self) -> str:
        """The bar for those who cannot see it."""
        limit = f", {self.unit.number(self.limit, places=2)} allowed" if self.limit else ""
        return f"{self.shown_number} {self.unit.plural} used, {self.meter_tick}{limit}"

    @property
    def meter(self) -> Meter | None:
        """Used of included and of limit, if there is one of them."""
        included = self.pricing.included if self.pricing else Decimal(0)
        end = self.limit or included
        if self.quantity is None or not end:
            return None
        length = max(end, self.quantity)
        inside = min(self.quantity, included) if included else Decimal(0)
        over = EXACT.subtract(self.quantity, inside)
        tick = included if included and included < length else None
        return Meter(_percent(inside, length), _percent(over, length), _percent(tick, length) if tick else None)


def of_service(service: Service, *, at: datetime) -> list[Statistics]:
    """Return every metric that the provider knows or ever brought, with what is known of this service."""
    settings = {
        setting.metric_id: setting
        for setting in MetricSetting.objects.filter(product=service.product_id).with_pricing()
    }
    metrics = declared_metrics(service.product.provider) if service.product.provider else []
    rows = {row.metric_id: row for row in _latest(service)}
    sums = _sums(service)
    today = at.astimezone(service.tenant.server.zone).date() if service.tenant else at.date()
    found = _unbilled([service], today)[service.pk]
    statistics = []
    overrides = overrides_of([service.pk])
    for metric in metrics:
        setting, latest = settings.get(metric.pk), rows.get(metric.pk)
        one = Statistics(metric, metric.unit, service.currency, setting, latest=latest)
        if setting is not None:
            _set_prices(one, setting, overrides.get((service.pk, setting.pk), []), found, today)
        _fill(one, latest, sums.get(metric.pk), at)
        _charge(one, found)
        statistics.append(one)
    return statistics


def total(metrics: Iterable[Statistics]) -> Decimal:
    """Return what several metrics cost so far, together."""
    return exact_sum(one.amount for one in metrics if one.amount is not None)


def charges_so_far(services: Sequence[Service], *, today: date) -> dict[int, Decimal]:
    """Return what the usage of each service costs so far, by service id, in a constant number of queries.

    A service whose usage has no price in its currency is left out.
    """
    found, charges = _unbilled(services, today), {}
    for service in services:
        try:
            amounts = [
                round_amount(added(billable.charges(pricing)).amount, service.currency)
                for billable in found[service.pk].billable
                if (pricing := _pricing(billable.in_force, service.currency)) is not None
            ]
        except PricingError:
            continue
        charges[service.pk] = exact_sum(amounts)
    return charges


def _unbilled(services: Sequence[Service], today: date) -> dict[int, unbilled.Unbilled]:
    catalog = Catalog.read({service.product_id for service in services})
    running = [service for service in services if service.is_billable]
    found = unbilled.find([unbilled.to_date(service, today) for service in running], catalog.settings)
    return {service.pk: found.get(service.pk, unbilled.Unbilled()) for service in services}


def _latest(service: Service) -> list[Latest]:
    return list(Latest.objects.filter(tenant_id=service.tenant_id).with_collected_at()) if service.tenant_id else []


def _sums(service: Service) -> dict[int, tuple[Decimal, date]]:
    """Return, by metric, what was used in periods that no invoice has billed, and since when."""
    if service.tenant_id is None:
        return {}
    months = Metric.objects.filter(type=MetricType.MONTH).values("pk")
    levels = Metric.objects.filter(type=MetricType.SNAPSHOT).values("pk")
    rows = (
        unbilled.without_billed(Usage.objects.filter(tenant_id=service.tenant_id))
        .filter(
            Q(metric_id__in=months, start__gte=service.anchor.replace(day=1))
            | (~Q(metric_id__in=months) & Q(start__gte=service.anchor))
        )
        .exclude(metric_id__in=levels)
        .values("metric_id")
        .annotate(used=Sum("value"), since=Min("start"))
        .order_by()
    )
    return {row["metric_id"]: (row["used"], row["since"]) for row in rows}


def _fill(one: Statistics, latest: Latest | None, used: tuple[Decimal, date] | None, at: datetime) -> None:
    if latest is None:
        return
    one.is_stale = at - latest.collected_at > timedelta(hours=site.STALE_AFTER_HOURS)
    one.limit = one.unit.from_base(latest.quota) if latest.quota is not None else None
    if one.metric.type == MetricType.SNAPSHOT:
        one.quantity = one.unit.from_base(latest.value)
    else:
        total, one.since = used if used else (Decimal(0), None)
        one.quantity = one.unit.from_base(total)


def _set_prices(
    one: Statistics, setting: MetricSetting, overrides: list[Override], found: unbilled.Unbilled, today: date
) -> None:
    one.is_enabled = setting.is_enabled
    billable = [group for group in found.billable if group.setting.pk == setting.pk]
    one.in_force = billable[-1].in_force if billable else choose(setting, overrides, began=today)
    if one.in_force is not None:
        one.unit = one.in_force.unit
        one.pricing = _pricing(one.in_force, one.currency)
        one.has_no_price = one.pricing is None
    one.to_come = [each for each in overrides if each != one.agreed and each.state(today) != "over"]


def _charge(one: Statistics, found: unbilled.Unbilled) -> None:
    billable = [group for group in found.billable if one.setting and group.setting.pk == one.setting.pk]
    try:
        one.charges = [
            added(group.charges(pricing))
            for group in billable
            if (pricing := _pricing(group.in_force, one.currency)) is not None
        ]
        if not billable and one.pricing is not None and one.quantity is not None:
            one.unbilled = rate(one.pricing, one.quantity)
    except PricingError:
        one.charges = []


def _pricing(in_force: InForce, currency: str) -> Pricing | None:
    try:
        return in_force.pricing(currency)
    except PricingError:
        return None


def _day(of: date) -> str:
    return f"{of.day} {of:%B}"


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return round_half_up(EXACT.divide(EXACT.multiply(part, HUNDRED), whole), 2)
