"""What people enter about their account. The rest is allauth's."""

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from allauth.account.forms import (
    ChangePasswordForm,
    LoginForm,
    ReauthenticateForm,
    ResetPasswordForm,
    ResetPasswordKeyForm,
    UserTokenForm,
)
from allauth.mfa import app_settings
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.conf import settings
from django.core.cache import cache as shared_cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from billing_site.accounts import SecondFactors, shorten
from catalog.languages import languages
from catalog.models import User
from metering.worker import hand_over


class SignIn(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["remember"].label = _("Stay signed in for 14 days")
        self.fields["login"].widget.attrs["autocomplete"] = "username"
        _without_placeholders(self)

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        response: HttpResponse = super().login(request, redirect_url=redirect_url)
        shorten(request)
        return response


class AskForReset(ResetPasswordForm):  # type: ignore[misc]
    """Takes any address and looks nothing up: the worker does, so that nobody learns from the time it takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _without_placeholders(self)

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **_: Any) -> str:
        email = str(self.cleaned_data["email"])
        hand_over("billing_site.jobs.mail_reset", email)
        return email


class ChangePassword(ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].label = _("Current password")
        _as_new_password(self)


class NewPassword(ResetPasswordKeyForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _as_new_password(self)


class Confirm(ReauthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _without_placeholders(self)


class ResetToken(UserTokenForm):  # type: ignore[misc]
    """A token of somebody who was disabled since is none."""

    def _get_user(self, uidb36: str) -> User | None:
        user = super()._get_user(uidb36)
        return user if user is not None and user.is_active else None


class _OneTime:
    """A code counts once: also for the minute and a half in which a clock that is off would let it count again."""

    user: User

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]
        key = f"code-used:{self.user.pk}:{code}"
        if not shared_cache.add(key, 1, timeout=app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1)):
            raise SecondFactors().validation_error("incorrect_code")
        return code


class SecondStep(_OneTime, mfa_forms.AuthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _as_code(self)


class SecondStepAgain(_OneTime, mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _as_code(self)


class AddApp(ActivateTOTPForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _as_code(self)


class AddPasskey(AddWebAuthnForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name")
        self.fields["name"].help_text = _("To tell it from others, such as “Phone”.")
        self.fields["name"].max_length = 100
        alone = self.fields["passwordless"]
        alone.initial = True
        alone.label = _("Sign in with it alone, without a password")
        alone.help_text = _("It then asks for your fingerprint, face or PIN. Older security keys cannot.")


class PreferencesForm(forms.ModelForm[User]):
    """What a person says about themselves. Nothing else of a user is taken from it."""

    class Meta:
        model = User
        fields = ("name", "language", "time_zone", "quiet_from", "quiet_until")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name")
        self.fields["name"].widget.attrs["autocomplete"] = "name"
        self.fields["language"] = forms.ChoiceField(
            label=_("Language"), required=False, choices=[("", _("As your browser asks")), *languages()]
        )
        self.fields["time_zone"] = forms.ChoiceField(
            label=_("Time zone"),
            required=False,
            choices=[("", _("The site's: %(zone)s") % {"zone": settings.TIME_ZONE}), *time_zones()],
            help_text=_("Times are shown in it. Days of usage are those of the server that was asked."),
        )

        for name, label in (("quiet_from", _("Quiet hours from")), ("quiet_until", _("Quiet hours until"))):
            clock = forms.TimeInput({"type": "time"}, format="%H:%M")
            self.fields[name] = forms.TimeField(label=label, required=False, widget=clock)

    def clean(self) -> dict[str, Any]:
        said = {**(super().clean() or {})}
        begin, end = said.get("quiet_from"), said.get("quiet_until")
        if not self.errors and (begin is None) != (end is None):
            missing = "quiet_from" if begin is None else "quiet_until"
            self.add_error(missing, _("Quiet hours need a beginning and an end."))
        elif not self.errors and begin is not None and begin == end:
            self.add_error("quiet_until", _("They end when they begin. Choose another time, or leave both empty."))
        return said

    def clean_time_zone(self) -> str:
        name = str(self.cleaned_data["time_zone"])
        if name and name not in available_timezones():
            raise ValidationError(_("%(name)s is no time zone."), params={"name": name})
        return name


@cache
def time_zones() -> list[tuple[str, str]]:
    """Return the places that a time zone is named for, as choices, and UTC."""
    areas = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
    places = sorted(name for name in available_timezones() if name.partition("/")[0] in areas)
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in places)]


def _without_placeholders(form: forms.Form) -> None:
    """The label says it, and stays when one types."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)


def _as_new_password(form: forms.Form) -> None:
    _without_placeholders(form)
    form.fields["password1"].label = _("New password")
    form.fields["password2"].label = _("New password again")


def _as_code(form: forms.Form) -> None:
    _without_placeholders(form)
    form.fields["code"].label = _("Code")
    form.fields["code"].widget.attrs.update(autofocus=True, inputmode="numeric", maxlength=20)
