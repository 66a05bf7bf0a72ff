"""The staff's page of a product: what it is, what it costs, and what hangs on it."""

from dataclasses import dataclass
from datetime import date

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from catalog.models import PricingVersion, Product, ProductPrice
from catalog.overage import in_force
from catalog.terms import Cycle
from catalog.timelines import of_product
from catalog.typed import home_first
from catalog.views import MOST, metric_rows, provider_title, with_counts
from metering import dates
from metering.access import staff
from metering.declaring import declared_metrics
from metering.models import Server
from metering.periods import month
from metering.providers import base

#: So many versions and servers are shown.
LAST = 12


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version of the pricing of one of its metrics, and whether it is in force on the day of the page."""

    version: PricingVersion
    is_in_force: bool
    is_to_come: bool


@require_safe
@staff("catalog.view_product")
def product(request: HttpRequest, pk: int) -> HttpResponse:
    """What is this, what does it cost, and who has it?"""
    one = get_object_or_404(with_counts(Product.objects.prefetch_related("prices")), pk=pk)
    today = dates.site_day()
    metrics = metric_rows(one, declared_metrics(one.provider) if one.provider else [], today)
    terms = in_force(one.overage_terms.prefetch_related("prices"), month(today).start)
    currencies, prices = _price_table(one)
    context = {
        "section": "products",
        "product": one,
        "provider": provider_title(one.provider),
        "is_installed": one.provider in base.installed(),
        "metrics": metrics,
        "priced": sum(bool(row.price) for row in metrics if row.is_enabled),
        "currencies": currencies,
        "prices": prices,
        "versions": _versions(one, today),
        "overage": terms,
        "most": MOST,
        "timeline": of_product(one, own_page=request.path),
    }
    if one.provider and request.user.has_perm("metering.view_server"):
        servers = Server.objects.filter(provider=one.provider).only("name", "is_active", "provider")
        found = list(servers.order_by("name")[: LAST + 1])
        context |= {"servers": found[:LAST], "has_more_servers": len(found) > LAST}
    return render(request, "staff/product.html", context)


def _price_table(one: Product) -> tuple[list[str], list[tuple[str, list[tuple[str, ProductPrice | None]]]]]:
    """Return the currencies it is sold in, and for each cycle its price in each of them."""
    known = {(price.cycle, price.currency): price for price in one.prices.all()}
    currencies = home_first({currency for _, currency in known})
    cycles = [cycle for cycle in Cycle if any((cycle.value, currency) in known for currency in currencies)]
    rows = [(cycle.value, [(each, known.get((cycle.value, each))) for each in currencies]) for cycle in cycles]
    return currencies, rows


def _versions(one: Product, today: date) -> list[VersionRow]:
    """Return the newest versions of its pricing, whatever metric they are of."""
    settings = one.metric_settings.select_related("metric").prefetch_related("versions__created_by")
    rows = []
    for setting in settings:
        now = setting.version_on(today)
        for version in setting.all_versions:
            version.setting = setting
            is_to_come = version.effective_from > today and not version.is_withdrawn
            rows.append(VersionRow(version, version == now, is_to_come))
    rows.sort(key=lambda row: (row.version.effective_from, row.version.created_at), reverse=True)
    return rows[:LAST]
