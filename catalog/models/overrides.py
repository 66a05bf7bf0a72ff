"""What was agreed with one client instead of the prices of all."""

from __future__ import annotations

from datetime import date, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from catalog.clients import validate_currency
from catalog.models.pricing import MetricSetting, choices
from catalog.models.services import Service
from catalog.pricing import HUNDRED, MAX_PRICE, MAX_QUANTITY, Bracket, Notation, Pricing, Scheme
from catalog.spans import Span
from catalog.users import User
from catalog.wording import NOTATIONS, SCHEMES, agreed, agreement
from metering.units import Unit, find


class OverrideQuerySet(models.QuerySet["Override"]):
    def in_force(self, day: date) -> OverrideQuerySet:
        return self.filter(start__lte=day).filter(Q(end=None) | Q(end__gt=day))


class Override(Span):
    """What was agreed for one metric of one service: another quantity included, prices of its own, or a
    discount in percent.

    It applies to periods that begin on its days, `[start, end)`. Never changed, save for its end. Its
    quantities are in its unit, and its prices in its currency. With prices of its own it has a scheme too;
    without, those of the product apply.
    """

    service = models.ForeignKey(Service, verbose_name=_("service"), on_delete=models.PROTECT, related_name="overrides")
    setting = models.ForeignKey(
        MetricSetting, verbose_name=_("metric"), on_delete=models.PROTECT, related_name="overrides"
    )
    unit_code = models.CharField(_("unit"), max_length=20)
    included = models.DecimalField(_("included"), max_digits=22, decimal_places=6, null=True)
    discount = models.DecimalField(_("discount"), max_digits=9, decimal_places=6, default=0, help_text=_("Percent."))
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    scheme = models.CharField(_("scheme"), max_length=10, choices=choices(SCHEMES), blank=True)
    notation = models.CharField(_("how brackets are written"), max_length=10, choices=choices(NOTATIONS), blank=True)
    package_size = models.DecimalField(_("package size"), max_digits=22, decimal_places=6, default=1)
    reason = models.TextField(_("reason"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        User, verbose_name=_("created by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    ended_by = models.ForeignKey(
        User, verbose_name=_("ended by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    objects = OverrideQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["service", "setting", "start", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["service", "setting"], condition=Q(end=None), name="one_open_override_per_metric"
            ),
            models.CheckConstraint(condition=Q(end=None) | Q(end__gt=F("start")), name="override_not_empty"),
            models.CheckConstraint(condition=~Q(reason=""), name="override_has_a_reason"),
            models.CheckConstraint(
                condition=Q(included=None) | Q(included__gte=0, included__lte=int(MAX_QUANTITY)),
                name="override_included_in_bounds",
            ),
            models.CheckConstraint(
                condition=Q(discount__gte=0, discount__lte=int(HUNDRED)), name="override_discount_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(package_size__gt=0, package_size__lte=int(MAX_QUANTITY)),
                name="override_package_size_in_bounds",
            ),
            models.CheckConstraint(condition=Q(scheme="") | ~Q(notation=""), name="own_prices_have_a_notation"),
        ]

    def __str__(self) -> str:
        return f"override of {self.setting} for {self.service}"

    @property
    def unit(self) -> Unit:
        return find(self.unit_code, self.setting.metric.unit)

    @property
    def has_own_prices(self) -> bool:
        return bool(self.scheme)

    @property
    def own_prices(self) -> Pricing | None:
        """The prices of its own, with nothing included; None where those of the product apply."""
        if not self.has_own_prices:
            return None
        return Pricing(
            scheme=Scheme(self.scheme),
            brackets=tuple(row.bracket for row in self.prices.all()),
            notation=Notation(self.notation),
            package_size=self.package_size,
        )

    @property
    def last_day(self) -> date | None:
        """The last day on which it applies, for people, who count it in."""
        return self.end - timedelta(days=1) if self.end else None

    def state(self, day: date) -> str:
        """Say what it is on a day: `planned`, `now` in force, or `over`."""
        if self.start > day:
            return "planned"
        return "now" if self.end is None or self.end > day else "over"

    @property
    def what(self) -> str:
        """What was agreed, in words: `20 GB included, 10 % discount`."""
        return agreed(
            included=self.included,
            own=self.own_prices,
            discount=self.discount,
            unit=self.unit,
            currency=self.currency,
        )

    @property
    def sentence(self) -> str:
        """What was agreed, from when and why."""
        return agreement(what=self.what, start=self.start, end=self.end, reason=self.reason)


class OverridePrice(models.Model):
    """A bracket of prices that one service has of its own, in the currency of the override."""

    override = models.ForeignKey(Override, verbose_name=_("agreement"), on_delete=models.CASCADE, related_name="prices")
    start = models.DecimalField(_("from quantity"), max_digits=22, decimal_places=6)
    unit_price = models.DecimalField(_("unit price"), max_digits=24, decimal_places=12)
    flat_fee = models.DecimalField(_("flat fee"), max_digits=24, decimal_places=12, default=0)

    class Meta:
        ordering: ClassVar = ["override", "start"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["override", "start"], name="one_own_price_per_bracket"),
            models.CheckConstraint(condition=Q(start__gte=0, start__lte=int(MAX_QUANTITY)), name="own_start_in_bounds"),
            models.CheckConstraint(
                condition=Q(unit_price__gte=0, unit_price__lte=int(MAX_PRICE)), name="own_unit_price_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(flat_fee__gte=0, flat_fee__lte=int(MAX_PRICE)), name="own_flat_fee_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.start}: {self.unit_price}"

    @property
    def bracket(self) -> Bracket:
        return Bracket(self.start, self.unit_price, self.flat_fee)
