"""The team: who of staff may do what. Only administrators get here."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from billing_site import roles, team
from billing_site.team import Refused
from catalog.models import Invitation, User
from invoicing import inviting
from invoicing.inviting import CannotInvite
from metering.access import staff


class InviteStaffForm(forms.Form):
    """Whom to invite to staff, and as what."""

    use_required_attribute = False

    email = forms.EmailField(
        label=gettext_lazy("Email address"),
        max_length=254,
        widget=forms.EmailInput({"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Enter the email address of who is invited.")},
    )
    role = forms.ChoiceField(
        label=gettext_lazy("Role"),
        choices=list(roles.NAMES.items()),
        initial=roles.VIEWER,
        widget=forms.Select({"class": "form-select"}),
    )

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


@require_safe
@staff("catalog.change_user")
def page(request: HttpRequest) -> HttpResponse:
    """Who works here, and may do what?"""
    return _page(request)


def _page(request: HttpRequest, **more: Any) -> HttpResponse:
    now = timezone.now()
    context = {
        "section": "team",
        "members": team.of_staff(_user(request)),
        "roles": [(role, name, roles.MEANINGS[role]) for role, name in roles.NAMES.items()],
        "role_names": roles.NAMES,
        "invitations": [(each, each.expires_at <= now) for each in inviting.to_staff()],
        "invite_form": InviteStaffForm(),
    }
    return render(request, "staff/team.html", {**context, **more})


@require_POST
@staff("catalog.change_user")
def invite(request: HttpRequest) -> HttpResponse:
    form, by = InviteStaffForm(request.POST), _user(request)
    if not form.is_valid():
        return _page(request, invite_form=form)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    if not team.may_give(by, role):
        form.add_error("role", _why(Refused(Refused.ABOVE)))
        return _page(request, invite_form=form)
    try:
        inviting.invite_staff(group=team.groups()[role], email=email, by=by, at=timezone.now())
    except CannotInvite as error:
        said = {
            CannotInvite.MEMBER: _("This address belongs to somebody of staff already."),
            CannotInvite.INVITED: _("This address is invited already. Send the mail again, below."),
        }
        form.add_error("email", said.get(error.why, _("Too many invitations are open. Revoke some.")))
        return _page(request, invite_form=form)
    messages.info(request, _("%(email)s gets a mail with a link, which can be used for 7 days.") % {"email": email})
    return redirect("staff_team")


@require_POST
@staff("catalog.change_user")
def set_role(request: HttpRequest, pk: int) -> HttpResponse:
    user, role = _member(pk), request.POST.get("role", "")
    if role not in roles.NAMES:
        messages.error(request, _("Choose one of the roles."))
        return redirect("staff_team")
    try:
        team.set_role(user=user, role=role, by=_user(request))
    except Refused as error:
        messages.error(request, _why(error))
    else:
        messages.info(request, _("%(user)s: %(role)s, from now on.") % {"user": user, "role": roles.NAMES[role]})
    return redirect("staff_team")


@require_POST
@staff("catalog.change_user")
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    user = _member(pk)
    try:
        team.deactivate(user=user, by=_user(request))
    except Refused as error:
        messages.error(request, _why(error))
    else:
        messages.info(request, _("%(user)s is signed out everywhere and cannot sign in.") % {"user": user})
    return redirect("staff_team")


@require_POST
@staff("catalog.change_user")
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    user = _member(pk)
    try:
        team.activate(user=user, by=_user(request))
    except Refused as error:
        messages.error(request, _why(error))
    else:
        messages.info(request, _("%(user)s can sign in again.") % {"user": user})
    return redirect("staff_team")


@require_POST
@staff("catalog.change_user")
def revoke(request: HttpRequest, invitation: int) -> HttpResponse:
    found = get_object_or_404(Invitation, pk=invitation, client=None)
    if inviting.revoke(invitation=found, at=timezone.now()):
        messages.info(request, _("The invitation of %(email)s leads nowhere any more.") % {"email": found.email})
    return redirect("staff_team")


@require_POST
@staff("catalog.change_user")
def again(request: HttpRequest, invitation: int) -> HttpResponse:
    found = get_object_or_404(Invitation.objects.select_related("group"), pk=invitation, client=None)
    if found.group is None or not team.may_give(_user(request), found.group.name):
        raise Http404
    try:
        inviting.send_again(invitation=found, at=timezone.now())
    except CannotInvite:
        messages.error(request, _("It was sent often enough, or answered. Revoke it and invite anew."))
    else:
        messages.info(
            request,
            _("%(email)s gets another mail; the link of the one before leads nowhere.") % {"email": found.email},
        )
    return redirect("staff_team")


def _why(error: Refused) -> str:
    return {
        Refused.OWN: _("Nobody changes their own rights. Ask another administrator."),
        Refused.ABOVE: _("That is more than you may do yourself, so it is not yours to give or take."),
        Refused.LAST: _("An administrator has to remain."),
    }[error.why]


def _member(pk: int) -> User:
    user = get_object_or_404(User, pk=pk)
    if not (user.is_staff or user.is_superuser):
        raise Http404
    return user


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
