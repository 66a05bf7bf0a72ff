"""The client portal. What belongs to another client does not exist: 404."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import DateField, Exists, ExpressionWrapper, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from catalog import price_list
from catalog.access import client_user, clients_of
from catalog.models import Service
from invoicing import alerts, figures, invoice_lists, invoice_page, overview, receivables, statistics, usage_charts
from invoicing.invoice_lists import Chosen
from invoicing.models import DraftInvoice, Invoice
from invoicing.panel import Panel
from invoicing.statistics import Statistics
from metering import dates
from metering.paging import CappedPaginator
from metering.periods import local_day
from metering.prepared import Prepared, any_of

#: So many services stand on the first page, and on one of the list.
ON_HOME, PAGE = 25, 50
#: Services that run come before those that are over.
ORDER = ("status", "name", "pk")
RELATED = ("client__tax_rate", "product", "tenant__server")
#: What the page of a service reads: of what it belongs to, little.
READ = [
    *("client", "product", "tenant", "public_id", "name", "status", "cycle", "anchor", "next_term", "next_due_on"),
    *("bills_monthly", "metered_from", "terminated_on", "client__name", "client__currency", "client__tax_rate"),
    *("product__name", "product__provider", "product__bills_suspended", "product__invoice_days_ahead"),
    *("product__grace_days", "tenant__server__provider", "tenant__server__time_zone", "tenant__server__collected_at"),
    *("used_of_limit__disk_used", "used_of_limit__disk_limit", "used_of_limit__bandwidth_used"),
    *("used_of_limit__bandwidth_limit", "used_of_limit__measured_at"),
]
_SERVICE = Prepared(
    lambda public_id, clients: (
        Service.objects.of_clients(any_of(clients))
        .filter(public_id=public_id)
        .select_related(*RELATED, "used_of_limit")
        .only(*READ)
        .with_fixed_price()
        .annotate(has_draft=Exists(DraftInvoice.objects.filter(service=OuterRef("pk"))))
        .order_by()
    )
)
_SERVICES = Prepared(
    lambda clients: Service.objects.of_clients(any_of(clients)).select_related(*RELATED).order_by(*ORDER)
)
#: All that most clients have: one more than a page says that there are others.
_INVOICES = Prepared(
    lambda today, clients: Invoice.objects.of_clients(any_of(clients)).with_state(
        ExpressionWrapper(today, DateField())
    )[: PAGE + 1]
)
_INVOICE = Prepared(
    lambda today, pk, clients: (
        Invoice.objects.of_clients(any_of(clients))
        .with_state(ExpressionWrapper(today, DateField()))
        .filter(pk=pk)
        .order_by()
    )
)


def _own_services(request: HttpRequest) -> list[Service]:
    return _SERVICES.all(clients_of(request))


def _own_service(request: HttpRequest, public_id: UUID) -> Service:
    one = _SERVICE.first(public_id, clients_of(request))
    if one is None:
        raise Http404
    return one


@require_GET
@client_user
def home(request: HttpRequest) -> HttpResponse:
    """What do I owe, what will it come to?"""
    clients = clients_of(request)
    if request.user.is_staff and not clients:
        return redirect("staff_home")
    now, today = timezone.now(), dates.site_day()
    glances = overview.at_a_glance(_own_services(request), at=now)
    return render(
        request,
        "portal/home.html",
        {
            "section": "overview",
            "now": now,
            "today": today,
            "glances": glances[:ON_HOME],
            "services": len(glances),
            "is_all": len(glances) <= ON_HOME,
            "measured": sum(glance.measured for glance in glances),
            "metrics": sum(glance.metrics for glance in glances),
            "totals": (totals := overview.totals(glances)),
            "is_expected": any(total.expected for total in totals),
            "has_several_clients": len(clients) > 1,
            "next_invoices": overview.next_invoices(glances, today=today),
            "unpaid": (unpaid := receivables.of(clients, today)),
            "crossings": alerts.open_for(clients),
            "invoices": receivables.latest(clients, unpaid),
        },
    )


@require_GET
@client_user
def services(request: HttpRequest) -> HttpResponse:
    own = Service.objects.of_clients(clients_of(request)).select_related("client", "product", "tenant__server")
    page = Paginator(own.order_by(*ORDER), PAGE).get_page(request.GET.get("page"))
    glances = overview.at_a_glance(list(page), at=timezone.now())
    return render(request, "portal/services.html", {"section": "services", "page": page, "glances": glances})


def _panels(service: Service, metrics: Iterable[Statistics], now: datetime) -> list[Panel]:
    # Below the page of the service: to look up where each is takes Django as long as half of a chart.
    return [
        Panel(
            one,
            usage_charts.of_panel(one, local_day(now, one.zone)),
            f"metrics/{one.metric.id}/" if service.tenant_id else "",
        )
        for one in metrics
    ]


@require_GET
@client_user
def service(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """What does this cost me, and why?"""
    one = _own_service(request, public_id)
    now, today = timezone.now(), dates.site_day()
    metrics = statistics.enabled_of(one, at=now)
    glance = overview.glance(one, metrics)
    draft = DraftInvoice.objects.open_of(one).first() if one.has_draft else None  # type: ignore[attr-defined]
    next_invoice = overview.next_invoice(glance, draft=draft, today=today)
    return render(
        request,
        "portal/service.html",
        {
            "section": "services",
            "service": one,
            "term": figures.of_term(one.current_term, today) if one.is_billable else "",
            "used_of_limit": getattr(one, "used_of_limit", None),
            "panels": _panels(one, metrics, now),
            "glance": glance,
            "figures": figures.of_service(glance, len(metrics), next_invoice, draft),
            "draft": draft,
        },
    )


@require_GET
@client_user
def prices(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """What does usage of this service cost, now and as it is planned?"""
    one = _own_service(request, public_id)
    shown = price_list.of_service(one, dates.site_day())
    return render(request, "portal/prices.html", {"section": "services", "service": one, "prices": shown})


@require_GET
@client_user
def invoices(request: HttpRequest) -> HttpResponse:
    """What did I pay, and what is open?"""
    clients, today, chosen = clients_of(request), dates.site_day(), Chosen.of(request.GET.dict())
    rows: Sequence[Invoice] | QuerySet[Invoice] = [] if chosen else _INVOICES.all(today, clients)
    if chosen or len(rows) > PAGE:
        rows = chosen.narrow(chosen.numbered(Invoice.objects.of_clients(clients)), today)
    page = CappedPaginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "portal/invoices.html",
        {"section": "invoices", "page": page, "chosen": chosen, "years": invoice_lists.years(clients)},
    )


@require_GET
@client_user
def invoice(request: HttpRequest, pk: str) -> HttpResponse:
    """Is this right?"""
    clients, today = clients_of(request), dates.site_day()
    one = _INVOICE.first(today, pk, clients)
    if one is None:
        raise Http404
    shown = invoice_page.of(one, Invoice.objects.of_clients(clients), today)
    return render(request, "portal/invoice.html", {"section": "invoices"} | shown)
