"""How servers stand: whether they answer, how old their values are, what went wrong lately, and how they grow.

It only reads, with the same few queries however many servers, tenants and collections there are.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Collection as Several
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, Count, Max, OuterRef, QuerySet, Subquery, When
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from metering import language
from metering.asked_collections import TOO_LATE
from metering.models import Collection, Metric, Server
from metering.providers import base
from metering.server_lock import being_collected
from metering.units import BYTES, GB, KB, MB

#: When a person wonders whether there is a worker at all.
SOON = timedelta(seconds=15)
#: So many whole collections make a trend.
TREND = 60
#: Errors are looked for so far back, and so many different ones are listed.
LATELY, MOST_ERRORS = timedelta(days=7), 10
#: A metric is looked for in so many stored collections.
REMEMBERED = 1000


class State(StrEnum):
    """What becomes of a collection that somebody follows."""

    WAITING = "waiting"
    LATE = "late"
    RUNNING = "running"
    DIED = "died"
    ENDED = "ended"

    @property
    def is_live(self) -> bool:
        """Whether something may change yet."""
        return self in (State.WAITING, State.LATE, State.RUNNING)


def state(record: Collection, at: datetime, busy: Several[int] | None = None) -> State:
    """What became of a collection, as far as it was heard of. `busy` are the servers that are being collected."""
    age = at - record.started_at
    if record.status == Collection.Status.WAITING:
        if age > TOO_LATE:
            return State.DIED
        return State.LATE if age > SOON else State.WAITING
    if record.status == Collection.Status.RUNNING:
        is_alive = age <= SOON or record.server_id in (being_collected() if busy is None else busy)
        return State.RUNNING if is_alive else State.DIED
    return State.ENDED


class Health(StrEnum):
    """How a server is, in a word."""

    HEALTHY = "healthy"
    PARTIAL = "partial"
    STALE = "out of date"
    HELD = "held"
    FAILING = "failing"
    NEVER = "never collected"
    PUSHED = "pushed"
    INACTIVE = "inactive"
    NOT_INSTALLED = "not installed"

    @property
    def needs_a_person(self) -> bool:
        return self in (Health.STALE, Health.HELD, Health.FAILING, Health.NEVER, Health.NOT_INSTALLED)

    @property
    def words(self) -> str:
        """The word, in the language of who reads it."""
        return str(_WORDS[self])


_WORDS = {
    Health.HEALTHY: gettext_lazy("healthy"),
    Health.PARTIAL: gettext_lazy("partial"),
    Health.STALE: gettext_lazy("out of date"),
    Health.HELD: gettext_lazy("held"),
    Health.FAILING: gettext_lazy("failing"),
    Health.NEVER: gettext_lazy("never collected"),
    Health.PUSHED: gettext_lazy("pushed"),
    Health.INACTIVE: gettext_lazy("inactive"),
    Health.NOT_INSTALLED: gettext_lazy("not installed"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands: its last collection of all tenants, the last one that ended, the last that was stored,
    and the one that is held, if one is; or of a server that is not asked, the last push or import."""

    server: Server
    last: Collection | None
    ended: Collection | None
    stored: Collection | None
    held: Collection | None
    pushed: Collection | None
    at: datetime
    state: State | None

    @property
    def age(self) -> timedelta | None:
        return self.at - self.server.collected_at if self.server.collected_at else None

    @property
    def age_words(self) -> str:
        return old(self.age) if self.age is not None else _("never collected")

    @property
    def is_stale(self) -> bool:
        return self.age is not None and self.age > timedelta(hours=settings.STALE_AFTER_HOURS)

    @property
    def is_installed(self) -> bool:
        return self.server.provider in base.installed()

    @property
    def health(self) -> Health:
        if not self.server.is_active:
            return Health.INACTIVE
        if not self.is_installed:
            return Health.NOT_INSTALLED
        if not base.asks(self.server.provider):
            return Health.PUSHED
        if self.last is None or (self.ended is None and self.state != State.DIED):
            return Health.NEVER
        status = self.ended.status if self.ended else ""
        if self.state == State.DIED or status == Collection.Status.FAILED:
            return Health.FAILING
        if self.held:
            return Health.HELD
        if self.is_stale:
            return Health.STALE
        return Health.PARTIAL if status == Collection.Status.PARTIAL else Health.HEALTHY

    @property
    def needs_a_person(self) -> bool:
        """Whether it is for a person to do something: not while a collection is under way that may mend it."""
        return self.health.needs_a_person and self.state not in (State.WAITING, State.RUNNING)


