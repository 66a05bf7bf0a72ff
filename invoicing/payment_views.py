"""Staff pages that write down what was paid of an invoice."""

from decimal import Decimal
from typing import cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from catalog.models import User
from catalog.money import minor_units, write
from invoicing import payments
from invoicing.models import Invoice, Payment
from invoicing.payment_forms import PaymentForm
from invoicing.payments import CannotPay
from metering import dates
from metering.access import staff
from metering.decimals import round_half_up


@staff("invoicing.add_payment")
@require_http_methods(["GET", "HEAD", "POST"])
def record(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Write down a payment, or money that was given back of one that was too much."""
    invoices = Invoice.objects.exclude(kind=Invoice.Kind.CREDIT_NOTE).select_related("client")
    invoice = get_object_or_404(invoices.with_state(dates.site_day()), pk=pk)
    initial = {
        "amount": f"{round_half_up(abs(invoice.left), minor_units(invoice.currency)):f}" if invoice.left else "",
        "received_on": dates.site_day().isoformat(),
    }
    form = PaymentForm(request.POST or None, initial=initial, left=invoice.left, currency=invoice.currency)
    if request.method == "POST" and form.is_valid() and (payment := _record(request, invoice, form)) is not None:
        said = _("%(amount)s given back of %(number)s is written down.") if payment.amount < 0 else None
        said = said or _("%(amount)s for %(number)s is written down.")
        amount = write(abs(payment.amount), invoice.currency)
        messages.success(request, said % {"amount": amount, "number": invoice.number})
        return redirect("staff_invoice", invoice.pk)
    return render(request, "staff/payment.html", {"section": "invoices", "invoice": invoice, "form": form})


def _record(request: HttpRequest, invoice: Invoice, form: PaymentForm) -> Payment | None:
    """Write the payment down. None when it is refused; the form then says why."""
    data = form.cleaned_data
    amount: Decimal = -data["amount"] if form.is_refund else data["amount"]
    try:
        return payments.record(
            invoice=invoice,
            amount=amount,
            received_on=data["received_on"],
            method=data["method"],
            reference=data["reference"],
            by=cast(User, request.user),
            at=timezone.now(),
            key=data["token"],
            overpay=data["overpay"],
        )
    except CannotPay as error:
        form.add_error(None, str(error))
        return None


@require_POST
@staff("invoicing.add_payment")
def take_back(request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
    """Take back a payment that was written down by mistake."""
    payment = get_object_or_404(Payment.objects.select_related("invoice"), invoice=pk, pk=number)
    try:
        payments.take_back(payment=payment, by=cast(User, request.user), at=timezone.now())
    except CannotPay as error:
        messages.error(request, str(error))
    else:
        amount = write(payment.amount, payment.invoice.currency)
        messages.success(request, _("The payment of %(amount)s is taken back.") % {"amount": amount})
    return redirect("staff_invoice", pk)
