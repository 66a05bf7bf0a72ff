"""Looking which services outgrew their plan, by what their last terms were billed.

Terms are those whose renewal was claimed, so those of a run; the usage that each one closed is on its invoice.
Another product is one of the same provider that can be ordered, has a price for the billing cycle in the currency,
on which all metrics are switched on that the service charges for, and whose prices of today can price them. That usage
is rated with the code of the simulation, and without what was agreed for the service.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from catalog.models import MetricSetting, Product, Service
from catalog.money import round_amount
from catalog.terms import Cycle
from invoicing.prices import Catalog
from invoicing.simulation.rating import Line, rated
from metering import dates
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.models import Metric
from metering.periods import Period, month
from reports.models import Fit, Looked

#: Services that are looked at with one statement.
BATCH = 1_000
#: Terms of which the charges are added up and compared, and terms in a row that are looked for.
COMPARED, LOOKED_AT = 3, 12

#: Of the last terms of some services: what usage cost by term and metric, and whether it was above what is included.
_TERMS = """
    WITH term AS (
        SELECT c.service_id, c.invoice_id, c.term_start,
            row_number() OVER (PARTITION BY c.service_id ORDER BY c.term_start DESC) AS number
        FROM invoicing_claim c WHERE c.service_id = ANY(%(services)s) AND c.kind = 'renewal'
    )
    SELECT t.service_id, t.number, t.term_start, l.setting_id, coalesce(sum(l.amount), 0),
        coalesce(bool_or(l.quantity > (f.pricing ->> 'included')::numeric
            AND (f.pricing ->> 'included')::numeric > 0), false)
    FROM term t
    LEFT JOIN invoicing_line l ON l.invoice_id = t.invoice_id AND l.service_id = t.service_id AND l.kind = 'usage'
    LEFT JOIN invoicing_statement f ON f.id = l.statement_id
    WHERE t.number <= %(count)s
    GROUP BY t.service_id, t.number, t.term_start, l.setting_id
    ORDER BY t.service_id, t.number
"""
#: The months in which some services were charged above a limit.
_OVER = """
    SELECT service_id, name, month FROM invoicing_overagecharge
    WHERE service_id = ANY(%(services)s) GROUP BY service_id, name, month HAVING sum(amount) > 0
    ORDER BY month DESC
