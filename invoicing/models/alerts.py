"""Alerts and budgets, and when they were crossed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy

from catalog import money
from catalog.models import Client, MetricSetting, Product, Service, User
from catalog.wording import percent
from metering.decimals import round_half_up
from metering.units import Unit, find


class AlertQuerySet(models.QuerySet["Alert"]):
    def of_clients(self, clients: Any) -> AlertQuerySet:
        """What these clients set, without what is about a service that is another's by now."""
        return self.filter(Q(service=None) | Q(service__client=F("client")), client__in=clients)


class CrossingQuerySet(models.QuerySet["Crossing"]):
    def of_clients(self, clients: Any) -> CrossingQuerySet:
        """What alerts of these clients told, without what is about a service that is another's by now."""
        return self.filter(Q(service=None) | Q(service__client=F("alert__client")), alert__client__in=clients)


class Alert(models.Model):
    """Tells when usage or its cost crosses a bound.

    What it watches is one of: a metric (`setting`) of one service, or of all services of its product that the
    client has; the charges of one service; all charges of a client (a budget); or, set by staff, a metric or the
    charges of every service of a `product`.
    """

    class Measure(models.TextChoices):
        QUANTITY = "quantity", gettext_lazy("Quantity")
        SHARE = "share", gettext_lazy("share of the included quantity")
        AMOUNT = "amount", gettext_lazy("Amount")

    client = models.ForeignKey(
        Client, verbose_name=gettext_lazy("client"), null=True, on_delete=models.CASCADE, related_name="alerts"
    )
    service = models.ForeignKey(
        Service, verbose_name=gettext_lazy("service"), null=True, on_delete=models.CASCADE, related_name="alerts"
    )
    product = models.ForeignKey(
        Product, verbose_name=gettext_lazy("product"), null=True, on_delete=models.CASCADE, related_name="alerts"
    )
    setting = models.ForeignKey(
        MetricSetting, verbose_name=gettext_lazy("metric"), null=True, on_delete=models.CASCADE, related_name="alerts"
    )
    measure = models.CharField(gettext_lazy("measure"), max_length=10, choices=Measure.choices)
    bound = models.DecimalField(
        gettext_lazy("threshold"),
        max_digits=24,
        decimal_places=6,
        help_text=gettext_lazy("In the unit, in percent, or in money."),
    )
    unit_code = models.CharField(
        gettext_lazy("unit"),
        max_length=50,
        blank=True,
        help_text=gettext_lazy("Of a quantity; it stays, whatever prices do."),
    )
    currency = models.CharField(
        gettext_lazy("currency"), max_length=3, blank=True, help_text=gettext_lazy("Of an amount.")
    )
    is_of_forecast = models.BooleanField(
        gettext_lazy("of what is expected"),
        default=False,
        help_text=gettext_lazy("On what is expected at the term's end."),
    )
    by_mail = models.BooleanField(gettext_lazy("by mail"), default=True)
    is_active = models.BooleanField(gettext_lazy("is active"), default=True)
    created_at = models.DateTimeField(gettext_lazy("created at"))
    created_by = models.ForeignKey(
        User, verbose_name=gettext_lazy("created by"), null=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(client__isnull=False, product=None) | Q(client=None, service=None, product__isnull=False),
                name="alert_is_of_a_client_or_a_product",
            ),
            models.CheckConstraint(condition=Q(bound__gt=0, bound__lte=10**18), name="alert_bound_in_bounds"),
            models.CheckConstraint(
                condition=Q(measure="amount") & ~Q(currency="") | ~Q(measure="amount") & Q(setting__isnull=False),
                name="alert_says_of_what",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.measure} above {self.bound}"

    @property
    def unit(self) -> Unit | None:
        return find(self.unit_code, self.setting.metric.unit) if self.setting else None

    @property
    def watches_nothing(self) -> bool:
        """Whether a client's alert is in money, or about a metric, that is not theirs any more."""
        if self.client is None:
            return False
        if self.measure == self.Measure.AMOUNT and self.currency != self.client.currency:
            return True
        return bool(self.service and self.setting and self.service.product_id != self.setting.product_id)

    @property
    def written_bound(self) -> str:
        return self.write(self.bound)

    def write(self, value: Decimal) -> str:
        """Write a value that is measured as its bound is: `12 GB`, `80 %` or `$50.00`."""
        if self.measure == self.Measure.AMOUNT:
            return money.write(value, self.currency)
        if self.measure == self.Measure.SHARE or self.unit is None:
            return percent(value)
        return self.unit.write(value)


class Crossing(models.Model):
    """An alert's bound was crossed: once, until the value is below it again or the next term begins.

    `value` is what it was then, in what the bound is in; without a service it is all of a client's.
    """

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="crossings")
    service = models.ForeignKey(Service, null=True, on_delete=models.CASCADE, related_name="crossings")
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    term_start = models.DateField()
    value = models.DecimalField(max_digits=24, decimal_places=6)
    bound = models.DecimalField(max_digits=24, decimal_places=6, help_text=gettext_lazy("As it was then."))

    objects = CrossingQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-began_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["alert", "service"],
                condition=Q(ended_at=None),
                nulls_distinct=False,
                name="an_alert_is_crossed_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.value} above {self.bound}"

    @property
    def written_value(self) -> str:
        is_share = self.alert.measure == Alert.Measure.SHARE
        return self.alert.write(round_half_up(self.value, 1) if is_share else self.value)
