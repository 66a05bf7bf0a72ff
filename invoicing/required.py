"""What must be known before anything is invoiced, by law of where the seller is: `REQUIRED_ON_INVOICES`."""

from collections.abc import Iterable

from django.conf import settings
from django.utils.translation import gettext_noop

from catalog.models import Client
from invoicing import reasons

OF_SELLER = {
    "seller_address": (gettext_noop("your address"), "SELLER_ADDRESS"),
    "seller_tax_number": (gettext_noop("your tax number"), "SELLER_TAX_NUMBER"),
}
OF_BUYER = {
    "buyer_address": (gettext_noop("address"), "address"),
    "buyer_tax_number": (gettext_noop("tax number"), "tax_number"),
}
FIELDS = (*OF_SELLER, *OF_BUYER)


def of_seller() -> list[str]:
    """Return the settings that are required and empty."""
    needed = (setting for name, (_, setting) in OF_SELLER.items() if name in settings.REQUIRED_ON_INVOICES)
    return [setting for setting in needed if not getattr(settings, setting).strip()]


def of_buyer(client: Client) -> list[str]:
    """Return what is required of a client and not known, in words."""
    needed = (field for name, field in OF_BUYER.items() if name in settings.REQUIRED_ON_INVOICES)
    return [words for words, name in needed if not getattr(client, name).strip()]


def why_not(client: Client) -> str:
    """Say why nothing can be invoiced to a client, and what to do; nothing where it can."""
    if not settings.REQUIRED_ON_INVOICES:
        return ""
    if unset := of_seller():
        return reasons.SELLER_LACKS % {"words": _and(_words_of(unset)), "settings": _and(unset)}
    if lacking := of_buyer(client):
        return reasons.BUYER_LACKS % {"words": _and(lacking), "client": client}
    return ""


def _words_of(unset: Iterable[str]) -> list[str]:
    return [words for words, setting in OF_SELLER.values() if setting in unset]


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)
