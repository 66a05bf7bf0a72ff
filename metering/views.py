"""Staff pages about servers and collections."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from metering import vault
from metering.access import staff
from metering.collection import Busy, collect, collect_with_look_back
from metering.forms import ServerForms, time_zones
from metering.models import Collection, Metric, Server
from metering.providers import base
from metering.providers.base import ProviderError

logger = logging.getLogger(__name__)

PAGE = 50
LAST = 20
#: Where the session keeps credentials that were typed into a page that could not be saved yet.
DRAFTS = "typed_credentials"
MOST_DRAFTS = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands: its last collection of all tenants, and the last one that was stored."""

    server: Server
    last: Collection | None
    stored: Collection | None
    at: datetime

    @property
    def age(self) -> timedelta | None:
        return self.at - self.server.collected_at if self.server.collected_at else None

    @property
    def age_words(self) -> str:
        return old(self.age) if self.age is not None else "never collected"

    @property
    def is_stale(self) -> bool:
        return self.age is not None and self.age > timedelta(hours=settings.STALE_AFTER_HOURS)

    @property
    def is_installed(self) -> bool:
        return self.server.provider in base.installed()

    @property
    def needs_a_person(self) -> bool:
        if not self.server.is_active:
            return False
        has_trouble = self.last is None or self.last.status in (Collection.Status.FAILED, Collection.Status.HELD)
        return has_trouble or self.is_stale or not self.is_installed


def old(age: timedelta) -> str:
    """Say how old something is: `40 minutes old`, `39 hours old`, `5 days old`."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute old"
    number, what = (minutes, "minute") if minutes < 90 else (minutes // 60, "hour")
    if number >= 72 and what == "hour":
        number, what = number // 24, "day"
    return f"{number} {what}{'' if number == 1 else 's'} old"


def standings(servers: QuerySet[Server]) -> list[Standing]:
    """Return how each server stands, in two queries. Stored credentials are left where they are."""
    whole = Collection.objects.whole().filter(server=OuterRef("pk")).order_by("-id")
    found = servers.defer("credentials").annotate(
        last_id=Subquery(whole.values("pk")[:1]),
        stored_id=Subquery(whole.stored().values("pk")[:1]),
    )
    ids = {pk for server in found for pk in (server.last_id, server.stored_id) if pk}
    records = Collection.objects.defer("problems").in_bulk(ids)
    now = timezone.now()
    return [
        Standing(server, records.get(server.last_id or 0), records.get(server.stored_id or 0), now) for server in found
    ]


@require_GET
@staff("metering.view_server")
def servers(request: HttpRequest) -> HttpResponse:
    """Which servers are asked, and does each of them answer?"""
    found = standings(Server.objects.all())
    return render(
        request,
        "staff/servers.html",
        {
            "section": "servers",
            "standings": found,
            "needing": sum(standing.needs_a_person for standing in found),
            "providers": [(name, kind.title, kind.tenant_is) for name, kind in base.installed().items()],
        },
    )


@require_GET
@staff("metering.view_server")
def server(request: HttpRequest, pk: int) -> HttpResponse:
    """What does this server bring, and when did it last?"""
    found = standings(Server.objects.filter(pk=pk))
    if not found:
        raise Http404
    (standing,) = found
    return render(
        request,
        "staff/server.html",
        {
            "section": "servers",
            "standing": standing,
            "server": standing.server,
            "metrics": _metrics(standing),
            "collections": standing.server.collections.defer("problems", "metrics")[:LAST],
            "stale_after": settings.STALE_AFTER_HOURS,
        },
    )


def _metrics(standing: Standing) -> list[tuple[base.Metric, bool]]:
    """Return what the server declares, and whether its last stored collection brought it."""
    server = standing.server
    kind = base.installed().get(server.provider)
    declared = kind.metrics(server.settings) if kind else ()
    known = dict(Metric.objects.filter(provider=server.provider).values_list("system_name", "pk"))
    brought = set(standing.stored.metrics) if standing.stored else set()
    return [(metric, known.get(metric.system_name) in brought) for metric in declared]


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
        messages.warning(request, "Credentials that were typed before are no longer kept. Enter them again.")
    elif posted is not None and not forms.changes_rows and forms.is_valid():
        server = forms.save()
        _drop_draft(request, draft)
        messages.info(request, f"{server} is saved.")
        return redirect("staff_server", server.pk)
    context = {
        "section": "servers",
        "name": name,
        "server": server,
        "forms": forms,
        "title": forms.kind.title,
        "tenant_is": forms.kind.tenant_is,
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
@staff("metering.change_server")
def test_connection(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the server whether it answers, without collecting anything."""
    server = _server(pk)
    try:
        said = base.provider(server.provider)(server.connection(timezone.now())).check()
    except (ProviderError, ImproperlyConfigured) as error:
        messages.error(request, f"The connection does not work. {error}")
    except (Exception, SystemExit) as error:
        # As in a collection: a provider is somebody else's code, and its text may hold a credential.
        logger.exception("testing the connection of %s failed", server)
        messages.error(request, f"The provider stopped with {type(error).__name__}. The log has the details.")
    else:
        messages.info(request, f"The connection works: {said.rstrip('.')}.")
    return redirect("staff_server", pk)