def old(age: timedelta) -> str:
    """Say how old something is: `40 minutes old`, `39 hours old`, `5 days old`."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return _("less than a minute old")
    hours = minutes // 60
    if minutes < 90:
        return ngettext("%(count)s minute old", "%(count)s minutes old", minutes) % {"count": minutes}
    if hours < 72:
        return ngettext("%(count)s hour old", "%(count)s hours old", hours) % {"count": hours}
    return ngettext("%(count)s day old", "%(count)s days old", hours // 24) % {"count": hours // 24}


def standings(servers: QuerySet[Server], at: datetime) -> list[Standing]:
    """Return how each server stands, in three queries. Stored credentials are left where they are."""
    whole = Collection.objects.whole().filter(server=OuterRef("pk")).order_by("-id")
    sent = Collection.objects.exclude(source=Collection.Source.COLLECTION).filter(server=OuterRef("pk")).order_by("-id")
    not_asked = [name for name in base.installed() if not base.asks(name)]
    found = servers.defer("credentials").annotate(
        last_id=Subquery(whole.values("pk")[:1]),
        ended_id=Subquery(whole.exclude(ended_at=None).values("pk")[:1]),
        stored_id=Subquery(whole.stored().values("pk")[:1]),
        held_id=Subquery(whole.filter(status=Collection.Status.HELD).values("pk")[:1]),
        pushed_id=Case(When(provider__in=not_asked, then=Subquery(sent.values("pk")[:1]))),
    )
    names = ("last_id", "ended_id", "stored_id", "held_id", "pushed_id")
    ids = {pk for server in found for name in names if (pk := getattr(server, name))}
    records = Collection.objects.defer("problems").in_bulk(ids)
    busy = being_collected()

    def standing(server: Any) -> Standing:
        last, ended, stored, held, pushed = (records.get(getattr(server, name) or 0) for name in names)
        return Standing(server, last, ended, stored, held, pushed, at, state(last, at, busy) if last else None)

    return [standing(server) for server in found]


def recent(server: Server) -> list[Collection]:
    """Return the last whole collections of a server that ended, newest first."""
    return list(server.collections.whole().exclude(ended_at=None).defer("problems").order_by("-id")[:TREND])


def sentence(standing: Standing, recent: Sequence[Collection]) -> str:
    """Say how a server is: what is wrong, if anything is, how old its values are, and how often it answered."""
    values = _("It has no values yet.")
    if standing.age is not None:
        values = _("Its values are %(old)s.") % {"old": standing.age_words}
    failed = next((number for number, record in enumerate(recent) if record.status != "failed"), len(recent))
    match standing.health:
        case Health.INACTIVE:
            words = _("Inactive: it is not collected.")
        case Health.NOT_INSTALLED:
            words = _("Its provider, %(provider)s, is not installed, so every collection fails.")
            words %= {"provider": standing.server.provider}
        case Health.PUSHED:
            words = _("It is not asked: its usage is pushed or imported.")
        case Health.NEVER:
            return _("Never collected: nothing is known of it yet.")
        case Health.FAILING:
            words = ngettext(
                "Failing: its last collection failed.", "Failing: its last %(count)s collections failed.", failed or 1
            )
            words %= {"count": failed}
        case Health.HELD:
            words = _("Held: what it answered waits until somebody looks at it.")
        case Health.STALE:
            words = _("Out of date: its values are %(old)s, and the limit is %(hours)s hours.")
            return words % {"old": standing.age_words, "hours": settings.STALE_AFTER_HOURS}
        case Health.PARTIAL:
            words = _("It answers, but not everything it said was stored.")
        case _:
            return _healthy(standing, recent, values)
    return f"{words} {values}"


def _healthy(standing: Standing, recent: Sequence[Collection], values: str) -> str:
    if len(recent) < 2:
        words = _("Healthy.")
        return f"{words} {values}"
    told = {"stored": sum(record.is_stored for record in recent), "count": len(recent)}
    if standing.age is None:
        words = _("Healthy. It has no values yet, and %(stored)s of its last %(count)s collections were stored.")
        return words % told
    words = _("Healthy. Its values are %(old)s, and %(stored)s of its last %(count)s collections were stored.")
    return words % {**told, "old": standing.age_words}


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of the last collections as a line of 1000 by 100, from the oldest to the newest."""

    title: str
    points: str
    last: str
    low: str
    high: str

    @property
    def sentence(self) -> str:
        words = _("%(title)s: %(last)s in the last collection, between %(low)s and %(high)s before.")
        return words % {"title": self.title, "last": self.last, "low": self.low, "high": self.high}


