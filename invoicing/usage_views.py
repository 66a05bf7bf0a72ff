"""What one metric of a service used, day by day and month by month, for staff and for the client: a page, and tables
as CSV.

What belongs to another client does not exist: 404. Nothing is shown of the days on which the tenant was another's.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from catalog.access import client_user, clients_of
from catalog.models import Service
from invoicing import history, statistics, usage_charts
from invoicing.chart import Chart
from invoicing.panel import Panel
from invoicing.spreadsheet import as_csv, as_text
from invoicing.statistics import Statistics
from metering.access import staff
from metering.decimals import plain
from metering.periods import Period, local_day, month
from metering.providers.base import MetricType

ONE_DAY = timedelta(days=1)
#: What one page shows.
DAYS, MONTHS = 30, 24
#: As far back as a table goes.
YEARS_BACK = 731
DAY_COLUMNS = ["metric", "day", "quantity", "unit"]
MONTH_COLUMNS = ["metric", "month", "quantity", "unit", "least of a day", "most of a day"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of the history: by `day` or by `month`, as a chart with its table, and where it goes on from there."""

    by: str
    chart: Chart
    first: date
    last: date
    earlier: date | None
    later: date | None


@require_GET
@client_user
def portal_metric(request: HttpRequest, public_id: UUID, metric: int) -> HttpResponse:
    return _page(request, "portal", _own(request), public_id, metric)


@require_GET
@staff("catalog.view_service")
def staff_metric(request: HttpRequest, public_id: UUID, metric: int) -> HttpResponse:
    return _page(request, "staff", Service.objects.all(), public_id, metric)


@require_GET
@client_user
def portal_metric_csv(request: HttpRequest, public_id: UUID, metric: int) -> StreamingHttpResponse:
    return _metric_csv(request, "portal", _own(request), public_id, metric)


@require_GET
@staff("catalog.view_service")
def staff_metric_csv(request: HttpRequest, public_id: UUID, metric: int) -> StreamingHttpResponse:
    return _metric_csv(request, "staff", Service.objects.all(), public_id, metric)


@require_GET
@client_user
def portal_usage_csv(request: HttpRequest, public_id: UUID) -> StreamingHttpResponse:
    """All metrics that are enabled for a service, by day. Without a tenant nothing of it is measured."""
    service = _service(_own(request), public_id)
    metrics = _metrics("portal", service) if service.tenant_id is not None else []
    return _csv([DAY_COLUMNS, *(row for one in metrics for row in _rows_of_days(service, one))], service.name, "usage")


def _own(request: HttpRequest) -> QuerySet[Service]:
    return Service.objects.of_clients(clients_of(request))


def _service(among: QuerySet[Service], public_id: UUID) -> Service:
    return get_object_or_404(among.select_related("client__tax_rate", "product", "tenant__server"), public_id=public_id)


def _metrics(area: str, service: Service) -> list[Statistics]:
    at = timezone.now()
    return statistics.enabled_of(service, at=at) if area == "portal" else statistics.of_service(service, at=at)


def _one(area: str, service: Service, metric: int) -> Statistics:
    found = next((one for one in _metrics(area, service) if one.metric.pk == metric), None)
    if found is None or service.tenant_id is None:
        raise Http404
    return found


def _page(request: HttpRequest, area: str, among: QuerySet[Service], public_id: UUID, metric: int) -> HttpResponse:
    """How much was used, when? In short, what the panel of its service unfolds."""
    service = _service(among, public_id)
    one = _one(area, service, metric)
    today = local_day(timezone.now(), one.zone)
    panel = Panel(one, usage_charts.of_panel(one, today))
    if "X-Brief" in request.headers:
        return render(request, "_partials/_metric_tables.html", {"panel": panel})
    by = "month" if request.GET.get("by") == "month" else "day"
    until = _asked(request.GET.get("until", ""), today)
    context = {
        "section": "services",
        "area": area,
        "service": service,
        "metric": one,
        "panel": panel,
        "shown": _months(service, one, until, today) if by == "month" else _days(service, one, until, today),
    }
    return render(request, f"{area}/metric.html", context)


