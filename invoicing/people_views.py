"""Who may act for a client: its users and its invitations, for its owners and for staff.

In the portal, what belongs to another client does not exist: 404.
"""

from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from catalog import memberships
from catalog.access import client_of, may
from catalog.memberships import LastOwner
from catalog.models import Client, ClientUser, Invitation, Role, User
from catalog.permissions import NAMES, Deed
from invoicing import account, inviting
from invoicing.inviting import CannotInvite
from invoicing.people_forms import InviteForm, RoleForm
from metering.access import staff

# In the portal


@require_safe
@may(Deed.USERS)
def portal_users(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Who of us may see this, and do what?"""
    return _portal_users(request, client_of(request, Deed.USERS, pk))


@require_POST
@may(Deed.USERS)
def portal_invite(request: HttpRequest, pk: int) -> HttpResponse:
    client = client_of(request, Deed.USERS, pk)
    form = _invite(request, client)
    return _portal_users(request, client, invite_form=form) if form else redirect("portal_client_users_of", pk)


@require_POST
@may(Deed.USERS)
def portal_role(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    _set_role(request, client_of(request, Deed.USERS, pk), member)
    return _back_to_users(request, pk)


@require_POST
@may(Deed.USERS)
def portal_remove(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    _remove(request, client_of(request, Deed.USERS, pk), member)
    return _back_to_users(request, pk)


@require_POST
@may(Deed.USERS)
def portal_revoke(request: HttpRequest, pk: int, invitation: int) -> HttpResponse:
    _revoke(request, client_of(request, Deed.USERS, pk), invitation)
    return redirect("portal_client_users_of", pk)


@require_POST
@may(Deed.USERS)
def portal_again(request: HttpRequest, pk: int, invitation: int) -> HttpResponse:
    _again(request, client_of(request, Deed.USERS, pk), invitation)
    return redirect("portal_client_users_of", pk)


def _portal_users(request: HttpRequest, client: Client, **more: Any) -> HttpResponse:
    context = {"area": "portal", "may_invite": True, "may_change": True, "invite_form": InviteForm()}
    return render(
        request,
        "account/users.html",
        context | account.page(request, client, Deed.USERS, "portal_client_users_of") | account.people(client) | more,
    )


def _back_to_users(request: HttpRequest, pk: int) -> HttpResponse:
    """Whoever has just taken themselves off, or is no owner any more, does not come back to this page."""
    own = ClientUser.objects.filter(client_id=pk, user=_user(request), role=Role.OWNER)
    return redirect("portal_client_users_of", pk) if own.exists() else redirect("home")


# Of any client, for staff


@require_safe
@staff("catalog.view_clientuser")
def staff_users(request: HttpRequest, pk: int) -> HttpResponse:
    return _staff_users(request, _client(pk))


@require_POST
@staff("catalog.add_invitation")
def staff_invite(request: HttpRequest, pk: int) -> HttpResponse:
    client = _client(pk)
    form = _invite(request, client)
    return _staff_users(request, client, invite_form=form) if form else redirect("staff_client_users", pk)


@require_POST
@staff("catalog.change_clientuser")
def staff_role(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    _set_role(request, _client(pk), member)
    return redirect("staff_client_users", pk)


@require_POST
@staff("catalog.delete_clientuser")
def staff_remove(request: HttpRequest, pk: int, member: int) -> HttpResponse:
    _remove(request, _client(pk), member)
    return redirect("staff_client_users", pk)


@require_POST
@staff("catalog.change_invitation")
def staff_revoke(request: HttpRequest, pk: int, invitation: int) -> HttpResponse:
    _revoke(request, _client(pk), invitation)
    return redirect("staff_client_users", pk)


@require_POST
@staff("catalog.change_invitation")
def staff_again(request: HttpRequest, pk: int, invitation: int) -> HttpResponse:
    _again(request, _client(pk), invitation)
    return redirect("staff_client_users", pk)


def _staff_users(request: HttpRequest, client: Client, **more: Any) -> HttpResponse:
    user = _user(request)
    context = {
        "section": "clients",
        "area": "staff",
        "client": client,
        "may_invite": user.has_perm("catalog.add_invitation"),
        "may_change": user.has_perm("catalog.change_clientuser"),
        "may_revoke_keys": user.has_perm("catalog.change_apikey"),
        "invite_form": InviteForm(),
        **account.people(client),
        **(account.keys(client) if user.has_perm("catalog.view_apikey") else {"keys": [], "revoked": []}),
    }
    return render(request, "staff/client_users.html", context | more)


def _client(pk: int) -> Client:
    return get_object_or_404(Client, pk=pk)


# What both do


def _invite(request: HttpRequest, client: Client) -> InviteForm | None:
    """Invite whom the form names; the form, where it cannot be."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return form
    email = form.cleaned_data["email"]
    try:
        inviting.invite(
            client=client,
            email=email,
            role=Role(form.cleaned_data["role"]),
            by=_user(request),
            at=timezone.now(),
        )
    except CannotInvite as error:
        form.add_error("email", _why(error))
        return form
    messages.info(request, _("%(email)s gets a mail with a link, which can be used for 7 days.") % {"email": email})
    return None


def _why(error: CannotInvite) -> str:
    return {
        CannotInvite.MEMBER: _("This address belongs to a user already."),
        CannotInvite.INVITED: _("This address is invited already. Send the mail again, below."),
        CannotInvite.TOO_MANY: _("Too many invitations are open. Revoke some, or wait until they are answered."),
    }[error.why]


def _set_role(request: HttpRequest, client: Client, pk: int) -> None:
    member, form = _member(client, pk), RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose one of the roles."))
        return
    role = Role(form.cleaned_data["role"])
    try:
        is_another = memberships.set_role(member=member, role=role)
    except LastOwner:
        messages.error(request, _("%(client)s needs an owner. Make somebody else one first.") % {"client": client})
        return
    if is_another:
        messages.info(request, _("%(user)s: %(role)s, from now on.") % {"user": member.user, "role": NAMES[role]})


def _remove(request: HttpRequest, client: Client, pk: int) -> None:
    member = _member(client, pk)
    try:
        memberships.remove(member=member, at=timezone.now())
    except LastOwner:
        messages.error(request, _("%(client)s needs an owner. Make somebody else one first.") % {"client": client})
        return
    messages.info(request, _("%(user)s sees nothing of %(client)s any more.") % {"user": member.user, "client": client})


def _revoke(request: HttpRequest, client: Client, pk: int) -> None:
    invitation = _invitation(client, pk)
    if inviting.revoke(invitation=invitation, at=timezone.now()):
        messages.info(request, _("The invitation of %(email)s leads nowhere any more.") % {"email": invitation.email})


def _again(request: HttpRequest, client: Client, pk: int) -> None:
    invitation = _invitation(client, pk)
    try:
        inviting.send_again(invitation=invitation, at=timezone.now())
    except CannotInvite as error:
        too_many = error.why == CannotInvite.TOO_MANY
        messages.error(
            request,
            _("It was sent often enough. Revoke it and invite %(email)s anew.") % {"email": invitation.email}
            if too_many
            else _("This invitation was accepted or revoked meanwhile."),
        )
        return
    messages.info(
        request,
        _("%(email)s gets another mail; the link of the one before leads nowhere.") % {"email": invitation.email},
    )


def _member(client: Client, pk: int) -> ClientUser:
    return get_object_or_404(ClientUser.objects.select_related("user"), pk=pk, client=client)


def _invitation(client: Client, pk: int) -> Invitation:
    return get_object_or_404(Invitation, pk=pk, client=client)


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
