"""What the database knows of the usage of some services at an instant, read in a constant number of queries."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple

from catalog import price_book
from catalog.in_force import overrides_of
from catalog.models import MetricSetting, Override, Service
from invoicing import history, unbilled, unusual
from invoicing.billable import Billable
from invoicing.cuts import to_date
from invoicing.forecast import FEW, LOOK_BACK
from invoicing.history import Days, Key, Newest
from metering.models import Metric
from metering.periods import local_day
from metering.prepared import together
from metering.providers.base import MetricType

ONE_DAY, BACK = timedelta(days=1), timedelta(days=LOOK_BACK)
#: What adds up and is measured by the day.
BY_DAY = (MetricType.DAY, MetricType.COUNTER)
#: By product.
Settings = Mapping[int, list[MetricSetting]]


class Known:
    """The switches and prices of services, what an invoice of today would bill of each, the newest values of their
    tenants, and what a forecast needs beyond that.

    With `with_days`, that is every day of the current term and the last one, and what was used of
    metrics that are not charged.
    """

    def __init__(
        self, services: Sequence[Service], at: datetime, *, with_days: bool = False, declared: Sequence[Metric] = ()
    ) -> None:
        self.at = at
        self.with_days = with_days
        products = {service.product_id for service in services}
        metered = [service for service in services if service.tenant_id]
        tenants = [service.tenant_id for service in metered if service.tenant_id]
        running = [service for service in metered if service.is_billable]
        cuts = [to_date(service, local_day(at, zone_of(service))) for service in running]
        self.terms = {service.id: service.current_term for service in services}
        since = self._since_the_last_term(metered) if with_days else {}

        # Usage is asked for by the prices that are remembered, and anew if they have changed since.
        wanted = _Wanted.by(price_book.remembered(products), declared)
        asked = [price_book.asked_of(products), unusual.asked_about(metered), history.asked_newest(tenants)]
        if cuts:
            asked.append(unbilled.asked_usage(cuts, wanted.priced))
        if since and wanted.metrics:
            asked.append(history.asked_by_day(since, wanted.metrics, self._until))
        with together(*asked):
            self.settings = price_book.settings_of(products)
            wanted = _Wanted.by(self.settings, declared)
            has, self.spans = unusual.about(metered)
            self.latest = history.newest(tenants)
            self.found = unbilled.find(cuts, wanted.priced, has=has, spans=self.spans) if cuts else {}
            self.days = history.by_day(since, wanted.metrics, self._until)
        #: The settings that are switched on, by their ids.
        self.enabled = wanted.enabled
        self.overrides = overrides_of([service.id for service in services]) if Override in has else {}
        self.levels: dict[Key, tuple[Decimal, Decimal]] = {}
        if wanted.metrics:
            self._look_back(metered if with_days else running, wanted.metrics)

    @property
    def _until(self) -> date:
        return self.at.date() + timedelta(days=2)

    def _since_the_last_term(self, services: Sequence[Service]) -> dict[int, date]:
        """From when on the days of the last term and of the last month count, and those before that they go on from."""
        recent = self.at.date() - BACK
        return _since(services, {pk: min(term.start, recent) - BACK for pk, term in self.terms.items()})

    def _look_back(self, services: Sequence[Service], metrics: Collection[Metric]) -> None:
        """Find between which values levels lay; and where the days were not read, those that a forecast needs beyond
        the lines: of monthly totals, and of the last term where the lines have few days of the current one."""
        today, starts = self.at.date(), {pk: term.start for pk, term in self.terms.items()}
        recently = _since(services, dict.fromkeys(starts, today - BACK))
        levels = [metric.id for metric in metrics if not metric.adds_up]
        if self.with_days:
            self.levels = history.levels_among(self.days, recently, levels)
            return
        self.levels = history.levels(recently, levels)
        months = [metric for metric in metrics if metric.type == MetricType.MONTH]
        if months:
            before = _since(services, {pk: start - BACK for pk, start in starts.items()})
            self.days = history.by_day(before, months, self._until)
        few = {each.id: starts[each.id] - BACK for each in services if self._has_few_days(each)}
        daily = [metric for metric in metrics if metric.type in BY_DAY]
        if few:
            self.days |= history.by_day(_since(services, few), daily, self._until)

    def _has_few_days(self, service: Service) -> bool:
        """Whether the lines do not say how a metric with prices was used from the first day of the term on, or on too
        few days."""
        start, found = self.terms[service.id].start, defaultdict[int, list[date]](list)
        for line in self.lines_of(service):
            found[line.setting.metric_id] += [item.start for item in line.items]
        measured = (
            found[each.metric_id]
            for each in self.settings.get(service.product_id, ())
            if each.metric.type in BY_DAY
            and each.id in self.enabled
            and each.all_versions
            and (service.tenant_id, each.metric_id) in self.latest
        )
        return any(not say_the_pace(days, start) for days in measured)

    def lines_of(self, service: Service) -> Sequence[Billable]:
        """What an invoice of today would bill of its usage."""
        return self.found[service.id].billable if service.id in self.found else ()

    def days_of(self, service: Service, metric: Metric, latest: Newest | None) -> Days:
        """The days of a metric; of a total of the month, those after its last reading, too."""
        if latest is None:
            return history.NONE
        found = self.days.get((latest.tenant_id, metric.id), history.NONE)
        if metric.type != MetricType.MONTH:
            return found
        zone, term = zone_of(service), self.terms[service.id]
        last = local_day(latest.collected_at, zone)
        read, since = local_day(latest.read_at, zone), max(service.begins, term.start - BACK)
        return found.still(max(since, read + ONE_DAY), last)


class _Wanted(NamedTuple):
    """What usage is wanted by the settings of products: which of them are switched on, those with prices, and all
    metrics whose usage is shown."""

    enabled: set[int]
    priced: Settings
    metrics: set[Metric]

    @classmethod
    def by(cls, settings: Settings, declared: Iterable[Metric]) -> "_Wanted":
        enabled = {each.id: each.metric for group in settings.values() for each in group if each.is_enabled}
        priced = {product: [each for each in group if each.all_versions] for product, group in settings.items()}
        return cls(set(enabled), priced, {*enabled.values(), *declared})


def say_the_pace(days: Iterable[date], start: date) -> bool:
    """Whether the days on lines say how something is used since a term began: all of them are there, and enough."""
    own = {day for day in days if day >= start}
    return len(own) > FEW and min(own) <= start


def zone_of(service: Service) -> tzinfo:
    """Where its server is."""
    return service.tenant.server.zone if service.tenant else UTC


def _since(services: Iterable[Service], days: Mapping[int, date]) -> dict[int, date]:
    """Return from which day on to look at the tenants of those services that have a day, none before it is theirs."""
    return {
        service.tenant_id: max(days[service.id], service.begins)
        for service in services
        if service.tenant_id and service.id in days
    }
