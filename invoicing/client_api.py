"""What a client reads with an API key: its services, their usage, and its invoices. Nothing is changed here.

What belongs to another client does not exist: 404. Lists come in pages: `next` is the cursor of the next one.
"""

import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from ninja import Path, Query, Router, Status
from ninja.errors import HttpError

from catalog.models import ApiKey, MetricSetting, Service
from invoicing import client_answers, pdf
from invoicing.client_answers import Invoices, Lines, OneInvoice, Refused, Services, ServiceWithMetrics, Usages
from invoicing.client_auth import ApiKeyAuth
from invoicing.models import Invoice, Line
from metering import dates
from metering.models import Usage

#: Rows of a page, unless the request says how many, and at most.
PAGE, MOST = 50, 200

M = TypeVar("M", bound=Model)
T = TypeVar("T")
logger = logging.getLogger(__name__)
router = Router(tags=["client"], auth=ApiKeyAuth())

_LIMIT: Any = Query(PAGE, ge=1, le=MOST, description="How many rows a page has.")  # type: ignore[type-arg]
_CURSOR: Any = Query("", max_length=100, description="`next` of the page before.")  # type: ignore[type-arg]
_METRIC: Any = Query(..., max_length=100, description="The system name of a metric that is shown for the service.")  # type: ignore[type-arg]
_FROM: Any = Query(None, alias="from", description="The first day. Left out: since the service began.")  # type: ignore[type-arg]
_TO: Any = Query(None, alias="to", description="The last day. Left out: until now.")  # type: ignore[type-arg]
_PUBLIC_ID: Any = Path(..., description="The id of a service.")  # type: ignore[type-arg]
_INVOICE_ID: Any = Path(..., description="The id of an invoice or credit note.")  # type: ignore[type-arg]
_PDF = {"description": "OK", "content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
_REFUSALS = dict.fromkeys([401, 404, 422, 429], Refused)


@router.get("/services", response={200: Services} | _REFUSALS, operation_id="list_services", summary="Services")
def list_services(request: HttpRequest, limit: int = _LIMIT, cursor: str = _CURSOR) -> Any:
    """All services of the client, the oldest first."""
    after = _after(cursor, int) if cursor else None
    rows = _services(request).order_by("pk")
    page, following = _page(rows.filter(pk__gt=after) if after is not None else rows, limit, lambda row: row.pk)
    return {"items": [client_answers.of_service(each) for each in page], "next": following}


@router.get(
    "/services/{public_id}",
    response={200: ServiceWithMetrics} | _REFUSALS,
    operation_id="read_service",
    summary="One service",
)
def read_service(request: HttpRequest, public_id: UUID = _PUBLIC_ID) -> Any:
    """A service, and which of its metrics are shown."""
    service = _services(request).filter(public_id=public_id).first()
    if service is None:
        return _nothing("service")
    return {
        **client_answers.of_service(service),
        "metrics": [client_answers.of_metric(each) for each in _shown(service)],
    }


@router.get(
    "/services/{public_id}/usage",
    response={200: Usages} | _REFUSALS,
    operation_id="list_usage",
    summary="Usage of a service",
)
def list_usage(
    request: HttpRequest,
    public_id: UUID = _PUBLIC_ID,
    metric: str = _METRIC,
    start: date | None = _FROM,
    end: date | None = _TO,
    limit: int = _LIMIT,
    cursor: str = _CURSOR,
) -> Any:
    """What a service used of one metric, by day or by month, the oldest first."""
    service = _services(request).filter(public_id=public_id).first()
    shown = _shown(service) if service else []
    setting = next((each for each in shown if each.metric.system_name == metric), None)
    if service is None or setting is None:
        return _nothing("service, or it shows no such metric")
    rows, unit = _usage(service, setting), setting.metric.unit
    if start is not None:
        rows = rows.filter(end__gt=start)
    if end is not None:
        rows = rows.filter(start__lte=end)
    if cursor:
        rows = rows.filter(start__gt=_after(cursor, date.fromisoformat))
    page, following = _page(rows, limit, lambda row: row.start)
    items = [client_answers.of_usage(row, unit) for row in page]
    return {"metric": metric, "unit": unit.symbol or unit.plural, "items": items, "next": following}


@router.get("/invoices", response={200: Invoices} | _REFUSALS, operation_id="list_invoices", summary="Invoices")
def list_invoices(request: HttpRequest, limit: int = _LIMIT, cursor: str = _CURSOR) -> Any:
    """All invoices and credit notes of the client, the newest first."""
    rows = _invoices(request).order_by("-issued_on", "-number")
    if cursor:
        issued_on, number = _after(cursor, _invoice_place)
        older = Q(issued_on__lt=issued_on) | Q(issued_on=issued_on, number__lt=number)
        rows = rows.filter(older, issued_on__lte=issued_on)
    page, following = _page(rows, limit, lambda row: f"{row.issued_on}|{row.number}")
    return {"items": [client_answers.of_invoice(each) for each in page], "next": following}


@router.get(
    "/invoices/{id}", response={200: OneInvoice} | _REFUSALS, operation_id="read_invoice", summary="One invoice"
)
def read_invoice(request: HttpRequest, id: UUID = _INVOICE_ID) -> Any:
    """An invoice or credit note."""
    invoice = _invoices(request).filter(pk=id).first()
    return _nothing("invoice") if invoice is None else client_answers.of_invoice(invoice)


@router.get(
    "/invoices/{id}/lines", response={200: Lines} | _REFUSALS, operation_id="list_lines", summary="Lines of an invoice"
)
def list_lines(request: HttpRequest, id: UUID = _INVOICE_ID, limit: int = _LIMIT, cursor: str = _CURSOR) -> Any:
    """The lines of an invoice or credit note, in order."""
    invoice = Invoice.objects.of_clients([_key(request).client_id]).filter(pk=id).first()
    if invoice is None:
        return _nothing("invoice")
    rows = Line.objects.filter(invoice=invoice).select_related("service", "statement").order_by("position")
    if cursor:
        rows = rows.filter(position__gt=_after(cursor, int))
    page, following = _page(rows, limit, lambda row: row.position)
    return {"items": [client_answers.of_line(each, invoice.currency) for each in page], "next": following}


@router.get(
    "/invoices/{id}/pdf",
    response={503: Refused} | _REFUSALS,
    operation_id="read_pdf",
    summary="PDF of an invoice",
    openapi_extra={"responses": {200: _PDF}},
)
def read_pdf(request: HttpRequest, id: UUID = _INVOICE_ID) -> Any:
    """The PDF of an invoice or credit note, in the language that it was issued in. The same file each time."""
    rows = Invoice.objects.of_clients([_key(request).client_id]).select_related("credits")
    invoice = rows.filter(pk=id).first()
    if invoice is None:
        return _nothing("invoice")
    try:
        return pdf.download(invoice)
    except pdf.CannotPrint:
        logger.exception("the PDF of %s cannot be made", invoice)
        return Status(503, {"error": "The PDF could not be made. The invoice is not changed by that; try later."})


def _key(request: HttpRequest) -> ApiKey:
    key: ApiKey = request.auth  # type: ignore[attr-defined]
    return key


def _services(request: HttpRequest) -> QuerySet[Service]:
    return Service.objects.of_clients([_key(request).client_id]).select_related("client", "product")


def _invoices(request: HttpRequest) -> QuerySet[Invoice]:
    return Invoice.objects.of_clients([_key(request).client_id]).with_state(dates.site_day())


def _shown(service: Service) -> list[MetricSetting]:
    """The metrics that a client sees of a service: those that are enabled now."""
    # Both words about the spans in one filter: in two, a metric comes once for each time it was switched on.
    rows = MetricSetting.objects.filter(enabled_spans__isnull=False, enabled_spans__end=None)
    shown = rows.filter(product=service.product_id, metric__provider=service.product.provider)
    return list(shown.select_related("metric").order_by("metric__system_name"))


def _usage(service: Service, setting: MetricSetting) -> QuerySet[Usage]:
    """What counts for a service: not what its tenant used before it was this client's, or after."""
    if service.tenant_id is None:
        return Usage.objects.none()
    rows = Usage.objects.of(service.tenant_id, setting.metric_id)
    return rows.filter(end__gt=service.begins, start__lt=service.ends_of(setting.metric))


def _page(rows: QuerySet[M], limit: int, place: Callable[[M], Any]) -> tuple[list[M], str | None]:
    """Return a page of rows, and the cursor of the next one if there is any."""
    found = list(rows[: limit + 1])
    following = urlsafe_b64encode(str(place(found[limit - 1])).encode()).decode() if len(found) > limit else None
    return found[:limit], following


def _after(cursor: str, read: Callable[[str], T]) -> T:
    try:
        place = urlsafe_b64decode(cursor.encode()).decode()
        if "\0" in place:
            raise ValueError(place)
        return read(place)
    except (ValueError, NotBase64, OverflowError) as error:
        raise HttpError(422, "cursor: is not one that this list gave") from error


def _invoice_place(text: str) -> tuple[date, str]:
    day, _bar, number = text.partition("|")
    return date.fromisoformat(day), number


def _nothing(what: str) -> Status[dict[str, str]]:
    return Status(404, {"error": f"There is no such {what}."})
