"""A client's services at a glance: what each costs so far and will come to, all of them together, and what the next
invoice is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import DateField

from catalog.models import Client, Service
from catalog.money import round_amount
from catalog.pricing import ZERO
from invoicing import statistics
from invoicing.forecast import NOTHING, Range
from invoicing.models import DraftInvoice
from invoicing.statistics import Statistics
from metering.decimals import exact_sum
from metering.prepared import Prepared, any_of, execute

#: Product, cycle and currency.
PriceKey = tuple[int, str, str]

#: So many services of an invoice are named.
NAMED = 6

_PRICES = "SELECT product_id, cycle, currency, amount FROM catalog_productprice WHERE product_id = ANY(%(products)s)"
_DRAFTS = Prepared(
    lambda services, days: (
        DraftInvoice.objects.filter(service__in=any_of(services), term_start__in=any_of(days, DateField()))
        .order_by("service_id", "-version")
        .defer("lines")
    )
)


@dataclass(frozen=True, slots=True)
class Glance:
    """A service with what its usage costs so far and when its term ends.

    `so_far` is None where nothing is metered or nothing was measured yet; `expected` also where there are not enough
    days to say so.
    """

    service: Service
    metrics: int = 0
    measured: int = 0
    stale: int = 0
    so_far: Decimal | None = None
    expected: Range | None = None
    #: What of `expected` is on the invoice of the term's end: months that are open then are not.
    billed: Range | None = None

    @property
    def is_expected_later(self) -> bool:
        """Whether more days are needed before it can be said what it will come to."""
        return self.so_far is not None and self.expected is None


@dataclass(frozen=True, slots=True)
class Total:
    """What services in one currency cost so far and will come to.

    `open` of them cannot say yet what they come to, and count with what they cost so far: then it is at least that.
    `expected` is None where none of them can say it.
    """

    currency: str
    so_far: Decimal
    expected: Range | None
    open: int


@dataclass(frozen=True, slots=True)
class Part:
    """What the next invoice has of one service: its price for the next term, what its usage is expected to cost or
    costs so far, or the draft that is there already."""

    service: Service
    price: Decimal | None = None
    usage: Range | None = None
    draft: DraftInvoice | None = None
    #: It has usage that nobody can say yet what it comes to: `usage` is what it costs so far, if that is known.
    is_open: bool = False

    @property
    def amount(self) -> Range:
        if self.draft is not None:
            return NOTHING.plus(self.draft.total)
        return (self.usage or NOTHING).plus(self.price or ZERO)


@dataclass(frozen=True, slots=True)
class NextInvoice:
    """The next invoice of a client. `others` of its services renew later."""

    client: Client
    on: date
    parts: list[Part] = field(default_factory=list)
    others: int = 0

    @property
    def about(self) -> Range:
        """What it will come to, before tax; where it `is_open` at least that."""
        return sum((part.amount for part in self.parts), NOTHING)

    @property
    def is_open(self) -> bool:
        return any(part.is_open for part in self.parts)

    @property
    def shown(self) -> list[Part]:
        """The services that are named one by one."""
        return self.parts if len(self.parts) <= NAMED else self.parts[: NAMED - 1]

    @property
    def rest_count(self) -> int:
        return len(self.parts) - len(self.shown)

    @property
    def rest(self) -> Range | None:
        """What the services that are not named come to."""
        return sum((part.amount for part in self.parts[len(self.shown) :]), NOTHING) if self.rest_count else None


def at_a_glance(services: Sequence[Service], *, at: datetime) -> list[Glance]:
    """Return services with their figures, in a constant number of queries."""
    metrics = statistics.enabled_of_each(services, at=at)
    return [glance(service, metrics[service.pk]) for service in services]


def glance(service: Service, metrics: list[Statistics]) -> Glance:
    """Return a service with the figures of the metrics that are enabled for it."""
    measured = [each for each in metrics if each.latest]
    if not service.tenant_id or not service.is_billable:
        return Glance(service, len(metrics) if service.tenant_id else 0)
    return Glance(
        service,
        metrics=len(metrics),
        measured=len(measured),
        stale=sum(each.is_stale for each in measured),
        so_far=statistics.total(metrics) if measured else None,
        expected=statistics.expected(metrics) if measured else None,
        billed=statistics.billed(metrics) if measured else None,
    )


def totals(glances: Iterable[Glance]) -> list[Total]:
    """Add up by currency; a user of several clients may see several."""
    found: dict[str, list[Glance]] = {}
    for glance in glances:
        found.setdefault(glance.service.currency, []).append(glance)
    return [_total(currency, group) for currency, group in sorted(found.items())]


def _total(currency: str, glances: list[Glance]) -> Total:
    known = [glance for glance in glances if glance.so_far is not None]
    so_far = exact_sum(glance.so_far for glance in known if glance.so_far is not None)
    later = [glance for glance in known if glance.is_expected_later]
    expected = sum((glance.expected or NOTHING.plus(glance.so_far or ZERO) for glance in known), NOTHING)
    return Total(currency, so_far, expected if len(later) < len(known) else None, len(later))


def next_invoices(glances: Sequence[Glance], *, today: date) -> list[NextInvoice]:
    """Return what each client is invoiced next, the next one first, in two queries."""
    running = [glance for glance in glances if _is_billed(glance.service)]
    if not running:
        return []
    products = {glance.service.product_id for glance in running}
    rows = execute(_PRICES, {"products": list(products)}, about=len(products))
    prices = {(product_id, cycle, currency): amount for product_id, cycle, currency, amount in rows}
    return _next_invoices(running, _drafts([glance.service for glance in running]), prices, today)


def next_invoice(glance: Glance, *, draft: DraftInvoice | None, today: date) -> NextInvoice | None:
    """Return what one service, read `with_fixed_price`, will be invoiced next; its open draft is known. No query."""
    service = glance.service
    running = [glance] if _is_billed(service) else []
    drafts = {service.pk: draft} if draft else {}
    key = service.product_id, service.cycle, service.currency
    prices = {} if service.fixed_price is None else {key: service.fixed_price}
    return next(iter(_next_invoices(running, drafts, prices, today)), None)


def _next_invoices(
    running: Sequence[Glance], drafts: Mapping[int, DraftInvoice], prices: Mapping[PriceKey, Decimal], today: date
) -> list[NextInvoice]:
    days: dict[int, list[tuple[date, Glance]]] = {}
    for glance in running:
        day = max(_issue_day(glance.service, drafts.get(glance.service.pk)), today)
        days.setdefault(glance.service.client_id, []).append((day, glance))
    found = []
    for group in days.values():
        on = min(day for day, _ in group)
        parts = [_part(glance, drafts.get(glance.service.pk), prices) for day, glance in group if day == on]
        found.append(NextInvoice(group[0][1].service.client, on, parts, len(group) - len(parts)))
    return sorted(found, key=lambda invoice: (invoice.on, invoice.client.name))


def _is_billed(service: Service) -> bool:
    if not service.is_billable or service.next_due_on is None:
        return False
    return service.status != Service.Status.SUSPENDED or service.product.bills_suspended


def _issue_day(service: Service, draft: DraftInvoice | None) -> date:
    """The day on which a term is invoiced: after its days as a draft, or so many days ahead of it."""
    if draft is not None:
        return draft.issue_on
    assert service.next_due_on is not None  # or it is not billed
    return service.next_due_on + timedelta(days=service.product.grace_days - service.product.invoice_days_ahead)


def _drafts(services: Sequence[Service]) -> dict[int, DraftInvoice]:
    """The newest versions of the drafts that are open, by service."""
    due = {service.pk: service.next_due_on for service in services}
    found: dict[int, DraftInvoice] = {}
    for row in _DRAFTS.all(list(due), list(set(due.values()))):
        if row.term_start == due[row.service_id]:
            found.setdefault(row.service_id, row)
    return found


def _part(glance: Glance, draft: DraftInvoice | None, prices: Mapping[PriceKey, Decimal]) -> Part:
    service = glance.service
    if draft is not None:
        return Part(service, draft=draft)
    price = prices.get((service.product_id, service.cycle, service.currency)) if service.renewal else None
    closes = service.next_term > 0  # the first invoice is made before anything is used
    so_far = None if glance.so_far is None else NOTHING.plus(glance.so_far)
    return Part(
        service,
        price=None if price is None else round_amount(price, service.currency),
        usage=glance.billed or so_far if closes else None,
        is_open=closes and glance.metrics > 0 and glance.expected is None,
    )
