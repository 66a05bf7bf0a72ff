"""What it costs: billing runs, what they claimed, and the documents they issued."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from catalog.models import Client, MetricSetting, Override, PricingVersion, Service, User
from catalog.pricing import MAX_PRICE
from catalog.spans import Span
from invoicing.chain import START

#: Bound of an amount on a document; a charge above it parks the service.
MAX_AMOUNT = int(MAX_PRICE)


class InvoicingSpan(Span):
    """When "Enable metric usage invoicing" is on. Periods that are not wholly inside are not billed."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                F("end"), condition=Q(end=None), name="one_open_invoicing_span", nulls_distinct=False
            )
        ]


class Series(models.Model):
    """A row of invoice numbers without a gap, one per year of issue."""

    code = models.CharField(max_length=20, primary_key=True)
    next_number = models.PositiveIntegerField(default=1)
    last_issued_on = models.DateField()
    last_digest = models.CharField(max_length=64, default=START)

    class Meta:
        verbose_name_plural = "series"

    def __str__(self) -> str:
        return self.code


class Run(models.Model):
    """One billing run: what it did, and what it left for a person."""

    on = models.DateField(help_text="Services due on this day or before were billed.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    invoices = models.PositiveIntegerField(default=0)
    services = models.PositiveIntegerField(default=0)
    parked = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    amounts = models.JSONField(default=dict, help_text="Total by currency.")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.on}"


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def visible_to(self, user: User) -> InvoiceQuerySet:
        return self.filter(client__users=user)


class Invoice(models.Model):
    """An issued document. It holds copies of everything that it states; the database refuses to change it."""

    class Kind(models.TextChoices):
        RENEWAL = "renewal"
        TERMINATION = "termination"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    series = models.ForeignKey(Series, on_delete=models.PROTECT)
    number = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="invoices")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="issued")
    currency = models.CharField(max_length=3)
    issued_on = models.DateField()
    due_on = models.DateField()
    total = models.DecimalField(max_digits=16, decimal_places=4)
    seller = models.JSONField(help_text="Name and address at issue.")
    buyer = models.JSONField(help_text="Name and address at issue.")
    created_at = models.DateTimeField()
    digest = models.CharField(max_length=64, help_text="Of its content and of the document before it in the series.")

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-issued_on", "-number"]
        indexes: ClassVar = [models.Index(fields=["client", "-issued_on", "-number"], name="invoices_of_a_client")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(total__gte=0, total__lte=MAX_AMOUNT), name="invoice_total_in_bounds"),
            models.CheckConstraint(condition=Q(due_on__gte=F("issued_on")), name="invoice_not_due_before_issue"),
        ]

    def __str__(self) -> str:
        return self.number


class Line(models.Model):
    """A line item. `exact` is the charge before the one rounding; `steps` add up to it."""

    class Kind(models.TextChoices):
        RECURRING = "recurring"
        USAGE = "usage"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="lines")
    setting = models.ForeignKey(MetricSetting, null=True, on_delete=models.PROTECT, related_name="+")
    version = models.ForeignKey(PricingVersion, null=True, on_delete=models.PROTECT, related_name="lines")
    override = models.ForeignKey(Override, null=True, on_delete=models.PROTECT, related_name="lines")
    title = models.CharField(max_length=300)
    detail = models.TextField(blank=True)
    start = models.DateField()
    end = models.DateField()
    quantity = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    unit = models.JSONField(null=True)
    pricing = models.JSONField(null=True, help_text="The prices as they were.")
    steps = models.JSONField(default=list)
    levels = models.JSONField(null=True, help_text="The days of a level that was aggregated, in the base of its unit.")
    exact = models.DecimalField(max_digits=44, decimal_places=24)
    amount = models.DecimalField(max_digits=16, decimal_places=4)

    class Meta:
        ordering: ClassVar = ["invoice", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["invoice", "position"], name="lines_are_numbered"),
            models.CheckConstraint(condition=Q(amount__gte=0, amount__lte=MAX_AMOUNT), name="line_amount_in_bounds"),
            models.CheckConstraint(condition=Q(end__gte=F("start")), name="line_period_in_order"),
        ]

    def __str__(self) -> str:
        return self.title


class Claim(models.Model):
    """The right to bill one term of a service, or its termination: whoever inserts it first has it."""

    class Kind(models.TextChoices):
        RENEWAL = "renewal"
        TERMINATION = "termination"

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="claims")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    term_start = models.DateField()
    invoice = models.ForeignKey(Invoice, null=True, on_delete=models.PROTECT, related_name="claims")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["service", "term_start"], condition=Q(kind="renewal"), name="each_term_is_billed_once"
            ),
            models.UniqueConstraint(
                fields=["service", "term_start"],
                condition=Q(kind="termination"),
                name="each_termination_is_billed_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.service_id} from {self.term_start}"


class BilledPeriod(models.Model):
    """What was billed of one usage period: the reason why it is never billed again.

    `start` and `end` are the period: a day or month of usage, or for a snapshot the term that it closes.
    `value` is the usage as it was then, in the base of the metric's unit, and `measured_on` the day of
    the usage row that it came from. Without a line, the period came to nothing on an invoice that was
    not made.
    """

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="billed_periods")
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="periods")
    tenant_id = models.IntegerField()
    metric_id = models.IntegerField()
    start = models.DateField()
    end = models.DateField()
    measured_on = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)

    class Meta:
        ordering: ClassVar = ["start"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant_id", "metric_id", "start"], name="each_period_is_billed_once"),
            models.CheckConstraint(condition=Q(value__gte=0, value__lte=10**18), name="billed_value_in_bounds"),
        ]

    def __str__(self) -> str:
        return f"{self.start} to {self.end}: {self.value}"


class Parked(models.Model):
    """A service that cannot be billed until a person mends what the reason says."""

    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="parked")
    reason = models.TextField()
    since = models.DateTimeField()
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        verbose_name_plural = "parked services"

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
