"""Questions that clients ask about lines of their invoices."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy

from catalog.models import Client, User
from invoicing.models.documents import Invoice
from invoicing.models.lines import Line


class Question(models.Model):
    """A thread between a client and staff about a line. It waits for whoever did not write last, until it is
    closed; another post opens it again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="questions")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="questions")
    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="questions", db_constraint=False)
    opened_at = models.DateTimeField()
    posted_at = models.DateTimeField(help_text=gettext_lazy("When the last post was written."))
    waits_for_staff = models.BooleanField(default=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["posted_at", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["line"], condition=Q(closed_at=None), name="one_open_question_per_line"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["posted_at"], condition=Q(closed_at=None, waits_for_staff=True), name="questions_for_staff"
            ),
        ]

    def __str__(self) -> str:
        return f"question about {self.line_id}"

    @property
    def last_post(self) -> Post:
        """The newest post, of those that were fetched with it."""
        return list(self.posts.all())[-1]


class Post(models.Model):
    """What somebody wrote in a thread. It is never changed."""

    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="posts")
    by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    is_of_staff = models.BooleanField()
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["at", "id"]
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(text=""), name="post_says_something")]

    def __str__(self) -> str:
        return self.text[:80]
