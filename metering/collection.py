"""The deed of collecting: ask one server, check the answer, store it, and leave a record of what happened.

One collection at a time per server, each isolated from the others. Whatever goes wrong, the record says
it, and no value is stored that the record does not account for.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from metering import doubt, ingestion, server_lock, staging
from metering.answers import Progress, asked
from metering.declaring import declare
from metering.ingestion import Stored
from metering.intake import Intake
from metering.models import Collection, HeldValue, Metric, Server, Tenant
from metering.periods import Period, day, local_day, month
from metering.providers import base
from metering.providers.base import Cost, MetricType, Provider, ProviderError
from metering.providers.secrecy import traced
from metering.server_lock import Busy

logger = logging.getLogger(__name__)

#: A closed day or month is asked for again during this time, where the provider can.
LOOK_BACK = timedelta(hours=48)


class Overtaken(Exception):
    """A newer collection of this server was begun before one that had been asked for."""


def collect(
    *,
    server: Server,
    as_of: datetime,
    tenant: str = "",
    period: Period | None = None,
    accept_changes: bool = False,
    progress: Progress = lambda seen: None,
    record: Collection | None = None,
) -> Collection:
    """Ask a server for its usage, or for that of one tenant, and store what it answers.

    `period` asks for a closed day or month again, which the provider must be able to answer.
    `accept_changes` stores an answer that would otherwise be held or refused as doubtful. `progress` is called
    with the number of tenants seen so far. `record` is that of a collection of all tenants that was asked for,
    if one was.

    Returns the record. Raises Busy when a collection of this server is running, save for one that was asked
    for: its record says so.
    """
    cost = Cost(ends=time.monotonic() + settings.COLLECTION_SECONDS)
    was_asked_for = record is not None
    record = record or Collection.objects.create(
        server=server,
        tenant_key=tenant,
        as_of=as_of,
        started_at=timezone.now(),
        period_start=period.start if period else None,
        period_end=period.end if period else None,
    )
    try:
        kind = base.provider(server.provider)
        # Committed at once: other servers of this kind would wait for it.
        metrics = declare(server.provider, kind.metrics(server.settings))
        with transaction.atomic():
            lock_server(record)
            if was_asked_for:
                _check_newest(record)
            intake = _take_in(record, kind(server.connection(as_of, cost)), metrics, cost.ends, progress)
            _keep(record, intake, accept_changes)
            record.calls, record.bytes = cost.calls, cost.bytes
            _end(record)
    except Busy:
        if not was_asked_for:
            record.delete()
            raise
        _fail(record, f"Another collection of {server} was running, so this one was not begun.")
    except Overtaken as error:
        _fail(record, str(error))
    except ProviderError as error:
        record.calls, record.bytes = cost.calls, cost.bytes
        # Its author promised to leave them out.
        _fail(record, server.without_credentials(str(error)))
    except DatabaseError:
        logger.exception("collection %s of %s could not be stored", record.pk, server)
        _fail(record, "The database could not store the answer. Nothing of it was kept; the log has the details.")
    except (Exception, SystemExit) as error:
        # A provider is somebody else's code: whatever it raises is its failure, not ours. Its text may
        # hold a credential, so the record names the kind only.
        logger.error("collection %s of %s failed: %s", record.pk, server, traced(error))
        _fail(record, f"The provider stopped with {type(error).__name__}. The log has the details.")
    return record


def collect_with_look_back(
    *,
    server: Server,
    as_of: datetime,
    progress: Progress = lambda seen: None,
    record: Collection | None = None,
) -> Collection:
    """Collect a server, and ask again for its periods that closed a short while ago.

    Returns the record of the current values. Raises Busy.
    """
    record = collect(server=server, as_of=as_of, progress=progress, record=record)
    if record.is_stored:
        # Whoever collects it by now asks for them too.
        with suppress(Busy):
            for period in periods_to_ask_again(server, as_of):
                collect(server=server, as_of=as_of, period=period)
    return record


def periods_to_ask_again(server: Server, as_of: datetime) -> list[Period]:
    """Return the closed days and months that are younger than LOOK_BACK and that the provider can answer for."""
    provider = base.provider(server.provider)
    if not provider.can_look_back:
        return []
    types = {metric.type for metric in provider.metrics(server.settings)}
    today = local_day(as_of, server.zone)
    # Three, because of a day of 23 hours.
    days = [day(today - timedelta(days=back)) for back in (3, 2, 1)] if MetricType.DAY in types else []
    months = [month(today.replace(day=1) - timedelta(days=1))] if MetricType.MONTH in types else []
    return [period for period in [*months, *days] if as_of - period.ends_at(server.zone) < LOOK_BACK]


def lock_server(record: Collection) -> None:
    """Take the lock of a collection's server for the rest of the transaction. Raises Busy."""
    server_lock.take(record.server)
    # Whoever has the lock is alone, so a record that still says "running" was left by a process that died.
    Collection.objects.filter(server=record.server, status=Collection.Status.RUNNING).exclude(pk=record.pk).update(
        status=Collection.Status.FAILED, ended_at=timezone.now(), error="The process stopped before the end."
    )


