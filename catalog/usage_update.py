"""The usage update: what each service used of its limits, brought over from what was collected, server by server."""

from datetime import date

from django.db import connection

from catalog.models import OVER
from metering.models import Metric, Server
from metering.periods import local_day, month
from metering.providers.base import BANDWIDTH, DISK

#: Space is the newest level; traffic is what was used since the month began on the server, however it counts.
_UPDATE = """
INSERT INTO catalog_usedoflimit AS known
    (service_id, disk_used, disk_limit, bandwidth_used, bandwidth_limit, measured_at)
SELECT s.id, disk.value, disk.quota, traffic.used, traffic.quota, %(at)s
FROM catalog_service s
JOIN metering_tenant t ON t.id = s.tenant_id AND t.server_id = %(server)s
LEFT JOIN metering_latest disk ON disk.tenant_id = t.id AND disk.metric_id = %(disk)s
LEFT JOIN LATERAL (
    SELECT sum(u.value) AS used, max(l.quota) AS quota
    FROM metering_latest l LEFT JOIN metering_usage u
        ON u.tenant_id = l.tenant_id AND u.metric_id = l.metric_id AND u.start >= %(begin)s AND u.start < %(end)s
    WHERE l.tenant_id = t.id AND l.metric_id = %(bandwidth)s
) traffic ON true
WHERE s.status <> ALL(%(over)s) AND (disk.value IS NOT NULL OR traffic.used IS NOT NULL)
ON CONFLICT (service_id) DO UPDATE SET
    disk_used = excluded.disk_used, disk_limit = excluded.disk_limit, bandwidth_used = excluded.bandwidth_used,
    bandwidth_limit = excluded.bandwidth_limit, measured_at = excluded.measured_at
"""


def update_usage(server: Server) -> int:
    """Bring over the usage of a server's services in one statement. Returns how many services have some."""
    if server.collected_at is None:
        return 0
    begin, end = _month(server)
    metrics = dict(
        Metric.objects.filter(provider=server.provider, system_name__in=(DISK, BANDWIDTH)).values_list(
            "system_name", "pk"
        )
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _UPDATE,
            {
                "server": server.pk,
                "disk": metrics.get(DISK),
                "bandwidth": metrics.get(BANDWIDTH),
                "begin": begin,
                "end": end,
                "over": [str(status) for status in OVER],
                "at": server.collected_at,
            },
        )
        return int(cursor.rowcount)


def _month(server: Server) -> tuple[date, date]:
    assert server.collected_at is not None
    period = month(local_day(server.collected_at, server.zone))
    return period.start, period.end
