"""What services have used so far, what that costs, and what it will come to: the figures of the client's panel and
of staff's.

The charge so far is what an invoice of today would bill, by the same code, and the forecast goes on from there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings as site
from django.utils.translation import gettext as _

from catalog import price_book
from catalog.aggregation import Aggregation
from catalog.in_force import InForce, choose, overrides_of
from catalog.models import OVER, MetricSetting, Override, Service
from catalog.money import round_amount
from catalog.pricing import HUNDRED, ZERO, Charge, Pricing, PricingError, added, rate
from catalog.wording import AGGREGATIONS, charge_rows, charge_sentence, price_sentence, ranges
from invoicing import history, outlook, unbilled, unusual
from invoicing.forecast import FEW, LOOK_BACK, NOTHING, Range, ran_out_on
from invoicing.history import Days, Key
from invoicing.models import InvoicingSpan
from invoicing.outlook import NextUnit, Observed, Outlook, Priced
from invoicing.unbilled import Billable
from metering import dates, periods
from metering.collection import declared_metrics
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.models import Latest, Metric
from metering.periods import Period, local_day
from metering.providers import base
from metering.providers.base import MetricType
from metering.units import Unit

ONE_DAY = timedelta(days=1)
#: Where on a bar, in percent, words around a tick would meet those at its beginning, or at its end.
NEAR_START, NEAR_END = Decimal(25), Decimal(80)


class Newest(NamedTuple):
    """The newest value of a metric of a tenant, as metering.models.Latest has it, and when it was last brought."""

    tenant_id: int
    metric_id: int
    value: Decimal
    quota: Decimal | None
    read_at: datetime
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class Meter:
    """The bar of used against included and limit, in percent of its length."""

    inside: Decimal
    over: Decimal
    tick: Decimal | None

    @property
    def anchor(self) -> str:
        """To which side of the tick its words stand, so that they stay on the bar; nothing where they join those at
        its end."""
        if self.tick is None or self.tick > NEAR_END:
            return ""
        return "start" if self.tick < NEAR_START else "end" if self.tick > HUNDRED - NEAR_START else "middle"


@dataclass
class Statistics:
    """One metric of one service."""

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
            if self.latest and self.is_stale:
                return _("%(noun)s on %(day)s") % {"noun": noun, "day": dates.long_day(self.latest.collected_at.date())}
            return _("%(noun)s now") % {"noun": noun}
        return _("%(noun)s since %(day)s") % {"noun": noun, "day": dates.long_day(self.since)} if self.since else noun

    @property
    def meter_end(self) -> str:
        """What stands at the end of the bar: the limit, the quantity included, or what was used beyond it."""
        meter = self.meter
        if not self.limit and not (meter and meter.tick):
            return self.meter_tick
        end = self.shown_number
        if self.limit:
            end = _("%(number)s limit") % {"number": self.unit.number(self.limit, places=2)}
        return f"{self.meter_tick}, {end}" if meter and meter.tick and not meter.anchor else end

    @property
    def meter_tick(self) -> str:
        included = self.pricing.included if self.pricing else Decimal(0)
        return _("%(number)s included") % {"number": self.unit.number(included, places=2)}

    @property
    def meter_words(self) -> str:
        """The bar for those who cannot see it."""
        said = {"used": f"{self.shown_number} {_(self.unit.plural)}", "included": self.meter_tick}
        if not self.limit:
            return _("%(used)s used, %(included)s") % said
        said["limit"] = self.unit.number(self.limit, places=2)
        return _("%(used)s used, %(included)s, %(limit)s allowed") % said

    @property
    def next_unit(self) -> NextUnit | None:
        """What one more costs; None where nothing is charged or each period is rated by itself."""
        if self.quantity is None or self.pricing is None or self.in_force is None or len(self.charges) != 1:
            return None
        return None if self.in_force.rates_each_period else outlook.next_unit(self.pricing, self.charges[0].quantity)

    @property
    def charge_rows(self) -> list[tuple[str, str, str, str]]:
        """How the charge comes about, as rows of a table; none where several lines make it."""
        if len(self.charges) != 1 or self.pricing is None:
            return []
        return charge_rows(self.pricing, self.charges[0], self.unit, self.currency)

    @property
    def charged_quantity(self) -> Decimal:
        return self.charges[0].quantity if self.charges else ZERO

    @property
    def what_counts(self) -> str:
        """What of a level is charged, where that is not what it is in the end."""
        how = Aggregation(self.in_force.version.aggregation) if self.in_force else Aggregation.LATEST
        if self.metric.adds_up or how is Aggregation.LATEST:
            return ""
        return _("what counts is the %(aggregation)s.") % {"aggregation": AGGREGATIONS[how]}

    @property
    def has_plain_level(self) -> bool:
        """Whether it is a level that counts as it is when the term ends."""
        return not self.metric.adds_up and not self.what_counts

    @property
    def is_over_limit(self) -> bool:
        return self.limit is not None and self.quantity is not None and self.quantity > self.limit

    @property
    def has_included_left(self) -> bool:
        included = self.pricing.included if self.pricing else ZERO
        return self.metric.adds_up and self.quantity is not None and self.quantity < included

    @property
    def ran_out_on(self) -> date | None:
        """The day on which the quantity included was used up; None where it is not, or that is not known."""
        included = self.pricing.included if self.pricing else ZERO
        if not included or not self.metric.adds_up or self.quantity is None or self.quantity <= included:
            return None
        if self.since is None or not self.days.points or self.days.points[0][0] > self.since:
            return None
        return ran_out_on(self.unit.to_base(included), self.days.between(self.since, date.max))

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
    """Return every metric that the service's server declares, and what else its product bills or its tenant ever
    brought, with what is known of this service. Without a tenant, that is every metric of the provider."""
    declared = declared_metrics(service.product.provider) if service.product.provider else []
    known = _Known([service], at, with_days=True, declared=declared)
    found = known.statistics(service, declared)
    if service.tenant is None:
        return found
    server, brought = service.tenant.server, {metric for _, metric in known.latest}
    names = {metric.system_name for metric in base.declared(server.provider, server.settings)}
    return [one for one in found if one.setting or one.metric.pk in brought or one.metric.system_name in names]


def enabled_of(service: Service, *, at: datetime) -> list[Statistics]:
    """Return the metrics that are enabled for a service, with what is known of them and their days."""
    return _Known([service], at, with_days=True).statistics(service)


def enabled_of_each(
    services: Sequence[Service], *, at: datetime, with_days: bool = False
) -> dict[int, list[Statistics]]:
    """Return the metrics that are enabled for some services, by their ids, with what they cost and will come to, in a
    constant number of queries. How much was used is left out of what is not charged, unless they come `with_days`."""
    known = _Known(services, at, with_days=with_days)
    return {service.pk: known.statistics(service) for service in services}


def total(metrics: Iterable[Statistics]) -> Decimal:
    """Return what several metrics cost so far, together."""
    return exact_sum(one.amount for one in metrics if one.amount is not None)


def expected(metrics: Iterable[Statistics]) -> Range | None:
    """Return what several metrics will have cost when their term ends, together; None while one of them has not
    enough days to say so."""
    whole = NOTHING
    for one in metrics:
        if one.is_waiting_for_days:
            return None
        if one.outlook is not None and one.outlook.amounts is not None:
            whole += one.outlook.amounts
        elif one.amount is not None:
            whole = whole.plus(one.amount)
    return whole


def term_of(service: Service) -> Period:
    """Return the current term of a service: the last one that was billed, or its first."""
    return service.term(max(service.next_term - 1, 0))


class _Known:
    """What is known of some services at an instant, read together.

    With `with_days`, that is every day of the current term and the last one, and what was used of
    metrics that are not charged.
    """

    def __init__(
        self, services: Sequence[Service], at: datetime, *, with_days: bool = False, declared: Sequence[Metric] = ()
    ) -> None:
        self.at = at
        self.with_days = with_days
        self.settings = price_book.settings_of({service.product_id for service in services})
        metered = [service for service in services if service.tenant_id]
        running = [service for service in metered if service.is_billable]
        self.spans = list(InvoicingSpan.objects.all())
        has = unusual.about(metered) if metered else frozenset()
        priced = {product: [each for each in group if each.versions.all()] for product, group in self.settings.items()}
        cuts = [unbilled.to_date(service, local_day(at, _zone(service))) for service in running]
        self.found = unbilled.find(cuts, priced, has=has, spans=self.spans) if cuts else {}
        self.overrides = overrides_of([service.pk for service in services]) if Override in has else {}
        self.tenants = [service.tenant_id for service in metered if service.tenant_id]
        newest = Latest.objects.filter(tenant_id__in=self.tenants).with_collected_at()
        self.latest = {row[:2]: Newest(*row) for row in newest.values_list(*Newest._fields)}
        self.terms = {service.pk: term_of(service) for service in services}
        self.days: dict[Key, Days] = {}
        self.levels: dict[Key, tuple[Decimal, Decimal]] = {}
        self._read_days(metered if with_days else running, declared)

    def _read_days(self, services: Sequence[Service], declared: Sequence[Metric]) -> None:
        """Read what a forecast needs beyond the lines: the days of monthly totals, those of the last term where the
        current one is young, and between which values levels lay."""
        enabled = {each.metric for group in self.settings.values() for each in group if each.is_enabled}
        metrics = enabled.union(declared)
        if not services or not metrics:
            return
        today = self.at.date()
        until, back = today + timedelta(days=2), timedelta(days=LOOK_BACK)
        starts = {service.pk: self.terms[service.pk].start for service in services}
        recently = _since(services, dict.fromkeys(starts, today - back))
        levels = [metric.pk for metric in metrics if not metric.adds_up]
        if self.with_days:
            since = _since(services, {pk: min(start, today - back) - back for pk, start in starts.items()})
            self.days = history.by_day(since, metrics, until)
            self.levels = history.levels_among(self.days, recently, levels)
            return
        self.levels = history.levels(recently, levels)
        months = [metric for metric in metrics if metric.type == MetricType.MONTH]
        if months:
            self.days = history.by_day(
                _since(services, {pk: start - back for pk, start in starts.items()}), months, until
            )
        young = {pk: start - back for pk, start in starts.items() if (today - start).days <= FEW}
        daily = [metric for metric in metrics if metric.type in (MetricType.DAY, MetricType.COUNTER)]
        if young and daily:
            self.days |= history.by_day(_since(services, young), daily, until)

    def statistics(self, service: Service, declared: Sequence[Metric] | None = None) -> list[Statistics]:
        """Return the metrics that are declared, or else those that are enabled for a service."""
        settings = {setting.metric_id: setting for setting in self.settings.get(service.product_id, ())}
        if declared is None:
            declared = [setting.metric for setting in settings.values() if setting.is_enabled]
        lines: dict[int, list[Billable]] = defaultdict(list)
        for line in self.found[service.pk].billable if service.pk in self.found else ():
            lines[line.setting.metric_id].append(line)
        return [
            self._of_metric(service, metric, settings.get(metric.pk), lines.get(metric.pk, [])) for metric in declared
        ]

    def _of_metric(
        self, service: Service, metric: Metric, setting: MetricSetting | None, lines: list[Billable]
    ) -> Statistics:
        key = (service.tenant_id or 0, metric.pk)
        latest = self.latest.get(key)
        has_ended = service.status in OVER
        if has_ended and latest and local_day(latest.collected_at, _zone(service)) >= ends(service):
            latest = None
        one = Statistics(
            metric, metric.unit, service.currency, setting, latest=latest, zone=_zone(service), has_ended=has_ended
        )
        known = self._days_of(service, metric, latest)
        if self.with_days:
            one.days = known
        if setting is not None:
            agreed = self.overrides.get((service.pk, setting.pk), [])
            _set_prices(one, setting, agreed, lines, local_day(self.at, _zone(service)))
        used = _used(lines) or _uncharged(one, max(self.terms[service.pk].start, begins(service)))
        _fill(one, latest, used, self.at)
        _charge(one, lines, is_on=bool(lines) or self._is_on(service, one))
        if latest is not None and one.is_enabled and service.is_billable:
            one.term = self.terms[service.pk]
            self._look_ahead(service, one, known, lines, used[0] if used else ZERO)
        return one

    def _days_of(self, service: Service, metric: Metric, latest: Newest | None) -> Days:
        if latest is None:
            return history.NONE
        found = self.days.get((latest.tenant_id, metric.pk), history.NONE)
        if metric.type != MetricType.MONTH:
            return found
        zone, term = _zone(service), self.terms[service.pk]
        last = local_day(latest.collected_at, zone)
        read, since = local_day(latest.read_at, zone), max(begins(service), term.start - timedelta(days=LOOK_BACK))
        return found.still(max(since, read + ONE_DAY), last)

    def _is_on(self, service: Service, one: Statistics) -> bool:
        """Whether what is open now is charged: all of it must have been switched on and have a price."""
        if one.setting is None or not one.is_enabled or not service.is_billable:
            return False
        today, since = local_day(self.at, _zone(service)), self.terms[service.pk].start
        period = periods.month(today) if one.metric.type == MetricType.MONTH else periods.day(today)
        if not one.metric.adds_up and since <= today:
            period = Period(since, today + ONE_DAY)
        began = max(period.start, service.metered_from or period.start)
        end = max(period.end, began + ONE_DAY)
        return one.setting.version_on(began) is not None and unbilled.was_on(one.setting, self.spans, began, end)

    def _look_ahead(self, service: Service, one: Statistics, known: Days, lines: list[Billable], used: Decimal) -> None:
        term, latest = self.terms[service.pk], one.latest
        assert latest is not None  # nothing is expected of what nobody measured
        key, since = (latest.tenant_id, latest.metric_id), term.start - timedelta(days=LOOK_BACK)
        days = known
        if lines and one.metric.type != MetricType.MONTH:
            days = Days([(item.start, item.value) for line in lines for item in line.items])
        observed = Observed(
            at=latest.collected_at,
            zone=_zone(service),
            days=days,
            before=known.whole(since, term.start),
            level=latest.value,
            least_and_most=self.levels.get(key),
        )
        is_charged = one.in_force is not None and one.pricing is not None and one.unbilled is None
        priced = Priced(lines, one.in_force, one.pricing, one.currency) if is_charged else None  # type: ignore[arg-type]
        try:
            total = used if one.metric.adds_up else latest.value
            one.outlook = outlook.of_metric(one.metric, one.unit, term, observed, total, priced)
        except PricingError:
            return  # what cannot be rated is said where the charge is
        one.is_waiting_for_days = one.outlook is None and is_charged


def begins(service: Service) -> date:
    """Return the day from which on the usage of its tenant is that of a service: before, it may be another's."""
    return service.metered_from or service.anchor


def ends(service: Service) -> date:
    """Return the day before which the usage of its tenant is that of a service: later, it may be another's."""
    if service.status not in OVER:
        return date.max
    return service.terminated_on + ONE_DAY if service.terminated_on else service.anchor


def _since(services: Iterable[Service], days: Mapping[int, date]) -> dict[int, date]:
    """Return from which day on to look at the tenants of those services that have a day, none before it is theirs."""
    return {
        service.tenant_id: max(days[service.pk], begins(service))
        for service in services
        if service.tenant_id and service.pk in days
    }


def _zone(service: Service) -> tzinfo:
    return service.tenant.server.zone if service.tenant else UTC


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
    one.is_enabled = setting.is_enabled
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


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return round_half_up(EXACT.divide(EXACT.multiply(part, HUNDRED), whole), 2)
