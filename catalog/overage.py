"""Deeds on what a product charges above its soft limits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from django.db import transaction

from catalog.models import MetricSetting, OveragePrice, OverageTerms, Product, User
from metering.providers.base import BANDWIDTH


class Outdated(Exception):
    """Other terms were saved since those that these were made from."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What terms say: limits and prices in a unit, prices by currency as (space, traffic)."""

    is_on: bool
    unit_code: str
    disk_limit: Decimal | None
    bandwidth_limit: Decimal | None
    has_own_invoice: bool
    prices: Mapping[str, tuple[Decimal | None, Decimal | None]] = field(default_factory=dict)


@transaction.atomic
def add_terms(
    *, product: Product, sheet: Sheet, effective_from: date, at: datetime, by: User | None, after: int
) -> OverageTerms:
    """Write the next version of a product's overage terms, from the first day of a month on.

    `after` is the number of the version that these were made from, 0 for none. Raises Outdated when there is a newer
    one by now.
    """
    list(Product.objects.select_for_update().filter(pk=product.pk))
    newest = max((terms.number for terms in product.overage_terms.all()), default=0)
    if newest != after:
        raise Outdated
    terms = OverageTerms.objects.create(
        product=product,
        number=newest + 1,
        effective_from=effective_from.replace(day=1),
        is_on=sheet.is_on,
        unit_code=sheet.unit_code,
        disk_limit=sheet.disk_limit,
        bandwidth_limit=sheet.bandwidth_limit,
        has_own_invoice=sheet.has_own_invoice,
        created_at=at,
        created_by=by,
    )
    OveragePrice.objects.bulk_create(
        OveragePrice(terms=terms, currency=currency, disk=disk, bandwidth=bandwidth)
        for currency, (disk, bandwidth) in sheet.prices.items()
    )
    return terms


def in_force(terms: Iterable[OverageTerms], first: date) -> OverageTerms | None:
    """Return the terms for the month that begins on a day, or None when nothing is charged in it."""
    begun = [each for each in terms if each.effective_from <= first]
    newest = max(begun, key=lambda each: (each.effective_from, each.number), default=None)
    return newest if newest is not None and newest.is_on else None


def is_charged_twice(product: Product, terms: OverageTerms | None) -> bool:
    """Whether traffic above a limit is charged and traffic is billed as a metric as well."""
    if terms is None or terms.bandwidth_limit is None:
        return False
    settings = MetricSetting.objects.filter(product=product, metric__system_name=BANDWIDTH).with_pricing()
    return any(setting.is_enabled and setting.all_versions for setting in settings)
