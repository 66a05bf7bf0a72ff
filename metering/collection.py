"""The deed of collecting: ask one server, check the answer, store it, and leave a record of what happened.

One collection at a time per server, each isolated from the others. Whatever goes wrong, the record says
it, and no value is stored that the record does not account for.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from metering import ingestion, partitions
from metering.ingestion import Intake
from metering.models import Collection, Metric, Server, Tenant
from metering.periods import Period, day, local_day, month
from metering.providers import base
from metering.providers.base import MetricType, Provider, ProviderError, TenantUsage

logger = logging.getLogger(__name__)

#: A closed day or month is asked for again during this time, where the provider can.
LOOK_BACK = timedelta(hours=48)
#: An answer in which more than this part of the known tenants is missing is held for approval …
MOST_MISSING, FEW_TENANTS = 0.5, 4
#: … and so is one that brings this many times the known tenants.
MULTIPLIED, SOME_TENANTS = 3, 20
#: First key of the advisory locks, so that they are nobody else's.
_LOCK = 7301

Progress = Callable[[int], None]


class Busy(Exception):
    """Another collection of this server is running."""


def collect(
    *,
    server: Server,
    as_of: datetime,
    tenant: str = "",
    period: Period | None = None,
    accept_changes: bool = False,
    progress: Progress = lambda seen: None,
) -> Collection:
    """Ask a server for its usage, or for that of one tenant, and store what it answers.

    `period` asks for a closed day or month again, which the provider must be able to answer.
    `accept_changes` stores an answer that would otherwise be held because most tenants vanished or
    multiplied. `progress` is called with the number of tenants seen so far.

    Returns the record. Raises Busy when a collection of this server is running.
    """
    record = Collection.objects.create(
        server=server,
        tenant_key=tenant,
        as_of=as_of,
        started_at=timezone.now(),
        period_start=period.start if period else None,
        period_end=period.end if period else None,
    )
    try:
        with transaction.atomic():
            _lock(record)
            _run(record, accept_changes, progress)
            _end(record)
    except Busy:
        record.delete()
        raise
    except ProviderError as error:
        _fail(record, str(error))
    except DatabaseError:
        logger.exception("collection %s of %s could not be stored", record.pk, server)
        _fail(record, "The database could not store the answer. Nothing of it was kept; the log has the details.")
    except (Exception, SystemExit) as error:
        # A provider is somebody else's code: whatever it raises is its failure, not ours. Its text may
        # hold a credential, so the record names the kind only.
        logger.exception("collection %s of %s failed", record.pk, server)
        _fail(record, f"The provider stopped with {type(error).__name__}. The log has the details.")
    return record


def collect_with_look_back(*, server: Server, as_of: datetime, progress: Progress = lambda seen: None) -> Collection:
    """Collect a server, and ask again for its periods that closed a short while ago.

    Returns the record of the current values. Raises Busy.
    """
    record = collect(server=server, as_of=as_of, progress=progress)
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
    days = [day(today - timedelta(days=back)) for back in (2, 1)] if MetricType.DAY in types else []
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
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_LOCK, record.server_id])
        if not cursor.fetchone()[0]:
            raise Busy(f"A collection of {record.server} is running.")
    # Whoever has the lock is alone, so a record that still says "running" was left by a process that died.
    Collection.objects.filter(server=record.server, status=Collection.Status.RUNNING).exclude(pk=record.pk).update(
        status=Collection.Status.FAILED, ended_at=timezone.now(), error="The process stopped before the end."
    )


def _run(record: Collection, accept_changes: bool, progress: Progress) -> None:
    server = record.server
    kind = base.provider(server.provider)
    metrics = declare(server.provider, kind.metrics(server.settings))
    intake = Intake(metrics=metrics, open_day=local_day(record.as_of, server.zone))
    instance = kind(server.connection(record.as_of))
    answers = _Answers(_asked(instance, record), progress)
    ingestion.stage(intake, answers)
    record.tenants = len(intake.tenants)
    record.values_seen = intake.values
    record.metrics = sorted(intake.seen_metrics)
    record.rejected, record.problems, record.error = intake.rejected, intake.problems, answers.error
    if answers.error and not intake.tenants:
        raise ProviderError(answers.error)
    is_current = not record.period_start and not record.tenant_key
    is_whole = is_current and not answers.error
    if is_whole:
        _count_changes(record, intake)
        if not accept_changes and _is_suspicious(record):
            record.status = Collection.Status.HELD
            return
    before = _last_of(server, record)
    current = ingestion.current_values(server) if is_current else 0
    record.readings_stored, confirmed = ingestion.store(collection=record, intake=intake, before=before)
    if is_current:
        if confirmed < current or record.missing_tenants:
            ingestion.mark_missing(collection=record, last_collected_at=server.collected_at, is_whole=is_whole)
        server.collected_at = record.as_of
        server.save(update_fields=["collected_at"])
    record.status = Collection.Status.PARTIAL if record.error or record.rejected else Collection.Status.COMPLETE


def _asked(instance: Provider, record: Collection) -> Iterator[TenantUsage]:
    if record.tenant_key:
        yield instance.tenant_usage(record.tenant_key)
    elif record.period_start and record.period_end:
        yield from instance.usage(Period(record.period_start, record.period_end))
    else:
        yield from instance.usage()


class _Answers:
    """Passes answers on until the provider fails; what came before that is kept."""

    def __init__(self, source: Iterator[TenantUsage], progress: Progress) -> None:
        self.source = source
        self.progress = progress
        self.error = ""

    def __iter__(self) -> Iterator[TenantUsage]:
        try:
            for number, answer in enumerate(self.source, start=1):
                if number % 1000 == 0:
                    self.progress(number)
                yield answer
        except ProviderError as error:
            self.error = str(error)


def _count_changes(record: Collection, intake: Intake) -> None:
    known = set(
        Tenant.objects.filter(server=record.server, first_seen_at__isnull=False, missing_since=None).values_list(
            "key", flat=True
        )
    )
    record.new_tenants = len(intake.tenants.keys() - known)
    record.missing_tenants = len(known - intake.tenants.keys())


def _is_suspicious(record: Collection) -> bool:
    known = record.tenants - record.new_tenants + record.missing_tenants
    if known >= FEW_TENANTS and record.missing_tenants > known * MOST_MISSING:
        record.error = (
            f"{record.missing_tenants} of {known} tenants would vanish. Nothing was stored. If that is right, "
            "collect again and accept the change; if a credential lost its rights, mend that first."
        )
    elif known >= SOME_TENANTS and record.new_tenants > known * MULTIPLIED:
        record.error = (
            f"{record.new_tenants} new tenants would join the {known} that are known. Nothing was stored. If that "
            "is right, collect again and accept the change."
        )
    return bool(record.error)


def _last_of(server: Server, record: Collection) -> Collection | None:
    """Return the last whole collection that was stored."""
    return Collection.objects.whole().stored().filter(server=server).exclude(pk=record.pk).order_by("-id").first()


def _end(record: Collection) -> None:
    record.ended_at = timezone.now()
    record.save()


def _fail(record: Collection, error: str) -> None:
    record.status = Collection.Status.FAILED
    record.error = error
    _end(record)


def collect_all(
    *,
    as_of: datetime,
    servers: Iterable[Server] | None = None,
    done: Callable[[Server, Collection | None], None] = lambda server, record: None,
    progress: Progress = lambda seen: None,
) -> list[Collection]:
    """Collect every active server, each isolated from the others, and return the records.

    `done` is called after each server with its record, or None when another process was collecting it;
    `progress` with the number of tenants seen so far of the server that is asked.
    """
    partitions.ensure_ahead(as_of.date())
    records = []
    for server in Server.objects.filter(is_active=True) if servers is None else servers:
        record = None
        try:
            record = collect_with_look_back(server=server, as_of=as_of, progress=progress)
            records.append(record)
        except Busy:
            logger.info("%s is being collected by another process", server)
        done(server, record)
    return records
