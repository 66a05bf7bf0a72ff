"""Staff pages: agree other terms with one client, let them end, and take them back."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from catalog import overrides
from catalog.editor import Problem, TableRow
from catalog.models import OVER, MetricSetting, Override, Service, User
from catalog.override_example import example, row_words
from catalog.override_forms import OverrideForm, Subject, day_field, first_typed
from catalog.overrides import ONE_DAY, CannotAgree, CannotEnd, CannotWithdraw
from catalog.typed import MAX_ROWS, Typed, with_row, without_row
from catalog.wording import agreed_days
from metering import dates
from metering.access import staff

#: Buttons that change or show what was typed, and save nothing.
_HARMLESS = {"add", "remove", "preview"}

#: Fields that an example does not depend on.
_NOT_TERMS = {"id_starts_on", "id_last_day", "id_reason"}


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.add_override")
def agreement(request: HttpRequest, public_id: str, metric: int) -> HttpResponse:
    """Agree other terms on a metric of a service."""
    subject = _subject(request, public_id, metric)
    draft = OverrideForm(_typed(request, subject), subject, is_checked=True)
    is_saved = request.method == "POST" and not _HARMLESS & request.POST.keys()
    if draft.is_valid() and is_saved and _agree(request, draft):
        return redirect("staff_service", public_id)
    return render(
        request,
        "staff/_agreement_form.html" if "X-Partial" in request.headers else "staff/agreement.html",
        _page(draft, is_saved=is_saved),
    )


@require_POST
@staff("catalog.change_override")
def end(request: HttpRequest, public_id: str, pk: int) -> HttpResponse:
    """Let an agreement end."""
    override, by = _override(public_id, pk), _user(request)
    try:
        last_day = day_field(_("Last day"), is_required=True).clean(request.POST.get("last_day"))
        ended = overrides.end(override=override, on=last_day + ONE_DAY, by=by, today=dates.site_day())
    except (ValidationError, OverflowError):
        messages.error(request, _("Nothing was ended: choose a last day that exists."))
    except CannotEnd as error:
        words = _("What is agreed on %(metric)s stays as it is. %(reason)s")
        messages.error(request, words % {"metric": override.setting.metric, "reason": error})
    else:
        words = _(
            "What is agreed on %(metric)s ends: %(day)s is its last day. What begins later has the prices of the "
            "product."
        )
        messages.success(request, words % {"metric": ended.setting.metric, "day": dates.full_day(last_day)})
    return redirect("staff_service", public_id)


@require_POST
@staff("catalog.change_override")
def withdraw(request: HttpRequest, public_id: str, pk: int) -> HttpResponse:
    """Take back what has not begun."""
    override = _override(public_id, pk)
    try:
        overrides.withdraw(override=override, by=_user(request), today=dates.site_day())
    except CannotWithdraw:
        words = _("What is agreed on %(metric)s stays: it has begun or is on an invoice. It can be ended.")
        messages.error(request, words % {"metric": override.setting.metric})
    else:
        told = {"metric": override.setting.metric, "days": agreed_days(override.start, override.end)}
        messages.success(request, _("What was agreed on %(metric)s %(days)s is withdrawn.") % told)
    return redirect("staff_service", public_id)


def _subject(request: HttpRequest, public_id: str, metric: int) -> Subject:
    """Return what is agreed on. 404 for a service that is over, and for a metric that has no price."""
    living = Service.objects.exclude(status__in=OVER).select_related("client", "product")
    service = get_object_or_404(living, public_id=public_id)
    settings = MetricSetting.objects.with_pricing()
    setting = get_object_or_404(settings, product=service.product_id, metric=metric)
    may_backdate = request.user.has_perm("catalog.backdate_pricing")
    subject = Subject(service, setting, dates.site_day(), may_backdate)
    if subject.version is None:
        raise Http404(f"{setting} has no price")
    return subject


def _override(public_id: str, pk: int) -> Override:
    found = Override.objects.select_related("setting__metric")
    return get_object_or_404(found, service__public_id=public_id, pk=pk)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _typed(request: HttpRequest, subject: Subject) -> Typed:
    if request.method != "POST":
        return first_typed(subject)
    typed: Typed = request.POST.dict()
    if "add" in request.POST:
        return with_row(typed)
    if "remove" in request.POST:
        return without_row(typed, int(typed["remove"]) if typed["remove"] in map(str, range(1, MAX_ROWS + 1)) else 0)
    return typed


def _agree(request: HttpRequest, draft: OverrideForm) -> bool:
    """Write what a valid form says, and say so. False when the deed refuses it; the form then shows why."""
    subject, terms, data = draft.subject, draft.agreement, draft.cleaned_data
    assert terms is not None
    try:
        override = overrides.agree(
            service=subject.service,
            setting=subject.setting,
            agreement=terms,
            start=data["starts_on"],
            end=draft.end,
            reason=data["reason"],
            by=_user(request),
            today=subject.today,
        )
    except CannotAgree as error:
        draft.refuse(error)
        return False
    told = {"metric": subject.setting.metric, "days": agreed_days(override.start, override.end), "what": override.what}
    messages.success(request, _("Agreed on %(metric)s %(days)s: %(what)s. The client can read it.") % told)
    return True


def _page(draft: OverrideForm, *, is_saved: bool) -> dict[str, Any]:
    subject, problems = draft.subject, _problems(draft)
    form = draft if is_saved else OverrideForm(draft.typed, subject, is_checked=False)
    return {
        "section": "services",
        "subject": subject,
        "service": subject.service,
        "metric": subject.setting.metric,
        "form": form,
        "rows": [
            TableRow(
                number,
                form[f"start-{number}"],
                [(subject.currency, form[f"price-{number}"]), (_("Flat fee"), form[f"fee-{number}"])],
                words,
            )
            for number, words in zip(form.numbers, row_words(draft), strict=True)
        ],
        "may_add": len(form.numbers) < MAX_ROWS,
        "price": subject.price_words,
        "example": example(draft),
        "is_typed": any(draft.typed.get(name, "").strip() for name in ("included", "discount", "scheme")),
        "problems": problems if is_saved else [],
        "in_the_way": [each for each in problems if each.id not in _NOT_TERMS],
    }


def _problems(draft: OverrideForm) -> list[Problem]:
    """Return what is wrong with the form, in the order of the page."""
    return [
        Problem(draft[name].auto_id, str(draft.fields[name].label), str(message))
        for name in draft.fields
        for message in draft.errors.get(name, [])
    ]
