"""The rates at which invoices are taxed."""

from decimal import Decimal
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.wording import percent


class TaxRate(models.Model):
    """A tax as some clients pay it. A change is of what is issued from then on: documents keep what they say."""

    name = models.CharField(_("name"), max_length=50, help_text=_("As invoices state it, such as VAT."))
    percent = models.DecimalField(
        _("percent"),
        max_digits=6,
        decimal_places=3,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(100))],
        help_text=_("Of the sum of an invoice's lines, such as 19 or 8.1. 0 where the client pays none."),
    )
    note = models.TextField(
        _("statement"),
        blank=True,
        help_text=_("What the law wants such an invoice to say, such as “Reverse charge”, in words all clients read."),
    )

    class Meta:
        ordering: ClassVar = ["name", "-percent", "pk"]
        verbose_name = _("tax rate")
        verbose_name_plural = _("tax rates")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="tax_rate_is_a_share"),
            models.CheckConstraint(condition=~Q(name=""), name="tax_rate_has_a_name"),
        ]

    def __str__(self) -> str:
        """Such as `VAT 19%`, or `VAT 0% (Reverse charge)`."""
        return f"{self.title} ({self.note.splitlines()[0]})" if self.note else self.title

    @property
    def title(self) -> str:
        """Such as `VAT 19%`, as invoices state it."""
        return f"{self.name} {percent(self.percent)}"
