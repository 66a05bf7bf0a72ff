"""The deed of taking in what is pushed or imported: lines in, what became of each out, all in one transaction.

Lines are taken in their order. A line that sets says what counts for its period; one that adds is added to what
counts so far, and has an id, so that it counts once however often it is sent. What comes of a request's lines is
stored as a collection of one tenant would be: as readings, latest values and usage, with what belongs to a period
that is over noted as restated. Bulk statements only: a batch of any size takes the same number of them.
"""

from collections.abc import Collection as Several
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from metering import ingestion, periods, units
from metering.collection import LOCK, Busy, declare
from metering.decimals import EXACT, plain
from metering.formats import Fault, Line, Mode, batched
from metering.ingestion import MAX_PROBLEMS, bad_key, checked, printable
from metering.models import MAX_VALUE, Collection, Metric, Pushed, Server, Upload
from metering.periods import Period, local_day
from metering.providers import base
from metering.providers.base import MetricType

#: What one request may hold, and a file that is imported on the site's pages.
MAX_LINES, MAX_BYTES = 10_000, 5 * 2**20
MAX_FILE_LINES, MAX_FILE_BYTES = 100_000, 20 * 2**20
#: Lines that are stored together.
BATCH = 10_000
#: How far ahead of ours a sender's clock may be.
AHEAD = timedelta(minutes=5)
#: A count is counted when it comes, and not any more when it was read longer ago than this.
LATE_COUNT = timedelta(hours=1)
#: As many years back as a collection may name a period.
MAX_YEARS = 5
#: A line adds to a period only so long after its end. Ids are kept for longer than that and a month together, so that
#: none that names its period is added again.
ADD_BACK = timedelta(days=35)
KEPT = ADD_BACK + timedelta(days=35)
#: A file that was looked at and not imported is thrown away after this.
UPLOAD_KEPT = timedelta(days=1)
#: A count may restart so many times within one request.
MAX_RESTARTS = 10
#: How long a request waits for another of the same server, as PostgreSQL writes it.
WAIT = "10s"

#: Tenant, metric, and the first day of the period.
Key = tuple[str, int, date]
ZERO = Decimal(0)


class Status:
    """What became of a line, as HTTP says it."""

    STORED = 200
    FORBIDDEN = 403
    CONFLICT = 409
    UNUSABLE = 422


class Result(NamedTuple):
    line: int
    status: int
    id: str = ""
    error: str = ""
    is_duplicate: bool = False


@dataclass(slots=True)
class Total:
    """What the lines of a metric came to: periods that are new, changed or as they were, and the sums of what counts
    for them, in the base of its unit. For a counter it is the counts that are new, and the sums say nothing."""

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
    try:
        with transaction.atomic():
            _lock(server)
            desk = _Desk(server, at, allowed, _record(server, at, file), is_listed)
            for batch in batched(lines, BATCH):
                desk.take(batch)
            desk.close(size)
            transaction.set_rollback(is_dry)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Busy(f"Other usage of {server} is being stored. Nothing of this was; send it again.") from None
        raise
    return desk.outcome


def imported_before(server: Server, digest: str) -> Collection | None:
    """Return the record of the last import of the very same file."""
    imports = Collection.objects.filter(server=server, source=Collection.Source.IMPORT, file_digest=digest)
    return imports.select_related("asked_by").first()


def forget(*, at: datetime) -> None:
    """Throw away the ids and the files that were kept for long enough."""
    Pushed.objects.filter(pushed_at__lt=at - KEPT).delete()
    Upload.objects.filter(at__lt=at - UPLOAD_KEPT).delete()


def _lock(server: Server) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [WAIT])
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, server.pk])


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


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Item(NamedTuple):
    """A line that can be used: what it is about, in the base of the metric's unit."""

    line: Line
    metric: Metric
    key: Key
    end: date
    value: Decimal
    adds: bool
    digest: bytes


