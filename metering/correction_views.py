"""Staff pages about what counts for each period of a tenant's metric, and what staff corrected of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from metering.access import staff
from metering.correcting import CannotCorrect, correct, in_words, is_over
from metering.correction_forms import CorrectionForm, PeriodForm
from metering.models import Correction, Metric, Reading, Tenant, Usage
from metering.periods import Period, local_day
from metering.providers.base import MetricType
from metering.server_lock import Busy

PAGE = 50
#: How many readings of a period are shown, the newest ones.
SHOWN = 50
#: What is read of these metrics is stored when it changed, not once for each period.
UNCHANGED_IS_SILENT = (MetricType.SNAPSHOT, MetricType.COUNTER)


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts for a period, in the metric's unit, and the correction that says so."""

    period: Period
    words: str
    quantity: Decimal
    correction: Correction | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading in the metric's unit. `is_earlier` marks one of an earlier period, unchanged since then."""

    reading: Reading
    quantity: Decimal
    correction: Correction | None
    is_earlier: bool


@require_GET
@staff("metering.view_tenant")
def usage(request: HttpRequest, tenant_id: int, metric_id: int) -> HttpResponse:
    """What counts for each period of a tenant's metric?"""
    tenant, metric = _subject(tenant_id, metric_id)
    today = local_day(timezone.now(), tenant.server.zone)
    form = _choice(metric, today, request.GET if "period" in request.GET else None)
    if form.is_bound and form.is_valid():
        return redirect("staff_usage_period", tenant.pk, metric.pk, form.cleaned_data["period"])
    page = Paginator(Usage.objects.of(tenant.pk, metric.pk).order_by("-start"), PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "staff/usage.html",
        {
            "section": "servers",
            "tenant": tenant,
            "metric": metric,
            "page": page,
            "rows": _counted(metric, list(page)),
            "today": today,
            "form": form,
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@staff("metering.view_tenant")
def usage_period(request: HttpRequest, tenant_id: int, metric_id: int, start: date) -> HttpResponse:
    """What counts for one period, where does it come from, and what should count instead?"""
    tenant, metric = _subject(tenant_id, metric_id)
    period, now = metric.period_of(start), timezone.now()
    if start != period.start:
        raise Http404(f"{metric} has no period that begins on {start}")
    form = CorrectionForm(request.POST or None, unit=metric.unit)
    if request.method == "POST":
        if not request.user.has_perm("metering.add_correction"):
            raise PermissionDenied
        if form.is_valid() and _correct(request, tenant, metric, period, form, now):
            return redirect("staff_usage", tenant.pk, metric.pk)
    rows = Usage.objects.of(tenant.pk, metric.pk).filter(start=start)
    return render(
        request,
        "staff/usage_period.html",
        {
            "section": "servers",
            "tenant": tenant,
            "metric": metric,
            "words": in_words(period),
            "is_over": is_over(period, tenant.server, now),
            "is_raw": metric.type == MetricType.COUNTER,
            "counted": next(iter(_counted(metric, list(rows))), None),
            "readings": _readings(tenant, metric, period),
            "form": form,
        },
    )


def _subject(tenant_id: int, metric_id: int) -> tuple[Tenant, Metric]:
    tenant = get_object_or_404(
        Tenant.objects.select_related("server").defer("server__credentials", "server__settings"), pk=tenant_id
    )
    return tenant, get_object_or_404(Metric, pk=metric_id, provider=tenant.server.provider)


def _choice(metric: Metric, today: date, data: QueryDict | None) -> PeriodForm:
    last = metric.period_of(metric.period_of(today).start - timedelta(days=1)).start
    text = f"{last:%Y-%m}" if metric.type == MetricType.MONTH else f"{last}"
    return PeriodForm(data, metric=metric, last=text)


def _counted(metric: Metric, rows: Sequence[Usage]) -> list[Counted]:
    corrections, counted = _corrections(row.correction_id for row in rows), []
    for row in rows:
        period, quantity = Period(row.start, row.end), metric.unit.from_base(row.value)
        counted.append(Counted(period, in_words(period), quantity, corrections.get(row.correction_id or 0)))
    return counted


def _readings(tenant: Tenant, metric: Metric, period: Period) -> list[Seen]:
    """Return the readings of a period, newest first. Where the server brought none, the newest one before it."""
    of_metric = Reading.objects.filter(tenant_id=tenant.pk, metric_id=metric.pk).order_by("-read_at")
    found = list(of_metric.filter(start=period.start)[:SHOWN])
    if metric.type in UNCHANGED_IS_SILENT and all(reading.correction_id for reading in found):
        found += of_metric.filter(start__lt=period.start, correction_id=None)[:1]
    corrections = _corrections(reading.correction_id for reading in found)
    return [
        Seen(
            reading,
            metric.unit.from_base(reading.value),
            corrections.get(reading.correction_id or 0),
            reading.start < period.start,
        )
        for reading in found
    ]


def _corrections(ids: Iterable[int | None]) -> dict[int, Correction]:
    wanted = {pk for pk in ids if pk}
    return Correction.objects.select_related("by").in_bulk(wanted) if wanted else {}


def _correct(
    request: HttpRequest, tenant: Tenant, metric: Metric, period: Period, form: CorrectionForm, at: datetime
) -> bool:
    """Correct what a valid form says, and say what happens next. False when it is refused; the form shows why."""
    assert isinstance(request.user, AbstractBaseUser)
    value, unit = form.cleaned_data["quantity"], metric.unit
    try:
        made = correct(
            tenant=tenant,
            metric=metric,
            start=period.start,
            value=value,
            reason=form.cleaned_data["reason"],
            by=request.user,
            at=at,
        )
    except (CannotCorrect, Busy) as error:
        form.add_error(None, str(error))
        return False
    told = unit.write(unit.from_base(value))
    if made.before is not None:
        told = _("%(now)s instead of %(before)s") % {"now": told, "before": unit.write(unit.from_base(made.before))}
    messages.success(
        request,
        _(
            "%(period)s counts %(value)s. If it was billed already, the difference goes on the next invoice or on a "
            "credit note."
        )
        % {"period": in_words(period), "value": told},
    )
    return True
