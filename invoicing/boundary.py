"""A boundary in the life of a service: all that was used up to then is billed, at the prices that it had.

A service ends, or gets another product or tenant. Its server is asked once more, the terms that are over are
billed, and then one invoice of usage alone closes every period to date, the open one too.
"""

from datetime import date, datetime

from django.utils.translation import gettext as _

from catalog.models import Service
from invoicing import billing, corrections, cuts, drafts, issuing, overage, reasons, unbilled
from invoicing.cuts import ONE_DAY
from invoicing.drafts import Draft
from invoicing.models import Claim, Deferral, Invoice, Parked
from invoicing.prices import Catalog
from invoicing.settlements import Settlement
from metering import collection, dates
from metering.models import Tenant
from metering.periods import local_day
from metering.providers import base
from metering.server_lock import Busy

#: What kind of document each claim of a boundary makes.
DOCUMENTS = {
    Claim.Kind.TERMINATION: Invoice.Kind.TERMINATION,
    Claim.Kind.CHANGE: Invoice.Kind.CHANGE,
}


class CannotClose(Exception):
    """The usage to date cannot be billed as things are. The message says why."""


def ask_once_more(service: Service, at: datetime) -> str:
    """Ask the server for this tenant. Returns why that failed, or nothing."""
    tenant = service.tenant
    if tenant is None or not base.asks(tenant.server.provider):
        return ""
    try:
        record = collection.collect(server=tenant.server, as_of=at, tenant=tenant.key)
    except Busy:
        return f"{tenant.server} is being collected just now"
    return "" if record.is_stored else f"{tenant.server} could not be asked once more ({record.error})"


def bill_missed_terms(service: Service, on: date, at: datetime) -> None:
    """Bill the terms that began before a day, or their recurring price would be lost: those of which the invoice is a
    draft still, too. Raises CannotClose."""
    if service.next_due_on is None or service.next_due_on >= on:
        return
    missed = billing.create_invoices(on=on - ONE_DAY, at=at, service=service, at_once=True)
    if reason := missed.parked.get(service.pk) or missed.held.get(service.pk):
        raise CannotClose(reasons.TERM_IS_OVER % {"service": service, "reason": reason})


def check_missed_terms(service: Service, on: date) -> None:
    """Look again, under its lock: what bills terms passes over a service that somebody else has. Raises CannotClose."""
    if service.next_due_on is None or service.next_due_on >= on:
        return
    if Service.objects.due(on - ONE_DAY).filter(pk=service.pk).exists():
        raise CannotClose(_("%(service)s is being billed just now. Try again in a moment.") % {"service": service})


def day_of(tenant: Tenant | None, on: date, at: datetime) -> date:
    """The day of a boundary where the server is: of one of today, it may be tomorrow there already."""
    if tenant is None or on < dates.site_day(at):
        return on
    return max(on, local_day(at, tenant.server.zone))


def drafted(service: Service, *, on: date, at: datetime) -> tuple[Draft, list[Settlement], overage.Waiting]:
    """Return what everything to date comes to, what waits to be settled with it, and the overage in it.

    In the caller's transaction and under its lock. Raises drafts.CannotBill.
    """
    catalog = Catalog.read([service.product_id])
    settled = corrections.waiting([service]).get(service.pk, [])
    today = local_day(at, service.tenant.server.zone) if service.tenant else on
    cut = cuts.of_boundary(service, on, day_of(service.tenant, on, at), today)
    found = unbilled.find([cut], catalog.settings, taken=corrections.taken(settled))
    charged = overage.waiting([service])
    more = [*corrections.adjustments(settled), *(line for _, line in charged.get(service.pk, ()))]
    return drafts.of_usage(service, found[service.pk], more), settled, charged


def close(service: Service, kind: Claim.Kind, claimed: date, *, on: date, at: datetime) -> Invoice | None:
    """Bill everything to date, once for each day that is claimed, in the caller's transaction and under its lock.

    Returns the invoice; None when it came to nothing, and was not made. Raises drafts.CannotBill.
    """
    draft, settled, charged = drafted(service, on=on, at=at)
    if not issuing.claim(kind, [draft], [claimed], at):
        return invoice_of(service, kind)
    Parked.objects.filter(service=service).delete()
    Deferral.objects.filter(service=service).delete()
    documents = issuing.grouped(DOCUMENTS[kind], [draft], {service.pk: on})
    made = [document for document in documents if document.is_made]
    if not made:
        issuing.record_billed(documents)
    if issued := [*made, *corrections.documents(settled)]:
        issuing.issue(issued, on=on, at=at)
    corrections.strike(settled)
    if made:
        overage.strike([draft], charged)
    return Invoice.objects.get(pk=made[0].id) if made else None


def invoice_of(service: Service, kind: Claim.Kind) -> Invoice | None:
    """Return the invoice of the newest boundary of a kind."""
    claim = service.claims.filter(kind=kind).select_related("invoice").last()
    return claim.invoice if claim else None
