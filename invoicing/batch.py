"""One batch of a billing run: lock, read, rate, claim, write, move on; all of it or nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Model

from catalog.models import Service
from catalog.writing import Writing
from invoicing import corrections, cuts, drafts, issuing, overage, reasons, review, unbilled, unusual
from invoicing.drafts import CannotBill, Draft
from invoicing.issuing import Document
from invoicing.models import (
    Claim,
    Decision,
    Deferral,
    Difference,
    DraftInvoice,
    Invoice,
    OverageCharge,
    Parked,
    Run,
)
from invoicing.prices import Catalog
from invoicing.settlements import Settlement

LOCK_TIMEOUT, STATEMENT_TIMEOUT = "5s", "60s"
#: A lock that a dry run has alone, and every batch of a run together with the others: what a dry run has locked until
#: it is rolled back, a run would skip.
DRY_RUN = 5_200_701


@dataclass
class Batch:
    """What one transaction did: the terms that are over, those of them that it billed, and what came of it.

    `held` are the services that a person holds, and those `unapproved` ones that wait for one.
    """

    drafted: list[Draft] = field(default_factory=list)
    claimed: list[Draft] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)
    held: dict[int, str] = field(default_factory=dict)
    unapproved: dict[int, str] = field(default_factory=dict)
    left: list[Draft] = field(default_factory=list)
    in_grace: list[Draft] = field(default_factory=list)


def together(due: Iterable[tuple[int, int]], size: int) -> Iterator[list[int]]:
    """Cut services, given with their clients and in their order, into batches of a size: never between two of the
    same client, so that they share an invoice."""
    batch: list[int] = []
    last = None
    for pk, client in due:
        if len(batch) >= size and client != last:
            yield batch
            batch = []
        batch.append(pk)
        last = client
    if batch:
        yield batch


def bill_batch(
    ids: list[int],
    *,
    catalog: Catalog,
    for_approval: Mapping[int, str],
    on: date,
    at: datetime,
    run: Run,
    at_once: bool = False,
) -> Batch:
    """Bill the terms that are due of some services, in the caller's transaction.

    Services that another run has locked are passed over. `for_approval` are those that waited for approval when the
    run began, and why. `at_once` issues terms that have begun in their days of grace, too.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(%s), set_config('lock_timeout', %s, true),"
            " set_config('statement_timeout', %s, true)",
            [DRY_RUN, LOCK_TIMEOUT, STATEMENT_TIMEOUT],
        )
    services = list(
        Service.objects.due(on)
        .filter(pk__in=ids)
        .select_related("client", "tenant")
        .prefetch_related("product", "tenant__server")  # many services share few
        .select_for_update(skip_locked=True, of=("self",))
    )
    due = {service.pk: _due(service) for service in services}
    batch, ready = Batch(), []
    has = unusual.about(services).has
    settled = corrections.waiting(services) if Difference in has else {}
    charged = overage.waiting(services) if OverageCharge in has else {}
    late = corrections.taken(one for group in settled.values() for one in group)
    renewals = [cuts.of_renewal(service) for service in services]
    found = unbilled.find(renewals, catalog.settings, taken=late, spans=catalog.spans, has=has)
    for service in services:
        try:
            more = [
                *corrections.adjustments(settled.get(service.pk, ())),
                *(line for _, line in charged.get(service.pk, ())),
            ]
            ready.append(drafts.renewal(service, found[service.pk], catalog.prices, more))
        except CannotBill as error:
            batch.parked[service.pk] = str(error)
    batch.drafted = _let_through(ready, batch, for_approval, on, has, at_once)
    starts = [due[draft.service.pk] for draft in batch.drafted]
    batch.claimed = issuing.claim(Claim.Kind.RENEWAL, batch.drafted, starts, at)
    _issue(batch, [one for draft in batch.claimed for one in settled.get(draft.service.pk, ())], due, on, at, run)
    if charged:
        overage.strike(batch.claimed, charged)
    # A term that somebody else billed is over all the same, so its service moves on too.
    _move_on([draft.service for draft in batch.drafted])
    if Parked in has:
        Parked.objects.filter(service__in=[draft.service for draft in batch.drafted]).delete()
    park(batch.parked, run, at)
    park(batch.unapproved, run, at, needs_approval=True)
    if Deferral in has:
        _strike_out(batch.claimed)
    _defer(batch.claimed, run, at)
    _keep(batch.in_grace, at)
    return batch


