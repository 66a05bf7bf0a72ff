"""What a client has of a product, and where its usage is measured."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import Case, ExpressionWrapper, F, OuterRef, Q, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from catalog.clients import Client
from catalog.models.products import Product, ProductPrice
from catalog.terms import Cycle, term
from catalog.wording import CYCLES
from metering.models import Metric, Tenant
from metering.periods import Period
from metering.providers.base import MetricType

#: An invoice is made at most this long before its term.
MOST_DAYS_AHEAD = timedelta(days=60)


class ServiceQuerySet(models.QuerySet["Service"]):
    def of_clients(self, clients: Collection[int]) -> ServiceQuerySet:
        """What these clients have; in the portal, those of `catalog.access.clients_of`. Their servers come without
        credentials: no client's page needs them, and to decrypt them takes as long as a query."""
        return self.filter(client_id__in=clients).defer("tenant__server__credentials")

    def billable(self) -> ServiceQuerySet:
        """Services that renew: suspended ones are still metered, and so still billed."""
        return self.filter(status__in=[Service.Status.ACTIVE, Service.Status.SUSPENDED])

    def with_clock(self) -> ServiceQuerySet:
        """Annotate `billed_every`: the cycle of the service's clock, for rows that are read without the model."""
        return self.annotate(
            billed_every=Case(When(bills_monthly=True, then=Value(str(Cycle.MONTHLY))), default=F("cycle"))
        )

    def with_fixed_price(self) -> ServiceQuerySet:
        """Annotate `fixed_price`: what a cycle of the service costs before usage, in the currency of its client."""
        prices = ProductPrice.objects.filter(
            product=OuterRef("product"), cycle=OuterRef("cycle"), currency=OuterRef("client__currency")
        )
        return self.annotate(fixed_price=Subquery(prices.values("amount")))  # type: ignore[no-redef]

    @staticmethod
    def _furthest(on: date) -> Combinable:
        """The last day on which a term that is due on a day may start, as the products are: an index ends there."""
        most = Product.objects.order_by("-invoice_days_ahead").values("invoice_days_ahead")[:1]
        return ExpressionWrapper(Value(on, models.DateField()) + Coalesce(Subquery(most), 0), models.DateField())

    def due(self, on: date) -> ServiceQuerySet:
        """Services of which a term is to be invoiced on a day or before, as their products say."""
        ahead = ExpressionWrapper(
            Cast(F("next_due_on"), models.DateField()) - F("product__invoice_days_ahead"), models.DateField()
        )
        is_due = Q(next_due_on__lte=on) | Q(next_due_on__lte=on + MOST_DAYS_AHEAD, ahead__lte=on)
        return (
            self.billable()
            .exclude(status=Service.Status.SUSPENDED, product__bills_suspended=False)
            .alias(ahead=ahead)
            .filter(is_due, next_due_on__lte=self._furthest(on))
            .order_by("next_due_on", "pk")
        )


