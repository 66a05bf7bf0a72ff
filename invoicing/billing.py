"""The billing run: what is due is billed exactly once, in batches of one durable transaction each.

Per batch: lock the services, skipping those that another run has; read what is unbilled; rate it in
memory; claim the terms; write invoices, lines and billed periods by COPY; move the due days from the
stored anchors; commit. A process that dies leaves nothing half done, and the next run finishes the rest.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from catalog.models import MetricSetting, ProductPrice, Service
from catalog.terms import Cycle, term
from invoicing import drafts, issuing, unbilled
from invoicing.drafts import CannotBill, Draft
from invoicing.issuing import Document
from invoicing.models import Claim, Deferral, Invoice, Parked, Run
from metering import collection
from metering.decimals import EXACT
from metering.models import Latest, Server, Tenant

logger = logging.getLogger(__name__)

BATCH = 500

Progress = Callable[[int, int], None]


class _RolledBack(Exception):
    """Ends a dry run."""


@dataclass
class Catalog:
    """The prices that a run works with, read once, so that one run has one set of prices."""

    settings: dict[int, list[MetricSetting]]
    prices: dict[tuple[int, str, str], ProductPrice]

    @classmethod
    def read(cls, products: Iterable[int] | None = None) -> "Catalog":
        chosen = Q() if products is None else Q(product__in=list(products))
        found: dict[int, list[MetricSetting]] = defaultdict(list)
        for setting in MetricSetting.objects.filter(chosen).with_pricing().order_by("metric__display_name"):
            if setting.versions.all():
                found[setting.product_id].append(setting)
        prices = {(row.product_id, row.cycle, row.currency): row for row in ProductPrice.objects.filter(chosen)}
        return cls(found, prices)


@dataclass(frozen=True)
class Batch:
    """What one transaction did: the terms that are over, those of them that it billed, and what came of it."""

    drafted: list[Draft]
    claimed: list[Draft]
    documents: list[Document]
    parked: dict[int, str]


@dataclass
class Result:
    """What a run did, or in a dry run would do."""

    run: Run
    documents: list[Document] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)
    waiting: list[unbilled.Waiting] = field(default_factory=list)
    keep_documents: bool = False
    amounts: dict[str, Decimal] = field(default_factory=dict)


def create_invoices(
    *,
    on: date,
    at: datetime,
    service: Service | None = None,
    dry_run: bool = False,
    progress: Progress = lambda done, due: None,
) -> Result:
    """Bill every service that is due on a day or before, oldest term first.

    A service that missed several terms gets an invoice for each, at the prices of its time. What cannot be
    billed is parked with its reason and tried again by the next run. A dry run does all of it and rolls
    back; its result has the documents.
    """
    if not dry_run:
        refresh_stale(on=on, at=at, service=service)
    try:
        with transaction.atomic() if dry_run else nullcontext():
            run = Run.objects.create(on=on, started_at=timezone.now())
            result = Result(run, keep_documents=dry_run)
            _bill_all(result, on, at, service, dry_run, progress)
            _finish(result)
            if dry_run:
                raise _RolledBack
    except _RolledBack:
        pass
    return result


def refresh_stale(*, on: date, at: datetime, service: Service | None = None) -> None:
    """Ask the servers of due services once more, where a value is too old to be billed."""
    due = Service.objects.due(on).filter(tenant__isnull=False)
    if service is not None:
        due = due.filter(pk=service.pk)
    limit = at - timedelta(hours=settings.STALE_AFTER_HOURS)
    left_out = Latest.objects.filter(seen_until__lt=limit).exclude(checked_at__gte=limit)
    is_old = Q(server__collected_at=None) | Q(server__collected_at__lt=limit) | Q(pk__in=left_out.values("tenant_id"))
    stale = Tenant.objects.filter(is_old, pk__in=due.values("tenant_id"))
    for server in Server.objects.filter(is_active=True, pk__in=stale.values("server_id")):
        try:
            collection.collect_with_look_back(server=server, as_of=at)
        except collection.Busy:
            logger.info("%s is being collected; its usage waits if that takes too long", server)


def _bill_all(
    result: Result, on: date, at: datetime, service: Service | None, dry_run: bool, progress: Progress
) -> None:
    catalog = Catalog.read()
    while True:
        due = Service.objects.due(on).exclude(pk__in=list(result.parked))
        if service is not None:
            due = due.filter(pk=service.pk)
        # A client's services stand together, so that they share a batch and so an invoice.
        ids = list(due.order_by("next_due_on", "client_id", "pk").values_list("pk", "client_id"))
        billed = 0
        for batch in _batches(ids):
            billed += _bill(batch, result, catalog, on, at, durable=not dry_run)
            progress(result.run.services, len(ids))
        if not billed:
            return


def _batches(ids: Sequence[tuple[int, int]]) -> Iterable[list[int]]:
    """Cut the due services into batches, never between two of the same client."""
    batch: list[int] = []
    last = None
    for pk, client in ids:
        if len(batch) >= BATCH and client != last:
            yield batch
            batch = []
        batch.append(pk)
        last = client
    if batch:
        yield batch


def _bill(ids: list[int], result: Result, catalog: Catalog, on: date, at: datetime, durable: bool) -> int:
    """Bill one batch; if the database refuses it, halve it until the one is found that it refuses."""
    try:
        with transaction.atomic(durable=durable):
            batch = _bill_batch(ids, result.run, catalog, on, at)
    except DatabaseError as error:
        if len(ids) == 1:
            logger.exception("service %s cannot be billed", ids[0])
            reason = f"The database refused it: {type(error).__name__}. The log has the details."
            result.parked[ids[0]] = reason
            _park({ids[0]: reason}, result.run, at)
            return 0
        half = len(ids) // 2
        return sum(_bill(part, result, catalog, on, at, durable) for part in (ids[:half], ids[half:]))
    # Only what is committed counts.
    _count(batch, result)
    return len(batch.drafted)


def _bill_batch(ids: list[int], run: Run, catalog: Catalog, on: date, at: datetime) -> Batch:
    services = list(
        Service.objects.due(on)
        .filter(pk__in=ids)
        .select_related("client", "product", "tenant__server")
        .select_for_update(skip_locked=True, of=("self",))
    )
    found = unbilled.find([unbilled.of_renewal(service) for service in services], catalog.settings)
    drafted: list[Draft] = []
    parked: dict[int, str] = {}
    for service in services:
        try:
            drafted.append(drafts.renewal(service, found[service.pk], catalog.prices))
        except CannotBill as error:
            parked[service.pk] = str(error)
    due = {service.pk: _due(service) for service in services}
    starts = [due[draft.service.pk] for draft in drafted]
    claimed = issuing.claim(Claim.Kind.RENEWAL, drafted, starts, at)
    documents = issuing.grouped(Invoice.Kind.RENEWAL, claimed, due)
    if documents:
        issuing.issue(documents, on=on, at=at, run=run)
    # A term that somebody else billed is over all the same, so its service moves on too.
    _move_on([draft.service for draft in drafted])
    Parked.objects.filter(service__in=[draft.service for draft in drafted]).delete()
    _park(parked, run, at)
    _defer(claimed, run, at)
    return Batch(drafted, claimed, documents, parked)


def _due(service: Service) -> date:
    assert service.next_due_on is not None  # a constraint of living services
    return service.next_due_on


def _move_on(services: Sequence[Service]) -> None:
    """Move each service to its next term, counted from its anchor."""
    numbers = [service.next_term + 1 for service in services]
    days = [
        term(service.anchor, Cycle(service.cycle), number).start
        for service, number in zip(services, numbers, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE catalog_service s SET next_term = d.number, next_due_on = d.day"
            " FROM unnest(%s::bigint[], %s::int[], %s::date[]) AS d (id, number, day) WHERE s.id = d.id",
            [[service.pk for service in services], numbers, days],
        )


def _park(reasons: dict[int, str], run: Run, at: datetime) -> None:
    Parked.objects.bulk_create(
        [Parked(service_id=pk, reason=reason, since=at, run=run) for pk, reason in reasons.items()],
        update_conflicts=True,
        unique_fields=["service"],
        update_fields=["reason", "run"],
    )


def _defer(claimed: Sequence[Draft], run: Run, at: datetime) -> None:
    """Write down what waits for the next invoice, and strike out what has waited long enough."""
    billed = [
        (draft.service.pk, line.setting.pk, item.start)
        for draft in claimed
        for line in draft.lines
        if line.setting is not None
        for item in line.items
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM invoicing_deferral d USING unnest(%s::bigint[], %s::bigint[], %s::date[])"
            " AS b (service, setting, start)"
            " WHERE d.service_id = b.service AND d.setting_id = b.setting AND d.start = b.start",
            [list(column) for column in zip(*billed, strict=True)] or [[], [], []],
        )
    Deferral.objects.bulk_create(
        [
            Deferral(
                service=draft.service,
                setting=wait.setting,
                start=wait.start,
                end=wait.end,
                reason=wait.reason,
                since=at,
                run=run,
            )
            for draft in claimed
            for wait in draft.waiting
        ],
        ignore_conflicts=True,
    )


def _count(batch: Batch, result: Result) -> None:
    result.run.services += len(batch.claimed)
    result.run.invoices += len(batch.documents)
    result.parked.update(batch.parked)
    result.waiting.extend(wait for draft in batch.claimed for wait in draft.waiting)
    for document in batch.documents:
        currency = document.client.currency
        result.amounts[currency] = EXACT.add(result.amounts.get(currency, Decimal(0)), document.total)
    if result.keep_documents:
        result.documents.extend(batch.documents)


def _finish(result: Result) -> None:
    run = result.run
    run.ended_at = timezone.now()
    run.parked, run.deferred = len(result.parked), len(result.waiting)
    run.amounts = {currency: str(amount) for currency, amount in sorted(result.amounts.items())}
    run.save()
