"""The lines of the documents that were issued, and what they state."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from catalog.models import MetricSetting, Override, PricingVersion, Service
from catalog.pricing import MAX_PRICE
from invoicing import chain

#: Bound of an amount on a document; a charge above it parks the service.
MAX_AMOUNT = int(MAX_PRICE)


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
        "invoicing.Invoice", on_delete=models.PROTECT, related_name="lines", db_constraint=False, db_index=False
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
    #: Six decimals of the quantity, twelve of the price, six of a discount and two of its percent.
    exact = models.DecimalField(max_digits=46, decimal_places=26)
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
