"""From a line to its usage periods, from there to their readings and the collections that brought them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db.models import BooleanField, Count, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import Lag
from django.utils.translation import gettext_lazy

from invoicing import proof
from invoicing.models import BilledPeriod, Invoice, Line
from invoicing.parts import Part, period_words
from invoicing.proof import Proof
from metering.models import Collection, Correction, Reading, Usage
from metering.prepared import Prepared
from metering.providers.base import MetricType
from metering.units import Unit

ONE_DAY = timedelta(days=1)
_CORRECTIONS = Prepared(
    lambda tenant, metric, first, last: (
        Correction.objects.filter(tenant=tenant, metric=metric, start__gte=first, start__lte=last)
        .select_related("by")
        .order_by("id")
    )
)
#: What the readings of a period say about its usage, by the type of the metric.
_NOTES = {
    MetricType.SNAPSHOT: gettext_lazy(
        "Each day counts with the last value that was read until its end. A reading is kept when the value differs"
        " from the one before."
    ),
    MetricType.DAY: gettext_lazy(
        "The server counts up through the day, so that the newest reading is the day’s total. A reading is kept when"
        " the value differs from the one before."
    ),
    MetricType.MONTH: gettext_lazy(
        "The server counts up through the month, so that the newest reading is the month’s total. A reading is kept"
        " when the value differs from the one before."
    ),
    MetricType.COUNTER: gettext_lazy(
        "The server’s count only rises; what counts is how much it rose since the reading before. A count that is"
        " lower than the one before was started anew, and all of it counts. A reading is kept when the value differs"
        " from the one before."
    ),
}


@dataclass(frozen=True, slots=True)
class Observed:
    """One reading of a period, in the unit of its line, with the collection that brought it or the correction.

    `rise` is what a count rose by since the reading before. `is_before` is the last one before the period, from
    which its level or its count went on.
    """

    read_at: datetime
    start: date
    quantity: Decimal
    rise: Decimal | None = None
    collection_id: int | None = None
    collection: Collection | None = None
    correction: Correction | None = None
    is_before: bool = False


@dataclass(frozen=True, slots=True)
class Amendment:
    """A correction by staff, in the unit of the line. `is_later` says that the line does not know of it yet."""

    correction: Correction
    before: Decimal | None
    after: Decimal
    is_later: bool

    @property
    def words(self) -> str:
        return period_words(self.correction.start, self.correction.end)


@dataclass
class UsedPeriod:
    """A usage period of a line: its place there, what was billed of it, and how much is known about it."""

    number: int
    billed: BilledPeriod
    quantity: Decimal
    first: date
    last: date
    readings: int = 0
    amendments: list[Amendment] = field(default_factory=list)
    part: Part | None = None

    @property
    def words(self) -> str:
        return period_words(self.billed.start, self.billed.end)

    @property
    def was_corrected(self) -> bool:
        """Whether staff had corrected it when its line was issued."""
        return any(not each.is_later for each in self.amendments)


@dataclass
class Explanation:
    """A line with everything behind it. Its periods are all of one tenant and one metric."""

    proof: Proof
    periods: list[UsedPeriod] = field(default_factory=list)

    @property
    def line(self) -> Line:
        return self.proof.line

    @property
    def unit(self) -> Unit:
        assert self.proof.unit is not None
        return self.proof.unit

    @property
    def type(self) -> str:
        assert self.line.setting is not None
        return self.line.setting.metric.type

    @property
    def is_level(self) -> bool:
        return self.type == MetricType.SNAPSHOT

    @property
    def is_count(self) -> bool:
        return self.type == MetricType.COUNTER

    @property
    def note(self) -> str:
        return str(_NOTES[MetricType(self.type)])

    @property
    def readings(self) -> int:
        return sum(period.readings for period in self.periods)

    @property
    def amendments(self) -> list[Amendment]:
        """The corrections of all periods, oldest first."""
        found = {each.correction.pk: each for period in self.periods for each in period.amendments}
        return [found[pk] for pk in sorted(found)]

    @property
    def later(self) -> list[Line]:
        return self.proof.later


def of_line(line: Line, among: QuerySet[Invoice]) -> Explanation:
    """Explain a line, fetched `with_sources`, in four to six queries. `among` are what the viewer may see."""
    [own] = proof.of_lines([line], among)
    explained = Explanation(own)
    if not own.periods or line.setting is None:
        return explained
    by_start = {part.start: part for part in own.parts} if own.is_usage and own.rates_each_period else {}
    for number, (billed, quantity) in enumerate(own.periods, start=1):
        last = billed.measured_on if explained.is_level else billed.end - ONE_DAY
        part = by_start.get(billed.start)
        explained.periods.append(UsedPeriod(number, billed, quantity, billed.start, last, part=part))
    _count_readings(explained)
    _find_corrections(explained)
    return explained


def _rows(explained: Explanation, periods: Sequence[UsedPeriod]) -> QuerySet[Reading]:
    """The readings of periods that there were when the line was issued."""
    first = min(period.first for period in periods)
    # None is read before its period begins, wherever the server is: partitions of earlier readings stay unread.
    begins_at = datetime.combine(first - ONE_DAY, time.min, UTC)
    last = max(period.last for period in periods)
    return _known(explained).filter(start__gte=first, start__lte=last, read_at__gte=begins_at)


def _known(explained: Explanation) -> QuerySet[Reading]:
    billed = explained.periods[0].billed
    return Reading.objects.filter(
        tenant_id=billed.tenant_id, metric_id=billed.metric_id, read_at__lte=explained.line.invoice.created_at
    )


def _count_readings(explained: Explanation) -> None:
    counts = dict(_rows(explained, explained.periods).values_list("start").annotate(number=Count("value")))
    days = sorted(counts)
    for period in explained.periods:
        inside = days if explained.is_level else [period.first]
        period.readings = sum(counts.get(day, 0) for day in inside if period.first <= day <= period.last)


def _find_corrections(explained: Explanation) -> None:
    billed, unit = explained.periods[0].billed, explained.unit
    first = min(period.first for period in explained.periods)
    last = max(period.last for period in explained.periods)
    issued_at = explained.line.invoice.created_at
    for row in _CORRECTIONS.all(billed.tenant_id, billed.metric_id, first, last):
        before = None if row.before is None else unit.from_base(row.before)
        amendment = Amendment(row, before, unit.from_base(row.value), is_later=row.at > issued_at)
        for period in explained.periods:
            if period.first <= row.start <= period.last:
                period.amendments.append(amendment)


def readings(explained: Explanation, periods: Sequence[UsedPeriod]) -> QuerySet[Reading]:
    """Return the readings of periods, newest first, each with `previous`, the value of the one before it."""
    is_corrected = ExpressionWrapper(Q(correction_id__isnull=False), output_field=BooleanField())
    previous = Window(Lag("value"), partition_by=[is_corrected], order_by=[F("start").asc(), F("read_at").asc()])
    return _rows(explained, periods).annotate(previous=previous).order_by("-start", "-read_at")


def before(explained: Explanation, period: UsedPeriod) -> Reading | None:
    """Return the reading from which the level or the count of a period went on; a total starts from nothing."""
    if not (explained.is_level or explained.is_count):
        return None
    known = _known(explained).filter(correction_id=None)
    found = known.filter(start__lt=period.first).order_by("-start", "-read_at").first()
    if found is None or explained.is_count:
        return found
    since = proof.own_since(explained.line.service, period.billed)
    if found.start >= since:
        return found
    # The tenant may have been another's then: its level is this service's only if it was measured again.
    first = known.filter(start__gte=since, start__lte=period.last).order_by("start").values_list("start").first()
    days = Usage.objects.of(found.tenant_id, found.metric_id).filter(start__gte=since)
    return found if first is None or days.filter(start__lt=first[0]).exists() else None


def observed(
    explained: Explanation, rows: Iterable[Reading], before: Reading | None, *, ends_with_before: bool
) -> list[Observed]:
    """Write readings in the unit of the line, with their collections and corrections, in two queries at most.

    `before` gives the first count its rise, and is the last of them where the list `ends_with_before`.
    """
    rows = list(rows)
    shown = [*rows, before] if before is not None and ends_with_before else rows
    collections = Collection.objects.select_related("server").defer("problems", "server__credentials")
    by_collection = collections.in_bulk({row.collection_id for row in shown if row.collection_id})
    by_correction = Correction.objects.select_related("by").in_bulk(
        {row.correction_id for row in shown if row.correction_id}
    )
    return [
        Observed(
            read_at=row.read_at,
            start=row.start,
            quantity=explained.unit.from_base(row.value),
            rise=None if row is before else _rise(explained, row, before),
            collection_id=row.collection_id,
            collection=by_collection.get(row.collection_id or 0),
            correction=by_correction.get(row.correction_id or 0),
            is_before=row is before,
        )
        for row in shown
    ]


def _rise(explained: Explanation, row: Reading, before: Reading | None) -> Decimal | None:
    if not explained.is_count or row.correction_id is not None:
        return None
    previous: Decimal | None = row.previous  # type: ignore[attr-defined]  # annotated
    if previous is None and before is not None:
        previous = before.value
    rise = increase(row.value, previous)
    return None if rise is None else explained.unit.from_base(rise)


def increase(value: Decimal, previous: Decimal | None) -> Decimal | None:
    """By how much a count rose; one that fell was started anew. Unknown for the first that was ever read."""
    if previous is None:
        return None
    return value - previous if value >= previous else value


def all_readings(explained: Explanation) -> Iterator[tuple[Reading, bool]]:
    """Yield the readings of all periods of a line, oldest first, and whether it is the one before the first.

    They are streamed, each with `as_of` and `server` of its collection and `reason` and `by` of its correction.
    """
    if not explained.periods:
        return
    first = before(explained, explained.periods[0])
    if first is not None:
        key = {"start": first.start, "read_at": first.read_at}
        yield from ((row, True) for row in _with_sources(_known(explained).filter(**key)))
    starts = {period.first for period in explained.periods}
    rows = _with_sources(readings(explained, explained.periods)).order_by("start", "read_at")
    for row in rows.iterator(chunk_size=2000):
        if explained.is_level or row.start in starts:
            yield row, False


def _with_sources(rows: QuerySet[Reading]) -> QuerySet[Reading]:
    collection = Collection.objects.filter(pk=OuterRef("collection_id"))
    correction = Correction.objects.filter(pk=OuterRef("correction_id"))
    return rows.annotate(
        as_of=Subquery(collection.values("as_of")),
        server=Subquery(collection.values("server__name")),
        reason=Subquery(correction.values("reason")),
        by=Subquery(correction.values("by__email")),
    )
