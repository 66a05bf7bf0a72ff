"""Rating: what there is to bill of a service becomes the lines of a document, still on paper only."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel.dates import format_date

from catalog.aggregation import Aggregation
from catalog.in_force import InForce
from catalog.models import MetricSetting, ProductPrice, Service
from catalog.money import round_amount
from catalog.pricing import Charge, Pricing, PricingError, added
from catalog.quote import as_quoted, step_json
from catalog.terms import Cycle, term
from catalog.wording import AGGREGATIONS, charge_sentence
from invoicing.models import MAX_AMOUNT, Line
from invoicing.unbilled import Billable, Item, Unbilled, Waiting
from metering.decimals import exact_sum
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
    in_force: InForce | None = None
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
        return exact_sum(line.amount for line in self.lines)


def renewal(service: Service, unbilled: Unbilled, prices: dict[tuple[int, str, str], ProductPrice]) -> Draft:
    """Draft the next term's recurring line and the usage lines. Raises CannotBill."""
    return _drafted(service, [_recurring(service, prices), *_usage_lines(service, unbilled)], unbilled)


def termination(service: Service, unbilled: Unbilled) -> Draft:
    """Draft the usage lines of the last invoice. Raises CannotBill."""
    return _drafted(service, _usage_lines(service, unbilled), unbilled)


def _drafted(service: Service, lines: list[DraftLine], unbilled: Unbilled) -> Draft:
    draft = Draft(service, lines, unbilled.waiting)
    if draft.total >= MAX_AMOUNT:
        raise CannotBill(f"It comes to {draft.total:.3E}, more than any invoice may state.")
    return draft


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
    setting, in_force, items = billable.setting, billable.in_force, billable.items
    pricing, charges = _rated(service, billable)
    charge = added(charges)
    return DraftLine(
        kind=Line.Kind.USAGE,
        service=service,
        setting=setting,
        in_force=in_force,
        title=_title(setting, in_force, items),
        detail=_detail(billable, pricing, charges, service.currency),
        start=items[0].start,
        end=items[-1].end,
        quantity=charge.quantity,
        unit=in_force.unit.as_json(),
        pricing=pricing_json(in_force, pricing, service.currency) | _term_days(items),
        steps=list(_steps(billable, charges)),
        items=items,
        exact=charge.amount,
        amount=round_amount(charge.amount, service.currency),
    )


def _rated(service: Service, billable: Billable) -> tuple[Pricing, list[Charge]]:
    try:
        pricing = billable.in_force.pricing(service.currency)
        if pricing is None:
            raise CannotBill(
                f"No price in {service.currency} for {billable.setting.metric} of {service.product}. Add a version of "
                f"its pricing that has one, in force from {billable.items[0].start} or before."
            )
        charges = billable.charges(pricing)
    except PricingError as error:
        raise CannotBill(f"{billable.setting.metric} of {service.product} cannot be rated: {error}.") from error
    if (total := added(charges).amount) >= MAX_AMOUNT:
        raise CannotBill(f"{billable.setting.metric} comes to {total:.3E}, more than any invoice may state.")
    return pricing, charges


def _detail(billable: Billable, pricing: Pricing, charges: list[Charge], currency: str) -> str:
    """Say how the amount came about; of many periods that are rated by themselves, the steps say it."""
    unit = billable.in_force.unit
    if len(charges) == 1:
        detail = charge_sentence(pricing, charges[0], unit, currency)
    else:
        detail = f"{unit.write(added(charges).quantity)} in {len(charges)} periods, each rated by itself"
    if billable.missing:
        names = ", ".join(format_date(period.start, "MMMM y", locale="en") for period in billable.missing)
        detail += f"; nothing was recorded for {names}, which counts as none"
    if billable.in_force.override is not None:
        detail += f"; {billable.in_force.override.sentence}"
    return detail


def _steps(billable: Billable, charges: list[Charge]) -> Iterator[dict[str, Any]]:
    """The steps of all charges; where each period is rated by itself, they name its first day."""
    for item, charge in zip(billable.items, charges, strict=False):
        for step in charge.steps:
            yield {"period": str(item.start), **step_json(step)} if len(charges) > 1 else step_json(step)


def pricing_json(in_force: InForce, pricing: Pricing, currency: str) -> dict[str, Any]:
    """The prices as they are frozen on a line; the keys of the pricing are those of `quote`."""
    version, override = in_force.version, in_force.override
    frozen: dict[str, Any] = {
        "version": version.number,
        "effective_from": str(version.effective_from),
        "aggregation": version.aggregation,
        "periods": version.periods,
        "price_at": version.price_at,
        "currency": currency,
        **as_quoted(pricing),
    }
    if override is not None:
        frozen["override"] = {
            "start": str(override.start),
            "end": str(override.end) if override.end else None,
            "reason": override.reason,
        }
    return frozen


def _term_days(items: list[Item]) -> dict[str, int]:
    """What an aggregated level was measured against, if the line is one."""
    return {"term_days": items[0].days} if items[0].days else {}


def _title(setting: MetricSetting, in_force: InForce, items: list[Item]) -> str:
    name, metric = setting.metric.display_name, setting.metric
    if metric.type == MetricType.SNAPSHOT and in_force.version.aggregation != Aggregation.LATEST:
        how = AGGREGATIONS[Aggregation(in_force.version.aggregation)]
        return f"{name}, {how}, {span_words(items[0].start, items[0].end)}"
    if metric.type == MetricType.SNAPSHOT:
        return f"{name}, measured on {_day(items[0].measured_on)}"
    start, end = items[0].start, items[-1].end
    if metric.type == MetricType.MONTH and start == month(start).start:
        return f"{name}, {_months(start, items[-1].start)}"
    return f"{name}, {span_words(start, end)}"


@lru_cache(maxsize=4096)
def _day(day: date) -> str:
    return str(format_date(day, "d MMMM y", locale="en"))


@lru_cache(maxsize=4096)
def _months(first: date, last: date) -> str:
    if first == last:
        return str(format_date(first, "MMMM y", locale="en"))
    if first.year == last.year:
        return f"{format_date(first, 'MMMM', locale='en')} to {format_date(last, 'MMMM y', locale='en')}"
    return f"{format_date(first, 'MMMM y', locale='en')} to {format_date(last, 'MMMM y', locale='en')}"


@lru_cache(maxsize=4096)
def span_words(start: date, end: date) -> str:
    """`1 November to 1 December 2026`, the end not included."""
    pattern = "d MMMM" if start.year == end.year else "d MMMM y"
    return f"{format_date(start, pattern, locale='en')} to {format_date(end, 'd MMMM y', locale='en')}"
