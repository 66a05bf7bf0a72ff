"""Links that let a person accept an invitation.

The token of a link is made from the invitation and the site's secret key whenever it is needed, as often as the mail
is written: nothing is stored that would open a door. The invitation's `digest` is a random value that the token
signs; with a new one, all links that were sent before lead nowhere.
"""

import secrets
from datetime import datetime

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from catalog.clients import Invitation

_SALT = "catalog.invitations"


def new_digest() -> str:
    """Return what the links of one invitation are told from all others by, 64 characters."""
    return secrets.token_hex(32)


def token_of(invitation: Invitation) -> str:
    """Return the token of an invitation that is stored: letters, digits, `-` and `_`."""
    return f"{invitation.pk}-{Signer(salt=_SALT).signature(_signed(invitation))}"


def invitation_link(invitation: Invitation) -> str:
    """Return the address at which an invitation is accepted, for a mail: never from a request."""
    return str(settings.SITE_ADDRESS) + reverse("invitation", args=[token_of(invitation)])


def invitation_of(token: str, *, at: datetime) -> Invitation | None:
    """Return the invitation that a token opens; None for one that is forged, used, revoked or too old."""
    number, _, signature = token.partition("-")
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        return None
    invitation = Invitation.objects.open(at).select_related("client", "group", "invited_by").filter(pk=number).first()
    if invitation is None:
        return None
    try:
        Signer(salt=_SALT).unsign(f"{_signed(invitation)}:{signature}")
    except BadSignature:
        return None
    return invitation


def _signed(invitation: Invitation) -> str:
    return f"{invitation.pk}.{invitation.digest}"
