"""The worker: django-q2's own, with the site's tick made sure of, and its jobs told when it is to stop."""

from typing import Any

from django_q.cluster import Cluster
from django_q.management.commands import qcluster

from billing_site import stopping
from billing_site.jobs import ensure_schedule


class Telling(Cluster):  # type: ignore[misc]
    """A cluster that tells the jobs at work when it is to stop."""

    def sig_handler(self, signum: int, frame: object) -> None:
        stopping.ask()
        super().sig_handler(signum, frame)


class Command(qcluster.Command):  # type: ignore[misc]
    def handle(self, *args: Any, **options: Any) -> None:
        ensure_schedule()
        qcluster.Cluster = Telling
        super().handle(*args, **options)