"""


@dataclass
class Seen:
    """What was billed of a service: each term's charge for usage by the day on which it closed, the newest first,
    and in which of them which metric was above what is included."""

    service: Service
    closed: dict[date, Decimal] = field(default_factory=dict)
    above: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    over: dict[str, list[date]] = field(default_factory=lambda: defaultdict(list))

    @property
    def last(self) -> list[date]:
        """The days on which the terms closed that are compared."""
        return list(self.closed)[:COMPARED]

    @property
    def usage(self) -> Decimal:
        return exact_sum(self.closed[each] for each in self.last)

    @property
    def longest(self) -> tuple[int, int | None]:
        """For how many terms in a row, up to the last, a metric was above what is included, and which one."""
        runs = [(_in_a_row(numbers), -setting) for setting, numbers in self.above.items()]
        count, setting = max(runs, default=(0, 0))
        return (count, -setting) if count else (0, None)

    def months_over(self, today: date) -> int:
        """For how many calendar months in a row, up to the one before this or to this one, a limit was exceeded."""
        return max((_months_in_a_row(months, today) for months in self.over.values()), default=0)


def look(*, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> int | None:
    """Look at the plans of all services, once a day. Returns how many were looked at; None when it was done today
    already or was stopped."""
    today = dates.site_day(at)
    last = Looked.objects.filter(pk=1).values_list("at", flat=True).first()
    if last is not None and dates.site_day(last) == today:
        return None
    living = Service.objects.billable().filter(product__in=_metered()).order_by("pk")
    ids = list(living.values_list("pk", flat=True))
    others = _Others(today)
    for first in range(0, len(ids), BATCH):
        if should_stop():
            return None
        _look_at(ids[first : first + BATCH], others, at, today)
    with transaction.atomic():
        Fit.objects.exclude(at=at).delete()
        Looked.objects.update_or_create(pk=1, defaults={"at": at})
    return len(ids)


def _metered() -> Iterable[int]:
    return Product.objects.exclude(provider="").values_list("pk", flat=True)


def _look_at(ids: Sequence[int], others: "_Others", at: datetime, today: date) -> None:
    seen = _seen(ids)
    better = others.cheapest([one for one in seen if one.usage > 0])
    rows = []
    for one in seen:
        above, setting = one.longest
        over = one.months_over(today)
        if not (one.usage or above or over):
            continue
        recurring = others.recurring(one.service, one.service.product_id, len(one.last)) or Decimal(0)
        row = Fit(
            service=one.service,
            at=at,
            currency=one.service.currency,
            terms=len(one.last),
            usage=one.usage,
            recurring=recurring,
            share=_share(one.usage, recurring),
            above=above,
            setting_id=setting,
            months_over=over,
        )
        if found := better.get(one.service.pk):
            row.other_id, row.other_cost, row.cost, row.compared = found
        rows.append(row)
    names = [each.name for each in Fit._meta.concrete_fields if not each.primary_key]
    Fit.objects.bulk_create(rows, update_conflicts=True, unique_fields=["service"], update_fields=names)


def _share(usage: Decimal, recurring: Decimal) -> Decimal | None:
    if not recurring:
        return None
    return min(round_half_up(EXACT.divide(usage * 100, recurring), 1), Decimal(10**10))


def _seen(ids: Sequence[int]) -> list[Seen]:
    services = Service.objects.filter(pk__in=ids).select_related("client", "product").order_by("pk")
    found = {service.pk: Seen(service) for service in services}
    with connection.cursor() as cursor:
        cursor.execute(_TERMS, {"services": list(ids), "count": LOOKED_AT})
        for service, number, closed, setting, amount, is_above in cursor:
            one = found[service]
            one.closed[closed] = one.closed.get(closed, Decimal(0)) + amount
            if is_above:
                one.above[setting].append(number)
        cursor.execute(_OVER, {"services": list(ids)})
        for service, name, first in cursor:
            found[service].over[name].append(first)
    return list(found.values())


def _in_a_row(numbers: Sequence[int]) -> int:
    """How many of 1, 2, 3 … there are without a gap."""
    return next((count for count, number in enumerate(sorted(numbers)) if number != count + 1), len(numbers))


def _months_in_a_row(months: Sequence[date], today: date) -> int:
    known = set(months)
    this = month(today).start
    first = this if this in known else month(this - timedelta(days=1)).start
    count = 0
    while first in known:
        count += 1
        first = month(first - timedelta(days=1)).start
    return count


class _Others:
    """The other products, with their prices of today."""

    def __init__(self, today: date) -> None:
        self.today = today
        catalog = Catalog.read()
        self.prices = {key: price.amount for key, price in catalog.prices.items()}
        self.settings = {
            product: [each for each in group if each.is_enabled and each.version_on(today)]
            for product, group in catalog.settings.items()
        }
        self.shown = {
            product: {each.metric_id for each in group if each.is_enabled}
            for product, group in catalog.settings.items()
        }
        self.products = list(Product.objects.exclude(provider="").order_by("pk"))
        self.metrics = Metric.objects.in_bulk()

    def recurring(self, service: Service, product: int, terms: int) -> Decimal | None:
        """What some terms of a service cost without usage under a product; None where it has no such price."""
        price = self.prices.get((product, service.cycle, service.currency))
        if price is None:
            return None
        share = EXACT.divide(Decimal(service.clock.months * terms), Decimal(Cycle(service.cycle).months))
        return round_amount(EXACT.multiply(price, share), service.currency)

    def cheapest(self, seen: Sequence[Seen]) -> dict[int, tuple[int, Decimal, Decimal, int]]:
        """Return, by service, the other product that costs least for the usage of its last terms, what that costs,
        what its own cost, and of how many terms; of the services for which there is one that costs less."""
        found: dict[int, tuple[int, Decimal, Decimal, int]] = {}
        for product, clock, group in _together(seen):
            charged = {each.metric_id for each in self.settings.get(product.pk, ())}
            for other in self.products:
                if not charged <= self.shown.get(other.pk, set()):
                    continue  # it is for something else, and what it does not measure would seem to be free
                if other.pk != product.pk and other.provider == product.provider and other.is_active:
                    for service, cost, own, terms in self.compared(product, clock, group, other):
                        if cost < own and (service not in found or cost < found[service][1]):
                            found[service] = other.pk, cost, own, terms
        return found

    def compared(
        self, product: Product, clock: Cycle, group: Sequence[Seen], other: Product
    ) -> Iterator[tuple[int, Decimal, Decimal, int]]:
        """What the services would cost under another product and what they do, each over so many terms."""
        by_pk = {
            one.service.pk: one for one in group if self.recurring(one.service, other.pk, len(one.last)) is not None
        }
        if not by_pk:
            return
        would: dict[int, Decimal] = dict.fromkeys(by_pk, Decimal(0))
        unpriced: set[int] = set()
        for setting in self.settings.get(other.pk, ()):
            for line in self.rated(product, clock, setting, by_pk):
                if line.term.end not in by_pk[line.service.pk].last:
                    continue
                if line.is_unpriced:
                    unpriced.add(line.service.pk)
                else:
                    would[line.service.pk] += line.would_pay
        for pk, usage in would.items():
            if pk not in unpriced:
                service, terms = by_pk[pk].service, len(by_pk[pk].last)
                there, here = self.recurring(service, other.pk, terms), self.recurring(service, product.pk, terms)
                if there is not None and here is not None:
                    yield pk, usage + there, by_pk[pk].usage + here, terms

    def rated(self, product: Product, clock: Cycle, setting: MetricSetting, by_pk: dict[int, Seen]) -> Iterator[Line]:
        """Rate what some services of a product used of a metric by the prices of another product's setting."""
        version = setting.version_on(self.today)
        assert version is not None  # as chosen
        days = [day for one in by_pk.values() for day in one.last]
        months = Period(month(min(days) - timedelta(days=1)).start, month(max(days)).end)
        # Without a row of its own nothing that was agreed for a service applies, and nothing is rated as it was.
        asked = MetricSetting(product=product, metric=self.metrics[setting.metric_id])
        for batch in rated(setting=asked, sheet=version.sheet, months=months, today=self.today, only=set(by_pk)):
            yield from batch.lines


def _together(seen: Sequence[Seen]) -> Iterator[tuple[Product, Cycle, list[Seen]]]:
    groups: dict[tuple[int, Cycle], list[Seen]] = defaultdict(list)
    for one in seen:
        groups[one.service.product_id, one.service.clock].append(one)
    for (_, clock), group in groups.items():
        yield group[0].service.product, clock, group
