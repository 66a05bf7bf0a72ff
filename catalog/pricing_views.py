"""Staff pages: the pricing editor. Every button but the last only shows the page anew."""

from django.conf import settings as site
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from catalog import affected, editor, metric_billing
from catalog.forms import NumberField, PricingForm
from catalog.metric_billing import CannotBackdate, CannotWithdraw, Outdated
from catalog.models import OVER, MetricSetting, PricingVersion, Product, User
from catalog.money import is_currency
from catalog.terms import Cycle
from catalog.typed import (
    MAX_ROWS,
    Column,
    Subject,
    Typed,
    added_currencies,
    first_typed,
    typed_sheet,
    with_converted,
    with_currency,
    with_row,
    without_row,
)
from metering import dates
from metering.access import staff
from metering.models import Metric

#: Buttons that change or show what was typed, and save nothing.
_HARMLESS = {"add", "remove", "add_currency_button", "convert", "copy", "preview"}
#: What is asked of the worked example; whoever changes no prices asks it, too.
_EXAMPLE = {"quantity", "currency"}
#: Currencies that may be added to the table; each is four fields a row.
MAX_ADDED = 8


class NothingCopied(Exception):
    """A currency cannot be added, or prices not be taken over. The message says why."""


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.view_pricingversion", to_change="catalog.add_pricingversion")
def pricing(request: HttpRequest, pk: int, metric: int) -> HttpResponse:
    """Pricing editor: write the next version, or look at what is in force."""
    draft = posted_draft(request, pk, metric)
    is_saved = request.method == "POST" and not _HARMLESS & request.POST.keys()
    if draft.is_valid() and is_saved and _save(request, draft):
        return redirect("staff_product_metrics", pk=pk)
    return render(
        request,
        "staff/_pricing_live.html" if "X-Partial" in request.headers else "staff/pricing.html",
        _page(draft, is_saved=is_saved),
    )


@require_POST
@staff("catalog.add_pricingversion")
def withdraw(request: HttpRequest, pk: int, metric: int, number: int) -> HttpResponse:
    """Take a version back that is not in force yet."""
    assert isinstance(request.user, User)
    version = get_object_or_404(
        PricingVersion.objects.select_related("setting__product", "setting__metric"),
        setting__product=pk,
        setting__metric=metric,
        number=number,
    )
    try:
        metric_billing.withdraw(version=version, by=request.user, today=dates.site_day(), at=timezone.now())
    except CannotWithdraw:
        messages.error(
            request,
            _(
                "Version %(number)s stays: it has been in force since %(day)s, and what began since then is priced by "
                "it. Save another version to replace it."
            )
            % {"number": number, "day": dates.full_day(version.effective_from)},
        )
    else:
        messages.success(request, _("Version %(number)s is withdrawn. It stays in the history.") % {"number": number})
    return redirect("staff_pricing", pk=pk, metric=metric)


def posted_draft(request: HttpRequest, pk: int, metric: int) -> PricingForm:
    """Return what was typed for the pricing of a metric of a product, checked. 404 if there is no such metric."""
    product = get_object_or_404(Product, pk=pk)
    assert isinstance(request.user, User)
    subject = subject_of(product, get_object_or_404(Metric, pk=metric, provider=product.provider), request.user)
    try:
        typed = _typed(request, subject)
    except NothingCopied as error:
        typed = {**request.POST.dict(), "copy_error": str(error)}
    return PricingForm(typed, subject.with_currencies(added_currencies(typed)), is_checked=True)


def subject_of(product: Product, metric: Metric, user: User) -> Subject:
    today, may_backdate = dates.site_day(), metric_billing.may_backdate(user)
    cycles = [Cycle(each) for each in product.prices.order_by().values_list("cycle", flat=True).distinct()]
    settings = MetricSetting.objects.with_pricing().prefetch_related("versions__created_by", "versions__withdrawn_by")
    setting = settings.filter(product=product, metric=metric).first()
    if setting is None:
        new = metric_billing.new_setting(product, metric)
        return Subject(new, [], _columns(product, set()), today, may_backdate, cycles)
    versions = list(setting.all_versions)
    last = next((version for version in reversed(versions) if not version.is_withdrawn), None)
    columns = _columns(product, set(last.currencies if last else ()))
    return Subject(setting, versions, columns, today, may_backdate, cycles)


def _page(draft: PricingForm, *, is_saved: bool) -> dict[str, object]:
    subject, typed = draft.subject, draft.typed
    form = draft if is_saved else PricingForm(typed, subject, is_checked=False)
    example = editor.example(draft)
    return {
        "section": "products",
        "product": subject.setting.product,
        "subject": subject,
        "form": form,
        "rows": editor.table(form, draft, example.currency),
        "bounds": editor.bounds(form),
        "has_fees": editor.has_fees(typed),
        "may_add": len(form.numbers) < MAX_ROWS,
        "added": ",".join(added_currencies(typed)),
        "sources": copy_sources(subject),
        "copy_error": typed.get("copy_error", ""),
        "example": example,
        "cautions": editor.cautions_of(draft),
        "curve": editor.curve_of(draft),
        "changes": editor.changes(draft) if draft.is_valid() else [],
        "affected": affected.services(draft) if draft.is_valid() else None,
        "problems": editor.problems(draft) if is_saved else [],
        "history": editor.history(subject),
        "after": typed.get("after", subject.newest),
    }


