"""Sums for the reports: what issued documents and closed months come to, kept so that no page adds it up again.

All of it follows from other tables and can be made anew from them: `manage.py verify_reports` compares, and
`--again` counts from the first document on.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import ClassVar

from django.db import models

from catalog.models import MetricSetting, Product, Service
from invoicing.models import Line, Series
from metering.models import Metric


class Counted(models.Model):
    """How far the documents of a series are in the sums.

    Whoever issues holds the row of the series until its documents are there. So within one series nothing comes
    later with a lower `entry` than what can be seen; over several series it could.
    """

    series = models.OneToOneField(Series, primary_key=True, on_delete=models.PROTECT, related_name="+")
    entry = models.BigIntegerField(default=0, help_text="Of the last document that is in the sums.")
    day = models.DateField(default=date.min, help_text="Its day of issue.")
    at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "counted"

    def __str__(self) -> str:
        return f"{self.series_id} up to {self.entry}"


class DocumentSum(models.Model):
    """What the documents that were issued in a month come to before tax: what all other sums are compared with."""

    month = models.DateField(help_text="The first day of it.")
    currency = models.CharField(max_length=3)
    is_credit = models.BooleanField()
    documents = models.PositiveIntegerField()
    total = models.DecimalField(max_digits=24, decimal_places=4)

    class Meta:
        permissions: ClassVar = [("view_report", "Can see the reports")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["month", "currency", "is_credit"], name="document_sums_are_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.documents} documents of {self.month:%Y-%m} in {self.currency}"


class LineSum(models.Model):
    """What lines of one kind, product and metric come to.

    `month` is that of issue, `used` the one in which the period of the lines begins. Lines that give something back
    are summed by the kind, product and metric of those that charged it, with `is_credit`; `amount` is never below
    zero. `quantity` is what was billed, of usage alone, in the base of the metric's unit.
    """

    month = models.DateField()
    used = models.DateField()
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    setting = models.ForeignKey(MetricSetting, null=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Line.Kind.choices)
    currency = models.CharField(max_length=3)
    is_credit = models.BooleanField()
    lines = models.PositiveIntegerField()
    amount = models.DecimalField(max_digits=24, decimal_places=4)
    quantity = models.DecimalField(max_digits=34, decimal_places=6)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["month", "used", "product", "setting", "kind", "currency", "is_credit"],
                name="line_sums_are_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.month:%Y-%m} in {self.currency}"


class PriceSpread(models.Model):
    """What services paid for the unit of a metric in a month of issue: an amount per quantity of usage, each service
    by itself. Services that used nothing are not among them. Prices are those of one of the metric's base units."""

    month = models.DateField()
    setting = models.ForeignKey(MetricSetting, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    services = models.PositiveIntegerField()
    low = models.DecimalField(max_digits=44, decimal_places=24)
    median = models.DecimalField(max_digits=44, decimal_places=24)
    high = models.DecimalField(max_digits=44, decimal_places=24)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["month", "setting", "currency"], name="price_spreads_are_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.setting_id} in {self.month:%Y-%m}, {self.currency}"


class SpreadMonth(models.Model):
    """A month of issue whose spreads are known, and of how many lines."""

    month = models.DateField(primary_key=True)
    lines = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class MeasuredMonth(models.Model):
    """A calendar month of which the usage was summed, and when."""

    month = models.DateField(primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class UsageSum(models.Model):
    """What the services of a product used of a metric in a calendar month, in the base of its unit: totals summed, of
    levels the last one of each service."""

    month = models.DateField()
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.CASCADE, related_name="+")
    services = models.PositiveIntegerField()
    value = models.DecimalField(max_digits=34, decimal_places=6)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["month", "product", "metric"], name="usage_sums_are_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.metric_id} of {self.product_id} in {self.month:%Y-%m}"


class Fit(models.Model):
    """How the plan of a service fits what it uses, as its last terms were billed. Only services that used more than
    was included, or were charged for usage, have one.

    `terms` were looked at, `usage` and `recurring` are what they cost. `above` is how many of them in a row, up to
    the last, used more than the quantity included, and `setting` of which metric. `months_over` is how many calendar
    months in a row were charged above a limit. `other` is the product that would have been cheapest for the
    same usage of `compared` terms, and what both would have cost.
    """

    service = models.OneToOneField(Service, primary_key=True, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    terms = models.PositiveSmallIntegerField()
    usage = models.DecimalField(max_digits=20, decimal_places=4)
    recurring = models.DecimalField(max_digits=20, decimal_places=4)
    share = models.DecimalField(max_digits=12, decimal_places=1, null=True, help_text="Usage in percent of recurring.")
    above = models.PositiveSmallIntegerField(default=0)
    setting = models.ForeignKey(MetricSetting, null=True, on_delete=models.CASCADE, related_name="+")
    months_over = models.PositiveSmallIntegerField(default=0)
    compared = models.PositiveSmallIntegerField(default=0)
    other = models.ForeignKey(Product, null=True, on_delete=models.CASCADE, related_name="+")
    cost = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    other_cost = models.DecimalField(max_digits=20, decimal_places=4, default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["-usage", "service"], name="fits_by_charge"),
        ]

    def __str__(self) -> str:
        return f"fit of {self.service_id}"

    @property
    def saving(self) -> Decimal:
        return self.cost - self.other_cost


class Looked(models.Model):
    """When the plans of all services were looked at last."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.at}"
