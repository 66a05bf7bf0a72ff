"""What is sold, and what it costs in each currency and cycle."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.clients import validate_currency
from catalog.pricing import MAX_PRICE
from catalog.terms import Cycle
from catalog.wording import CYCLES


class Product(models.Model):
    """What is sold; says which provider meters it, if any."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    slug = models.SlugField(
        _("name in the address"), max_length=200, unique=True, help_text=_("Its name in the address of its price list.")
    )
    description = models.TextField(_("description"), blank=True)
    provider = models.CharField(
        _("metered by"), max_length=50, blank=True, help_text=_("What meters it. Empty: nothing does.")
    )
    is_active = models.BooleanField(_("can be ordered"), default=True)
    bills_monthly = models.BooleanField(
        _("bill usage every month"), default=False, help_text=_("Also where a service renews less often.")
    )
    bills_suspended = models.BooleanField(
        _("bill suspended services"),
        default=True,
        help_text=_("Suspended services are metered all the same. Otherwise their terms wait until they are resumed."),
    )
    invoice_days_ahead = models.PositiveSmallIntegerField(
        _("invoiced so many days ahead"),
        default=0,
        validators=[MaxValueValidator(60)],
        help_text=_(
            "Days before a term starts that its invoice is made. What is used in those days, and levels of the term, "
            "then wait for the next invoice; leave it at 0 where usage is billed."
        ),
    )
    grace_days = models.PositiveSmallIntegerField(
        _("days of grace"),
        default=0,
        validators=[MaxValueValidator(30)],
        help_text=_("Days that an invoice stays a draft and follows what is measured late."),
    )

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class ProductPrice(models.Model):
    """The recurring price of a product for one billing cycle in one currency."""

    product = models.ForeignKey(Product, verbose_name=_("product"), on_delete=models.CASCADE, related_name="prices")
    cycle = models.CharField(
        _("billing cycle"), max_length=20, choices=[(cycle.value, CYCLES[cycle]) for cycle in Cycle]
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    amount = models.DecimalField(_("amount"), max_digits=16, decimal_places=4)

    class Meta:
        verbose_name = _("product price")
        verbose_name_plural = _("product prices")
        ordering: ClassVar = ["product", "currency", "amount"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "cycle", "currency"], name="one_price_per_cycle_and_currency"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, amount__lte=int(MAX_PRICE)), name="product_price_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} {self.cycle}"
