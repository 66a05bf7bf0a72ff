"""Staff pages: what documents and usage come to over the months."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET

from catalog.models import Product
from catalog.typed import home_first
from metering import dates
from metering.access import staff
from metering.models import Metric
from reports import growth, months, outgrown, prices, revenue
from reports.counting import Sums, sums
from reports.forms import GrowthForm, OutgrownForm, PricesForm, ReportForm, RevenueForm
from reports.models import Fit, Looked, MeasuredMonth, UsageSum
from reports.tables import Table, written

VIEW = "reports.view_report"
#: Services on a page.
PAGE = 50
USUAL_RULE = {"terms": "3", "percent": "100", "cheaper": "yes"}


@require_GET
@staff(VIEW)
def index(request: HttpRequest) -> HttpResponseBase:
    """What can be asked, and the answer of each in a figure."""
    now, today = sums(), dates.site_day()
    currency = next(iter(home_first(revenue.currencies(now))), "")
    used = growth.usages()
    return render(
        request,
        "reports/index.html",
        {
            "section": "reports",
            "sums": now,
            "revenue": revenue.headline(now, currency, today) if currency else None,
            "growth": growth.headline(used, months.previous(today.replace(day=1))) if used else None,
            "price": prices.headline(now, currency, today) if currency else None,
            "outgrown": outgrown.outgrown(outgrown.Rule()).count(),
            "looked_at": Looked.objects.values_list("at", flat=True).first(),
        },
    )


@require_GET
@staff(VIEW)
def show_revenue(request: HttpRequest, as_csv: bool = False) -> HttpResponseBase:
    """What was charged, by product, metric and month?"""
    now, today, names = sums(), dates.site_day(), revenue.Names.read()
    of_month = {row.month for row in now.documents} | {row.used for row in now.lines}
    form = RevenueForm(request.GET, months.through(of_month, today), by="issue")
    known = home_first(revenue.currencies(now))
    _offer(form, sorted({row.product for row in now.lines}), known, names.products)
    by_use = form.chosen("by") == "use"
    shown = [
        revenue.revenue(
            now, names, currency=each, months=form.months, product=form.one_product, by_use=by_use, today=today
        )
        for each in _chosen(form, known)
    ]
    if as_csv:
        tables = [([one.currency], one.table) for one in shown]
        return _csv("revenue", form.months, tables, [_("currency")])
    return _page(request, "reports/revenue.html", form, now, revenues=shown, by_use=by_use)


@require_GET
@staff(VIEW)
def show_growth(request: HttpRequest, as_csv: bool = False) -> HttpResponseBase:
    """Is more used than before?"""
    today = dates.site_day()
    known = list(UsageSum.objects.order_by("month").values_list("month", flat=True)[:1])
    metric = _metric(request)
    form = GrowthForm(request.GET, months.through(known, today), today, metric is not None)
    products = UsageSum.objects.order_by().values_list("product", flat=True).distinct()
    _offer(form, list(products), [], Product.objects.in_bulk())
    found = growth.usages(product=form.one_product, metric=metric)
    one = found[0] if metric is not None and len(found) == 1 else None
    last = _last_complete(form.months, today) if one else form.the_month or today.replace(day=1)
    if one:
        table = growth.history(one, form.months, today)
    else:
        table = growth.overview(found, last, today, _links(request, found))
    if as_csv:
        return _csv("usage-growth", form.months if one else [last], [([], table)], [])
    at = MeasuredMonth.objects.order_by("-at").values_list("at", flat=True).first()
    return _page(
        request,
        "reports/growth.html",
        form,
        None,
        table=table if found else None,
        one=one,
        chart=growth.chart(one, form.months) if one else None,
        hidden=_only(form, product=one.product.pk, metric=one.metric.pk) if one else [],
        figures=growth.figures(one, last, today) if one else None,
        headline=None if last == today.replace(day=1) else growth.headline(found, last),
        at=at,
    )


@require_GET
@staff(VIEW)
def show_prices(request: HttpRequest, as_csv: bool = False) -> HttpResponseBase:
    """What does a unit really cost?"""
    now, today = sums(), dates.site_day()
    usage = [row for row in now.lines if row.kind == "usage" and not row.is_credit]
    known = home_first({row.currency for row in usage})
    setting = _setting(request)
    of_month = months.through({row.month for row in usage}, today)
    form = PricesForm(request.GET, of_month, today, setting is not None, currency=(known or [""])[0])
    _offer(form, sorted({row.product for row in usage}), known, Product.objects.in_bulk(), is_any=False)
    currency = form.chosen("currency")
    chosen = form.months if setting is not None else [form.the_month or today.replace(day=1)]
    found = prices.prices(now, months=chosen, currency=currency, product=form.one_product, setting=setting)
    one = found[-1] if setting is not None and found else None
    if one:
        table = prices.history(found, form.months, today)
    else:
        links = {each.setting.pk: _kept(request, setting=each.setting.pk, currency=currency) for each in found}
        table = prices.overview(found, links)
    if as_csv:
        return _csv("price-per-unit", chosen, [([currency], table)], [_("currency")])
    return _page(
        request,
        "reports/prices.html",
        form,
        now,
        table=table if found else None,
        one=one,
        chart=prices.chart(found, form.months) if one else None,
        prices=found,
        hidden=_only(form, setting=one.setting.pk) if one else [],
        currency=currency,
        known=known,
        words=dates.months(chosen[0], chosen[-1]) if chosen else "",
        one_unit=one.unit.noun(Decimal(1)) if one else "",
        total=prices.total(found),
    )


@require_GET
@staff(VIEW)
def show_outgrown(request: HttpRequest, as_csv: bool = False) -> HttpResponseBase:
    """Who outgrew the plan?"""
    form = OutgrownForm(request.GET, **USUAL_RULE)
    form.fields["terms"].choices = [  # type: ignore[attr-defined]  # a choice field
        (count, ngettext("%(count)s term in a row", "%(count)s terms in a row", count) % {"count": count})
        for count in (1, 2, 3, 6, 12)
    ]
    known_fits = Fit.objects.order_by()
    products = known_fits.values_list("service__product", flat=True).distinct()
    known = home_first(known_fits.values_list("currency", flat=True).distinct())
    _offer(form, list(products), known, Product.objects.in_bulk())
    found = outgrown.outgrown(form.rule, product=form.one_product, currency=form.chosen("currency"))
    if as_csv:
        fits = list(found)
        rows = outgrown.table(fits, form.rule, {})
        tables = [
            ([fit.currency, fit.service.client.name, str(fit.terms)], Table(rows.columns, [row]))
            for fit, row in zip(fits, rows.rows, strict=True)
        ]
        return _csv("outgrown", [], tables or [([""] * 3, rows)], [_("currency"), _("client"), _("terms")])
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    shown = list(page)
    links = {}
    if request.user.has_perm("catalog.view_service"):
        links = {fit.service_id: reverse("staff_service", args=[fit.service.public_id]) for fit in shown}
    return _page(
        request,
        "reports/outgrown.html",
        form,
        None,
        page=page,
        table=outgrown.table(shown, form.rule, links) if shown else None,
        rule=form.rule,
        at=Looked.objects.values_list("at", flat=True).first(),
        cheaper=found.filter(other__isnull=False).count(),
    )


# ---- what the pages share


def _page(request: HttpRequest, template: str, form: ReportForm, now: Sums | None, **more: Any) -> HttpResponseBase:
    kept = request.GET.copy()
    kept.pop("page", None)
    page = {"section": "reports", "form": form, "sums": now, "kept": kept.urlencode()}
    return render(request, template, page | more)


def _offer(
    form: ReportForm,
    products: Iterable[int],
    currencies: Sequence[str],
    names: Any,
    is_any: bool = True,
) -> None:
    chosen = sorted(((pk, names[pk].name) for pk in products if pk in names), key=lambda one: one[1])
    form.offer("product", [("", _("All products")), *chosen] if len(chosen) > 1 else [])
    every = [("", _("All currencies"))] if is_any and len(currencies) > 1 else []
    form.offer("currency", [*every, *((each, each) for each in currencies)])


def _only(form: ReportForm, **kept: int) -> list[tuple[str, int]]:
    """Let a page about one metric keep what it is about: its product is not chosen there."""
    form.fields.pop("product", None)
    return list(kept.items())


def _chosen(form: ReportForm, known: Sequence[str]) -> Sequence[str]:
    return [chosen] if (chosen := form.chosen("currency")) else known


def _last_complete(chosen: Sequence[date], today: date) -> date:
    """The last of some months that is over; the last one if none is."""
    complete = [month for month in chosen if month < today.replace(day=1)]
    return (complete or list(chosen) or [today.replace(day=1)])[-1]


def _metric(request: HttpRequest) -> int | None:
    """The metric that was chosen, if there is such a one."""
    text = request.GET.get("metric", "")
    return int(text) if text.isdecimal() and Metric.objects.filter(pk=int(text[:9])).exists() else None


def _setting(request: HttpRequest) -> int | None:
    text = request.GET.get("setting", "")
    return int(text[:9]) if text.isdecimal() else None


def _links(request: HttpRequest, found: Sequence[growth.Usage]) -> dict[tuple[int, int], str]:
    return {
        (one.product.pk, one.metric.pk): _kept(request, product=one.product.pk, metric=one.metric.pk) for one in found
    }


def _kept(request: HttpRequest, **changed: object) -> str:
    """The address of this page with what was chosen, and something else."""
    return f"?{urlencode({**request.GET.dict(), **changed})}"


def _csv(
    name: str, chosen: Sequence[date], tables: Iterable[tuple[Sequence[str], Table]], heads: Sequence[str]
) -> StreamingHttpResponse:
    span = f"-{chosen[0]:%Y-%m}-{chosen[-1]:%Y-%m}" if chosen else ""
    rows: Iterator[str] = written(tables, heads)
    return StreamingHttpResponse(
        rows,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}{span}.csv"'},
    )
