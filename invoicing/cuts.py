"""Up to where a service is billed: with a term that is due, at a boundary, or to date."""

from dataclasses import dataclass
from datetime import date, timedelta

from catalog.models import Product, Service
from metering.periods import Period

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cut:
    """Up to where a service is billed: the term that closes, and whether the open period counts too.

    `days` is the length of the whole term, of which `term` may be the part that is over. `today` is the
    day on which the open period is billed to date, where the server is, and `on` that of the invoice, if it is not
    the last day that is billed. A level that waited counts before `levels_until`: its term may not be over.
    """

    service: Service
    term: Period | None
    days: int
    until: date
    is_final: bool = False
    today: date = date.max
    on: date | None = None
    levels_until: date = date.max

    @property
    def tenant_id(self) -> int:
        assert self.service.tenant_id is not None  # only metered services are asked
        return self.service.tenant_id

    @property
    def in_common(self) -> tuple[object, ...]:
        """All that decides about its usage, unless there is something special about the service itself."""
        service = self.service
        assert service.tenant is not None
        term = self.term and (self.term.start, self.term.end)
        until = self.until, self.is_final, self.today, self.on
        return term, self.days, until, service.metered_from, service.tenant.server_id

    @property
    def invoiced(self) -> date:
        """The day whose prices count where that of the invoice does: on which the renewal is due to be invoiced,
        however late its run, or the last one of the service."""
        return self.on or (self.until - ONE_DAY if self.is_final else self.until)

    @property
    def begins(self) -> date:
        """The first day that counts: of the service, or since it has its product and its tenant."""
        return self.service.begins


def of_renewal(service: Service) -> Cut:
    """Bill what closed before the term that is due, or before the day on which it is invoiced ahead. A run that comes
    late bills the same."""
    due = service.next_due_on
    assert due is not None
    return of_term(service, service.next_term, invoiced_on(service.product, due))


def invoiced_on(product: Product, due: date) -> date:
    """The day on which the renewal of a term is due to be invoiced."""
    return due - timedelta(days=product.invoice_days_ahead)


def of_term(service: Service, number: int, until: date) -> Cut:
    """Bill what closed before a day, with the term before the one of that number."""
    if not number:
        return Cut(service, None, 0, until)
    whole = service.term(number - 1)
    return Cut(service, _since(service, whole.start, whole.end), whole.days, until)


def of_boundary(service: Service, on: date, day: date, today: date) -> Cut:
    """Bill everything to date, with the day itself: `day` where the server is, which may be the one after `on`. A term
    that would only begin on that day has no level to bill. Of periods that are not over where the server is, `today`,
    what is used later is another part."""
    current = service.current_term
    term = _since(service, current.start, max(on, min(day, current.end)))
    until = day + ONE_DAY
    return Cut(service, term, current.days, until, is_final=True, today=today, on=on, levels_until=day)


def to_date(service: Service, on: date) -> Cut:
    """What would be billed if everything were billed today: the level counts on the first day of a term too."""
    current = service.current_term
    tomorrow = on + ONE_DAY
    start = max(current.start, service.metered_from or current.start)
    return Cut(service, Period(start, max(tomorrow, start + ONE_DAY)), current.days, tomorrow, True)


def _since(service: Service, start: date, end: date) -> Period | None:
    """The part of some days on which the service had its product and tenant, if any."""
    start = max(start, service.metered_from or start)
    return Period(start, end) if start < end else None
