"""Accepting an invitation.

The link of the mail is left at once for an address without the token, so that it stands in no history, no Referer
and no form. The page is the same whether anybody logs in with the invited address or not.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.core.internal.ratelimit import consume, respond_429
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from catalog.invitations import invitation_of
from catalog.models import Invitation, Role, User
from catalog.permissions import MEANINGS
from invoicing import inviting
from invoicing.inviting import Gone, HasAccount
from invoicing.people_forms import NewPersonForm

#: Tries of one address of the network in a minute: the tokens are long, this only keeps the noise down.
TRIES = {"open": "30/m/ip"}
#: Where the session keeps the token once the link is left.
TOKEN = "invitation"  # noqa: S105 (a name)


def _limited(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let nobody try often, and tell no other site where anybody came from."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        is_page = request.method in ("GET", "HEAD") and not kwargs
        if not is_page and not consume(request, app="invitations", action="open", config=TRIES, limit_get=True):
            response: HttpResponse = respond_429(request)
        else:
            response = view(request, **kwargs)
        return response

    return guarded


@never_cache
@_limited
@require_safe
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the mail: keep what it says, and leave it."""
    if invitation_of(token, at=timezone.now()) is None:
        response = _over(request)
    else:
        request.session[TOKEN] = token
        response = redirect("accept_invitation")
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@_limited
@require_http_methods(["GET", "HEAD", "POST"])
def accept(request: HttpRequest) -> HttpResponse:
    """Who invites me to what, and how do I accept?"""
    found = invitation_of(request.session.get(TOKEN, ""), at=timezone.now())
    if found is None:
        return _over(request)
    user = request.user if isinstance(request.user, User) else None
    if user is None:
        return _as_new(request, found)
    if request.method == "POST" and user.email.lower() == found.email.lower():
        return _as_user(request, found, user)
    return _page(request, found)


def _as_user(request: HttpRequest, found: Invitation, user: User) -> HttpResponse:
    try:
        inviting.accept(invitation=found, user=user, at=timezone.now())
    except Gone:
        return _over(request)
    return _welcome(request, found)


def _as_new(request: HttpRequest, found: Invitation) -> HttpResponse:
    form = NewPersonForm(request.POST or None, email=found.email)
    if request.method != "POST" or not form.is_valid():
        return _page(request, found, form=form)
    try:
        user = inviting.accept_as_new(
            invitation=found,
            name=form.cleaned_data["name"],
            password=form.cleaned_data["password"],
            at=timezone.now(),
        )
    except Gone:
        return _over(request)
    except HasAccount:
        # Nobody gets into an account that exists but by logging in.
        messages.info(request, _("Sign in with %(email)s to accept the invitation.") % {"email": found.email})
        return redirect(f"{reverse('account_login')}?{urlencode({'next': reverse('accept_invitation')})}")
    get_adapter(request).login(request, user)
    return _welcome(request, found)


def _welcome(request: HttpRequest, found: Invitation) -> HttpResponse:
    request.session.pop(TOKEN, None)
    if found.client is None:
        messages.info(request, _("Welcome."))
        return redirect("staff_home")
    messages.info(request, _("Welcome. You see what %(client)s has now.") % {"client": found.client})
    return redirect("home")


def _page(request: HttpRequest, found: Invitation, **more: Any) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    is_theirs = user is not None and user.email.lower() == found.email.lower()
    meaning = MEANINGS[Role(found.role)] if found.role else ""
    context = {"invitation": found, "is_theirs": is_theirs, "meaning": meaning, **more}
    return render(request, "account/invitation.html", context)


def _over(request: HttpRequest) -> HttpResponse:
    """One page for an invitation that is used, revoked, too old or made up."""
    request.session.pop(TOKEN, None)
    return render(request, "account/invitation_over.html", {"days": inviting.LASTS.days}, status=404)
