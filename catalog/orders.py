"""How a service comes to be: ordered for a client, as a product, and begun on a day."""

from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from catalog import missing_prices, tenancy
from catalog.models import OVER, Client, Product, Service
from catalog.terms import Cycle, term
from metering import dates
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
    #: By which it is known, if that was said: an order that comes twice is the same one.
    public_id: UUID | None = None

    @classmethod
    def of(cls, made: Service) -> "Order":
        """The order that would make a service as it is now."""
        return cls(made.client, made.product, Cycle(made.cycle), made.anchor, made.name, made.public_id)


def place(
    order: Order,
    *,
    today: date,
    status: str = Service.Status.ACTIVE,
    tenant: Tenant | None = None,
    metered_from: date | None = None,
) -> Service:
    """Make a service, of which nothing is billed yet, or return the one that was made by the same order.

    Raises CannotOrder for one that could not be billed, and for another order than the one that made it.
    """
    product, start = order.product, order.start
    if not product.is_active:
        raise CannotOrder(_("%(product)s is not sold any more.") % {"product": product})
    _check_start(start, today)
    for lacking in missing_prices.of_order(product, order.client.currency, order.cycle, today):
        raise CannotOrder(lacking.sentence)
    clock = Cycle.MONTHLY if product.bills_monthly else order.cycle
    made, is_new = Service.objects.get_or_create(
        public_id=order.public_id or uuid4(),
        defaults={
            "client": order.client,
            "product": product,
            "tenant": tenant,
            "name": order.name,
            "status": status,
            "cycle": order.cycle,
            "anchor": start,
            "next_due_on": term(start, clock, 0).start,
            "bills_monthly": product.bills_monthly,
            "metered_from": metered_from,
        },
    )
    # Whoever goes back to the form that made it may have typed another one there.
    if not is_new and (Order.of(made), made.status) != (order, status):
        words = _("%(service)s was added with this form already. Open the page again to add another one.")
        raise CannotOrder(words % {"service": made})
    return made


def has_begun(service: Service, today: date) -> bool:
    """Whether there may be usage of its product and tenant to bill."""
    if service.status == Service.Status.PENDING:
        return False
    return service.status in OVER or bool(service.next_term) or service.anchor <= today


def begin(service: Service, *, start: date, tenant: Tenant | None, today: date) -> Service:
    """Let a service that has not begun begin on a day, as a tenant if there is one. A pending one becomes active.

    Raises CannotOrder where it has begun, where it could not be billed, and where another service has the tenant.
    """
    with transaction.atomic():
        one = Service.objects.select_related("client", "product").select_for_update(of=("self",)).get(pk=service.pk)
        if has_begun(one, today):
            raise CannotOrder(_("%(service)s has begun already. Change it on its own page.") % {"service": one})
        _check_start(start, today)
        for lacking in missing_prices.of_order(one.product, one.currency, one.cycle, today, one.pk):
            raise CannotOrder(lacking.sentence)
        if tenant is not None and (words := tenancy.refusal(one, one.product, tenant)):
            raise CannotOrder(words)
        if one.status == Service.Status.PENDING:
            one.status = Service.Status.ACTIVE
        one.tenant, one.anchor, one.next_due_on = tenant, start, term(start, one.clock, 0).start
        try:
            with transaction.atomic():
                one.save(update_fields=["status", "tenant", "anchor", "next_due_on"])
        except IntegrityError as error:
            raise CannotOrder(_("Another service that is not terminated has this tenant already.")) from error
    return one


def _check_start(start: date, today: date) -> None:
    if start > (latest := today + AHEAD):
        raise CannotOrder(_("Let it start on %(day)s or before.") % {"day": dates.full_day(latest)})
