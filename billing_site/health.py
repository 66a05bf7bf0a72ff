"""Whether the site does its work: for load balancers, monitoring, and the staff's home.

`/healthz` says that a process answers and reaches its database; `/readyz` that the site does what it is
there for. Everybody may ask; what is wrong is told to staff, and to who has MONITORING_TOKEN.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from billing_site import clock
from billing_site.models import Job, Tick
from catalog.models import Service
from invoicing import outbox
from invoicing.models import Deferral, Parked, Run
from metering import dates
from metering.access import staff

#: What happens every day is late after this long.
LATE = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about the site as a whole that needs a person. A `grave` one makes it not ready."""

    name: str
    title: str
    text: str
    is_grave: bool = True


def problems(*, at: datetime) -> list[Problem]:
    """What keeps the site from its work."""
    return list(_problems(at))


def _problems(at: datetime) -> Iterator[Problem]:
    tick = Tick.objects.first()
    if text := clock.doubt(tick):
        yield Problem("clock", _("The clock jumped, and nothing is billed"), text)
    last_tick = max(filter(None, [tick.at, tick.doubted_at])) if tick else None
    if last_tick is not None and at - last_tick > LATE:
        words = _(
            "The last tick was %(span)s ago. Start the worker with manage.py qcluster, or let a crontab run manage.py "
            "cron; it may have been stopped, or its schedule lost."
        )
        yield Problem("ticks", _("No job was run in 25 hours"), words % {"span": clock.long(at - last_tick)})
    last_run = _last_run()
    if (oldest := _oldest_due(at)) and (last_run is None or at - last_run > LATE):
        yield _no_run(oldest, at - last_run if last_run else None)
    for job in Job.objects.exclude(error="").order_by("name"):
        again = timezone.localtime(job.retry_at or job.next_due)
        text = _("It is tried again at %(time)s. The log says why it failed.") % {"time": f"{again:%Y-%m-%d %H:%M}"}
        yield Problem("job", _("The job %(job)s failed") % {"job": job.name}, text, is_grave=False)


def _no_run(oldest: date, ago: timedelta | None) -> Problem:
    if ago is None:
        title = _("There was no billing run yet")
        text = _(
            "The first one comes with the first tick, and services are due since %(day)s. The log of the worker says "
            "why; manage.py cron bills them now."
        )
        return Problem("run", title, text % {"day": oldest})
    text = _(
        "The last one ended %(span)s ago, and services are due since %(day)s. The log of the worker says why; "
        "manage.py cron bills them now."
    )
    return Problem("run", _("No billing run in 25 hours"), text % {"span": clock.long(ago), "day": oldest})


def _due(at: datetime) -> QuerySet[Service]:
    """Services that a run would bill now; those that are parked wait for a person."""
    return Service.objects.due(dates.site_day(at)).filter(parked=None)


def _oldest_due(at: datetime) -> date | None:
    return _due(at).values_list("next_due_on", flat=True).first()


def _last_run() -> datetime | None:
    """When billing last came to its end without an error."""
    by_job = Job.objects.filter(name="CreateInvoices").values_list("succeeded_at", flat=True).first()
    by_run = Run.objects.filter(ended_at__isnull=False, error="").aggregate(last=Max("ended_at"))["last"]
    return max(filter(None, [by_job, by_run]), default=None)


def next_run() -> datetime | None:
    """When the daily run comes by itself; it waits for the next tick after that."""
    return Job.objects.filter(name="CreateInvoices").values_list("next_due", flat=True).first()


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "no database"}, status=503)
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    try:
        answer = _state(timezone.now()) if _is_migrated() else {"ready": False, "problems": [{"name": "migrations"}]}
        may_know = _may_know(request)
    except DatabaseError:
        return JsonResponse({"ready": False}, status=503)
    status = 200 if answer["ready"] else 503
    return JsonResponse(answer if may_know else {"ready": answer["ready"]}, status=status)


def _state(at: datetime) -> dict[str, Any]:
    found = problems(at=at)
    tick = Tick.objects.first()
    return {
        "ready": not any(each.is_grave for each in found),
        "problems": [{"name": each.name, "title": each.title, "text": each.text} for each in found],
        "last_tick": tick.at if tick else None,
        "last_run": _last_run(),
        "due": _due(at).count(),
        "oldest_due": _oldest_due(at),
        "parked": Parked.objects.count(),
        "waiting": Deferral.objects.count(),
        "mails_waiting": outbox.waiting().count(),
        "mails_failed": outbox.given_up().count(),
    }


def _is_migrated() -> bool:
    """Whether the database is as this version wants it. What is so once stays so while the process lives."""
    if not _migrated():
        _migrated.cache_clear()
        return False
    return True


@cache
def _migrated() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _may_know(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if settings.MONITORING_TOKEN and scheme == "Bearer":
        return constant_time_compare(token, settings.MONITORING_TOKEN)
    return request.user.is_active and request.user.is_staff


@require_POST
@staff("invoicing.add_run")
def confirm_clock(request: HttpRequest) -> HttpResponse:
    """Believe the clock, because a person of the staff looked at it."""
    clock.confirm(at=timezone.now(), by=str(request.user))
    messages.info(request, "The clock is confirmed. What is due is billed with the next tick, within five minutes.")
    return redirect("staff_home")
