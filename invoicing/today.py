"""What needs a person today, for the first page of staff: read in a fixed number of queries, however much there is.

Counts go up to MOST; the page says "100+" of what is above. What somebody may not see is not looked for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from catalog import missing_prices
from catalog.missing_prices import Missing
from catalog.models import Service, User
from invoicing import cockpit, outbox, unclaimed, usage_invoicing
from invoicing.cockpit import Cockpit, Shown
from invoicing.models import Deferral, Difference, Parked, Preview, Question, Run
from metering import dates, health
from metering.health import Health, Standing, old
from metering.models import Metric, Server
from metering.paging import capped

#: What is counted is counted so far.
MOST = 100
#: So many servers, and metrics of servers, are named one by one.
NAMED = 6
#: So many reasons of parked services, and differences of a dry run, are named.
FEW = 4
#: A metric is looked for in so many stored collections of a server.
REMEMBERED = 60


@dataclass(frozen=True, slots=True)
class Troubled:
    """A server that needs a person, with the services that depend on it, and how many of those are due soon."""

    standing: Standing
    services: int
    due: int

    @property
    def health(self) -> Health:
        return self.standing.health


@dataclass(frozen=True, slots=True)
class StaleMetric:
    """A metric that a server, which answers, no longer brings, and the services whose product shows it."""

    server: Server
    metric: Metric
    came_at: datetime
    at: datetime
    services: int

    @property
    def age_words(self) -> str:
        return old(self.at - self.came_at)


class Today:
    """All that the page says to a user, read when the page asks for it."""

    def __init__(self, user: User, now: datetime) -> None:
        self.user, self.now = user, now
        self.today = timezone.localdate(now)

    def may(self, permission: str) -> bool:
        return self.user.has_perm(permission)

    @property
    def most(self) -> int:
        return MOST

    @property
    def written(self) -> str:
        """`Thursday, 19 November 2026, 09:40`."""
        return f"{dates.weekday(self.today)}, {dates.time(self.now)}"

    # ---- servers

    @cached_property
    def standings(self) -> list[Standing]:
        """All servers, those that need a person first."""
        if not self.may("metering.view_server"):
            return []
        found = health.standings(Server.objects.all(), self.now)
        order = [Health.FAILING, Health.NOT_INSTALLED, Health.HELD, Health.STALE, Health.NEVER]
        found.sort(key=lambda each: (order.index(each.health) if each.needs_a_person else len(order), each.server.name))
        return found

    @cached_property
    def _needing(self) -> list[Standing]:
        return [each for each in self.standings if each.needs_a_person]

    @cached_property
    def servers(self) -> list[Troubled]:
        """Those that fail, are held, out of date, or were never collected."""
        shown = self._needing[:NAMED]
        affected = _affected([each.server.pk for each in shown], self.now)
        return [Troubled(each, *affected[each.server.pk]) for each in shown]

    @property
    def more_servers(self) -> int:
        return len(self._needing) - len(self.servers)

    @cached_property
    def stale_metrics(self) -> list[StaleMetric]:
        """What servers that are well otherwise no longer bring."""
        well = {each.server.pk: each.server for each in self.standings if not each.needs_a_person}
        found = _stale_metrics(list(well), self.now)
        metrics = Metric.objects.in_bulk([metric for _, metric, _, _ in found])
        return [
            StaleMetric(well[server], metrics[metric], came_at, self.now, services)
            for server, metric, came_at, services in found
        ]

    # ---- services and money

    @cached_property
    def parked(self) -> list[tuple[str, int]]:
        """Why services are parked, each reason with how many, the most frequent first."""
        if not self.may("invoicing.view_run"):
            return []
        reasons = Parked.objects.order_by("pk").values_list("reason", flat=True)[: MOST + 1]
        return Counter(reasons).most_common()

    @property
    def parked_count(self) -> int:
        return sum(count for _, count in self.parked)

    @property
    def parked_reasons(self) -> list[tuple[str, int]]:
        return self.parked[:FEW]

    @cached_property
    def missing(self) -> list[Missing]:
        return missing_prices.of_living_services(self.today) if self.may("catalog.view_product") else []

    @cached_property
    def waiting(self) -> int:
        return capped(Deferral.objects.all(), MOST) if self.may("invoicing.view_run") else 0

    @cached_property
    def differences(self) -> int:
        return capped(Difference.objects.all(), MOST) if self.may("invoicing.view_run") else 0

    @cached_property
    def questions(self) -> list[Question]:
        """Those that wait for an answer of staff, the oldest first."""
        if not self.may("invoicing.view_question"):
            return []
        waiting = Question.objects.filter(closed_at=None, waits_for_staff=True).select_related("client", "line")
        return list(waiting.order_by("posted_at")[: MOST + 1])

    @cached_property
    def mails(self) -> int:
        return capped(outbox.given_up(), MOST) if self.may("invoicing.view_message") else 0

    @cached_property
    def unclaimed(self) -> int:
        return capped(unclaimed.tenants(), MOST) if self.may("metering.view_tenant") else 0

    @cached_property
    def count(self) -> int:
        """How many things the list names."""
        kinds = (self.more_servers, self.parked, self.missing, self.waiting, self.differences, self.questions)
        others = sum(map(bool, (*kinds, self.mails, self.unclaimed)))
        return len(self.servers) + len(self.stale_metrics) + others

    # ---- billing runs

    @cached_property
    def due(self) -> int:
        return capped(Service.objects.due(self.today), MOST)

    @cached_property
    def is_on(self) -> bool:
        return usage_invoicing.is_on(self.today)

    @cached_property
    def last_run(self) -> Run | None:
        return Run.objects.exclude(ended_at=None).first() if self.may("invoicing.view_run") else None

    @cached_property
    def dry_run(self) -> Cockpit | None:
        """The last dry run that came to its end, unless a run has billed since."""
        if not self.may("invoicing.view_run"):
            return None
        last = Preview.objects.exclude(ended_at=None).filter(error="").first()
        found = cockpit.of(last) if last is not None and last.outcome else None
        return found if found is not None and found.run is None else None

    @property
    def differs_most(self) -> list[Shown]:
        return self.dry_run.rows[:FEW] if self.dry_run else []


def _affected(servers: Sequence[int], now: datetime) -> dict[int, tuple[int, int]]:
    """Return how many services each server meters, and how many of those are due by tomorrow, up to MOST + 1."""
    tomorrow = timezone.localdate(now) + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(_AFFECTED, {"servers": list(servers), "until": tomorrow, "most": MOST + 1})
        return {server: (services, due) for server, services, due in cursor.fetchall()}


_AFFECTED = """
SELECT one.id,
    (SELECT count(*) FROM (
        SELECT 1 FROM metering_tenant t JOIN catalog_service s ON s.tenant_id = t.id
        WHERE t.server_id = one.id AND s.status IN ('active', 'suspended') LIMIT %(most)s) AS few),
    (SELECT count(*) FROM (
        SELECT 1 FROM catalog_service s JOIN metering_tenant t ON t.id = s.tenant_id
        WHERE s.next_due_on <= %(until)s AND s.status IN ('active', 'suspended') AND t.server_id = one.id
        LIMIT %(most)s) AS few)
