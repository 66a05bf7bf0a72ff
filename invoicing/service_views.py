"""Staff pages about the life of a service: it ends, changes, comes back, and is billed for what was left out."""

from decimal import Decimal

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from catalog.models import MetricSetting, Override, ProductPrice, Service, User
from catalog.money import write
from invoicing import back_billing, boundary, changing, termination
from invoicing.back_billing import Excluded, NothingToBill
from invoicing.changing import CannotChange
from invoicing.drafts import CannotBill
from invoicing.models import BackBilling, Invoice
from invoicing.reasons import retold
from invoicing.service_forms import BackBillingForm, ChangeForm, TerminationForm
from metering import dates
from metering.access import staff


@staff("catalog.change_service")
@require_http_methods(["GET", "HEAD", "POST"])
def terminate(request: HttpRequest, public_id: str) -> HttpResponse:
    """Say what will happen, then do it."""
    one, form = _service(public_id), TerminationForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        _terminate(request, one, form.cleaned_data["when_down"])
        return redirect("staff_service", public_id)
    today, now = dates.site_day(), timezone.now()
    context = {"section": "services", "service": one, "form": form}
    if one.is_billable:
        context["is_due"] = one.next_due_on is not None and one.next_due_on < today
        try:
            context["draft"] = termination.preview(service=one, at=now)
        except CannotBill as error:
            context["problem"] = retold(str(error))
    return render(request, "staff/terminate.html", context)


def _terminate(request: HttpRequest, service: Service, when_down: termination.WhenDown) -> None:
    try:
        ended = termination.terminate(service=service, on=dates.site_day(), at=timezone.now(), when_down=when_down)
    except (boundary.CannotClose, CannotBill) as error:
        messages.error(request, retold(str(error)))
        return
    if ended.warning:
        messages.warning(request, ended.warning)
    if ended.invoice:
        messages.info(
            request,
            _("%(service)s is terminated. Its last invoice is %(named)s.")
            % {"service": service, "named": _named(ended.invoice)},
        )
    elif ended.waits:
        messages.info(
            request, _("%(service)s is terminated. Its last invoice waits for its server.") % {"service": service}
        )
    else:
        messages.info(request, _("%(service)s is terminated. There was nothing left to charge.") % {"service": service})


@staff("catalog.change_service")
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, public_id: str) -> HttpResponse:
    """Choose another product or tenant, see what is billed now at the old prices, then do it."""
    one, now = _service(public_id), timezone.now()
    form = ChangeForm(request.POST or None, service=one)
    context = {"section": "services", "service": one, "form": form, "is_open": one.is_billable}
    if request.method == "POST" and form.is_valid():
        product, tenant = form.cleaned_data["product"], form.cleaned_data["chosen"]
        try:
            shown = f"{product.pk} {tenant.pk if tenant else ''}"
            if "change" in request.POST and request.POST.get("shown") == shown:
                _say_changed(request, changing.change(service=one, at=now, product=product, tenant=tenant))
                return redirect("staff_service", public_id)
            draft = changing.preview(service=one, at=now, product=product, tenant=tenant)
        except (boundary.CannotClose, CannotBill) as error:
            form.add_error(None, retold(str(error)))
        else:
            today = dates.site_day(now)
            prices = ProductPrice.objects.filter(product=product, cycle=one.cycle, currency=one.currency)
            agreements = Override.objects.in_force(today).filter(service=one, setting__product=one.product)
            context |= {
                "draft": draft,
                "shown": shown,
                "product": product,
                "tenant": tenant,
                "price": prices.first(),
                "is_due": one.next_due_on is not None and one.next_due_on < today,
                "was_changed": changing.was_changed(one, today),
                "agreements": agreements.count() if product != one.product else 0,
            }
    return render(request, "staff/service_change.html", context)


