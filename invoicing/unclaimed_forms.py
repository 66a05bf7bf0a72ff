"""The forms about unbilled usage: which of it is shown and priced, and to which service a tenant is attached."""

from datetime import date
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.models import OVER, Product, ProductPrice, Service
from catalog.order_form import SELECT, TEXT, DayInput, ServiceForm
from catalog.orders import Order
from catalog.typed import home_first
from metering.models import Server, Tenant


class FilterForm(forms.Form):
    """Which tenants are listed, and under which product their usage is priced. What it does not know, it leaves out."""

    use_required_attribute = False

    q = forms.CharField(
        label=gettext_lazy("Tenant"),
        max_length=100,
        required=False,
        widget=forms.TextInput({**TEXT, "type": "search", "placeholder": gettext_lazy("part of its name")}),
    )
    server = forms.ModelChoiceField(
        Server.objects.defer("credentials", "settings"),
        required=False,
        empty_label=gettext_lazy("all servers"),
        widget=forms.Select(SELECT),
    )
    product = forms.ModelChoiceField(
        Product.objects.exclude(provider=""),
        label=gettext_lazy("Priced as"),
        required=False,
        empty_label=gettext_lazy("not priced"),
        widget=forms.Select(SELECT),
    )
    currency = forms.ChoiceField(label=gettext_lazy("In"), required=False, widget=forms.Select(SELECT))

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        known = ProductPrice.objects.order_by().values_list("currency", flat=True).distinct()
        self.currencies = home_first(known)
        self.fields["currency"].choices = [(code, code) for code in self.currencies]  # type: ignore[attr-defined]
        self.is_valid()

    def chosen(self, name: str) -> Any:
        return self.cleaned_data.get(name)

    @property
    def chosen_currency(self) -> str:
        return str(self.chosen("currency") or (self.currencies[0] if self.currencies else ""))


class AttachForm(ServiceForm):
    """A service without a tenant, or a new one, and from which day on usage is billed."""

    to = forms.ChoiceField(
        choices=[("existing", "existing"), ("new", "new")],
        error_messages={"required": gettext_lazy("Choose one."), "invalid_choice": gettext_lazy("Choose one.")},
    )
    service = forms.ModelChoiceField(
        Service.objects.none(),
        empty_label=gettext_lazy("choose one"),
        widget=forms.Select(SELECT),
        error_messages={
            "required": gettext_lazy("Choose a service."),
            "invalid_choice": gettext_lazy("Choose a service that is offered."),
        },
    )
    since = forms.DateField(
        widget=DayInput({"class": "form-control"}, format="%Y-%m-%d"),
        error_messages={"required": gettext_lazy("Enter a day.")},
    )

    def __init__(self, data: QueryDict | None, *, tenant: Tenant, since: date, product: str, may_add: bool) -> None:
        initial = {"since": since, "start": since, "name": tenant.key, "product": product}
        super().__init__(data, initial=initial)
        self.may_add = may_add
        provider = tenant.server.provider
        free = Service.objects.filter(tenant=None, product__provider=provider).exclude(status__in=OVER)
        free = free.select_related("client", "product").order_by("client__name", "name")
        self.has_free = free.exists()
        service, chosen = self.fields["service"], self.fields["product"]
        service.queryset = free  # type: ignore[attr-defined]
        service.label_from_instance = _service_words  # type: ignore[attr-defined]
        chosen.queryset = Product.objects.filter(provider=provider, is_active=True)  # type: ignore[attr-defined]
        self.initial["to"] = "existing" if self.has_free or not may_add else "new"
        to = self.data.get("to")
        service.required = to == "existing"
        for name in ServiceForm.base_fields:
            self.fields[name].required = to == "new"

    @property
    def of_new(self) -> list[forms.BoundField]:
        """The fields that say what a new service is to be."""
        return [self[name] for name in ServiceForm.base_fields]

    @property
    def target(self) -> Service | Order:
        """The service, or what it is to be, of a valid form."""
        return self.cleaned_data["service"] if self.cleaned_data["to"] == "existing" else self.order

    def clean_to(self) -> str:
        to = str(self.cleaned_data["to"])
        if to == "new" and not self.may_add:
            raise forms.ValidationError(_("You may not add services. Choose an existing one."))
        return to


def _service_words(service: Service) -> str:
    return f"{service.client}: {service.name} ({service.product}, {service.get_status_display().lower()})"
