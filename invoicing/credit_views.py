"""Staff pages that give back what an invoice charged, and the list of credit notes."""

from collections.abc import Mapping
from decimal import Decimal

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from catalog.money import minor_units, round_amount, write
from invoicing import credits, searching
from invoicing.credits import CannotCredit, Voided
from invoicing.drafts import CannotBill
from invoicing.models import Invoice, Line
from invoicing.reasons import retold
from invoicing.service_forms import CreditForm, VoidForm, amount_name
from invoicing.taxes import Tax
from metering import dates, lookup
from metering.access import staff
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.paging import CappedPaginator

PAGE = 50


class _AnotherTotal(Exception):
    """Takes back what was done."""


@require_GET
@staff("invoicing.view_invoice")
def credit_notes(request: HttpRequest) -> HttpResponse:
    query = lookup.cleaned(request.GET.get("q"))
    notes = Invoice.objects.filter(kind=Invoice.Kind.CREDIT_NOTE)
    rows = searching.listed_invoices(query, notes)
    if query:
        rows |= notes.filter(credits__in=searching.numbered(query))
    page = CappedPaginator(rows.select_related("client", "credits"), PAGE).get_page(request.GET.get("page"))
    return render(request, "staff/credit_notes.html", {"section": "credit_notes", "page": page, "query": query})


@staff("invoicing.add_invoice")
@require_http_methods(["GET", "HEAD", "POST"])
def credit(request: HttpRequest, pk: str) -> HttpResponse:
    """Enter what is given back, see the sum, then issue the credit note."""
    invoice = _invoice(pk)
    left = credits.left_of(invoice)
    lines = [(line, left[line.pk]) for line in invoice.lines.select_related("service").order_by("position")]
    rest = exact_sum(left.values())
    form, net, total = CreditForm(lines=lines, currency=invoice.currency), Decimal(0), Decimal(0)
    tax: Tax | None = None
    if request.method == "POST" and "all" in request.POST:
        initial = {"reason": request.POST.get("reason", ""), **_all(lines, invoice.currency)}
        form = CreditForm(initial=initial, lines=lines, currency=invoice.currency)
    elif request.method == "POST":
        form = CreditForm(request.POST, lines=lines, currency=invoice.currency)
        if form.is_valid():
            net = exact_sum(form.amounts.values())
            tax = credits.tax_with(invoice, net)
            # It is told to the form as text, so it has the same decimals each time, whatever the tax before had.
            total = round_amount(EXACT.add(net, tax.amount), invoice.currency) if tax else net
            is_confirmed = request.POST.get("confirm") == f"{total:f}"
            if is_confirmed and request.POST.get("rest", f"{rest:f}") != f"{rest:f}":
                form.add_error(None, _("Some of it was given back meanwhile. Look at it again, then issue it."))
            elif is_confirmed and (note := _credit(invoice, form, total, rest)) is not None:
                told = {"number": note.number, "amount": write(total, invoice.currency)}
                messages.success(request, _("Credit note %(number)s gives back %(amount)s.") % told)
                return redirect("staff_invoice", note.pk)
    return render(
        request,
        "staff/credit.html",
        {
            "section": "invoices",
            "invoice": invoice,
            "form": form,
            "left": rest,
            "total": total if form.is_bound and not form.errors else None,
            "net": net,
            "tax": tax,
            "confirm": f"{total:f}",
            "rest": f"{rest:f}",
        },
    )


def _all(lines: list[tuple[Line, Decimal]], currency: str) -> Mapping[str, str]:
    return {amount_name(line): f"{round_half_up(left, minor_units(currency)):f}" for line, left in lines if left}


def _credit(invoice: Invoice, form: CreditForm, total: Decimal, rest: Decimal) -> Invoice | None:
    """Issue the credit note, if it comes to what was shown. None when it is refused; the form then says why."""
    now = timezone.now()
    try:
        with transaction.atomic():
            note = credits.credit(
                invoice=invoice,
                amounts=form.amounts,
                reason=form.cleaned_data["reason"],
                on=dates.site_day(now),
                at=now,
            )
            if note.total != total or exact_sum(credits.left_of(invoice).values()) != rest - note.net:
                raise _AnotherTotal
    except _AnotherTotal:
        form.add_error(None, _("The credit note comes to another total by now. Look at it again, then issue it."))
    except CannotCredit as error:
        form.add_error(None, str(error))
    else:
        return note
    return None


@staff("invoicing.add_invoice")
@require_http_methods(["GET", "HEAD", "POST"])
def void(request: HttpRequest, pk: str) -> HttpResponse:
    """See what the invoice would be today, then credit it in full and bill it again."""
    invoice = _invoice(pk)
    form = VoidForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (voided := _void(invoice, form)) is not None:
        messages.success(
            request,
            _("%(invoice)s is voided: credit note %(note)s gives it back, and %(replacement)s replaces it.")
            % {
                "invoice": invoice,
                "note": voided.credit_note.number,
                "replacement": voided.replacement.number,
            },
        )
        return redirect("staff_invoice", voided.replacement.pk)
    lines: list[Line] = []
    taxed: Invoice | None = None
    total, given_back, problem = Decimal(0), Decimal(0), ""
    try:
        with transaction.atomic():
            now = timezone.now()
            voided = credits.void(invoice=invoice, reason="A preview.", on=dates.site_day(now), at=now)
            lines = list(voided.replacement.lines.select_related("service").order_by("position"))
            taxed, total, given_back = voided.replacement, voided.replacement.total, voided.credit_note.total
            transaction.set_rollback(True)
    except (CannotCredit, CannotBill) as error:
        problem = retold(str(error))
    context = {
        "section": "invoices",
        "invoice": invoice,
        "form": form,
        "lines": lines,
        "taxed": taxed,
        "total": total,
        "shown": f"{total:f}",
        "given_back": given_back,
        "difference": total - given_back,
        "problem": problem,
    }
    return render(request, "staff/void.html", context)


def _void(invoice: Invoice, form: VoidForm) -> Voided | None:
    """Void the invoice, if the new one comes to what was shown. None when it is refused; the form says why."""
    now = timezone.now()
    try:
        with transaction.atomic():
            voided = credits.void(invoice=invoice, reason=form.cleaned_data["reason"], on=dates.site_day(now), at=now)
            if voided.replacement.total != form.cleaned_data["total"]:
                raise _AnotherTotal
    except _AnotherTotal:
        form.add_error(None, _("The new invoice comes to another total by now. Look at it again, then void."))
    except (CannotCredit, CannotBill) as error:
        form.add_error(None, retold(str(error)))
    else:
        return voided
    return None


def _invoice(pk: str) -> Invoice:
    return get_object_or_404(
        Invoice.objects.exclude(kind=Invoice.Kind.CREDIT_NOTE).select_related("client").with_credited(), pk=pk
    )
