"""Charging what was used above soft limits: once for each service, metric and calendar month.

A month is charged on its last day, with what was measured until then, and compared once more when its server has
had two days to say the rest: what is more is charged, what is less is given back. Months that were missed are
made up for. Each batch is one durable transaction; a second run finds nothing to do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from catalog.models import OVER, OverageTerms, Product, Service
from catalog.overage import in_force
from catalog.writing import Writing
from invoicing import credits, issuing, required
from invoicing.batch import together
from invoicing.drafts import Draft, DraftLine
from invoicing.models import Invoice, OverageCharge
from invoicing.overage import amount_of, line_of, note, pricing_of
from metering.decimals import EXACT
from metering.periods import Period, month
from metering.providers.base import BANDWIDTH, DISK

BATCH = 500
#: Months that are made up for after a standstill.
MONTHS = 12
#: After a month ended, its servers are asked again for so long.
SETTLES_AFTER = timedelta(days=2)
NAMES = (DISK, BANDWIDTH)
CHARGE, REST = 0, 1

#: The last level of the month, and its traffic, of the tenants of some services. None: nothing was measured.
_MEASURED = """
SELECT s.id,
    (SELECT u.value FROM metering_usage u JOIN metering_metric m ON m.id = u.metric_id
        WHERE m.provider = v.provider AND m.system_name = %(disk)s AND u.tenant_id = s.tenant_id
            AND u.start >= %(begin)s AND u.start < least(%(end)s, s.terminated_on + 1)
        ORDER BY u.start DESC LIMIT 1),
    (SELECT sum(u.value) FROM metering_usage u JOIN metering_metric m ON m.id = u.metric_id
        WHERE m.provider = v.provider AND m.system_name = %(bandwidth)s AND u.tenant_id = s.tenant_id
            AND u.start >= %(begin)s AND u.start < %(end)s)
FROM catalog_service s
JOIN metering_tenant t ON t.id = s.tenant_id JOIN metering_server v ON v.id = t.server_id
WHERE s.id = ANY(%(services)s)
"""


@dataclass
class Outcome:
    """What charging did: charges above zero, the documents made, and the services without a price."""

    charges: int = 0
    documents: int = 0
    unpriced: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        said = f"{self.charges} charges, {self.documents} documents"
        return f"{said}; {len(self.unpriced)} services have no price in their currency" if self.unpriced else said


def charge_overage(*, on: date, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Charge every month whose last day is here or over, and settle those that are over for two days."""
    outcome = Outcome()
    products = Product.objects.filter(overage_terms__isnull=False).distinct()
    known = {each.pk: list(each.overage_terms.all()) for each in products.prefetch_related("overage_terms__prices")}
    for period in _months(on):
        terms = {pk: chosen for pk, each in known.items() if (chosen := in_force(each, period.start))}
        if not terms:
            continue
        parts = [CHARGE, REST] if on >= period.end + SETTLES_AFTER else [CHARGE]
        for part in parts:
            for ids in together(_due(terms, period, part), BATCH):
                if should_stop():
                    return outcome
                with transaction.atomic(durable=True):
                    _charge(ids, terms, period, part, on, at, outcome)
    return outcome


def _months(on: date) -> Iterator[Period]:
    """The months to look at, oldest first: the last of them ends today or is over."""
    last = month(on + timedelta(days=1)).start - timedelta(days=1)
    periods = [month(last)]
    while len(periods) < MONTHS:
        periods.append(month(periods[-1].start - timedelta(days=1)))
    yield from reversed(periods)


def _due(terms: dict[int, OverageTerms], period: Period, part: int) -> list[tuple[int, int]]:
    """The services, with their clients, that had a product with terms in a month and lack a charge of it."""
    charges = OverageCharge.objects.filter(service=OuterRef("pk"), month=period.start)
    if part == REST:
        lacking = Q(pk=None)
        for name in NAMES:
            of_name = charges.filter(name=name)
            lacking |= Q(Exists(of_name.filter(part=CHARGE)), ~Exists(of_name.filter(part=REST)))
        return list(Service.objects.filter(lacking).order_by("client", "pk").values_list("pk", "client"))
    living = Q(status__in=[Service.Status.ACTIVE, Service.Status.SUSPENDED], anchor__lt=period.end)
    taken = Service.objects.exclude(status__in=OVER).filter(tenant=OuterRef("tenant"))
    ended = Q(status=Service.Status.TERMINATED, terminated_on__gte=period.start, anchor__lt=period.end)
    services = Service.objects.filter(living | (ended & ~Exists(taken)), tenant__isnull=False, product__in=terms)
    services = services.exclude(status=Service.Status.SUSPENDED, product__bills_suspended=False)
    lacking = Q(pk=None)
    for name in NAMES:
        charged = [pk for pk, each in terms.items() if each.limit(name) is not None]
        lacking |= Q(~Exists(charges.filter(name=name, part=CHARGE)), product__in=charged)
    return list(services.filter(lacking).order_by("client", "pk").values_list("pk", "client"))