def _say_changed(request: HttpRequest, changed: changing.Changed) -> None:
    service, invoice = changed.service, changed.invoice
    if changed.warning:
        messages.warning(request, changed.warning)
    told = {"service": service, "product": service.product, "tenant": service.tenant}
    now = _("%(service)s is %(product)s now.") % told
    if service.tenant:
        now = _("%(service)s is %(product)s as %(tenant)s now.") % told
    if invoice is None:
        messages.success(request, _("%(now)s There was no usage to charge up to now.") % {"now": now})
    else:
        messages.success(
            request, _("%(now)s Its usage up to now is on invoice %(named)s.") % {"now": now, "named": _named(invoice)}
        )


@staff("catalog.change_service")
@require_http_methods(["GET", "HEAD", "POST"])
def reactivate(request: HttpRequest, public_id: str) -> HttpResponse:
    """Say what happens when a terminated service comes back, then do it."""
    one = _service(public_id)
    if request.method == "POST":
        try:
            back = changing.reactivate(service=one, at=timezone.now())
        except CannotChange as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request,
                _("%(back)s runs again. Its first term begins today and is billed by the next run.") % {"back": back},
            )
        return redirect("staff_service", public_id)
    prices = ProductPrice.objects.filter(product=one.product, cycle=one.cycle, currency=one.currency)
    return render(
        request,
        "staff/service_reactivate.html",
        {
            "section": "services",
            "service": one,
            "today": dates.site_day(),
            "price": prices.first(),
            "is_over": one.status == Service.Status.TERMINATED,
            "waits": termination.is_waiting(one),
        },
    )


@staff("catalog.view_service")
@require_http_methods(["GET", "HEAD", "POST"])
def left_out(request: HttpRequest, public_id: str) -> HttpResponse:
    """What was used while a metric or usage invoicing was off, and what would it bring?"""
    one, today = _service(public_id), dates.site_day()
    if request.method == "POST":
        if not request.user.has_perm("invoicing.add_backbilling"):
            raise PermissionDenied
        form = BackBillingForm(request.POST, auto_id=f"id-{request.POST.get('setting')}-%s")
        if form.is_valid() and _grant(request, one, form):
            return redirect("staff_left_out", public_id)
    else:
        form = BackBillingForm()
    found, problem = [], ""
    try:
        found = back_billing.excluded(one, today)
    except CannotBill as error:
        problem = retold(str(error))
    asked = form["setting"].value()
    granted = BackBilling.objects.filter(service=one).select_related("setting__metric", "by").order_by("-pk")
    return render(
        request,
        "staff/left_out.html",
        {
            "section": "services",
            "service": one,
            "rows": [(each, form if str(each.setting.pk) == asked else _form_for(each)) for each in found],
            "problem": problem,
            "granted": granted,
        },
    )


def _form_for(excluded: Excluded) -> BackBillingForm:
    initial = {"setting": excluded.setting.pk, "amount": f"{excluded.amount:f}"}
    return BackBillingForm(initial=initial, auto_id=f"id-{excluded.setting.pk}-%s")


def _grant(request: HttpRequest, service: Service, form: BackBillingForm) -> bool:
    """Let what was shown go on the next invoice. False when that is refused; a message says why."""
    assert isinstance(request.user, User)
    setting = get_object_or_404(MetricSetting.objects.select_related("metric"), pk=form.cleaned_data["setting"])
    amount: Decimal = form.cleaned_data["amount"]
    now = timezone.now()
    try:
        back_billing.grant(
            service=service,
            setting=setting,
            amount=amount,
            reason=form.cleaned_data["reason"],
            on=dates.site_day(now),
            at=now,
            by=request.user,
        )
    except (NothingToBill, CannotBill) as error:
        messages.error(request, retold(str(error)))
        return False
    money = write(amount, service.currency)
    messages.success(
        request,
        _("%(metric)s that was left out is on the next invoice of %(service)s: %(money)s.")
        % {"metric": setting.metric, "service": service, "money": money},
    )
    return True


def _named(invoice: Invoice) -> str:
    return f"{invoice.number}, {write(invoice.total, invoice.currency)}"


def _service(public_id: str) -> Service:
    return get_object_or_404(Service.objects.select_related("client", "product", "tenant__server"), public_id=public_id)
