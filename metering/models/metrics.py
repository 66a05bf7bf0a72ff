"""What providers can measure."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from metering import periods
from metering.periods import Period
from metering.providers import base
from metering.units import Unit

#: How a server counts, as people read it.
METRIC_TYPES = [
    (base.MetricType.SNAPSHOT.value, _("Snapshot")),
    (base.MetricType.DAY.value, _("Day")),
    (base.MetricType.MONTH.value, _("Month")),
    (base.MetricType.COUNTER.value, _("Counter")),
]


class MetricQuerySet(models.QuerySet["Metric"]):
    def of_provider(self, provider: str) -> MetricQuerySet:
        return self.filter(provider=provider).order_by("display_name")


class Metric(models.Model):
    """A thing that a provider can measure, as last declared by it. Kept when the provider drops it."""

    id = models.AutoField(primary_key=True)
    provider = models.CharField(_("kind of server"), max_length=50)
    system_name = models.CharField(_("system name"), max_length=100)
    display_name = models.CharField(_("name"), max_length=200)
    type = models.CharField(_("type"), max_length=10, choices=METRIC_TYPES)
    unit_data = models.JSONField(_("unit"))

    objects = MetricQuerySet.as_manager()

    class Meta:
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["provider", "system_name"], name="one_metric_per_provider_and_name"),
            models.CheckConstraint(
                condition=Q(type__in=[kind.value for kind in base.MetricType]), name="metric_has_a_known_type"
            ),
        ]

    def __str__(self) -> str:
        """Its name; of a metric that comes with the site, in the reader's language."""
        return gettext(self.display_name) if self.display_name else self.system_name

    @property
    def unit(self) -> Unit:
        return Unit.from_json(self.unit_data)

    @property
    def adds_up(self) -> bool:
        """Whether periods are summed: everything but a level."""
        return self.type != base.MetricType.SNAPSHOT

    def period_of(self, day: date) -> Period:
        """Return its period that a day lies in: the calendar month, or the day itself."""
        return periods.month(day) if self.type == base.MetricType.MONTH else periods.day(day)
