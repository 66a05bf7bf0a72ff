"""Mails about a person's account, written and sent by the worker: whoever asks for one learns nothing from it."""

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from catalog.models import User

logger = logging.getLogger(__name__)

#: What became of an account, in a sentence, by allauth's name for it.
NEWS = {
    "password_changed": gettext_noop("Your password was changed."),
    "password_set": gettext_noop("A password was set."),
    "password_reset": gettext_noop("Your password was set anew by a link that was mailed to you."),
    "totp_activated": gettext_noop("An authenticator app was added to your sign-in."),
    "totp_deactivated": gettext_noop("The authenticator app was removed from your sign-in."),
    "webauthn_added": gettext_noop("A passkey was added to your sign-in."),
    "webauthn_removed": gettext_noop("A passkey was removed from your sign-in."),
    "recovery_codes_generated": gettext_noop("New recovery codes were made for your sign-in."),
    "second_factors_reset": gettext_noop("The operator removed all second steps from your sign-in."),
}


def mail_reset(email: str) -> bool:
    """Mail the link that sets a new password, if the address is that of somebody who may sign in.

    The link works once and for PASSWORD_RESET_TIMEOUT seconds. Its host is the site's own.
    """
    from allauth.account.forms import default_token_generator
    from allauth.account.utils import user_pk_to_url_str

    user = User.objects.filter(email=email.lower(), is_active=True).first()
    if user is None:
        return False
    key = default_token_generator.make_token(user)
    path = reverse("account_reset_password_from_key", kwargs={"uidb36": user_pk_to_url_str(user), "key": key})
    with translation.override(user.language or settings.LANGUAGE_CODE):
        _send(
            user,
            _("Set a new password for %(site)s") % {"site": settings.SITE_NAME},
            "mail/reset.txt",
            {"address": settings.SITE_ADDRESS + path, "minutes": settings.PASSWORD_RESET_TIMEOUT // 60},
        )
    return True


def tell(user: User, news: str) -> None:
    """Mail the owner of an account what became of it."""
    with translation.override(user.language or settings.LANGUAGE_CODE):
        subject = _("Your account at %(site)s was changed") % {"site": settings.SITE_NAME}
        _send(user, subject, "mail/account.txt", {"news": _(NEWS[news])})


def _send(user: User, subject: str, template: str, values: dict[str, object]) -> None:
    text = render_to_string(template, {"user": user, "site_name": settings.SITE_NAME, **values})
    try:
        send_mail(" ".join(subject.split()), text, settings.DEFAULT_FROM_EMAIL, [user.email])
    except (OSError, SMTPException) as error:
        # The text of some errors quotes the mail, and this one has a token in it.
        logger.error("a mail about the account of user %s was not taken: %s", user.pk, type(error).__name__)
