"""The site's jobs: what is due is decided from our own rows, and a tick only looks.

A missed, late or doubled tick changes nothing: a job that is due runs once, is claimed before the work
by one conditional update, and counts its attempts in a commit of its own. What fails is tried again
after a while, and after three attempts at its next regular time; `error` says why. A job that is asked to
stop leaves the rest undone and stays due. By a clock that is doubted nothing is billed.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_q.models import Schedule

from audit import sealing
from audit.actors import working
from billing_site import account_mail, clock, stopping
from billing_site.models import Job, Tick
from catalog.models import User
from catalog.usage_update import update_usage
from invoicing import alerts, outbox, preview, reminding, runs, termination
from invoicing.billing import create_invoices
from invoicing.overage_billing import charge_overage
from metering import dates, pushing
from metering.asked_collections import carry_out
from metering.collectors import collect_all
from metering.models import Server
from reports import counting, fitting, measuring

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
RETRY_AFTER = timedelta(minutes=15)
#: A job that began longer ago than the worker lets it run was killed.
LEASE = timedelta(seconds=settings.Q_CLUSTER["retry"])
#: Mails are sent for this many seconds at most, well below what the worker lets a tick run.
SENDING = 600


@dataclass(frozen=True, slots=True)
class Task:
    """What a job does, and how often."""

    run: Callable[[datetime], str]
    every: timedelta


def _tenant_usage_metrics(at: datetime) -> str:
    pushing.forget(at=at)
    records = collect_all(as_of=at, should_stop=stopping.asked)
    failed = [str(record.server) for record in records if not record.is_stored]
    said = f"{len(records)} servers collected"
    return f"{said}, of which failed or held: {', '.join(failed)}" if failed else said


def _usage_update(at: datetime) -> str:
    servers = Server.objects.filter(is_active=True)
    old = Server.objects.asked().filter(Q(collected_at=None) | Q(collected_at__lt=at - timedelta(hours=12)))
    if late := list(old):
        collect_all(as_of=at, servers=late, should_stop=stopping.asked)
    services = sum(update_usage(server) for server in servers.all())
    return f"{services} services"


def _overage_billing(at: datetime) -> str:
    return str(charge_overage(on=dates.site_day(at), at=at, should_stop=stopping.asked))


def _create_invoices(at: datetime) -> str:
    run = create_invoices(on=dates.site_day(at), at=at, should_stop=stopping.asked).run
    said = f"{run.invoices} invoices for {run.services} terms, {run.parked} parked, {run.deferred} waiting"
    ended = termination.finish_all(at=at)
    waits = sum(each.waits for each in ended)
    return f"{said}; {len(ended) - waits} last invoices made, {waits} wait" if ended else said


def _alerts(at: datetime) -> str:
    return str(alerts.watch(at=at, should_stop=stopping.asked))


def _send_messages(at: datetime) -> str:
    end = time.monotonic() + SENDING
    done = outbox.send_due(at=at, should_stop=lambda: stopping.asked() or time.monotonic() > end)
    said = f"{done.sent} mails sent, {done.failed} failed"
    said += f", {done.dropped} dropped" if done.dropped else ""
    return f"{said}; stopped early: {done.error}" if done.error else said


def _reports(at: datetime) -> str:
    documents = counting.count_documents(at=at, should_stop=stopping.asked)
    counting.spread_prices(should_stop=stopping.asked)
    months = measuring.sum_usage(at=at, should_stop=stopping.asked)
    fitting.look(at=at, should_stop=stopping.asked)
    return f"{documents} documents counted, usage of {months} months summed"


def _reminders(at: datetime) -> str:
    today = dates.site_day(at)
    return f"{reminding.queue_due(on=today, at=at)} invoices due, {reminding.queue_overdue(on=today, at=at)} overdue"


def _seal_audit_log(at: datetime) -> str:
    return f"{sealing.seal()} entries sealed"


#: In the order in which they run: usage is always collected before it is billed.
TASKS = {
    "TenantUsageMetrics": Task(_tenant_usage_metrics, timedelta(hours=12)),
    "UsageUpdate": Task(_usage_update, timedelta(days=1)),
    "OverageBilling": Task(_overage_billing, timedelta(days=1)),
    "CreateInvoices": Task(_create_invoices, timedelta(days=1)),
    "Reminders": Task(_reminders, timedelta(days=1)),
    "Alerts": Task(_alerts, timedelta(hours=1)),
    "SealAuditLog": Task(_seal_audit_log, timedelta(hours=1)),
    "SendMessages": Task(_send_messages, timedelta(minutes=1)),  # at every tick
    "Reports": Task(_reports, timedelta(hours=1)),
}
#: What is not done by a clock that jumped. After a standstill collecting goes on, since what a server says now
#: it does not say later; but no clock goes back that far, and values of then would spoil those of now.
NOT_AHEAD = frozenset({"OverageBilling", "CreateInvoices", "Reminders"})
COLLECTING = frozenset({"TenantUsageMetrics", "UsageUpdate"})
NOT_BEHIND = NOT_AHEAD | COLLECTING


def run_due(*, at: datetime, skip: Iterable[str] = ()) -> dict[str, str]:
    """Run all jobs that are due but the named ones. Returns what each said: "failed: …" or "refused: …" if it
    came to that."""
    _ensure_rows(at)
    due = set(
        Job.objects.alias(due=Coalesce("retry_at", "next_due")).filter(due__lte=at).values_list("name", flat=True)
    )
    if due & {"OverageBilling", "CreateInvoices"}:
        due.add("TenantUsageMetrics")  # the daily run collects first, due or not
    return _run([name for name in TASKS if name in due - set(skip)], at)


def run_named(names: Iterable[str], *, at: datetime) -> dict[str, str]:
    """Run the named jobs now, due or not. Returns what each said, as `run_due` does."""
    _ensure_rows(at)
    wanted = set(names)
    return _run([name for name in TASKS if name in wanted], at)


def tick() -> dict[str, str]:
    """What the worker calls every few minutes."""
    with stopping.on_sigterm():
        return run_due(at=timezone.now())


@working(source="job", path="issue")
def issue(pk: int) -> None:
    """Do a billing run that a person started, by its number."""
    now = timezone.now()
    tick = clock.look(at=now)
    if "CreateInvoices" in _refused(tick):
        runs.refuse(pk=pk, at=now, why=clock.doubt(tick))
        return
    with stopping.on_sigterm():
        runs.carry_out(pk=pk, at=now, should_stop=stopping.asked)


@working(source="job", path="dry_run")
def dry_run(pk: int) -> None:
    """Make a dry run that a person asked for, by its number."""
    with stopping.on_sigterm():
        preview.make(pk=pk, at=timezone.now(), should_stop=stopping.asked)


@working(source="job", path="collect")
def collect(pk: int) -> None:
    """Collect a server that a person asked for, by the number of the record."""
    with stopping.on_sigterm():
        carry_out(pk=pk, at=timezone.now())


def mail_reset(email: str) -> None:
    """Answer somebody who forgot a password, if there is such a person."""
    account_mail.mail_reset(email)


def tell_user(pk: int, news: str) -> None:
    """Mail somebody what became of their account."""
    for user in User.objects.filter(pk=pk):
        account_mail.tell(user, news)


def ensure_schedule() -> None:
    """Make sure that the worker ticks, whatever became of its schedule."""
    now = timezone.now()
    own = Schedule.objects.filter(name="tick").order_by("pk")
    first = own.first() or Schedule(name="tick")
    own.exclude(pk=first.pk).delete()
    # All of it anew: anybody with a hand on the table may have edited anything.
    Schedule(
        pk=first.pk,
        name="tick",
        func="billing_site.jobs.tick",
        schedule_type=Schedule.MINUTES,
        minutes=5,
        repeats=-1,
        next_run=min(first.next_run or now, now + timedelta(minutes=5)),
        task=first.task,
    ).save()


def _ensure_rows(at: datetime) -> None:
    Job.objects.bulk_create([Job(name=name, next_due=at) for name in TASKS], ignore_conflicts=True)
    for name, task in TASKS.items():
        # A time that no clock of ours would have set: it was set while the clock was ahead.
        never = at + 2 * task.every + timedelta(hours=1)
        Job.objects.filter(name=name, next_due__gt=never).update(next_due=at)
        Job.objects.filter(name=name, retry_at__gt=never).update(retry_at=None)


def _run(names: list[str], at: datetime) -> dict[str, str]:
    tick, begun = clock.look(at=at), timezone.now()
    refused = _refused(tick)
    said = {}
    for name in names:
        if stopping.asked():
            break
        if name in refused:
            said[name] = f"refused: {clock.doubt(tick)}"
            continue
        free = Q(started_at=None) | Q(started_at__lt=at - LEASE) | Q(started_at__gt=at + LEASE)
        claimed = Job.objects.filter(free, name=name).update(started_at=at, attempts=F("attempts") + 1)
        if not claimed:
            said[name] = "is running already"
            continue
        try:
            with working(source="job", path=name):
                # What a server says counts for the instant at which it is asked, which an earlier job may have put off.
                waited = max(timezone.now() - begun, timedelta(0)) if name in COLLECTING else timedelta(0)
                said[name] = TASKS[name].run(at + waited)
        except Exception as error:
            logger.exception("job %s failed", name)
            said[name] = f"failed: {type(error).__name__}"
            _postpone(Job.objects.get(name=name), at, str(error))
        else:
            if stopping.asked():
                _leave(name)
            else:
                _finish(name, at)
        logger.info("%s: %s", name, said[name])
    return said


def _refused(tick: Tick) -> frozenset[str]:
    """The jobs that are not done by what the clock says."""
    if tick.doubted_at is None:
        return frozenset()
    return NOT_AHEAD if tick.doubted_at > tick.at else NOT_BEHIND


def _leave(name: str) -> None:
    """Let a job that stopped before its end be due still."""
    Job.objects.filter(name=name).update(started_at=None, attempts=0)


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
