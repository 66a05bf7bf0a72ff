"""Documents as PDF, for staff and for the client. What belongs to another client does not exist: 404."""

import logging
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from catalog.access import client_user, clients_of
from invoicing import pdf
from invoicing.models import Invoice
from metering.access import staff

logger = logging.getLogger(__name__)


@require_GET
@client_user
def portal_invoice_pdf(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _pdf(request, "portal", Invoice.objects.of_clients(clients_of(request)), pk)


@require_GET
@staff("invoicing.view_invoice")
def staff_invoice_pdf(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _pdf(request, "staff", Invoice.objects.all(), pk)


def _pdf(request: HttpRequest, area: str, among: QuerySet[Invoice], pk: UUID) -> HttpResponse:
    invoice = get_object_or_404(among.select_related("credits"), pk=pk)
    try:
        return pdf.download(invoice)
    except pdf.CannotPrint:
        logger.exception("the PDF of %s cannot be made", invoice)
        return render(request, f"{area}/no_pdf.html", {"section": "invoices", "invoice": invoice}, status=503)
