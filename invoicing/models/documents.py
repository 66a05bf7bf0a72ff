"""The documents that were issued: invoices and credit notes."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from functools import cache
from typing import ClassVar

from django.db import models
from django.db.models import Expression, F, Func, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from catalog.models import Client, Service
from catalog.wording import percent
from invoicing import chain
from invoicing.models.lines import MAX_AMOUNT, Line
from invoicing.models.runs import Run
from metering.decimals import EXACT


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

    def replacing(self, voided: Invoice) -> InvoiceQuerySet:
        """What bills again what a voided invoice did: it was written at once with the credit note, and names it."""
        notes = Invoice.objects.filter(credits=voided)
        rows = self.filter(kind="replacement", client=voided.client_id, reason__contains=voided.number)
        return rows.filter(created_at__in=notes.values("created_at")).order_by("entry")

    def replaced_by(self, replacement: Invoice) -> InvoiceQuerySet:
        """The voided invoice that `replacing` finds this one for, with `voided_because`, what its credit note says."""
        notes = Invoice.objects.filter(kind="credit_note", client=replacement.client_id)
        voided = self.filter(pk__in=notes.filter(created_at=replacement.created_at).values("credits"))
        said = Value(replacement.reason, output_field=models.TextField())
        note = notes.filter(created_at=replacement.created_at, credits=OuterRef("pk"))
        because = Subquery(note.values("reason")[:1])
        named = voided.alias(said=said).filter(said__contains=F("number"))
        return named.annotate(voided_because=because).order_by("entry")

    def with_credited(self) -> InvoiceQuerySet:
        """Annotate `given_back`, the sum of the credit notes that refer to it, None if there are none: `credited` and
        `creditable` are made of it. Fetches what it credits, too.
        """
        return self.select_related("credits").annotate(given_back=_given_back())  # type: ignore[no-redef]

    def with_state(self, today: date | Expression) -> InvoiceQuerySet:
        """Annotate what `with_credited` does, how much is `left` to pay, and the day: `paid` and `state` are made of
        them."""
        left = Coalesce(F("receivable__left"), Decimal(0))
        day = Value(today) if isinstance(today, date) else today
        return self.with_credited().annotate(left=left, today=day)  # type: ignore[no-redef]

    def in_state(self, state: str, today: date | Expression) -> InvoiceQuerySet:
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


@cache
def _given_back() -> Subquery:
    # Made once: to make it takes as long as PostgreSQL to answer it.
    notes = Invoice.objects.filter(credits=OuterRef("pk")).order_by().values("credits")
    return Subquery(notes.annotate(sum=Sum("total")).values("sum"))


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
    series = models.ForeignKey(
        Series, verbose_name=_("series"), on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    number = models.CharField(_("number"), max_length=40)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    client = models.ForeignKey(
        Client, verbose_name=_("client"), on_delete=models.PROTECT, related_name="invoices", db_index=False
    )
    run = models.ForeignKey(
        Run, verbose_name=_("run"), null=True, on_delete=models.PROTECT, related_name="issued", db_constraint=False
    )
    credits = models.ForeignKey(
        "self",
        verbose_name=_("credited invoice"),
        null=True,
        on_delete=models.PROTECT,
        related_name="credit_notes",
        db_index=False,
    )
    reason = models.TextField(_("reason"), blank=True, help_text=_("Why it was credited or replaced."))
    currency = models.CharField(_("currency"), max_length=3)
    issued_on = models.DateField(_("issued on"))
    due_on = models.DateField(_("due on"))
    total = models.DecimalField(
        _("total"), max_digits=16, decimal_places=4, help_text=_("What is to be paid, with tax.")
    )
    tax_name = models.CharField(_("name of the tax"), max_length=50, blank=True, default="", db_default="")
    tax_percent = models.DecimalField(
        _("tax in percent"),
        max_digits=6,
        decimal_places=3,
        null=True,
        help_text=_("Of the sum of its lines. Empty: it is not taxed."),
    )
    tax_note = models.TextField(
        _("statement on the tax"),
        blank=True,
        default="",
        db_default="",
        help_text=_("What the law wants it to say of its tax."),
    )
    tax = models.DecimalField(_("tax"), max_digits=16, decimal_places=4, default=Decimal(0), db_default=Decimal(0))
    seller = models.JSONField(_("seller"), help_text=_("Name and address at issue."))
    buyer = models.JSONField(_("buyer"), help_text=_("Name and address at issue."))
    created_at = models.DateTimeField(_("created at"))
    entry = models.BigIntegerField(
        _("place in the books"),
        db_default=Func(Value("invoicing_entry"), function="nextval"),
        editable=False,
        help_text=_("The order in which documents of all series were written, whatever the clock said."),
    )
    digest = models.CharField(
        _("digest"), max_length=64, help_text=_("Of its content and of the document before it in the series.")
    )

    #: What only `with_credited` and `with_state` know.
    given_back: Decimal | None
    left: Decimal
    today: date

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
            models.CheckConstraint(
                condition=Q(tax_percent=None, tax=0) | Q(tax_percent__isnull=False, tax__gte=0, tax__lte=F("total")),
                name="invoice_tax_in_bounds",
            ),
            models.CheckConstraint(condition=Q(due_on__gte=F("issued_on")), name="invoice_not_due_before_issue"),
            models.CheckConstraint(
                condition=Q(kind="credit_note", credits__isnull=False) | (~Q(kind="credit_note") & Q(credits=None)),
                name="credit_note_names_its_invoice",
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def net(self) -> Decimal:
        """The sum of its lines, before tax."""
        return EXACT.subtract(self.total, self.tax)

    @property
    def tax_title(self) -> str:
        """Its tax in words, such as `VAT 19%`; nothing for a document that is not taxed."""
        return "" if self.tax_percent is None else f"{self.tax_name} {percent(self.tax_percent)}"

    @property
    def tax_rows(self) -> list[tuple[str, Decimal]]:
        """What stands above its total, each with its name: the sum before tax, and the tax. Nothing if not taxed."""
        return [(str(_("Sum before tax")), self.net), (self.tax_title, self.tax)] if self.tax_title else []

    @property
    def how_to_pay(self) -> list[str]:
        """How its seller wanted it paid when it was issued, in lines, with its number; nothing where none is to pay."""
        said = self.seller.get("payment", "").splitlines()
        if not said or self.is_credit_note or not self.total:
            return []
        return [*said, str(_("Reference: %(number)s") % {"number": self.number})]

    @property
    def is_credit_note(self) -> bool:
        return self.kind == self.Kind.CREDIT_NOTE

    @property
    def credited(self) -> Decimal:
        """How much its credit notes give back. See `InvoiceQuerySet.with_credited`."""
        return self.given_back or Decimal(0)

    @property
    def creditable(self) -> Decimal:
        """How much can still be given back of it. See `InvoiceQuerySet.with_credited`."""
        return EXACT.subtract(self.total, self.credited)

    @property
    def paid(self) -> Decimal:
        """How much was paid of it. See `InvoiceQuerySet.with_state`."""
        return Decimal(0) if self.is_credit_note else EXACT.subtract(self.creditable, self.left)

    @property
    def state(self) -> str:
        """How it stands: one of `State`, nothing for a credit note. See `InvoiceQuerySet.with_state`."""
        if self.is_credit_note:
            return ""
        if self.left < 0:
            return State.OWED
        if self.left > 0:
            if self.due_on < self.today:
                return State.OVERDUE
            return State.PART_PAID if self.paid > 0 else State.UNPAID
        if not self.total:
            return State.NOTHING
        return State.CREDITED if self.credited >= self.total else State.PAID
