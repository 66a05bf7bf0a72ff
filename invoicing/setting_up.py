"""What a new site needs before its first invoice, step by step, until there is a service."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from catalog.models import Client, PricingVersion, ProductPrice, Service, User
from metering.models import Server


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, why, and where; `url` is empty for who may not do it, or where no page does it."""

    name: str
    why: str
    url: str
    is_done: bool


def steps(user: User) -> list[Step]:
    """Return what leads to the first invoice; nothing once there is a service. In up to five queries."""
    if Service.objects.exists():
        return []
    told = {"name": "SELLER_NAME", "address": "SELLER_ADDRESS", "tax_number": "SELLER_TAX_NUMBER"}
    return [
        Step(
            _("Say who issues the invoices"),
            _("Your name, address and tax number are the settings %(name)s, %(address)s and %(tax_number)s.") % told,
            url="",
            is_done=bool(settings.SELLER_ADDRESS.strip()),
        ),
        Step(
            _("Add a server"),
            _("What can be asked how much its tenants use, or sends it. Test the connection, then collect."),
            _page(user, "staff_servers", "metering.add_server"),
            Server.objects.exists(),
        ),
        Step(
            _("Add a product with its price"),
            _("What clients buy, what it costs per month or year before usage, and what meters it."),
            _page(user, "admin:catalog_product_add", "catalog.add_product"),
            ProductPrice.objects.exists(),
        ),
        Step(
            _("Switch metrics on and price them"),
            _("On the page of the product: which usage clients see, how much is included, and what more of it costs."),
            _page(user, "staff_products", "catalog.change_product"),
            PricingVersion.objects.exists(),
        ),
        Step(
            _("Add a client"),
            _("Who is billed, in which currency and language. Invite the people who may see it."),
            _page(user, "staff_client_new", "catalog.add_client"),
            Client.objects.exists(),
        ),
        Step(
            _("Add a service"),
            _("It joins a client, a product and a tenant on a server. Its first invoice is made on its first day."),
            _page(user, "staff_service_add", "catalog.add_service"),
            is_done=False,
        ),
    ]


def _page(user: User, name: str, permission: str) -> str:
    return reverse(name) if user.has_perm(permission) else ""