class _Desk:
    """Takes the lines for one server, batch by batch, within a transaction and under the server's lock."""

    def __init__(
        self, server: Server, at: datetime, allowed: Several[str], record: Collection, is_listed: bool
    ) -> None:
        self.server, self.at, self.allowed, self.record, self.is_listed = server, at, allowed, record, is_listed
        self.zone = server.zone
        self.today = local_day(at, self.zone)
        self.metrics = declare(server.provider, base.provider(server.provider).metrics(server.settings))
        self.outcome = Outcome(record=record)
        self.problems: list[dict[str, str]] = []
        self.used: set[int] = set()
        self.tenants: set[str] = set()
        self.readings = self.unchanged = 0
        self._good_keys: set[str] = set()
        self._factors: dict[tuple[int, str], Decimal] = {}
        self._periods: dict[tuple[int, datetime | None, Period | None], Period] = {}

    def take(self, batch: list[Line | Fault]) -> None:
        results: dict[int, Result] = {}
        items = []
        for line in batch:
            try:
                items.append(self._understood(line))
            except _Refused as error:
                results[line.number] = self._refuse(line, error)
        work = _Batch(self, items)
        for item in items:
            line = item.line
            try:
                is_duplicate = work.take(item)
            except _Refused as error:
                results[line.number] = self._refuse(line, error)
            else:
                self.total(item.metric).lines += 1
                self.outcome.duplicates += is_duplicate
                if self.is_listed:
                    results[line.number] = Result(line.number, Status.STORED, line.id, "", is_duplicate)
        work.store()
        outcome = self.outcome
        outcome.lines += len(batch)
        if self.is_listed:
            outcome.results += [results[line.number] for line in batch]
        elif len(outcome.results) < MAX_PROBLEMS:
            outcome.results += [results[number] for number in sorted(results)][: MAX_PROBLEMS - len(outcome.results)]
        outcome.stored = outcome.lines - outcome.refused - outcome.duplicates

    def close(self, size: int) -> None:
        """Add what was done to the record."""
        record, outcome = self.record, self.outcome
        record.ended_at = self.at
        record.calls += 1
        record.bytes += size
        record.values_seen += outcome.stored
        record.readings_stored += self.readings
        record.unchanged += self.unchanged
        record.rejected += outcome.refused
        record.new_tenants += outcome.new_tenants
        record.metrics = sorted({*record.metrics, *self.used})
        if record.source == Collection.Source.IMPORT:
            record.tenants = len(self.tenants)
        if self.problems:
            record.status = Collection.Status.PARTIAL
            record.problems = [*record.problems, *self.problems][:MAX_PROBLEMS]
        record.save()

    def total(self, metric: Metric) -> Total:
        known = self.outcome.totals.get(metric.system_name)
        if known is None:
            known = self.outcome.totals[metric.system_name] = Total(metric)
        return known

    def _refuse(self, line: Line | Fault, error: _Refused) -> Result:
        self.outcome.refused += 1
        if len(self.problems) < MAX_PROBLEMS:
            reason = f"line {line.number}: {error}"[:500]
            self.problems.append({"tenant": printable(line.tenant), "metric": printable(line.metric), "reason": reason})
        return Result(line.number, error.status, line.id, str(error))

    def _understood(self, line: Line | Fault) -> _Item:
        if isinstance(line, Fault):
            raise _Refused(Status.UNUSABLE, line.reason)
        metric = self.metrics.get(line.metric)
        if metric is None:
            known = ", ".join(self.metrics) or "none yet"
            said = f"there is no metric {line.metric[:40]!r} on {self.server}; known are {known}"
            raise _Refused(Status.UNUSABLE, said)
        if self.allowed and line.metric not in self.allowed:
            raise _Refused(Status.FORBIDDEN, f"this key may not push {line.metric}")
        try:
            if line.tenant not in self._good_keys:
                if reason := bad_key(line.tenant):
                    raise ValueError(reason)
                self._good_keys.add(line.tenant)
            value = self._value(metric, line)
            period = self._period(metric, line)
            adds = self._adds(metric, line, period)
        except ValueError as error:
            raise _Refused(Status.UNUSABLE, str(error)) from None
        digest = _digest(line, value, adds) if line.id else b""
        return _Item(line, metric, (line.tenant, metric.pk, period.start), period.end, value, adds, digest)

    def _value(self, metric: Metric, line: Line) -> Decimal:
        """Return the value in the base of the metric's unit. Raises ValueError."""
        value = line.value
        if not value:
            return ZERO
        if not -40 < value.adjusted() < 40:
            raise ValueError(f"the value {value:.3E} is too large or too small")
        factor = self._factors.get((metric.pk, line.unit)) or self._factor(metric, line.unit)
        if factor != 1:
            value = EXACT.multiply(value, factor)
        checked(value)
        return value

    def _factor(self, metric: Metric, code: str) -> Decimal:
        own = metric.unit
        for unit in units.alike(own):
            if unit.code == (code or own.code):
                self._factors[metric.pk, code] = Decimal(unit.factor)
                return self._factors[metric.pk, code]
        known = ", ".join(unit.code for unit in units.alike(own))
        raise ValueError(f"{metric.system_name} cannot be in {code[:20]!r}, but in {known}")

    def _period(self, metric: Metric, line: Line) -> Period:
        """Return the period that a line is for. Raises ValueError."""
        asked = metric.pk, line.time, line.period
        if (found := self._periods.get(asked)) is None:
            found = self._periods[asked] = self._find_period(metric, line.time, line.period)
        return found

    def _find_period(self, metric: Metric, time: datetime | None, named: Period | None) -> Period:
        is_month = metric.type == MetricType.MONTH
        if metric.type == MetricType.COUNTER and named is not None:
            raise ValueError("a count is one now, not for a period; leave out the period")
        if named is not None:
            if (named.days > 1) != is_month:
                example = "a month, such as 2026-11" if is_month else "a day, such as 2026-11-20"
                raise ValueError(f"{metric.system_name} needs {example}, as its period")
            period = named
        else:
            today = self.today
            if time is not None:
                if time > self.at + AHEAD:
                    raise ValueError(f"the time is in the future; it is {self.at:%Y-%m-%dT%H:%M:%SZ} here")
                if metric.type == MetricType.COUNTER:
                    if time < self.at - LATE_COUNT:
                        raise ValueError("the count was read more than an hour ago; send the newest instead")
                elif time.year < self.at.year - MAX_YEARS - 1:
                    raise ValueError("the time is too far back")
                else:
                    today = local_day(min(time, self.at), self.zone)
            period = periods.month(today) if is_month else periods.day(today)
        if period.start > self.today:
            raise ValueError("the period is in the future")
        if period.start.year < self.today.year - MAX_YEARS:
            raise ValueError(f"the period lies more than {MAX_YEARS} years back")
        return period

    def _adds(self, metric: Metric, line: Line, period: Period) -> bool:
        is_total = metric.type in (MetricType.DAY, MetricType.MONTH)
        if line.mode is Mode.SET or (line.mode is Mode.EVENT and not is_total):
            return False
        if not is_total:
            raise ValueError(f"{metric.system_name} is a {metric.type}, which can only be set")
        if not line.id:
            raise ValueError("mode add needs an id, or the line would count twice when it is sent again")
        if period.end < self.today - ADD_BACK:
            raise ValueError(f"the period ended more than {ADD_BACK.days} days ago; set its total instead of adding")
        return True


