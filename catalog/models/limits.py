"""Space and traffic: used of limit, and what is charged above limits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from catalog.clients import validate_currency
from catalog.models.products import Product
from catalog.models.services import Service
from catalog.pricing import MAX_PRICE, MAX_QUANTITY
from catalog.users import User
from metering.providers.base import BANDWIDTH, DISK
from metering.units import BUILT_IN, GB, MB, Unit


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of a limit is used, in bytes. Without a limit there is none."""

    title: str
    used: Decimal | None
    limit: Decimal | None

    @property
    def unit(self) -> Unit:
        return GB if max(self.used or 0, self.limit or 0) >= GB.factor else MB

    @property
    def is_over(self) -> bool:
        return self.used is not None and self.limit is not None and self.used > self.limit

    @property
    def written(self) -> str:
        """`14 GB of 20 GB`, or `14 GB, without a limit`."""
        used = self._write(self.used or Decimal(0))
        if self.limit:
            return gettext("%(used)s of %(limit)s") % {"used": used, "limit": self._write(self.limit)}
        return gettext("%(used)s, without a limit") % {"used": used}

    def _write(self, value: Decimal) -> str:
        return self.unit.write(self.unit.from_base(value), places=2)


class UsedOfLimit(models.Model):
    """How much space and traffic of the month a service used of its limits, in bytes, as the last usage update
    said. None where its server does not say. Written in bulk by catalog.usage_update only."""

    service = models.OneToOneField(Service, primary_key=True, on_delete=models.CASCADE, related_name="used_of_limit")
    disk_used = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    disk_limit = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    bandwidth_used = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    bandwidth_limit = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    measured_at = models.DateTimeField()

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit to compare with; without one, the metrics say as much."""
        return any(meter.limit for meter in self.meters)

    @property
    def meters(self) -> list[Meter]:
        """What is known, in bytes."""
        both = [
            Meter(gettext("Space"), self.disk_used, self.disk_limit),
            Meter(gettext("Traffic this month"), self.bandwidth_used, self.bandwidth_limit),
        ]
        return [each for each in both if each.used is not None]


class OverageTerms(models.Model):
    """What a product charges for space and traffic above soft limits, in calendar months from one on.

    Never changed: other terms are a new version, and so is the end of charging. A limit that is left out
    charges nothing of its kind; a limit of 0 charges all of it. Limits and prices are in its unit.
    """

    UNITS: ClassVar = [
        ("MiB", _("MB of 1,024 KB")),
        ("GiB", _("GB of 1,024 MB")),
        ("TiB", _("TB of 1,024 GB")),
    ]

    product = models.ForeignKey(
        Product, verbose_name=_("product"), on_delete=models.CASCADE, related_name="overage_terms"
    )
    number = models.PositiveIntegerField(_("version"))
    effective_from = models.DateField(_("in force from"), help_text=_("The first day of a month."))
    is_on = models.BooleanField(_("switched on"))
    unit_code = models.CharField(_("unit"), max_length=20, choices=UNITS)
    disk_limit = models.DecimalField(_("disk limit"), max_digits=22, decimal_places=6, null=True)
    bandwidth_limit = models.DecimalField(_("bandwidth limit"), max_digits=22, decimal_places=6, null=True)
    has_own_invoice = models.BooleanField(
        _("on an invoice of its own"), help_text=_("On the last day of the month; otherwise on the next invoice.")
    )
    created_at = models.DateTimeField(_("created at"))
    created_by = models.ForeignKey(
        User, verbose_name=_("created by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["product", "number"]
        verbose_name_plural = _("overage terms")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "number"], name="overage_terms_are_numbered"),
            models.CheckConstraint(
                condition=(Q(disk_limit=None) | Q(disk_limit__gte=0, disk_limit__lte=int(MAX_QUANTITY)))
                & (Q(bandwidth_limit=None) | Q(bandwidth_limit__gte=0, bandwidth_limit__lte=int(MAX_QUANTITY))),
                name="overage_limits_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"overage of {self.product}, version {self.number}"

    @property
    def unit(self) -> Unit:
        return BUILT_IN[self.unit_code]

    def limit(self, name: str) -> Decimal | None:
        """Return the soft limit of a metric, by its system name."""
        return {DISK: self.disk_limit, BANDWIDTH: self.bandwidth_limit}[name]

    def price(self, name: str, currency: str) -> Decimal | None:
        """Return the price per unit above the limit of a metric, by its system name."""
        rows = (row for row in self.prices.all() if row.currency == currency)
        return next(({DISK: row.disk, BANDWIDTH: row.bandwidth}[name] for row in rows), None)


class OveragePrice(models.Model):
    """What a unit above the soft limits costs in one currency."""

    terms = models.ForeignKey(
        OverageTerms, verbose_name=_("terms of overage"), on_delete=models.CASCADE, related_name="prices"
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    disk = models.DecimalField(_("disk space"), max_digits=24, decimal_places=12, null=True)
    bandwidth = models.DecimalField(_("bandwidth"), max_digits=24, decimal_places=12, null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["terms", "currency"], name="one_overage_price_per_currency"),
            models.CheckConstraint(
                condition=(Q(disk=None) | Q(disk__gte=0, disk__lte=int(MAX_PRICE)))
                & (Q(bandwidth=None) | Q(bandwidth__gte=0, bandwidth__lte=int(MAX_PRICE))),
                name="overage_price_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.currency} of {self.terms}"
