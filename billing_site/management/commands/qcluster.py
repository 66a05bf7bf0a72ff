"""The worker: django-q2's own, with the site's tick made sure of."""

from typing import Any

from django_q.management.commands import qcluster

from billing_site.jobs import ensure_schedule


class Command(qcluster.Command):  # type: ignore[misc]
    def handle(self, *args: Any, **options: Any) -> None:
        ensure_schedule()
        super().handle(*args, **options)
