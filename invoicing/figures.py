"""What a service costs so far and will come to, and when it is invoiced next: the figures at the head of its page."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog import money
from catalog.models import Service
from invoicing.models import DraftInvoice
from invoicing.overview import Glance, NextInvoice
from metering import dates


@dataclass(frozen=True, slots=True)
class Figure:
    """What it is called, what it is, and what is said below that."""

    name: str
    said: str
    note: str = ""


def of_service(
    glance: Glance, metrics: int, next_invoice: NextInvoice | None, draft: DraftInvoice | None
) -> Iterator[Figure]:
    """Yield the figures of a service for which so many `metrics` are enabled, read `with_fixed_price`."""
    service = glance.service
    yield _so_far(glance, metrics)
    yield _expected(glance, metrics)
    fixed = service.fixed_price
    yield Figure(_("Fixed price"), "—" if fixed is None else money.write(fixed, service.currency), service.rhythm)
    if service.terminated_on:
        yield Figure(_("Ended"), dates.day(service.terminated_on), _("its last usage was billed then"))
    elif next_invoice is None:
        yield Figure(_("Next invoice"), "—", _("none is planned"))
    else:
        yield Figure(_("Next invoice"), dates.day(next_invoice.on), _about(next_invoice, draft, service))


def _so_far(glance: Glance, metrics: int) -> Figure:
    name, service = _("Usage so far"), glance.service
    if glance.so_far is not None:
        told = {"measured": glance.measured, "count": metrics}
        one, several = "%(measured)s of %(count)s metric measured", "%(measured)s of %(count)s metrics measured"
        return Figure(name, money.write(glance.so_far, service.currency), ngettext(one, several, metrics) % told)
    if not metrics:
        return Figure(name, "—", _("nothing metered"))
    if service.is_billable:
        return Figure(name, "—", _("nothing collected yet"))
    return Figure(name, "—", _("the service has ended") if service.terminated_on else _("the service has not begun"))


def _expected(glance: Glance, metrics: int) -> Figure:
    service, ahead = glance.service, glance.expected
    term = service.current_term if service.is_billable else None
    name = _("Expected on %(day)s") % {"day": dates.long_day(term.end)} if term else _("Expected")
    if ahead is None:
        if glance.is_expected_later:
            return Figure(name, "—", _("not enough days yet"))
        return Figure(name, "—", _("nothing collected yet") if metrics and term else _("nothing to expect"))
    low, said, high = (money.write(each, service.currency) for each in (ahead.low, ahead.expected, ahead.high))
    if not ahead.is_certain:
        return Figure(name, said, _("between %(low)s and %(high)s") % {"low": low, "high": high})
    is_same = glance.so_far is not None and said == money.write(glance.so_far, service.currency)
    return Figure(name, said, _("no change expected") if is_same else "")


def _about(invoice: NextInvoice, draft: DraftInvoice | None, service: Service) -> str:
    """What is known of the next invoice."""
    if draft is not None:
        return _("a draft until then")
    if invoice.is_open:
        return _("at least %(amount)s") % {"amount": money.write(invoice.about.low, service.currency)}
    amount = money.write(invoice.about.expected, service.currency)
    return _("about %(amount)s for this service") % {"amount": amount}
