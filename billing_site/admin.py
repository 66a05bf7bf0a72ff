"""Users in Django's admin, with what ends their sessions. Secrets of sign-ins are in no list."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from billing_site import second_factor, sessions
from catalog.admin import UserAdmin
from catalog.models import User
from metering.records import Capped
from metering.worker import hand_over

#: Buttons of Django's forms, in the words that the others have.
SAVE_AND = (gettext_noop("Save and add another"), gettext_noop("Save and continue editing"))


class SafeUserAdmin(UserAdmin):
    actions = ("reset_second_steps",)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """A user who is disabled is signed out for good: enabling them again opens no old session."""
        super().save_model(request, obj, form, change)
        if change and not obj.is_active:
            sessions.end(obj)

    @admin.action(
        description=gettext_lazy("Remove all second steps of signing in, and sign out"), permissions=["change"]
    )
    def reset_second_steps(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        if not request.user.is_superuser:
            messages.error(request, _("Only an administrator may do this."))
            return
        for user in chosen:
            second_factor.reset(user)
            hand_over("billing_site.jobs.tell_user", user.pk, "second_factors_reset")
            self.log_change(request, user, "Removed all second steps of signing in.")
        messages.info(request, _("Their second steps are removed, and they are signed out."))


class CappedGroupAdmin(Capped, GroupAdmin):
    """Roles, and groups of the operator's own."""


def register() -> None:
    """Put these in the place of the catalog's and Django's, once all of Django's admin is there."""
    admin.site.unregister([User, Group, EmailAddress, Authenticator, UserSession])
    admin.site.register(User, SafeUserAdmin)
    admin.site.register(Group, CappedGroupAdmin)
