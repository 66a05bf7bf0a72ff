"""The form for what a product charges above its soft limits."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.forms import NumberField
from catalog.models import OverageTerms
from catalog.overage import Sheet
from metering import dates

KINDS = ("disk", "bandwidth")


class OverageForm(forms.Form):
    """Limits and prices per unit. An empty limit charges nothing of its kind; its prices are then not needed."""

    use_required_attribute = False

    is_on = forms.BooleanField(
        label=gettext_lazy("Charge usage above the limits"),
        required=False,
        widget=forms.CheckboxInput({"class": "form-check-input"}),
    )
    unit_code = forms.ChoiceField(label=gettext_lazy("Unit"), choices=OverageTerms.UNITS)
    disk_limit = NumberField(label=gettext_lazy("Space"), places=6, required=False)
    bandwidth_limit = NumberField(label=gettext_lazy("Traffic per month"), places=6, required=False)
    has_own_invoice = forms.TypedChoiceField(
        label=gettext_lazy("Charge"),
        choices=[
            ("own", gettext_lazy("on an invoice of its own, on the last day of the month")),
            ("next", gettext_lazy("on the next invoice")),
        ],
        coerce=lambda value: value == "own",
    )
    effective_from = forms.TypedChoiceField(label=gettext_lazy("From"), coerce=date.fromisoformat)
    after = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, currencies: Sequence[str], months: Sequence[date], **options: Any) -> None:
        super().__init__(*args, **options)
        self.currencies = currencies
        labels = {
            "disk": _("Space, price per unit above it in %(currency)s"),
            "bandwidth": _("Traffic, price per unit above it in %(currency)s"),
        }
        for currency in currencies:
            for kind in KINDS:
                label = labels[kind] % {"currency": currency}
                field = NumberField(label=label, places=12, digits=12, required=False)
                field.widget.attrs["aria-label"] = label
                self.fields[f"{kind}-{currency}"] = field
        # They stand in a table, whose heads are no labels.
        self.fields["disk_limit"].widget.attrs["aria-label"] = _("Soft limit of space")
        self.fields["bandwidth_limit"].widget.attrs["aria-label"] = _("Soft limit of traffic per month")
        self.fields["effective_from"].choices = [(str(month), dates.full_day(month)) for month in months]  # type: ignore[attr-defined]
        for name in ("unit_code", "has_own_invoice", "effective_from"):
            self.fields[name].widget.attrs["class"] = "form-select"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("is_on"):
            return data
        limits = {kind: data.get(f"{kind}_limit") for kind in KINDS}
        if not self.errors and all(limit is None for limit in limits.values()):
            self.add_error("disk_limit", _("Enter a limit for space, for traffic or for both. 0 charges all of it"))
        for kind, limit in limits.items():
            for currency in self.currencies:
                name = f"{kind}-{currency}"
                if limit is not None and name not in self.errors and data.get(name) is None:
                    self.add_error(
                        name, _("Enter the price in %(currency)s; 0 charges nothing") % {"currency": currency}
                    )
        return data

    @property
    def sheet(self) -> Sheet:
        data = self.cleaned_data
        prices = {currency: self._prices(currency) for currency in self.currencies}
        return Sheet(
            is_on=data["is_on"],
            unit_code=data["unit_code"],
            disk_limit=data["disk_limit"],
            bandwidth_limit=data["bandwidth_limit"],
            has_own_invoice=data["has_own_invoice"],
            prices={currency: both for currency, both in prices.items() if any(one is not None for one in both)},
        )

    def _prices(self, currency: str) -> tuple[Decimal | None, Decimal | None]:
        return self.cleaned_data[f"disk-{currency}"], self.cleaned_data[f"bandwidth-{currency}"]

    @property
    def rows(self) -> list[tuple[str, BoundField, BoundField]]:
        """The prices, by currency."""
        return [(currency, self[f"disk-{currency}"], self[f"bandwidth-{currency}"]) for currency in self.currencies]


def first_typed(terms: OverageTerms | None) -> dict[str, Any]:
    """Return what the form shows at first: what holds, or nothing charged."""
    if terms is None:
        return {"is_on": False, "unit_code": "GiB", "has_own_invoice": "next", "after": 0}
    shown: dict[str, Any] = {
        "is_on": terms.is_on,
        "unit_code": terms.unit_code,
        "disk_limit": _plain(terms.disk_limit),
        "bandwidth_limit": _plain(terms.bandwidth_limit),
        "has_own_invoice": "own" if terms.has_own_invoice else "next",
        "after": terms.number,
    }
    for row in terms.prices.all():
        shown |= {f"disk-{row.currency}": _plain(row.disk), f"bandwidth-{row.currency}": _plain(row.bandwidth)}
    return shown


def _plain(value: Decimal | None) -> str:
    if value is None:
        return ""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
