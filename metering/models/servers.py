"""The installations that providers are pointed at."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from metering.providers import base
from metering.providers.secrecy import blotted
from metering.vault import Credentials, CredentialsField


def default_time_zone() -> str:
    return str(settings.TIME_ZONE)


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        words = gettext("%(name)s is not a time zone of the IANA database, such as Europe/Berlin.")
        raise ValidationError(words % {"name": name})


class ServerQuerySet(models.QuerySet["Server"]):
    def asked(self) -> ServerQuerySet:
        """The active ones that are asked for usage; others send it."""
        silent = [name for name in base.installed() if not base.asks(name)]
        return self.filter(is_active=True).exclude(provider__in=silent)


class Server(models.Model):
    """One installation that a provider is pointed at."""

    name = models.CharField(_("name"), max_length=100, unique=True, help_text=_("As staff call it: pg-01."))
    provider = models.CharField(_("kind of server"), max_length=50)
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    credentials = CredentialsField(_("credentials"), default=Credentials, blank=True, editable=False)
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default=default_time_zone,
        validators=[validate_time_zone],
        help_text=_("Decides on which day and in which month a value falls."),
    )
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Only active servers are collected."))
    collected_at = models.DateTimeField(_("last collected"), null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ServerQuerySet.as_manager()

    class Meta:
        verbose_name = _("server")
        verbose_name_plural = _("servers")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="server_has_a_name"),
            models.CheckConstraint(condition=~Q(provider=""), name="server_has_a_provider"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def provider_title(self) -> str:
        known = base.installed().get(self.provider)
        return gettext(known.title) if known else self.provider

    def connection(self, as_of: datetime, cost: base.Cost | None = None) -> base.Connection:
        return base.Connection(self.settings, self.credentials, as_of, self.zone, cost or base.Cost())

    def without_credentials(self, text: str) -> str:
        """Return what a provider said as it may be stored and shown: without what it was told in confidence, and
        without NUL, halves of letters and the like. Credentials that were not loaded cannot be in it."""
        said = blotted(text, vars(self).get("credentials", {}).values())
        return "".join(
            letter if letter.isprintable() or letter.isspace() else "\N{REPLACEMENT CHARACTER}" for letter in said
        )
