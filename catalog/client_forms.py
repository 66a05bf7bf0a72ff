"""The form of a client, on its own page and in Django's admin."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from catalog import missing_prices
from catalog.languages import languages
from catalog.missing_prices import Missing
from catalog.models import Client
from metering import dates

#: As many names of clients are offered while one types.
OFFERED = 500
#: What the tax rate of a client does.
ADDED = _("Added to the sum of its invoices from now on; those that were issued stay as they are.")


class ClientForm(forms.ModelForm[Client]):
    """Lets a client be billed in another currency only once all that it has is priced in it."""

    class Meta:
        model = Client
        fields = ("name", "email", "address", "tax_number", "tax_rate", "currency", "language")
        labels = {  # noqa: RUF012
            "name": _("Name"),
            "email": _("Email address"),
            "address": _("Address"),
            "tax_number": _("Tax number"),
            "tax_rate": _("Tax"),
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
        if "tax_rate" in self.fields:
            self.fields["tax_rate"].empty_label = _("none: prices are what it pays")  # type: ignore[attr-defined]
            self.fields["tax_rate"].help_text = format_html(
                '{} <a href="{}">{}</a>', ADDED, reverse("admin:catalog_taxrate_changelist"), _("Tax rates")
            )
        if self.instance._state.adding:
            self.initial.setdefault("currency", settings.DEFAULT_CURRENCY)
            if not self.is_bound:
                self.initial.setdefault("tax_rate", _most_common_rate())

    def clean_currency(self) -> str:
        currency = str(self.cleaned_data["currency"]).upper()
        if self.instance.pk and currency != self.initial.get("currency"):
            refuse_without_price(missing_prices.of_currency(self.instance, currency, dates.site_day()))
        return currency


def _most_common_rate() -> int | None:
    """The tax rate that most clients who have one have."""
    taxed = Client.objects.filter(tax_rate__isnull=False).order_by()
    by_number = taxed.values("tax_rate").annotate(clients=Count("pk")).order_by("-clients", "tax_rate")
    return by_number.values_list("tax_rate", flat=True).first()


def refuse_without_price(missing: Iterable[Missing]) -> None:
    """Raise ValidationError when something has no price, with a link to where each is added."""
    words = [format_html('{} <a href="{}">{}</a>', each.sentence, each.address, _("Go there")) for each in missing]
    if words:
        raise forms.ValidationError([forms.ValidationError(each) for each in words])


def offered_clients() -> QuerySet[Client]:
    """Clients whose names are offered where one is asked for."""
    return Client.objects.order_by("name")[:OFFERED]


def client_called(words: str) -> Client:
    """Return the client of a name or an email address. Raises ValidationError where that is not one client."""
    found = list(Client.objects.filter(Q(name__iexact=words) | Q(email__iexact=words))[:2])
    if len(found) == 1:
        return found[0]
    several = gettext("Several clients are called so. Enter the e-mail address.")
    raise forms.ValidationError(several if found else gettext("No client is called so."))
