"""The deed of taking in what is pushed or imported: lines in, what became of each out, all in one transaction.

What comes of a request's lines is stored as a collection of one tenant would be: as readings, latest values and
usage, with what belongs to a period that is over noted as restated.
"""

from collections.abc import Collection as Several
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from metering import push_changes, server_lock
from metering.acceptable import MAX_PROBLEMS, Refusals, printable
from metering.declaring import declare
from metering.formats import Fault, Line, batched
from metering.models import Collection, Metric, Pushed, Server, Upload
from metering.providers import base
from metering.push_batch import Batch
from metering.push_ids import KEPT
from metering.push_lines import ZERO, Interpreter, Item, Refused, Status

#: What one request may hold, and a file that is imported on the site's pages.
MAX_LINES, MAX_BYTES = 10_000, 5 * 2**20
MAX_FILE_LINES, MAX_FILE_BYTES = 100_000, 20 * 2**20
#: Lines that are stored together.
BATCH = 10_000
#: A file that was looked at and not imported is thrown away after this.
UPLOAD_KEPT = timedelta(days=1)
#: How long a request waits for another of the same server, as PostgreSQL writes it.
WAIT = "10s"


class Result(NamedTuple):
    """What became of a line, by where it stands."""

    line: int
    status: int
    id: str = ""
    error: str = ""
    is_duplicate: bool = False


@dataclass(slots=True)
class Total:
    """What the lines of a metric came to. Those of a file have the periods that are new, changed or as they were, and
    the sums of what counts for them, in the base of its unit. For a counter it is the counts that are new, and the
    sums say nothing."""

    metric: Metric
    lines: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    before: Decimal = ZERO
    after: Decimal = ZERO


@dataclass(slots=True)
class Outcome:
    """What a request or an import did, or would have done. `results` are those of all lines, if they were asked for,
    else of the first that were refused."""

    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    new_tenants: int = 0
    totals: dict[str, Total] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    record: Collection | None = None

    def total(self, metric: Metric) -> Total:
        """Return the total of a metric, which is a new one at first."""
        known = self.totals.get(metric.system_name)
        if known is None:
            known = self.totals[metric.system_name] = Total(metric)
        return known


@dataclass(frozen=True, slots=True)
class File:
    """A file that is imported. `digest` is its SHA-256."""

    name: str
    digest: str
    by: AbstractBaseUser | None = None


def push(
    *,
    server: Server,
    lines: Iterable[Line | Fault],
    at: datetime,
    size: int = 0,
    allowed: Several[str] = (),
    file: File | None = None,
    is_dry: bool = False,
    is_listed: bool = False,
) -> Outcome:
    """Store what the lines say, as of `at`; with `is_dry`, only find out what they would do.

    `allowed` names the metrics that may be pushed, if not all. `size` is what came in, in bytes. `is_listed`
    asks for the result of every line.

    Raises Busy when other pushes to the server go on for longer than WAIT, ProviderError when the server's provider
    is not installed, and what reading the lines raises; nothing is stored then.
    """
    busy = f"Other usage of {server} is being stored. Nothing of this was; send it again."
    with server_lock.alone(server, wait=WAIT, busy=busy):
        record = _record(server, at, file)
        metrics = declare(server.provider, base.provider(server.provider).metrics(server.settings))
        desk = _Desk(record, Interpreter(server, at, metrics, allowed), is_listed)
        for batch in batched(lines, BATCH):
            desk.take(batch)
        desk.close(size)
        transaction.set_rollback(is_dry)
    return desk.outcome


def imported_before(server: Server, digest: str) -> Collection | None:
    """Return the record of the last import of the very same file."""
    imports = Collection.objects.filter(server=server, source=Collection.Source.IMPORT, file_digest=digest)
    return imports.select_related("asked_by").first()


def forget(*, at: datetime) -> None:
    """Throw away the ids and the files that were kept for long enough."""
    Pushed.objects.filter(pushed_at__lt=at - KEPT).delete()
    Upload.objects.filter(at__lt=at - UPLOAD_KEPT).delete()