def _digest(line: Line, value: Decimal, adds: bool) -> bytes:
    """Return what tells one line from another under the same id: what it means, not how it is written."""
    when = line.time.timestamp() if line.time else line.period and f"{line.period.start}/{line.period.end}"
    said = f"{line.tenant}\0{line.metric}\0{plain(value)}\0{when}\0{adds}"
    return blake2b(said.encode(), digest_size=16).digest()


def _joined(values: Iterable[object]) -> str:
    """Return a list of texts as one parameter for `string_to_array`, since one for each of them takes its time.

    What separates them is in no name that was let in."""
    return "\x1f".join(map(str, values))


class _Batch:
    """The lines of one batch: what counted before them, and what counts after each."""

    def __init__(self, desk: _Desk, items: list[_Item]) -> None:
        self.desk = desk
        self.ends = {item.key: item.end for item in items}
        self.counters = {item.key for item in items if item.metric.type == MetricType.COUNTER}
        self.before: dict[Key, Decimal] = {}
        self.corrected: set[Key] = set()
        #: When each counter was last read, as the sender says.
        self.read_at: dict[Key, datetime] = {}
        self.timed: set[Key] = set()
        self.round_of: dict[Key, int] = {}
        if self.ends:
            self._read_usage([key for key in self.ends if key not in self.counters])
            self._read_counts(list(self.counters))
        #: Values to store, one after the other: a count that restarts is stored before and after that.
        self.rounds: list[dict[Key, Decimal]] = [{}]
        self.now = dict(self.before)
        self.new_ids: dict[str, bytes] = {}
        self.old_ids: dict[str, bytes] = {}
        self.taken_ids: dict[str, _Refused | None] = {}
        self._claim_ids([item for item in items if item.line.id])

    def _read_usage(self, keys: list[Key]) -> None:
        if not keys:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT k.number, u.value, u.correction_id IS NOT NULL"
                " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')::integer[],"
                " string_to_array(%s, E'\\x1f')::date[]) WITH ORDINALITY k (tenant, metric, start, number)"
                " JOIN metering_tenant t ON t.server_id = %s AND t.key = k.tenant"
                " JOIN metering_usage u ON u.tenant_id = t.id AND u.metric_id = k.metric AND u.start = k.start"
                # Names the partitions to look into.
                " AND u.start = ANY(%s)",
                [*map(_joined, zip(*keys, strict=True)), self.desk.server.pk, list({start for _, _, start in keys})],
            )
            for number, value, is_corrected in cursor.fetchall():
                key = keys[number - 1]
                self.before[key] = value
                if is_corrected:
                    self.corrected.add(key)

    def _read_counts(self, keys: list[Key]) -> None:
        if not keys:
            return
        tenants, metrics, _ = map(_joined, zip(*keys, strict=True))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT k.number, l.value, l.checked_at"
                " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')::integer[])"
                " WITH ORDINALITY k (tenant, metric, number)"
                " JOIN metering_tenant t ON t.server_id = %s AND t.key = k.tenant"
                " JOIN metering_latest l ON l.tenant_id = t.id AND l.metric_id = k.metric",
                [tenants, metrics, self.desk.server.pk],
            )
            for number, value, checked_at in cursor.fetchall():
                self.before[keys[number - 1]] = value
                self.read_at[keys[number - 1]] = checked_at

    def _claim_ids(self, items: list[_Item]) -> None:
        """Write down the ids that are new, and look up those that are not. Lines about what staff corrected have none:
        they are refused, unless they were stored before that."""
        ids: dict[str, bytes] = {}
        for item in items:
            if item.key not in self.corrected:
                ids.setdefault(item.line.id, item.digest)
        with connection.cursor() as cursor:
            if ids:
                cursor.execute(
                    "INSERT INTO metering_pushed (server_id, key, digest, pushed_at)"
                    " SELECT %s, key, decode(digest, 'hex'), %s"
                    " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')) new (key, digest)"
                    " ON CONFLICT DO NOTHING RETURNING key",
                    [self.desk.server.pk, self.desk.at, _joined(ids), _joined(each.hex() for each in ids.values())],
                )
                self.new_ids = {key: ids[key] for (key,) in cursor.fetchall()}
            if others := [item.line.id for item in items if item.line.id not in self.new_ids]:
                cursor.execute(
                    "SELECT key, digest FROM metering_pushed"
                    " WHERE server_id = %s AND key = ANY(string_to_array(%s, E'\\x1f'))",
                    [self.desk.server.pk, _joined(others)],
                )
                self.old_ids = {key: bytes(digest) for key, digest in cursor.fetchall()}

    def take(self, item: _Item) -> bool:
        """Let a line count; returns whether it had counted before. Raises _Refused."""
        id = item.line.id
        if id in self.old_ids:
            return self._compare(item, self.old_ids[id])
        if id in self.taken_ids:
            is_same = self._compare(item, self.new_ids[id])
            if why := self.taken_ids[id]:
                raise why
            return is_same
        try:
            self._apply(item)
        except _Refused as error:
            if self.new_ids.get(id) == item.digest:
                self.taken_ids[id] = error
            raise
        if id:
            self.taken_ids[id] = None
        return False

    def _compare(self, item: _Item, digest: bytes) -> bool:
        if digest != item.digest:
            raise _Refused(Status.CONFLICT, "another line was sent with this id; a changed one needs a new id")
        return True

    def _apply(self, item: _Item) -> None:
        key = item.key
        if key in self.corrected:
            raise _Refused(Status.CONFLICT, "staff corrected what counts for this period, and that stays")
        if key in self.counters:
            self._count(item)
            return
        value = item.value
        if item.adds:
            value = EXACT.add(self.now.get(key, ZERO), value)
            if value >= MAX_VALUE:
                raise _Refused(Status.UNUSABLE, f"the total would not be below {MAX_VALUE:.0E}")
        self.now[key] = self.rounds[0][key] = value

    def _count(self, item: _Item) -> None:
        key, time = item.key, item.line.time
        if time is not None:
            known = self.read_at.get(key)
            if known is not None and time < known:
                raise _Refused(
                    Status.UNUSABLE, "a count that was read later is stored already; send counts in their order"
                )
        number = self.round_of.get(key)
        if number is None:
            number = 0
        elif item.value < self.now[key] or (number == 0 and key not in self.before):
            # What a restarted count has counted is all new; and counting begins with the first one that is known.
            number += 1
        if number > MAX_RESTARTS:
            raise _Refused(Status.UNUSABLE, f"more than {MAX_RESTARTS} restarts of one count; send fewer at once")
        if number == len(self.rounds):
            self.rounds.append({})
        self.round_of[key] = number
        if time is not None:
            self.read_at[key] = time
            self.timed.add(key)
        self.now[key] = self.rounds[number][key] = item.value

    def store(self) -> None:
        """Store what counts now, and forget the ids of lines that came to nothing."""
        if unused := [id for id, why in self.taken_ids.items() if why]:
            Pushed.objects.filter(server_id=self.desk.server.pk, key__in=unused).delete()
        for values in self.rounds:
            if values:
                self._store(values)
        self._keep_times()
        self._add_up()

    def _store(self, values: Mapping[Key, Decimal]) -> None:
        desk, tenants, rows = self.desk, dict[str, int](), []
        for key, value in values.items():
            tenant, metric, start = key
            number = tenants.setdefault(tenant, len(tenants))
            rows.append(ingestion.staged_row(number, metric, str(value), start, self.ends[key]))
        ingestion.stage_rows(tenants, rows)
        months = {start for _, _, start in values}
        stored = ingestion.store(collection=desk.record, metrics=desk.metrics.values(), months=months, before=None)
        desk.readings += stored.readings
        desk.unchanged += stored.unchanged
        desk.used.update(metric for _, metric, _ in values)
        if desk.record.source == Collection.Source.IMPORT:
            desk.tenants.update(tenants)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM seen WHERE is_new")
            desk.outcome.new_tenants += cursor.fetchone()[0]
            if any(end <= desk.today for end in {self.ends[key] for key in values}):
                cursor.execute(_LATEST_OF_CLOSED, [desk.at, desk.at, desk.record.pk, desk.today])

    def _keep_times(self) -> None:
        """Remember when counts were read, as the sender says: an older one that comes later is none."""
        if keys := list(self.timed):
            tenants, metrics, _ = map(_joined, zip(*keys, strict=True))
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE metering_latest l SET checked_at = k.read_at"
                    " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')::integer[],"
                    " %s::timestamptz[]) k (tenant, metric, read_at)"
                    " JOIN metering_tenant t ON t.server_id = %s AND t.key = k.tenant"
                    " WHERE l.tenant_id = t.id AND l.metric_id = k.metric",
                    [tenants, metrics, [self.read_at[key] for key in keys], self.desk.server.pk],
                )

    def _add_up(self) -> None:
        by_pk = {metric.pk: self.desk.total(metric) for metric in self.desk.metrics.values()}
        for values in self.rounds[:1]:
            for key in values:
                total, before, after = by_pk[key[1]], self.before.get(key), self.now[key]
                if before is None:
                    total.new += 1
                elif before == after:
                    total.same += 1
                else:
                    total.changed += 1
                total.before = EXACT.add(total.before, before or ZERO)
                total.after = EXACT.add(total.after, after)


#: The store moves the latest value with the open period only. What is pushed for a period that is over is the latest
#: value of its metric, too, unless a later period has one; that it was read after the period's end lets it be billed.
_LATEST_OF_CLOSED = """
INSERT INTO metering_latest AS l (tenant_id, metric_id, value, start, read_at, checked_at, collection_id)
SELECT DISTINCT ON (seen.tenant_id, s.metric) seen.tenant_id, s.metric, s.value, s.start, %s, %s, %s
FROM staged s JOIN seen ON seen.tenant = s.tenant
WHERE s."end" <= %s
ORDER BY seen.tenant_id, s.metric, s.start DESC
ON CONFLICT (tenant_id, metric_id) DO UPDATE
    SET value = excluded.value, start = excluded.start, checked_at = excluded.checked_at,
        collection_id = excluded.collection_id,
        read_at = CASE WHEN l.value = excluded.value THEN l.read_at ELSE excluded.read_at END
    WHERE l.start <= excluded.start
"""
