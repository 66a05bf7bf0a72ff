"""What has no price in a currency that somebody is or would be billed in.

Billing parks such a service: nothing is charged as 0, and nothing is converted from another currency. Here it is
found before that, for the services that there are and for one that is to be.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from django.db import connection
from django.db.models import Count, F, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from catalog.models import OVER, Client, MetricSetting, OverageTerms, Override, Product, ProductPrice, Service
from catalog.overage import in_force
from catalog.spans import covered
from catalog.terms import Cycle
from catalog.wording import PER_CYCLE
from metering import dates
from metering.periods import month
from metering.providers.base import BANDWIDTH, DISK


@dataclass(frozen=True, slots=True)
class Sold:
    """A number of services of one product that are billed in one currency and cycle."""

    product: int
    currency: str
    cycle: str
    services: int = 1


@dataclass(frozen=True, slots=True)
class Missing:
    """A price that a product lacks in a currency: of a billing cycle, a metric, an agreement, or above its limits.

    `services` is the number of those that lack it. `start` is the day from which a metric lacks it, None for
    one that lacks it already. Services with prices of their own, `priced` by their ids, do not need those of
    the product.
    """

    product: Product
    currency: str
    services: int
    cycle: str = ""
    setting: MetricSetting | None = None
    start: date | None = None
    priced: frozenset[int] = frozenset()
    override: Override | None = None
    is_overage: bool = False

    @property
    def what(self) -> str:
        """`price per month`, `Bandwidth`, `Bandwidth from 1 December 2026`, `Bandwidth as agreed for shop in USD`."""
        if self.is_overage:
            return _("price above its limits")
        if self.setting is None:
            return _("price %(per_cycle)s") % {"per_cycle": PER_CYCLE[Cycle(self.cycle)]}
        told: dict[str, object] = {"metric": self.setting.metric}
        if self.override is not None:
            told |= {"service": self.override.service, "currency": self.override.currency}
            return _("%(metric)s as agreed for %(service)s in %(currency)s") % told
        if self.start:
            return _("%(metric)s from %(day)s") % {**told, "day": dates.full_day(self.start)}
        return str(self.setting.metric)

    @property
    def sentence(self) -> str:
        """What is missing and where that is mended."""
        told: dict[str, object] = {"product": self.product, "currency": self.currency, "what": self.what}
        if self.is_overage:
            return _("%(product)s has no price above its limits in %(currency)s. Add it to its overage.") % told
        if self.setting is None:
            return _("%(product)s has no %(what)s in %(currency)s. Add it to the prices of the product.") % told
        if self.override is not None:
            words = _("%(what)s: that is not %(currency)s. End the agreement, or make it anew in %(currency)s.")
            return words % told
        told["metric"] = self.setting.metric
        if self.start is None:
            words = _(
                "%(metric)s of %(product)s has no price in %(currency)s. Add a version of its pricing that has one."
            )
            return words % told
        told["day"] = dates.full_day(self.start)
        words = _(
            "%(metric)s of %(product)s has no price in %(currency)s from %(day)s. Add a version of its pricing that "
            "has one."
        )
        return words % told

    @property
    def address(self) -> str:
        """The staff page on which it is mended."""
        if self.is_overage:
            return reverse("staff_overage", args=[self.product.pk])
        if self.setting is None:
            return reverse("admin:catalog_product_change", args=[self.product.pk])
        if self.override is not None:
            return reverse("staff_service", args=[self.override.service.public_id])
        return reverse("staff_pricing", args=[self.product.pk, self.setting.metric_id])

    def is_lacked_by(self, service: Service) -> bool:
        """Whether it is this service that lacks it. Needs its client."""
        if self.override is not None:
            return self.override.service_id == service.pk
        return (
            (service.product_id, service.currency) == (self.product.pk, self.currency)
            and self.cycle in ("", service.cycle)
            and service.pk not in self.priced
        )


@dataclass(frozen=True, slots=True)
class Agreed:
    """An agreement with prices of its own, and the currency that its client is or would be billed in."""

    override: Override
    currency: str


def of_living_services(today: date) -> list[Missing]:
    """Return what the services that are not over lack, by product and currency, in at most 21 queries.

    It is looked for among all that could be sold first: services are counted only of products that lack a price in the
    currency of some client, so that millions which lack nothing are not read.
    """
    suspected = {each.product.pk for each in find(_possible(), [], today)}
    living = Service.objects.exclude(status__in=OVER)
    rows = living.filter(product__in=suspected).order_by().values_list("product", "client__currency", "cycle")
    own = _own(today).filter(service__in=living, setting__product=F("service__product"))
    agreed = [Agreed(each, each.service.currency) for each in own]
    return find([Sold(*row) for row in rows.annotate(Count("pk"))], agreed, today)


def _possible() -> list[Sold]:
    """Return what some service is of, in every currency that some client has. No table is read for it."""
    with connection.cursor() as cursor:
        cursor.execute(_POSSIBLE, {"cycles": list(Cycle)})
        return [Sold(*row) for row in cursor.fetchall()]


_POSSIBLE = """
WITH RECURSIVE used (currency) AS (
    SELECT min(currency) FROM catalog_client
    UNION ALL
    SELECT (SELECT min(c.currency) FROM catalog_client c WHERE c.currency > used.currency)
    FROM used WHERE used.currency IS NOT NULL
)
SELECT p.id, used.currency, one.cycle
FROM catalog_product p CROSS JOIN unnest(%(cycles)s::text[]) AS one (cycle) CROSS JOIN used
WHERE used.currency IS NOT NULL AND (
    -- Asked of the index for each: EXISTS would be made a join, which reads all of it.
    SELECT true FROM catalog_service s
    WHERE s.product_id = p.id AND s.cycle = one.cycle AND s.status NOT IN ('terminated', 'cancelled') LIMIT 1)
