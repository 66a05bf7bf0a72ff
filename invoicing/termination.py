"""Ending a service: ask its server once more, then bill all that was used to date, once."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from django.db import transaction
from django.utils.translation import gettext as _

from catalog.models import Service
from invoicing import boundary, reasons
from invoicing.drafts import CannotBill, Draft
from invoicing.models import Claim, Invoice, Parked
from metering import dates


class CannotTerminate(boundary.CannotClose):
    """The service cannot be terminated as things are. The message says why."""


class WhenDown(StrEnum):
    """What to do when the server does not answer: bill the last values known, or let the last invoice wait."""

    LAST_VALUES = "last_values"
    WAIT = "wait"


@dataclass(frozen=True)
class Ended:
    """What a termination did.

    `invoice` is None when nothing was left to charge, or when it `waits` for the server. `warning` says what
    the last question to the server came to, if it failed.
    """

    service: Service
    invoice: Invoice | None
    warning: str = ""
    waits: bool = False


def terminate(*, service: Service, on: date, at: datetime, when_down: WhenDown = WhenDown.LAST_VALUES) -> Ended:
    """Terminate a service and make its final, usage-only invoice, which includes the open period to date.

    Terms that were due before that day are billed first. Terminating again changes nothing and returns the
    first invoice. If the server does not answer, the last values known are billed and a warning says so; or
    the service ends, and its last invoice waits until the server answers: `finish` makes it then.

    Raises CannotTerminate for a service that is not running, and boundary.CannotClose or drafts.CannotBill
    when its usage cannot be billed; then the service runs on.
    """
    if service.status == Service.Status.TERMINATED:
        return _ended(service)
    if not service.is_billable:
        raise CannotTerminate(
            _("%(service)s is %(status)s; only an active or suspended service can be terminated.")
            % {"service": service, "status": service.get_status_display().lower()}
        )
    if on < service.anchor:
        raise CannotTerminate(
            _("%(service)s starts on %(anchor)s; it cannot end before, on %(on)s.")
            % {"service": service, "anchor": dates.full_day(service.anchor), "on": dates.full_day(on)}
        )
    if on > dates.site_day(at):
        raise CannotTerminate(
            _("%(service)s cannot end on %(on)s, which is still to come. Terminate it on that day.")
            % {"service": service, "on": dates.full_day(on)}
        )
    failure = boundary.ask_once_more(service, at)
    boundary.bill_missed_terms(service, on, at)
    waits = bool(failure) and when_down == WhenDown.WAIT
    with transaction.atomic(durable=True):
        service = _locked(service)
        if service.status == Service.Status.TERMINATED:
            return _ended(service)
        boundary.check_missed_terms(service, on)
        invoice = None
        if waits:
            Parked.objects.update_or_create(
                service=service, defaults={"reason": f"Its last invoice waits: {failure}.", "since": at}
            )
        else:
            invoice = boundary.close(service, Claim.Kind.TERMINATION, service.anchor, on=on, at=at)
        service.status = Service.Status.TERMINATED
        service.terminated_on = on
        service.next_due_on = None
        service.save(update_fields=["status", "terminated_on", "next_due_on"])
    if not failure:
        return Ended(service, invoice)
    warning = _("%(failure)s; the last values known are billed.")
    if waits:
        warning = _("%(failure)s; its last invoice waits until it answers.")
    return Ended(service, invoice, warning % {"failure": failure}, waits)


def preview(*, service: Service, at: datetime) -> Draft:
    """Return what terminating a service today would bill, by the values that are known. Nothing is kept.

    Terms that are due are not in it: they are billed before, as a run would. Raises drafts.CannotBill.
    """
    with transaction.atomic():
        draft, *_ = boundary.drafted(_locked(service), on=dates.site_day(at), at=at)
        transaction.set_rollback(True)
    return draft


def finish(*, service: Service, at: datetime, when_down: WhenDown = WhenDown.WAIT) -> Ended:
    """Make the last invoice of a terminated service that waited for its server.

    Raises boundary.CannotClose or drafts.CannotBill; then it waits on.
    """
    if not is_waiting(service):
        return _ended(service)
    failure = boundary.ask_once_more(service, at)
    if failure and when_down == WhenDown.WAIT:
        Parked.objects.filter(service=service).update(reason=reasons.LAST_INVOICE_WAITS % {"reason": f"{failure}."})
        return Ended(service, None, _("%(failure)s; its last invoice waits on.") % {"failure": failure}, waits=True)
    with transaction.atomic(durable=True):
        service = _locked(service)
        assert service.terminated_on is not None  # a constraint of terminated services
        invoice = boundary.close(service, Claim.Kind.TERMINATION, service.anchor, on=service.terminated_on, at=at)
    warning = _("%(failure)s; the last values known are billed.") % {"failure": failure} if failure else ""
    return Ended(service, invoice, warning)


def finish_all(*, at: datetime) -> list[Ended]:
    """Try the last invoices that wait, each by itself. Those that cannot be made wait on, and say why."""
    done = []
    parked = Service.objects.filter(status=Service.Status.TERMINATED, parked__isnull=False)
    for service in parked.select_related("client", "product", "tenant__server").order_by("pk"):
        try:
            done.append(finish(service=service, at=at))
        except (boundary.CannotClose, CannotBill) as error:
            Parked.objects.filter(service=service).update(reason=reasons.LAST_INVOICE_WAITS % {"reason": error})
    return done


def is_waiting(service: Service) -> bool:
    """Whether a service is over, and its last invoice is not made yet."""
    claims = service.claims.filter(kind=Claim.Kind.TERMINATION, term_start=service.anchor)
    return service.status == Service.Status.TERMINATED and not claims.exists()


def _locked(service: Service) -> Service:
    services = Service.objects.select_related("client", "product", "tenant__server")
    return services.select_for_update(of=("self",)).get(pk=service.pk)


def _ended(service: Service) -> Ended:
    waits = is_waiting(service)
    return Ended(service, None if waits else boundary.invoice_of(service, Claim.Kind.TERMINATION), waits=waits)
