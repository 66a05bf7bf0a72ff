"""The second step of signing in: who must have one, and that nobody of staff does anything without it.

One middleware decides for every address of the site: to somebody with staff's rights, everything is closed but
what is needed to add a second step and to leave, so that a page, a command or an API that is added later is
closed as well.
"""

from collections.abc import Callable
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from billing_site import sessions
from catalog.models import User

#: What is open to staff without a second step, by the names of the addresses.
OPEN = frozenset(
    {
        "account_login",
        "account_logout",
        "account_reauthenticate",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
        "favicon",
        "healthz",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_authenticate",
        "mfa_index",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "robots",
    }
)
#: Recovery codes only stand in for one of these.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def is_asked_of(user: Any) -> bool:
    """Whether somebody must have a second step: in production, all that have staff's rights."""
    return bool(settings.STAFF_MFA and user.is_authenticated and (user.is_staff or user.is_superuser))


def has_one(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def was_taken(request: HttpRequest) -> bool:
    """Whether the second step was taken in this session: another one may be older than it."""
    return any(record["method"] == "mfa" for record in get_authentication_records(request, request.user))


def note(request: HttpRequest, kind: str) -> None:
    """Remember that somebody has just added a second step here, and so has it at hand."""
    record_authentication(request, request.user, method="mfa", type=kind)


def reset(user: User) -> int:
    """Remove all second steps of somebody who lost theirs, and end their sessions. Returns how many there were."""
    removed: int = Authenticator.objects.filter(user=user).delete()[0]
    sessions.end(user)
    return removed


class RequireSecondFactor:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponseBase | None:
        assert request.resolver_match is not None
        if request.resolver_match.view_name in OPEN or not is_asked_of(request.user):
            return None
        if has_one(request.user) and was_taken(request):  # type: ignore[arg-type]
            return None
        if request.resolver_match.namespace == "api":
            return JsonResponse({"error": "Take the second step of signing in first."}, status=403)
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied(_("Take the second step of signing in first."))
        return redirect(f"{self._step(request)}?{urlencode({'next': request.get_full_path()})}")

    @staticmethod
    def _step(request: HttpRequest) -> str:
        """Where the second step is taken, or added if there is none."""
        methods = get_adapter(request).get_reauthentication_methods(request.user)
        ways = [str(method["url"]) for method in methods if method["id"].startswith("mfa")]
        return ways[0] if ways and has_one(request.user) else reverse("mfa_index")  # type: ignore[arg-type]
