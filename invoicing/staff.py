"""Staff pages about services, invoices and runs."""

from collections.abc import Iterable
from datetime import date

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from catalog import missing_prices
from catalog.missing_prices import Missing
from catalog.models import OVER, Override, ProductPrice, Service
from catalog.overrides import ONE_DAY, earliest_end
from invoicing import proof, statistics, termination, usage_invoicing
from invoicing.billing import create_invoices
from invoicing.drafts import CannotBill
from invoicing.models import Deferral, Invoice, Parked, Run
from metering import collection
from metering.access import staff
from metering.models import Collection, Latest, Metric, Server, Tenant

PAGE = 50


@require_GET
@staff("catalog.view_service")
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person today?"""
    last = list(Collection.objects.whole().order_by("server_id", "-id").distinct("server_id").select_related("server"))
    today = timezone.localdate()
    may_price = request.user.has_perm("catalog.view_product")
    context = {
        "section": "today",
        "now": timezone.now(),
        "failing": [record for record in last if record.status == "failed"],
        "held": [record for record in last if record.status == "held"],
        "last": last,
        "parked": list(Parked.objects.select_related("service__client", "service__product")[:20]),
        "waiting": Deferral.objects.count(),
        "unclaimed": _unclaimed().count(),
        "missing": missing_prices.of_living_services(today) if may_price else [],
        "never_collected": list(Server.objects.filter(is_active=True, collections=None)),
        "due": Service.objects.due(today).count(),
        "run": Run.objects.first(),
        "is_on": usage_invoicing.is_on(today),
        "has_servers": Server.objects.exists(),
    }
    context["open"] = sum(
        bool(context[name])
        for name in ("failing", "held", "parked", "waiting", "unclaimed", "never_collected", "missing")
    )
    return render(request, "staff/home.html", context)


@require_GET
@staff("catalog.view_product")
def missing(request: HttpRequest) -> HttpResponse:
    """Which prices keep services from being billed, now or soon?"""
    parked = list(Parked.objects.select_related("service__client").order_by("since"))
    rows = [(each, _parked_for(each, parked)) for each in missing_prices.of_living_services(timezone.localdate())]
    return render(
        request,
        "staff/missing_prices.html",
        {"section": "missing", "rows": rows, "missing": [each for each, _ in rows]},
    )


def _parked_for(lacking: Missing, parked: Iterable[Parked]) -> list[Parked]:
    return [each for each in parked if lacking.is_lacked_by(each.service)]


@require_GET
@staff("catalog.view_service")
def services(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:100]
    rows = Service.objects.select_related("client", "product", "tenant__server").order_by("client__name", "name", "pk")
    if query:
        rows = rows.filter(
            Q(name__icontains=query) | Q(client__name__icontains=query) | Q(tenant__key__icontains=query)
        )
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "staff/services.html", {"section": "services", "page": page, "query": query})


@require_GET
@staff("catalog.view_service")
def service(request: HttpRequest, public_id: str) -> HttpResponse:
    """Why does this client pay that?"""
    one = _service(public_id)
    metrics = statistics.of_service(one, at=timezone.now())
    enabled = [each for each in metrics if each.is_enabled]
    return render(
        request,
        "staff/service.html",
        {
            "section": "services",
            "service": one,
            "metrics": metrics,
            "enabled": enabled,
            "so_far": statistics.total(enabled),
            "stale": [each for each in enabled if each.is_stale],
            "price": ProductPrice.objects.filter(product=one.product, cycle=one.cycle, currency=one.currency).first(),
            "invoices": Invoice.objects.filter(claims__service=one).order_by("-issued_on", "-number")[:10],
            "parked": Parked.objects.filter(service=one).first(),
            "waiting": Deferral.objects.filter(service=one).select_related("setting__metric"),
            "agreements": _agreements(one),
            "today": timezone.localdate(),
            "is_over": one.status in OVER,
        },
    )


def _agreements(service: Service) -> list[tuple[Override, str, date]]:
    """Return what was agreed for a service, newest first by metric, with what it is today and its earliest last day."""
    today = timezone.localdate()
    rows = Override.objects.filter(service=service).order_by("setting__metric__display_name", "-start")
    rows = rows.select_related("setting__metric", "created_by", "ended_by").prefetch_related("prices")
    return [(each, each.state(today), earliest_end(each, today) - ONE_DAY) for each in rows]


@require_POST
@staff("metering.add_collection")
def refresh(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask the server for this tenant alone."""
    one = _service(public_id)
    if one.tenant is None:
        messages.error(request, f"{one} has no tenant, so there is nothing to ask for.")
        return redirect("staff_service", public_id)
    try:
        record = collection.collect(server=one.tenant.server, as_of=timezone.now(), tenant=one.tenant.key)
    except collection.Busy:
        messages.warning(request, f"{one.tenant.server} is being collected just now. Look again in a moment.")
        return redirect("staff_service", public_id)
    if record.status == Collection.Status.FAILED:
        messages.error(request, f"{one.tenant.server} could not be asked: {record.error}")
    elif record.rejected:
        reasons = "; ".join(f"{problem['metric']}: {problem['reason']}" for problem in record.problems[:3])
        messages.warning(request, f"{record.values_seen} values read, {record.rejected} refused. {reasons}")
    else:
        messages.info(request, f"{record.values_seen} values read from {one.tenant.server}.")
    return redirect("staff_service", public_id)


