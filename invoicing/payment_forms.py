"""The form in which staff write down what was paid of an invoice."""

import re
import secrets
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from catalog.forms import NumberField
from catalog.money import minor_units, write
from invoicing.models import Payment

#: What a form is given so that it counts once, however often it is sent.
_TOKEN = re.compile(r"form-[A-Za-z0-9_-]{22}")


class PaymentForm(forms.Form):
    """How much came in, or with `is_refund` was given back, and when. `left` is what is left to pay, below zero what
    is owed."""

    use_required_attribute = False

    amount = forms.CharField()
    received_on = forms.DateField(
        label=_("Day"),
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        input_formats=["%Y-%m-%d"],
        error_messages={"required": _("Choose a date"), "invalid": _("Choose a date that exists")},
    )
    method = forms.CharField(
        label=_("How"),
        required=False,
        max_length=50,
        widget=forms.TextInput({"class": "form-control"}),
        help_text=_("Such as bank transfer."),
    )
    reference = forms.CharField(
        label=_("Reference"),
        required=False,
        max_length=200,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "off"}),
        help_text=_("What the bank or the payer calls it."),
    )
    overpay = forms.BooleanField(
        label=_("It is more than what is left"),
        required=False,
        widget=forms.CheckboxInput({"class": "form-check-input"}),
        help_text=_("What is too much is then owed to the client."),
    )
    direction = forms.CharField(required=False, widget=forms.HiddenInput())
    token = forms.CharField(required=False, widget=forms.HiddenInput())

    def __init__(self, *args: Any, left: Decimal, currency: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.left, self.currency, self.is_refund = left, currency, left < 0
        self.fields["direction"].initial = self._direction
        self.fields["amount"] = NumberField(
            places=minor_units(currency), digits=12, missing=_("Enter an amount"), label=_("Amount")
        )
        self.fields["token"].initial = f"form-{secrets.token_urlsafe(16)}"

    @property
    def _direction(self) -> str:
        return "refund" if self.is_refund else "payment"

    def clean_token(self) -> str:
        token: str = self.cleaned_data["token"]
        if not _TOKEN.fullmatch(token):
            raise ValidationError(_("Open the page again: this form is not whole."))
        return token

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        amount, was_shown = data.get("amount"), data.get("direction") or self._direction
        # A form that is sent again finds something else left than the first time; the payment says what it was.
        if Payment.objects.filter(key=data.get("token") or " ").exists():
            self.is_refund = was_shown == "refund"
        elif was_shown != self._direction:
            self.add_error(None, _("What is left of it changed meanwhile. Look at it again, then write it down."))
            self.data = {name: self.data[name] for name in self.data} | {"direction": self._direction}
        elif amount is not None and not amount:
            self.add_error("amount", _("Enter an amount"))
        elif amount is not None and amount > abs(self.left) and not data.get("overpay"):
            words = _("More than was paid too much: %(left)s") if self.is_refund else _("More than is left: %(left)s")
            self.add_error("amount", words % {"left": write(abs(self.left), self.currency)})
        return data
