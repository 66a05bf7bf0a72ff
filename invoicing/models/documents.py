"""The documents that were issued, what they claimed, and which usage they billed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

from django.db import models
from django.db.models import Case, F, Func, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from catalog.models import Client, MetricSetting, Override, PricingVersion, Service
from catalog.pricing import MAX_PRICE
from invoicing import chain
from invoicing.models.runs import Run

#: Bound of an amount on a document; a charge above it parks the service.
MAX_AMOUNT = int(MAX_PRICE)


class Series(models.Model):
    """A row of invoice numbers without a gap, one per year of issue."""

    code = models.CharField(max_length=20, primary_key=True)
    next_number = models.PositiveIntegerField(default=1)
    last_issued_on = models.DateField()
    last_digest = models.CharField(max_length=64, default=chain.START)

    class Meta:
        verbose_name_plural = _("series")

    def __str__(self) -> str:
        return self.code


class State(models.TextChoices):
    """How an invoice stands on a day. A credit note has none."""

    OVERDUE = "overdue", _("Overdue")
    PART_PAID = "part_paid", _("Partly paid")
    UNPAID = "unpaid", _("Unpaid")
    PAID = "paid", _("Paid")
    CREDITED = "credited", _("Credited in full")
    OWED = "owed", _("Paid too much")
    NOTHING = "nothing", _("Nothing to pay")


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def of_clients(self, clients: Collection[int]) -> InvoiceQuerySet:
        """What these clients have; in the portal, those of `catalog.access.clients_of`."""
        return self.filter(client_id__in=clients)

    def of_service(self, service: Service) -> InvoiceQuerySet:
        return self.filter(pk__in=Line.objects.filter(service=service).values("invoice"))

    def with_credited(self) -> InvoiceQuerySet:
        """Annotate `credited`, how much the credit notes that refer to it give back, and `creditable`, the rest of it.

        Fetches what it credits, too.
        """
        notes = Invoice.objects.filter(credits=OuterRef("pk")).order_by().values("credits")
        credited = Coalesce(Subquery(notes.annotate(sum=Sum("total")).values("sum")), Decimal(0))
        return self.select_related("credits").annotate(credited=credited, creditable=F("total") - F("credited"))

    def with_state(self, today: date) -> InvoiceQuerySet:
        """Annotate what `with_credited` does, how much is `left` to pay, how much was `paid`, and the `state`."""
        rows = self.with_credited().annotate(left=Coalesce(F("receivable__left"), Decimal(0)))
        rows = rows.annotate(
            paid=Case(When(kind="credit_note", then=Decimal(0)), default=F("total") - F("credited") - F("left"))
        )
        return rows.annotate(
            state=Case(
                When(kind="credit_note", then=Value("")),
                When(left__lt=0, then=Value(State.OWED)),
                When(left__gt=0, due_on__lt=today, then=Value(State.OVERDUE)),
                When(left__gt=0, paid__gt=0, then=Value(State.PART_PAID)),
                When(left__gt=0, then=Value(State.UNPAID)),
                When(total=0, then=Value(State.NOTHING)),
                When(credited__gte=F("total"), then=Value(State.CREDITED)),
                default=Value(State.PAID),
                output_field=models.CharField(),
            )
        )

    def in_state(self, state: str, today: date) -> InvoiceQuerySet:
        """Choose invoices that are `unpaid` or `overdue`, the longest first, or `paid`, or that are `credit_notes`.

        What is unpaid is found by what is left of it, and not by looking at all that was ever issued.
        """
        match state:
            case "unpaid":
                return self.filter(receivable__left__gt=0).order_by("receivable__due_on", "pk")
            case "overdue":
                rows = self.filter(receivable__left__gt=0, receivable__due_on__lt=today)
                return rows.order_by("receivable__due_on", "pk")
            case "paid":
                return self.filter(receivable=None).exclude(kind="credit_note")
            case "credit_notes":
                return self.filter(kind="credit_note")
        raise ValueError(f"{state} is no state to choose invoices by.")


class Invoice(models.Model):
    """An issued document. It holds copies of everything that it states; the database refuses to change it.

    A credit note is one too: its amounts are given back, and `credits` is the invoice that it refers to.
    """

    class Kind(models.TextChoices):
        RENEWAL = "renewal", _("Renewal")
        TERMINATION = "termination", _("Termination")
        CHANGE = "change", _("change of product or tenant")
        SETTLEMENT = "settlement", _("settlement of corrected usage")
        OVERAGE = "overage", _("Overage")
        REPLACEMENT = "replacement", _("replacement of a voided invoice")
        CREDIT_NOTE = "credit_note", _("credit note")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    series = models.ForeignKey(Series, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    number = models.CharField(max_length=40)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="invoices", db_index=False)
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="issued", db_constraint=False)
    credits = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="credit_notes", db_index=False
    )
    reason = models.TextField(blank=True, help_text=_("Why it was credited or replaced."))
    currency = models.CharField(max_length=3)
    issued_on = models.DateField()
    due_on = models.DateField()
    total = models.DecimalField(max_digits=16, decimal_places=4)
    seller = models.JSONField(help_text=_("Name and address at issue."))
    buyer = models.JSONField(help_text=_("Name and address at issue."))
    created_at = models.DateTimeField()
    entry = models.BigIntegerField(
        db_default=Func(Value("invoicing_entry"), function="nextval"),
        editable=False,
        help_text=_("The order in which documents of all series were written, whatever the clock said."),
    )
    digest = models.CharField(max_length=64, help_text=_("Of its content and of the document before it in the series."))

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-issued_on", "-number"]
        indexes: ClassVar = [
            models.Index(fields=["client", "-issued_on", "-number"], name="invoices_of_a_client"),
            models.Index(fields=["credits"], condition=Q(credits__isnull=False), name="credit_notes_of_an_invoice"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["number"], name="numbers_are_unique"),
            models.CheckConstraint(condition=Q(total__gte=0, total__lte=MAX_AMOUNT), name="invoice_total_in_bounds"),
            models.CheckConstraint(condition=Q(due_on__gte=F("issued_on")), name="invoice_not_due_before_issue"),
            models.CheckConstraint(
                condition=Q(kind="credit_note", credits__isnull=False) | (~Q(kind="credit_note") & Q(credits=None)),
                name="credit_note_names_its_invoice",
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def is_credit_note(self) -> bool:
        return self.kind == self.Kind.CREDIT_NOTE


class Statement(models.Model):
    """The unit and the prices that lines state, kept once for all lines that state the same.

    Its id is the digest of what it says, so that it cannot come to say anything else: a line names it, and the
    chain has the line. It is frozen, too.
    """

    id = models.CharField(primary_key=True, max_length=64, editable=False)
    unit = models.JSONField()
    pricing = models.JSONField(help_text=_("The prices as they were."))

    def __str__(self) -> str:
        return self.id

    @classmethod
    def of(cls, unit: dict[str, Any], pricing: dict[str, Any]) -> Statement:
        return cls(id=chain.statement(unit, pricing), unit=unit, pricing=pricing)


class WrittenField(models.TextField):  # type: ignore[type-arg]
    """A JSON value, stored as the text that the chain is made of."""

    def from_db_value(self, value: str | None, *_rest: object) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else chain.written(value)


class LineManager(models.Manager["Line"]):
    def get_queryset(self) -> models.QuerySet[Line]:
        """Lines are read with what they state."""
        return super().get_queryset().select_related("statement")


class Line(models.Model):
    """A line item. `exact` is the charge before the one rounding; `steps` add up to it.

    A line that `corrects` another rates all periods of that one again: `before` is the quantity as it was,
    `settled` what was charged for it up to then, and `amount` the difference, which a line of kind
    `adjustment` charges and one of kind `credit` gives back. A credit without a quantity was given for
    another reason than usage. What a credit gives back was charged by the line that it `credits`.

    Lines and billed periods are written by COPY, a dozen for each invoice: to check each of their references
    costs as much as to write them. What they refer to cannot be deleted, by other references, by triggers, or
    as it is frozen too, and `verify_billing` looks for any that lead nowhere.
    """

    class Kind(models.TextChoices):
        RECURRING = "recurring", _("Recurring")
        USAGE = "usage", _("Usage")
        OVERAGE = "overage", _("Overage")
        ADJUSTMENT = "adjustment", _("Adjustment")
        CREDIT = "credit", _("Credit")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    invoice = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, related_name="lines", db_constraint=False, db_index=False
    )
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="lines", db_constraint=False)
    setting = models.ForeignKey(
        MetricSetting, null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    version = models.ForeignKey(
        PricingVersion, null=True, on_delete=models.PROTECT, related_name="lines", db_constraint=False
    )
    override = models.ForeignKey(
        Override, null=True, on_delete=models.PROTECT, related_name="lines", db_constraint=False, db_index=False
    )
    title = models.CharField(max_length=300)
    detail = models.TextField(blank=True)
    start = models.DateField()
    end = models.DateField()
    quantity = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    statement = models.ForeignKey(
        Statement, null=True, on_delete=models.PROTECT, related_name="lines", db_constraint=False, db_index=False
    )
    steps = WrittenField(default=list)
    levels = WrittenField(null=True, help_text=_("The days of a level that was aggregated, in the base of its unit."))
    corrects = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="corrections", db_constraint=False, db_index=False
    )
    credits = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="credited_by", db_constraint=False, db_index=False
    )
    before = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    settled = models.DecimalField(max_digits=16, decimal_places=4, default=Decimal(0))
    exact = models.DecimalField(max_digits=44, decimal_places=24)
    amount = models.DecimalField(max_digits=16, decimal_places=4)

    objects = LineManager()

    class Meta:
        ordering: ClassVar = ["invoice", "position"]
        indexes: ClassVar = [
            models.Index(fields=["override"], condition=Q(override__isnull=False), name="lines_of_an_override"),
            models.Index(fields=["corrects"], condition=Q(corrects__isnull=False), name="lines_that_correct"),
            models.Index(fields=["credits"], condition=Q(credits__isnull=False), name="lines_that_credit"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["invoice", "position"], name="lines_are_numbered"),
            models.CheckConstraint(condition=Q(amount__gte=0, amount__lte=MAX_AMOUNT), name="line_amount_in_bounds"),
            models.CheckConstraint(condition=Q(end__gte=F("start")), name="line_period_in_order"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def unit(self) -> dict[str, Any] | None:
        return self.statement.unit if self.statement else None

    @property
    def pricing(self) -> dict[str, Any] | None:
        """The prices as they were."""
        return self.statement.pricing if self.statement else None


class Claim(models.Model):
    """The right to bill one term of a service, or its termination: whoever inserts it first has it."""

    class Kind(models.TextChoices):
        RENEWAL = "renewal", _("Renewal")
        TERMINATION = "termination", _("Termination")
        CHANGE = "change", _("Change")

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="claims", db_index=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    term_start = models.DateField()
    invoice = models.ForeignKey(Invoice, null=True, on_delete=models.PROTECT, related_name="claims")
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
    not made.

    A period that `is_open` was billed before it had ended, up to a boundary; what is used after it is its
    next `part`. When usage is corrected, its parts are billed again with the next `revision`; the newest
    one says what counts.
    """

    service = models.ForeignKey(
        Service, on_delete=models.PROTECT, related_name="billed_periods", db_constraint=False, db_index=False
    )
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="periods", db_constraint=False)
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