@staff("catalog.change_service")
def terminate(request: HttpRequest, public_id: str) -> HttpResponse:
    """Say what will happen, then do it."""
    one = _service(public_id)
    if request.method != "POST":
        metrics = [each for each in statistics.of_service(one, at=timezone.now()) if each.amount is not None]
        return render(
            request,
            "staff/terminate.html",
            {"section": "services", "service": one, "metrics": [each for each in metrics if each.is_enabled]},
        )
    try:
        ended = termination.terminate(service=one, on=timezone.localdate(), at=timezone.now())
    except (termination.CannotTerminate, CannotBill) as error:
        messages.error(request, str(error))
        return redirect("staff_service", public_id)
    if ended.warning:
        messages.warning(request, ended.warning)
    if ended.invoice:
        messages.info(request, f"{one} is terminated. Its last invoice is {ended.invoice.number}.")
    else:
        messages.info(request, f"{one} is terminated. There was nothing left to charge.")
    return redirect("staff_service", public_id)


@staff("invoicing.view_run")
def runs(request: HttpRequest) -> HttpResponse:
    """May this go out? What did the last one do?"""
    today = timezone.localdate()
    preview = None
    if request.method == "POST" and "bill" in request.POST:
        if not request.user.has_perm("invoicing.add_run"):
            messages.error(request, "Billing needs the right to add runs.")
        else:
            run = create_invoices(on=today, at=timezone.now()).run
            messages.info(request, f"{run.invoices} invoices issued for {run.services} terms; {run.parked} parked.")
        return redirect("staff_runs")
    if request.method == "POST":
        preview = create_invoices(on=today, at=timezone.now(), dry_run=True)
    page = Paginator(Run.objects.all(), PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "staff/runs.html",
        {
            "section": "runs",
            "page": page,
            "preview": preview,
            "due": Service.objects.due(today).count(),
            "today": today,
            "is_on": usage_invoicing.is_on(today),
            "parked": Parked.objects.select_related("service__client", "service__product").order_by("since")[:PAGE],
            "waiting": Deferral.objects.select_related("service__client", "setting__metric").order_by("since")[:PAGE],
        },
    )


@require_POST
@staff("invoicing.change_invoicingspan")
def switch_usage_invoicing(request: HttpRequest) -> HttpResponse:
    on = request.POST.get("on") == "1"
    usage_invoicing.switch(on=on, day=timezone.localdate())
    if on:
        messages.info(request, "Usage is billed again, for periods that begin today or later.")
    else:
        messages.warning(request, "Usage is not billed any more. Collecting and showing it goes on.")
    return redirect("staff_runs")


@require_GET
@staff("invoicing.view_invoice")
def invoices(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:100]
    rows = Invoice.objects.select_related("client")
    if query:
        rows = rows.filter(Q(number__icontains=query) | Q(client__name__icontains=query))
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "staff/invoices.html", {"section": "invoices", "page": page, "query": query})


@require_GET
@staff("invoicing.view_invoice")
def invoice(request: HttpRequest, pk: str) -> HttpResponse:
    one = get_object_or_404(Invoice.objects.select_related("client"), pk=pk)
    return render(
        request, "staff/invoice.html", {"section": "invoices", "invoice": one, "proofs": proof.of_invoice(one)}
    )


@require_GET
@staff("metering.view_tenant")
def unbilled(request: HttpRequest) -> HttpResponse:
    """Tenants that use something and that no running service claims."""
    page = Paginator(_unclaimed().select_related("server").order_by("server__name", "key"), PAGE).get_page(
        request.GET.get("page")
    )
    latest: dict[int, list[tuple[Metric, str]]] = {}
    metrics = Metric.objects.in_bulk()
    for row in Latest.objects.filter(tenant_id__in=[tenant.pk for tenant in page]):
        metric = metrics[row.metric_id]
        words = metric.unit.write(metric.unit.from_base(row.value), places=2)
        latest.setdefault(row.tenant_id, []).append((metric, words))
    rows = [(tenant, latest.get(tenant.pk, [])) for tenant in page]
    return render(request, "staff/unbilled.html", {"section": "unbilled", "page": page, "rows": rows})


def _unclaimed() -> QuerySet[Tenant]:
    running = Q(services__status__in=["pending", "active", "suspended"])
    return (
        Tenant.objects.filter(first_seen_at__isnull=False, missing_since=None)
        .alias(claims=Count("services", filter=running))
        .filter(claims=0)
    )


def _service(public_id: str) -> Service:
    return get_object_or_404(Service.objects.select_related("client", "product", "tenant__server"), public_id=public_id)
