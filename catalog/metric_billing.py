"""Deeds on a product's metrics: switch them on and off, and give them versions of pricing.

A version is never changed. What it replaces stays in force for all periods that began before its day.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime

from django.db import transaction

from catalog import spans
from catalog.models import BracketPrice, ChargeBounds, EnabledSpan, MetricSetting, PricingVersion, Product, User
from catalog.sheet import Sheet
from metering.models import Metric


class Outdated(Exception):
    """Another version was saved since the one that this one was made from."""

    def __init__(self, newest: PricingVersion) -> None:
        super().__init__(f"{newest} was saved meanwhile")
        self.newest = newest


class CannotBackdate(Exception):
    """Prices for days that are over need the permission to back-date, and a reason."""


class CannotWithdraw(Exception):
    """A version that is or was in force stays, for all that was priced by it."""


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
    sheet: Sheet,
    effective_from: date,
    today: date,
    by: User,
    reason: str = "",
    after: int | None = None,
) -> PricingVersion:
    """Write the next version of a pricing. The versions before it are not touched.

    `after` is the number of the version that this one was made from, 0 for none: when there is a newer
    one by now, nothing is written and Outdated is raised. A day before `today` needs the permission to
    back-date and a reason, else CannotBackdate is raised; what is on an invoice keeps its price.
    """
    if effective_from < today and not (reason and may_backdate(by)):
        raise CannotBackdate
    setting = _locked(setting)
    newest = PricingVersion.objects.filter(setting=setting).order_by("number").last()
    if newest is not None and after is not None and newest.number != after:
        raise Outdated(newest)
    version = PricingVersion.objects.create(
        setting=setting,
        number=newest.number + 1 if newest else 1,
        effective_from=effective_from,
        unit_code=sheet.unit.code,
        scheme=sheet.any.scheme,
        notation=sheet.any.notation,
        included=sheet.any.included,
        package_size=sheet.any.package_size,
        aggregation=sheet.aggregation,
        periods=sheet.periods,
        price_at=sheet.price_at,
        reason=reason,
        created_by=by,
    )
    BracketPrice.objects.bulk_create(
        BracketPrice(
            version=version,
            currency=currency,
            start=bracket.start,
            unit_price=bracket.unit_price,
            flat_fee=bracket.flat_fee,
        )
        for currency, pricing in sheet.pricings.items()
        for bracket in pricing.brackets
    )
    ChargeBounds.objects.bulk_create(
        ChargeBounds(version=version, currency=currency, minimum=pricing.minimum, maximum=pricing.maximum)
        for currency, pricing in sheet.pricings.items()
        if pricing.minimum is not None or pricing.maximum is not None
    )
    return version


def may_backdate(user: User) -> bool:
    return user.has_perm("catalog.backdate_pricing")


@transaction.atomic
def withdraw(*, version: PricingVersion, by: User, today: date, at: datetime) -> None:
    """Take a version back before it comes into force. It stays in the history, and its number stays taken.

    Raises CannotWithdraw for one that is in force or was; another version can follow it.
    """
    _locked(version.setting)
    if version.effective_from <= today:
        raise CannotWithdraw
    standing = PricingVersion.objects.filter(pk=version.pk, withdrawn_at=None)
    standing.update(withdrawn_at=at, withdrawn_by=by)


def new_setting(product: Product, metric: Metric) -> MetricSetting:
    """Return the setting of a metric that was neither switched on nor priced yet. It is no row before a deed."""
    return MetricSetting(product=product, metric=metric)


def _locked(setting: MetricSetting) -> MetricSetting:
    """Return the setting's row, made if there is none, locked until the end of the deed."""
    row, _ = MetricSetting.objects.get_or_create(product=setting.product, metric=setting.metric)
    return MetricSetting.objects.select_for_update(of=("self",)).select_related("metric").get(pk=row.pk)
