"""Which prices apply: the version of a pricing that is in force, and what was agreed for one service."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from catalog.aggregation import Periods, PriceAt
from catalog.models import MetricSetting, Override, PricingVersion
from catalog.pricing import Pricing, PricingError
from catalog.spans import covered
from metering.units import Unit

#: What was agreed, by service and setting.
Overrides = Mapping[tuple[int, int], list[Override]]


class Priced(Protocol):
    """What has prices for everybody: a version, or the sheet of a draft."""

    @property
    def unit(self) -> Unit: ...

    @property
    def included(self) -> Decimal: ...

    def pricing(self, currency: str) -> Pricing | None: ...


class Agreed(Protocol):
    """What was agreed for one service: an override, or what is to become one."""

    @property
    def unit(self) -> Unit: ...

    @property
    def currency(self) -> str: ...

    @property
    def included(self) -> Decimal | None: ...

    @property
    def discount(self) -> Decimal: ...

    @property
    def has_own_prices(self) -> bool: ...

    @property
    def own_prices(self) -> Pricing | None: ...


@dataclass(frozen=True, slots=True)
class InForce:
    """The prices of a metric for one service in one period."""

    version: PricingVersion
    override: Override | None = None
    #: The day of the invoice, where that decided.
    invoiced: date | None = None
    #: What was worked out of these prices already, by currency.
    known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[int, int | None]:
        """Periods with the same key have the same prices."""
        return self.version.id, self.override.id if self.override else None

    @property
    def unit(self) -> Unit:
        """The unit in which these prices count."""
        return agreed_unit(self.version, self.override)

    @property
    def rates_each_period(self) -> bool:
        return self.version.periods == Periods.EACH

    def pricing(self, currency: str) -> Pricing | None:
        return agreed_pricing(self.version, self.override, currency)


def agreed_unit(priced: Priced, agreed: Agreed | None) -> Unit:
    """Return the unit of what a service pays: that of its own prices, if it has any."""
    return agreed.unit if agreed and agreed.has_own_prices else priced.unit


def agreed_pricing(priced: Priced, agreed: Agreed | None, currency: str) -> Pricing | None:
    """Return what a service pays in a currency: the prices for everybody, with what was agreed for it.

    None when there is no price in the currency. Raises PricingError when what was agreed cannot be put
    upon them.
    """
    if agreed is None:
        return priced.pricing(currency)
    unit = agreed_unit(priced, agreed)
    pricing = _own(agreed, currency) if agreed.has_own_prices else priced.pricing(currency)
    if pricing is None:
        return None
    if agreed.included is not None:
        pricing = pricing.with_included(unit.from_base(agreed.unit.to_base(agreed.included)))
    elif agreed.has_own_prices:
        pricing = pricing.with_included(unit.from_base(priced.unit.to_base(priced.included)))
    return replace(pricing, discount=agreed.discount)


def _own(agreed: Agreed, currency: str) -> Pricing | None:
    if agreed.currency != currency:
        raise PricingError("currency", f"the prices agreed for this service are in {agreed.currency}, not {currency}")
    return agreed.own_prices


def choose(
    setting: MetricSetting, overrides: Iterable[Override], *, began: date, invoiced: date | None = None
) -> InForce | None:
    """Return what prices a period that began on a day, or None before the metric has a price.

    That is the version in force on the day on which the period began, and the override of that day. A
    version may say that the day of the invoice decides instead.
    """
    version = setting.version_on(began)
    if version is None:
        return None
    decided = None
    if invoiced is not None and version.price_at == PriceAt.INVOICE:
        began, decided, version = invoiced, invoiced, setting.version_on(invoiced) or version
    return InForce(version, next((each for each in overrides if covered([each], began)), None), decided)


def overrides_of(services: Collection[int]) -> Overrides:
    """Return what was agreed for some services, named by their ids, in two queries."""
    found: dict[tuple[int, int], list[Override]] = defaultdict(list)
    rows = Override.objects.filter(service__in=services).select_related("setting__metric", "created_by")
    for override in rows.prefetch_related("prices"):
        found[override.service_id, override.setting_id].append(override)
    return found
