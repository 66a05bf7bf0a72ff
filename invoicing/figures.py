"""What a service costs so far and will come to, and when it is invoiced next: the figures at the head of its page."""

from collections.abc import Iterator
from datetime import date

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog import money
from invoicing import facts
from invoicing.facts import Fact
from invoicing.models import DraftInvoice
from invoicing.overview import Glance, NextInvoice
from metering import dates
from metering.periods import Period


def of_service(
    glance: Glance, metrics: int, next_invoice: NextInvoice | None, draft: DraftInvoice | None
) -> Iterator[Fact]:
    """Yield the figures of a service for which so many `metrics` are enabled, read `with_fixed_price`."""
    service = glance.service
    yield _so_far(glance, metrics)
    yield _expected(glance, metrics)
    fixed = service.fixed_price
    yield _figure(_("Fixed price"), "—" if fixed is None else money.write(fixed, service.currency), service.rhythm)
    if service.terminated_on:
        yield _figure(_("Ended"), dates.day(service.terminated_on), _("its last usage was billed then"))
    elif next_invoice is None:
        yield _figure(_("Next invoice"), "—", _("none is planned"))
    else:
        yield _figure(_("Next invoice"), dates.day(next_invoice.on), _about(glance, next_invoice, draft))


def of_term(term: Period, today: date) -> str:
    """Write a term, and which day of it today is: `1 November to 1 December 2026, day 17 of 30`."""
    said = dates.span(term.start, term.end)
    if today not in term:
        return said
    told = {"day": (today - term.start).days + 1, "days": term.days}
    day = _("day %(day)s of %(days)s") % told
    return f"{said}, {day}"


def _so_far(glance: Glance, metrics: int) -> Fact:
    name, service = _("Usage so far"), glance.service
    if glance.so_far is not None:
        measured = ngettext(
            "%(measured)s of %(count)s metric measured", "%(measured)s of %(count)s metrics measured", metrics
        ) % {"measured": glance.measured, "count": metrics}
        return _figure(name, money.write(glance.so_far, service.currency), measured)
    if not metrics:
        return _figure(name, "—", _("nothing metered"))
    if service.is_billable:
        return _figure(name, "—", _("nothing collected yet"))
    return _figure(name, "—", _("the service has ended") if service.terminated_on else _("the service has not begun"))


def _expected(glance: Glance, metrics: int) -> Fact:
    service, ahead = glance.service, glance.expected
    term = service.current_term if service.is_billable else None
    name = _("Expected on %(day)s") % {"day": dates.long_day(term.end)} if term else _("Expected")
    if ahead is None:
        if glance.is_expected_later:
            return _figure(name, "—", _("not enough days yet"))
        return _figure(name, "—", _("nothing collected yet") if metrics and term else _("nothing to expect"))
    return _figure(name, *facts.of_amounts(ahead, glance.so_far, service.currency))


def _about(glance: Glance, invoice: NextInvoice, draft: DraftInvoice | None) -> str:
    """What is known of the next invoice."""
    currency = glance.service.currency
    if draft is not None:
        return _("a draft until then")
    if invoice.is_open:
        return _("at least %(amount)s") % {"amount": money.write(invoice.about.low, currency)}
    amount = money.write(invoice.about.expected, currency)
    if glance.billed != glance.expected:
        return _("about %(amount)s for this service, without the month that is open then") % {"amount": amount}
    return _("about %(amount)s for this service") % {"amount": amount}


def _figure(name: str, said: str, note: str = "") -> Fact:
    return Fact(name, said, (note,) if note else ())
