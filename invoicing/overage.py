"""What is charged above soft limits, as lines of invoices, and what of it waits for the next invoice."""

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.models import OverageTerms, Service
from catalog.money import round_amount, write
from catalog.pricing import Bracket, Charge, Notation, Pricing, Scheme, rate
from catalog.quote import as_quoted, step_json
from catalog.wording import charge_sentence
from catalog.writing import Writing
from invoicing.drafts import Draft, DraftLine
from invoicing.models import Line, OverageCharge, Statement
from metering import dates
from metering.decimals import EXACT
from metering.periods import month
from metering.providers.base import BANDWIDTH, DISK

#: Charges that wait, with their lines, by service.
Waiting = dict[int, list[tuple[OverageCharge, DraftLine]]]

TITLES = {DISK: gettext_lazy("Disk space"), BANDWIDTH: gettext_lazy("Traffic")}


def pricing_of(terms: OverageTerms, name: str, currency: str) -> Pricing | None:
    """Return what terms charge for a metric, by its system name: each unit above the limit has one price.

    None where there is no limit, or no price in the currency.
    """
    limit, price = terms.limit(name), terms.price(name, currency)
    if limit is None or price is None:
        return None
    return Pricing(Scheme.PER_UNIT, (Bracket(Decimal(0), price),), included=limit, notation=Notation.ABOVE)


def rated(charge: OverageCharge, currency: str) -> Charge:
    """Rate all that was used in the month of a charge, by its terms."""
    pricing = pricing_of(charge.terms, charge.name, currency)
    assert pricing is not None  # or it would not have been charged
    return rate(pricing, charge.terms.unit.from_base(charge.value))


def line_of(charge: OverageCharge, service: Service, before: Decimal = Decimal(0)) -> DraftLine:
    """Return the line that charges it. `before` is what was charged for the month already."""
    currency, terms = service.currency, charge.terms
    pricing, whole = pricing_of(terms, charge.name, currency), rated(charge, currency)
    assert pricing is not None
    with Writing(service.client.language):
        told = {
            "what": TITLES[charge.name],
            "limit": terms.unit.write(pricing.included),
            "month": dates.month(charge.month),
        }
        title = _("%(what)s above %(limit)s, %(month)s") % told
        detail = f"{service.name}: {charge_sentence(pricing, whole, terms.unit, currency)}"
        if charge.part:
            title = _("%(what)s above %(limit)s, %(month)s, the rest") % told
            charged = write(before, currency)
            detail += "; " + _("%(amount)s of it were charged on the last day of the month") % {"amount": charged}
    return DraftLine(
        kind=Line.Kind.OVERAGE,
        service=service,
        title=title,
        detail=detail,
        start=charge.month,
        end=month(charge.month).end,
        quantity=whole.quantity,
        statement=Statement.of(terms.unit.as_json(), _stated(terms, pricing, currency)),
        steps=[step_json(step) for step in whole.steps],
        exact=EXACT.subtract(whole.amount, before) if charge.part else whole.amount,
        amount=charge.amount,
    )


def _stated(terms: OverageTerms, pricing: Pricing, currency: str) -> dict[str, Any]:
    """The prices as a line of usage states them, so that it is explained in the same way."""
    return {
        "version": terms.number,
        "effective_from": str(terms.effective_from),
        "aggregation": str(Aggregation.LATEST),
        "periods": str(Periods.SUMMED),
        "price_at": str(PriceAt.START),
        "currency": currency,
        **as_quoted(pricing),
    }


def amount_of(charge: OverageCharge, currency: str, before: Decimal = Decimal(0)) -> Decimal:
    """Return what a charge comes to, rounded once, less what was charged for its month before."""
    return EXACT.subtract(round_amount(rated(charge, currency).amount, currency), before)


def waiting(services: Iterable[Service]) -> Waiting:
    """Return the charges that wait for the next invoice of each service, with their lines."""
    by_pk = {service.pk: service for service in services}
    found = OverageCharge.objects.waiting().filter(service__in=by_pk).select_related("terms")
    lines: Waiting = {}
    for charge in found.prefetch_related("terms__prices").order_by("month", "name", "part"):
        before = charge.before if charge.part else Decimal(0)
        lines.setdefault(charge.service_id, []).append((charge, line_of(charge, by_pk[charge.service_id], before)))
    return lines


def strike(drafts: Iterable[Draft], waited: Waiting) -> None:
    """Note the lines on which charges that waited were issued."""
    done = [pair for draft in drafts for pair in waited.get(draft.service.pk, ())]
    note([charge.pk for charge, _ in done], [line.id for _, line in done])


def note(charges: Collection[int], lines: Collection[str]) -> None:
    """Note the lines of charges, in the order of both."""
    if charges:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE invoicing_overagecharge c SET line_id = d.line"
                " FROM unnest(%s::bigint[], %s::uuid[]) AS d (id, line) WHERE c.id = d.id",
                [list(charges), list(lines)],
            )


def move(before: Collection[UUID], after: Collection[str]) -> None:
    """Let charges follow their lines, which were voided, to those that replace them, in the order of both."""
    if before:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE invoicing_overagecharge c SET line_id = d.after"
                " FROM unnest(%s::uuid[], %s::uuid[]) AS d (before, after) WHERE c.line_id = d.before",
                [list(before), list(after)],
            )
