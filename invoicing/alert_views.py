"""Alerts and budgets: those of a client in the portal, and those of a product for staff."""

from typing import Any, cast
from uuid import UUID

from django.conf import settings as site
from django.contrib import messages
from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from catalog.access import client_user, clients_of, may
from catalog.models import OVER, Client, MetricSetting, Product, Service, User
from catalog.permissions import Deed
from invoicing import alerts
from invoicing.alert_forms import AlertForm, BudgetForm, initial_of
from invoicing.models import Alert, Crossing
from metering import dates
from metering.access import staff

#: Crossings that are over and still listed.
LAST = 10


@require_GET
@client_user
def portal_alerts(request: HttpRequest) -> HttpResponse:
    """Who tells me before it gets expensive?"""
    clients = clients_of(request)
    told = Crossing.objects.of_clients(clients)
    rows = Alert.objects.of_clients(clients).filter(is_active=True)
    own = _with_open(rows, told).order_by("client__name", "service__name", "pk")
    able = set(clients_of(request, Deed.ALERTS))
    services = Service.objects.of_clients(able).exclude(status__in=OVER).select_related("product")
    over = told.filter(ended_at__isnull=False)
    return render(
        request,
        "portal/alerts.html",
        {
            "section": "alerts",
            # What was reached comes first
            "alerts": sorted(own, key=lambda one: not one.lasting),
            "able": able,
            "budgets": [one for one in Client.objects.filter(pk__in=able) if not _has_budget(one, own)],
            "has_several_clients": len(clients) > 1,
            "services": services.order_by("name")[:100],
            "over": over.select_related("alert__setting__metric", "service")[:LAST],
        },
    )


@require_http_methods(["GET", "POST"])
@may(Deed.ALERTS)
def new_budget(request: HttpRequest, client: int) -> HttpResponse:
    """A bound for everything that a client uses."""
    one = get_object_or_404(Client, pk=client, pk__in=clients_of(request, Deed.ALERTS))
    form = BudgetForm(request.POST or None, currency=one.currency)
    if request.method == "POST" and form.is_valid():
        _keep(request, Alert(client=one, **form.said), form.said)
        return redirect("portal_alerts")
    return render(request, "portal/alert.html", {"section": "alerts", "form": form, "client": one})


@require_http_methods(["GET", "POST"])
@may(Deed.ALERTS)
def new_alert(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """A bound for a metric of a service, or for its charges."""
    own = Service.objects.of_clients(clients_of(request, Deed.ALERTS)).select_related("client", "product")
    one = get_object_or_404(own.exclude(status__in=OVER), public_id=public_id)
    form = _form(request, _enabled(one.product), [one.currency], {"about": request.GET.get("metric", "")})
    if request.method == "POST" and form.is_valid():
        _keep(request, Alert(client=one.client, service=one, **form.said), form.said)
        return redirect("portal_alerts")
    return render(request, "portal/alert.html", {"section": "alerts", "form": form, "service": one})


@require_http_methods(["GET", "POST"])
@may(Deed.ALERTS)
def edit_alert(request: HttpRequest, pk: int) -> HttpResponse:
    own = Alert.objects.of_clients(clients_of(request, Deed.ALERTS)).filter(is_active=True)
    one = get_object_or_404(own.select_related("client", "service__client", "service__product"), pk=pk)
    form: BudgetForm | AlertForm
    if one.service is None:
        assert one.client is not None
        form = BudgetForm(request.POST or None, currency=one.client.currency, initial=initial_of(one))
    else:
        form = _form(request, _enabled(one.service.product), [one.service.currency], initial_of(one))
    if request.method == "POST" and form.is_valid():
        if alerts.change(one, form.said, at=timezone.now()):
            messages.info(request, _("Saved."))
        else:
            messages.warning(request, _("This alert was taken away meanwhile."))
        return redirect("portal_alerts")
    context = {"section": "alerts", "form": form, "alert": one, "service": one.service, "client": one.client}
    return render(request, "portal/alert.html", context)


@require_POST
@may(Deed.ALERTS)
def delete_alert(request: HttpRequest, pk: int) -> HttpResponse:
    own = Alert.objects.filter(client__in=clients_of(request, Deed.ALERTS), is_active=True)
    get_object_or_404(own, pk=pk).delete()
    messages.info(request, _("Taken away. Nobody is told any more."))
    return redirect("portal_alerts")


@require_http_methods(["GET", "POST"])
@staff("invoicing.view_alert")
def product_alerts(request: HttpRequest, pk: int) -> HttpResponse:
    """Which services of a product use more than they should?"""
    product = get_object_or_404(Product, pk=pk)
    may_add = request.user.has_perm("invoicing.add_alert")
    form = _form(request, _enabled(product), _currencies(product), {}) if may_add else None
    if request.method == "POST" and form is None:
        return HttpResponse(status=403)
    if request.method == "POST" and form is not None and form.is_valid():
        _keep(request, Alert(product=product, **form.said), form.said)
        return redirect("staff_product_alerts", pk)
    crossed = Crossing.objects.filter(alert__product=product, ended_at=None).select_related(
        "alert__setting__metric", "service__client"
    )
    return render(
        request,
        "staff/product_alerts.html",
        {
            "section": "products",
            "product": product,
            "form": form,
            "alerts": Alert.objects.filter(product=product).select_related("setting__metric", "created_by"),
            "crossings": crossed[:100],
        },
    )


@require_POST
@staff("invoicing.delete_alert")
def delete_product_alert(request: HttpRequest, pk: int, alert: int) -> HttpResponse:
    get_object_or_404(Alert, pk=alert, product=pk).delete()
    messages.info(request, _("Taken away. Nobody is told any more."))
    return redirect("staff_product_alerts", pk)


def _with_open(rows: QuerySet[Alert], crossings: QuerySet[Crossing]) -> QuerySet[Alert]:
    lasting = crossings.filter(ended_at=None).select_related("service")
    return rows.select_related("client", "service", "setting__metric").prefetch_related(
        Prefetch("crossings", lasting, to_attr="lasting")
    )


def _has_budget(client: Client, own: QuerySet[Alert]) -> bool:
    return any(one.client_id == client.pk and one.service_id is None for one in own)


def _enabled(product: Product) -> list[MetricSetting]:
    settings = MetricSetting.objects.filter(product=product).with_pricing().order_by("metric__display_name", "pk")
    return [one for one in settings if one.is_enabled]


def _currencies(product: Product) -> list[str]:
    """In which money its services are billed, those of most clients first."""
    found = Client.objects.filter(services__product=product).order_by("currency").distinct()
    return list(found.values_list("currency", flat=True)) or [site.DEFAULT_CURRENCY]


def _form(
    request: HttpRequest, settings: list[MetricSetting], currencies: list[str], initial: dict[str, Any]
) -> AlertForm:
    return AlertForm(
        request.POST or None,
        settings=settings,
        currencies=currencies,
        today=dates.site_day(),
        initial=initial,
    )


def _keep(request: HttpRequest, alert: Alert, said: dict[str, Any]) -> None:
    """Watch from now on. A form that is sent twice makes one alert."""
    about = {"client": alert.client, "service": alert.service, "product": alert.product}
    same = Alert.objects.filter(is_active=True, **about, **said)
    with transaction.atomic():
        # Of two that somebody sends at once the second waits here, and then finds the first.
        by = User.objects.select_for_update(of=("self",), no_key=True).get(pk=cast(User, request.user).pk)
        if not same.exists():
            alert.created_at, alert.created_by = timezone.now(), by
            alert.save(force_insert=True)
    messages.info(request, _("Saved. It is looked at every hour."))
