"""Public pages: what each product costs. They need no login, and know the currency of a client who has one."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from catalog import price_list as prices
from catalog.access import clients_of
from catalog.models import Client, Product
from catalog.money import is_currency
from catalog.price_list import PriceList
from catalog.typed import home_first
from metering import dates


@dataclass(frozen=True, slots=True)
class Row:
    """A product of the list; without prices when it is not sold in the currency."""

    product: Product
    prices: PriceList | None


@require_safe
def price_lists(request: HttpRequest) -> HttpResponse:
    """What can be ordered, and from what price."""
    today = dates.site_day()
    products = list(prices.with_prices(Product.objects.filter(is_active=True).exclude(slug="")))
    sold = {product.pk: prices.sold_in(product, today) for product in products}
    currencies = home_first({currency for each in sold.values() for currency in each})
    currency, is_sold = _chosen(request, currencies)
    if products and not is_sold:
        return _no_price(request, currency, currencies)
    rows = [
        Row(product, prices.of_product(product, currency, today) if currency in sold[product.pk] else None)
        for product in products
    ]
    return render(request, "public/price_lists.html", {"rows": rows, "currency": currency, "currencies": currencies})


@require_safe
def price_list(request: HttpRequest, slug: str) -> HttpResponse:
    """What does it cost?"""
    product = get_object_or_404(prices.with_prices(Product.objects.all()), slug=slug)
    if not product.is_active and not (request.user.is_staff and request.user.has_perm("catalog.view_product")):
        raise Http404
    today = dates.site_day()
    currencies = prices.sold_in(product, today)
    currency, is_sold = _chosen(request, currencies)
    if not is_sold:
        return _no_price(request, currency, currencies, product)
    context = {
        "product": product,
        "prices": prices.of_product(product, currency, today),
        "currency": currency,
        "currencies": currencies,
    }
    return render(request, "public/price_list.html", context)


def _chosen(request: HttpRequest, currencies: Sequence[str]) -> tuple[str, bool]:
    """Return the currency that is asked for, or else the visitor's own, and whether there are prices in it."""
    asked = request.GET.get("currency", "").strip().upper()[:20]
    if asked:
        return asked, asked in currencies
    wanted = [*_own(request), settings.DEFAULT_CURRENCY, *currencies]
    found = next((currency for currency in wanted if currency in currencies), None)
    return found or wanted[0], found is not None


def _own(request: HttpRequest) -> list[str]:
    """The currencies in which a logged-in visitor is billed."""
    return list(Client.objects.filter(pk__in=clients_of(request)).values_list("currency", flat=True))


def _no_price(
    request: HttpRequest, currency: str, currencies: Sequence[str], product: Product | None = None
) -> HttpResponse:
    context = {"product": product, "currency": currency, "currencies": currencies, "is_known": is_currency(currency)}
    return render(request, "public/no_price.html", context, status=404)
