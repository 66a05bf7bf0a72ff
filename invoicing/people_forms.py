"""The forms about who may act for a client, its API keys and its data. Each takes its own fields and nothing else."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from catalog.languages import languages
from catalog.models import ApiKey, Client, Role, User
from catalog.permissions import NAMES

#: How long a key can be used, in days; 0 is without an end.
KEY_DAYS = {0: _("Without an end"), 30: _("30 days"), 90: _("90 days"), 365: _("1 year")}


class InviteForm(forms.Form):
    """Whom to invite, and as what."""

    use_required_attribute = False

    email = forms.EmailField(
        label=_("Email address"),
        max_length=254,
        widget=forms.EmailInput({"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": _("Enter the email address of who is invited.")},
    )
    role = forms.ChoiceField(
        label=_("Role"),
        choices=list(NAMES.items()),
        initial=Role.READER,
        widget=forms.Select({"class": "form-select"}),
    )

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class RoleForm(forms.Form):
    """Another role for somebody who is on a client."""

    role = forms.ChoiceField(choices=list(NAMES.items()))


class ApiKeyForm(forms.Form):
    """Who gets the key, and for how long."""

    use_required_attribute = False

    name = forms.CharField(
        label=_("Who has it"),
        max_length=100,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "off"}),
        help_text=_("Such as the accounting system."),
        error_messages={"required": _("Say who has it, such as the accounting system.")},
    )
    days = forms.TypedChoiceField(
        label=_("How long it works"),
        choices=list(KEY_DAYS.items()),
        coerce=int,
        widget=forms.Select({"class": "form-select"}),
    )

    def __init__(self, *args: Any, client: Client, **options: Any) -> None:
        super().__init__(*args, **options)
        self.client = client

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if ApiKey.objects.filter(client=self.client, name=name, revoked_at=None).exists():
            raise ValidationError(_("A key has this name. Revoke it first, or choose another name."))
        return name

    @property
    def expires_at(self) -> Any:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None


class ClientDataForm(forms.ModelForm[Client]):
    """What the invoices from now on say of a client; those that were issued stay as they are."""

    use_required_attribute = False

    class Meta:
        model = Client
        fields = ("name", "address", "tax_number", "email", "language")
        labels = {  # noqa: RUF012 (Django's own form)
            "name": _("Name"),
            "address": _("Address"),
            "tax_number": _("Tax number"),
            "email": _("Email address for invoices"),
        }
        help_texts = {  # noqa: RUF012
            "address": _("As it stands on invoices, with the country."),
            "tax_number": _("Such as a VAT number; invoices state it."),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["address"].widget = forms.Textarea({"rows": 4})
        self.fields["language"] = forms.ChoiceField(
            label=_("Language of invoices and mails"),
            required=False,
            choices=[("", _("The site’s: %(language)s") % {"language": _site_language()}), *languages()],
        )
        for field in self.fields.values():
            kind = "form-select" if isinstance(field, forms.ChoiceField) else "form-control"
            field.widget.attrs["class"] = kind


class NewPersonForm(forms.Form):
    """What a new person says about themselves when they accept an invitation."""

    use_required_attribute = False

    name = forms.CharField(
        label=_("Your name"),
        max_length=200,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "name"}),
        error_messages={"required": _("Enter your name, so that colleagues know you.")},
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput({"class": "form-control", "autocomplete": "new-password"}),
        help_text=password_validation.password_validators_help_text_html(),
        error_messages={"required": _("Choose a password.")},
    )

    def __init__(self, *args: Any, email: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.email = email

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if password := said.get("password"):
            try:
                password_validation.validate_password(password, User(email=self.email, name=said.get("name", "")))
            except ValidationError as error:
                self.add_error("password", error)
        return said


def _site_language() -> str:
    return str(dict(languages()).get(settings.LANGUAGE_CODE, settings.LANGUAGE_CODE))
