"""What the lines of one batch come to: what counted for their periods before them, and what counts after each.

Lines are taken in their order. A line that sets says what counts for its period; one that adds is added to what
counts so far, and has an id, so that it counts once however often it is sent. Bulk statements only: a batch of any
size takes the same number of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection

from metering import ingestion, staging
from metering.decimals import EXACT
from metering.models import MAX_VALUE, Collection, Metric
from metering.periods import local_day
from metering.providers.base import MetricType
from metering.push_ids import Ids, joined
from metering.push_lines import ZERO, Item, Key, Refused, Status

#: A count may restart so many times within one batch.
MAX_RESTARTS = 10


class Batch:
    """The lines of one batch, taken one by one in their order, and then stored together.

    `record` says for which server and as of when. Once they are stored, `readings`, `unchanged` and `new_tenants`
    say what that did.
    """

    def __init__(self, record: Collection, metrics: Mapping[str, Metric], items: Sequence[Item]) -> None:
        self.record, self.metrics = record, metrics
        self.today = local_day(record.as_of, record.server.zone)
        self.readings = self.unchanged = self.new_tenants = 0
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
        self.ids = Ids(record, items, self.corrected)

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
                [*map(joined, zip(*keys, strict=True)), self.record.server_id, list({start for _, _, start in keys})],
            )
            for number, value, is_corrected in cursor.fetchall():
                key = keys[number - 1]
                self.before[key] = value
                if is_corrected:
                    self.corrected.add(key)

    def _read_counts(self, keys: list[Key]) -> None:
        if not keys:
            return
        tenants, metrics, _ = map(joined, zip(*keys, strict=True))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT k.number, l.value, l.checked_at"
                " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')::integer[])"
                " WITH ORDINALITY k (tenant, metric, number)"
                " JOIN metering_tenant t ON t.server_id = %s AND t.key = k.tenant"
                " JOIN metering_latest l ON l.tenant_id = t.id AND l.metric_id = k.metric",
                [tenants, metrics, self.record.server_id],
            )
            for number, value, checked_at in cursor.fetchall():
                self.before[keys[number - 1]] = value
                self.read_at[keys[number - 1]] = checked_at

    def take(self, item: Item) -> bool:
        """Let a line count; returns whether it had counted before. Raises Refused."""
        if self.ids.has_counted(item):
            return True
        try:
            self._apply(item)
        except Refused as error:
            self.ids.refuse(item, error)
            raise
        self.ids.count(item)
        return False

    def _apply(self, item: Item) -> None:
        key = item.key
        if key in self.corrected:
            raise Refused(Status.CONFLICT, "staff corrected what counts for this period, and that stays")
        if key in self.counters:
            self._count(item)
            return
        value = item.value
        if item.adds:
            value = EXACT.add(self.now.get(key, ZERO), value)
            if value >= MAX_VALUE:
                raise Refused(Status.UNUSABLE, f"the total would not be below {MAX_VALUE:.0E}")
        self.now[key] = self.rounds[0][key] = value

    def _count(self, item: Item) -> None:
        key, time = item.key, item.line.time
        known = self.read_at.get(key)
        if time is not None and known is not None and time < known:
            raise Refused(Status.UNUSABLE, "a count that was read later is stored already; send counts in their order")
        number = self._round(key, item.value)
        if number > MAX_RESTARTS:
            raise Refused(Status.UNUSABLE, f"more than {MAX_RESTARTS} restarts of one count; send fewer at once")
        if number == len(self.rounds):
            self.rounds.append({})
        self.round_of[key] = number
        if time is not None:
            self.read_at[key] = time
            self.timed.add(key)
        self.now[key] = self.rounds[number][key] = item.value

    def _round(self, key: Key, value: Decimal) -> int:
        """Return the round in which a count is stored: that of the one before it, or the next one."""
        number = self.round_of.get(key)
        if number is None:
            return 0
        # What a restarted count has counted is all new; and counting begins with the first one that is known.
        begins_anew = value < self.now[key] or (number == 0 and key not in self.before)
        return number + 1 if begins_anew else number

    def store(self) -> None:
        """Store what counts now, and forget the ids of lines that came to nothing."""
        self.ids.release()
        for values in self.rounds:
            if values:
                self._store(values)
        self._keep_times()

    def _store(self, values: Mapping[Key, Decimal]) -> None:
        tenants, rows = dict[str, int](), []
        for key, value in values.items():
            tenant, metric, start = key
            number = tenants.setdefault(tenant, len(tenants))
            rows.append(staging.staged_row(number, metric, str(value), start, self.ends[key]))
        staging.stage_rows(tenants, rows)
        months = {start for _, _, start in values}
        stored = ingestion.store(collection=self.record, metrics=self.metrics.values(), months=months, before=None)
        self.readings += stored.readings
        self.unchanged += stored.unchanged
        at = self.record.as_of
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM seen WHERE is_new")
            self.new_tenants += cursor.fetchone()[0]
            if any(end <= self.today for end in {self.ends[key] for key in values}):
                cursor.execute(_LATEST_OF_CLOSED, [at, at, self.record.pk, self.today])

    def _keep_times(self) -> None:
        """Remember when counts were read, as the sender says: an older one that comes later is none."""
        if keys := list(self.timed):
            tenants, metrics, _ = map(joined, zip(*keys, strict=True))
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE metering_latest l SET checked_at = k.read_at"
                    " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')::integer[],"
                    " %s::timestamptz[]) k (tenant, metric, read_at)"
                    " JOIN metering_tenant t ON t.server_id = %s AND t.key = k.tenant"
                    " WHERE l.tenant_id = t.id AND l.metric_id = k.metric",
                    [tenants, metrics, [self.read_at[key] for key in keys], self.record.server_id],
                )

    def changes(self) -> Iterator[tuple[Key, Decimal | None, Decimal]]:
        """Yield each period that its lines were about, with what counted for it before, if anything did, and now."""
        # Every count begins in the first round.
        for key in self.rounds[0]:
            yield key, self.before.get(key), self.now[key]


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
