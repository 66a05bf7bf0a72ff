"""What a client reads with an API key: its services, their usage, and its invoices. Nothing is changed here.

What belongs to another client does not exist: 404. Lists come in pages: `next` is the cursor of the next one.
"""

import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Path, Query, Router, Schema, Status
from ninja.errors import HttpError
from ninja.security import HttpBearer

from catalog import api_keys
from catalog.models import ApiKey, MetricSetting, Service
from catalog.money import round_amount
from invoicing import pdf
from invoicing.models import Invoice, Line
from metering.api import NoKey
from metering.models import Usage

#: Rows of a page, unless the request says how many, and at most.
PAGE, MOST = 50, 200

M = TypeVar("M", bound=Model)
logger = logging.getLogger(__name__)


class NoClientKey(NoKey):
    """The request shows no usable API key."""

    def __init__(self) -> None:
        HttpError.__init__(self, 401, "Send an API key that is not revoked: Authorization: Bearer tpc_…")


class TooMany(HttpError):
    """The key made too many requests in this minute."""

    def __init__(self, seconds: int) -> None:
        super().__init__(429, f"More than {settings.API_REQUESTS_PER_MINUTE} requests in a minute. Wait.")
        self.seconds = seconds


class ApiKeyAuth(HttpBearer):
    """An API key in the header, and nothing else: no cookie opens this, so it works for programs only."""

    openapi_description = "An API key of a client, which its owners make in the portal."

    def __call__(self, request: HttpRequest) -> Any:
        key = super().__call__(request)
        if key is None:
            raise NoClientKey
        return key

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        use = api_keys.use(token, at=timezone.now())
        if use is None:
            return None
        if use.requests > settings.API_REQUESTS_PER_MINUTE:
            raise TooMany(use.seconds_left)
        return use.key


router = Router(tags=["client"], auth=ApiKeyAuth())


class Refused(Schema):
    """Why there is no answer."""

    error: str = Field(examples=["There is no such invoice."])


class ServiceMetric(Schema):
    """A metric that is shown for a service. Its usage is asked for by `system_name`."""

    system_name: str = Field(examples=["bandwidth"])
    name: str
    type: str = Field(description="snapshot: a level. day, month, counter: what adds up.")
    unit: str = Field(examples=["GB"], description="In which its quantities are given.")


class OneService(Schema):
    """A service."""

    id: UUID
    name: str
    product: str
    status: str = Field(examples=["active"])
    currency: str = Field(examples=["USD"])
    cycle: str = Field(examples=["monthly"])
    starts_on: date
    next_due_on: date | None
    terminated_on: date | None


class ServiceWithMetrics(OneService):
    """A service and the metrics that are shown for it."""

    metrics: list[ServiceMetric]


class Used(Schema):
    """What was used in one period, half-open: a day, or a calendar month."""

    start: date
    end: date
    quantity: str = Field(examples=["12.5"])


class OneInvoice(Schema):
    """An issued document. A credit note is one, too: its total is given back for the invoice that it `credits`."""

    id: UUID
    number: str = Field(examples=["2026-00042"])
    kind: str = Field(examples=["renewal", "credit_note"])
    issued_on: date
    due_on: date
    currency: str = Field(examples=["USD"])
    total: str = Field(examples=["18.00"], description="With the decimals of its currency.")
    paid: str
    left: str = Field(description="What is left to pay; below zero it is owed to the client.")
    state: str = Field(description="unpaid, part_paid, paid, overdue and so on; empty for a credit note.")
    credits: UUID | None


class OneLine(Schema):
    """A line of a document. What a line of kind `credit` says is given back."""

    id: UUID
    position: int
    kind: str = Field(examples=["usage"])
    service: UUID
    title: str
    detail: str
    start: date
    end: date
    quantity: str | None
    unit: str | None = Field(examples=["GB"])
    exact: str = Field(description="Before the one rounding.")
    amount: str = Field(examples=["18.00"])
    steps: list[dict[str, Any]] = Field(description="How the amount came about; they add up to `exact`.")


class Services(Schema):
    items: list[OneService]
    next: str | None


class Usages(Schema):
    metric: str
    unit: str
    items: list[Used]
    next: str | None


