"""The customers, who may act for them, and what opens the API for them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from catalog.languages import languages
from catalog.money import is_currency
from catalog.taxes import TaxRate
from catalog.users import User
from metering.keys import Key


def validate_currency(code: str) -> None:
    if not is_currency(code):
        raise ValidationError(gettext("%(code)s is not a currency of ISO 4217, such as USD.") % {"code": code})


class Client(models.Model):
    """The customer, who is billed in one currency and one language."""

    name = models.CharField(_("name"), max_length=200)
    email = models.EmailField(_("email address"), blank=True)
    address = models.TextField(_("address"), blank=True)
    tax_number = models.CharField(
        _("tax number"), max_length=50, blank=True, help_text=_("Such as a VAT number; invoices state it.")
    )
    tax_rate = models.ForeignKey(
        TaxRate,
        verbose_name=_("tax rate"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="clients",
        help_text=_("What is put on its invoices. Empty: prices are what it pays."),
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[validate_currency])
    language = models.CharField(
        _("language"),
        max_length=10,
        blank=True,
        choices=languages,
        help_text=_("Of its invoices and mails. Empty: the site's."),
    )
    users = models.ManyToManyField(User, verbose_name=_("people"), through="ClientUser", related_name="clients")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")
        ordering: ClassVar = ["name"]
        permissions: ClassVar = [("view_as_client", _("Can see the portal as a client does"))]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="client_has_a_currency"),
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a person may do for a client. All see its services, usage and invoices."""

    OWNER = "owner", _("Owner")  # and change who else may, and its API keys
    BILLING = "billing", _("Billing")  # set alerts and budgets, question lines
    READER = "reader", _("read only")


class ClientUser(models.Model):
    """A person who may see what a client has, and do what the role says."""

    client = models.ForeignKey(Client, verbose_name=_("client"), on_delete=models.CASCADE)
    user = models.ForeignKey(User, verbose_name=_("person"), on_delete=models.CASCADE)
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.READER)

    class Meta:
        verbose_name = _("client user")
        verbose_name_plural = _("client users")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client", "user"], name="one_membership_per_client_and_user"),
        ]

    def __str__(self) -> str:
        return f"{self.user} for {self.client}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self, at: datetime) -> InvitationQuerySet:
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=at)


class Invitation(models.Model):
    """A mail address that may become a user: of a client with a role, or of staff in a group.

    The link in the mail holds a token; its digest is kept here.
    """

    client = models.ForeignKey(
        Client, verbose_name=_("client"), null=True, on_delete=models.CASCADE, related_name="invitations"
    )
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, blank=True)
    group = models.ForeignKey(
        Group, verbose_name=_("role of staff"), null=True, on_delete=models.CASCADE, related_name="+"
    )
    email = models.EmailField(_("email address"))
    digest = models.CharField(
        _("digest"), max_length=64, unique=True, editable=False, help_text="SHA-256 of the token."
    )
    invited_by = models.ForeignKey(
        User, verbose_name=_("invited by"), null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"))
    expires_at = models.DateTimeField(_("expires at"))
    accepted_at = models.DateTimeField(_("accepted at"), null=True)
    accepted_by = models.ForeignKey(
        User, verbose_name=_("accepted by"), null=True, on_delete=models.SET_NULL, related_name="+"
    )
    revoked_at = models.DateTimeField(_("revoked at"), null=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(client__isnull=False, group=None) & ~Q(role="")
                | Q(client=None, role="", group__isnull=False),
                name="invitation_is_to_a_client_or_to_staff",
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="invitation_lasts"),
            models.UniqueConstraint(
                "client",
                "group",
                Lower("email"),
                condition=Q(accepted_at=None, revoked_at=None),
                nulls_distinct=False,
                name="one_open_invitation_per_address",
            ),
        ]

    def __str__(self) -> str:
        return self.email


class ApiKey(Key):
    """What opens the API for a client, to read what it has."""

    client = models.ForeignKey(Client, verbose_name=_("client"), on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(_("who has it"), max_length=100, help_text=_("Who has it, such as the accounting system."))
    created_by = models.ForeignKey(
        User, verbose_name=_("created by"), null=True, on_delete=models.SET_NULL, related_name="+"
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_by = models.ForeignKey(
        User, verbose_name=_("revoked by"), null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Key.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="api_key_has_a_name"),
            models.UniqueConstraint(
                fields=["client", "name"], condition=Q(revoked_at=None), name="one_usable_api_key_per_client_and_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name
