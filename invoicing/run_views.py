"""Staff pages about billing runs: the dry run and what is decided about it, the run itself, and what waits."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit.reading import as_number
from catalog import missing_prices
from catalog.models import Service, User
from catalog.money import write
from catalog.wording import percent
from invoicing import boundary, cockpit, corrections, preview, review, runs, settlements, termination, usage_invoicing
from invoicing.billing import create_invoices
from invoicing.drafts import CannotBill
from invoicing.models import Decision, Deferral, Difference, Parked, Preview, Run, RunNote
from invoicing.reasons import retold
from invoicing.service_forms import DecisionForm
from metering import dates
from metering.access import staff

PAGE = 50
#: Each of them may name a sum in many currencies.
RUNS = 20


@require_http_methods(["GET", "HEAD", "POST"])
@staff("invoicing.view_run")
def all_runs(request: HttpRequest) -> HttpResponseBase:
    """What did the last ones do, and what do they leave to a person?"""
    if request.method == "POST":
        return _start(request)
    today, now = dates.site_day(), timezone.now()
    page = Paginator(Run.objects.select_related("started_by"), RUNS).get_page(request.GET.get("page"))
    parked = Parked.objects.select_related("service__client", "service__product").order_by("since", "pk")
    context = {
        "section": "runs",
        "page": page,
        "rows": [(run, runs.state(run, now)) for run in page],
        "due": Service.objects.due(today).count(),
        "today": today,
        "is_on": usage_invoicing.is_on(today),
        "parked": with_ways_out(parked[:PAGE], today),
        "parked_count": parked.count(),
        "waiting": Deferral.objects.select_related("service__client", "setting__metric").order_by("since")[:PAGE],
        "differences": Difference.objects.count(),
        "preview": Preview.objects.first(),
    }
    return render(request, "staff/runs.html", context)


def with_ways_out(parked: Iterable[Parked], today: date) -> list[Parked]:
    """Give parked services `lacking`, the price that each of them lacks, if it is a price. Needs their clients."""
    found = list(parked)
    missing = missing_prices.of_living_services(today) if found else []
    for one in found:
        one.lacking = next((each for each in missing if each.is_lacked_by(one.service)), None)  # type: ignore[attr-defined]
    return found


@staff("invoicing.add_run")
def _start(request: HttpRequest) -> HttpResponse:
    run = runs.start(on=dates.site_day(), at=timezone.now(), by=_user(request))
    return redirect("staff_run", run.pk)


@require_GET
@staff("invoicing.view_run")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """How far is it, or what did it do?"""
    one, now = get_object_or_404(Run.objects.select_related("started_by"), pk=pk), timezone.now()
    state = runs.state(one, now)
    context: dict[str, Any] = {"section": "runs", "run": one, "state": state, "now": now, "until": one.ended_at or now}
    if "X-Live" in request.headers:
        return render(request, "staff/_run_progress.html", context)
    if not state.is_live:
        notes = RunNote.objects.filter(run=one).select_related("service__client")
        context["notes"] = Paginator(notes, PAGE).get_page(request.GET.get("page"))
        context["left"] = max(one.due - one.services - one.parked - one.held - one.drafts, 0)
        issued = one.issued.select_related("client").with_state(dates.site_day())
        context["invoices"] = documents = list(issued.order_by("number")[:PAGE])
        context["is_taxed"] = any(document.tax_percent is not None for document in documents)
    return render(request, "staff/run.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@staff("invoicing.view_run")
def latest_preview(request: HttpRequest) -> HttpResponseBase:
    """May this go out?"""
    if request.method == "POST":
        return _ask(request)
    return _preview(request, Preview.objects.select_related("asked_by").first())


@require_GET
@staff("invoicing.view_run")
def one_preview(request: HttpRequest, pk: int) -> HttpResponse:
    return _preview(request, get_object_or_404(Preview.objects.select_related("asked_by"), pk=pk))


@staff("invoicing.add_run")
def _ask(request: HttpRequest) -> HttpResponse:
    """Make a dry run: now, or by the worker if it is a long one. While one is made, no second is."""
    today, now = dates.site_day(), timezone.now()
    last = Preview.objects.first()
    if last is not None and runs.state(last, now).is_live:
        return redirect("staff_preview_of", last.pk)
    one = preview.ask(on=today, at=now, by=_user(request))
    runs.make_preview(one, due=Service.objects.due(today).count())
    return redirect("staff_preview_of", one.pk)


def _preview(request: HttpRequest, one: Preview | None) -> HttpResponse:
    today, now = dates.site_day(), timezone.now()
    state = runs.state(one, now) if one else None
    context: dict[str, Any] = {"section": "runs", "preview": one, "state": state, "now": now, "today": today}
    if one and state == runs.State.DONE:
        until = one.outcome["collected_until"]
        context |= {
            "cockpit": cockpit.of(one),
            "collected_until": datetime.fromisoformat(until) if until else None,
            "limits": {
                "percent": percent(settings.DIFFERENCE_ABOVE_PERCENT),
                "amount": f"{settings.DIFFERENCE_ABOVE:f}",
            },
        }
    elif "X-Live" in request.headers:
        return render(request, "staff/_run_preview_progress.html", context)
    else:
        context["due"] = Service.objects.due(today).count()
    return render(request, "staff/run_preview.html", context)


@require_POST
@staff("invoicing.add_run")
def decide_preview(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Save what was decided about each service, and start the run if that was asked for."""
    one = get_object_or_404(Preview, pk=pk)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        _say_errors(request, form)
        return redirect("staff_preview_of", pk)
    verdicts = {
        number: str(verdict)
        for name, verdict in request.POST.items()
        if (number := as_number(name.removeprefix("decision-"))) is not None
        and verdict in (Decision.Verdict.APPROVE, Decision.Verdict.HOLD)
    }
    made = preview.decide(
        one=one,
        verdicts=verdicts,
        at=timezone.now(),
        by=_user(request),
        reason=form.cleaned_data["reason"],
    )
    if "issue" in request.POST:
        return _start(request)
    saved = ngettext("%(count)s decision saved.", "%(count)s decisions saved.", made) % {"count": made}
    messages.info(request, saved if made else _("No decision was new."))
    return redirect("staff_preview_of", pk)