@require_POST
@staff("metering.change_server")
def collect_now(request: HttpRequest, pk: int) -> HttpResponse:
    """Collect a server, or with `accept` collect it again and store the answer however much it changes."""
    server = _server(pk)
    now = timezone.now()
    try:
        if not server.is_active:
            messages.warning(request, f"{server} is not active, so it is not collected.")
        elif "accept" in request.POST:
            _say(request, collect(server=server, as_of=now, accept_changes=True))
        else:
            _say(request, collect_with_look_back(server=server, as_of=now))
    except Busy:
        messages.warning(request, f"A collection of {server} is running. Look again when it has ended.")
    return redirect("staff_server", pk)


def _say(request: HttpRequest, record: Collection) -> None:
    tenants = f"{record.tenants:,} tenant{'' if record.tenants == 1 else 's'}"
    values = f"{record.values_seen:,} value{'' if record.values_seen == 1 else 's'}"
    if record.status == Collection.Status.COMPLETE:
        messages.info(request, f"Collected {values} of {tenants}.")
    elif record.status == Collection.Status.PARTIAL:
        ending = f" {record.rejected:,} refused." if record.rejected else ""
        messages.warning(request, f"Collected {values} of {tenants}, but not all.{ending} {record.error}".strip())
    elif record.status == Collection.Status.HELD:
        messages.warning(request, "The collection is held. Nothing of it was stored.")
    else:
        messages.error(request, f"The collection failed. Nothing of it was stored. {record.error}")


@require_GET
@staff("metering.view_collection")
def collections(request: HttpRequest) -> HttpResponse:
    """What was collected lately, of all servers or of one?"""
    found = Collection.objects.select_related("server").defer("problems", "metrics", "server__credentials")
    only = None
    if pk := _number(request.GET.get("server")):
        only = _server(pk)
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
    """What did this collection do, and what went wrong?"""
    record = get_object_or_404(Collection.objects.select_related("server").defer("server__credentials"), pk=pk)
    whole = Collection.objects.whole().filter(server=record.server_id)
    return render(
        request,
        "staff/collection.html",
        {
            "section": "collections",
            "collection": record,
            "server": record.server,
            "metrics": Metric.objects.filter(pk__in=record.metrics).order_by("display_name"),
            "can_accept": record.status == Collection.Status.HELD and not whole.filter(pk__gt=pk).exists(),
        },
    )


def _server(pk: int) -> Server:
    return get_object_or_404(Server.objects.defer("credentials"), pk=pk)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None
