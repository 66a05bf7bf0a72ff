"""Deeds on a product's metrics: switch them on and off, and give them versions of pricing.

A version is never changed. What it replaces stays in force for all periods that began before its day.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal

from django.db import transaction

from catalog import spans
from catalog.models import BracketPrice, EnabledSpan, MetricSetting, PricingVersion, Product, User
from catalog.pricing import Bracket, Notation, Pricing, PricingError, Scheme
from metering.models import Metric

#: A bracket: its start, and its unit price and flat fee by currency.
Row = tuple[Decimal, Mapping[str, tuple[Decimal, Decimal]]]


class Outdated(Exception):
    """Another version was saved since the one that this one was made from."""

    def __init__(self, newest: PricingVersion) -> None:
        super().__init__(f"{newest} was saved meanwhile")
        self.newest = newest


class UnitIsFixed(Exception):
    """An older version applies to some day, and is read in the unit that the setting has."""


@transaction.atomic
def switch(*, setting: MetricSetting, on: bool, day: date) -> bool:
    """Switch a metric on or off from a day on. Returns whether that changed anything.

    Without a row of the setting, one is made when needed.
    """
    if not on and setting._state.adding:
        return False
    setting = _locked(setting)
    return spans.switch(EnabledSpan.objects.filter(setting=setting), on=on, day=day, setting=setting)


@transaction.atomic
def save_switches(
    *, product: Product, metrics: Sequence[Metric], on: Collection[int], off: Collection[int], day: date
) -> tuple[list[Metric], list[Metric]]:
    """Switch several metrics of a product, named by their ids. Returns those that were switched on, and off."""
    settings = {setting.metric_id: setting for setting in product.metric_settings.select_related("product", "metric")}
    switched_on, switched_off = [], []
    for metric in metrics:
        setting = settings.get(metric.pk) or new_setting(product, metric)
        if metric.pk in on and switch(setting=setting, on=True, day=day):
            switched_on.append(metric)
        elif metric.pk in off and switch(setting=setting, on=False, day=day):
            switched_off.append(metric)
    return switched_on, switched_off


@transaction.atomic
def add_version(
    *,
    setting: MetricSetting,
    unit_code: str,
    scheme: Scheme,
    notation: Notation,
    included: Decimal,
    package_size: Decimal,
    brackets: Sequence[Row],
    effective_from: date,
    by: User | None,
    after: int | None = None,
) -> PricingVersion:
    """Write the next version of a pricing. The versions before it are not touched.

    `after` is the number of the version that this one was made from, 0 for none: when there is a newer
    one by now, nothing is written and Outdated is raised. A unit other than the setting's is taken only
    while no older version applies to any day, for all of them are read in it; otherwise UnitIsFixed is
    raised. Raises PricingError for brackets that cannot be rated.
    """
    setting = _locked(setting)
    versions = list(PricingVersion.objects.filter(setting=setting).order_by("number"))
    if versions and after is not None and versions[-1].number != after:
        raise Outdated(versions[-1])
    if unit_code != setting.unit_code:
        if any(version.effective_from != effective_from for version in versions):
            raise UnitIsFixed
        setting.unit_code = unit_code
        setting.save(update_fields=["unit_code"])
    for currency in _currencies(brackets):
        rows = tuple(Bracket(start, *prices[currency]) for start, prices in brackets)
        Pricing(scheme, rows, included, notation, package_size)  # refuses what cannot be rated
    version = PricingVersion.objects.create(
        setting=setting,
        number=versions[-1].number + 1 if versions else 1,
        effective_from=effective_from,
        scheme=scheme,
        notation=notation,
        included=included,
        package_size=package_size,
        created_by=by,
    )
    BracketPrice.objects.bulk_create(
        BracketPrice(version=version, currency=currency, start=start, unit_price=unit_price, flat_fee=flat_fee)
        for start, prices in brackets
        for currency, (unit_price, flat_fee) in prices.items()
    )
    return version


def new_setting(product: Product, metric: Metric) -> MetricSetting:
    """Return the setting of a metric that was neither switched on nor priced yet. It is no row before a deed."""
    return MetricSetting(product=product, metric=metric, unit_code=metric.unit.code)


def _currencies(brackets: Sequence[Row]) -> set[str]:
    """Return the currencies that every bracket has a price in. Raises PricingError when one of them lacks one."""
    currencies = {currency for _, prices in brackets for currency in prices}
    if not currencies:
        raise PricingError("brackets", "there must be a price in at least one currency")
    for number, (_, prices) in enumerate(brackets, start=1):
        if missing := currencies - set(prices):
            raise PricingError(f"brackets[{number}].unit_price", f"there is none in {min(missing)}")
    return currencies


def _locked(setting: MetricSetting) -> MetricSetting:
    """Return the setting's row, made if there is none, locked until the end of the deed."""
    row, _ = MetricSetting.objects.get_or_create(
        product=setting.product, metric=setting.metric, defaults={"unit_code": setting.unit_code}
    )
    return MetricSetting.objects.select_for_update(of=("self",)).select_related("metric").get(pk=row.pk)
