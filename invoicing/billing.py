"""The billing run: what is due is billed exactly once, in batches of one durable transaction each.

Per batch: lock the services, skipping those that another run has; read what is unbilled; rate it in
memory; claim the terms; write invoices, lines and billed periods by COPY; move the due days from the
stored anchors; commit. A process that dies leaves nothing half done, and the next run finishes the rest.
"""

import gc
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F, Q, Sum
from django.utils import timezone

from catalog.models import Service, User
from catalog.writing import Writing
from invoicing import corrections, review
from invoicing.batch import DRY_RUN, Batch, bill_batch, park, together
from invoicing.billable import Waiting
from invoicing.database_errors import TIMEOUTS, TRIES, is_away, is_lost, passes, sqlstate
from invoicing.drafts import Draft
from invoicing.issuing import Document
from invoicing.models import (
    Invoice,
    Parked,
    Run,
    RunNote,
)
from invoicing.prices import Catalog
from metering import collection, dates
from metering.decimals import EXACT
from metering.models import Latest, Server, Tenant
from metering.server_lock import Busy

logger = logging.getLogger(__name__)

#: Services of a transaction: more are hardly faster, but keep people waiting who want one of them.
BATCH = 1000
#: So many timeouts are not the fault of single services: the run stops, and the next one does the rest.
MOST_TIMEOUTS = 20
#: A run that was not heard of for so long is dead.
SILENCE = timedelta(minutes=2)
#: A service with which so many runs died is billed alone, and after as many deaths alone no more.
DEATHS = 3

Progress = Callable[[int, int], None]


class _RolledBack(Exception):
    """Ends a dry run."""


@dataclass
class Result:
    """What a run did, or in a dry run would do.

    In a dry run `documents` are what would be issued, and `left` what the services that are held or wait
    for approval would bring. `in_grace` are the services whose invoices are drafts still. `amounts` are before
    tax, and `is_taxed` says that some of the invoices have one.
    """

    run: Run
    documents: list[Document] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)
    held: dict[int, str] = field(default_factory=dict)
    left: list[Draft] = field(default_factory=list)
    in_grace: list[Draft] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    is_real: bool = True
    amounts: dict[str, Decimal] = field(default_factory=dict)
    is_taxed: bool = False
    notes: list[RunNote] = field(default_factory=list)
    #: Services that waited for approval when the run began, and why; those that are held; and all that this run
    #: does not look at again.
    for_approval: dict[int, str] = field(default_factory=dict)
    done_with: set[int] = field(default_factory=set)
    timeouts: int = 0
    #: Whether terms that have begun are issued in their days of grace, too.
    at_once: bool = False
    #: Gets the batches of a dry run, which are not kept then.
    gather: Callable[[Batch], None] | None = None


def create_invoices(
    *,
    on: date,
    at: datetime,
    service: Service | None = None,
    dry_run: bool = False,
    by: User | None = None,
    run: Run | None = None,
    progress: Progress = lambda done, due: None,
    should_stop: Callable[[], bool] = lambda: False,
    gather: Callable[[Batch], None] | None = None,
    at_once: bool = False,
) -> Result:
    """Bill every service that is due on a day or before, oldest term first.

    A service that missed several terms gets an invoice for each, at the prices of its time. What cannot be
    billed is parked with its reason and tried again by the next run. A dry run does all of it and rolls
    back; its result has the documents. `by` is who asked for it, if a person did, and `run` the record to
    write to, if there is one already. `should_stop` is asked between batches; what is left then, the next
    run does. `gather` gets each batch of a dry run, so that the result need not hold them all. `at_once`
    issues terms that have begun in their days of grace, too.
    """
    if not dry_run:
        with _timed(run, "refresh"):
            refresh_stale(on=on, at=at, service=service)
    try:
        # What it writes down is read by everybody: it is in the site's language. Lines are in those of the clients.
        with Writing(""), transaction.atomic() if dry_run else nullcontext():
            if dry_run:
                _wait_for_batches()
            now = timezone.now()
            run = run or Run.objects.create(on=on, started_at=now, started_by=by, beat_at=now)
            result = Result(run, is_real=not dry_run, for_approval=_for_approval(), gather=gather, at_once=at_once)
            try:
                _bill_all(result, on, at, service, progress, should_stop)
            except Exception as error:
                # What is committed stays; the record says why the rest is not.
                run.error = f"{type(error).__name__}. The next run does the rest; the log has the details."
                if not dry_run:
                    _finish(result)
                raise
            _finish(result)
            if dry_run:
                raise _RolledBack
    except _RolledBack:
        pass
    return result


def _wait_for_batches() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [DRY_RUN])


def _for_approval() -> dict[int, str]:
    return dict(Parked.objects.filter(needs_approval=True).values_list("service_id", "reason"))


