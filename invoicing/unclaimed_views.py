"""Staff pages about usage that nobody is billed for."""

from datetime import date, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from catalog.models import Service
from catalog.money import write
from catalog.orders import Order
from invoicing import unclaimed
from invoicing.drafts import CannotBill
from invoicing.reasons import retold
from invoicing.unclaimed import CannotAttach, Coming
from invoicing.unclaimed_forms import AttachForm, FilterForm
from metering import dates, lookup
from metering.access import staff
from metering.decimals import exact_sum
from metering.models import Latest, Metric, Tenant
from metering.paging import MOST, CappedPaginator, capped
from metering.periods import Period, month

PAGE = 50


@require_GET
@staff("metering.view_tenant")
def unbilled(request: HttpRequest) -> HttpResponse:
    """Which tenants use something that nobody is billed for, and what would it bring?"""
    form = FilterForm(request.GET)
    rows = unclaimed.tenants().select_related("server").defer("server__credentials")
    everything = rows
    product = form.chosen("product") if request.user.has_perm("catalog.view_product") else None
    if words := form.chosen("q"):
        rows = rows.filter(pk__in=lookup.found(Tenant.objects.all(), ("key",), lookup.cleaned(words)))
    if server := form.chosen("server"):
        rows = rows.filter(server=server)
    if product:
        rows = rows.filter(server__provider=product.provider)
    page = CappedPaginator(rows.order_by("server_id", "key"), PAGE).get_page(request.GET.get("page"))
    is_filtered = bool(words or server or product)
    total = capped(everything, MOST) if is_filtered else page.paginator.count
    last_month = _last_month()
    quotes = unclaimed.quotes(list(page), product, form.chosen_currency, last_month) if product else {}
    latest = _latest(list(page))
    kept = request.GET.copy()
    kept.pop("page", None)
    return render(
        request,
        "staff/unbilled.html",
        {
            "section": "unbilled",
            "form": form,
            "total": total,
            "page": page,
            "rows": [(tenant, latest.get(tenant.pk, []), quotes.get(tenant.pk)) for tenant in page],
            "product": product,
            "currency": form.chosen_currency,
            "month": last_month,
            "sum": exact_sum(quote.amount for quote in quotes.values()),
            "is_filtered": is_filtered,
            "kept": kept.urlencode(),
        },
    )


def _latest(tenants: list[Tenant]) -> dict[int, list[tuple[Metric, str]]]:
    """Return the latest values of some tenants, in words."""
    found: dict[int, list[tuple[Metric, str]]] = {}
    metrics = Metric.objects.in_bulk()
    for row in Latest.objects.filter(tenant_id__in=[tenant.pk for tenant in tenants]).order_by("metric_id"):
        metric = metrics[row.metric_id]
        words = metric.unit.write(metric.unit.from_base(row.value), places=2)
        found.setdefault(row.tenant_id, []).append((metric, words))
    return found


def _last_month() -> Period:
    return month(dates.site_day().replace(day=1) - timedelta(days=1))


@staff("catalog.change_service")
@require_http_methods(["GET", "HEAD", "POST"])
def attach(request: HttpRequest, pk: int) -> HttpResponse:
    """Choose a service and from which day on, see what comes along, then attach the tenant."""
    known = Tenant.objects.select_related("server").defer("server__credentials").filter(first_seen_at__isnull=False)
    tenant, now = get_object_or_404(known, pk=pk), timezone.now()
    today, begins = dates.site_day(now), unclaimed.earliest([tenant])[tenant.pk]
    form = AttachForm(
        request.POST if request.method == "POST" else None,
        tenant=tenant,
        since=max(today.replace(day=1), begins.day),
        product=request.GET.get("product", ""),
        may_add=request.user.has_perm("catalog.add_service"),
    )
    context: dict[str, Any] = {"section": "unbilled", "tenant": tenant, "form": form, "begins": begins, "today": today}
    if request.method == "POST" and form.is_valid():
        to, since = form.target, form.cleaned_data["since"]
        try:
            coming = unclaimed.preview(tenant=tenant, to=to, since=since, at=now)
            shown = _shown(to, since, coming)
            if "attach" in request.POST and request.POST.get("shown") == shown:
                done = unclaimed.attach(tenant=tenant, to=to, since=since, at=now, amount=coming.amount)
                told = {
                    "tenant": tenant,
                    "service": done.service,
                    "amount": write(done.amount, done.service.currency),
                }
                messages.success(
                    request, _("%(tenant)s belongs to %(service)s now. So far %(amount)s came along.") % told
                )
                return redirect("staff_service", done.service.public_id)
        except (CannotAttach, CannotBill) as error:
            form.add_error(None, retold(str(error)))
        else:
            is_changed = "attach" in request.POST
            context |= {"coming": coming, "shown": shown, "is_new": isinstance(to, Order), "is_changed": is_changed}
    return render(request, "staff/unbilled_attach.html", context)


def _shown(to: Service | Order, since: date, coming: Coming) -> str:
    """What a person has seen, in a word: another choice or another amount has to be looked at again."""
    if isinstance(to, Order):
        to_words = f"{to.client.pk} {to.product.pk} {to.cycle} {to.start} {to.name}"
        return f"{to_words} {since} {coming.amount:f}"
    return f"{to.pk} {since} {coming.amount:f}"
