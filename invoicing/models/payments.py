"""What was paid of invoices, and what is left."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy

from catalog.models import Client, User
from invoicing.models.documents import Invoice
from invoicing.models.lines import MAX_AMOUNT


class Payment(models.Model):
    """Money that came in for an invoice, or, below zero, that went back. It is never changed: a mistake is taken
    back by another one."""

    invoice = models.ForeignKey(
        Invoice, verbose_name=gettext_lazy("invoice"), on_delete=models.PROTECT, related_name="payments"
    )
    amount = models.DecimalField(gettext_lazy("amount"), max_digits=16, decimal_places=4)
    received_on = models.DateField(gettext_lazy("received on"))
    method = models.CharField(
        gettext_lazy("method"), max_length=50, blank=True, help_text=gettext_lazy("Such as bank transfer.")
    )
    reference = models.CharField(
        gettext_lazy("reference"),
        max_length=200,
        blank=True,
        help_text=gettext_lazy("What the bank or the payer calls it."),
    )
    key = models.CharField(
        gettext_lazy("key against repetition"),
        max_length=100,
        blank=True,
        editable=False,
        help_text=gettext_lazy("Given by who reports it, so that it counts once."),
    )
    at = models.DateTimeField(gettext_lazy("recorded at"))
    by = models.ForeignKey(
        User, verbose_name=gettext_lazy("recorded by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["received_on", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key"], condition=~Q(key=""), name="each_payment_counts_once"),
            models.CheckConstraint(
                condition=~Q(amount=0) & Q(amount__gte=-MAX_AMOUNT, amount__lte=MAX_AMOUNT),
                name="payment_amount_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} for {self.invoice_id}"


class Receivable(models.Model):
    """What is left of an invoice: its total less what was credited and paid. Below zero it is owed to the client.

    An invoice that is settled has no row, so that what is unpaid is found without looking at all that was ever
    paid. The database keeps the rows, by triggers on invoices and payments; nobody else writes them.
    """

    invoice = models.OneToOneField(Invoice, primary_key=True, on_delete=models.PROTECT, db_constraint=False)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="receivables", db_constraint=False)
    due_on = models.DateField()
    left = models.DecimalField(max_digits=20, decimal_places=4)

    class Meta:
        ordering: ClassVar = ["due_on", "invoice"]
        indexes: ClassVar = [models.Index(fields=["due_on"], name="receivables_by_due_date")]

    def __str__(self) -> str:
        return f"{self.left} of {self.invoice_id}"
