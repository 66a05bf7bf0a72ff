"""Staff pages about servers."""

import logging
from collections.abc import Mapping
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import timeline
from metering import asked_collections, health, push_views, vault
from metering.access import staff
from metering.forms import ServerForms, time_zones
from metering.models import Server
from metering.providers import base
from metering.providers.base import ProviderError
from metering.providers.secrecy import traced

logger = logging.getLogger(__name__)

LAST = 20
#: Where the session keeps credentials that were typed into a page that could not be saved yet.
DRAFTS = "typed_credentials"
MOST_DRAFTS = 5


@require_GET
@staff("metering.view_server")
def servers(request: HttpRequest) -> HttpResponse:
    """Which servers are asked, and does each of them answer?"""
    found = health.standings(Server.objects.all(), timezone.now())
    return render(
        request,
        "staff/servers.html",
        {
            "section": "servers",
            "standings": found,
            "counts": health.counts(found),
            "needing": sum(standing.needs_a_person for standing in found),
            "providers": sorted(
                ((name, _(kind.title), _(kind.tenant_is)) for name, kind in base.installed().items()),
                key=lambda one: one[1].casefold(),
            ),
        },
    )


@require_GET
@staff("metering.view_server")
def server(request: HttpRequest, pk: int) -> HttpResponse:
    """What does this server bring, when did it last, and how does it do?"""
    now = timezone.now()
    found = health.standings(Server.objects.filter(pk=pk), now)
    if not found:
        raise Http404
    (standing,) = found
    if not base.asks(standing.server.provider):
        return push_views.page(request, standing.server)
    one, recent = standing.server, health.recent(standing.server)
    kind = base.installed().get(one.provider)
    stored = [record for record in recent if record.is_stored]
    return render(
        request,
        "staff/server.html",
        {
            "section": "servers",
            "standing": standing,
            "server": one,
            "tenant_is": _(kind.tenant_is) if kind else "",
            "resets": _(kind.resets) if kind and kind.resets else "",
            "sentence": health.sentence(standing, recent),
            "trend": health.trend(stored),
            "stored": stored,
            "errors": health.errors(one, now),
            "freshness": health.freshness(one, now),
            "cost": health.bytes_words(standing.ended.bytes) if standing.ended else "",
            "collections": one.collections.defer("problems", "metrics")[:LAST],
            "stale_after": settings.STALE_AFTER_HOURS,
            "timeline": timeline.of_server(one, own_page=request.path),
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@staff("metering.add_server")
def new_server(request: HttpRequest, provider: str) -> HttpResponse:
    if provider not in base.installed():
        raise Http404
    return _edit(request, Server(provider=provider), {})


@require_http_methods(["GET", "HEAD", "POST"])
@staff("metering.change_server")
def edit_server(request: HttpRequest, pk: int) -> HttpResponse:
    server = _server(pk)
    try:
        stored = server.credentials
    except ImproperlyConfigured as error:
        messages.warning(request, str(error))
        stored = vault.Credentials()
    return _edit(request, server, stored)


def _edit(request: HttpRequest, server: Server, stored: Mapping[str, str]) -> HttpResponse:
    name = server.name
    drafts = request.session.get(DRAFTS, {})
    draft = request.POST.get("draft", "")
    is_lost = bool(draft) and draft not in drafts
    typed = vault.decrypt(drafts[draft]) if draft in drafts else {}
    posted = request.POST if request.method == "POST" else None
    try:
        forms = ServerForms(server, stored=stored, typed=typed, data=posted)
    except ProviderError as error:
        messages.error(request, str(error))
        return redirect("staff_server", server.pk)
    if is_lost:
        messages.warning(request, _("Credentials that were typed before are no longer kept. Enter them again."))
    elif posted is not None and not forms.changes_rows and forms.is_valid():
        server = forms.save()
        _drop_draft(request, draft)
        messages.info(request, _("%(server)s is saved.") % {"server": server})
        return redirect("staff_server", server.pk)
    context = {
        "section": "servers",
        "name": name,
        "server": server,
        "forms": forms,
        "title": _(forms.kind.title),
        "tenant_is": _(forms.kind.tenant_is),
        "is_asked": base.asks(server.provider),
        "faults": forms.faults(),
        "time_zones": time_zones(),
        "draft": _keep_draft(request, draft, forms.typed),
    }
    return render(request, "staff/server_form.html", context)


def _keep_draft(request: HttpRequest, draft: str, typed: Mapping[str, str]) -> str:
    """Keep typed credentials in the session, encrypted, and return the name that the page knows them by."""
    if not typed:
        return ""
    drafts = request.session.get(DRAFTS, {})
    draft = draft if draft in drafts else get_random_string(16)
    others = [(name, kept) for name, kept in drafts.items() if name != draft]
    request.session[DRAFTS] = {**dict(others[1 - MOST_DRAFTS :]), draft: vault.encrypt(dict(typed))}
    return draft


def _drop_draft(request: HttpRequest, draft: str) -> None:
    if draft in (drafts := request.session.get(DRAFTS, {})):
        request.session[DRAFTS] = {name: kept for name, kept in drafts.items() if name != draft}


@require_POST
@staff("metering.add_collection")
def test_connection(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the server whether it answers, without collecting anything."""
    server = _server(pk)
    try:
        said = base.provider(server.provider)(server.connection(timezone.now())).check()
    except (ProviderError, ImproperlyConfigured) as error:
        said = server.without_credentials(str(error))
        messages.error(request, _("The connection does not work. %(reason)s") % {"reason": said})
    except (Exception, SystemExit) as error:
        # As in a collection: a provider is somebody else's code, and its text may hold a credential.
        logger.error("testing the connection of %s failed: %s", server, traced(error))
        words = _("The provider stopped with %(error)s. The log has the details.")
        messages.error(request, words % {"error": type(error).__name__})
    else:
        answer = server.without_credentials(str(said)).rstrip(".")
        messages.info(request, _("The connection works: %(answer)s.") % {"answer": answer})
    return redirect("staff_server", pk)


@require_POST
@staff("metering.add_collection")
def collect_now(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the worker collect a server; the page of the collection follows it."""
    server = _server(pk)
    if not server.is_active:
        messages.warning(request, _("%(server)s is not active, so it is not collected.") % {"server": server})
        return redirect("staff_server", pk)
    if not base.asks(server.provider):
        messages.info(request, _("%(server)s is not asked: its usage is pushed or imported.") % {"server": server})
        return redirect("staff_server", pk)
    asked = asked_collections.ask(server=server, at=timezone.now(), by=cast(AbstractBaseUser, request.user))
    return redirect("staff_collection", asked.pk)


def _server(pk: int) -> Server:
    return get_object_or_404(Server.objects.defer("credentials"), pk=pk)
