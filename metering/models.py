"""Who uses how much: servers, their tenants, and what collections found out about them.

Reading, Latest and Usage are the hot tables: a row per tenant and metric, or more. They are written in
bulk by metering.ingestion only and have no foreign keys, which would double the time of every write;
`docs/decisions/0003-hot-tables.md` has the figures.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, F, OuterRef, Q, Subquery, When
from django.db.models.functions import Greatest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from metering.keys import Key
from metering.providers import base
from metering.providers.secrecy import blotted
from metering.units import Unit
from metering.vault import Credentials, CredentialsField

#: No value is above this; NaN is, by PostgreSQL's order of numbers, and so is refused too.
MAX_VALUE = 10**18


def default_time_zone() -> str:
    return str(settings.TIME_ZONE)


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        words = gettext("%(name)s is not a time zone of the IANA database, such as Europe/Berlin.")
        raise ValidationError(words % {"name": name})


class ServerQuerySet(models.QuerySet["Server"]):
    def asked(self) -> ServerQuerySet:
        """The active ones that are asked for usage; others send it."""
        silent = [name for name in base.installed() if not base.asks(name)]
        return self.filter(is_active=True).exclude(provider__in=silent)


class Server(models.Model):
    """One installation that a provider is pointed at."""

    name = models.CharField(max_length=100, unique=True, help_text=_("As staff call it: pg-01."))
    provider = models.CharField(max_length=50)
    settings = models.JSONField(default=dict, blank=True)
    credentials = CredentialsField(default=Credentials, blank=True, editable=False)
    time_zone = models.CharField(
        max_length=64,
        default=default_time_zone,
        validators=[validate_time_zone],
        help_text=_("Decides on which day and in which month a value falls."),
    )
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Only active servers are collected."))
    collected_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ServerQuerySet.as_manager()

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
        return gettext(known.title) if known else self.provider

    def connection(self, as_of: datetime, cost: base.Cost | None = None) -> base.Connection:
        return base.Connection(self.settings, self.credentials, as_of, self.zone, cost or base.Cost())

    def without_credentials(self, text: str) -> str:
        """Return what a provider said, without what it was told in confidence: credentials that were not loaded
        cannot be in it."""
        return blotted(text, vars(self).get("credentials", {}).values())


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
    provider = models.CharField(max_length=50)
    system_name = models.CharField(max_length=100)
    display_name = models.CharField(max_length=200)
    type = models.CharField(max_length=10, choices=METRIC_TYPES)
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
        """Its name; of a metric that comes with the site, in the reader's language."""
        return gettext(self.display_name) if self.display_name else self.system_name

    @property
    def unit(self) -> Unit:
        return Unit.from_json(self.unit_data)

    @property
    def adds_up(self) -> bool:
        """Whether periods are summed: everything but a level."""
        return self.type != base.MetricType.SNAPSHOT


class Tenant(models.Model):
    """One account on one server. It exists from the day a collection sees it or a service names it.

    `is_claimed` says whether somebody is to be billed for it. Who sells what it uses keeps that by a trigger.
    """

    id = models.AutoField(primary_key=True)
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="tenants")
    key = models.CharField(max_length=255)
    first_seen_at = models.DateTimeField(null=True, editable=False)
    missing_since = models.DateTimeField(null=True, editable=False)
    is_claimed = models.BooleanField(db_default=False, editable=False)

    class Meta:
        indexes: ClassVar = [
            # The few among millions that nobody is billed for.
            models.Index(
                fields=["server", "key"],
                name="tenants_that_nobody_claims",
                condition=Q(is_claimed=False, first_seen_at__isnull=False, missing_since=None),
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["server", "key"], name="one_tenant_per_server_and_key"),
            models.CheckConstraint(condition=~Q(key=""), name="tenant_has_a_key"),
        ]

    def __str__(self) -> str:
        return self.key


class CollectionQuerySet(models.QuerySet["Collection"]):
    def whole(self) -> CollectionQuerySet:
        """Those that asked for the current values of all tenants."""
        return self.filter(source=Collection.Source.COLLECTION, tenant_key="", period_start=None)

    def stored(self) -> CollectionQuerySet:
        """Those whose values were stored, all or some."""
        return self.filter(status__in=[Collection.Status.COMPLETE, Collection.Status.PARTIAL])


