"""Collections that a person asks for: each waits for the worker, which carries it out once."""

from datetime import datetime, timedelta

from django.contrib.auth.base_user import AbstractBaseUser

from metering.collection import collect_with_look_back
from metering.models import Collection, Server
from metering.server_lock import being_collected
from metering.worker import hand_over

#: A collection that no worker took for so long is not begun any more.
TOO_LATE = timedelta(hours=1)


def ask(*, server: Server, at: datetime, by: AbstractBaseUser | None) -> Collection:
    """Have the worker collect a server. One that waits for it or is running is not asked for twice."""
    known = Collection.objects.whole().filter(server=server).order_by("-id")
    waiting = known.filter(status=Collection.Status.WAITING, started_at__gt=at - TOO_LATE).first()
    if waiting:
        return waiting
    running = known.filter(status=Collection.Status.RUNNING).first()
    if running and server.pk in being_collected():
        return running
    record = Collection.objects.create(
        server=server, as_of=at, started_at=at, status=Collection.Status.WAITING, asked_by_id=by.pk if by else None
    )
    hand_over("billing_site.jobs.collect", record.pk)
    record.refresh_from_db()
    return record


def carry_out(*, pk: int, at: datetime) -> None:
    """Do a collection that was asked for. Only the first call does; one that comes too late says so."""
    record = Collection.objects.select_related("server").filter(pk=pk).first()
    if record is None:
        return  # it was deleted with its server
    waiting = Collection.objects.filter(pk=pk, status=Collection.Status.WAITING)
    if why := _not_begun(record, at):
        waiting.update(status=Collection.Status.FAILED, ended_at=at, error=why)
    elif waiting.update(status=Collection.Status.RUNNING, as_of=at, started_at=at):
        record.refresh_from_db(fields=["status", "as_of", "started_at"])
        collect_with_look_back(server=record.server, as_of=at, record=record)


def _not_begun(record: Collection, at: datetime) -> str:
    """Say why a collection that waited is not begun any more; empty if it is."""
    if at - record.started_at > TOO_LATE:
        return "No worker took it for more than an hour, so it was not begun. Collect again."
    if not record.server.is_active:
        return f"{record.server} is not active any more, so it was not begun."
    return ""
