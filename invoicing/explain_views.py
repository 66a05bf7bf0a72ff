"""From a line of an invoice down to its readings, for staff and for the client: pages, and tables as CSV.

What belongs to another client does not exist: 404.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import QuerySet, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from catalog.access import client_user, clients_of
from invoicing import explanation, line_tables, proof, questions
from invoicing.explanation import Explanation, UsedPeriod
from invoicing.models import Invoice, Line
from invoicing.spreadsheet import as_csv
from metering.access import staff
from metering.prepared import Prepared, any_of

#: Periods of a line, or readings of a period, on one page.
PAGE = 100
#: Readings on the page of a line that has one period.
FIRST = 12


def _of_invoice(pk: Any, line: Any) -> QuerySet[Line]:
    return Line.objects.select_related("invoice", *proof.SOURCES).filter(pk=line, invoice=pk).order_by()


_ANY = Prepared(_of_invoice)
_OWN = Prepared(lambda pk, line, clients: _of_invoice(pk, line).filter(invoice__client__in=any_of(clients)))


def _own(request: HttpRequest) -> QuerySet[Invoice]:
    return Invoice.objects.of_clients(clients_of(request))


def _own_line(request: HttpRequest, pk: UUID, line: UUID) -> Line:
    return _with_override(_OWN.first(pk, line, clients_of(request)))


def _any_line(pk: UUID, line: UUID) -> Line:
    return _with_override(_ANY.first(pk, line))


def _with_override(line: Line | None) -> Line:
    """With the rest of what the proof of a line reads, which most lines have not."""
    if line is None:
        raise Http404
    if line.override_id is not None:
        prefetch_related_objects([line], *proof.OF_OVERRIDE)
    return line


@require_GET
@client_user
def portal_line(request: HttpRequest, pk: UUID, line: UUID) -> HttpResponse:
    return _line_page(request, "portal", _own_line(request, pk, line), _own(request))


@require_GET
@staff("invoicing.view_invoice")
def staff_line(request: HttpRequest, pk: UUID, line: UUID) -> HttpResponse:
    return _line_page(request, "staff", _any_line(pk, line), Invoice.objects.all())


@require_GET
@client_user
def portal_period(request: HttpRequest, pk: UUID, line: UUID, number: int) -> HttpResponse:
    return _period_page(request, "portal", explanation.of_line(_own_line(request, pk, line), _own(request)), number)


@require_GET
@staff("invoicing.view_invoice")
def staff_period(request: HttpRequest, pk: UUID, line: UUID, number: int) -> HttpResponse:
    return _period_page(request, "staff", explanation.of_line(_any_line(pk, line), Invoice.objects.all()), number)


@require_GET
@client_user
def portal_lines_csv(request: HttpRequest, pk: UUID) -> StreamingHttpResponse:
    return _lines_csv(_own(request), pk)


@require_GET
@staff("invoicing.view_invoice")
def staff_lines_csv(request: HttpRequest, pk: UUID) -> StreamingHttpResponse:
    return _lines_csv(Invoice.objects.all(), pk)


@require_GET
@client_user
def portal_periods_csv(request: HttpRequest, pk: UUID, line: UUID) -> StreamingHttpResponse:
    return _periods_csv(explanation.of_line(_own_line(request, pk, line), _own(request)))


@require_GET
@staff("invoicing.view_invoice")
def staff_periods_csv(request: HttpRequest, pk: UUID, line: UUID) -> StreamingHttpResponse:
    return _periods_csv(explanation.of_line(_any_line(pk, line), Invoice.objects.all()))


@require_GET
@client_user
def portal_readings_csv(request: HttpRequest, pk: UUID, line: UUID) -> StreamingHttpResponse:
    return _readings_csv(explanation.of_line(_own_line(request, pk, line), _own(request)), for_staff=False)


@require_GET
@staff("invoicing.view_invoice")
def staff_readings_csv(request: HttpRequest, pk: UUID, line: UUID) -> StreamingHttpResponse:
    return _readings_csv(explanation.of_line(_any_line(pk, line), Invoice.objects.all()), for_staff=True)


def _line_page(request: HttpRequest, area: str, line: Line, among: QuerySet[Invoice]) -> HttpResponse:
    """What does this line say, and where does it come from? In short, where its invoice unfolds it."""
    if "X-Brief" in request.headers:
        brief = {"area": area, "invoice": line.invoice, "proof": proof.of_line(line, among)}
        return render(request, "_partials/_proof.html", brief)
    explained = explanation.of_line(line, among)
    periods = Paginator(explained.periods, PAGE).get_page(request.GET.get("page"))
    only = explained.periods[0] if len(explained.periods) == 1 else None
    shown = {
        "questions": questions.of_line(line),
        "page": periods,
        "only": only,
        "readings": _first_readings(explained, only) if only else [],
    }
    return render(request, f"{area}/line.html", _common(area, explained) | shown)


def _first_readings(explained: Explanation, period: UsedPeriod) -> list[explanation.Observed]:
    rows = explanation.readings(explained, [period])[:FIRST]
    earlier = explanation.before(explained, period)
    return explanation.observed(explained, rows, earlier, ends_with_before=period.readings <= FIRST)


def _period_page(request: HttpRequest, area: str, explained: Explanation, number: int) -> HttpResponse:
    """Which readings make the usage of this period?"""
    if not 1 <= number <= len(explained.periods):
        raise Http404
    period = explained.periods[number - 1]
    rows = explanation.readings(explained, [period])
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    earlier = explanation.before(explained, period)
    shown = {
        "period": period,
        "page": page,
        "readings": explanation.observed(explained, page, earlier, ends_with_before=not page.has_next()),
        "earlier": explained.periods[number - 2] if number > 1 else None,
        "later": explained.periods[number] if number < len(explained.periods) else None,
    }
    return render(request, f"{area}/period.html", _common(area, explained) | shown)


def _common(area: str, explained: Explanation) -> dict[str, Any]:
    return {
        "section": "invoices",
        "area": area,
        "explained": explained,
        "proof": explained.proof,
        "line": explained.line,
        "invoice": explained.line.invoice,
    }


def _lines_csv(among: QuerySet[Invoice], pk: UUID) -> StreamingHttpResponse:
    invoice = get_object_or_404(among, pk=pk)
    return _csv(line_tables.of_lines(invoice, among), f"{invoice.number}-lines")


def _periods_csv(explained: Explanation) -> StreamingHttpResponse:
    return _csv(line_tables.of_periods(explained), f"{_name(explained)}-periods")


def _readings_csv(explained: Explanation, *, for_staff: bool) -> StreamingHttpResponse:
    return _csv(line_tables.of_readings(explained, for_staff=for_staff), f"{_name(explained)}-readings")


def _name(explained: Explanation) -> str:
    return f"{explained.line.invoice.number}-line-{explained.line.position}"


def _csv(rows: Iterable[list[Any]], name: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        as_csv(rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
