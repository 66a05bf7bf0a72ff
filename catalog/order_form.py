"""The forms in which staff order a service for a client, and let it begin."""

from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from catalog import missing_prices
from catalog.client_forms import client_called, offered_clients, refuse_without_price
from catalog.models import Client, Product, Service
from catalog.orders import Order
from catalog.tenant_form import TenantForm
from catalog.terms import Cycle
from catalog.wording import CYCLES
from metering import dates

#: As what a service begins.
BEGINS = {
    Service.Status.ACTIVE: _("Active: it is billed from its first day on"),
    Service.Status.PENDING: _("Pending: nothing is billed until somebody makes it active"),
}
SELECT = {"class": "form-select"}
TEXT = {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}


class DayInput(forms.DateInput):
    input_type = "date"


class ServiceForm(forms.Form):
    """What a service is to be: whose, of which product, how often it is billed and from when on."""

    use_required_attribute = False

    client = forms.CharField(
        label=_("Client"),
        max_length=200,
        help_text=_("Name or e-mail address."),
        widget=forms.TextInput({**TEXT, "list": "clients"}),
        error_messages={"required": _("Enter the name of a client.")},
    )
    product = forms.ModelChoiceField(
        Product.objects.filter(is_active=True),
        label=_("Product"),
        empty_label=_("choose one"),
        widget=forms.Select(SELECT),
        error_messages={
            "required": _("Choose a product."),
            "invalid_choice": _("Choose a product that is offered."),
        },
    )
    cycle = forms.ChoiceField(
        label=_("Billing cycle"),
        choices=[(cycle.value, CYCLES[cycle]) for cycle in Cycle],
        initial=Cycle.MONTHLY,
        widget=forms.Select(SELECT),
        error_messages={"required": _("Choose a cycle."), "invalid_choice": _("Choose a cycle.")},
    )
    start = forms.DateField(
        label=_("First day"),
        help_text=_("Its terms are counted from that day, and the recurring price is due on it."),
        widget=DayInput({"class": "form-control"}, format="%Y-%m-%d"),
        error_messages={"required": _("Enter a day.")},
    )
    name = forms.CharField(
        label=_("Name"),
        max_length=200,
        help_text=_("As the client knows it: a domain, a database."),
        widget=forms.TextInput(TEXT),
        error_messages={"required": _("Enter a name.")},
    )

    @property
    def offered(self) -> Any:
        """Clients to choose from."""
        return offered_clients()

    @property
    def order(self) -> Order:
        """What a valid form asks for."""
        data = self.cleaned_data
        return Order(data["client"], data["product"], Cycle(data["cycle"]), data["start"], data["name"])

    def clean_client(self) -> Client | None:
        return client_called(self.cleaned_data["client"]) if self.fields["client"].required else None


class OrderForm(ServiceForm):
    """Refuses what could not be billed, with a link to where the price that is missing is added."""

    status = forms.ChoiceField(
        label=_("State"),
        choices=list(BEGINS.items()),
        initial=Service.Status.ACTIVE,
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose one."), "invalid_choice": _("Choose one.")},
    )
    #: By which the service is known: a form that is sent twice adds it once.
    public_id = forms.UUIDField(required=False, initial=uuid4, widget=forms.HiddenInput())

    @property
    def order(self) -> Order:
        return replace(super().order, public_id=self.cleaned_data["public_id"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not {"client", "product", "cycle"} - data.keys():
            currency, today = data["client"].currency, dates.site_day()
            refuse_without_price(missing_prices.of_order(data["product"], currency, data["cycle"], today))
        return data


class BeginForm(TenantForm):
    """On which day a service begins that has not, and as which tenant."""

    start = forms.DateField(
        label=_("First day"),
        help_text=_(
            "Its terms are counted from that day, and the recurring price is due on it. What its tenant used before is"
            " not billed, but a calendar month that its server totals counts whole."
        ),
        widget=DayInput({"class": "form-control"}, format="%Y-%m-%d"),
        error_messages={"required": _("Enter a day.")},
    )
    field_order = ("start", "server", "tenant")

    def __init__(self, data: QueryDict | None, *, service: Service, today: date) -> None:
        provider = service.product.provider
        initial = {"start": max(service.anchor, today)}
        super().__init__(data, service=service, providers=[provider], initial=initial)
        if not provider:  # nothing of it is measured
            del self.fields["server"], self.fields["tenant"]