def _typed(request: HttpRequest, subject: Subject) -> Typed:
    if request.method != "POST":
        return first_typed(subject) | {name: request.GET[name] for name in _EXAMPLE & request.GET.keys()}
    typed: Typed = request.POST.dict()
    if "add" in request.POST:
        return with_row(typed)
    if "remove" in request.POST:
        return without_row(typed, int(typed["remove"]) if typed["remove"] in map(str, range(1, MAX_ROWS + 1)) else 0)
    if "add_currency_button" in request.POST:
        return _with_currency(typed)
    if "convert" in request.POST:
        return _converted(typed)
    if "copy" in request.POST:
        return _copied(typed, subject)
    return typed


def _with_currency(typed: Typed) -> Typed:
    code = typed.get("add_currency", "").strip().upper()
    if not is_currency(code):
        words = _("%(code)s is not a currency of ISO 4217. Enter a code such as GBP.")
        raise NothingCopied(words % {"code": code or _("Nothing")})
    if len(added_currencies(typed)) >= MAX_ADDED:
        raise NothingCopied(_("There is no room for more than %(count)s added currencies.") % {"count": MAX_ADDED})
    return with_currency(typed, code)


def _converted(typed: Typed) -> Typed:
    try:
        factor = NumberField(places=6, digits=6).clean(typed.get("factor", ""))
    except ValidationError:
        factor = None
    if not factor:
        raise NothingCopied(_("Nothing was copied: the factor must be a plain number above 0, such as 0.95."))
    if typed.get("convert_from") == typed.get("convert_to"):
        raise NothingCopied(_("Nothing was copied: choose two different currencies."))
    return with_converted(typed, typed.get("convert_from", ""), typed.get("convert_to", ""), factor)


def _copied(typed: Typed, subject: Subject) -> Typed:
    """Put the prices of another product into the table; what is about this version stays as it was typed."""
    source = next((each for each in copy_sources(subject) if str(each.pk) == typed.get("copy_from")), None)
    version = source.version_on(subject.today) if source else None
    if version is None:
        raise NothingCopied(_("Nothing was copied: choose a product to copy prices from."))
    about = ("after", "effective_from", "reason", "quantity", "currency", "csrfmiddlewaretoken")
    sheet = version.sheet
    kept = {name: typed[name] for name in about if name in typed}
    return kept | typed_sheet(sheet) | {"added": ",".join(sheet.pricings)}


def copy_sources(subject: Subject) -> list[MetricSetting]:
    """Return the metrics of other products that have prices today in a unit that this one can have."""
    others = MetricSetting.objects.with_pricing().select_related("product").exclude(pk=subject.setting.pk)
    family = subject.setting.metric.unit.family
    return [
        each
        for each in others.order_by("product__name", "metric__display_name")
        if each.metric.unit.family == family and each.version_on(subject.today)
    ]


def _save(request: HttpRequest, draft: PricingForm) -> bool:
    """Save a valid form and say so. False when somebody else was faster; the form then shows why."""
    assert isinstance(request.user, User)
    setting, after, data = draft.subject.setting, request.POST.get("after", ""), draft.cleaned_data
    try:
        version = metric_billing.add_version(
            setting=setting,
            sheet=draft.sheet,
            effective_from=data["effective_from"],
            today=draft.subject.today,
            by=request.user,
            reason=data["reason"],
            after=int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else None,
        )
    except Outdated as error:
        newest = error.newest
        told = {"number": newest.number, "person": newest.created_by, "next": newest.number + 1}
        words = _(
            "Not saved: version %(number)s was saved meanwhile. It is in the history below. Save again to make this "
            "one version %(next)s."
        )
        if newest.created_by:
            words = _(
                "Not saved: version %(number)s was saved by %(person)s meanwhile. It is in the history below. Save "
                "again to make this one version %(next)s."
            )
        messages.error(request, words % told)
        draft.typed["after"] = str(error.newest.number)
        return False
    except CannotBackdate:
        draft.add_error("effective_from", _("Needs the permission to back-date, and a reason"))
        return False
    words = _(
        "Version %(number)s of the pricing of %(metric)s is saved. It applies to terms, months and days that begin on "
        "%(day)s or later."
    ) % {"number": version.number, "metric": setting.metric, "day": dates.full_day(version.effective_from)}
    if not draft.subject.is_enabled:
        off = _("%(metric)s is off: it is billed once it is switched on.") % {"metric": setting.metric}
        words = f"{words} {off}"
    messages.success(request, words)
    return True


def _columns(product: Product, priced: set[str]) -> list[Column]:
    """The currencies of a pricing: those that the product is sold in, those of the last version, the site's own."""
    living = product.services.exclude(status__in=OVER).order_by()
    services = dict(living.values_list("client__currency").annotate(Count("pk")))
    sold = set(product.prices.order_by().values_list("currency", flat=True).distinct()) | services.keys()
    columns = [
        Column(currency, services.get(currency, 0), currency in sold or not sold)
        for currency in sold | priced | {site.DEFAULT_CURRENCY}
    ]
    return sorted(columns, key=lambda column: (-column.services, not column.is_required, column.currency))
