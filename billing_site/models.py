"""The site's own rows: when its jobs are due and how they went."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Job(models.Model):
    """A job of the site, due when `next_due`, or after a failure `retry_at`, has come; a tick only looks."""

    name = models.CharField(max_length=50, primary_key=True)
    next_due = models.DateTimeField()
    retry_at = models.DateTimeField(null=True, help_text="Due then instead, because it failed.")
    started_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Since the last success, counted before the work.")
    error = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(name=""), name="job_has_a_name")]

    def __str__(self) -> str:
        return self.name
