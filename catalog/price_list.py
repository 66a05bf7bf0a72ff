"""What a product or a service costs, in words: the price list that clients read before and after they order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.in_force import InForce, choose, overrides_of
from catalog.models import MetricSetting, Override, Product, ProductPrice, Service
from catalog.money import minor_units, write, write_price
from catalog.pricing import MAX_QUANTITY, ONE, Pricing, PricingError, Scheme, amount, rate
from catalog.sheet import Sheet, differences
from catalog.terms import Cycle
from catalog.typed import home_first
from catalog.wording import AGGREGATIONS, PER_CYCLE, charge_sentence, price_sentence, ranges
from metering import dates
from metering.decimals import EXACT, round_half_up
from metering.models import Metric
from metering.providers.base import MetricType
from metering.units import Unit

#: How total volume prices units: by (with something included, with fees).
_VOLUME = {
    (False, False): gettext_lazy("Total volume: the range that the total reaches sets the price of every %(unit)s."),
    (False, True): gettext_lazy(
        "Total volume: the range that the total reaches sets the price of every %(unit)s, and the fee."
    ),
    (True, False): gettext_lazy(
        "Total volume: the range that the total reaches sets the price of every %(unit)s above the included."
    ),
    (True, True): gettext_lazy(
        "Total volume: the range that the total reaches sets the price of every %(unit)s above the included, and the "
        "fee."
    ),
}
#: How a metric that adds up is priced: by (each period by itself, with something included).
_DAYS = {
    (True, False): gettext_lazy("Each day is priced by itself."),
    (True, True): gettext_lazy("Each day is priced by itself, with %(included)s included each time."),
    (False, False): gettext_lazy("The days of an invoice are added up and priced once."),
    (False, True): gettext_lazy(
        "The days of an invoice are added up and priced once, with %(included)s included once."
    ),
}
_MONTHS = {
    (True, False): gettext_lazy("Each calendar month is priced by itself."),
    (True, True): gettext_lazy("Each calendar month is priced by itself, with %(included)s included each time."),
    (False, False): gettext_lazy("The calendar months of an invoice are added up and priced once."),
    (False, True): gettext_lazy(
        "The calendar months of an invoice are added up and priced once, with %(included)s included once."
    ),
}
#: What new prices apply to, by the kind of metric.
_APPLIES = {
    MetricType.SNAPSHOT: gettext_lazy("For terms that begin on that day or later."),
    MetricType.DAY: gettext_lazy("For days that begin on that day or later."),
    MetricType.MONTH: gettext_lazy("For calendar months that begin on that day or later."),
    MetricType.COUNTER: gettext_lazy("For days that begin on that day or later."),
}
#: An example of fewer of the currency's minor units than this says too little. It is of ten times as much then.
_TELLING = 10


@dataclass(frozen=True, slots=True)
class Range:
    """A row of the table of brackets: which quantities, the price of each unit, and a fee for reaching it."""

    words: str
    price: str
    fee: str


@dataclass(frozen=True, slots=True)
class Example:
    """What a quantity costs, and how that comes about: `25 tables cost $31.00`."""

    sentence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What changes on a day to come: the new price, what it applies to, what of it is new, what was agreed."""

    start: date
    sentence: str
    applies: str
    changes: list[str]
    agreed: Override | None


