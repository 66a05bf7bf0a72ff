"""Ending a service: ask its server once more, then bill all that was used to date, once."""

import logging
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction
from django.utils import timezone

from catalog.models import Service
from invoicing import billing, drafts, issuing, unbilled
from invoicing.billing import Catalog
from invoicing.models import Claim, Deferral, Invoice, Parked
from metering import collection

logger = logging.getLogger(__name__)


class CannotTerminate(Exception):
    """The service cannot be terminated as things are. The message says why."""


@dataclass(frozen=True)
class Ended:
    """What a termination did. `invoice` is None when nothing was left to charge, `warning` says what the
    last question to the server came to, if it failed."""

    service: Service
    invoice: Invoice | None
    warning: str = ""


def terminate(*, service: Service, on: date, at: datetime) -> Ended:
    """Terminate a service and make its final, usage-only invoice, which includes the open period to date.

    Terms that were due before that day are billed first. Terminating again changes nothing and returns the
    first invoice. If the server does not answer, the last values known are billed and a warning says so.

    Raises CannotTerminate for a service that is not running or whose missed terms cannot be billed, and
    drafts.CannotBill when its usage has no price; then the service runs on.
    """
    if service.status == Service.Status.TERMINATED:
        return Ended(service, _first_invoice(service))
    if not service.is_billable:
        raise CannotTerminate(f"{service} is {service.status}; only an active or suspended service can be terminated.")
    if on < service.anchor:
        raise CannotTerminate(f"{service} starts on {service.anchor}; it cannot end before, on {on}.")
    if on > timezone.localdate(at):
        raise CannotTerminate(f"{service} cannot end on {on}, which is still to come. Terminate it on that day.")
    warning = _ask_once_more(service, at)
    _bill_missed_terms(service, on, at)
    with transaction.atomic(durable=True):
        service = (
            Service.objects.select_related("client", "product", "tenant__server")
            .select_for_update(of=("self",))
            .get(pk=service.pk)
        )
        if service.status == Service.Status.TERMINATED:
            return Ended(service, _first_invoice(service))
        invoice = _final_invoice(service, on, at)
        service.status = Service.Status.TERMINATED
        service.terminated_on = on
        service.next_due_on = None
        service.save(update_fields=["status", "terminated_on", "next_due_on"])
    return Ended(service, invoice, warning)


def _ask_once_more(service: Service, at: datetime) -> str:
    tenant = service.tenant
    if tenant is None:
        return ""
    try:
        record = collection.collect(server=tenant.server, as_of=at, tenant=tenant.key)
    except collection.Busy:
        return f"{tenant.server} is being collected just now; the last values known are billed."
    if record.is_stored:
        return ""
    return f"{tenant.server} could not be asked once more ({record.error}); the last values known are billed."


def _bill_missed_terms(service: Service, on: date, at: datetime) -> None:
    """Bill the terms that began before the last day, or their recurring price would be lost."""
    if service.next_due_on is not None and service.next_due_on < on:
        missed = billing.create_invoices(on=date.fromordinal(on.toordinal() - 1), at=at, service=service)
        if reason := missed.parked.get(service.pk):
            raise CannotTerminate(f"A term of {service} that is over cannot be billed: {reason}")


def _final_invoice(service: Service, on: date, at: datetime) -> Invoice | None:
    catalog = Catalog.read([service.product_id])
    found = unbilled.find([unbilled.of_termination(service, on)], catalog.settings)
    draft = drafts.termination(service, found[service.pk])
    if not issuing.claim(Claim.Kind.TERMINATION, [draft], [service.anchor], at):
        return _first_invoice(service)
    Parked.objects.filter(service=service).delete()
    Deferral.objects.filter(service=service).delete()
    documents = issuing.grouped(Invoice.Kind.TERMINATION, [draft], {service.pk: on})
    if not draft.total:
        issuing.record_billed(documents, with_lines=False)
        return None
    issuing.issue(documents, on=on, at=at, run=None)
    return Invoice.objects.get(pk=documents[0].id)


def _first_invoice(service: Service) -> Invoice | None:
    claim = service.claims.filter(kind=Claim.Kind.TERMINATION).select_related("invoice").last()
    return claim.invoice if claim else None
