"""What was claimed and billed, so that it never is again: terms of services, and periods of usage."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.models import Client, Product, Service
from invoicing.models.documents import Invoice
from invoicing.models.lines import Line


class Claim(models.Model):
    """The right to bill one term of a service, or its termination: whoever inserts it first has it.

    Where it came to nothing and no invoice was made, `product`, `client` and `currency` say what priced it and whom it
    would have billed.
    """

    class Kind(models.TextChoices):
        RENEWAL = "renewal", _("Renewal")
        TERMINATION = "termination", _("Termination")
        CHANGE = "change", _("Change")

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="claims", db_index=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    term_start = models.DateField()
    invoice = models.ForeignKey(Invoice, null=True, on_delete=models.PROTECT, related_name="claims")
    product = models.ForeignKey(Product, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    client = models.ForeignKey(Client, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    currency = models.CharField(max_length=3, blank=True, default="", db_default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "kind", "term_start"], name="each_term_is_billed_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.service_id} from {self.term_start}"


class BilledPeriod(models.Model):
    """What was billed of one usage period: the reason why it is never billed again.

    `start` and `end` are the period: a day or month of usage, or for a snapshot the term that it closes.
    `value` is the usage as it was then, in the base of the metric's unit, and `measured_on` the day of
    the usage row that it came from. Without a line, the period came to nothing on an invoice that was
    not made, that of its `claim`.

    A period that `is_open` was billed before it had ended, up to a boundary; what is used after it is its
    next `part`. When usage is corrected, its parts are billed again with the next `revision`; the newest
    one says what counts.
    """

    service = models.ForeignKey(
        Service, on_delete=models.PROTECT, related_name="billed_periods", db_constraint=False, db_index=False
    )
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="periods", db_constraint=False)
    claim = models.ForeignKey(
        Claim, null=True, on_delete=models.PROTECT, related_name="periods", db_constraint=False, db_index=False
    )
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    start = models.DateField()
    end = models.DateField()
    part = models.PositiveSmallIntegerField(default=0)
    revision = models.PositiveSmallIntegerField(default=0)
    is_open = models.BooleanField(default=False)
    measured_on = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)

    class Meta:
        ordering: ClassVar = ["start", "part"]
        indexes: ClassVar = [
            models.Index(fields=["tenant_id"], condition=Q(is_open=True), name="periods_billed_while_open"),
            models.Index(fields=["service"], condition=Q(line=None), name="periods_on_no_invoice"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id", "metric_id", "start", "part", "revision"], name="each_period_is_billed_once"
            ),
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=10**18), name="billed_value_in_bounds"),
        ]

    def __str__(self) -> str:
        return f"{self.start} to {self.end}: {self.value}"
