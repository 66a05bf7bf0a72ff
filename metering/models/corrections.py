"""What staff said of usage."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from metering.models.metrics import Metric
from metering.models.tenants import Tenant
from metering.models.usage import MAX_VALUE


class Correction(models.Model):
    """What staff said that a closed period's usage was, and why. Never changed; a later one may follow it."""

    id = models.AutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, verbose_name=_("tenant"), on_delete=models.PROTECT, related_name="corrections")
    metric = models.ForeignKey(Metric, verbose_name=_("metric"), on_delete=models.PROTECT, related_name="+")
    start = models.DateField(_("first day"))
    end = models.DateField(_("day after the last"))
    before = models.DecimalField(
        _("value before"), max_digits=24, decimal_places=6, null=True, help_text=_("None where nothing was known.")
    )
    value = models.DecimalField(_("value"), max_digits=24, decimal_places=6)
    reason = models.TextField(_("reason"))
    at = models.DateTimeField(_("corrected at"))
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("corrected by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="corrected_value_in_bounds"),
            models.CheckConstraint(condition=~Q(reason=""), name="correction_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"correction {self.pk}"
