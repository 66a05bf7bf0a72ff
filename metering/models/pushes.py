"""What usage that is sent needs: the keys of who may push, the ids of lines, and files before they are imported."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from metering.keys import Key
from metering.models.servers import Server


class PushKeyQuerySet(models.QuerySet["PushKey"]):
    def usable(self) -> PushKeyQuerySet:
        return self.filter(revoked_at=None)


class PushKey(Key):
    """What opens `POST /api/v1/usage` for one server."""

    server = models.ForeignKey(Server, verbose_name=_("server"), on_delete=models.CASCADE, related_name="push_keys")
    name = models.CharField(_("who has it"), max_length=100, help_text=_("Who has it, such as shop-01."))
    metrics = ArrayField(
        models.CharField(max_length=100),
        verbose_name=_("metrics"),
        default=list,
        help_text=_("System names; empty for all."),
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("created by"), null=True, on_delete=models.PROTECT, related_name="+"
    )
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("revoked by"), null=True, on_delete=models.PROTECT, related_name="+"
    )

    objects = PushKeyQuerySet.as_manager()

    class Meta(Key.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(name=""), name="push_key_has_a_name"),
            models.UniqueConstraint(
                fields=["server", "name"], condition=Q(revoked_at=None), name="one_usable_push_key_per_server_and_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Pushed(models.Model):
    """An id that came with a line, and the digest of what the line said, so that it counts once.

    A hot table without foreign keys, as the others; a row is kept for a set time (metering.push_ids.KEPT).
    """

    pk = models.CompositePrimaryKey("server_id", "key")
    server_id = models.IntegerField()
    key = models.TextField()
    digest = models.BinaryField(max_length=16)
    pushed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "pushed"
        indexes: ClassVar = [BrinIndex(fields=["pushed_at"], name="pushed_in_order")]


class Upload(models.Model):
    """A file that somebody looks at before it is imported. Kept until then, or for a day."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    format = models.CharField(max_length=20)
    digest = models.CharField(max_length=64)
    content = models.BinaryField()
    at = models.DateTimeField(db_index=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return self.name
