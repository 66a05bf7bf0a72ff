"""What a request may see and do in the portal: the one place that says so.

It is asked of the database at each request, so that whoever is taken off a client sees nothing of it from the next
one on. A member of staff who views as a client sees what its owners see, for a while, and changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from catalog import permissions
from catalog.clients import Client, ClientUser, Role
from catalog.permissions import Deed
from catalog.users import User
from metering.access import SAFE

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

#: How long a member of staff views as a client before it ends by itself.
VIEWING_LASTS = timedelta(minutes=30)
#: Where the session says as which client, and until when.
VIEWING = "viewing"
#: What somebody who views as a client may post all the same, by the names of the addresses.
WAYS_OUT = frozenset({"stop_viewing", "account_logout"})


@dataclass(frozen=True, slots=True)
class Viewing:
    """A member of staff sees what this client's owners see."""

    client: Client
    until: datetime


@dataclass(frozen=True, slots=True)
class Access:
    """The clients of a request, each with the role there; and whether that is somebody of staff who only looks."""

    roles: dict[int, str]
    viewing: Viewing | None = None

    def clients(self, deed: str = Deed.SEE) -> list[int]:
        """The clients for which this may be done, by id."""
        return [client for client, role in self.roles.items() if permissions.may(role, deed)]

    def may(self, deed: str) -> bool:
        """Whether this may be done for any client."""
        return bool(self.clients(deed))


def access_of(request: HttpRequest) -> Access:
    """What the request may see: looked up once for each request."""
    known: Access | None = getattr(request, "_access", None)
    if known is None:
        known = _look_up(request)
        request._access = known  # type: ignore[attr-defined]
    return known


def _look_up(request: HttpRequest) -> Access:
    if not request.user.is_authenticated:
        return Access({})
    if viewing := viewing_of(request):
        return Access({viewing.client.pk: Role.OWNER}, viewing)
    return Access(_roles_of(request.user))


def with_roles(users: QuerySet[User]) -> QuerySet[User]:
    """Return users with the clients that they belong to and their roles there, in order of the clients' names."""
    own = ClientUser.objects.filter(user=OuterRef("pk")).order_by("client__name", "client_id")
    return users.annotate(
        client_ids=ArraySubquery(own.values("client_id")), client_roles=ArraySubquery(own.values("role"))
    )


def _roles_of(user: Any) -> dict[int, str]:
    """The roles of a user, by client. Whose session it is was looked up with them; who signs in just now was not."""
    known: Any = user if hasattr(user, "client_ids") else with_roles(User.objects.filter(pk=user.pk)).get()
    return dict(zip(known.client_ids, known.client_roles, strict=True))


def clients_of(request: HttpRequest, deed: str = Deed.SEE) -> list[int]:
    """The clients whose things the request may see, or for which it may do something, by id, in order of name."""
    return access_of(request).clients(deed)


def client_of(request: HttpRequest, deed: str, pk: int | None = None) -> Client:
    """One client for which the request may do this: the one that is named, or the first.

    404 for one that is not theirs, 403 in words for one where their role may not.
    """
    access = access_of(request)
    if pk is not None and pk not in access.roles:
        raise Http404
    able = access.clients(deed)
    if not able or (pk is not None and pk not in able):
        raise PermissionDenied(_words(deed))
    return Client.objects.get(pk=able[0] if pk is None else pk)


def client_user(view: View[P]) -> View[P]:
    """Let pass who is signed in; what they see is then chosen by `clients_of`."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        refuse_while_viewing(request)
        return view(request, *args, **kwargs)

    return cast("View[P]", guarded)


def may(deed: str) -> Callable[[View[P]], View[P]]:
    """Let pass who may do this for one of their clients: 404 for who has none, 403 in words for other roles."""

    def gate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            access = access_of(request)
            if not access.roles:
                raise Http404
            if not access.may(deed):
                raise PermissionDenied(_words(deed))
            return view(request, *args, **kwargs)

        return client_user(cast("View[P]", guarded))

    return gate


def begin_viewing(request: HttpRequest, client: Client, at: datetime) -> None:
    request.session[VIEWING] = {"client": client.pk, "until": (at + VIEWING_LASTS).isoformat()}


def stop_viewing(request: HttpRequest) -> Client | None:
    """Stop, and return as whom it was."""
    viewing = viewing_of(request)
    request.session.pop(VIEWING, None)
    return viewing.client if viewing else None


def viewing_of(request: HttpRequest) -> Viewing | None:
    """As which client somebody of staff views; None once the time is over or the right is gone."""
    said = request.session.get(VIEWING)
    user = request.user
    if not said or not (user.is_authenticated and user.is_staff and user.has_perm("catalog.view_as_client")):
        return None
    until = datetime.fromisoformat(said["until"])
    client = Client.objects.filter(pk=said["client"]).first() if timezone.now() < until else None
    return Viewing(client, until) if client else None


def refuse_while_viewing(request: HttpRequest) -> None:
    if request.method not in SAFE and (viewing := access_of(request).viewing):
        raise PermissionDenied(
            _("You only look at what %(client)s sees. Leave that view to change something.")
            % {"client": viewing.client}
        )


class LookOnly:
    """Middleware: whoever views as a client changes nothing outside of the staff area, whatever page it is.

    The API is left to its own keys and logins: it knows nothing of viewing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        match = request.resolver_match
        if request.method in SAFE or match is None or match.view_name in WAYS_OUT:
            return
        if request.path.startswith("/admin/") or match.namespace == "api":
            return
        refuse_while_viewing(request)


@dataclass(frozen=True, slots=True)
class _May:
    """What a request may do, asked for one by one."""

    request: HttpRequest

    def __getitem__(self, deed: str) -> bool:
        return access_of(self.request).may(deed)


def portal(request: HttpRequest) -> dict[str, Any]:
    """For templates: `viewing`, and `portal_may.users` and so on. Asked for only by those that show them."""
    return {
        "viewing": SimpleLazyObject(lambda: viewing_of(request) if hasattr(request, "session") else None),
        "portal_may": _May(request),
    }


def _words(deed: str) -> str:
    """Say who may do this, to somebody who may not."""
    said = {
        Deed.ALERTS: _("Alerts and budgets are set by owners and by who has the role Billing."),
        Deed.QUESTIONS: _("Lines are questioned by owners and by who has the role Billing."),
        Deed.USERS: _("Only an owner says who may see this client’s pages."),
        Deed.KEYS: _("Only an owner makes and revokes API keys."),
        Deed.DATA: _("Only an owner changes the name and address on invoices."),
    }
    return said.get(Deed(deed), _("Your role does not allow this."))
