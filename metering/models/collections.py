"""What each run over a server did, and the values of those that wait for a person's decision."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from metering.models.servers import Server


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
    server = models.ForeignKey(Server, verbose_name=_("server"), on_delete=models.CASCADE, related_name="collections")
    tenant_key = models.CharField(_("only tenant"), max_length=255, blank=True)
    as_of = models.DateTimeField(_("as of"))
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.RUNNING)
    period_start = models.DateField(_("first day"), null=True)
    period_end = models.DateField(_("day after the last"), null=True)
    metrics = ArrayField(models.IntegerField(), verbose_name=_("metrics"), default=list)
    tenants = models.PositiveIntegerField(_("tenants"), default=0)
    new_tenants = models.PositiveIntegerField(_("new tenants"), default=0)
    missing_tenants = models.PositiveIntegerField(_("missing tenants"), default=0)
    values_seen = models.PositiveIntegerField(_("values seen"), default=0)
    readings_stored = models.PositiveIntegerField(_("readings stored"), default=0)
    unchanged = models.PositiveIntegerField(
        _("unchanged"), default=0, help_text=_("Values that were as they had been before.")
    )
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    problems = models.JSONField(_("problems"), default=list)
    error = models.TextField(_("error"), blank=True)
    calls = models.PositiveIntegerField(_("calls to the server"), default=0)
    bytes = models.BigIntegerField(_("bytes"), default=0)
    seen_so_far = models.PositiveIntegerField(_("seen so far"), default=0, help_text=_("Tenants, while it is running."))
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("asked by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("decided by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(_("decided at"), null=True, help_text=_("When a held one was stored or dropped."))
    source = models.CharField(_("source"), max_length=10, choices=Source.choices, default=Source.COLLECTION)
    file_name = models.CharField(_("file name"), max_length=255, blank=True)
    file_digest = models.CharField(
        _("digest of the file"), max_length=64, blank=True, help_text=_("SHA-256 of the file.")
    )

    objects = CollectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("collection")
        verbose_name_plural = _("collections")
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
        return gettext("no. %(number)s") % {"number": self.pk}

    @property
    def is_stored(self) -> bool:
        return self.status in (self.Status.COMPLETE, self.Status.PARTIAL)

    @property
    def is_current(self) -> bool:
        """Whether it asked for the current values of all tenants, as those of `whole()` did."""
        return not self.is_of_some and self.period_start is None

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
