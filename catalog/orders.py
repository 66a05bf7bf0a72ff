"""How a service comes to be: ordered for a client, as a product, from a day on."""

from dataclasses import dataclass
from datetime import date, timedelta

from django.utils.translation import gettext as _

from catalog import missing_prices
from catalog.models import Client, Product, Service
from catalog.terms import Cycle, term
from metering.models import Tenant

#: So far ahead a service may start.
AHEAD = timedelta(days=366)


class CannotOrder(Exception):
    """There can be no such service. The message says why and what to do."""


@dataclass(frozen=True)
class Order:
    """A service that is to be made."""

    client: Client
    product: Product
    cycle: Cycle
    start: date
    name: str


def place(
    order: Order,
    *,
    today: date,
    status: str = Service.Status.ACTIVE,
    tenant: Tenant | None = None,
    metered_from: date | None = None,
) -> Service:
    """Make a service, of which nothing is billed yet. Raises CannotOrder for one that could not be billed."""
    product, start = order.product, order.start
    if not product.is_active:
        raise CannotOrder(_("%(product)s is not sold any more.") % {"product": product})
    if start > (latest := today + AHEAD):
        raise CannotOrder(_("Let it start on %(day)s or before.") % {"day": latest})
    for lacking in missing_prices.of_order(product, order.client.currency, order.cycle, today):
        raise CannotOrder(lacking.sentence)
    clock = Cycle.MONTHLY if product.bills_monthly else order.cycle
    return Service.objects.create(
        client=order.client,
        product=product,
        tenant=tenant,
        name=order.name,
        status=status,
        cycle=order.cycle,
        anchor=start,
        next_due_on=term(start, clock, 0).start,
        bills_monthly=product.bills_monthly,
        metered_from=metered_from,
    )