class Collection(models.Model):
    """One run over one server, or over one tenant of it; it records what it did.

    What is sent without being asked for leaves records too: one for the pushes of an hour, whose `calls` and
    `bytes` are those of its requests, and one for each file that is imported.
    """

    class Source(models.TextChoices):
        COLLECTION = "collection", _("Collection")
        PUSH = "push", _("Push")
        IMPORT = "import", _("Import")

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Running")
        COMPLETE = "complete", _("Complete")
        PARTIAL = "partial", _("Partial")
        FAILED = "failed", _("Failed")
        HELD = "held", _("Held")
        DROPPED = "dropped", _("Dropped")

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
    unchanged = models.PositiveIntegerField(default=0, help_text=_("Values that were as they had been before."))
    rejected = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list)
    error = models.TextField(blank=True)
    calls = models.PositiveIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    seen_so_far = models.PositiveIntegerField(default=0, help_text=_("Tenants, while it is running."))
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True, help_text=_("When a held one was stored or dropped."))
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.COLLECTION)
    file_name = models.CharField(max_length=255, blank=True)
    file_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the file.")

    objects = CollectionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["server", "-id"], name="collections_of_a_server")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "running"]) | Q(ended_at__isnull=False),
                name="ended_collection_says_when",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "running", "complete", "partial", "failed", "held", "dropped"]),
                name="collection_has_a_known_status",
            ),
            models.CheckConstraint(
                condition=Q(source__in=["collection", "push", "import"]), name="collection_has_a_known_source"
            ),
        ]

    def __str__(self) -> str:
        return f"no. {self.pk}"

    @property
    def is_stored(self) -> bool:
        return self.status in (self.Status.COMPLETE, self.Status.PARTIAL)

    @property
    def is_of_some(self) -> bool:
        """Whether it brings some tenants only, and so says nothing of the others."""
        return bool(self.tenant_key) or self.source != self.Source.COLLECTION

    @property
    def took_seconds(self) -> float | None:
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    @property
    def period_words(self) -> str:
        """Which closed period was asked for again; empty for the current values."""
        return f"{self.period_start} to {self.period_end}" if self.period_start else ""


class HeldValue(models.Model):
    """A value of a collection that is held, until a person stores or drops it. A tenant without values has a row
    without a metric. Written in bulk, without foreign keys, as the hot tables are."""

    id = models.BigAutoField(primary_key=True)
    collection_id = models.IntegerField(db_index=True)
    tenant = models.CharField(max_length=255)
    metric_id = models.IntegerField(null=True)
    value = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    quota = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    counting_since = models.DateTimeField(null=True)
    start = models.DateField(null=True)
    end = models.DateField(null=True)


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


class Correction(models.Model):
    """What staff said that a closed period's usage was, and why. Never changed; a later one may follow it."""

    id = models.AutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="corrections")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    start = models.DateField()
    end = models.DateField()
    before = models.DecimalField(
        max_digits=24, decimal_places=6, null=True, help_text=_("None where nothing was known.")
    )
    value = models.DecimalField(max_digits=24, decimal_places=6)
    reason = models.TextField()
    at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=MAX_VALUE), name="corrected_value_in_bounds"),
            models.CheckConstraint(condition=~Q(reason=""), name="correction_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"correction {self.pk}"


class PushKeyQuerySet(models.QuerySet["PushKey"]):
    def usable(self) -> PushKeyQuerySet:
        return self.filter(revoked_at=None)


class PushKey(Key):
    """What opens `POST /api/v1/usage` for one server."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="push_keys")
    name = models.CharField(max_length=100, help_text=_("Who has it, such as shop-01."))
    metrics = ArrayField(models.CharField(max_length=100), default=list, help_text=_("System names; empty for all."))
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    revoked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    objects = PushKeyQuerySet.as_manager()

    class Meta(Key.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="push_key_has_a_name"),
            models.UniqueConstraint(
                fields=["server", "name"], condition=Q(revoked_at=None), name="one_usable_push_key_per_server_and_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Pushed(models.Model):
    """An id that came with a line, and the digest of what the line said, so that it counts once.

    A hot table without foreign keys, as the others; a row is kept for a set time (metering.pushing.KEPT).
    """

    pk = models.CompositePrimaryKey("server_id", "key")
    server_id = models.IntegerField()
    key = models.TextField()
    digest = models.BinaryField(max_length=16)
    pushed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "pushed"
        indexes: ClassVar = [BrinIndex(fields=["pushed_at"], name="pushed_in_order")]


class Upload(models.Model):
    """A file that somebody looks at before it is imported. Kept until then, or for a day."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    format = models.CharField(max_length=20)
    digest = models.CharField(max_length=64)
    content = models.BinaryField()
    at = models.DateTimeField(db_index=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return self.name