@require_POST
@staff("invoicing.add_run")
def decide(request: HttpRequest, public_id: str) -> HttpResponse:
    """Hold, release or approve a single service."""
    one, today, now = _service(public_id), dates.site_day(), timezone.now()
    verdict = request.POST.get("verdict", "")
    amount = None
    if verdict not in Decision.Verdict.values:
        messages.error(request, _("Choose to hold, release or approve it."))
        return _back(request, one)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        _say_errors(request, form)
        return _back(request, one)
    if verdict == Decision.Verdict.APPROVE:
        # What is approved is what it comes to now, and that is what the answer says.
        left = create_invoices(on=today, at=now, service=one, dry_run=True).left
        amount = left[0].total if left and not review.missed_terms(one, today) else None
    review.decide(
        service=one,
        verdict=verdict,
        through=today,
        at=now,
        by=_user(request),
        amount=amount,
        reason=form.cleaned_data["reason"],
    )
    messages.info(request, _said(one, verdict, amount))
    return _back(request, one)


def _said(one: Service, verdict: str, amount: Any) -> str:
    told = {"service": one}
    if verdict == Decision.Verdict.HOLD:
        return _("%(service)s is held: no run bills it until it is released.") % told
    if verdict == Decision.Verdict.RELEASE:
        return _("%(service)s is released: the next run bills what is due, within the bounds.") % told
    if amount is None:
        return _("%(service)s is approved. The next run bills it.") % told
    approved = {"amount": write(amount, one.currency), **told}
    return _("%(amount)s of %(service)s is approved. The next run bills it.") % approved


