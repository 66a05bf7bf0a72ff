"""Staff pages about services, invoices and runs."""

from collections.abc import Iterable
from datetime import date
from typing import cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from catalog import missing_prices, orders
from catalog.missing_prices import Missing
from catalog.models import OVER, Client, Override, Product, ProductPrice, Service, UsedOfLimit, User
from catalog.overrides import ONE_DAY, earliest_end
from invoicing import invoice_page, review, searching, service_lists, statistics, timelines, usage_invoicing
from invoicing.invoice_lists import Chosen
from invoicing.models import Decision, Deferral, DraftInvoice, Invoice, Parked
from invoicing.panel import Panel
from invoicing.today import Today
from metering import collection, dates, lookup
from metering.access import staff
from metering.models import Collection
from metering.paging import CappedPaginator
from metering.providers import base
from metering.server_lock import Busy

PAGE = 50


@require_GET
@staff("catalog.view_service", "metering.view_server", "invoicing.view_run")
def home(request: HttpRequest) -> HttpResponse:
    """What needs a person today?"""
    user = cast(User, request.user)
    return render(request, "staff/home.html", {"section": "today", "today": Today(user, timezone.now())})


@require_GET
@staff("catalog.view_product")
def missing(request: HttpRequest) -> HttpResponse:
    """Which prices keep services from being billed, now or soon?"""
    parked = list(Parked.objects.select_related("service__client").order_by("since"))
    rows = [(each, _parked_for(each, parked)) for each in missing_prices.of_living_services(dates.site_day())]
    return render(
        request,
        "staff/missing_prices.html",
        {"section": "missing", "rows": rows, "missing": [each for each, _missing in rows]},
    )


def _parked_for(lacking: Missing, parked: Iterable[Parked]) -> list[Parked]:
    return [each for each in parked if lacking.is_lacked_by(each.service)]


@require_GET
@staff("catalog.view_service")
def services(request: HttpRequest) -> HttpResponse:
    """All of them, those that fit a word or are in a state, or those of a client or a product."""
    query, of_client, of_product = lookup.cleaned(request.GET.get("q")), _of_client(request), None
    state = request.GET.get("state", "")
    rows = review.with_waiting(service_lists.in_state(searching.listed_services(query), state))
    rows = rows.select_related("client", "product", "tenant__server")
    if of_client:
        rows = rows.filter(client=of_client)
    if pk := lookup.number(request.GET.get("product")):
        of_product = get_object_or_404(Product, pk=pk)
        rows = rows.filter(product=of_product)
    page = CappedPaginator(rows.defer("tenant__server__credentials"), PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "staff/services.html",
        {
            "section": "services",
            "page": page,
            "query": query,
            "states": service_lists.states(state),
            "state": state if state in service_lists.STATES else "",
            "of_client": of_client,
            "of_product": of_product,
        },
    )


@require_GET
@staff("catalog.view_service")
def service(request: HttpRequest, public_id: str) -> HttpResponse:
    """Why does this client pay that?"""
    one = _service(public_id)
    metrics = statistics.of_service(one, at=timezone.now())
    enabled = [each for each in metrics if each.is_enabled]
    decisions = list(Decision.objects.filter(service=one).select_related("by")[:5])
    return render(
        request,
        "staff/service.html",
        {
            "section": "services",
            "service": one,
            "used_of_limit": UsedOfLimit.objects.filter(service=one).first(),
            "metrics": [(each, Panel(each)) for each in metrics],
            "enabled": enabled,
            "so_far": statistics.total(enabled) if any(each.amount is not None for each in enabled) else None,
            "stale": [each for each in enabled if each.is_stale],
            "price": ProductPrice.objects.filter(product=one.product, cycle=one.cycle, currency=one.currency).first(),
            "invoices": Invoice.objects.of_service(one).with_state(dates.site_day())[:10],
            "parked": _parked(one),
            "decisions": decisions,
            "is_held": bool(decisions) and decisions[0].verdict == Decision.Verdict.HOLD,
            "is_due": Service.objects.due(dates.site_day()).filter(pk=one.pk).exists(),
            "drafts": DraftInvoice.objects.open_of(one)[:PAGE],
            "waiting": Deferral.objects.filter(service=one).select_related("setting__metric"),
            "agreements": _agreements(one),
            "today": dates.site_day(),
            "is_over": one.status in OVER,
            "has_begun": orders.has_begun(one, dates.site_day()),
            "is_asked": one.tenant is not None and base.asks(one.tenant.server.provider),
            "timeline": timelines.of_service(one, own_page=request.path),
        },
    )


