"""Summing what services used in a calendar month, product by product: measured usage, billed or not.

A tenant's usage belongs to the service that had it in the month, the newer one if there were two. Months that are
over may still change for some weeks; after that only a person's correction changes them.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max, Min

from catalog.models import Service
from metering import dates
from metering.models import Correction
from metering.periods import Period, month
from reports.models import MeasuredMonth, UsageSum

#: A month is summed again every day for so long after its end: servers may still say something of it.
SETTLES_AFTER = timedelta(days=40)

_SUMS = """
    WITH owner AS (
        SELECT DISTINCT ON (tenant_id) tenant_id, product_id FROM catalog_service
        WHERE tenant_id IS NOT NULL AND status IN ('active', 'suspended', 'terminated')
            AND anchor < %(end)s AND (terminated_on IS NULL OR terminated_on >= %(begin)s)
        ORDER BY tenant_id, anchor DESC, id DESC
    ), total AS (
        SELECT u.tenant_id, u.metric_id, sum(u.value) AS value
        FROM metering_usage u JOIN metering_metric m ON m.id = u.metric_id
        WHERE u.start >= %(begin)s AND u.start < %(end)s AND m.type <> 'snapshot'
        GROUP BY u.tenant_id, u.metric_id
    ), level AS (
        SELECT DISTINCT ON (u.tenant_id, u.metric_id) u.tenant_id, u.metric_id, u.value
        FROM metering_usage u JOIN metering_metric m ON m.id = u.metric_id
        WHERE u.start >= %(begin)s AND u.start < %(end)s AND m.type = 'snapshot'
        ORDER BY u.tenant_id, u.metric_id, u.start DESC
    )
    INSERT INTO reports_usagesum (month, product_id, metric_id, services, value)
    SELECT %(begin)s, o.product_id, u.metric_id, count(*), sum(u.value)
    FROM (SELECT * FROM total UNION ALL SELECT * FROM level) u JOIN owner o USING (tenant_id)
    GROUP BY o.product_id, u.metric_id
"""


def sum_usage(*, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Sum the months that are not summed yet or may have changed since. Returns how many there were."""
    done = 0
    for whole in _due(at):
        if should_stop():
            break
        _sum(whole, at)
        done += 1
    return done


def _due(at: datetime) -> Iterator[Period]:
    """The months to sum, the newest first: those are looked at most."""
    today = dates.site_day(at)
    summed = dict(MeasuredMonth.objects.values_list("month", "at"))
    first = Service.objects.filter(tenant__isnull=False).aggregate(first=Min("anchor"))["first"]
    if first is None:
        return
    corrections = Correction.objects.filter(start__gte=first.replace(day=1)).order_by()
    corrected = list(corrections.values_list("start").annotate(Max("at")))
    whole = month(today)
    while whole.end > first:
        since = summed.get(whole.start)
        is_open = today < whole.end + SETTLES_AFTER
        if (
            since is None
            or (is_open and dates.site_day(since) != today)
            or any(when > since for day, when in corrected if day in whole)
        ):
            yield whole
        whole = month(whole.start - timedelta(days=1))


@transaction.atomic
def _sum(whole: Period, at: datetime) -> None:
    # Its row is the lock: nobody else sums it meanwhile.
    MeasuredMonth.objects.update_or_create(month=whole.start, defaults={"at": at})
    UsageSum.objects.filter(month=whole.start).delete()
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, {"begin": whole.start, "end": whole.end})