@dataclass(frozen=True)
class MetricPrice:
    """What one metric costs in one currency. Without prices in force it is shown and not charged.

    Prices in force without a pricing are those that lack the currency, or that cannot be rated.
    """

    metric: Metric
    currency: str
    in_force: InForce | None = None
    planned: list[Planned] = field(default_factory=list)

    @property
    def unit(self) -> Unit:
        return self.in_force.unit if self.in_force else self.metric.unit

    @property
    def pricing(self) -> Pricing | None:
        return _pricing(self.in_force, self.currency) if self.in_force else None

    @property
    def since(self) -> date | None:
        """The day from which these prices apply."""
        if self.in_force is None:
            return None
        override, since = self.in_force.override, self.in_force.version.effective_from
        return max(override.start, since) if override else since

    @property
    def agreed(self) -> Override | None:
        """What was agreed for this service."""
        return self.in_force.override if self.in_force else None

    @property
    def sentence(self) -> str:
        return _sentence(self.in_force, self.currency)

    @property
    def included(self) -> str:
        return self.unit.write(self.pricing.included) if self.pricing and self.pricing.included else ""

    @property
    def minimum(self) -> str:
        return self._bound(self.pricing.minimum if self.pricing else None)

    @property
    def maximum(self) -> str:
        return self._bound(self.pricing.maximum if self.pricing else None)

    def _bound(self, amount: Decimal | None) -> str:
        return "" if amount is None else write_price(amount, self.currency)

    @property
    def scheme(self) -> str:
        """How the brackets price units, in a sentence."""
        pricing = self.pricing
        if pricing is None:
            return ""
        told, has_included = {"unit": self.unit.noun(ONE)}, bool(pricing.included)
        if pricing.scheme is Scheme.PACKAGE:
            words = _("Sold in packages of %(size)s. A package that is started counts as a whole one.")
            return words % {"size": self.unit.write(pricing.package_size)}
        if len(pricing.brackets) == 1 and has_included:
            return _("Every %(unit)s above the included costs the same.") % told
        if len(pricing.brackets) == 1:
            return _("Every %(unit)s costs the same.") % told
        has_fees = any(bracket.flat_fee for bracket in pricing.brackets)
        if pricing.scheme is Scheme.VOLUME:
            return str(_VOLUME[has_included, has_fees]) % told
        words = _(
            "Graduated: each %(unit)s has the price of its own range, and keeps it when the total reaches the next."
        )
        return " ".join([words % told, *([_("Each range that is reached adds its fee.")] if has_fees else [])])

    @property
    def counted(self) -> str:
        """The unit: `GB, 1,000³ bytes`."""
        return self.unit.explain()

    @property
    def quantity(self) -> str:
        """How the quantity of a term comes about, in a sentence."""
        if self.in_force is None:
            return ""
        version, kind = self.in_force.version, MetricType(self.metric.type)
        if kind is MetricType.SNAPSHOT:
            told = {"value": AGGREGATIONS[Aggregation(version.aggregation)]}
            return _("Of each term the %(value)s counts.") % told
        words = (_MONTHS if kind is MetricType.MONTH else _DAYS)[version.periods == Periods.EACH, bool(self.included)]
        return str(words) % {"included": self.included}

    @property
    def ranges(self) -> list[Range]:
        """The table of brackets; empty where the sentence says it all."""
        pricing = self.pricing
        if pricing is None or (len(pricing.brackets) == 1 and not pricing.brackets[0].flat_fee):
            return []
        rows = []
        if pricing.included:
            rows.append(Range(_("up to %(quantity)s") % {"quantity": self.included}, _("included"), ""))
        for words, bracket in zip(ranges(pricing, self.unit), pricing.brackets, strict=True):
            fee = write_price(bracket.flat_fee, self.currency) if bracket.flat_fee else ""
            rows.append(Range(words, write_price(bracket.unit_price, self.currency), fee))
        return rows

    @property
    def has_fees(self) -> bool:
        return any(row.fee for row in self.ranges)

    @property
    def example(self) -> Example | None:
        pricing, unit = self.pricing, self.unit
        if pricing is None:
            return None
        quantity = _telling(pricing, unit, self.currency)
        charge, words = rate(pricing, quantity), unit.write(quantity)
        told = {"quantity": words, "amount": write(charge.amount, self.currency)}
        said = _("%(quantity)s costs %(amount)s") if quantity == 1 else _("%(quantity)s cost %(amount)s")
        reason = charge_sentence(pricing, charge, unit, self.currency).removeprefix(f"{words}: ")
        return Example(said % told, reason)


@dataclass(frozen=True, slots=True)
class PriceList:
    """What there is to pay in one currency: an amount per billing cycle, and the metrics."""

    currency: str
    recurring: list[tuple[str, str]]
    metrics: list[MetricPrice]

    @property
    def charged(self) -> list[MetricPrice]:
        return [each for each in self.metrics if each.in_force]

    @property
    def shown(self) -> list[MetricPrice]:
        """What is shown and not charged."""
        return [each for each in self.metrics if not each.in_force]


def with_prices(products: QuerySet[Product]) -> QuerySet[Product]:
    """Fetch all that a price list needs, in six more queries."""
    settings = MetricSetting.objects.with_pricing().order_by("metric__display_name", "pk")
    return products.prefetch_related("prices", Prefetch("metric_settings", settings))


def sold_in(product: Product, today: date) -> list[str]:
    """Return the currencies in which a product has all the prices that it needs, the site's own first."""
    currencies = {price.currency for price in product.prices.all()}
    for setting in _enabled(product):
        if version := setting.version_on(today):
            currencies &= set(version.currencies)
    return home_first(currencies)


def of_product(product: Product, currency: str, today: date) -> PriceList:
    """Return the price list of a product, fetched `with_prices`, in a currency that it is sold in."""
    metrics = [_metric(setting, [], currency, today) for setting in _enabled(product)]
    return PriceList(currency, _recurring(product.prices.all(), currency), metrics)