def _asked(text: str, today: date) -> date:
    try:
        asked = parse_date(text)
    except ValueError:
        asked = None
    return min(asked, today) if asked else today


def _days(service: Service, one: Statistics, until: date, today: date) -> Shown:
    begin = service.begins
    until = max(until, min(begin, today))
    first = until - timedelta(days=DAYS - 1)
    span = Period(first, until + ONE_DAY)
    one = replace(one, days=_between(service, one, span))
    return Shown(
        "day",
        usage_charts.of_days(one, span),
        first,
        until,
        earlier=first - ONE_DAY if first > begin else None,
        later=min(until + timedelta(days=DAYS), today) if until < today else None,
    )


def _months(service: Service, one: Statistics, until: date, today: date) -> Shown:
    assert service.tenant_id is not None  # or there is no such page
    begin = service.begins.replace(day=1)
    last = max(until.replace(day=1), min(begin, today.replace(day=1)))
    shown = [last]
    while len(shown) < MONTHS and shown[-1] > begin:
        shown.append((shown[-1] - ONE_DAY).replace(day=1))
    shown.reverse()
    since = shown[0] if one.metric.type == MetricType.MONTH else max(shown[0], service.begins)
    months = history.by_month(service.tenant_id, one.metric, since, min(month(last).end, service.ends_of(one.metric)))
    return Shown(
        "month",
        usage_charts.of_months(one, months, shown),
        shown[0],
        last,
        earlier=shown[0] - ONE_DAY if shown[0] > begin else None,
        later=min(_months_after(last, MONTHS), today) if last < today.replace(day=1) else None,
    )


def _months_after(first: date, count: int) -> date:
    years, months = divmod(first.month - 1 + count, 12)
    return date(first.year + years, months + 1, 1)


def _between(service: Service, one: Statistics, span: Period) -> history.Days:
    assert service.tenant_id is not None  # or there is no such page
    since = {service.tenant_id: max(span.start, service.begins)}
    found = history.by_day(since, [one.metric], min(span.end, service.ends))
    return found.get((service.tenant_id, one.metric.pk), history.NONE)


def _metric_csv(
    request: HttpRequest, area: str, among: QuerySet[Service], public_id: UUID, metric: int
) -> StreamingHttpResponse:
    service = _service(among, public_id)
    one = _one(area, service, metric)
    name = one.metric.system_name
    if request.GET.get("by") == "month":
        return _csv([MONTH_COLUMNS, *_rows_of_months(service, one)], service.name, name, "by-month")
    return _csv([DAY_COLUMNS, *_rows_of_days(service, one)], service.name, name, "by-day")


def _rows_of_days(service: Service, one: Statistics) -> Iterator[list[Any]]:
    today = local_day(timezone.now(), one.zone)
    days = _between(service, one, Period(today - timedelta(days=YEARS_BACK), today + ONE_DAY))
    for day, value in days.points:
        yield [as_text(one.metric.display_name), day, plain(one.unit.from_base(value)), as_text(str(one.unit))]


def _rows_of_months(service: Service, one: Statistics) -> Iterator[list[Any]]:
    assert service.tenant_id is not None  # or there is no such page
    today = local_day(timezone.now(), one.zone)
    since = max((today - timedelta(days=YEARS_BACK)).replace(day=1), service.begins.replace(day=1))
    if one.metric.type != MetricType.MONTH:
        since = max(since, service.begins)
    for each in history.by_month(
        service.tenant_id, one.metric, since, min(month(today).end, service.ends_of(one.metric))
    ):
        values = [plain(one.unit.from_base(value)) for value in (each.value, each.least, each.most)]
        name, unit = as_text(one.metric.display_name), as_text(str(one.unit))
        bounds = ["", ""] if one.metric.type == MetricType.MONTH else values[1:]
        yield [name, f"{each.first:%Y-%m}", values[0], unit, *bounds]


def _csv(rows: Iterable[Sequence[Any]], *names: str) -> StreamingHttpResponse:
    name = "-".join(part for part in (slugify(each.replace(".", "-")) for each in names) if part)
    return StreamingHttpResponse(
        as_csv(rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name or "usage"}.csv"'},
    )
