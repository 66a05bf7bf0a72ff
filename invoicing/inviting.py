"""The deeds of invitations: to invite somebody, to send it again, to take it back, and to accept it.

An invitation is to an address: whoever reads its mails accepts it, by setting a password if nobody logs in with that
address, and else by logging in. So it opens no account that exists.
"""

from datetime import datetime, timedelta

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet

from catalog.invitations import new_digest
from catalog.models import Client, ClientUser, Invitation, Role, User
from invoicing.models import Message

#: How long an invitation can be accepted.
LASTS = timedelta(days=7)
#: Open invitations of one client, and how often one is sent: nobody's mailbox is filled from here.
MOST_OPEN = 50
MOST_SENT = 5


class CannotInvite(Exception):
    """`why` is one of the reasons below."""

    MEMBER = "member"
    INVITED = "invited"
    TOO_MANY = "too many"
    OVER = "over"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Gone(Exception):
    """The invitation was accepted, taken back or sent anew, or is too old."""


class HasAccount(Exception):
    """Somebody logs in with this address already, and accepts by doing so."""


@transaction.atomic
def invite(*, client: Client, email: str, role: Role, by: User | None, at: datetime) -> Invitation:
    """Invite an address to a client, and queue the mail. Raises CannotInvite."""
    Client.objects.select_for_update(no_key=True).get(pk=client.pk)
    if ClientUser.objects.filter(client=client, user__email__iexact=email).exists():
        raise CannotInvite(CannotInvite.MEMBER)
    return _invite(Invitation(client=client, role=role, email=email.lower(), invited_by=by), at)


@transaction.atomic
def invite_staff(*, group: Group, email: str, by: User | None, at: datetime) -> Invitation:
    """Invite an address to staff, with the role of a group, and queue the mail. Raises CannotInvite."""
    Group.objects.select_for_update(no_key=True).get(pk=group.pk)
    if User.objects.filter(email__iexact=email, is_staff=True, is_active=True).exists():
        raise CannotInvite(CannotInvite.MEMBER)
    return _invite(Invitation(group=group, email=email.lower(), invited_by=by), at)


def to_client(client: Client) -> QuerySet[Invitation]:
    """The invitations of a client that wait for an answer, those that are too old too."""
    return Invitation.objects.filter(client=client, accepted_at=None, revoked_at=None).select_related("invited_by")


def to_staff() -> QuerySet[Invitation]:
    waiting = Invitation.objects.filter(client=None, accepted_at=None, revoked_at=None)
    return waiting.select_related("invited_by", "group")


def _invite(invitation: Invitation, at: datetime) -> Invitation:
    others = to_client(invitation.client) if invitation.client else to_staff()
    # The same address may be invited anew once its invitation is over.
    others.filter(email__iexact=invitation.email, expires_at__lte=at).update(revoked_at=at)
    if others.filter(email__iexact=invitation.email).exists():
        raise CannotInvite(CannotInvite.INVITED)
    if others.count() >= MOST_OPEN:
        raise CannotInvite(CannotInvite.TOO_MANY)
    invitation.digest, invitation.created_at, invitation.expires_at = new_digest(), at, at + LASTS
    invitation.save(force_insert=True)
    _queue(invitation, at, step=0)
    return invitation


@transaction.atomic
def send_again(*, invitation: Invitation, at: datetime) -> None:
    """Mail an invitation once more, for another while; the links that were sent before lead nowhere.

    Raises CannotInvite: `OVER` when it was accepted or taken back, `TOO_MANY` when it was sent often enough.
    """
    waiting = Invitation.objects.select_for_update().filter(pk=invitation.pk, accepted_at=None, revoked_at=None)
    current = waiting.first()
    if current is None:
        raise CannotInvite(CannotInvite.OVER)
    last = current.messages.aggregate(last=Max("step"))["last"]
    step = 0 if last is None else last + 1
    if step >= MOST_SENT:
        raise CannotInvite(CannotInvite.TOO_MANY)
    current.digest, current.expires_at = new_digest(), at + LASTS
    current.save(update_fields=["digest", "expires_at"])
    _queue(current, at, step=step)


def _queue(invitation: Invitation, at: datetime, *, step: int) -> None:
    Message.objects.create(
        kind=Message.Kind.INVITATION,
        client=invitation.client,
        invitation=invitation,
        step=step,
        to=invitation.email,
        created_at=at,
    )


def revoke(*, invitation: Invitation, at: datetime) -> bool:
    """Take an invitation back. Returns whether it was waiting until now."""
    waiting = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None)
    return bool(waiting.update(revoked_at=at))


@transaction.atomic
def accept(*, invitation: Invitation, user: User, at: datetime) -> None:
    """Let somebody who is logged in with the invited address become what they are invited to be. Raises Gone."""
    if user.email.lower() != invitation.email.lower() or not user.is_active:
        raise Gone
    _join(_locked(invitation, at), user, at)


@transaction.atomic
def accept_as_new(*, invitation: Invitation, name: str, password: str, at: datetime) -> User:
    """Make a user of the invited address, whose mails they can read, and let them in.

    Raises Gone, or HasAccount where somebody logs in with this address: they accept by doing so.
    """
    current = _locked(invitation, at)
    if User.objects.filter(email__iexact=current.email).exists():
        raise HasAccount
    try:
        with transaction.atomic():
            user = User.objects.create_user(current.email, password, name=name)
    except IntegrityError as error:
        raise HasAccount from error
    _join(current, user, at)
    return user


def _locked(invitation: Invitation, at: datetime) -> Invitation:
    same = Invitation.objects.open(at).filter(pk=invitation.pk, digest=invitation.digest)
    current = same.select_for_update(of=("self",)).select_related("client", "group").first()
    if current is None:
        raise Gone
    return current


def _join(invitation: Invitation, user: User, at: datetime) -> None:
    if invitation.client is not None:
        ClientUser.objects.get_or_create(client=invitation.client, user=user, defaults={"role": invitation.role})
    elif invitation.group is not None and not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
        user.groups.set([invitation.group])
    invitation.accepted_at, invitation.accepted_by = at, user
    invitation.save(update_fields=["accepted_at", "accepted_by"])
