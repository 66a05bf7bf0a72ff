"""The prices and switches by which services are billed, read together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from catalog.models import MetricSetting, ProductPrice
from invoicing.models import InvoicingSpan


@dataclass
class Catalog:
    """The prices that a run works with, read once, so that one run has one set of prices."""

    settings: dict[int, list[MetricSetting]]
    spans: list[InvoicingSpan]
    prices: dict[tuple[int, str, str], ProductPrice]

    @classmethod
    def read(cls, products: Iterable[int] | None = None) -> "Catalog":
        chosen = Q() if products is None else Q(product__in=list(products))
        found: dict[int, list[MetricSetting]] = defaultdict(list)
        for setting in MetricSetting.objects.filter(chosen).with_pricing().order_by("metric__display_name"):
            if setting.all_versions:
                found[setting.product_id].append(setting)
        prices = {(row.product_id, row.cycle, row.currency): row for row in ProductPrice.objects.filter(chosen)}
        return cls(found, list(InvoicingSpan.objects.all()), prices)
