"""Writing down what was paid of invoices.

A payment is never changed. What is left of an invoice is kept by the database; its row is locked before a payment is
looked at, so that of two at once the second sees what the first left, and credit notes wait, too.
"""

from datetime import date, datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from catalog.models import User
from catalog.money import minor_units, round_amount, write
from invoicing.models import MAX_AMOUNT, Invoice, Payment, Receivable
from metering import dates

#: No key that somebody gives has a space.
_TAKEN_BACK = "taken back "


class CannotPay(Exception):
    """The payment cannot be written down so. The message says why and what to do."""


def record(
    *,
    invoice: Invoice,
    amount: Decimal,
    received_on: date,
    method: str = "",
    reference: str = "",
    by: User | None,
    at: datetime,
    key: str = "",
    overpay: bool = False,
) -> Payment:
    """Write down that money came in for an invoice, or, with an amount below zero, that it was given back.

    It may not be more than what is left to pay, or to give back, unless `overpay` says that it is. A payment that is
    reported again with the same `key` is the one that was written down then. Raises CannotPay.
    """
    _check(invoice, amount, received_on, key, at)
    payment = Payment(
        invoice=invoice,
        amount=amount,
        received_on=received_on,
        method=method.strip(),
        reference=reference.strip(),
        key=key,
        by=by,
        at=at,
    )
    return _write(payment, overpay=overpay)


def take_back(*, payment: Payment, by: User | None, at: datetime) -> Payment:
    """Take back a payment that was written down by mistake, by another one of as much less. To do so again changes
    nothing. Raises CannotPay for one that takes back another one itself."""
    if payment.key.startswith(_TAKEN_BACK):
        raise CannotPay(_("This takes back another payment itself. Record the payment again instead."))
    opposite = Payment(
        invoice=payment.invoice,
        amount=-payment.amount,
        received_on=dates.site_day(at),
        method=payment.method,
        reference=payment.reference,
        key=f"{_TAKEN_BACK}{payment.pk}",
        by=by,
        at=at,
    )
    return _write(opposite, overpay=True)


def of_invoice(invoice: Invoice) -> list[tuple[Payment, str]]:
    """Return the payments of an invoice, oldest first, each with what became of it: `taken back`, `takes back`, or
    nothing."""
    rows = list(invoice.payments.prefetch_related("by").order_by("pk"))
    gone = {row.key for row in rows if row.key.startswith(_TAKEN_BACK)}
    return [
        (row, "takes back" if row.key in gone else "taken back" if f"{_TAKEN_BACK}{row.pk}" in gone else "")
        for row in rows
    ]


def _check(invoice: Invoice, amount: Decimal, received_on: date, key: str, at: datetime) -> None:
    if invoice.is_credit_note:
        raise CannotPay(_("%(number)s is a credit note: nobody pays it.") % {"number": invoice.number})
    if not amount.is_finite() or not amount:
        raise CannotPay(_("Enter an amount."))
    if abs(amount) > MAX_AMOUNT:
        raise CannotPay(_("The amount is too large."))
    if amount != round_amount(amount, invoice.currency):
        raise CannotPay(
            _("An amount in %(currency)s has at most %(places)s decimals.")
            % {"currency": invoice.currency, "places": minor_units(invoice.currency)}
        )
    if received_on > dates.site_day(at):
        raise CannotPay(_("The day on which it was received is yet to come."))
    if any(letter.isspace() for letter in key):
        raise CannotPay(_("A key has no spaces."))


def _write(payment: Payment, *, overpay: bool) -> Payment:
    try:
        with transaction.atomic():
            left = _locked(payment.invoice)
            if payment.key and (known := Payment.objects.filter(key=payment.key).first()) is not None:
                return _the_same(known, payment)
            if not overpay:
                _check_left(payment, left)
            payment.save(force_insert=True)
    except IntegrityError:
        # Nothing was left, so no row was there to be locked, and somebody else was faster with this key.
        known = Payment.objects.filter(key=payment.key).first() if payment.key else None
        if known is None:
            raise
        return _the_same(known, payment)
    return payment


def _locked(invoice: Invoice) -> Decimal:
    row = Receivable.objects.select_for_update().filter(pk=invoice.pk).values_list("left", flat=True).first()
    return row if row is not None else Decimal(0)


def _check_left(payment: Payment, left: Decimal) -> None:
    number, currency = payment.invoice.number, payment.invoice.currency
    if payment.amount > 0 and payment.amount > left:
        if left <= 0:
            raise CannotPay(_("Nothing is left to pay of %(number)s.") % {"number": number})
        raise CannotPay(
            _("Only %(left)s is left to pay of %(number)s.") % {"left": write(left, currency), "number": number}
        )
    if payment.amount < 0 and payment.amount < left:
        if left >= 0:
            raise CannotPay(_("Nothing of %(number)s was paid too much.") % {"number": number})
        raise CannotPay(
            _("Only %(more)s of %(number)s was paid too much.") % {"more": write(-left, currency), "number": number}
        )


def _the_same(known: Payment, again: Payment) -> Payment:
    said = ("invoice_id", "amount", "received_on", "method", "reference")
    if not again.key.startswith(_TAKEN_BACK) and any(getattr(known, name) != getattr(again, name) for name in said):
        raise CannotPay(_("Another payment was reported with the key %(key)s.") % {"key": again.key})
    return known
