"""A person's own account, and allauth's pages where ours do a little more."""

from functools import partial
from typing import Any

from allauth.account import app_settings
from allauth.account.views import PasswordChangeView, PasswordResetFromKeyView
from allauth.core.internal.ratelimit import parse_rates
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from billing_site import browsers, second_factor, sessions
from billing_site.account_forms import PreferencesForm
from catalog.models import User

LANGUAGE_COOKIE_SECONDS = 365 * 24 * 3600


def shell(user: Any) -> str:
    """Return in which area an account page stands: staff who are nobody's client know only theirs."""
    return "staff/base.html" if user.is_staff and not user.clients.exists() else "portal/base.html"


def account_shell(request: HttpRequest) -> dict[str, Any]:
    """For templates below `/account/`: which page they extend. Asked for only by those that do."""
    return {"account_shell": partial(shell, request.user)}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Who am I here, how do I sign in, and where am I signed in?"""
    user = _user(request)
    form = PreferencesForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        return _saved(request, user)
    if form.errors:
        user.refresh_from_db()  # The head says who somebody is, not what was refused
    return render(
        request,
        "account/account.html",
        {
            "form": form,
            **_second_steps(user),
            "must_have_step": second_factor.is_asked_of(user),
            "sessions": [
                (each, *browsers.name_of(each.user_agent), each.session_key == request.session.session_key)
                for each in sessions.open_sessions(user, timezone.now())[:50]
            ],
        },
    )


def _saved(request: HttpRequest, user: User) -> HttpResponse:
    """Go on in the language that was chosen; the sign-in page of this browser will speak it as well."""
    language = user.language or translation.get_language_from_request(request)
    with translation.override(language):
        messages.info(request, _("Your preferences are saved."))
    response = redirect("account")
    if user.language:
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            user.language,
            max_age=LANGUAGE_COOKIE_SECONDS,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    else:
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME)
    return response


def _second_steps(user: User) -> dict[str, Any]:
    """What of a second step somebody has: an app, passkeys, how many unused recovery codes."""
    found: dict[str, list[Authenticator]] = {}
    for each in Authenticator.objects.filter(user=user).order_by("id"):
        found.setdefault(each.type, []).append(each)
    codes = found.get(Authenticator.Type.RECOVERY_CODES)
    return {
        "totp": next(iter(found.get(Authenticator.Type.TOTP, ())), None),
        "passkeys": [(each, each.wrap()) for each in found.get(Authenticator.Type.WEBAUTHN, ())],
        "recovery_codes": len(RecoveryCodes(codes[0]).get_unused_codes()) if codes else None,
    }


@login_required
@require_safe
def two_step(request: HttpRequest) -> HttpResponse:
    """Where staff without a second step land; everybody else sees theirs among their account."""
    if second_factor.is_asked_of(request.user) and not second_factor.has_one(_user(request)):
        return render(request, "account/two_step_first.html", {"next": request.GET.get("next", "")})
    return redirect(f"{reverse('account')}#two-step")


@login_required
@require_POST
def end_sessions(request: HttpRequest) -> HttpResponse:
    """Log out elsewhere: everywhere, or where `session` says."""
    user, this = _user(request), request.session.session_key
    if chosen := request.POST.get("session"):
        if chosen.isdecimal() and len(chosen) < 19:
            sessions.end_one(user, int(chosen))
        messages.info(request, _("That session is signed out."))
    else:
        sessions.end(user, but=this)
        messages.info(request, _("All other sessions are signed out."))
    return redirect(f"{reverse('account')}#sessions")


class ChangePassword(PasswordChangeView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        sessions.end(_user(self.request), but=self.request.session.session_key)
        return response

    def get_default_success_url(self) -> str:
        return reverse("account")


class ResetPassword(PasswordResetFromKeyView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        sessions.end(self.reset_user)
        return response


class ActivateTOTP(ActivateTOTPView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        second_factor.note(self.request, Authenticator.Type.TOTP)
        return response


class AddPasskey(AddWebAuthnView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        second_factor.note(self.request, Authenticator.Type.WEBAUTHN)
        return response


#: Which limit an address has, by its name.
_LIMITS = {
    "account_login": "login",
    "account_change_password": "change_password",
    "account_reset_password": "reset_password",
    "account_reset_password_from_key": "reset_password_from_key",
    "account_reauthenticate": "reauthenticate",
    "mfa_reauthenticate": "reauthenticate",
    "mfa_reauthenticate_webauthn": "reauthenticate",
}


def too_many(request: HttpRequest) -> HttpResponse:
    """Say when to try again."""
    name = request.resolver_match.url_name if request.resolver_match else None
    rates = parse_rates(app_settings.RATE_LIMITS.get(_LIMITS.get(str(name), ""), "")) or parse_rates("1/m/ip")
    minutes = max(1, int(max(rate.duration for rate in rates)) // 60)
    wait = ngettext("Try again in a minute.", "Try again in %(minutes)s minutes.", minutes) % {"minutes": minutes}
    response = render(request, "429.html", {"wait": wait}, status=429)
    response["Retry-After"] = str(60 * minutes)
    return response


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
