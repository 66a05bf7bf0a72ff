"""Usage that changed after it was billed: what differs is written down, waits, and is settled once.

What is to be charged more goes on the next invoice as an adjustment; what is to be given back, on a credit
note for the invoice that charged it.
"""

from collections import defaultdict
from collections.abc import Collection as Several
from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext as _

from catalog.models import OVER, Client, Service
from catalog.writing import Writing
from invoicing import issuing, required
from invoicing.billable import PeriodKey
from invoicing.drafts import CannotBill, Draft, DraftLine
from invoicing.issuing import Document
from invoicing.models import Difference, Invoice, Run
from invoicing.settlements import Settlement, of_differences

#: How many notes of restated usage are looked at in one transaction.
BATCH = 20_000


def assess(at: datetime) -> int:
    """Look at what was restated since the last time, and write down which lines it may change.

    Whether it does is found out when they are settled. Returns how many lines wait now because of it.
    """
    found = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ASSESS, {"limit": BATCH, "at": at})
            noted: int
            new: int
            noted, new = cursor.fetchone()
        found += new
        if noted < BATCH:
            return found


#: A line is concerned when it billed the period, when the period lies within its days and came too late for it,
#: or when a level of its term was measured then: the last of a term may be that of the day on which it ends.
_ASSESS = """
WITH noted AS (
    DELETE FROM metering_restated WHERE (tenant_id, metric_id, start) IN (
        SELECT tenant_id, metric_id, start FROM metering_restated LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) RETURNING tenant_id, metric_id, start
), concerned AS (
    SELECT DISTINCT b.service_id, coalesce(l.setting_id, m.id) AS setting_id, coalesce(l.corrects_id, l.id) AS line_id,
        CASE WHEN l.id IS NULL THEN c.id END AS claim_id
    FROM noted n
    JOIN invoicing_billedperiod b ON b.tenant_id = n.tenant_id AND b.metric_id = n.metric_id
    JOIN metering_metric k ON k.id = n.metric_id
    LEFT JOIN invoicing_line l ON l.id = b.line_id
    LEFT JOIN invoicing_claim c ON c.id = b.claim_id
    LEFT JOIN catalog_metricsetting m ON m.product_id = c.product_id AND m.metric_id = b.metric_id
    WHERE b.start = n.start OR (b.start <= n.start AND n.start < b."end")
        OR (k.type = 'snapshot' AND n.start = b."end")
        OR (l.start <= n.start AND n.start < l."end")
), waiting AS (
    INSERT INTO invoicing_difference (service_id, setting_id, line_id, claim_id, since)
    SELECT service_id, setting_id, line_id, claim_id, %(at)s FROM concerned WHERE setting_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM noted), (SELECT count(*) FROM waiting)
"""


def waiting(services: Several[Service]) -> dict[int, list[Settlement]]:
    """Return what is to be settled of some services, by their ids, in one query where nothing is.

    Differences that turn out to be none are deleted, so the caller has a transaction and the services' locks.
    """
    found: dict[int, list[Settlement]] = defaultdict(list)
    by_id = {service.pk: service for service in services}
    differences = list(
        Difference.objects.filter(service__in=by_id).select_related("setting__metric", "setting__product")
    )
    if not differences:
        return found
    for difference in differences:
        difference.service = by_id[difference.service_id]
    settled = list(of_differences(differences))
    real = {settlement.difference.pk for settlement in settled}
    Difference.objects.filter(pk__in=[each.pk for each in differences if each.pk not in real]).delete()
    for settlement in settled:
        # What is to be charged waits until its invoice may be issued; what is given back does not.
        if settlement.amount <= 0 or not required.why_not(settlement.client):
            found[settlement.service.pk].append(settlement)
    return found


def adjustments(settlements: Iterable[Settlement]) -> list[DraftLine]:
    """What goes on the next invoice of a service. Raises CannotBill where one of them cannot be rated."""
    settlements = list(settlements)
    if refused := next((one.refused for one in settlements if one.refused), ""):
        raise CannotBill(refused)
    return [line for one in settlements if one.fits_next_invoice for line in one.lines if line.credits is None]


def documents(settlements: Iterable[Settlement], *, with_adjustments: bool = False) -> list[Document]:
    """The credit notes, one for each invoice that charged too much, and what no next invoice can hold."""
    lines: dict[tuple[UUID | None, int, str], list[DraftLine]] = defaultdict(list)
    clients: dict[int, Client] = {}
    for one in settlements:
        clients[one.client.pk] = one.client
        for line in one.lines:
            if line.credits is not None or with_adjustments or not one.fits_next_invoice:
                credited = one.invoices[line.credits] if line.credits else None
                lines[credited, one.client.pk, one.currency].append(line)
    return [
        Document(
            kind=Invoice.Kind.CREDIT_NOTE if credited else Invoice.Kind.SETTLEMENT,
            client=clients[client],
            drafts=[Draft(line.service, [line], []) for line in group],
            currency=currency,
            credits=credited,
            reason=_reason(clients[client]),
        )
        for (credited, client, currency), group in lines.items()
        if credited or any(line.amount for line in group)
    ]


def _reason(client: Client) -> str:
    with Writing(client.language):
        return _("The usage was corrected after it had been billed.")


def taken(settlements: Iterable[Settlement]) -> set[PeriodKey]:
    """The periods that are settled with an earlier line, so that no other line bills them."""
    return {key for one in settlements for key in one.keys}


def strike(settlements: Iterable[Settlement]) -> None:
    """They do not wait any more, but for what cannot be rated."""
    Difference.objects.filter(pk__in=[one.difference.pk for one in settlements if not one.refused]).delete()


def settle(*, service: Service, on: date, at: datetime) -> list[Document]:
    """Settle what waits of a service now, on an invoice of its own or by credit notes, in one transaction.

    Returns the documents; none where nothing is to be charged or given back. What cannot be rated goes on waiting.
    """
    assess(at)
    with transaction.atomic():
        locked = Service.objects.select_related("client", "product").select_for_update(of=("self",)).get(pk=service.pk)
        return _settle([locked], on, at)


def settle_over(*, on: date, at: datetime, run: Run | None = None) -> list[Document]:
    """Settle what waits of services that are over, and so have no next invoice."""
    done: list[Document] = []
    over = Service.objects.filter(status__in=OVER, differences__isnull=False).distinct().values_list("pk", flat=True)
    for first in range(0, len(ids := sorted(over)), 500):
        with transaction.atomic():
            chosen = Service.objects.filter(pk__in=ids[first : first + 500]).select_related("client", "product")
            done += _settle(list(chosen.select_for_update(skip_locked=True, of=("self",))), on, at, run)
    return done


def _settle(services: list[Service], on: date, at: datetime, run: Run | None = None) -> list[Document]:
    settlements = [one for group in waiting(services).values() for one in group]
    made = documents(settlements, with_adjustments=True)
    if made:
        issuing.issue(made, on=on, at=at, run=run)
    issued = {id(line) for document in made for draft in document.drafts for line in draft.lines}
    # A correction that changes no amount is a line of 0 on the next invoice, where there is one.
    strike(one for one in settlements if not one.fits_next_invoice or any(id(line) in issued for line in one.lines))
    return made
