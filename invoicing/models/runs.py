"""Billing runs and dry runs, what they left for a person, and what a person decided."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy

from catalog.models import MetricSetting, Service, User
from catalog.spans import Span


class InvoicingSpan(Span):
    """When "Enable metric usage invoicing" is on. Periods that are not wholly inside are not billed."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                F("end"), condition=Q(end=None), name="one_open_invoicing_span", nulls_distinct=False
            )
        ]


class Run(models.Model):
    """One billing run: what it did, and what it left for a person.

    It is written anew with every batch, so that a page can follow it. `working_on` are the services of the
    batch at hand; those of a run that never ended may be what ended it.
    """

    on = models.DateField(
        gettext_lazy("billed up to"), help_text=gettext_lazy("Services due on this day or before were billed.")
    )
    started_at = models.DateTimeField(gettext_lazy("started at"))
    started_by = models.ForeignKey(
        User, verbose_name=gettext_lazy("started by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    ended_at = models.DateTimeField(gettext_lazy("ended at"), null=True)
    beat_at = models.DateTimeField(
        gettext_lazy("last sign of life"), null=True, help_text=gettext_lazy("When it last said that it was at work.")
    )
    working_on = ArrayField(models.BigIntegerField(), verbose_name=gettext_lazy("services at work"), default=list)
    error = models.TextField(gettext_lazy("error"), blank=True, help_text=gettext_lazy("What stopped it."))
    due = models.PositiveIntegerField(
        gettext_lazy("services due"), default=0, help_text=gettext_lazy("Services that it found due.")
    )
    seconds = models.JSONField(
        gettext_lazy("seconds by step"), default=dict, help_text=gettext_lazy("How long it took, by what it did.")
    )
    invoices = models.PositiveIntegerField(gettext_lazy("invoices"), default=0)
    services = models.PositiveIntegerField(gettext_lazy("services"), default=0)
    parked = models.PositiveIntegerField(gettext_lazy("services parked"), default=0)
    deferred = models.PositiveIntegerField(gettext_lazy("metrics that wait"), default=0)
    held = models.PositiveIntegerField(gettext_lazy("services held"), default=0)
    drafts = models.PositiveIntegerField(gettext_lazy("drafts"), default=0)
    credit_notes = models.PositiveIntegerField(gettext_lazy("credit notes"), default=0)
    amounts = models.JSONField(gettext_lazy("amounts"), default=dict, help_text=gettext_lazy("Total by currency."))

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.on}"


class RunNote(models.Model):
    """What a run left for a person, of which service, and why, as it was then."""

    class Kind(models.TextChoices):
        PARKED = "parked", gettext_lazy("Parked")
        DEFERRED = "deferred", gettext_lazy("Deferred")
        HELD = "held", gettext_lazy("Held")

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="notes")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    about = models.CharField(max_length=300, blank=True)
    reason = models.TextField()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.reason


class Parked(models.Model):
    """A service that is not billed until a person mends what the reason says, or approves it."""

    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="parked")
    reason = models.TextField()
    needs_approval = models.BooleanField(default=False)
    since = models.DateTimeField()
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        verbose_name_plural = gettext_lazy("parked services")

    def __str__(self) -> str:
        return self.reason


class Deferral(models.Model):
    """Usage that waits for a later invoice because it could not be measured in time."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="deferrals")
    setting = models.ForeignKey(MetricSetting, on_delete=models.PROTECT, related_name="+")
    start = models.DateField()
    end = models.DateField()
    reason = models.TextField()
    since = models.DateTimeField()
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "setting", "start"], name="each_period_waits_once"),
        ]

    def __str__(self) -> str:
        return self.reason


class Decision(models.Model):
    """What a person decided about billing a service. The newest one counts; none is ever changed.

    A service that is held is left out until it is released. One that is approved is billed although a bound
    would have it wait: its terms that are due on `through` or before, if they come to `amount` or no bound
    of amounts was asked about.
    """

    class Verdict(models.TextChoices):
        APPROVE = "approve", gettext_lazy("Approve")
        HOLD = "hold", gettext_lazy("Hold")
        RELEASE = "release", gettext_lazy("Release")

    service = models.ForeignKey(
        Service, verbose_name=gettext_lazy("service"), on_delete=models.CASCADE, related_name="decisions"
    )
    verdict = models.CharField(gettext_lazy("decision"), max_length=10, choices=Verdict.choices)
    through = models.DateField(gettext_lazy("for terms that start until"))
    amount = models.DecimalField(gettext_lazy("amount"), max_digits=16, decimal_places=4, null=True)
    reason = models.TextField(gettext_lazy("reason"), blank=True)
    at = models.DateTimeField(gettext_lazy("decided at"))
    by = models.ForeignKey(
        User, verbose_name=gettext_lazy("decided by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["service", "-id"], name="decisions_about_a_service")]

    def __str__(self) -> str:
        return f"{self.verdict} of {self.service_id} through {self.through}"


class Preview(models.Model):
    """A dry run and what came of it, kept so that a person can look at it and decide.

    `due` and `done` say how far it is; `outcome` is as `invoicing.gathering` gathers it.
    """

    on = models.DateField(help_text=gettext_lazy("Services due on this day or before."))
    asked_at = models.DateTimeField()
    asked_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    began_at = models.DateTimeField(null=True)
    beat_at = models.DateTimeField(null=True, help_text=gettext_lazy("When it last said that it was at work."))
    ended_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, help_text=gettext_lazy("What stopped it."))
    due = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    outcome = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"dry run {self.pk} of {self.on}"