def _agreements(service: Service) -> list[tuple[Override, str, date]]:
    """Return what was agreed for a service, newest first by metric, with what it is today and its earliest last day."""
    today = dates.site_day()
    rows = Override.objects.filter(service=service).order_by("setting__metric__display_name", "-start")
    rows = rows.select_related("setting__metric", "created_by", "ended_by").prefetch_related("prices")
    return [(each, each.state(today), earliest_end(each, today) - ONE_DAY) for each in rows]


@require_POST
@staff("metering.add_collection")
def refresh(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask the server for this tenant alone."""
    one = _service(public_id)
    if one.tenant is None:
        messages.error(request, _("%(service)s has no tenant, so there is nothing to ask for.") % {"service": one})
        return redirect("staff_service", public_id)
    if not base.asks(one.tenant.server.provider):
        told = {"server": one.tenant.server}
        messages.info(request, _("%(server)s is not asked: its usage is pushed or imported.") % told)
        return redirect("staff_service", public_id)
    try:
        record = collection.collect(server=one.tenant.server, as_of=timezone.now(), tenant=one.tenant.key)
    except Busy:
        told = {"server": one.tenant.server}
        messages.warning(request, _("%(server)s is being collected just now. Look again in a moment.") % told)
        return redirect("staff_service", public_id)
    if record.status == Collection.Status.FAILED:
        refused = {"server": one.tenant.server, "error": record.error}
        messages.error(request, _("%(server)s could not be asked: %(error)s") % refused)
    elif record.rejected:
        reasons = "; ".join(f"{problem['metric']}: {problem['reason']}" for problem in record.problems[:3])
        read = ngettext(
            "%(count)s values read, %(refused)s refused. %(reasons)s",
            "%(count)s values read, %(refused)s refused. %(reasons)s",
            record.values_seen,
        )
        messages.warning(request, read % {"count": record.values_seen, "refused": record.rejected, "reasons": reasons})
    else:
        read = ngettext(
            "%(count)s values read from %(server)s.", "%(count)s values read from %(server)s.", record.values_seen
        )
        messages.info(request, read % {"count": record.values_seen, "server": one.tenant.server})
    return redirect("staff_service", public_id)


@require_POST
@staff("invoicing.change_invoicingspan")
def switch_usage_invoicing(request: HttpRequest) -> HttpResponse:
    on = request.POST.get("on") == "1"
    usage_invoicing.switch(on=on, day=dates.site_day())
    if on:
        messages.info(request, _("Usage is billed again, for periods that begin today or later."))
    else:
        messages.warning(request, _("Usage is not billed any more. Collecting and showing it goes on."))
    return redirect("staff_runs")


@require_GET
@staff("invoicing.view_invoice")
def invoices(request: HttpRequest) -> HttpResponse:
    """All of them, those that fit a word, or those of a client, the newest first."""
    query, of_client = lookup.cleaned(request.GET.get("q")), _of_client(request)
    chosen = Chosen.of(request.GET.dict())
    rows = searching.listed_invoices(query).select_related("client")
    if of_client:
        rows = rows.filter(client=of_client)
    rows = chosen.narrow(rows, dates.site_day())
    page = CappedPaginator(rows, PAGE).get_page(request.GET.get("page"))
    context = {"section": "invoices", "page": page, "query": query, "of_client": of_client, "chosen": chosen}
    return render(request, "staff/invoices.html", context)


def _of_client(request: HttpRequest) -> Client | None:
    """The client that a list is asked for, if it is asked for one."""
    pk = lookup.number(request.GET.get("client"))
    return get_object_or_404(Client, pk=pk) if pk else None


@require_GET
@staff("invoicing.view_invoice")
def invoice(request: HttpRequest, pk: str) -> HttpResponse:
    today = dates.site_day()
    one = get_object_or_404(Invoice.objects.select_related("client").with_state(today), pk=pk)
    section = {"section": "credit_notes" if one.is_credit_note else "invoices"}
    return render(request, "staff/invoice.html", section | invoice_page.of(one, Invoice.objects.all(), today))


def _parked(one: Service) -> Parked | None:
    """Why a service is not billed, with `lacking`, the price that it lacks, if it is a price."""
    parked = Parked.objects.filter(service=one).first()
    if parked is not None:
        found = missing_prices.of_order(one.product, one.currency, one.cycle, dates.site_day(), one.pk)
        parked.lacking = next(iter(found), None)  # type: ignore[attr-defined]
    return parked


def _service(public_id: str) -> Service:
    return get_object_or_404(Service.objects.select_related("client", "product", "tenant__server"), public_id=public_id)
