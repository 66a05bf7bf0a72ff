"""The staff pages on which a service is ordered for a client, and begins."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from catalog import orders
from catalog.models import Client, Service
from catalog.order_form import BeginForm, OrderForm
from catalog.orders import CannotOrder
from metering import dates, lookup
from metering.access import staff


@staff("catalog.add_service")
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """Who gets what, from when on?"""
    today, client = dates.site_day(), _asked_for(request)
    form = OrderForm(request.POST or None, initial={"client": client and client.name, "start": today})
    if request.method == "POST" and form.is_valid():
        try:
            service = orders.place(form.order, today=today, status=form.cleaned_data["status"])
        except CannotOrder as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("%(service)s is added.") % {"service": service})
            return redirect("staff_service", service.public_id)
    return render(request, "staff/service_add.html", {"section": "services", "form": form, "client": client})


@staff("catalog.change_service")
@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """On which day does a service that has not begun begin, and as which tenant?"""
    services = Service.objects.select_related("client", "product", "tenant__server")
    one, today = get_object_or_404(services, public_id=public_id), dates.site_day()
    form = BeginForm(request.POST or None, service=one, today=today)
    if request.method == "POST" and form.is_valid():
        start = form.cleaned_data["start"]
        try:
            orders.begin(one, start=start, tenant=form.cleaned_data["chosen"], today=today)
        except CannotOrder as error:
            form.add_error(None, str(error))
        else:
            messages.success(
                request,
                _("%(service)s begins on %(day)s.")
                % {"service": one, "day": dates.full_day(form.cleaned_data["start"])},
            )
            return redirect("staff_service", public_id)
    shown = {"section": "services", "service": one, "form": form, "has_begun": orders.has_begun(one, today)}
    return render(request, "staff/service_begin.html", shown)


def _asked_for(request: HttpRequest) -> Client | None:
    """The client whose page led here."""
    pk = lookup.number(request.GET.get("client"))
    return Client.objects.filter(pk=pk).first() if pk else None
