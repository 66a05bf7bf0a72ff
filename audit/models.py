"""What happened to money and access, and who did it: written by the database, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

#: Stands in `changes` for a value that is never written down.
SECRET = "secret"  # noqa: S105  # nosec B105 (it stands for secrets)


class Exactly(json.JSONDecoder):
    """Reads numbers as they were, not as floats."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parse_float=Decimal, **options)


class EntryQuerySet(models.QuerySet["Entry"]):
    def about(self, *references: str) -> EntryQuerySet:
        """Entries about any of these things, which are named as `reference` names them, the newest first.

        They are found by their own index and then sorted: the index of times would have to be read for as long as
        it takes to come across the last of them, and the database underrates that. To add nothing to the time keeps
        it from that index.
        """
        time = ExpressionWrapper(F("at") + timedelta(0), output_field=models.DateTimeField())
        return self.filter(about__overlap=list(references)).order_by(time.desc(), "-id")

    def older_than(self, entry: Entry) -> EntryQuerySet:
        return self.filter(at__lte=entry.at).exclude(at=entry.at, id__gte=entry.pk)


class Entry(models.Model):
    """One row of another table that was changed, or something that a person did which changes no row.

    Triggers write it in the transaction that made the change (`audit.operations`), so that nothing that was
    changed is missing and nothing that was rolled back is there. `at`, `transaction` and `digest` are always the
    database's own word. `changes` says for each column that differs what it was and what it is, as `[before,
    after]`; of secrets only that they changed. `about` names the row and what it is a part of.
    """

    class What(models.TextChoices):
        INSERT = "insert", _("added")
        UPDATE = "update", _("changed")
        DELETE = "delete", _("deleted")
        TRUNCATE = "truncate", _("all deleted")
        LOGIN = "login", _("signed in")
        LOGIN_FAILED = "login_failed", _("sign-in failed")
        LOGOUT = "logout", _("signed out")
        REFUSED = "refused", _("refused")
        VIEW_AS_BEGAN = "view_as_began", _("views as client")
        VIEW_AS_ENDED = "view_as_ended", _("stopped viewing as client")

    #: What triggers write; the rest is noted by `audit.log`.
    OF_ROWS = (What.INSERT, What.UPDATE, What.DELETE, What.TRUNCATE)

    at = models.DateTimeField(db_default=Now(), editable=False)
    transaction = models.BigIntegerField(db_default=0, editable=False)
    what = models.CharField(max_length=20, choices=What.choices)
    table = models.CharField(max_length=100, blank=True, db_default="")
    key = models.CharField(max_length=100, blank=True, db_default="")
    about = ArrayField(models.TextField(), default=list)
    changes = models.JSONField(default=dict, decoder=Exactly)
    actor_id = models.BigIntegerField(null=True, help_text="The user; none for the site itself.")
    actor = models.CharField(max_length=300, blank=True, db_default="", help_text="What they were called then.")
    source = models.CharField(max_length=20, blank=True, db_default="")
    path = models.CharField(max_length=300, blank=True, db_default="")
    digest = models.CharField(max_length=64, blank=True, db_default="", editable=False)

    objects = EntryQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-at", "-id"]
        default_permissions = ("view",)
        verbose_name_plural = "entries"
        indexes: ClassVar = [
            models.Index(fields=["at", "id"], name="entries_in_order"),
            models.Index(fields=["actor_id", "at", "id"], name="entries_of_a_person"),
            models.Index(fields=["table", "at", "id"], name="entries_of_a_table"),
            models.Index(fields=["transaction"], name="entries_made_together"),
            GinIndex(fields=["about"], name="entries_about_a_thing"),
        ]

    def __str__(self) -> str:
        return f"entry {self.pk}"

    @property
    def is_of_row(self) -> bool:
        return self.what in self.OF_ROWS


class Seal(models.Model):
    """A link of the chain over the entries: the digest of those after the seal before up to `through`, and of
    that seal's digest."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    through = models.BigIntegerField(unique=True)
    entries = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)

    class Meta:
        ordering: ClassVar = ["id"]
        default_permissions = ()
        constraints: ClassVar = [models.CheckConstraint(condition=Q(entries__gt=0), name="seal_is_of_something")]

    def __str__(self) -> str:
        return f"seal {self.pk}"


def reference(thing: models.Model) -> str:
    """Name a row, as entries do: `catalog_service:12`."""
    return f"{thing._meta.db_table}:{thing.pk}"


def references(table: str, keys: Iterable[object]) -> list[str]:
    """Name rows of a table by their keys."""
    return [f"{table}:{key}" for key in keys]
