"""The staff page on which a service is ordered for a client."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from catalog import orders
from catalog.models import Client
from catalog.order_form import OrderForm
from catalog.orders import CannotOrder
from metering import lookup
from metering.access import staff


@staff("catalog.add_service")
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """Who gets what, from when on?"""
    today, client = timezone.localdate(), _asked_for(request)
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


def _asked_for(request: HttpRequest) -> Client | None:
    """The client whose page led here."""
    pk = lookup.number(request.GET.get("client"))
    return Client.objects.filter(pk=pk).first() if pk else None
