"""What was used is on exactly one document, once and in full, or waits."""

from collections.abc import Iterator
from datetime import date

from django.db import connection
from django.db.models import OuterRef, Subquery

from catalog.models import MetricSetting, Service
from catalog.terms import Cycle, number_at
from invoicing import cuts, settlements, unbilled
from invoicing.models import BilledPeriod, Claim, Deferral, Difference
from invoicing.prices import Catalog
from invoicing.verification.findings import BATCH, Finding, batches


def billed_twice() -> Iterator[Finding]:
    """Periods of one tenant and metric must not overlap, on whichever lines they are. The parts of one may not
    leave one out, nor may its revisions."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT tenant_id, metric_id, start, following FROM (SELECT tenant_id, metric_id, start, "end",'
            " lead(start) OVER (PARTITION BY tenant_id, metric_id ORDER BY start) AS following"
            ' FROM (SELECT DISTINCT tenant_id, metric_id, start, "end" FROM invoicing_billedperiod) d) p'
            ' WHERE following < "end"'
        )
        for tenant, metric, start, following in cursor:
            yield Finding(f"tenant {tenant}, metric {metric}", f"{following} was billed twice, first from {start} on")
        cursor.execute(
            "SELECT tenant_id, metric_id, start FROM invoicing_billedperiod"
            " GROUP BY tenant_id, metric_id, start, part HAVING max(revision) <> count(*) - 1"
        )
        for tenant, metric, start in cursor:
            yield Finding(f"tenant {tenant}, metric {metric}", f"a revision of what was billed from {start} is missing")


def claims() -> Iterator[Finding]:
    """A term that was claimed is on an invoice, unless it was a month of usage that came to nothing."""
    renewals = Claim.objects.filter(kind=Claim.Kind.RENEWAL)
    before = renewals.filter(service=OuterRef("service"), term_start__lt=OuterRef("term_start"), invoice__isnull=False)
    latest = Subquery(before.order_by("-term_start").values("term_start")[:1])
    claims = renewals.filter(invoice=None).annotate(last_invoiced=latest).select_related("service")
    for claim in claims.iterator(BATCH):
        if not _is_month_of_usage(claim.service, claim.term_start, claim.last_invoiced):
            yield Finding(str(claim.service), f"the term from {claim.term_start} was claimed but is on no invoice")


def _is_month_of_usage(service: Service, start: date, last_invoiced: date | None) -> bool:
    """Whether a term has no recurring price: it is a month of a longer cycle, and not the first one.

    What the terms of a service that ended and came back were counted from is not known any more: there, an
    invoice of the months before says that the cycle was begun.
    """
    months = Cycle(service.cycle).months
    if not service.bills_monthly:
        return False
    if start >= service.anchor:
        return number_at(service.anchor, service.clock, start) % months != 0
    return last_invoiced is not None and _months(start) - _months(last_invoiced) < months


def _months(day: date) -> int:
    return day.year * 12 + day.month


def missing() -> Iterator[Finding]:
    """A level of a term that was billed must be on that bill, or wait."""
    # Totals that are not on an invoice yet are on the next one.
    settings = {
        product: [setting for setting in group if not setting.metric.adds_up]
        for product, group in Catalog.read().settings.items()
    }
    services = Service.objects.filter(tenant__isnull=False, next_term__gt=0).select_related("tenant__server", "client")
    for batch in batches(services.order_by("pk").iterator(BATCH)):
        keys = [service.tenant_id for service in batch if service.tenant_id]
        billed = set(BilledPeriod.objects.filter(tenant_id__in=keys).values_list("tenant_id", "metric_id", "start"))
        waiting = set(Deferral.objects.filter(service__in=batch).values_list("service_id", "setting_id", "start"))
        claimed = set(
            Claim.objects.filter(service__in=batch, kind=Claim.Kind.RENEWAL).values_list("service_id", "term_start")
        )
        for number in range(1, max(service.next_term for service in batch)):
            closed = [
                cuts.of_term(service, number, service.term(number).start)
                for service in batch
                if number < service.next_term
            ]
            closed = [cut for cut in closed if (cut.service.pk, cut.until) in claimed]
            found = unbilled.find(closed, settings)
            for cut in closed:
                for one in found[cut.service.pk].billable:
                    item, setting = one.items[0], one.setting
                    is_billed = (cut.tenant_id, setting.metric_id, item.start) in billed
                    if not is_billed and (cut.service.pk, setting.pk, item.start) not in waiting:
                        what = f"{setting.metric} from {item.start} to {item.end} is on no invoice"
                        yield Finding(str(cut.service), what)


def different() -> Iterator[Finding]:
    """Usage of a period that is over must be what was billed of it, or its difference must wait."""
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENT)
        found = cursor.fetchall()
    waiting = set(Difference.objects.values_list("service_id", "setting_id", "line_id", "claim_id"))
    services = Service.objects.select_related("client", "product", "tenant__server").in_bulk({row[0] for row in found})
    settings = MetricSetting.objects.select_related("metric", "product").in_bulk({row[1] for row in found})
    asked = [
        Difference(service=services[service], setting=settings[setting], line_id=line, claim_id=claim)
        for service, setting, line, claim in found
        if (service, setting, line, claim) not in waiting and setting is not None
    ]
    for one in settlements.of_differences(asked):
        if one.amount or one.refused:
            was, now = one.unit.write(one.before), one.unit.write(one.quantity)
            what = f"{one.title} was billed as {was}, is {now}, and no difference waits"
            yield Finding(one.number or str(one.service), what)


#: The lines of totals whose closed periods add up to something else than their usage, noted as restated or not.
_DIFFERENT = """
SELECT DISTINCT b.service_id, coalesce(l.setting_id, m.id), coalesce(l.corrects_id, l.id),
    CASE WHEN l.id IS NULL THEN c.id END
FROM (
    SELECT tenant_id, metric_id, start, service_id, line_id, claim_id, sum(value) OVER whole AS value,
           bool_or(is_open AND part = last) OVER whole AS is_open
    FROM (
        SELECT DISTINCT ON (tenant_id, metric_id, start, part) *,
               max(part) OVER (PARTITION BY tenant_id, metric_id, start) AS last
        FROM invoicing_billedperiod ORDER BY tenant_id, metric_id, start, part, revision DESC
    ) p WINDOW whole AS (PARTITION BY tenant_id, metric_id, start)
) b
JOIN metering_metric k ON k.id = b.metric_id AND k.type <> 'snapshot'
JOIN metering_usage u ON u.tenant_id = b.tenant_id AND u.metric_id = b.metric_id AND u.start = b.start
LEFT JOIN invoicing_line l ON l.id = b.line_id
LEFT JOIN invoicing_claim c ON c.id = b.claim_id
LEFT JOIN catalog_metricsetting m ON m.product_id = c.product_id AND m.metric_id = b.metric_id
WHERE u.value <> b.value AND NOT b.is_open AND NOT EXISTS (
    SELECT FROM metering_restated r
    WHERE r.tenant_id = b.tenant_id AND r.metric_id = b.metric_id AND r.start = b.start
)
"""
