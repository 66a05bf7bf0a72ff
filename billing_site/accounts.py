"""How people get in: by invitation only, with their email address and a password or a passkey.

What is asked is answered alike whether an address is known, its password is wrong or its user is disabled, after
the same work. Mails about an account are written by the worker (billing_site.account_mail), so that nothing that a
request says, nor its host, gets into them.
"""

import time
from typing import Any, ClassVar
from urllib.parse import urlsplit

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from qrcode.main import QRCode

from billing_site.account_mail import NEWS
from catalog.access import with_roles
from catalog.models import User
from metering import vault
from metering.prepared import Prepared
from metering.worker import hand_over

_USER = Prepared(lambda pk: with_roles(User.objects.filter(pk=pk)))


class ByPassword(AuthenticationBackend):  # type: ignore[misc]
    """Who signs in by an email address and its password, and whose session it is, looked up with each page."""

    def get_user(self, user_id: int) -> User | None:
        user = _USER.first(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None


class ByInvitation(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": gettext_lazy("The email address or the password is not right."),
        "enter_current_password": gettext_lazy("This password is not right."),
        "incorrect_password": gettext_lazy("This password is not right."),
        "too_many_login_attempts": gettext_lazy("Too many tries. Try again in 5 minutes."),
        "rate_limited": gettext_lazy("Too many tries. Try again in 5 minutes."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The user whose password this is. One who is disabled is nobody, as an address that is not known, and one
        that was theirs: allauth keeps those, and lets them in."""
        self.pre_authenticate(request, **credentials)
        user = authenticate(request, **credentials)
        if user is None:
            return None
        assert isinstance(user, User)
        if credentials.get("email", user.email).lower() != user.email.lower():
            return None
        self._rollback_login_failed_rl_usage()
        return user

    def login(self, request: HttpRequest, user: User) -> None:
        super().login(request, user)
        shorten(request)
        UserSession.objects.create_from_request(request)

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        """A passkey of a disabled user: the same words as for one that is not known."""
        messages.error(request, _("This passkey is not known here."))
        return redirect("account_login")

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:
        """Whoever signed in within the last minutes has just proven it, and is not asked again."""
        request = context.request
        records = get_authentication_records(request, request.user)
        return not records or time.time() - records[-1]["at"] >= app_settings.REAUTHENTICATION_TIMEOUT

    def send_notification_mail(self, template_prefix: str, user: User, *_: Any, **__: Any) -> None:
        """Tell the owner of an account what became of it: whoever did it may be somebody else."""
        news = template_prefix.rpartition("/")[2]
        if news in NEWS:
            hand_over("billing_site.jobs.tell_user", user.pk, news)


def shorten(request: HttpRequest) -> None:
    """Let the session of somebody with staff's rights end on the same day, whatever was ticked."""
    if request.user.is_staff or request.user.is_superuser:
        request.session.set_expiry(settings.STAFF_SESSION_SECONDS)


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]
    """Authenticator apps, recovery codes and passkeys, in the site's name. Their secrets are stored encrypted."""

    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": gettext_lazy("This code is not right, or was used already."),
    }

    def _get_site_name(self) -> str:
        return str(settings.SITE_NAME)

    def encrypt(self, text: str) -> str:
        return vault.encrypt({"secret": text})

    def decrypt(self, encrypted_text: str) -> str:
        return vault.decrypt(encrypted_text)["secret"]

    def build_totp_svg(self, url: str) -> SafeString:
        """Draw the code as markup: a picture behind a data: address is refused by the content security policy."""
        code = QRCode(border=4)
        code.add_data(url)
        rows = code.get_matrix()
        path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark)
        return format_html(
            '<svg class="tp-qr" viewBox="0 0 {0} {0}" role="img" aria-label="{1}" shape-rendering="crispEdges">'
            '<path fill="#fff" d="M0 0h{0}v{0}h-{0}z"/><path fill="#000" d="{2}"/></svg>',
            len(rows),
            _("The key below as a picture, for your authenticator app to read"),
            path,
        )

    def generate_authenticator_name(self, user: User, type: str) -> str:
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return _("Passkey") if number == 1 else _("Passkey %(number)s") % {"number": number}

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Passkeys belong to the site's own host, whatever a request calls it."""
        return {"id": urlsplit(settings.SITE_ADDRESS).hostname or "localhost", "name": settings.SITE_NAME}
