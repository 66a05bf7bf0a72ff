"""The deed of collecting: ask one server, check the answer, store it, and leave a record of what happened.

One collection at a time per server, each isolated from the others. Whatever goes wrong, the record says
it, and no value is stored that the record does not account for.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Thread

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from metering import doubt, ingestion, partitions
from metering.ingestion import Intake, Stored
from metering.models import Collection, HeldValue, Metric, Server, Tenant
from metering.periods import Period, day, local_day, month
from metering.providers import base
from metering.providers.base import Cost, MetricType, Provider, ProviderError, TenantUsage
from metering.providers.secrecy import traced
from metering.worker import hand_over

logger = logging.getLogger(__name__)

#: A closed day or month is asked for again during this time, where the provider can.
LOOK_BACK = timedelta(hours=48)
#: A collection that no worker took for so long is not begun any more.
TOO_LATE = timedelta(hours=1)
#: First key of the advisory locks of servers, so that they are nobody else's.
LOCK = 7301

Progress = Callable[[int], None]


class Busy(Exception):
    """Another collection of this server is running."""


class NotHeld(Exception):
    """A collection that should be stored or dropped is not held, or not any more."""


class Overtaken(Exception):
    """A newer collection of this server was begun before one that had been asked for."""


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
    server, why = record.server, ""
    if at - record.started_at > TOO_LATE:
        why = "No worker took it for more than an hour, so it was not begun. Collect again."
    elif not server.is_active:
        why = f"{server} is not active any more, so it was not begun."
    if why:
        refused = {"status": Collection.Status.FAILED, "ended_at": at, "error": why}
        Collection.objects.filter(pk=pk, status=Collection.Status.WAITING).update(**refused)
    elif Collection.objects.filter(pk=pk, status=Collection.Status.WAITING).update(
        status=Collection.Status.RUNNING, as_of=at, started_at=at
    ):
        record.refresh_from_db(fields=["status", "as_of", "started_at"])
        collect_with_look_back(server=server, as_of=at, record=record)


def being_collected() -> set[int]:
    """Return the servers that a process is collecting just now, whatever their records say, by their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [LOCK],
        )
        return {int(row[0]) for row in cursor.fetchall()}


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
    `accept_changes` stores an answer that would otherwise be held because most tenants vanished or
    multiplied. `progress` is called with the number of tenants seen so far. `record` is that of a collection
    of all tenants that was asked for, if one was.

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
            _lock(record)
            if was_asked_for:
                _check_newest(record)
            _run(record, kind(server.connection(as_of, cost)), metrics, cost.ends, accept_changes, progress)
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


def declare(provider: str, metrics: Sequence[base.Metric]) -> dict[str, Metric]:
    """Make sure that the declared metrics have their rows, and return those by system name."""
    rows = [
        Metric(
            provider=provider,
            system_name=metric.system_name,
            display_name=metric.display_name,
            type=metric.type,
            unit_data=metric.unit.as_json(),
        )
        for metric in metrics
    ]
    known = {row.system_name: row for row in Metric.objects.filter(provider=provider)}
    if any(_differs(row, known.get(row.system_name)) for row in rows):
        Metric.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["provider", "system_name"],
            update_fields=["display_name", "type", "unit_data"],
        )
        known = {row.system_name: row for row in Metric.objects.filter(provider=provider)}
    return {metric.system_name: known[metric.system_name] for metric in metrics}


def declared_metrics(provider: str) -> list[Metric]:
    """Return every metric of a provider: what it declares now, here or on any of its servers, and what it
    declared before. Asks no server."""
    known = base.installed().get(provider)
    if known is not None:
        declared = {metric.system_name: metric for metric in known.metrics()}
        for settings in Server.objects.filter(provider=provider).values_list("settings", flat=True):
            declared.update({metric.system_name: metric for metric in known.metrics(settings)})
        declare(provider, list(declared.values()))
    return list(Metric.objects.of_provider(provider))


def _differs(row: Metric, known: Metric | None) -> bool:
    return known is None or any(
        getattr(row, name) != getattr(known, name) for name in ("display_name", "type", "unit_data")
    )


def _lock(record: Collection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, record.server_id])
        if not cursor.fetchone()[0]:
            raise Busy(f"A collection of {record.server} is running.")
    # Whoever has the lock is alone, so a record that still says "running" was left by a process that died.
    Collection.objects.filter(server=record.server, status=Collection.Status.RUNNING).exclude(pk=record.pk).update(
        status=Collection.Status.FAILED, ended_at=timezone.now(), error="The process stopped before the end."
    )


def _check_newest(record: Collection) -> None:
    """What was asked for first and begun last would pass for the older one. Its values are not needed either."""
    newer = Collection.objects.whole().filter(server=record.server, pk__gt=record.pk)
    if found := newer.exclude(status=Collection.Status.WAITING).order_by("-id").first():
        raise Overtaken(f"Collection {found} of {record.server} was begun before it, so this one was not needed.")


