"""Rating: what there is to bill of a service becomes the lines of a document, still on paper only."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from catalog.aggregation import Aggregation
from catalog.in_force import InForce
from catalog.models import MetricSetting, ProductPrice, Service
from catalog.money import round_amount
from catalog.pricing import Charge, Pricing, PricingError, added
from catalog.quote import as_quoted, step_json, step_text
from catalog.terms import Cycle
from catalog.wording import AGGREGATIONS, PER_CYCLE, charge_sentence
from catalog.writing import Writing
from invoicing import chain, reasons, required
from invoicing.billable import Billable, Item, Unbilled, Waiting
from invoicing.models import MAX_AMOUNT, Line, Statement
from metering import dates, language
from metering.decimals import exact_sum, plain
from metering.periods import Period, month
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
    version_id: int | None = None
    override_id: int | None = None
    quantity: Decimal | None = None
    statement: Statement | None = None
    steps: str | list[dict[str, Any]] = "[]"
    items: list[Item] = field(default_factory=list)
    corrects: uuid.UUID | None = None
    credits: uuid.UUID | None = None
    before: Decimal | None = None
    settled: Decimal = Decimal(0)
    #: Whose usage it bills, if not that of the tenant that the service has now.
    tenant_id: int | None = None
    #: The claim by which its usage came to nothing before, on no invoice.
    claim: int | None = None
    #: What it says as its row has it, where that was written already.
    written: str = ""
    #: Given when it is issued.
    id: str = ""

    @property
    def said(self) -> str:
        """The values of chain.SAID."""
        return self.written or chain.row(
            (
                *(self.setting.id if self.setting else None, self.version_id, self.override_id),
                *(self.title, self.detail, self.start, self.end, self.quantity),
                *(self.statement.id if self.statement else None, self.steps, self.exact, self.amount),
            )
        )

    @property
    def unit(self) -> dict[str, Any] | None:
        return self.statement.unit if self.statement else None

    @property
    def pricing(self) -> dict[str, Any] | None:
        return self.statement.pricing if self.statement else None

    def as_json(self) -> dict[str, str | None]:
        """What a client sees of it, to be kept with a draft invoice."""
        return {
            "kind": str(self.kind),
            "title": self.title,
            "detail": self.detail,
            "start": str(self.start),
            "end": str(self.end),
            "amount": plain(self.amount),
        }


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


def renewal(
    service: Service,
    unbilled: Unbilled,
    prices: dict[tuple[int, str, str], ProductPrice],
    adjustments: Iterable[DraftLine] = (),
) -> Draft:
    """Draft the next term's recurring line, the usage lines and what is adjusted. Raises CannotBill."""
    recurring = [recurring_line(service, period, prices)] if (period := service.renewal) else []
    return _drafted(service, [*recurring, *usage_lines(service, unbilled), *adjustments], unbilled.waiting)


def of_usage(service: Service, unbilled: Unbilled, adjustments: Iterable[DraftLine] = ()) -> Draft:
    """Draft an invoice of usage alone, as the last one of a service. Raises CannotBill."""
    return _drafted(service, [*usage_lines(service, unbilled), *adjustments], unbilled.waiting)