class Service(models.Model):
    """A product that a client has, on a server, as a tenant.

    Its terms are counted from `anchor` by its clock; `next_term` is the number of the first one that is
    not billed yet, and `next_due_on` the day on which that one starts.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("Pending")
        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")
        TERMINATED = "terminated", _("Terminated")
        CANCELLED = "cancelled", _("Cancelled")

    public_id = models.UUIDField(_("public number"), default=uuid.uuid4, unique=True, editable=False)
    client = models.ForeignKey(Client, verbose_name=_("client"), on_delete=models.PROTECT, related_name="services")
    product = models.ForeignKey(Product, verbose_name=_("product"), on_delete=models.PROTECT, related_name="services")
    tenant = models.ForeignKey(
        Tenant, verbose_name=_("tenant"), null=True, blank=True, on_delete=models.PROTECT, related_name="services"
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("As the client knows it: a domain, a database."))
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.PENDING)
    cycle = models.CharField(
        _("billing cycle"), max_length=20, choices=[(cycle.value, CYCLES[cycle]) for cycle in Cycle]
    )
    anchor = models.DateField(_("first day"), help_text=_("The day on which the first term starts."))
    next_term = models.PositiveIntegerField(_("terms billed"), default=0)
    next_due_on = models.DateField(_("next due on"), null=True, blank=True)
    bills_monthly = models.BooleanField(
        _("usage is billed every month"), default=False, help_text=_("Usage is billed every month of a longer cycle.")
    )
    metered_from = models.DateField(
        _("metered from"),
        null=True,
        blank=True,
        help_text=_("What was used before was billed when its product or tenant changed."),
    )
    terminated_on = models.DateField(_("ended on"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    #: What only `with_fixed_price` knows; None where the product has no price in that currency.
    fixed_price: Decimal | None

    objects = ServiceQuerySet.as_manager()

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering: ClassVar = ["client", "name"]
        indexes: ClassVar = [
            models.Index(
                fields=["next_due_on", "id"], name="services_by_due_day", condition=Q(next_due_on__isnull=False)
            ),
            # Whether a product is sold in a cycle, and to whom.
            models.Index(
                fields=["product", "cycle", "client"],
                name="living_services_by_product",
                condition=~Q(status__in=["terminated", "cancelled"]),
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=~Q(status__in=["terminated", "cancelled"]),
                name="one_living_service_per_tenant",
                violation_error_message=_("Another service that is not terminated has this tenant already."),
            ),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "active", "suspended", "terminated", "cancelled"]),
                name="service_has_a_known_status",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["active", "suspended"]) | Q(next_due_on__isnull=False),
                name="living_service_has_a_due_day",
            ),
            models.CheckConstraint(
                condition=~Q(status="terminated") | Q(terminated_on__isnull=False), name="terminated_service_says_when"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def currency(self) -> str:
        return self.client.currency

    @property
    def is_billable(self) -> bool:
        return self.status in (self.Status.ACTIVE, self.Status.SUSPENDED)

    @property
    def clock(self) -> Cycle:
        """How often it is billed: as it renews, or every month for its usage."""
        return Cycle.MONTHLY if self.bills_monthly else Cycle(self.cycle)

    @property
    def rhythm(self) -> str:
        """How often it is billed and renews, in words: `monthly`, or `billed monthly, renews annually`."""
        told = {"clock": CYCLES[self.clock], "cycle": CYCLES[Cycle(self.cycle)]}
        if self.clock == self.cycle:
            return str(told["cycle"])
        return gettext("billed %(clock)s, renews %(cycle)s") % told

    def term(self, number: int) -> Period:
        """Return a term of its clock; the first is 0."""
        return term(self.anchor, self.clock, number)

    @property
    def current_term(self) -> Period:
        """The last term that was billed, or its first."""
        return self.term(max(self.next_term - 1, 0))

    @property
    def begins(self) -> date:
        """The day from which on the usage of its tenant is its own: before, it may be another's."""
        return self.metered_from or self.anchor

    @property
    def ends(self) -> date:
        """The day before which the usage of its tenant is its own: later, it may be another's."""
        if self.status not in OVER:
            return date.max
        return self.terminated_on + timedelta(days=1) if self.terminated_on else self.anchor

    def ends_of(self, metric: Metric) -> date:
        """The day before which a period of a metric must begin to be its own. The month in which it ended is left out
        of what its server totals by the month: the rest of it may be another's."""
        ends = self.ends
        return ends.replace(day=1) if metric.type == MetricType.MONTH and ends != date.max else ends

    @property
    def renewal(self) -> Period | None:
        """The term that renews when the next one is billed; None where only a month of usage is over."""
        number, rest = divmod(self.next_term * self.clock.months, Cycle(self.cycle).months)
        return None if rest else term(self.anchor, Cycle(self.cycle), number)


#: A service in one of these states is over: nobody has it, and nothing of it is billed again.
OVER = [Service.Status.TERMINATED, Service.Status.CANCELLED]