def _run(
    record: Collection,
    instance: Provider,
    metrics: Mapping[str, Metric],
    ends: float,
    accept_changes: bool,
    progress: Progress,
) -> None:
    server = record.server
    intake = Intake(metrics=metrics, open_day=local_day(record.as_of, server.zone), as_of=record.as_of)
    with _telling(record, progress) as tell:
        answers = _Answers(_asked(instance, record), tell, ends)
        ingestion.stage(intake, answers)
    if answers.stop:
        raise answers.stop
    record.tenants = len(intake.tenants)
    record.values_seen = intake.values
    record.metrics = sorted(intake.seen_metrics)
    record.rejected, record.error = intake.rejected, server.without_credentials(answers.error)
    record.problems = [
        problem | {"reason": server.without_credentials(problem["reason"])} for problem in intake.problems
    ]
    if answers.error and not intake.tenants:
        raise ProviderError(answers.error)
    is_current = not record.period_start and not record.tenant_key
    is_whole = is_current and not answers.error
    if is_whole:
        _count_changes(record, intake.tenants)
        if not accept_changes and (why := doubt.of_tenants(record)):
            _hold(record, why)
            return
    before_it = transaction.savepoint()
    stored = _store(record, metrics, intake.months, is_whole=is_whole)
    if is_whole and not accept_changes and (why := doubt.of_values(stored.changes, metrics)):
        transaction.savepoint_rollback(before_it)
        server.refresh_from_db(fields=["collected_at"])  # as it was before the savepoint
        _hold(record, why)
        return
    transaction.savepoint_commit(before_it)
    if is_whole:
        _supersede(record)


def _store(record: Collection, metrics: Mapping[str, Metric], months: Iterable[date], *, is_whole: bool) -> Stored:
    """Store what is staged, and note what it did and whom it left out."""
    server, is_current = record.server, not record.period_start and not record.tenant_key
    before = _last_of(server, record)
    current = ingestion.current_values(server) if is_current else 0
    stored = ingestion.store(collection=record, metrics=metrics.values(), months=months, before=before)
    record.readings_stored, record.unchanged = stored.readings, stored.unchanged
    if is_current:
        if stored.confirmed < current or record.missing_tenants:
            ingestion.mark_missing(collection=record, last_collected_at=server.collected_at, is_whole=is_whole)
        server.collected_at = record.as_of
        server.save(update_fields=["collected_at"])
    record.status = Collection.Status.PARTIAL if record.error or record.rejected else Collection.Status.COMPLETE
    record.error = " ".join(filter(None, [record.error, *doubt.fallen(stored.changes, metrics)]))
    return stored


def _hold(record: Collection, why: str) -> None:
    """Keep what was staged until a person has looked at it."""
    ingestion.hold(record)
    record.readings_stored, record.unchanged = 0, 0
    record.status, record.error = Collection.Status.HELD, f"{why} Nothing is stored until somebody looks at it."


def _supersede(record: Collection) -> None:
    """What an older collection holds is out of date once newer values of all tenants are stored."""
    held = Collection.objects.filter(server=record.server, status=Collection.Status.HELD, pk__lt=record.pk)
    if pks := list(held.values_list("pk", flat=True)):
        held.update(status=Collection.Status.DROPPED, decided_at=timezone.now())
        HeldValue.objects.filter(collection_id__in=pks).delete()


def approve(*, record: Collection, at: datetime, by: AbstractBaseUser) -> None:
    """Store what a collection holds, as it was then. Raises NotHeld, and Busy."""
    with transaction.atomic():
        _lock(record)
        _check_held(record)
        held = HeldValue.objects.filter(collection_id=record.pk)
        if Collection.objects.stored().filter(server=record.server, pk__gt=record.pk).exists():
            raise NotHeld(f"Newer values of {record.server} are stored. Collect it again instead.")
        ingestion.stage_held(record)
        # They were whole, or they would not have been held.
        record.error = ""
        metrics = {row.system_name: row for row in Metric.objects.filter(provider=record.server.provider)}
        months = {start for start in held.values_list("start", flat=True).distinct() if start}
        _store(record, metrics, months, is_whole=True)
        record.decided_at, record.decided_by_id = at, by.pk
        record.save()
        held.delete()


def drop(*, record: Collection, at: datetime, by: AbstractBaseUser) -> None:
    """Throw away what a collection holds. Raises NotHeld, and Busy."""
    with transaction.atomic():
        _lock(record)
        _check_held(record)
        record.status, record.decided_at, record.decided_by_id = Collection.Status.DROPPED, at, by.pk
        record.save()
        HeldValue.objects.filter(collection_id=record.pk).delete()


def _check_held(record: Collection) -> None:
    record.refresh_from_db()
    if record.status != Collection.Status.HELD:
        raise NotHeld(f"Collection {record} is {record.status}, not held.")


def _asked(instance: Provider, record: Collection) -> Iterator[TenantUsage]:
    if record.tenant_key:
        yield instance.tenant_usage(record.tenant_key)
    elif record.period_start and record.period_end:
        yield from instance.usage(Period(record.period_start, record.period_end))
    else:
        yield from instance.usage()


