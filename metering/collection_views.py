"""Staff pages about collections: the list, one as it goes on and as it ended, and the decision about a held one."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from metering import health, held
from metering.access import staff
from metering.approval import NotHeld, approve, drop
from metering.models import Collection, Metric, Server
from metering.server_lock import Busy

PAGE = 50


@require_GET
@staff("metering.view_collection")
def collections(request: HttpRequest) -> HttpResponse:
    """What was collected lately, of all servers or of one?"""
    found = Collection.objects.select_related("server").defer("problems", "metrics", "server__credentials")
    only = None
    if pk := _number(request.GET.get("server")):
        only = get_object_or_404(Server.objects.defer("credentials"), pk=pk)
        found = found.filter(server=only)
    if before := _number(request.GET.get("before")):
        found = found.filter(pk__lt=before)
    page = list(found[: PAGE + 1])
    return render(
        request,
        "staff/collections.html",
        {
            "section": "collections",
            "collections": page[:PAGE],
            "only": only,
            "is_first": not before,
            "older": page[PAGE - 1].pk if len(page) > PAGE else None,
        },
    )


@require_GET
@staff("metering.view_collection")
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """How far is this collection; or what did it do, what went wrong, and what would it change?"""
    related = Collection.objects.select_related("server", "asked_by", "decided_by").defer("server__credentials")
    record, now = get_object_or_404(related, pk=pk), timezone.now()
    state = health.state(record, now)
    context: dict[str, Any] = {
        "section": "collections",
        "collection": record,
        "server": record.server,
        "state": state,
        "now": now,
        "size": health.bytes_words(record.bytes),
    }
    if "X-Live" in request.headers:
        return render(request, "staff/_collection_progress.html", context)
    if not state.is_live:
        context["metrics"] = Metric.objects.filter(pk__in=record.metrics).order_by("display_name")
    if record.status == Collection.Status.HELD:
        context["differences"] = held.differences(record)
    return render(request, "staff/collection.html", context)


@require_POST
@staff("metering.change_collection")
def decide(request: HttpRequest, pk: int) -> HttpResponse:
    """Store what a collection holds, or drop it."""
    record = get_object_or_404(Collection.objects.select_related("server").defer("server__credentials"), pk=pk)
    deed = {"store": approve, "drop": drop}.get(request.POST.get("verdict", ""))
    if deed is None:
        messages.error(request, _("Choose to store the values or to drop them."))
        return redirect("staff_collection", pk)
    try:
        deed(record=record, at=timezone.now(), by=cast(AbstractBaseUser, request.user))
    except NotHeld as error:
        messages.warning(request, _("Nothing was changed. %(error)s") % {"error": error})
    except Busy:
        messages.warning(
            request,
            _("%(server)s is being collected just now. Decide when that has ended.") % {"server": record.server},
        )
    return redirect("staff_collection", pk)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None
