"""The site's own rows: when its jobs are due and how they went, what its clock said last, and its cache."""

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


class Tick(models.Model):
    """When the site last looked for due jobs by a clock that it believed. There is one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at = models.DateTimeField()
    doubted_at = models.DateTimeField(null=True, help_text="What the clock said when it was not believed.")

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="there_is_one_tick")]

    def __str__(self) -> str:
        return f"tick at {self.at}"


class CacheEntry(models.Model):
    """The cache that all processes share: Django's DatabaseCache has its rows here, under its own names of columns.

    How often somebody tried to sign in is counted in it, so that a limit holds across processes and restarts.
    """

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "site_cache"

    def __str__(self) -> str:
        return self.cache_key
