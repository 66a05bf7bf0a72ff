"""The outbox of mails."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy

from catalog.models import Client, Invitation, User
from invoicing.models.alerts import Crossing
from invoicing.models.documents import Invoice
from invoicing.models.questions import Post


class Message(models.Model):
    """A mail in the outbox, queued in the transaction that made its reason, and sent once afterwards.

    It says what it is about by one reference; what it tells is read when it is sent. A kind of mail about an
    invoice may be sent in several `step`s, such as a second reminder. `user` is who gets it, if that is a
    person who logs in; it is not sent before `hold_until`, the end of their quiet hours.
    """

    class Kind(models.TextChoices):
        ISSUED = "issued", gettext_lazy("Issued")
        DUE = "due", gettext_lazy("Due")
        OVERDUE = "overdue", gettext_lazy("Overdue")
        ALERT = "alert", gettext_lazy("Alert")
        INVITATION = "invitation", gettext_lazy("Invitation")
        QUESTION = "question", gettext_lazy("Question")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    client = models.ForeignKey(Client, null=True, on_delete=models.CASCADE, related_name="messages")
    invoice = models.ForeignKey(Invoice, null=True, on_delete=models.PROTECT, related_name="messages")
    crossing = models.ForeignKey(Crossing, null=True, on_delete=models.CASCADE, related_name="messages")
    post = models.ForeignKey(Post, null=True, on_delete=models.PROTECT, related_name="messages")
    invitation = models.ForeignKey(Invitation, null=True, on_delete=models.CASCADE, related_name="messages")
    step = models.PositiveSmallIntegerField(db_default=0)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    to = models.EmailField()
    created_at = models.DateTimeField()
    hold_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["created_at"]
        indexes: ClassVar = [
            models.Index(fields=["created_at"], condition=Q(sent_at=None), name="messages_to_send"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "invoice", "step"], condition=Q(invoice__isnull=False), name="each_mail_is_queued_once"
            ),
            models.UniqueConstraint(
                fields=["crossing", "to"], condition=Q(crossing__isnull=False), name="each_alert_is_queued_once"
            ),
            models.UniqueConstraint(
                fields=["post", "to"], condition=Q(post__isnull=False), name="each_post_is_queued_once"
            ),
            models.UniqueConstraint(
                fields=["invitation", "step"],
                condition=Q(invitation__isnull=False),
                name="each_invitation_is_queued_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.to}"
