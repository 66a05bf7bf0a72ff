"""What a new site needs before its first invoice, step by step, until there is a service."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Model
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
    """Return what leads to the first invoice; nothing once there is a service. In up to six queries."""
    return [] if Service.objects.exists() else list(_steps(user))


def _steps(user: User) -> Iterator[Step]:
    def step(name: str, why: str, page: str, permission: str, of: type[Model]) -> Step:
        url = reverse(page) if user.has_perm(permission) else ""
        return Step(name, why, url, of._default_manager.exists())

    yield Step(
        _("Say who issues the invoices"),
        _("Your name, address and tax number are the settings %(name)s, %(address)s and %(tax_number)s.")
        % {"name": "SELLER_NAME", "address": "SELLER_ADDRESS", "tax_number": "SELLER_TAX_NUMBER"},
        url="",
        is_done=bool(settings.SELLER_ADDRESS.strip()),
    )
    yield step(
        _("Add a server"),
        _("What can be asked how much its tenants use, or sends it. Test the connection, then collect."),
        "staff_servers",
        "metering.add_server",
        Server,
    )
    yield step(
        _("Add a product with its price"),
        _("What clients buy, what it costs per month or year before usage, and what meters it."),
        "admin:catalog_product_add",
        "catalog.add_product",
        ProductPrice,
    )
    yield step(
        _("Switch metrics on and price them"),
        _("On the page of the product: which usage clients see, how much is included, and what more of it costs."),
        "staff_products",
        "catalog.change_product",
        PricingVersion,
    )
    yield step(
        _("Add a client"),
        _("Who is billed, in which currency and language. Invite the people who may see it."),
        "staff_client_new",
        "catalog.add_client",
        Client,
    )
    yield step(
        _("Add a service"),
        _("It joins a client, a product and a tenant on a server. Its first invoice is made on its first day."),
        "staff_service_add",
        "catalog.add_service",
        Service,
    )
