"""What is sold, to whom, at what price."""

from __future__ import annotations

import uuid
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.money import is_currency
from catalog.pricing import HUNDRED, MAX_PRICE, MAX_QUANTITY, Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet
from catalog.spans import Span
from catalog.terms import Cycle
from catalog.users import User as User
from catalog.wording import agreed, agreement
from metering.models import Metric, Tenant
from metering.units import Unit, find


def choices(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Offer the values of an enumeration to a field."""
    return [(each.value, each.value) for each in kind]


def validate_currency(code: str) -> None:
    if not is_currency(code):
        raise ValidationError(f"{code} is not a currency of ISO 4217, such as USD.")


class Client(models.Model):
    """The customer, who is billed in one currency."""

    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True)
    address = models.TextField(blank=True)
    currency = models.CharField(max_length=3, validators=[validate_currency])
    users = models.ManyToManyField(User, through="ClientUser", related_name="clients")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="client_has_a_currency"),
        ]

    def __str__(self) -> str:
        return self.name


class ClientUser(models.Model):
    """A person who may see what a client has."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE)
    user = models.ForeignKey(User, on_delete=models.CASCADE)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client", "user"], name="one_membership_per_client_and_user"),
        ]

    def __str__(self) -> str:
        return f"{self.user} for {self.client}"


class Product(models.Model):
    """What is sold; says which provider meters it, if any."""

    name = models.CharField(max_length=200, unique=True)
    slug = models.SlugField(max_length=200, unique=True, help_text="Its name in the address of its price list.")
    description = models.TextField(blank=True)
    provider = models.CharField(max_length=50, blank=True, help_text="What meters it. Empty: nothing does.")
    is_active = models.BooleanField("can be ordered", default=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class ProductPrice(models.Model):
    """The recurring price of a product for one billing cycle in one currency."""

    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="prices")
    cycle = models.CharField(max_length=20, choices=[(cycle.value, cycle.value) for cycle in Cycle])
    currency = models.CharField(max_length=3, validators=[validate_currency])
    amount = models.DecimalField(max_digits=16, decimal_places=4)

    class Meta:
        ordering: ClassVar = ["product", "currency", "amount"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "cycle", "currency"], name="one_price_per_cycle_and_currency"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, amount__lte=int(MAX_PRICE)), name="product_price_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} {self.cycle}"


class MetricSettingQuerySet(models.QuerySet["MetricSetting"]):
    def with_pricing(self) -> MetricSettingQuerySet:
        """Fetch everything that is needed to show, price and bill, in four more queries."""
        return self.select_related("metric").prefetch_related(
            "enabled_spans", "versions__prices", "versions__charge_bounds"
        )


class MetricSetting(models.Model):
    """A product's switch and pricing for one metric."""

    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="metric_settings")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT)

    objects = MetricSettingQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "metric"], name="one_setting_per_product_and_metric"),
        ]

    def __str__(self) -> str:
        return f"{self.metric} of {self.product}"

    @property
    def is_enabled(self) -> bool:
        return any(span.end is None for span in self.enabled_spans.all())

    def version_on(self, day: date) -> PricingVersion | None:
        """Return the version in force on a day: the newest of those that apply from then or before."""
        in_force = [each for each in self.versions.all() if each.effective_from <= day and not each.is_withdrawn]
        return max(in_force, key=lambda version: (version.effective_from, version.number), default=None)


class EnabledSpan(Span):
    """When a metric setting is switched on. Periods that begin outside of it are never billed."""

    setting = models.ForeignKey(MetricSetting, on_delete=models.CASCADE, related_name="enabled_spans")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["setting"], condition=Q(end=None), name="one_open_span_per_setting"),
            models.CheckConstraint(condition=Q(end=None) | Q(end__gt=F("start")), name="enabled_span_not_empty"),
        ]


