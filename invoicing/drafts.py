"""Rating: what there is to bill of a service becomes the lines of a document, still on paper only."""

import uuid
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from babel.dates import format_date

from catalog.models import MetricSetting, PricingVersion, ProductPrice, Service
from catalog.money import round_amount
from catalog.pricing import Charge, Pricing, PricingError, rate
from catalog.quote import step_json
from catalog.terms import Cycle, term
from catalog.wording import charge_sentence
from invoicing.models import MAX_AMOUNT, Line
from invoicing.unbilled import Billable, Item, Unbilled, Waiting
from metering.decimals import plain
from metering.periods import month
from metering.providers.base import MetricType


class CannotBill(Exception):
    """A service cannot be billed as things are. The message says why and what to change."""


@dataclass(slots=True)
class DraftLine:
    """A line item before it has a place on an invoice."""

    kind: str
    service: Service
    title: str
    detail: str
    start: date
    end: date
    exact: Decimal
    amount: Decimal
    setting: MetricSetting | None = None
    quantity: Decimal | None = None
    unit: dict[str, Any] | None = None
    pricing: dict[str, Any] | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(slots=True)
class Draft:
    """What one service brings to an invoice."""

    service: Service
    lines: list[DraftLine]
    waiting: list[Waiting]
    claim: int | None = None

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


def renewal(service: Service, unbilled: Unbilled, prices: dict[tuple[int, str, str], ProductPrice]) -> Draft:
    """Draft the next term's recurring line and the usage lines. Raises CannotBill."""
    return Draft(service, [_recurring(service, prices), *_usage_lines(service, unbilled)], unbilled.waiting)


def termination(service: Service, unbilled: Unbilled) -> Draft:
    """Draft the usage lines of the last invoice. Raises CannotBill."""
    return Draft(service, _usage_lines(service, unbilled), unbilled.waiting)


def _recurring(service: Service, prices: dict[tuple[int, str, str], ProductPrice]) -> DraftLine:
    price = prices.get((service.product_id, service.cycle, service.currency))
    if price is None:
        raise CannotBill(
            f"{service.product} has no {service.cycle} price in {service.currency}. Add it to the product's prices."
        )
    period = term(service.anchor, Cycle(service.cycle), service.next_term)
    return DraftLine(
        kind=Line.Kind.RECURRING,
        service=service,
        title=service.product.name,
        detail=f"{service.name}, {span_words(period.start, period.end)}",
        start=period.start,
        end=period.end,
        exact=price.amount,
        amount=round_amount(price.amount, service.currency),
    )


def _usage_lines(service: Service, unbilled: Unbilled) -> list[DraftLine]:
    return [_usage_line(service, billable) for billable in unbilled.billable]


def _usage_line(service: Service, billable: Billable) -> DraftLine:
    setting, version, items = billable.setting, billable.version, billable.items
    pricing, charge = _rated(service, billable)
    detail = charge_sentence(pricing, charge, setting.unit, service.currency)
    if billable.missing:
        names = ", ".join(format_date(period.start, "MMMM y", locale="en") for period in billable.missing)
        detail += f"; nothing was recorded for {names}, which counts as none"
    return DraftLine(
        kind=Line.Kind.USAGE,
        service=service,
        setting=setting,
        title=_title(setting, items),
        detail=detail,
        start=items[0].start,
        end=items[-1].end,
        quantity=charge.quantity,
        unit=setting.unit.as_json(),
        pricing=pricing_json(version, pricing, service.currency),
        steps=[step_json(step) for step in charge.steps],
        items=items,
        exact=charge.amount,
        amount=round_amount(charge.amount, service.currency),
    )


def _rated(service: Service, billable: Billable) -> tuple[Pricing, Charge]:
    try:
        pricing = billable.version.pricing(service.currency)
        if pricing is None:
            raise CannotBill(
                f"No price in {service.currency} for {billable.setting.metric} of {service.product}. Add a version of "
                f"its pricing that has one, in force from {billable.items[0].start} or before."
            )
        charge = rate(pricing, billable.quantity)
    except PricingError as error:
        raise CannotBill(f"{billable.setting.metric} of {service.product} cannot be rated: {error}.") from error
    if charge.amount > MAX_AMOUNT:
        raise CannotBill(f"{billable.setting.metric} comes to {charge.amount:.3E}, more than any invoice may state.")
    return pricing, charge


def pricing_json(version: PricingVersion, pricing: Pricing, currency: str) -> dict[str, Any]:
    """The prices as they are frozen on a line; the keys are those of `quote`."""
    return {
        "version": version.number,
        "effective_from": str(version.effective_from),
        "scheme": pricing.scheme,
        "notation": pricing.notation,
        "included": plain(pricing.included),
        "package_size": plain(pricing.package_size),
        "currency": currency,
        "brackets": [
            {
                "start": plain(bracket.start),
                "unit_price": plain(bracket.unit_price),
                "flat_fee": plain(bracket.flat_fee),
            }
            for bracket in pricing.brackets
        ],
    }


def _title(setting: MetricSetting, items: list[Item]) -> str:
    name, metric = setting.metric.display_name, setting.metric
    if metric.type == MetricType.SNAPSHOT:
        return f"{name}, measured on {format_date(items[0].measured_on, 'd MMMM y', locale='en')}"
    start, end = items[0].start, items[-1].end
    if metric.type == MetricType.MONTH and start == month(start).start:
        return f"{name}, {_months(start, items[-1].start)}"
    return f"{name}, {span_words(start, end)}"


def _months(first: date, last: date) -> str:
    if first == last:
        return str(format_date(first, "MMMM y", locale="en"))
    if first.year == last.year:
        return f"{format_date(first, 'MMMM', locale='en')} to {format_date(last, 'MMMM y', locale='en')}"
    return f"{format_date(first, 'MMMM y', locale='en')} to {format_date(last, 'MMMM y', locale='en')}"


def span_words(start: date, end: date) -> str:
    """`1 November to 1 December 2026`, the end not included."""
    pattern = "d MMMM" if start.year == end.year else "d MMMM y"
    return f"{format_date(start, pattern, locale='en')} to {format_date(end, 'd MMMM y', locale='en')}"
