"""What was read, and what of it counts: the hot tables, with a row per tenant and metric, or more.

They are written in bulk and have no foreign keys, which would double the time of every write;
`docs/decisions/0003-hot-tables.md` has the figures.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Greatest

from metering.models.tenants import Tenant

#: No value is above this; NaN is, by PostgreSQL's order of numbers, and so is refused too.
MAX_VALUE = 10**18


class LatestQuerySet(models.QuerySet["Latest"]):
    def with_collected_at(self) -> LatestQuerySet:
        """Annotate `collected_at`: when a collection last brought a value, changed or not."""
        by_server = Subquery(
            Tenant.objects.filter(pk=OuterRef("tenant_id")).values("server__collected_at")[:1],
            output_field=models.DateTimeField(),
        )
        newest = Greatest(Coalesce("seen_until", by_server), "checked_at", "read_at")
        return self.annotate(collected_at=newest)  # type: ignore[no-redef]


class Latest(models.Model):
    """The newest value of one metric of one tenant.

    It is written only when something changes. `read_at` is when this value was first seen; that it was
    still so later is said by the server's last collection, unless `seen_until` says since when
    collections no longer bring it. `checked_at` is the last time this tenant alone was asked.
    """

    pk = models.CompositePrimaryKey("tenant_id", "metric_id")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    quota = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    start = models.DateField()
    read_at = models.DateTimeField()
    seen_until = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    collection_id = models.IntegerField()

    objects = LatestQuerySet.as_manager()
    if TYPE_CHECKING:
        collected_at: datetime  # of `with_collected_at`

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="latest_value_in_bounds"),
        ]


class Reading(models.Model):
    """One observed value, as it was reported, never changed afterwards.

    Stored when it differs from the last one of its tenant and metric. `start` and `end` name the period
    that it belongs to; for a counter the value is the raw count. A correction by staff is a reading too,
    for any metric of what counts for the period; it has no collection then.
    """

    pk = models.CompositePrimaryKey("tenant_id", "metric_id", "read_at", "start")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    read_at = models.DateTimeField()
    start = models.DateField()
    end = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    collection_id = models.IntegerField(null=True)
    correction_id = models.IntegerField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="reading_value_in_bounds"),
        ]


class UsageQuerySet(models.QuerySet["Usage"]):
    def of(self, tenant_id: int, metric_id: int) -> UsageQuerySet:
        return self.filter(tenant_id=tenant_id, metric_id=metric_id).order_by("start")


class Usage(models.Model):
    """What counts for one period: a day (snapshot, day, counter) or a calendar month, half-open.

    What staff corrected stays as they said: no collection overwrites it.
    """

    pk = models.CompositePrimaryKey("tenant_id", "metric_id", "start")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    start = models.DateField()
    end = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    collection_id = models.IntegerField(null=True)
    correction_id = models.IntegerField(null=True)

    objects = UsageQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="usage_value_in_bounds"),
            models.CheckConstraint(condition=Q(end__gt=F("start")), name="usage_period_is_not_empty"),
        ]


class Restated(models.Model):
    """Usage of a period that was stored or changed after the period had ended.

    A note for whoever built on what it was before: they read it, compare, and delete it. A hot table of
    few rows, without foreign keys as the others.
    """

    pk = models.CompositePrimaryKey("tenant_id", "metric_id", "start")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    start = models.DateField()
    noted_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "restated"
