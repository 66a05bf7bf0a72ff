"""What servers call the accounts on them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from metering.models.servers import Server


class Tenant(models.Model):
    """One account on one server. It exists from the day a collection sees it or a service names it.

    `is_claimed` says whether somebody is to be billed for it. Who sells what it uses keeps that by a trigger.
    """

    id = models.AutoField(primary_key=True)
    server = models.ForeignKey(Server, verbose_name=_("server"), on_delete=models.PROTECT, related_name="tenants")
    key = models.CharField(_("name on the server"), max_length=255)
    first_seen_at = models.DateTimeField(_("first seen at"), null=True, editable=False)
    missing_since = models.DateTimeField(_("missing since"), null=True, editable=False)
    is_claimed = models.BooleanField(_("has a service"), db_default=False, editable=False)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        indexes: ClassVar = [
            # The few among millions that nobody is billed for.
            models.Index(
                fields=["server", "key"],
                name="tenants_that_nobody_claims",
                condition=Q(is_claimed=False, first_seen_at__isnull=False, missing_since=None),
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["server", "key"], name="one_tenant_per_server_and_key"),
            models.CheckConstraint(condition=~Q(key=""), name="tenant_has_a_key"),
        ]

    def __str__(self) -> str:
        return self.key
