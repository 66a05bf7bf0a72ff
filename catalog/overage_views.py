"""The staff page on what a product charges above its soft limits."""

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from catalog import overage
from catalog.models import OVER, OverageTerms, Product, Service, User
from catalog.overage_forms import OverageForm, first_typed
from catalog.typed import home_first
from metering import dates
from metering.access import staff
from metering.periods import month


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.view_overageterms", to_change="catalog.change_metricsetting")
def terms(request: HttpRequest, pk: int) -> HttpResponse:
    """What does space and traffic above the limits cost, and who pays it when?"""
    product = get_object_or_404(Product.objects.prefetch_related("overage_terms__prices"), pk=pk)
    known = list(product.overage_terms.all())
    newest = known[-1] if known else None
    now = timezone.now()
    this = month(dates.site_day(now))
    living = Service.objects.filter(product=product).exclude(status__in=OVER)
    currencies = {settings.DEFAULT_CURRENCY, *living.values_list("client__currency", flat=True).distinct()}
    if newest:
        currencies |= {row.currency for row in newest.prices.all()}
    form = OverageForm(
        request.POST or None,
        currencies=home_first(currencies),
        months=[this.start, this.end],
        initial=first_typed(newest) | {"effective_from": str(this.start)},
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            made = overage.add_terms(
                product=product,
                sheet=form.sheet,
                effective_from=data["effective_from"],
                at=now,
                by=cast(User, request.user),
                after=data["after"],
            )
        except overage.Outdated:
            form.add_error(None, _("Somebody saved other terms meanwhile. Look at them first: open this page again."))
        else:
            _say(request, product, made)
            return redirect("staff_overage", product.pk)
    return render(
        request,
        "staff/overage.html",
        {
            "section": "products",
            "product": product,
            "form": form,
            "known": known[::-1],
            "in_force": overage.in_force(known, this.start),
            "is_charged_twice": overage.is_charged_twice(product, overage.in_force(known, this.end)),
        },
    )


def _say(request: HttpRequest, product: Product, made: OverageTerms) -> None:
    if not made.is_on:
        words = _("From %(month)s on, %(product)s charges nothing above its limits.")
        messages.info(request, words % {"month": dates.month(made.effective_from), "product": product})
    elif overage.is_charged_twice(product, made):
        messages.warning(
            request,
            _("Saved. Traffic is billed as a metric as well, so clients pay for it twice: switch one of the two off."),
        )
    else:
        messages.info(request, _("Saved. It holds from %(month)s on.") % {"month": dates.month(made.effective_from)})