@contextmanager
def _telling(record: Collection, progress: Progress) -> Iterator[Progress]:
    """Say how far a collection is, on a connection of its own: what it does is not committed before its end."""
    beside, said = connections.create_connection("default"), 0.0

    def tell(seen: int) -> None:
        nonlocal said
        progress(seen)
        if time.monotonic() - said > 1:
            said = time.monotonic()
            with beside.cursor() as cursor:
                cursor.execute("UPDATE metering_collection SET seen_so_far = %s WHERE id = %s", [seen, record.pk])

    try:
        yield tell
    finally:
        beside.close()


class _Answers:
    """Passes answers on until the provider fails, or goes on beyond the instant `ends`; what came before is kept."""

    def __init__(self, source: Iterator[TenantUsage], progress: Progress, ends: float) -> None:
        self.source = source
        self.progress = progress
        self.ends = ends
        self.error = ""
        self.stop: BaseException | None = None

    def __iter__(self) -> Iterator[TenantUsage]:
        try:
            for number, answer in enumerate(self.source, start=1):
                if time.monotonic() > self.ends:
                    most = f"{settings.COLLECTION_SECONDS:g} s"
                    raise ProviderError(
                        f"It had not answered in full when the time for a collection, {most}, was over."
                    )
                if number % 1000 == 0:
                    self.progress(number)
                yield answer
        except ProviderError as error:
            self.error = str(error)
        except (Exception, SystemExit) as error:
            # Raised once the copying is over, which would tell it to the database, and to its log.
            self.stop = error


def _count_changes(record: Collection, tenants: Mapping[str, int]) -> None:
    known = set(
        Tenant.objects.filter(server=record.server, first_seen_at__isnull=False, missing_since=None).values_list(
            "key", flat=True
        )
    )
    record.new_tenants = len(tenants.keys() - known)
    record.missing_tenants = len(known - tenants.keys())


def _last_of(server: Server, record: Collection) -> Collection | None:
    """Return the last whole collection that was stored."""
    return Collection.objects.whole().stored().filter(server=server).exclude(pk=record.pk).order_by("-id").first()


def _end(record: Collection) -> None:
    record.ended_at = timezone.now()
    record.save()


def _fail(record: Collection, error: str) -> None:
    record.status = Collection.Status.FAILED
    record.error = error
    # Who deleted the server meanwhile deleted its records.
    if Collection.objects.filter(pk=record.pk).exists():
        _end(record)


def collect_all(
    *,
    as_of: datetime,
    servers: Iterable[Server] | None = None,
    done: Callable[[Server, Collection | None], None] = lambda server, record: None,
    progress: Progress = lambda seen: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Collection]:
    """Collect every active server that is asked, side by side, each isolated from the others; return the records.

    `done` is called after each server with its record, or None when another process was collecting it;
    `progress` with the number of tenants seen so far of a server that is asked. Once `should_stop` says so,
    no further server is begun. It returns when all that was begun is written, save for servers that hang.
    Inside of a transaction, which other connections would not see, servers are collected one after the other.
    """
    partitions.ensure_ahead(as_of.date())
    chosen = list(Server.objects.asked() if servers is None else servers)

    def collected(server: Server) -> Collection | None:
        if should_stop():
            return None
        try:
            return collect_with_look_back(server=server, as_of=as_of, progress=progress)
        except Busy:
            logger.info("%s is being collected by another process", server)
            return None

    records = []
    for server, record in _one_by_one(chosen, collected) if connection.in_atomic_block else _apart(chosen, collected):
        records.append(record)
        done(server, record)
    return [record for record in records if record]


Outcome = tuple[Server, Collection | None]


def _one_by_one(servers: Iterable[Server], collected: Callable[[Server], Collection | None]) -> Iterator[Outcome]:
    for server in servers:
        yield server, collected(server)


def _apart(servers: Sequence[Server], collected: Callable[[Server], Collection | None]) -> Iterator[Outcome]:
    """Collect in threads with a connection each, and yield what has ended. Whoever hangs is left behind after
    `COLLECTING_SECONDS`: to wait for it would keep invoices from being made. What it writes later is late usage."""
    waiting: SimpleQueue[Server] = SimpleQueue()
    ended: SimpleQueue[Outcome] = SimpleQueue()
    for server in servers:
        waiting.put(server)

    def work() -> None:
        with suppress(Empty):
            while True:
                server, record = waiting.get_nowait(), None
                try:
                    record = collected(server)
                except Exception as error:
                    logger.error("collecting %s failed: %s", server, traced(error))
                finally:
                    ended.put((server, record))
                    connection.close()  # of this thread

    for number in range(min(settings.COLLECTORS, len(servers))):
        Thread(target=work, name=f"collector-{number}", daemon=True).start()
    left, until = set(servers), time.monotonic() + settings.COLLECTING_SECONDS
    while left:
        try:
            outcome = ended.get(timeout=max(until - time.monotonic(), 0))
        except Empty:
            logger.error("left behind, since they did not end in time: %s", ", ".join(sorted(map(str, left))))
            return
        left.discard(outcome[0])
        yield outcome
