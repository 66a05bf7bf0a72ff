"""What usage of a product costs: its metrics, and the versions of their prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from django.db import models
from django.db.models import F, Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.clients import validate_currency
from catalog.models.products import Product
from catalog.pricing import MAX_PRICE, MAX_QUANTITY, Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet
from catalog.spans import Span
from catalog.users import User
from catalog.wording import AGGREGATIONS, NOTATIONS, PERIODS, PRICES_AT, SCHEMES
from metering.models import Metric
from metering.units import Unit, find

Value = TypeVar("Value", bound=StrEnum)


def choices(words: Mapping[Value, Promise]) -> list[tuple[str, Promise]]:
    """Offer the values of an enumeration to a field, each with what it is called."""
    return [(each.value, word) for each, word in words.items()]


class MetricSettingQuerySet(models.QuerySet["MetricSetting"]):
    def with_pricing(self) -> MetricSettingQuerySet:
        """Fetch everything that is needed to show, price and bill, in four more queries."""
        return self.select_related("metric").prefetch_related(
            "enabled_spans", "versions__prices", "versions__charge_bounds"
        )


class MetricSetting(models.Model):
    """A product's switch and pricing for one metric."""

    product = models.ForeignKey(
        Product, verbose_name=_("product"), on_delete=models.CASCADE, related_name="metric_settings"
    )
    metric = models.ForeignKey(Metric, verbose_name=_("metric"), on_delete=models.PROTECT)

    objects = MetricSettingQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "metric"], name="one_setting_per_product_and_metric"),
        ]

    def __str__(self) -> str:
        return f"{self.metric} of {self.product}"

    @property
    def all_spans(self) -> models.QuerySet[EnabledSpan]:
        """When it was switched on."""
        return _all_of(self, "enabled_spans")

    @property
    def all_versions(self) -> models.QuerySet[PricingVersion]:
        """What its prices were, are and will be."""
        return _all_of(self, "versions")

    @property
    def is_enabled(self) -> bool:
        return any(span.end is None for span in self.all_spans)

    def version_on(self, day: date) -> PricingVersion | None:
        """Return the version in force on a day: the newest of those that apply from then or before."""
        in_force = [each for each in self.all_versions if each.effective_from <= day and not each.is_withdrawn]
        return max(in_force, key=lambda version: (version.effective_from, version.number), default=None)


def _all_of(setting: MetricSetting, name: str) -> models.QuerySet[Any]:
    """Return what `setting.name.all()` does. Where it was prefetched, that takes longer to make a manager of it."""
    known: models.QuerySet[Any] | None = getattr(setting, "_prefetched_objects_cache", {}).get(name)
    return getattr(setting, name).all() if known is None else known


class EnabledSpan(Span):
    """When a metric setting is switched on. Periods that begin outside of it are never billed."""

    setting = models.ForeignKey(
        MetricSetting, verbose_name=_("metric"), on_delete=models.CASCADE, related_name="enabled_spans"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["setting"], condition=Q(end=None), name="one_open_span_per_setting"),
            models.CheckConstraint(condition=Q(end=None) | Q(end__gt=F("start")), name="enabled_span_not_empty"),
        ]