class PricingVersion(models.Model):
    """One version of the pricing of a metric setting, with the day from which it applies.

    Never changed and never deleted; one that is not in force yet may be withdrawn. Its quantities are in
    its unit.
    """

    setting = models.ForeignKey(MetricSetting, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    effective_from = models.DateField()
    unit_code = models.CharField(max_length=20)
    scheme = models.CharField(max_length=10, choices=choices(Scheme))
    notation = models.CharField(max_length=10, choices=choices(Notation))
    included = models.DecimalField(max_digits=22, decimal_places=6, default=0)
    package_size = models.DecimalField(max_digits=22, decimal_places=6, default=1)
    aggregation = models.CharField(max_length=20, choices=choices(Aggregation), default=Aggregation.LATEST)
    periods = models.CharField(max_length=10, choices=choices(Periods), default=Periods.SUMMED)
    price_at = models.CharField(max_length=10, choices=choices(PriceAt), default=PriceAt.START)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["setting", "number"]
        permissions: ClassVar = [("backdate_pricing", "Can let prices apply from a day in the past")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["setting", "number"], name="versions_are_numbered"),
            models.CheckConstraint(
                condition=Q(included__gte=0, included__lte=int(MAX_QUANTITY)), name="included_quantity_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(package_size__gt=0, package_size__lte=int(MAX_QUANTITY)), name="package_size_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.setting}"

    @cached_property
    def unit(self) -> Unit:
        return find(self.unit_code, self.setting.metric.unit)

    @property
    def is_withdrawn(self) -> bool:
        return self.withdrawn_at is not None

    @property
    def currencies(self) -> list[str]:
        return sorted({price.currency for price in self.prices.all()})

    def pricing(self, currency: str) -> Pricing | None:
        """Return the pricing in one currency, or None when there is no price in it."""
        if currency not in self._pricings:
            self._pricings[currency] = self._read(currency)
        return self._pricings[currency]

    @cached_property
    def _pricings(self) -> dict[str, Pricing | None]:
        """What was read already: a run rates thousands of services by one version, and it never changes."""
        return {}

    def _read(self, currency: str) -> Pricing | None:
        rows = sorted((row for row in self.prices.all() if row.currency == currency), key=lambda row: row.start)
        if not rows:
            return None
        bounds = next((each for each in self.charge_bounds.all() if each.currency == currency), None)
        return Pricing(
            scheme=Scheme(self.scheme),
            brackets=tuple(row.bracket for row in rows),
            included=self.included,
            notation=Notation(self.notation),
            package_size=self.package_size,
            minimum=bounds.minimum if bounds else None,
            maximum=bounds.maximum if bounds else None,
        )

    @property
    def sheet(self) -> Sheet:
        """All that it says, in every currency that it has a price in."""
        found = {currency: self.pricing(currency) for currency in self.currencies}
        return Sheet(
            unit=self.unit,
            pricings={currency: pricing for currency, pricing in found.items() if pricing is not None},
            aggregation=Aggregation(self.aggregation),
            periods=Periods(self.periods),
            price_at=PriceAt(self.price_at),
        )


class ChargeBounds(models.Model):
    """The least and the most that a version charges in one currency, each time that it rates."""

    version = models.ForeignKey(PricingVersion, on_delete=models.CASCADE, related_name="charge_bounds")
    currency = models.CharField(max_length=3, validators=[validate_currency])
    minimum = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    maximum = models.DecimalField(max_digits=24, decimal_places=12, null=True)

    class Meta:
        ordering: ClassVar = ["version", "currency"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "currency"], name="one_pair_of_bounds_per_currency"),
            models.CheckConstraint(
                condition=Q(minimum__isnull=False) | Q(maximum__isnull=False), name="charge_bounds_not_empty"
            ),
            models.CheckConstraint(
                condition=(Q(minimum=None) | Q(minimum__gte=0, minimum__lte=int(MAX_PRICE)))
                & (Q(maximum=None) | Q(maximum__gte=0, maximum__lte=int(MAX_PRICE)))
                & (Q(minimum=None) | Q(maximum=None) | Q(maximum__gte=F("minimum"))),
                name="charge_bounds_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.minimum or 0} to {self.maximum or 'any'} {self.currency}"


class BracketPrice(models.Model):
    """A bracket of a version in one currency: the starting quantity and the price of each unit from there."""

    version = models.ForeignKey(PricingVersion, on_delete=models.CASCADE, related_name="prices")
    currency = models.CharField(max_length=3, validators=[validate_currency])
    start = models.DecimalField(max_digits=22, decimal_places=6)
    unit_price = models.DecimalField(max_digits=24, decimal_places=12)
    flat_fee = models.DecimalField(max_digits=24, decimal_places=12, default=0)

    class Meta:
        ordering: ClassVar = ["version", "currency", "start"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "currency", "start"], name="one_price_per_bracket"),
            models.CheckConstraint(condition=Q(start__gte=0, start__lte=int(MAX_QUANTITY)), name="start_in_bounds"),
            models.CheckConstraint(
                condition=Q(unit_price__gte=0, unit_price__lte=int(MAX_PRICE)), name="unit_price_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(flat_fee__gte=0, flat_fee__lte=int(MAX_PRICE)), name="flat_fee_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.start}: {self.unit_price} {self.currency}"

    @property
    def bracket(self) -> Bracket:
        return Bracket(self.start, self.unit_price, self.flat_fee)