def _drafted(service: Service, lines: list[DraftLine], waiting: list[Waiting]) -> Draft:
    if why_not := required.why_not(service.client):
        raise CannotBill(why_not)
    draft = Draft(service, lines, waiting)
    # A tax is at most as much again.
    if draft.total >= (MAX_AMOUNT // 2 if service.client.tax_rate_id else MAX_AMOUNT):
        raise _cannot_bill(reasons.TOO_MUCH, sum=f"{draft.total:.3E}")
    return draft


def recurring_line(service: Service, period: Period, prices: dict[tuple[int, str, str], ProductPrice]) -> DraftLine:
    price = prices.get((service.product_id, service.cycle, service.currency))
    if price is None:
        per_cycle = PER_CYCLE[Cycle(service.cycle)]
        raise _cannot_bill(
            reasons.NO_CYCLE_PRICE, product=service.product, per_cycle=per_cycle, currency=service.currency
        )
    with Writing(service.client.language):
        days = dates.span(period.start, period.end)
    return DraftLine(
        kind=Line.Kind.RECURRING,
        service=service,
        title=service.product.name,
        detail=f"{service.name}, {days}",
        start=period.start,
        end=period.end,
        exact=price.amount,
        amount=round_amount(price.amount, service.currency),
    )


def usage_lines(service: Service, unbilled: Unbilled) -> list[DraftLine]:
    """Rate what there is to bill. Raises CannotBill."""
    with Writing(service.client.language):
        # what texts of prices are kept under: they are of a currency, and in a language
        told = f"{service.currency} {language.current()}"
        return [_usage_line(service, billable, told) for billable in unbilled.billable]


def _usage_line(service: Service, billable: Billable, told: str) -> DraftLine:
    """Rate periods that have the same prices. What was rated for another service already is only said again."""
    stated = billable.in_force.known.get(told)
    if stated is None:
        stated = billable.in_force.known[told] = _stated(service, billable)
    items = billable.items
    if len(items) > 1 or billable.missing:
        return _new_line(service, billable, stated)
    [item] = items
    key = (item.value, item.start, item.end, item.measured_on, item.days)
    known = stated.lines.get(key)
    if known is None:
        line = stated.lines[key] = _new_line(service, billable, stated)
        line.written = line.said
        return line
    return DraftLine(
        known.kind,
        service,
        known.title,
        known.detail,
        known.start,
        known.end,
        known.exact,
        known.amount,
        known.setting,
        known.version_id,
        known.override_id,
        known.quantity,
        known.statement,
        known.steps,
        items,
        written=known.written,
    )


def _new_line(service: Service, billable: Billable, stated: "_Stated") -> DraftLine:
    setting, in_force, items = billable.setting, billable.in_force, billable.items
    charges = _charges(service, billable, stated)
    charge = added(charges)
    return DraftLine(
        kind=Line.Kind.USAGE,
        service=service,
        setting=setting,
        version_id=in_force.version.id,
        override_id=in_force.override.id if in_force.override else None,
        title=stated.title(setting, items),
        detail=_detail(billable, stated.pricing, charges, stated.currency),
        start=items[0].start,
        end=items[-1].end,
        quantity=charge.quantity,
        statement=stated.statement(items),
        steps=stated.steps(items, charges),
        items=items,
        exact=charge.amount,
        amount=round_amount(charge.amount, stated.currency),
    )


@dataclass(slots=True)
class _Stated:
    """Prices as lines state them. Lines of the same prices share one, so that its texts are made once.

    `lines` are those of a single period that were drafted already, by what they are about, and `whole` the texts of
    the steps that are used up.
    """

    in_force: InForce
    currency: str
    pricing: Pricing
    by_days: dict[int, Statement] = field(default_factory=dict)
    titles: dict[tuple[date, ...], str] = field(default_factory=dict)
    lines: dict[tuple[Any, ...], DraftLine] = field(default_factory=dict)
    whole: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.whole = {id(step): step_text(step) for step in self.pricing.whole_steps}

    def statement(self, items: list[Item]) -> Statement:
        """The unit and prices as they are frozen, for an aggregated level with the days that it was measured
        against."""
        days = items[0].days
        if days not in self.by_days:
            term_days = {"term_days": days} if days else {}
            frozen = _pricing_json(self.in_force, self.pricing, self.currency) | term_days
            self.by_days[days] = Statement.of(self.in_force.unit.as_json(), frozen)
        return self.by_days[days]

    def steps(self, items: list[Item], charges: list[Charge]) -> str | list[dict[str, Any]]:
        """The steps of all charges; where each period is rated by itself, they name its first day."""
        if len(charges) > 1:
            return [
                {"period": str(item.start), **step_json(step)}
                for item, charge in zip(items, charges, strict=True)
                for step in charge.steps
            ]
        # The steps of brackets that are used up are the same objects for every quantity.
        texts = [self.whole.get(id(step)) or step_text(step) for step in charges[0].steps]
        return f"[{','.join(texts)}]"

    def title(self, setting: MetricSetting, items: list[Item]) -> str:
        first, last = items[0], items[-1]
        key = (first.start, first.end, first.measured_on, last.start, last.end)
        if key not in self.titles:
            self.titles[key] = _title(setting, self.in_force, items)
        return self.titles[key]


def _stated(service: Service, billable: Billable) -> _Stated:
    """Return what lines of these prices state. Raises CannotBill."""
    in_force, currency = billable.in_force, service.currency
    try:
        pricing = in_force.pricing(currency)
    except PricingError as error:
        raise _cannot_rate(service, billable, error) from error
    if pricing is None:
        told = {"metric": billable.setting.metric, "product": service.product}
        raise _cannot_bill(reasons.NO_PRICE, currency=currency, day=billable.items[0].start, **told)
    return _Stated(in_force, currency, pricing)


def _charges(service: Service, billable: Billable, stated: _Stated) -> list[Charge]:
    try:
        charges = billable.charges(stated.pricing)
    except PricingError as error:
        raise _cannot_rate(service, billable, error) from error
    if (total := added(charges).amount) >= MAX_AMOUNT:
        raise _cannot_bill(reasons.METRIC_TOO_MUCH, metric=billable.setting.metric, sum=f"{total:.3E}")
    return charges


def _cannot_rate(service: Service, billable: Billable, error: PricingError) -> CannotBill:
    told = {"metric": billable.setting.metric, "product": service.product}
    return _cannot_bill(reasons.NOT_RATED, problem=error, **told)


def _cannot_bill(reason: str, **told: object) -> CannotBill:
    with Writing("en"):  # as all reasons that are kept
        return CannotBill(reason % told)


def _detail(billable: Billable, pricing: Pricing, charges: list[Charge], currency: str) -> str:
    """Say how the amount came about; of many periods that are rated by themselves, the steps say it."""
    unit = billable.in_force.unit
    if len(charges) == 1:
        detail = charge_sentence(pricing, charges[0], unit, currency)
    else:
        told = {"quantity": unit.write(added(charges).quantity), "count": len(charges)}
        detail = _("%(quantity)s in %(count)s periods, each rated by itself") % told
    if billable.missing:
        names = ", ".join(dates.month(period.start) for period in billable.missing)
        detail += "; " + _("nothing was recorded for %(months)s, which counts as none") % {"months": names}
    if billable.in_force.override is not None:
        detail += f"; {billable.in_force.override.sentence}"
    return detail


def _pricing_json(in_force: InForce, pricing: Pricing, currency: str) -> dict[str, Any]:
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
    if in_force.invoiced is not None:
        frozen["invoiced"] = str(in_force.invoiced)
    if override is not None:
        frozen["override"] = {
            "start": str(override.start),
            "end": str(override.end) if override.end else None,
            "reason": override.reason,
        }
    return frozen


def _title(setting: MetricSetting, in_force: InForce, items: list[Item]) -> str:
    name, metric = str(setting.metric), setting.metric
    if metric.type == MetricType.SNAPSHOT and in_force.version.aggregation != Aggregation.LATEST:
        how = AGGREGATIONS[Aggregation(in_force.version.aggregation)]
        return f"{name}, {how}, {dates.span(items[0].start, items[0].end)}"
    if metric.type == MetricType.SNAPSHOT:
        day = dates.full_day(items[0].measured_on)
        return _("%(metric)s, measured on %(day)s") % {"metric": name, "day": day}
    start, end = items[0].start, items[-1].end
    if metric.type == MetricType.MONTH and start == month(start).start:
        return f"{name}, {dates.months(start, items[-1].start)}"
    return f"{name}, {dates.span(start, end)}"
