"""Staff pages: products, what of their usage is shown and billed, and at what price."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.contrib import messages
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from catalog import metric_billing, timelines
from catalog.models import OVER, EnabledSpan, MetricSetting, Product, ProductPrice, Service
from catalog.money import write
from catalog.terms import Cycle
from catalog.typed import following, home_first
from catalog.wording import CYCLES, short_price, terms_of_price
from metering import dates
from metering.access import staff
from metering.declaring import declared_metrics
from metering.models import Metric
from metering.paging import CappedCount
from metering.providers import base
from metering.units import Unit

#: Services of a product are counted so far.
MOST = 100


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product of the list."""

    product: Product
    provider: str
    prices: list[str]
    cycles: str


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of a product: its switch, and its price in one line."""

    metric: Metric
    unit: Unit
    is_enabled: bool
    price: str
    terms: str


@require_safe
@staff("catalog.view_product")
def products(request: HttpRequest) -> HttpResponse:
    """What is sold, what meters it, and how much of that is billed."""
    rows = [
        ProductRow(product, provider_title(product.provider), *prices_in_short(product.prices.all()))
        for product in with_counts(Product.objects.prefetch_related("prices"))
    ]
    return render(request, "staff/products.html", {"section": "products", "rows": rows, "most": MOST})


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.view_metricsetting", to_change="catalog.change_metricsetting")
def product_metrics(request: HttpRequest, pk: int) -> HttpResponse:
    """Metric billing: a switch and a price for each metric that the provider of a product knows."""
    product = get_object_or_404(with_counts(Product.objects.all()), pk=pk)
    metrics = declared_metrics(product.provider) if product.provider else []
    if request.method == "POST":
        shown, checked = (_numbers(request.POST.getlist(name)) for name in ("was", "enabled"))
        on, off = metric_billing.save_switches(
            product=product, metrics=metrics, on=checked - shown, off=shown - checked, day=dates.site_day()
        )
        messages.success(request, _switched(on, off))
        return redirect("staff_product_metrics", pk=product.pk)
    context = {
        "section": "products",
        "product": product,
        "provider": provider_title(product.provider),
        "is_installed": product.provider in base.installed(),
        "rows": metric_rows(product, metrics, dates.site_day()),
        "most": MOST,
        "timeline": timelines.of_product(product, own_page=request.path),
    }
    return render(request, "staff/product_metrics.html", context)


def metric_rows(product: Product, metrics: Sequence[Metric], today: date) -> list[MetricRow]:
    """Return a row per metric, whether it was ever switched on or priced or not."""
    settings = {setting.metric_id: setting for setting in product.metric_settings.with_pricing()}
    return [
        _metric_row(settings[metric.pk], today)
        if metric.pk in settings
        else MetricRow(metric, metric.unit, False, "", "")
        for metric in metrics
    ]


def _metric_row(setting: MetricSetting, today: date) -> MetricRow:
    later = following(setting.all_versions, today)
    version = setting.version_on(today) or later
    if version is None:
        return MetricRow(setting.metric, setting.metric.unit, setting.is_enabled, "", "")
    currency = home_first(version.currencies)[0]
    pricing = version.pricing(currency)
    assert pricing is not None
    terms = [terms_of_price(pricing, version.unit)]
    if later is version:
        terms.append(_("from %(day)s") % {"day": dates.full_day(version.effective_from)})
    elif later is not None:
        told = {"number": later.number, "day": dates.full_day(later.effective_from)}
        terms.append(_("version %(number)s from %(day)s") % told)
    if not setting.is_enabled:
        terms.append(_("not billed while off"))
    price = short_price(pricing, version.unit, currency)
    return MetricRow(setting.metric, version.unit, setting.is_enabled, price, "; ".join(terms))


def prices_in_short(prices: QuerySet[ProductPrice]) -> tuple[list[str], str]:
    """Say the price of the shortest cycle in each currency, and name the other cycles."""
    months = {cycle.value: cycle.months for cycle in Cycle}
    shortest: dict[str, ProductPrice] = {}
    for price in sorted(prices, key=lambda price: (price.currency, months[price.cycle])):
        shortest.setdefault(price.currency, price)
    in_order = [shortest[currency] for currency in home_first(shortest)]
    shown = [f"{write(price.amount, price.currency)} {CYCLES[Cycle(price.cycle)]}" for price in in_order]
    others = {price.cycle for price in prices} - {price.cycle for price in shortest.values()}
    return shown, ", ".join(str(CYCLES[Cycle(each)]) for each in sorted(others, key=lambda cycle: months[cycle]))


def provider_title(name: str) -> str:
    known = base.installed().get(name)
    return _(known.title) if known else name


def with_counts(products: QuerySet[Product]) -> QuerySet[Product]:
    """Annotate `living`, the services that are not over, up to one more than MOST, and `enabled`, the metrics that
    are on."""
    services = Service.objects.exclude(status__in=OVER).filter(product=OuterRef("pk")).order_by()
    spans = EnabledSpan.objects.filter(
        end=None, setting__product=OuterRef("pk"), setting__metric__provider=OuterRef("provider")
    )
    enabled = spans.order_by().values("setting__product").annotate(number=Count("pk")).values("number")
    return products.annotate(
        living=CappedCount(services.values("pk")[: MOST + 1]), enabled=Coalesce(Subquery(enabled), 0)
    )


def _switched(on: list[Metric], off: list[Metric]) -> str:
    said = [_("Switches saved.")]
    if on:
        said.append(_("On: %(metrics)s.") % {"metrics": ", ".join(map(str, on))})
    if off:
        said.append(_("Off: %(metrics)s.") % {"metrics": ", ".join(map(str, off))})
    return " ".join(said) if on or off else _("Nothing changed.")


def _numbers(texts: Sequence[str]) -> set[int]:
    return {int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 10}