class ServiceQuerySet(models.QuerySet["Service"]):
    def visible_to(self, user: User) -> ServiceQuerySet:
        return self.filter(client__users=user)

    def billable(self) -> ServiceQuerySet:
        """Services that renew: suspended ones are still metered, and so still billed."""
        return self.filter(status__in=[Service.Status.ACTIVE, Service.Status.SUSPENDED])

    def due(self, on: date) -> ServiceQuerySet:
        return self.billable().filter(next_due_on__lte=on).order_by("next_due_on", "pk")


class Service(models.Model):
    """A product that a client has, on a server, as a tenant.

    Its terms are counted from `anchor`; `next_term` is the number of the first one that is not billed
    yet, and `next_due_on` the day on which that one starts.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        ACTIVE = "active"
        SUSPENDED = "suspended"
        TERMINATED = "terminated"
        CANCELLED = "cancelled"

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="services")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="services")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="services")
    name = models.CharField(max_length=200, help_text="As the client knows it: a domain, a database.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    cycle = models.CharField(max_length=20, choices=[(cycle.value, cycle.value) for cycle in Cycle])
    anchor = models.DateField(help_text="The day on which the first term starts.")
    next_term = models.PositiveIntegerField(default=0)
    next_due_on = models.DateField(null=True, blank=True)
    terminated_on = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ServiceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["client", "name"]
        indexes: ClassVar = [
            models.Index(
                fields=["next_due_on", "id"], name="services_by_due_day", condition=Q(next_due_on__isnull=False)
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=~Q(status__in=["terminated", "cancelled"]),
                name="one_living_service_per_tenant",
                violation_error_message="Another service that is not terminated has this tenant already.",
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


#: A service in one of these states is over: nobody has it, and nothing of it is billed again.
OVER = [Service.Status.TERMINATED, Service.Status.CANCELLED]


class OverrideQuerySet(models.QuerySet["Override"]):
    def in_force(self, day: date) -> OverrideQuerySet:
        return self.filter(start__lte=day).filter(Q(end=None) | Q(end__gt=day))


class Override(Span):
    """What was agreed for one metric of one service: another quantity included, prices of its own, or a
    discount in percent.

    It applies to periods that begin on its days, `[start, end)`. Never changed, save for its end. Its
    quantities are in its unit, and its prices in its currency. With prices of its own it has a scheme too;
    without, those of the product apply.
    """

    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="overrides")
    setting = models.ForeignKey(MetricSetting, on_delete=models.PROTECT, related_name="overrides")
    unit_code = models.CharField(max_length=20)
    included = models.DecimalField(max_digits=22, decimal_places=6, null=True)
    discount = models.DecimalField(max_digits=9, decimal_places=6, default=0, help_text="Percent.")
    currency = models.CharField(max_length=3, validators=[validate_currency])
    scheme = models.CharField(max_length=10, choices=choices(Scheme), blank=True)
    notation = models.CharField(max_length=10, choices=choices(Notation), blank=True)
    package_size = models.DecimalField(max_digits=22, decimal_places=6, default=1)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    ended_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = OverrideQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["service", "setting", "start", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["service", "setting"], condition=Q(end=None), name="one_open_override_per_metric"
            ),
            models.CheckConstraint(condition=Q(end=None) | Q(end__gt=F("start")), name="override_not_empty"),
            models.CheckConstraint(condition=~Q(reason=""), name="override_has_a_reason"),
            models.CheckConstraint(
                condition=Q(included=None) | Q(included__gte=0, included__lte=int(MAX_QUANTITY)),
                name="override_included_in_bounds",
            ),
            models.CheckConstraint(
                condition=Q(discount__gte=0, discount__lte=int(HUNDRED)), name="override_discount_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(package_size__gt=0, package_size__lte=int(MAX_QUANTITY)),
                name="override_package_size_in_bounds",
            ),
            models.CheckConstraint(condition=Q(scheme="") | ~Q(notation=""), name="own_prices_have_a_notation"),
        ]

    def __str__(self) -> str:
        return f"override of {self.setting} for {self.service}"

    @property
    def unit(self) -> Unit:
        return find(self.unit_code, self.setting.metric.unit)

    @property
    def has_own_prices(self) -> bool:
        return bool(self.scheme)

    @property
    def own_prices(self) -> Pricing | None:
        """The prices of its own, with nothing included; None where those of the product apply."""
        if not self.has_own_prices:
            return None
        return Pricing(
            scheme=Scheme(self.scheme),
            brackets=tuple(row.bracket for row in self.prices.all()),
            notation=Notation(self.notation),
            package_size=self.package_size,
        )

    @property
    def last_day(self) -> date | None:
        """The last day on which it applies, for people, who count it in."""
        return self.end - timedelta(days=1) if self.end else None

    def state(self, day: date) -> str:
        """Say what it is on a day: `planned`, `now` in force, or `over`."""
        if self.start > day:
            return "planned"
        return "now" if self.end is None or self.end > day else "over"

    @property
    def what(self) -> str:
        """What was agreed, in words: `20 GB included, 10 % discount`."""
        return agreed(
            included=self.included,
            own=self.own_prices,
            discount=self.discount,
            unit=self.unit,
            currency=self.currency,
        )

    @property
    def sentence(self) -> str:
        """What was agreed, from when and why."""
        return agreement(what=self.what, start=self.start, end=self.end, reason=self.reason)


class OverridePrice(models.Model):
    """A bracket of prices that one service has of its own, in the currency of the override."""

    override = models.ForeignKey(Override, on_delete=models.CASCADE, related_name="prices")
    start = models.DecimalField(max_digits=22, decimal_places=6)
    unit_price = models.DecimalField(max_digits=24, decimal_places=12)
    flat_fee = models.DecimalField(max_digits=24, decimal_places=12, default=0)

    class Meta:
        ordering: ClassVar = ["override", "start"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["override", "start"], name="one_own_price_per_bracket"),
            models.CheckConstraint(condition=Q(start__gte=0, start__lte=int(MAX_QUANTITY)), name="own_start_in_bounds"),
            models.CheckConstraint(
                condition=Q(unit_price__gte=0, unit_price__lte=int(MAX_PRICE)), name="own_unit_price_in_bounds"
            ),
            models.CheckConstraint(
                condition=Q(flat_fee__gte=0, flat_fee__lte=int(MAX_PRICE)), name="own_flat_fee_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.start}: {self.unit_price}"

    @property
    def bracket(self) -> Bracket:
        return Bracket(self.start, self.unit_price, self.flat_fee)