def of_service(service: Service, today: date) -> PriceList:
    """Return what a service pays: the prices of its product, with what was agreed for it."""
    product = with_prices(Product.objects.all()).get(pk=service.product_id)
    overrides, currency = overrides_of([service.pk]), service.currency
    metrics = [
        _metric(setting, overrides.get((service.pk, setting.pk), []), currency, today) for setting in _enabled(product)
    ]
    own = [price for price in product.prices.all() if price.cycle == service.cycle]
    return PriceList(currency, _recurring(own, currency), metrics)


def _enabled(product: Product) -> list[MetricSetting]:
    return [
        setting
        for setting in product.metric_settings.all()
        if setting.is_enabled and setting.metric.provider == product.provider
    ]


def _recurring(prices: Iterable[ProductPrice], currency: str) -> list[tuple[str, str]]:
    """Return (amount, cycle) in words, the shortest cycle first."""
    amounts = {Cycle(price.cycle): price.amount for price in prices if price.currency == currency}
    return [(write(amounts[cycle], currency), str(words)) for cycle, words in PER_CYCLE.items() if cycle in amounts]


def _metric(setting: MetricSetting, overrides: Sequence[Override], currency: str, today: date) -> MetricPrice:
    in_force = choose(setting, overrides, began=today)
    return MetricPrice(
        setting.metric, currency, in_force, list(_planned(setting, overrides, in_force, currency, today))
    )


def _planned(
    setting: MetricSetting, overrides: Sequence[Override], before: InForce | None, currency: str, today: date
) -> Iterable[Planned]:
    """Yield what comes into force after today and charges in another way than what it follows."""
    days = {version.effective_from for version in setting.all_versions}
    days |= {day for override in overrides for day in (override.start, override.end) if day}
    for day in sorted(day for day in days if day > today):
        after = choose(setting, overrides, began=day)
        if after is None or (before and after.key == before.key):
            continue
        sentence, changes = _sentence(after, currency), _changes(before, after, currency)
        agreed = after.override if before is None or after.override != before.override else None
        if changes or agreed or sentence != _sentence(before, currency):
            told = {"day": dates.full_day(day), "price": f"{sentence[0].lower()}{sentence[1:]}"}
            words = _("From %(day)s: %(price)s") % told
            yield Planned(day, words, _applies(after, setting.metric), changes, agreed)
        before = after


def _applies(in_force: InForce, metric: Metric) -> str:
    if in_force.version.price_at == PriceAt.INVOICE:
        return _("For invoices of that day or later.")
    return str(_APPLIES[MetricType(metric.type)])


def _changes(before: InForce | None, after: InForce, currency: str) -> list[str]:
    old, new = _sheet(before, currency), _sheet(after, currency)
    return differences(old, new) if old and new else []


def _sheet(in_force: InForce | None, currency: str) -> Sheet | None:
    pricing = _pricing(in_force, currency) if in_force else None
    if in_force is None or pricing is None:
        return None
    version = in_force.version
    return Sheet(
        in_force.unit,
        {currency: pricing},
        Aggregation(version.aggregation),
        Periods(version.periods),
        PriceAt(version.price_at),
    )


def _sentence(in_force: InForce | None, currency: str) -> str:
    pricing = _pricing(in_force, currency) if in_force else None
    if in_force is None or pricing is None:
        return _("no price in %(currency)s yet") % {"currency": currency}
    return price_sentence(pricing, in_force.unit, currency)


def _pricing(in_force: InForce, currency: str) -> Pricing | None:
    try:
        return in_force.pricing(currency)
    except PricingError:
        return None


def _telling(pricing: Pricing, unit: Unit, currency: str) -> Decimal:
    """Choose a quantity that reaches the last bracket and comes to an amount that says something."""
    highest = max(pricing.included, pricing.brackets[-1].start)
    if pricing.scheme is Scheme.PACKAGE:
        highest = max(highest, pricing.package_size)
    usual = round_half_up(EXACT.divide(EXACT.multiply(highest, Decimal(5)), Decimal(4)) or Decimal(25), unit.places)
    first = min(max(usual, EXACT.add(highest, ONE)), MAX_QUANTITY)
    more = (first.scaleb(power, context=EXACT) for power in range(12))
    least = Decimal(_TELLING).scaleb(-minor_units(currency), context=EXACT)
    return next((each for each in more if each <= MAX_QUANTITY and amount(pricing, each) >= least), first)