@require_POST
@staff("invoicing.add_run")
def bill(request: HttpRequest, public_id: str) -> HttpResponse:
    """Try a single service again."""
    one = _service(public_id)
    done = create_invoices(on=dates.site_day(), at=timezone.now(), service=one, by=_user(request))
    if reason := done.parked.get(one.pk) or done.held.get(one.pk):
        told = {"service": one, "reason": reason}
        messages.warning(request, _("%(service)s is still not billed: %(reason)s") % told)
    elif done.run.services:
        billed = ngettext(
            "%(service)s is billed: %(count)s term, run %(run)s.",
            "%(service)s is billed: %(count)s terms, run %(run)s.",
            done.run.services,
        )
        messages.info(request, billed % {"service": one, "count": done.run.services, "run": done.run.pk})
    else:
        messages.info(request, _("Nothing of %(service)s is due today.") % {"service": one})
    return _back(request, one)


@require_POST
@staff("invoicing.add_run")
def finish(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make the last invoice of a service that is over and waits for its server."""
    one = _service(public_id)
    when_down = termination.WhenDown.LAST_VALUES if "last_values" in request.POST else termination.WhenDown.WAIT
    try:
        ended = termination.finish(service=one, at=timezone.now(), when_down=when_down)
    except (boundary.CannotClose, CannotBill) as error:
        messages.error(request, retold(str(error)))
        return _back(request, one)
    if ended.warning:
        messages.warning(request, ended.warning)
    if ended.invoice:
        told = {"service": one, "number": ended.invoice.number}
        messages.info(request, _("The last invoice of %(service)s is %(number)s.") % told)
    elif not ended.waits:
        messages.info(request, _("There was nothing left to charge of %(service)s.") % {"service": one})
    return _back(request, one)


@require_GET
@staff("invoicing.view_run")
def differences(request: HttpRequest) -> HttpResponse:
    """Which usage changed after it was billed, and what does that come to?"""
    page = Paginator(_differences(), PAGE).get_page(request.GET.get("page"))
    settled = {one.difference.pk: one for one in settlements.of_differences(list(page))}
    rows = [(each, settled.get(each.pk)) for each in page]
    return render(request, "staff/differences.html", {"section": "differences", "page": page, "rows": rows})


def _differences() -> QuerySet[Difference]:
    related = ("service__client", "service__product", "setting__metric", "line__invoice")
    return Difference.objects.select_related(*related).order_by("since", "pk")


@require_POST
@staff("invoicing.add_run")
def settle(request: HttpRequest, public_id: str) -> HttpResponse:
    """Settle what waits of a service now, instead of with its next invoice."""
    one = _service(public_id)
    made = corrections.settle(service=one, on=dates.site_day(), at=timezone.now())
    numbers = ", ".join(
        _("%(number)s over %(amount)s")
        % {"number": document.number, "amount": write(document.total, document.currency)}
        for document in made
    )
    if made:
        messages.info(request, _("Settled for %(service)s: %(numbers)s.") % {"service": one, "numbers": numbers})
    elif one.differences.exists():
        said = _("Nothing is to be charged to %(service)s or given back now. What differs waits for its next invoice.")
        messages.info(request, said % {"service": one})
    else:
        said = _("Nothing of %(service)s differs any more, so nothing was made.")
        messages.info(request, said % {"service": one})
    return redirect("staff_differences")


def _say_errors(request: HttpRequest, form: DecisionForm) -> None:
    for errors in form.errors.values():
        messages.error(request, " ".join(str(each) for each in errors))


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _back(request: HttpRequest, one: Service) -> HttpResponse:
    """Return to the page on which the button was pressed."""
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return redirect(back)
    return redirect("staff_service", one.public_id)


def _service(public_id: str) -> Service:
    return get_object_or_404(Service.objects.select_related("client", "product", "tenant__server"), public_id=public_id)
