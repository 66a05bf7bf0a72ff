"""Staff see the portal as a client does: from a client's page, and back to it."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from audit import log
from audit.models import Entry
from catalog import access
from catalog.models import Client
from metering.access import staff


@require_POST
@staff("catalog.view_as_client")
def begin(request: HttpRequest, pk: int) -> HttpResponse:
    client = get_object_or_404(Client, pk=pk)
    access.begin_viewing(request, client, timezone.now())
    log.note(Entry.What.VIEW_AS_BEGAN, about=[client])
    return redirect("home")


@require_POST
@login_required
def stop(request: HttpRequest) -> HttpResponse:
    client = access.stop_viewing(request)
    if client is None:
        return redirect("home")
    log.note(Entry.What.VIEW_AS_ENDED, about=[client])
    return redirect("staff_client", client.pk)