def _charge(
    ids: list[int],
    terms: dict[int, OverageTerms],
    period: Period,
    part: int,
    on: date,
    at: datetime,
    outcome: Outcome,
) -> None:
    services = list(
        Service.objects.filter(pk__in=ids)
        .select_related("client", "product", "tenant__server")
        .select_for_update(skip_locked=True, of=("self",))
    )
    # A month that cannot be invoiced is made up for later, like one that was missed.
    services = [service for service in services if not required.why_not(service.client)]
    measured = _measured(services, period)
    known = defaultdict(dict)  # type: ignore[var-annotated]
    before = OverageCharge.objects.filter(service__in=services, month=period.start)
    for charge in before.select_related("terms", "line__invoice").prefetch_related("terms__prices"):
        known[charge.service_id, charge.name][charge.part] = charge
    made: list[OverageCharge] = []
    for service in services:
        for name in NAMES:
            charges, value = known[service.pk, name], measured[service.pk][name]
            if part in charges or value is None or (part == REST and CHARGE not in charges):
                continue
            first = charges.get(CHARGE)
            held_to = first.terms if first else terms.get(service.product_id)
            if held_to is None or held_to.limit(name) is None:
                continue
            # The rest of a month is compared with what was charged, in the currency of that.
            currency = first.currency if first else service.currency
            if pricing_of(held_to, name, currency) is None:
                outcome.unpriced.add(service.pk)
                continue
            made.append(_charged(service, name, period, held_to, currency, value, first, at))
    _issue(made, {service.pk: service for service in services}, on, at, outcome)


def _charged(
    service: Service,
    name: str,
    period: Period,
    terms: OverageTerms,
    currency: str,
    value: Decimal,
    first: OverageCharge | None,
    at: datetime,
) -> OverageCharge:
    charge = OverageCharge(
        service=service,
        name=name,
        month=period.start,
        part=REST if first else CHARGE,
        terms=terms,
        currency=currency,
        value=value,
        at=at,
    )
    charge.before = first.amount if first else Decimal(0)
    charge.amount = amount_of(charge, currency, charge.before)
    return charge


def _issue(made: list[OverageCharge], services: dict[int, Service], on: date, at: datetime, outcome: Outcome) -> None:
    """Put charges on invoices of their own, or leave them to the next ones; give back what was too much.

    What is in another currency than the client's by now waits until that is back.
    """
    own: dict[int, list[tuple[OverageCharge, DraftLine]]] = defaultdict(list)
    for charge in made:
        service = services[charge.service_id]
        is_own = charge.terms.has_own_invoice or service.status in OVER
        if charge.amount > 0 and is_own and charge.currency == service.currency:
            own[service.pk].append((charge, line_of(charge, service, charge.before)))
    OverageCharge.objects.bulk_create(made)
    if own:
        drafts = [Draft(services[pk], [line for _, line in pairs], []) for pk, pairs in own.items()]
        documents = issuing.grouped(Invoice.Kind.OVERAGE, drafts, dict.fromkeys(own, on))
        issuing.issue(documents, on=on, at=at)
        pairs = [pair for each in own.values() for pair in each]
        note([charge.pk for charge, _ in pairs], [line.id for _, line in pairs])
        outcome.documents += len(documents)
    for charge in made:
        if charge.amount < 0:
            outcome.documents += _give_back(charge, services[charge.service_id], on, at)
    outcome.charges += sum(charge.amount > 0 for charge in made)


def _give_back(charge: OverageCharge, service: Service, on: date, at: datetime) -> int:
    """Give back what a month was charged too much. What is on no invoice yet is charged less instead."""
    first = OverageCharge.objects.select_related("line__invoice").get(
        service=service, name=charge.name, month=charge.month, part=CHARGE
    )
    if first.line is None:
        less = EXACT.add(first.amount, charge.amount)
        OverageCharge.objects.filter(pk=first.pk).update(value=charge.value, amount=less)
        OverageCharge.objects.filter(pk=charge.pk).update(amount=0, before=less)
        return 0
    left = credits.left_of(first.line.invoice)[first.line.pk]
    if given := min(left, -charge.amount):
        with Writing(service.client.language):
            told = {"title": first.line.title}
            reason = _("%(title)s: less was used than was measured on the last day of the month.") % told
        credits.credit(invoice=first.line.invoice, amounts={first.line.pk: given}, reason=reason, on=on, at=at)
        return 1
    return 0


def _measured(services: Sequence[Service], period: Period) -> dict[int, dict[str, Decimal | None]]:
    with connection.cursor() as cursor:
        cursor.execute(
            _MEASURED,
            {
                "services": [service.pk for service in services],
                "disk": DISK,
                "bandwidth": BANDWIDTH,
                "begin": period.start,
                "end": period.end,
            },
        )
        return {pk: {DISK: disk, BANDWIDTH: traffic} for pk, disk, traffic in cursor.fetchall()}