def _let_through(
    ready: list[Draft],
    batch: Batch,
    for_approval: Mapping[int, str],
    on: date,
    has: frozenset[type[Model]],
    at_once: bool,
) -> list[Draft]:
    """Leave out what a person holds, what waits for approval, and what stays a draft for some days yet."""
    services = [draft.service for draft in ready]
    decisions = review.decisions(services) if Decision in has else {}
    last = review.last_totals(services) if settings.APPROVAL_ABOVE_FACTOR is not None else {}
    passed = []
    with Writing("en"):  # as all reasons that are kept, whoever began the run
        for draft in ready:
            service, due = draft.service, _due(draft.service)
            decision = decisions.get(service.pk)
            if decision is not None and decision.verdict == Decision.Verdict.HOLD:
                batch.held[service.pk] = (
                    reasons.HELD_FOR % {"said": decision.reason} if decision.reason else reasons.HELD
                )
                batch.left.append(draft)
                continue
            why = (
                for_approval.get(service.pk)
                or review.missed_terms(service, on)
                or review.beyond_bounds(draft, last.get(service.pk))
            )
            if why and not review.is_approved(decision, due, draft.total):
                batch.held[service.pk] = batch.unapproved[service.pk] = why
                batch.left.append(draft)
            elif on < _issued_from(service) and not (at_once and due <= on):
                batch.in_grace.append(draft)
            else:
                passed.append(draft)
    return passed


def _issue(batch: Batch, settlements: list[Settlement], due: dict[int, date], on: date, at: datetime, run: Run) -> None:
    """Issue what was claimed, with the credit notes. A month of usage that came to nothing makes no invoice."""
    documents = issuing.grouped(Invoice.Kind.RENEWAL, batch.claimed, due)
    batch.documents = [document for document in documents if document.is_made]
    if nothing := [document for document in documents if not document.is_made]:
        issuing.record_billed(nothing)
    batch.documents += corrections.documents(settlements)
    if batch.documents:
        issuing.issue(batch.documents, on=on, at=at, run=run)
    if settlements:
        corrections.strike(settlements)


def _due(service: Service) -> date:
    assert service.next_due_on is not None  # a constraint of living services
    return service.next_due_on


def _issued_from(service: Service) -> date:
    """The day from which the term that is due is issued: it may be made ahead, and stay a draft for a while."""
    return _due(service) + timedelta(days=service.product.grace_days - service.product.invoice_days_ahead)


def _move_on(services: Sequence[Service]) -> None:
    """Move each service to its next term, counted from its anchor."""
    numbers = [service.next_term + 1 for service in services]
    days = [service.term(number).start for service, number in zip(services, numbers, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE catalog_service s SET next_term = d.number, next_due_on = d.day"
            " FROM unnest(%s::bigint[], %s::int[], %s::date[]) AS d (id, number, day) WHERE s.id = d.id",
            [[service.pk for service in services], numbers, days],
        )


def park(reasons: dict[int, str], run: Run, at: datetime, *, needs_approval: bool = False) -> None:
    """Leave services out until what is wrong is mended, or a person approves them. The next run tries them again."""
    Parked.objects.bulk_create(
        [
            Parked(service_id=pk, reason=reason, since=at, run=run, needs_approval=needs_approval)
            for pk, reason in reasons.items()
        ],
        update_conflicts=True,
        unique_fields=["service"],
        update_fields=["reason", "run", "needs_approval"],
    )


def _keep(in_grace: Sequence[Draft], at: datetime) -> None:
    """Write down a new version of each draft invoice that changed."""
    if not in_grace:
        return
    newest = DraftInvoice.objects.filter(service__in=[draft.service for draft in in_grace])
    known = {
        (each.service_id, each.term_start): each
        for each in newest.order_by("service_id", "term_start", "-version").distinct("service_id", "term_start")
    }
    made = []
    for draft in in_grace:
        service, due = draft.service, _due(draft.service)
        before, lines = known.get((service.pk, due)), [line.as_json() for line in draft.lines]
        if before is None or (before.lines, before.total, before.currency) != (lines, draft.total, service.currency):
            made.append(
                DraftInvoice(
                    service=service,
                    term_start=due,
                    version=before.version + 1 if before else 1,
                    issue_on=_issued_from(service),
                    currency=service.currency,
                    total=draft.total,
                    lines=lines,
                    created_at=at,
                )
            )
    DraftInvoice.objects.bulk_create(made)


def _strike_out(claimed: Sequence[Draft]) -> None:
    """Take off the list what has waited long enough."""
    waited = Deferral.objects.filter(service__in=[draft.service for draft in claimed])
    billed = {
        (draft.service.pk, line.setting.pk, item.start)
        for draft in claimed
        for line in draft.lines
        if line.setting is not None
        for item in line.items
    }
    done = [each.pk for each in waited if (each.service_id, each.setting_id, each.start) in billed]
    Deferral.objects.filter(pk__in=done).delete()


def _defer(claimed: Sequence[Draft], run: Run, at: datetime) -> None:
    """Write down what waits for the next invoice."""
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
