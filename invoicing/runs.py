"""A billing run that a person starts: the worker does it, and its record says how far it is."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum

from django.conf import settings

from catalog.models import User
from invoicing import preview
from invoicing.billing import SILENCE, create_invoices
from invoicing.models import Preview, Run
from metering.worker import hand_over

#: A run that no worker took for so long is not begun any more: somebody may press a button on another day.
TOO_LATE = timedelta(hours=1)
#: Before its first batch a run asks servers for what is too old, and says nothing meanwhile.
PATIENCE = timedelta(seconds=settings.Q_CLUSTER["timeout"])
#: When a person wonders whether there is a worker at all.
SOON = timedelta(seconds=15)


class State(StrEnum):
    WAITING = "waiting"
    LATE = "late"
    RUNNING = "running"
    DIED = "died"
    FAILED = "failed"
    DONE = "done"

    @property
    def is_live(self) -> bool:
        """Whether something may change yet."""
        return self in (State.WAITING, State.LATE, State.RUNNING)


def state(one: Run | Preview, at: datetime) -> State:
    """What became of a run, or of a dry run, as far as it was heard of."""
    asked_at = one.started_at if isinstance(one, Run) else one.asked_at
    if one.ended_at is not None:
        return State.FAILED if one.error else State.DONE
    if one.beat_at is None:
        if at - asked_at > TOO_LATE:
            return State.DIED
        return State.LATE if at - asked_at > SOON else State.WAITING
    is_at_work = bool(one.working_on) if isinstance(one, Run) else bool(one.done)
    silence = SILENCE if is_at_work else PATIENCE
    return State.DIED if at - one.beat_at > silence else State.RUNNING


def start(*, on: date, at: datetime, by: User | None) -> Run:
    """Have all that is due billed by the worker. One that waits for it already is not asked for twice."""
    waiting = Run.objects.filter(beat_at=None, ended_at=None, started_by__isnull=False, started_at__gt=at - TOO_LATE)
    if known := waiting.first():
        return known
    run = Run.objects.create(on=on, started_at=at, started_by=by)
    hand_over("billing_site.jobs.issue", run.pk)
    return run


def make_preview(one: Preview, *, due: int) -> None:
    """Make a dry run that was asked for: now, or by the worker if it is of many services."""
    if due <= settings.PREVIEW_AT_ONCE:
        preview.make(pk=one.pk, at=one.asked_at)
    else:
        hand_over("billing_site.jobs.dry_run", one.pk)


def carry_out(*, pk: int, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Do a run that was started. Only the first call does; one that comes too late says so."""
    run = Run.objects.get(pk=pk)
    if at - run.started_at > TOO_LATE:
        refuse(pk=pk, at=at, why="No worker took it for more than an hour, so it was not begun. Start it again.")
    elif Run.objects.filter(pk=pk, beat_at=None, ended_at=None).update(beat_at=at):
        run.refresh_from_db()
        create_invoices(on=run.on, at=at, by=run.started_by, run=run, should_stop=should_stop)


def refuse(*, pk: int, at: datetime, why: str) -> None:
    """Close a run that was not begun."""
    Run.objects.filter(pk=pk, beat_at=None, ended_at=None).update(ended_at=at, error=why)