def _record(server: Server, at: datetime, file: File | None) -> Collection:
    """Return the record of a file, or that of the server's pushes of this hour."""
    new = {"server": server, "as_of": at, "started_at": at, "ended_at": at, "status": Collection.Status.COMPLETE}
    if file:
        return Collection.objects.create(
            **new,
            source=Collection.Source.IMPORT,
            file_name=printable(file.name),
            file_digest=file.digest,
            asked_by_id=file.by.pk if file.by else None,
        )
    hour = at.replace(minute=0, second=0, microsecond=0)
    known = Collection.objects.filter(server=server, source=Collection.Source.PUSH, started_at__gte=hour)
    record = known.first() or Collection.objects.create(**new, source=Collection.Source.PUSH)
    record.server, record.as_of = server, at
    return record


class _Desk:
    """Takes the lines for one server, batch by batch, within a transaction and under the server's lock."""

    def __init__(self, record: Collection, interpreter: Interpreter, is_listed: bool) -> None:
        self.record, self.interpreter, self.is_listed = record, interpreter, is_listed
        self.metrics = interpreter.metrics
        self.outcome = Outcome(record=record)
        self.refusals = Refusals()
        self.used: set[int] = set()
        self.tenants: set[str] = set()
        self.readings = self.unchanged = 0
        self.is_file = record.source == Collection.Source.IMPORT
        if self.is_file:
            push_changes.begin()

    def take(self, lines: list[Line | Fault]) -> None:
        """Store a batch of lines, and note what became of each."""
        results: dict[int, Result] = {}
        items = []
        for line in lines:
            try:
                items.append(self.interpreter.understood(line))
            except Refused as error:
                results[line.number] = self._refuse(line, error)
        batch = Batch(self.record, self.metrics, items)
        for item in items:
            try:
                is_duplicate = batch.take(item)
            except Refused as error:
                results[item.line.number] = self._refuse(item.line, error)
            else:
                self.outcome.total(item.metric).lines += 1
                self.outcome.duplicates += is_duplicate
                if self.is_listed:
                    results[item.line.number] = _stored(item, is_duplicate)
        batch.store()
        self._add_up(batch)
        self._tell(lines, results)

    def close(self, size: int) -> None:
        """Add what was done to the record."""
        record, outcome = self.record, self.outcome
        record.ended_at = record.as_of
        record.calls += 1
        record.bytes += size
        record.values_seen += outcome.stored
        record.readings_stored += self.readings
        record.unchanged += self.unchanged
        record.rejected += outcome.refused
        record.new_tenants += outcome.new_tenants
        record.metrics = sorted({*record.metrics, *self.used})
        if self.is_file:
            record.tenants = len(self.tenants)
            self._total()
        if self.refusals.problems:
            record.status = Collection.Status.PARTIAL
            record.problems = [*record.problems, *self.refusals.problems][:MAX_PROBLEMS]
        record.save()

    def _refuse(self, line: Line | Fault, error: Refused) -> Result:
        self.refusals.add(line.tenant, line.metric, f"line {line.number}: {error}")
        return Result(line.number, error.status, line.id, str(error))

    def _add_up(self, batch: Batch) -> None:
        self.readings += batch.readings
        self.unchanged += batch.unchanged
        self.outcome.new_tenants += batch.new_tenants
        for (tenant, metric, _), _, _ in batch.changes():
            self.used.add(metric)
            self.tenants.add(tenant)
        if self.is_file:
            push_changes.note(batch.changes())

    def _total(self) -> None:
        by_pk = {metric.pk: metric for metric in self.metrics.values()}
        for sums in push_changes.summed():
            total = self.outcome.total(by_pk[sums.metric_id])
            total.new, total.changed, total.same = sums.new, sums.changed, sums.same
            total.before, total.after = sums.before, sums.after

    def _tell(self, lines: list[Line | Fault], results: Mapping[int, Result]) -> None:
        outcome = self.outcome
        if self.is_listed:
            outcome.results += [results[line.number] for line in lines]
        else:
            left = max(MAX_PROBLEMS - len(outcome.results), 0)
            outcome.results += [results[number] for number in sorted(results)][:left]
        outcome.lines += len(lines)
        outcome.refused = self.refusals.count
        outcome.stored = outcome.lines - outcome.refused - outcome.duplicates


def _stored(item: Item, is_duplicate: bool) -> Result:
    return Result(item.line.number, Status.STORED, item.line.id, "", is_duplicate)
