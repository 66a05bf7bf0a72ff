"""The site's jobs: what is due is decided from our own rows, and a tick only looks.

A missed, late or doubled tick changes nothing: a job that is due runs once, is claimed before the work
by one conditional update, and counts its attempts in a commit of its own. What fails is tried again
after a while, and after three attempts at its next regular time; `error` says why.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_q.models import Schedule

from billing_site.models import Job
from invoicing.billing import create_invoices
from metering.collection import collect_all

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
RETRY_AFTER = timedelta(minutes=15)
#: A job that began longer ago than the worker lets it run was killed.
LEASE = timedelta(seconds=settings.Q_CLUSTER["retry"])


@dataclass(frozen=True, slots=True)
class Task:
    """What a job does, and how often."""

    run: Callable[[datetime], str]
    every: timedelta


def _tenant_usage_metrics(at: datetime) -> str:
    records = collect_all(as_of=at)
    failed = [str(record.server) for record in records if not record.is_stored]
    said = f"{len(records)} servers collected"
    return f"{said}, of which failed or held: {', '.join(failed)}" if failed else said


def _create_invoices(at: datetime) -> str:
    run = create_invoices(on=timezone.localdate(at), at=at).run
    return f"{run.invoices} invoices for {run.services} terms, {run.parked} parked, {run.deferred} waiting"


#: In the order in which they run: usage is always collected before it is billed.
TASKS = {
    "TenantUsageMetrics": Task(_tenant_usage_metrics, timedelta(hours=12)),
    "CreateInvoices": Task(_create_invoices, timedelta(days=1)),
}


def run_due(*, at: datetime, skip: Iterable[str] = ()) -> dict[str, str]:
    """Run all jobs that are due but the named ones. Returns what each said, or "failed: …"."""
    _ensure_rows(at)
    due = set(
        Job.objects.alias(due=Coalesce("retry_at", "next_due")).filter(due__lte=at).values_list("name", flat=True)
    )
    if "CreateInvoices" in due:
        due.add("TenantUsageMetrics")  # the daily run collects first, due or not
    return _run([name for name in TASKS if name in due - set(skip)], at)


def run_named(names: Iterable[str], *, at: datetime) -> dict[str, str]:
    """Run the named jobs now, due or not. Returns what each said, or "failed: …"."""
    _ensure_rows(at)
    wanted = set(names)
    return _run([name for name in TASKS if name in wanted], at)


def tick() -> dict[str, str]:
    """What the worker calls every few minutes."""
    return run_due(at=timezone.now())


def ensure_schedule() -> None:
    """Make sure that the worker ticks, whatever became of its schedule."""
    Schedule.objects.update_or_create(
        name="tick",
        defaults={
            "func": "billing_site.jobs.tick",
            "schedule_type": Schedule.MINUTES,
            "minutes": 5,
            "repeats": -1,
            "cluster": None,
        },
    )


def _ensure_rows(at: datetime) -> None:
    Job.objects.bulk_create([Job(name=name, next_due=at) for name in TASKS], ignore_conflicts=True)


def _run(names: list[str], at: datetime) -> dict[str, str]:
    said = {}
    for name in names:
        free = Q(started_at=None) | Q(started_at__lt=at - LEASE)
        claimed = Job.objects.filter(free, name=name).update(started_at=at, attempts=F("attempts") + 1)
        if not claimed:
            said[name] = "is running already"
            continue
        try:
            said[name] = TASKS[name].run(at)
        except Exception as error:
            logger.exception("job %s failed", name)
            said[name] = f"failed: {type(error).__name__}"
            _postpone(Job.objects.get(name=name), at, str(error))
        else:
            _finish(name, at)
        logger.info("%s: %s", name, said[name])
    return said


def _finish(name: str, at: datetime) -> None:
    job = Job.objects.get(name=name)
    job.next_due = _next(job.next_due, TASKS[name].every, at)
    job.succeeded_at, job.started_at, job.retry_at, job.attempts, job.error = timezone.now(), None, None, 0, ""
    job.save()


def _postpone(job: Job, at: datetime, error: str) -> None:
    if job.attempts >= MAX_ATTEMPTS:
        job.next_due, job.retry_at, job.attempts = _next(job.next_due, TASKS[job.name].every, at), None, 0
    else:
        job.retry_at = at + RETRY_AFTER
    job.started_at, job.error = None, error[:2000]
    job.save()


def _next(due: datetime, every: timedelta, at: datetime) -> datetime:
    """Return the first regular time after `at`, in steps from the one that was due."""
    missed = max((at - due) // every, 0)
    return due + every * (missed + 1)
