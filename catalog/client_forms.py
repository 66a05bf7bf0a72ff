"""The form of a client, on its own page and in Django's admin."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from catalog import missing_prices
from catalog.languages import languages
from catalog.missing_prices import Missing
from catalog.models import Client


class ClientForm(forms.ModelForm[Client]):
    """Lets a client be billed in another currency only once all that it has is priced in it."""

    class Meta:
        model = Client
        fields = ("name", "email", "address", "tax_number", "currency", "language")
        labels = {  # noqa: RUF012
            "name": _("Name"),
            "email": _("Email address"),
            "address": _("Address"),
            "tax_number": _("Tax number"),
            "currency": _("Currency"),
            "language": _("Language"),
        }
        help_texts = {  # noqa: RUF012
            "name": _("As invoices state it."),
            "email": _("Invoices and reminders go there. Empty: to nobody."),
            "tax_number": _("Such as a VAT number; invoices state it."),
            "currency": _("Three letters, such as USD. All that it has must be priced in it."),
            "language": _("Of its invoices and mails."),
        }
        error_messages = {  # noqa: RUF012
            "currency": {"max_length": _("Three letters, such as USD.")},
        }
        widgets = {  # noqa: RUF012
            "address": forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "class": "tp-prose"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "language" in self.fields:  # in Django's admin, whoever may only look gets no fields
            self.fields["language"].choices = [("", _("the site's")), *languages()]  # type: ignore[attr-defined]
        if self.instance._state.adding:
            self.initial.setdefault("currency", settings.DEFAULT_CURRENCY)

    def clean_currency(self) -> str:
        currency = str(self.cleaned_data["currency"]).upper()
        if self.instance.pk and currency != self.initial.get("currency"):
            refuse_without_price(missing_prices.of_currency(self.instance, currency, timezone.localdate()))
        return currency


def refuse_without_price(missing: Iterable[Missing]) -> None:
    """Raise ValidationError when something has no price, with a link to where each is added."""
    words = [format_html('{} <a href="{}">{}</a>', each.sentence, each.address, _("Go there")) for each in missing]
    if words:
        raise forms.ValidationError([forms.ValidationError(each) for each in words])