def _check_newest(record: Collection) -> None:
    """What was asked for first and begun last would pass for the older one. Its values are not needed either."""
    newer = Collection.objects.whole().filter(server=record.server, pk__gt=record.pk)
    if found := newer.exclude(status=Collection.Status.WAITING).order_by("-id").first():
        raise Overtaken(f"Collection {found} of {record.server} was begun before it, so this one was not needed.")


def _take_in(
    record: Collection, provider: Provider, metrics: Mapping[str, Metric], ends: float, progress: Progress
) -> Intake:
    """Stage what the server answers, and note how much that is and what of it cannot be used.

    Raises ProviderError when it answers nothing at all, and whatever else the provider raises.
    """
    server = record.server
    intake = Intake(metrics=metrics, open_day=local_day(record.as_of, server.zone), as_of=record.as_of)
    with asked(provider, record, ends=ends, progress=progress) as answers:
        staging.stage(intake, answers)
    if answers.stop:
        raise answers.stop
    record.tenants = len(intake.tenants)
    record.values_seen = intake.values
    record.metrics = sorted(intake.seen_metrics)
    record.rejected, record.error = intake.refusals.count, server.without_credentials(answers.error)
    record.problems = [
        problem | {"reason": server.without_credentials(problem["reason"])} for problem in intake.refusals.problems
    ]
    if answers.error and not intake.tenants:
        raise ProviderError(answers.error)
    return intake


def _keep(record: Collection, intake: Intake, accept_changes: bool) -> None:
    """Store what is staged, or hold it where a person should look at it first. Raises ProviderError for a closed period
    that cannot be right."""
    # The only errors so far are those of an answer that broke off.
    is_whole = record.is_current and not record.error
    may_be_held = is_whole and not accept_changes
    if is_whole:
        _count_changes(record, intake.tenants)
    if may_be_held and (why := doubt.of_tenants(record)):
        _hold(record, why)
        return
    may_be_refused = not record.is_current and not accept_changes
    if may_be_refused and (why := doubt.of_closed(staging.gone(record.server_id), intake.metrics)):
        raise ProviderError(why)
    before_it = transaction.savepoint()
    stored = store_staged(record, intake.metrics, intake.months, is_whole=is_whole)
    if may_be_held and (why := doubt.of_values(stored.changes, intake.metrics)):
        transaction.savepoint_rollback(before_it)
        record.server.refresh_from_db(fields=["collected_at"])  # as it was before the savepoint
        _hold(record, why)
        return
    transaction.savepoint_commit(before_it)
    if is_whole:
        _supersede(record)


def _count_changes(record: Collection, tenants: Mapping[str, int]) -> None:
    known = set(
        Tenant.objects.filter(server=record.server, first_seen_at__isnull=False, missing_since=None).values_list(
            "key", flat=True
        )
    )
    record.new_tenants = len(tenants.keys() - known)
    record.missing_tenants = len(known - tenants.keys())


def store_staged(
    record: Collection,
    metrics: Mapping[str, Metric],
    months: Iterable[date],
    *,
    is_whole: bool,
    at: datetime | None = None,
) -> Stored:
    """Store what is staged, and note what it did and whom it left out. `is_whole` says that all tenants are there,
    `at` when that is, if it was held."""
    server = record.server
    before = _last_of(server, record)
    current = ingestion.current_values(server) if record.is_current else 0
    stored = ingestion.store(collection=record, metrics=metrics.values(), months=months, before=before, at=at)
    record.readings_stored, record.unchanged = stored.readings, stored.unchanged
    if record.is_current:
        if stored.confirmed < current or record.missing_tenants:
            ingestion.mark_missing(collection=record, last_collected_at=server.collected_at, is_whole=is_whole)
        server.collected_at = record.as_of
        server.save(update_fields=["collected_at"])
    record.status = Collection.Status.PARTIAL if record.error or record.rejected else Collection.Status.COMPLETE
    record.error = " ".join(filter(None, [record.error, *doubt.fallen(stored.changes, metrics)]))
    return stored


def _last_of(server: Server, record: Collection) -> Collection | None:
    """Return the last whole collection that was stored."""
    return Collection.objects.whole().stored().filter(server=server).exclude(pk=record.pk).order_by("-id").first()


def _hold(record: Collection, why: str) -> None:
    """Keep what was staged until a person has looked at it."""
    staging.hold(record)
    record.readings_stored, record.unchanged = 0, 0
    record.status, record.error = Collection.Status.HELD, f"{why} Nothing is stored until somebody looks at it."


def _supersede(record: Collection) -> None:
    """What an older collection holds is out of date once newer values of all tenants are stored."""
    held = Collection.objects.filter(server=record.server, status=Collection.Status.HELD, pk__lt=record.pk)
    if pks := list(held.values_list("pk", flat=True)):
        held.update(status=Collection.Status.DROPPED, decided_at=timezone.now())
        HeldValue.objects.filter(collection_id__in=pks).delete()


def _end(record: Collection) -> None:
    record.ended_at = timezone.now()
    record.save()


def _fail(record: Collection, error: str) -> None:
    record.status = Collection.Status.FAILED
    record.error = error
    # Who deleted the server meanwhile deleted its records.
    if Collection.objects.filter(pk=record.pk).exists():
        _end(record)
