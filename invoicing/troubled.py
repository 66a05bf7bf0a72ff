"""Servers that need a person, the metrics that others no longer bring, and how many services that concerns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import connection

from metering import dates, health
from metering.health import Health, Standing, old
from metering.models import Metric, Server

#: What is counted for the page is counted so far.
MOST = 100
#: So many servers, and metrics of servers, are named one by one.
NAMED = 6
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


class Servers:
    """What the page says about servers, read when it asks for it. None of it, where they may not be seen."""

    def __init__(self, now: datetime, *, may_see: bool) -> None:
        self.now, self.may_see = now, may_see

    @cached_property
    def standings(self) -> list[Standing]:
        """All servers, those that need a person first."""
        if not self.may_see:
            return []
        found = health.standings(Server.objects.all(), self.now)
        order = [Health.FAILING, Health.NOT_INSTALLED, Health.HELD, Health.STALE, Health.NEVER]
        found.sort(key=lambda each: (order.index(each.health) if each.needs_a_person else len(order), each.server.name))
        return found

    @cached_property
    def _needing(self) -> list[Standing]:
        return [each for each in self.standings if each.needs_a_person]

    @cached_property
    def troubled(self) -> list[Troubled]:
        """Those that fail, are held, out of date, or were never collected."""
        shown = self._needing[:NAMED]
        affected = _affected([each.server.pk for each in shown], self.now)
        return [Troubled(each, *affected[each.server.pk]) for each in shown]

    @property
    def more(self) -> int:
        return len(self._needing) - len(self.troubled)

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


def _affected(servers: Sequence[int], now: datetime) -> dict[int, tuple[int, int]]:
    """Return how many services each server meters, and how many of those are due by tomorrow, up to MOST + 1."""
    tomorrow = dates.site_day(now) + timedelta(days=1)
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
