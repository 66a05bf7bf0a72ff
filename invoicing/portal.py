"""The client portal. What belongs to another client does not exist: 404."""

from decimal import Decimal
from typing import cast

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from catalog import price_list
from catalog.models import ProductPrice, Service, User
from invoicing import proof, statistics
from invoicing.models import Invoice


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _own_services(request: HttpRequest) -> list[Service]:
    own = Service.objects.visible_to(_user(request)).select_related("client", "product", "tenant__server")
    return list(own.order_by("status", "name"))


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """What do I owe, what will it come to?"""
    if request.user.is_staff and not _user(request).clients.exists():
        return redirect("staff_home")
    own = _own_services(request)
    invoices = list(Invoice.objects.visible_to(_user(request))[:5])
    running = [service.next_due_on for service in own if service.next_due_on]
    return render(
        request,
        "portal/home.html",
        {
            "section": "overview",
            "now": timezone.now(),
            "services": (paired := _with_charges(own)),
            "totals": _totals(paired),
            "invoices": invoices,
            "next_due": min(running, default=None),
        },
    )


@require_GET
@login_required
def services(request: HttpRequest) -> HttpResponse:
    return render(
        request, "portal/services.html", {"section": "services", "services": _with_charges(_own_services(request))}
    )


@require_GET
@login_required
def service(request: HttpRequest, public_id: str) -> HttpResponse:
    """What does this cost me, and why?"""
    own = Service.objects.visible_to(_user(request)).select_related("client", "product", "tenant__server")
    one = get_object_or_404(own, public_id=public_id)
    metrics = [each for each in statistics.of_service(one, at=timezone.now()) if each.is_enabled]
    price = ProductPrice.objects.filter(product=one.product, cycle=one.cycle, currency=one.currency).first()
    return render(
        request,
        "portal/service.html",
        {
            "section": "services",
            "service": one,
            "metrics": metrics,
            "measured": [each for each in metrics if each.latest],
            "so_far": statistics.total(metrics),
            "price": price,
            "prices": price_list.of_service(one, timezone.localdate()),
        },
    )


@require_GET
@login_required
def invoices(request: HttpRequest) -> HttpResponse:
    page = Paginator(Invoice.objects.visible_to(_user(request)), 50).get_page(request.GET.get("page"))
    return render(request, "portal/invoices.html", {"section": "invoices", "page": page})


@require_GET
@login_required
def invoice(request: HttpRequest, pk: str) -> HttpResponse:
    """Is this right?"""
    one = get_object_or_404(Invoice.objects.visible_to(_user(request)), pk=pk)
    return render(
        request, "portal/invoice.html", {"section": "invoices", "invoice": one, "proofs": proof.of_invoice(one)}
    )


def _with_charges(own: list[Service]) -> list[tuple[Service, Decimal | None]]:
    """Pair services with what their usage costs so far; None where nothing is metered or priced."""
    charges = statistics.charges_so_far(own, today=timezone.localdate())
    return [(each, charges.get(each.pk) if each.tenant_id and each.is_billable else None) for each in own]


def _totals(paired: list[tuple[Service, Decimal | None]]) -> list[tuple[str, Decimal]]:
    """Add up by currency; a user of several clients may see several."""
    totals: dict[str, Decimal] = {}
    for each, charge in paired:
        totals[each.currency] = totals.get(each.currency, Decimal(0)) + (charge or 0)
    return sorted(totals.items())
