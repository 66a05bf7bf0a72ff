"""The forms in which staff end, change and bill a service besides its runs."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import QueryDict
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog import missing_prices
from catalog.forms import NumberField
from catalog.models import Product, Service
from catalog.money import minor_units
from catalog.tenant_form import TenantForm
from invoicing.models import Line
from invoicing.termination import WhenDown
from metering import dates


def _reason(label: Any, help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=500,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Say why.")},
        help_text=help_text,
    )


class TerminationForm(forms.Form):
    """What to do when the server does not answer; if nothing is said, the last values are billed."""

    use_required_attribute = False

    when_down = forms.TypedChoiceField(
        label=gettext_lazy("If the server does not answer"),
        coerce=WhenDown,
        choices=[(each.value, each.value) for each in WhenDown],
        required=False,
        empty_value=WhenDown.LAST_VALUES,
        initial=WhenDown.LAST_VALUES,
        error_messages={"invalid_choice": gettext_lazy("Choose one.")},
    )


class DecisionForm(forms.Form):
    """Why a service is held, released or approved, if that is said."""

    reason = forms.CharField(label=gettext_lazy("Why"), max_length=1000, required=False)


class ChangeForm(TenantForm):
    """Another product or tenant for a living service."""

    product = forms.ModelChoiceField(
        Product.objects.none(),
        empty_label=None,
        widget=forms.Select({"class": "form-select"}),
        error_messages={
            "required": gettext_lazy("Choose a product."),
            "invalid_choice": gettext_lazy("Choose a product that is offered."),
        },
    )
    field_order = ("product", "server", "tenant")

    def __init__(self, data: QueryDict | None, *, service: Service) -> None:
        products = Product.objects.filter(
            Q(pk=service.product_id) | Q(is_active=True),
            Q(pk=service.product_id) | Q(prices__cycle=service.cycle, prices__currency=service.currency),
        )
        providers = products.exclude(provider="").values_list("provider", flat=True)
        super().__init__(data, service=service, providers=providers, initial={"product": service.product_id})
        self.fields["product"].queryset = products.distinct()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        product = data.get("product")
        if product is not None and product != self.service.product:
            self._check_prices(product)
        return data

    def _check_prices(self, product: Product) -> None:
        service = self.service
        for lacking in missing_prices.of_order(product, service.currency, service.cycle, dates.site_day(), service.pk):
            link = format_html('{} <a href="{}">{}</a>', lacking.sentence, lacking.address, _("Go there"))
            self.add_error("product", link)


class BackBillingForm(forms.Form):
    """Which metric's left-out usage is billed, the amount that was shown, and why."""

    use_required_attribute = False

    setting = forms.IntegerField(widget=forms.HiddenInput)
    amount = forms.DecimalField(max_digits=16, decimal_places=4, widget=forms.HiddenInput)
    reason = _reason(gettext_lazy("Why it is billed after all"), gettext_lazy("Kept with your name for good."))


class CreditForm(forms.Form):
    """How much of each line of an invoice is given back, and why."""

    use_required_attribute = False

    reason = _reason(gettext_lazy("Why"), gettext_lazy("The client reads it on the credit note."))

    def __init__(self, *args: Any, lines: list[tuple[Line, Decimal]], currency: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lines = lines
        for line, left in lines:
            self.fields[amount_name(line)] = NumberField(
                places=minor_units(currency), digits=12, required=False, label=line.title, disabled=not left
            )

    @property
    def rows(self) -> list[tuple[Line, Decimal, forms.BoundField]]:
        return [(line, left, self[amount_name(line)]) for line, left in self.lines]

    @property
    def amounts(self) -> dict[UUID, Decimal]:
        """What is given back, by line, of a valid form."""
        found = {line.pk: self.cleaned_data.get(amount_name(line)) for line, _left in self.lines}
        return {pk: amount for pk, amount in found.items() if amount}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for line, left in self.lines:
            if (data.get(amount_name(line)) or 0) > left:
                self.add_error(amount_name(line), _("More than is left of it"))
        if not self.errors and not any(data.get(amount_name(line)) for line, _left in self.lines):
            raise ValidationError(_("Enter how much of which line is given back."))
        return data


class VoidForm(forms.Form):
    """Why an invoice is voided, and what the new one came to on the page."""

    use_required_attribute = False

    total = forms.DecimalField(max_digits=16, decimal_places=4, widget=forms.HiddenInput)
    reason = _reason(
        gettext_lazy("Why"), gettext_lazy("The client reads it on the credit note and on the new invoice.")
    )


def amount_name(line: Line) -> str:
    """The field of how much of a line is given back."""
    return f"amount-{line.pk}"