class PricingVersion(models.Model):
    """One version of the pricing of a metric setting, with the day from which it applies.

    Never changed and never deleted; one that is not in force yet may be withdrawn. Its quantities are in
    its unit.
    """

    setting = models.ForeignKey(
        MetricSetting, verbose_name=_("metric"), on_delete=models.PROTECT, related_name="versions"
    )
    number = models.PositiveIntegerField(_("version"))
    effective_from = models.DateField(_("in force from"))
    unit_code = models.CharField(_("unit"), max_length=20)
    scheme = models.CharField(_("scheme"), max_length=10, choices=choices(SCHEMES))
    notation = models.CharField(_("how brackets are written"), max_length=10, choices=choices(NOTATIONS))
    included = models.DecimalField(_("included"), max_digits=22, decimal_places=6, default=0)
    package_size = models.DecimalField(_("package size"), max_digits=22, decimal_places=6, default=1)
    aggregation = models.CharField(
        _("what counts of a level"), max_length=20, choices=choices(AGGREGATIONS), default=Aggregation.LATEST
    )
    periods = models.CharField(
        _("how periods are rated"), max_length=10, choices=choices(PERIODS), default=Periods.SUMMED
    )
    price_at = models.CharField(
        _("which price counts"), max_length=10, choices=choices(PRICES_AT), default=PriceAt.START
    )
    reason = models.TextField(_("reason"), blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        User, verbose_name=_("created by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    withdrawn_at = models.DateTimeField(_("withdrawn at"), null=True)
    withdrawn_by = models.ForeignKey(
        User, verbose_name=_("withdrawn by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["setting", "number"]
        permissions: ClassVar = [("backdate_pricing", _("Can let prices apply from a day in the past"))]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["setting", "number"], name="versions_are_numbered"),
            models.CheckConstraint(
                condition=Q(included__gte=0, included__lte=int(MAX_QUANTITY)), name="included_quantity_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(package_size__gt=0, package_size__lte=int(MAX_QUANTITY)), name="package_size_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.setting}"

    @cached_property
    def unit(self) -> Unit:
        return find(self.unit_code, self.setting.metric.unit)

    @property
    def is_withdrawn(self) -> bool:
        return self.withdrawn_at is not None

    @property
    def currencies(self) -> list[str]:
        return sorted({price.currency for price in self.prices.all()})

    def pricing(self, currency: str) -> Pricing | None:
        """Return the pricing in one currency, or None when there is no price in it."""
        if currency not in self._pricings:
            self._pricings[currency] = self._read(currency)
        return self._pricings[currency]

    @cached_property
    def _pricings(self) -> dict[str, Pricing | None]:
        """What was read already: a run rates thousands of services by one version, and it never changes."""
        return {}

    def _read(self, currency: str) -> Pricing | None:
        rows = sorted((row for row in self.prices.all() if row.currency == currency), key=lambda row: row.start)
        if not rows:
            return None
        bounds = next((each for each in self.charge_bounds.all() if each.currency == currency), None)
        return Pricing(
            scheme=Scheme(self.scheme),
            brackets=tuple(row.bracket for row in rows),
            included=self.included,
            notation=Notation(self.notation),
            package_size=self.package_size,
            minimum=bounds.minimum if bounds else None,
            maximum=bounds.maximum if bounds else None,
        )

    @property
    def sheet(self) -> Sheet:
        """All that it says, in every currency that it has a price in."""
        found = {currency: self.pricing(currency) for currency in self.currencies}
        return Sheet(
            unit=self.unit,
            pricings={currency: pricing for currency, pricing in found.items() if pricing is not None},
            aggregation=Aggregation(self.aggregation),
            periods=Periods(self.periods),
            price_at=PriceAt(self.price_at),
        )


class ChargeBounds(models.Model):
    """The least and the most that a version charges in one currency, each time that it rates."""

    version = models.ForeignKey(
        PricingVersion, verbose_name=_("version"), on_delete=models.CASCADE, related_name="charge_bounds"
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    minimum = models.DecimalField(_("minimum charge"), max_digits=24, decimal_places=12, null=True)
    maximum = models.DecimalField(_("maximum charge"), max_digits=24, decimal_places=12, null=True)

    class Meta:
        ordering: ClassVar = ["version", "currency"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "currency"], name="one_pair_of_bounds_per_currency"),
            models.CheckConstraint(
                condition=Q(minimum__isnull=False) | Q(maximum__isnull=False), name="charge_bounds_not_empty"
            ),
            models.CheckConstraint(
                condition=(Q(minimum=None) | Q(minimum__gte=0, minimum__lte=int(MAX_PRICE)))
                & (Q(maximum=None) | Q(maximum__gte=0, maximum__lte=int(MAX_PRICE)))
                & (Q(minimum=None) | Q(maximum=None) | Q(maximum__gte=F("minimum"))),
                name="charge_bounds_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.minimum or 0} to {self.maximum or 'any'} {self.currency}"


class BracketPrice(models.Model):
    """A bracket of a version in one currency: the starting quantity and the price of each unit from there."""

    version = models.ForeignKey(
        PricingVersion, verbose_name=_("version"), on_delete=models.CASCADE, related_name="prices"
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    start = models.DecimalField(_("from quantity"), max_digits=22, decimal_places=6)
    unit_price = models.DecimalField(_("unit price"), max_digits=24, decimal_places=12)
    flat_fee = models.DecimalField(_("flat fee"), max_digits=24, decimal_places=12, default=0)

    class Meta:
        ordering: ClassVar = ["version", "currency", "start"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "currency", "start"], name="one_price_per_bracket"),
            models.CheckConstraint(condition=Q(start__gte=0, start__lte=int(MAX_QUANTITY)), name="start_in_bounds"),
            models.CheckConstraint(
                condition=Q(unit_price__gte=0, unit_price__lte=int(MAX_PRICE)), name="unit_price_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(flat_fee__gte=0, flat_fee__lte=int(MAX_PRICE)), name="flat_fee_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.start}: {self.unit_price} {self.currency}"

    @property
    def bracket(self) -> Bracket:
        return Bracket(self.start, self.unit_price, self.flat_fee)