@contextmanager
def _timed(run: Run | None, what: str) -> Iterator[None]:
    """Add to what a run spent on something, in seconds."""
    begin = time.monotonic()
    try:
        yield
    finally:
        if run is not None:
            run.seconds[what] = round(run.seconds.get(what, 0) + time.monotonic() - begin, 3)


def refresh_stale(*, on: date, at: datetime, service: Service | None = None) -> None:
    """Ask the servers of due services once more, where a value is too old to be billed."""
    due = Service.objects.due(on).filter(tenant__isnull=False)
    if service is not None:
        due = due.filter(pk=service.pk)
    limit = at - timedelta(hours=settings.STALE_AFTER_HOURS)
    left_out = Latest.objects.filter(seen_until__lt=limit).exclude(checked_at__gte=limit)
    is_old = Q(server__collected_at=None) | Q(server__collected_at__lt=limit) | Q(pk__in=left_out.values("tenant_id"))
    stale = Tenant.objects.filter(is_old, pk__in=due.values("tenant_id"))
    for server in Server.objects.asked().filter(pk__in=stale.values("server_id")):
        try:
            collection.collect_with_look_back(server=server, as_of=at)
        except Busy:
            logger.info("%s is being collected; its usage waits if that takes too long", server)


def _bill_all(
    result: Result,
    on: date,
    at: datetime,
    service: Service | None,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    catalog, run = Catalog.read(), result.run
    with _timed(run, "corrections"):
        corrections.assess(at)
    suspects, deadly = _deaths(run)
    if result.is_real and (result.for_approval or deadly):
        _leave_out(result, deadly, at)
    while True:
        due = Service.objects.due(on).exclude(pk__in=result.done_with)
        if service is not None:
            due = due.filter(pk=service.pk)
        # A client's services stand together, so that they share a batch and so an invoice.
        ids = list(due.order_by("next_due_on", "client_id", "pk").values_list("pk", "client_id"))
        run.due = max(run.due, run.services + len(result.done_with) + len(ids))
        billed = 0
        for batch in _batches(ids, suspects):
            if should_stop():
                return
            if result.is_real:
                _beat(run, batch)
            with _timed(run, "billing"):
                billed += _bill(batch, result, catalog, on, at)
            progress(run.services, run.due)
        if not billed:
            break
    if service is None:
        with _timed(run, "corrections"):
            settled = corrections.settle_over(on=on, at=at, run=run)
            _count(Batch(documents=settled), result)


def _leave_out(result: Result, deadly: set[int], at: datetime) -> None:
    """Leave out the services that wait for approval, and from now on those with which every run dies."""
    reason = f"{DEATHS} runs stopped while they were billing this service alone. Look into the log, then approve it."
    park(dict.fromkeys(deadly, reason), result.run, at, needs_approval=True)
    result.for_approval |= dict.fromkeys(deadly, reason)
    services = Service.objects.filter(pk__in=result.for_approval)
    decisions = review.decisions(services)
    approved = {each.pk for each in services if review.is_let_through(decisions.get(each.pk), each.next_due_on)}
    left = {pk: why for pk, why in result.for_approval.items() if pk not in approved}
    _count(Batch(held=left), result)


def _batches(ids: Sequence[tuple[int, int]], suspects: set[int]) -> Iterator[list[int]]:
    """Cut the due services into batches. Suspects come last, each alone."""
    yield from together(((pk, client) for pk, client in ids if pk not in suspects), BATCH)
    yield from ([pk] for pk, _ in ids if pk in suspects)


def _deaths(run: Run) -> tuple[set[int], set[int]]:
    """Return the services with which several runs died, since the last one that ended: in company, and alone."""
    silent = Run.objects.filter(ended_at=None, beat_at__lt=timezone.now() - SILENCE).exclude(pk=run.pk)
    last = Run.objects.exclude(ended_at=None).order_by("-id").values_list("pk", flat=True).first()
    company, alone = Counter[int](), Counter[int]()
    for dead in silent.filter(pk__gt=last or 0).order_by("-id")[:50]:
        (alone if len(dead.working_on) == 1 else company).update(dead.working_on)
    return (
        {pk for pk, count in company.items() if count >= DEATHS} | alone.keys(),
        {pk for pk, count in alone.items() if count >= DEATHS},
    )


def _beat(run: Run, batch: list[int]) -> None:
    """Say that the run is at work, on what, and how far it is."""
    run.beat_at, run.working_on = timezone.now(), batch
    run.save(update_fields=["beat_at", "working_on", "due", "services", "invoices", "parked", "held", "seconds"])


def _bill(ids: list[int], result: Result, catalog: Catalog, on: date, at: datetime) -> int:
    """Bill one batch; if the database refuses it, halve it until the one is found that it refuses.

    A batch that met another transaction, waited too long or lost its connection is tried again. If it had
    been committed and only the answer was lost, its services are not due any more. Raises when the database
    is away, or full.
    """
    for tries in range(1, TRIES + 1):
        try:
            with transaction.atomic(durable=result.is_real), _without_cycle_search():
                done = bill_batch(
                    ids,
                    catalog=catalog,
                    for_approval=result.for_approval,
                    on=on,
                    at=at,
                    run=result.run,
                    at_once=result.at_once,
                )
        except DatabaseError as error:
            if sqlstate(error) in TIMEOUTS:
                result.timeouts += 1
            if result.is_real and passes(error, tries):
                logger.info("a batch of %s services is tried again: %s", len(ids), type(error).__name__)
                if is_lost(error):
                    connection.close()
                time.sleep(random.randint(50, 300) * tries / 1000)  # noqa: S311  # nosec B311
                continue
            if is_lost(error) or is_away(error) or result.timeouts > MOST_TIMEOUTS:
                raise
            return _halve(ids, result, catalog, on, at, error)
        # Only what is committed counts.
        _count(done, result)
        return len(done.drafted)
    raise AssertionError("the last try returns or raises")


@contextmanager
def _without_cycle_search() -> Iterator[None]:
    """All that a batch makes lives until its end; to search it for cycles meanwhile takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _halve(ids: list[int], result: Result, catalog: Catalog, on: date, at: datetime, error: DatabaseError) -> int:
    if len(ids) > 1:
        half = len(ids) // 2
        return sum(_bill(part, result, catalog, on, at) for part in (ids[:half], ids[half:]))
    logger.error("service %s cannot be billed", ids[0], exc_info=error)
    reason = f"The database refused it: {type(error).__name__}. The log has the details."
    park({ids[0]: reason}, result.run, at)
    _count(Batch(parked={ids[0]: reason}), result)
    return 0


def _count(batch: Batch, result: Result) -> None:
    run = result.run
    run.services += len(batch.claimed)
    run.invoices += sum(document.credits is None for document in batch.documents)
    run.credit_notes += sum(document.credits is not None for document in batch.documents)
    result.parked.update(batch.parked)
    result.held.update(batch.held)
    result.done_with.update(batch.parked, batch.held, (draft.service.pk for draft in batch.in_grace))
    run.parked, run.held, run.drafts = len(result.parked), len(result.held), run.drafts + len(batch.in_grace)
    waiting = [(draft.service, wait) for draft in batch.claimed for wait in draft.waiting]
    result.waiting.extend(wait for _, wait in waiting)
    kinds = RunNote.Kind
    result.notes += [RunNote(service_id=pk, kind=kinds.PARKED, reason=why) for pk, why in batch.parked.items()]
    result.notes += [RunNote(service_id=pk, kind=kinds.HELD, reason=why) for pk, why in batch.held.items()]
    result.notes += [
        RunNote(
            service=service,
            kind=kinds.DEFERRED,
            about=f"{wait.setting.metric}, {dates.span(wait.start, wait.end)}"[:300],
            reason=wait.reason,
        )
        for service, wait in waiting
    ]
    for document in batch.documents:
        if document.credits is None:
            known = result.amounts.get(document.currency, Decimal(0))
            result.amounts[document.currency] = EXACT.add(known, document.net)
    if not result.is_real and result.gather:
        result.gather(batch)
    elif not result.is_real:
        result.documents.extend(batch.documents)
        result.left.extend(batch.left)
        result.in_grace.extend(batch.in_grace)


def _finish(result: Result) -> None:
    """Close the record. What was issued is counted in the database: an answer may have been lost."""
    run = result.run
    issued = Invoice.objects.filter(run=run).exclude(kind=Invoice.Kind.CREDIT_NOTE).order_by("currency")
    sums = {"net": Sum(F("total") - F("tax")), "count": Count("pk"), "taxed": Count("tax_percent")}
    totals = issued.values_list("currency").annotate(**sums)
    result.amounts = {currency: net for currency, net, *_ in totals}
    result.is_taxed = any(taxed for *_, taxed in totals)
    run.invoices = sum(count for _, _, count, _ in totals)
    run.credit_notes = Invoice.objects.filter(run=run, kind=Invoice.Kind.CREDIT_NOTE).count()
    run.ended_at, run.beat_at, run.working_on = timezone.now(), timezone.now(), []
    run.parked, run.held, run.deferred = len(result.parked), len(result.held), len(result.waiting)
    run.amounts = {currency: str(amount) for currency, amount in sorted(result.amounts.items())}
    run.save()
    for note in result.notes:
        note.run = run
    RunNote.objects.bulk_create(result.notes, batch_size=1000)