"""


def of_currency(client: Client, currency: str, today: date) -> list[Missing]:
    """Return what the services of a client would lack if it were billed in another currency."""
    living = Service.objects.exclude(status__in=OVER).filter(client=client)
    rows = living.order_by().values_list("product", "cycle").annotate(Count("pk"))
    sold = [Sold(product, currency, cycle, services) for product, cycle, services in rows]
    own = _own(today).filter(service__in=living, setting__product=F("service__product"))
    return find(sold, [Agreed(each, currency) for each in own], today)


def of_order(product: Product, currency: str, cycle: str, today: date, service: int | None = None) -> list[Missing]:
    """Return what a service would lack, one that is to be or one that is to change, named by its id."""
    own = _own(today).filter(service=service, setting__product=product) if service else []
    return find([Sold(product.pk, currency, cycle)], [Agreed(each, currency) for each in own], today)


def find(sold: Collection[Sold], agreed: Sequence[Agreed], today: date) -> list[Missing]:
    """Return what has no price, in nine queries. `agreed` are the agreements of the services that are `sold`."""
    products = Product.objects.in_bulk({each.product for each in sold})
    found = [
        *_cycles(sold, products),
        *_metrics(sold, agreed, products, today),
        *_agreements(agreed),
        *_above_limits(sold, products, today),
    ]
    return sorted(found, key=lambda missing: (missing.product.name, missing.currency, missing.setting is not None))


def _cycles(sold: Iterable[Sold], products: dict[int, Product]) -> Iterator[Missing]:
    prices = ProductPrice.objects.filter(product__in=products)
    priced = set(prices.order_by().values_list("product", "currency", "cycle"))
    for each in sold:
        if (each.product, each.currency, each.cycle) not in priced:
            yield Missing(products[each.product], each.currency, each.services, cycle=each.cycle)


def _metrics(
    sold: Iterable[Sold], agreed: Iterable[Agreed], products: dict[int, Product], today: date
) -> Iterator[Missing]:
    services: dict[tuple[int, str], int] = defaultdict(int)
    for each in sold:
        services[each.product, each.currency] += each.services
    priced: dict[tuple[int, str], set[int]] = defaultdict(set)
    for own in agreed:
        if covered([own.override], today):
            priced[own.override.setting_id, own.currency].add(own.override.service_id)
    settings = MetricSetting.objects.filter(product__in=products).with_pricing().order_by("metric__display_name", "pk")
    for setting in settings:
        product = products[setting.product_id]
        if not setting.is_enabled or setting.metric.provider != product.provider:
            continue
        for currency in sorted(currency for number, currency in services if number == product.pk):
            exempt = frozenset(priced[setting.pk, currency])
            lacking, start = services[product.pk, currency] - len(exempt), _lacks_from(setting, currency, today)
            if lacking and start:
                later = start if start > today else None
                yield Missing(product, currency, lacking, setting=setting, start=later, priced=exempt)


def _above_limits(sold: Iterable[Sold], products: dict[int, Product], today: date) -> Iterator[Missing]:
    services: dict[tuple[int, str], int] = defaultdict(int)
    for each in sold:
        services[each.product, each.currency] += each.services
    terms = OverageTerms.objects.filter(product__in=products).prefetch_related("prices")
    by_product: dict[int, list[OverageTerms]] = defaultdict(list)
    for each_terms in terms:
        by_product[each_terms.product_id].append(each_terms)
    for (number, currency), count in services.items():
        held_to = in_force(by_product[number], month(today).start)
        if held_to and any(
            held_to.limit(name) is not None and held_to.price(name, currency) is None for name in (DISK, BANDWIDTH)
        ):
            yield Missing(products[number], currency, count, is_overage=True)


def _lacks_from(setting: MetricSetting, currency: str, today: date) -> date | None:
    """Return the first day, of today and those to come, on which a version without the currency is in force."""
    days = {version.effective_from for version in setting.all_versions if version.effective_from > today}
    for day in sorted({today, *days}):
        version = setting.version_on(day)
        if version is not None and currency not in version.currencies:
            return day
    return None


def _agreements(agreed: Iterable[Agreed]) -> Iterator[Missing]:
    for own in agreed:
        override, product = own.override, own.override.service.product
        if override.currency != own.currency:
            yield Missing(product, own.currency, 1, setting=override.setting, override=override)


def _own(today: date) -> QuerySet[Override]:
    """Return the agreements with prices of their own that are in force or to come."""
    rows = Override.objects.filter(Q(end=None) | Q(end__gt=today)).exclude(scheme="")
    return rows.select_related("service__client", "service__product", "setting__metric")