def trend(stored: Sequence[Collection]) -> list[Line]:
    """Return how tenants, values and seconds went over some stored collections, newest first. Two make a line."""
    if len(stored) < 2:
        return []
    return [
        _line(_("Tenants"), [record.tenants for record in stored], lambda value: language.in_digits(f"{value:,.0f}")),
        _line(
            _("Values"), [record.values_seen for record in stored], lambda value: language.in_digits(f"{value:,.0f}")
        ),
        _line(
            _("Seconds"),
            [record.took_seconds or 0 for record in stored],
            lambda value: language.in_digits(f"{value:,.1f} s"),
        ),
    ]


def _line(title: str, values: Sequence[float], write: Callable[[float], str]) -> Line:
    first = list(reversed(values))
    # From zero on, so that a small change looks small.
    top, step = max(first) or 1, 1000 / (len(first) - 1)
    points = " ".join(f"{number * step:.1f},{100 - 100 * value / top:.1f}" for number, value in enumerate(first))
    return Line(title, points, write(first[-1]), write(min(first)), write(max(first)))


def errors(server: Server, at: datetime) -> list[Any]:
    """Return the different errors of the last days, newest first, each with how often and when last it came."""
    rows = server.collections.filter(started_at__gt=at - LATELY).exclude(error="").order_by().values("error")
    return list(rows.annotate(times=Count("pk"), last=Max("as_of"), record=Max("pk")).order_by("-last")[:MOST_ERRORS])


@dataclass(frozen=True, slots=True)
class Freshness:
    """A metric that a server declares, and when a stored collection of all tenants last brought it."""

    metric: base.Metric
    came_at: datetime | None
    at: datetime

    @property
    def age_words(self) -> str:
        return old(self.at - self.came_at) if self.came_at else _("never came")

    @property
    def is_stale(self) -> bool:
        return self.came_at is not None and self.at - self.came_at > timedelta(hours=settings.STALE_AFTER_HOURS)


def freshness(server: Server, at: datetime) -> list[Freshness]:
    """Return the metrics that a server declares, in two queries."""
    declared = base.declared(server.provider, server.settings)
    known = dict(Metric.objects.filter(provider=server.provider).values_list("system_name", "pk"))
    with connection.cursor() as cursor:
        cursor.execute(_LAST_BROUGHT, [server.pk, REMEMBERED])
        came = dict(cursor.fetchall())
    return [Freshness(metric, came.get(known.get(metric.system_name)), at) for metric in declared]


_LAST_BROUGHT = """
SELECT metric, max(as_of) FROM (
    SELECT metrics, as_of FROM metering_collection
    WHERE server_id = %s AND tenant_key = '' AND period_start IS NULL AND status IN ('complete', 'partial')
    ORDER BY id DESC LIMIT %s
) stored, unnest(metrics) AS metric
GROUP BY metric
"""


def counts(standings: Iterable[Standing]) -> list[tuple[Health, int]]:
    """Return how many servers are how, in the order of the words."""
    found = [standing.health for standing in standings]
    return [(health, found.count(health)) for health in Health if health in found]


def bytes_words(number: int) -> str:
    """Write a number of bytes: `812 bytes`, `34.2 kB`, `1.3 MB`."""
    unit = next((unit for unit in (GB, MB, KB) if number >= unit.factor), BYTES)
    return unit.write(unit.from_base(Decimal(number)), places=1)