FROM unnest(%(servers)s::bigint[]) AS one (id)
"""


def _stale_metrics(servers: Sequence[int], now: datetime) -> list[tuple[int, int, datetime, int]]:
    """Return server, metric, when it last came, and how many services have it on, of those that are too old."""
    limit = now - timedelta(hours=settings.STALE_AFTER_HOURS)
    values: dict[str, Any] = {"servers": list(servers), "limit": limit, "most": MOST + 1}
    values |= {"some": REMEMBERED, "named": NAMED}
    with connection.cursor() as cursor:
        cursor.execute(_STALE, values)
        return list(cursor.fetchall())


_STALE = """
WITH brought AS (
    SELECT server.id AS server, metric, max(stored.as_of) AS came_at
    FROM unnest(%(servers)s::bigint[]) AS server (id)
    CROSS JOIN LATERAL (
        SELECT metrics, as_of FROM metering_collection
        WHERE server_id = server.id AND source = 'collection' AND tenant_key = '' AND period_start IS NULL
            AND status IN ('complete', 'partial')
        ORDER BY id DESC LIMIT %(some)s
    ) AS stored, unnest(stored.metrics) AS metric
    GROUP BY server.id, metric
)
SELECT b.server, b.metric, b.came_at,
    (SELECT count(*) FROM (
        SELECT 1 FROM metering_tenant t JOIN catalog_service s ON s.tenant_id = t.id
        JOIN catalog_metricsetting m ON m.product_id = s.product_id AND m.metric_id = b.metric
        WHERE t.server_id = b.server AND s.status IN ('active', 'suspended') LIMIT %(most)s) AS few)
FROM brought b
WHERE b.came_at < %(limit)s AND EXISTS (
    SELECT 1 FROM catalog_metricsetting m JOIN catalog_enabledspan e ON e.setting_id = m.id AND e."end" IS NULL
    WHERE m.metric_id = b.metric)
ORDER BY b.came_at LIMIT %(named)s
"""
