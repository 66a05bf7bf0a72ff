"""Who uses how much: servers, their tenants, and what collections found out about them.

Reading, Latest and Usage are the hot tables: a row per tenant and metric, or more. They are written in
bulk by metering.ingestion only and have no foreign keys, which would double the time of every write;
`docs/decisions/0003-hot-tables.md` has the figures.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, F, OuterRef, Q, Subquery, When
from django.db.models.functions import Greatest

from metering.providers import base
from metering.units import Unit
from metering.vault import Credentials, CredentialsField

#: No value is above this; NaN is, by PostgreSQL's order of numbers, and so is refused too.
MAX_VALUE = 10**18


def default_time_zone() -> str:
    return str(settings.TIME_ZONE)


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"{name} is not a time zone of the IANA database, such as Europe/Berlin.")


class Server(models.Model):
    """One installation that a provider is pointed at."""

    name = models.CharField(max_length=100, unique=True, help_text="As staff call it: pg-01.")
    provider = models.CharField(max_length=50)
    settings = models.JSONField(default=dict, blank=True)
    credentials = CredentialsField(default=Credentials, blank=True, editable=False)
    time_zone = models.CharField(
        max_length=64,
        default=default_time_zone,
        validators=[validate_time_zone],
        help_text="Decides on which day and in which month a value falls.",
    )
    is_active = models.BooleanField("active", default=True, help_text="Only active servers are collected.")
    collected_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="server_has_a_name"),
            models.CheckConstraint(condition=~Q(provider=""), name="server_has_a_provider"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def provider_title(self) -> str:
        known = base.installed().get(self.provider)
        return known.title if known else self.provider

    def connection(self, as_of: datetime) -> base.Connection:
        return base.Connection(self.settings, self.credentials, as_of, self.zone)


class MetricQuerySet(models.QuerySet["Metric"]):
    def of_provider(self, provider: str) -> MetricQuerySet:
        return self.filter(provider=provider).order_by("display_name")


class Metric(models.Model):
    """A thing that a provider can measure, as last declared by it. Kept when the provider drops it."""

    id = models.AutoField(primary_key=True)
    provider = models.CharField(max_length=50)
    system_name = models.CharField(max_length=100)
    display_name = models.CharField(max_length=200)
    type = models.CharField(max_length=10, choices=[(kind.value, kind.value.title()) for kind in base.MetricType])
    unit_data = models.JSONField()

    objects = MetricQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["provider", "system_name"], name="one_metric_per_provider_and_name"),
            models.CheckConstraint(
                condition=Q(type__in=[kind.value for kind in base.MetricType]), name="metric_has_a_known_type"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def unit(self) -> Unit:
        return Unit.from_json(self.unit_data)

    @property
    def adds_up(self) -> bool:
        """Whether periods are summed: everything but a level."""
        return self.type != base.MetricType.SNAPSHOT


class Tenant(models.Model):
    """One account on one server. It exists from the day a collection sees it or a service names it."""

    id = models.AutoField(primary_key=True)
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="tenants")
    key = models.CharField(max_length=255)
    first_seen_at = models.DateTimeField(null=True, editable=False)
    missing_since = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["server", "key"], name="one_tenant_per_server_and_key"),
            models.CheckConstraint(condition=~Q(key=""), name="tenant_has_a_key"),
        ]

    def __str__(self) -> str:
        return self.key


class CollectionQuerySet(models.QuerySet["Collection"]):
    def whole(self) -> CollectionQuerySet:
        """Those that asked for the current values of all tenants."""
        return self.filter(tenant_key="", period_start=None)

    def stored(self) -> CollectionQuerySet:
        """Those whose values were stored, all or some."""
        return self.filter(status__in=[Collection.Status.COMPLETE, Collection.Status.PARTIAL])


class Collection(models.Model):
    """One run over one server, or over one tenant of it; it records what it did."""

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETE = "complete"
        PARTIAL = "partial"
        FAILED = "failed"
        HELD = "held"

    id = models.AutoField(primary_key=True)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="collections")
    tenant_key = models.CharField(max_length=255, blank=True)
    as_of = models.DateTimeField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RUNNING)
    period_start = models.DateField(null=True)
    period_end = models.DateField(null=True)
    metrics = ArrayField(models.IntegerField(), default=list)
    tenants = models.PositiveIntegerField(default=0)
    new_tenants = models.PositiveIntegerField(default=0)
    missing_tenants = models.PositiveIntegerField(default=0)
    values_seen = models.PositiveIntegerField(default=0)
    readings_stored = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list)
    error = models.TextField(blank=True)

    objects = CollectionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["server", "-id"], name="collections_of_a_server")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status="running") | Q(ended_at__isnull=False), name="ended_collection_says_when"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["running", "complete", "partial", "failed", "held"]),
                name="collection_has_a_known_status",
            ),
        ]

    def __str__(self) -> str:
        return f"no. {self.pk}"

    @property
    def is_stored(self) -> bool:
        return self.status in (self.Status.COMPLETE, self.Status.PARTIAL)

    @property
    def took_seconds(self) -> float | None:
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    @property
    def period_words(self) -> str:
        """Which closed period was asked for again; empty for the current values."""
        return f"{self.period_start} to {self.period_end}" if self.period_start else ""


class LatestQuerySet(models.QuerySet["Latest"]):
    def with_collected_at(self) -> LatestQuerySet:
        """Annotate `collected_at`: when a collection last brought a value, changed or not."""
        by_server = Subquery(
            Tenant.objects.filter(pk=OuterRef("tenant_id")).values("server__collected_at")[:1],
            output_field=models.DateTimeField(),
        )
        in_full = Case(When(seen_until__isnull=True, then=by_server), default=F("seen_until"))
        newest = Greatest(in_full, F("checked_at"), F("read_at"))
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
    that it belongs to; for a counter the value is the raw count.
    """

    pk = models.CompositePrimaryKey("tenant_id", "metric_id", "read_at", "start")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    read_at = models.DateTimeField()
    start = models.DateField()
    end = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    collection_id = models.IntegerField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="reading_value_in_bounds"),
        ]


class UsageQuerySet(models.QuerySet["Usage"]):
    def of(self, tenant_id: int, metric_id: int) -> UsageQuerySet:
        return self.filter(tenant_id=tenant_id, metric_id=metric_id).order_by("start")


class Usage(models.Model):
    """What counts for one period: a day (snapshot, day, counter) or a calendar month, half-open."""

    pk = models.CompositePrimaryKey("tenant_id", "metric_id", "start")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    start = models.DateField()
    end = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    collection_id = models.IntegerField()

    objects = UsageQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="usage_value_in_bounds"),
            models.CheckConstraint(condition=Q(end__gt=F("start")), name="usage_period_is_not_empty"),
        ]
