"""Changing a living service: another product or tenant from a day on, and coming back after its end."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction
from django.utils.translation import gettext as _

from catalog import tenancy
from catalog.models import Product, Service
from catalog.terms import number_at
from invoicing import boundary, reasons, usage_invoicing
from invoicing.drafts import Draft
from invoicing.models import Claim, Deferral, Invoice, Line
from invoicing.prices import Catalog
from invoicing.termination import is_waiting
from metering import dates
from metering.models import Tenant


class CannotChange(boundary.CannotClose):
    """The service cannot be changed so. The message says why and what to do."""


@dataclass(frozen=True)
class Changed:
    """What a change did: the invoice that closed the usage before it, if there was any to charge."""

    service: Service
    invoice: Invoice | None
    warning: str = ""


def change(*, service: Service, at: datetime, product: Product | None = None, tenant: Tenant | None = None) -> Changed:
    """Give a service another product or tenant, from now on.

    What was used up to now is billed at the old prices, on an invoice of usage alone; the rest of the open
    period counts for the new product or tenant. The terms go on as they were, and the new recurring price
    holds from the next one. If the server does not answer, the last values known are billed.

    Raises CannotChange, and boundary.CannotClose or drafts.CannotBill when the usage cannot be billed; then
    nothing is changed.
    """
    on = dates.site_day(at)
    _check(service, product or service.product, tenant or service.tenant, on)
    failure = boundary.ask_once_more(service, at)
    boundary.bill_missed_terms(service, on, at)
    with transaction.atomic(durable=True):
        service = _locked(service)
        _check(service, product or service.product, tenant or service.tenant, on)
        boundary.check_missed_terms(service, on)
        goes_on = was_changed(service, on) and tenant in (None, service.tenant)
        invoice = boundary.close(service, Claim.Kind.CHANGE, on, on=on, at=at)
        service.product = product or service.product
        service.tenant = tenant or service.tenant
        if not goes_on:
            service.metered_from = boundary.day_of(service.tenant, on, at)
        service.save(update_fields=["product", "tenant", "metered_from"])
        _let_levels_wait(service, at)
    warning = _("%(failure)s; the last values known are billed.") % {"failure": failure} if failure else ""
    return Changed(service, invoice, warning)


def _let_levels_wait(service: Service, at: datetime) -> None:
    """Where the next term was invoiced ahead, the levels of the rest of this one come with the invoice after that."""
    Deferral.objects.filter(service=service).delete()  # of what it was before, if it was changed on that day already
    assert service.metered_from is not None
    numbers = range(number_at(service.anchor, service.clock, service.metered_from), service.next_term - 1)
    if not numbers or service.tenant_id is None:
        return
    catalog = Catalog.read([service.product_id])
    Deferral.objects.bulk_create(
        Deferral(
            service=service,
            setting=setting,
            start=start,
            end=term.end,
            reason=reasons.MADE_AHEAD % {"day": term.end},
            since=at,
        )
        for term in map(service.term, numbers)
        for setting in catalog.settings.get(service.product_id, ())
        if not setting.metric.adds_up
        and (start := max(term.start, service.metered_from)) < term.end
        and usage_invoicing.was_on(usage_invoicing.when_on(setting.all_spans, catalog.spans), start, term.end)
    )


def preview(*, service: Service, at: datetime, product: Product | None = None, tenant: Tenant | None = None) -> Draft:
    """Return what a change would bill now, by the values that are known. Nothing is kept.

    Terms that are due are not in it: a change bills them before, as a run would. Raises CannotChange and
    drafts.CannotBill.
    """
    on = dates.site_day(at)
    with transaction.atomic():
        service = _locked(service)
        _check(service, product or service.product, tenant or service.tenant, on)
        draft, *_ = boundary.drafted(service, on=on, at=at)
        transaction.set_rollback(True)
    return Draft(service, [], []) if was_changed(service, on) else draft


def was_changed(service: Service, on: date) -> bool:
    """Whether it was changed on that day already: the day then goes on with what it was changed to last."""
    return service.claims.filter(kind=Claim.Kind.CHANGE, term_start=on).exists()


def reactivate(*, service: Service, at: datetime) -> Service:
    """Let a terminated service run again, from today, which is its new anchor. Nothing old is billed again.

    Raises CannotChange.
    """
    on = dates.site_day(at)
    with transaction.atomic(durable=True):
        service = _locked(service)
        if service.status != Service.Status.TERMINATED or service.terminated_on is None:
            raise CannotChange(
                _("%(service)s is %(status)s; only a terminated service can be reactivated.")
                % {"service": service, "status": service.get_status_display().lower()}
            )
        if is_waiting(service):
            raise CannotChange(
                _("The last invoice of %(service)s still waits for its server. Make it first.") % {"service": service}
            )
        if on < service.terminated_on or on <= service.anchor or _is_claimed_unpaid(service, on):
            raise CannotChange(
                _("%(service)s ended on %(terminated_on)s; it can be reactivated from tomorrow on.")
                % {"service": service, "terminated_on": dates.full_day(service.terminated_on)}
            )
        if service.tenant is not None and (words := tenancy.refusal(service, service.product, service.tenant)):
            raise CannotChange(words)
        service.status = Service.Status.ACTIVE
        service.anchor = service.next_due_on = on
        service.next_term, service.metered_from, service.terminated_on = 0, None, None
        service.save(update_fields=["status", "anchor", "next_term", "next_due_on", "metered_from", "terminated_on"])
    return service


def _is_claimed_unpaid(service: Service, on: date) -> bool:
    """Whether a term from that day on was billed already, but without its recurring price, as usage of a month: it
    would not be billed again."""
    claims = service.claims.filter(kind=Claim.Kind.RENEWAL, term_start=on)
    paid = Line.objects.filter(invoice__claims__in=claims, service=service, kind=Line.Kind.RECURRING, start=on)
    return claims.exists() and not paid.exists()


def _check(service: Service, product: Product, tenant: Tenant | None, on: date) -> None:
    if not service.is_billable:
        raise CannotChange(
            _("%(service)s is %(status)s; only an active or suspended service can be changed.")
            % {"service": service, "status": service.get_status_display().lower()}
        )
    if on < service.anchor:
        raise CannotChange(
            _("%(service)s starts on %(anchor)s. Change the product before, where it is ordered.")
            % {"service": service, "anchor": dates.full_day(service.anchor)}
        )
    if (product, tenant) == (service.product, service.tenant):
        raise CannotChange(_("%(service)s has that product and tenant already.") % {"service": service})
    if tenant is not None and (words := tenancy.refusal(service, product, tenant)):
        raise CannotChange(words)
    prices = product.prices.filter(cycle=service.cycle, currency=service.currency)
    if product != service.product and not prices.exists():
        raise CannotChange(
            _("%(product)s has no %(cycle)s price in %(currency)s. Add it to its prices first.")
            % {"product": product, "cycle": service.get_cycle_display(), "currency": service.currency}
        )


def _locked(service: Service) -> Service:
    services = Service.objects.select_related("client", "product", "tenant__server")
    return services.select_for_update(of=("self",)).get(pk=service.pk)