class Invoices(Schema):
    items: list[OneInvoice]
    next: str | None


class Lines(Schema):
    items: list[OneLine]
    next: str | None


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
    return {"items": [_service(each) for each in page], "next": following}


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
    return {**_service(service), "metrics": [_metric(each) for each in _shown(service)]}


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
    items = [{"start": row.start, "end": row.end, "quantity": _written(unit.from_base(row.value))} for row in page]
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
    return {"items": [_invoice(each) for each in page], "next": following}


@router.get(
    "/invoices/{id}", response={200: OneInvoice} | _REFUSALS, operation_id="read_invoice", summary="One invoice"
)
def read_invoice(request: HttpRequest, id: UUID = _INVOICE_ID) -> Any:
    """An invoice or credit note."""
    invoice = _invoices(request).filter(pk=id).first()
    return _nothing("invoice") if invoice is None else _invoice(invoice)


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
    return {"items": [_line(each, invoice.currency) for each in page], "next": following}


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
    return Invoice.objects.of_clients([_key(request).client_id]).with_state(timezone.localdate())


def _shown(service: Service) -> list[MetricSetting]:
    """The metrics that a client sees of a service: those that are enabled now."""
    rows = MetricSetting.objects.filter(product=service.product_id, enabled_spans__end=None)
    shown = rows.filter(enabled_spans__isnull=False, metric__provider=service.product.provider)
    return list(shown.select_related("metric").order_by("metric__system_name"))


def _usage(service: Service, setting: MetricSetting) -> QuerySet[Usage]:
    """What counts for a service: not what its tenant used before it was this client's, or after."""
    if service.tenant_id is None:
        return Usage.objects.none()
    rows = Usage.objects.of(service.tenant_id, setting.metric_id)
    rows = rows.filter(end__gt=max(service.anchor, service.metered_from or service.anchor))
    if service.terminated_on:
        rows = rows.filter(start__lte=service.terminated_on)
    return rows


def _page(rows: QuerySet[M], limit: int, place: Callable[[M], Any]) -> tuple[list[M], str | None]:
    """Return a page of rows, and the cursor of the next one if there is any."""
    found = list(rows[: limit + 1])
    following = urlsafe_b64encode(str(place(found[limit - 1])).encode()).decode() if len(found) > limit else None
    return found[:limit], following


T = TypeVar("T")


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


def _service(service: Service) -> dict[str, Any]:
    return {
        "id": service.public_id,
        "name": service.name,
        "product": service.product.name,
        "status": service.status,
        "currency": service.currency,
        "cycle": service.cycle,
        "starts_on": service.anchor,
        "next_due_on": service.next_due_on,
        "terminated_on": service.terminated_on,
    }


def _metric(setting: MetricSetting) -> dict[str, str]:
    metric = setting.metric
    unit = metric.unit
    return {
        "system_name": metric.system_name,
        "name": metric.display_name or metric.system_name,
        "type": metric.type,
        "unit": unit.symbol or unit.plural,
    }


def _invoice(invoice: Any) -> dict[str, Any]:
    def money(value: Decimal) -> str:
        return f"{round_amount(value, invoice.currency):f}"

    return {
        "id": invoice.pk,
        "number": invoice.number,
        "kind": invoice.kind,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "currency": invoice.currency,
        "total": money(invoice.total),
        "paid": money(invoice.paid),
        "left": money(invoice.left),
        "state": str(invoice.state),
        "credits": invoice.credits_id,
    }


def _line(line: Line, currency: str) -> dict[str, Any]:
    unit = line.unit
    return {
        "id": line.pk,
        "position": line.position,
        "kind": line.kind,
        "service": line.service.public_id,
        "title": line.title,
        "detail": line.detail,
        "start": line.start,
        "end": line.end,
        "quantity": None if line.quantity is None else _written(line.quantity),
        "unit": (unit.get("symbol") or unit.get("plural")) if unit else None,
        "exact": _written(line.exact),
        "amount": f"{round_amount(line.amount, currency):f}",
        "steps": line.steps or [],
    }


def _written(value: Decimal) -> str:
    """Write a number in full, without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
