"""What is still to be billed or credited: drafts, differences, overage, and what was left out."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy

from catalog.models import MetricSetting, OverageTerms, Service, User
from invoicing.models.claims import Claim
from invoicing.models.lines import Line


class Difference(models.Model):
    """A line of which the usage changed after it was billed, until that is billed or credited.

    Without a line, usage that had come to nothing on an invoice that was not made, that of a claim.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="differences")
    setting = models.ForeignKey(MetricSetting, on_delete=models.PROTECT, related_name="+")
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="+")
    claim = models.ForeignKey(Claim, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    since = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["since", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["service", "setting", "line", "claim"], name="each_difference_waits_once", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return f"difference of {self.setting_id} of {self.service_id}"


class OverageChargeQuerySet(models.QuerySet["OverageCharge"]):
    def waiting(self) -> OverageChargeQuerySet:
        """Those that are to be on the next invoice of their service."""
        return self.filter(line=None, amount__gt=0, currency=F("service__client__currency"))


class OverageCharge(models.Model):
    """What was charged of a service for space or traffic above the limit in a calendar month.

    `value` is what was used, in bytes. Part 0 is the charge of the last day, part 1 what was more or less once the
    month was closed; `before` is what was charged already. Without a line, it came to nothing, was given back by
    a credit note, or waits for the next invoice of its service.
    """

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="overage_charges")
    name = models.CharField(max_length=100)
    month = models.DateField()
    part = models.PositiveSmallIntegerField()
    terms = models.ForeignKey(OverageTerms, on_delete=models.PROTECT, related_name="charges")
    currency = models.CharField(max_length=3)
    value = models.DecimalField(max_digits=24, decimal_places=6)
    before = models.DecimalField(max_digits=16, decimal_places=4)
    amount = models.DecimalField(max_digits=16, decimal_places=4)
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    objects = OverageChargeQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "name", "month", "part"], name="each_overage_is_charged_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["service"], condition=Q(line=None, amount__gt=0), name="overage_to_be_invoiced"),
        ]

    def __str__(self) -> str:
        return f"overage of {self.service_id} in {self.month:%Y-%m}"


class BackBilling(models.Model):
    """Leave to bill what a service used while a metric or usage invoicing was off, `[start, end)`."""

    service = models.ForeignKey(
        Service, verbose_name=gettext_lazy("service"), on_delete=models.CASCADE, related_name="back_billings"
    )
    setting = models.ForeignKey(
        MetricSetting, verbose_name=gettext_lazy("metric"), on_delete=models.PROTECT, related_name="+"
    )
    start = models.DateField(gettext_lazy("first day"))
    end = models.DateField(gettext_lazy("day after the last"))
    reason = models.TextField(gettext_lazy("reason"))
    at = models.DateTimeField(gettext_lazy("decided at"))
    by = models.ForeignKey(
        User, verbose_name=gettext_lazy("decided by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(end__gt=F("start")), name="back_billing_not_empty"),
            models.CheckConstraint(condition=~Q(reason=""), name="back_billing_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"back billing of {self.setting_id} of {self.service_id} from {self.start} to {self.end}"


class DraftInvoiceQuerySet(models.QuerySet["DraftInvoice"]):
    def open_of(self, service: Service) -> DraftInvoiceQuerySet:
        """The versions of what a service will be invoiced next, the newest first; those of terms that are billed
        are history."""
        return self.filter(service=service, term_start=service.next_due_on) if service.next_due_on else self.none()


class DraftInvoice(models.Model):
    """One version of what a service will be invoiced for a term, during its days of grace.

    It has no number and claims nothing. A new version is written when something of it changed; none is
    changed or deleted.
    """

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="draft_invoices")
    term_start = models.DateField()
    version = models.PositiveIntegerField()
    issue_on = models.DateField(help_text=gettext_lazy("The day from which it is issued."))
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=16, decimal_places=4)
    lines = models.JSONField()
    created_at = models.DateTimeField()

    objects = DraftInvoiceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-term_start", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "term_start", "version"], name="draft_versions_are_numbered"),
        ]

    def __str__(self) -> str:
        return f"draft {self.version} of {self.service_id} from {self.term_start}"
