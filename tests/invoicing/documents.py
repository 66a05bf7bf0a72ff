"""Issued documents, written as they are: what pages and tables show of them, whatever issued them."""

import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from catalog.models import Client, MetricSetting, Product, Service
from catalog.money import round_amount
from catalog.pricing import Bracket, Notation, Pricing, Scheme, added, rate
from catalog.quote import as_quoted, step_json
from invoicing.models import BilledPeriod, Invoice, Line, Series, Statement
from metering.decimals import exact_sum
from metering.periods import Period, day, month
from metering.providers.base import MetricType
from metering.units import Unit
from tests.builders import a_service, at

#: $1.00 each.
ONE_DOLLAR = Pricing(Scheme.GRADUATED, (Bracket(Decimal(0), Decimal(1)),), notation=Notation.ABOVE)


@dataclass
class Written:
    """A line with its periods, not stored before its document is."""

    line: Line
    periods: list[BilledPeriod] = field(default_factory=list)


def fee(service: Service, amount: str = "24", title: str = "Business Web") -> Written:
    term = {"start": date(2026, 11, 1), "end": date(2026, 12, 1)}
    kind, price = Line.Kind.RECURRING, Decimal(amount)
    return Written(Line(kind=kind, service=service, title=title, exact=price, amount=price, **term))


def given_back(line: Line, amount: str) -> Written:
    """A credit for another reason than usage."""
    return Written(
        Line(
            kind=Line.Kind.CREDIT,
            service=line.service,
            title=line.title,
            start=line.start,
            end=line.end,
            credits=line,
            exact=Decimal(amount),
            amount=Decimal(amount),
        )
    )


def usage(
    service: Service,
    setting: MetricSetting,
    *periods: tuple[str, str],
    pricing: Pricing = ONE_DOLLAR,
    measured_on: str | None = None,
    end: str | None = None,
    each: bool = False,
    aggregation: str = "latest",
    revision: int = 0,
    part: int = 0,
    is_open: bool = False,
    **values: object,
) -> Written:
    """Usage of periods, by their first day: quantities in the unit of the metric.

    A level is billed for its term up to `end`, as it was `measured_on` a day.
    """
    unit = setting.metric.unit
    billed = [
        BilledPeriod(
            service=service,
            tenant_id=service.tenant_id,
            metric_id=setting.metric_id,
            start=(whole := _period(setting, start, end)).start,
            end=whole.end,
            measured_on=date.fromisoformat(measured_on or start),
            value=unit.to_base(Decimal(quantity)),
            revision=revision,
            part=part,
            is_open=is_open,
        )
        for start, quantity in periods
    ]
    quantities = [Decimal(quantity) for _, quantity in periods]
    charges = [rate(pricing, quantity) for quantity in (quantities if each else [exact_sum(quantities)])]
    starts = [{"period": str(period.start)} if each else {} for period in billed]
    exact = added(charges).amount
    line = Line(
        **{
            "kind": Line.Kind.USAGE,
            "service": service,
            "setting": setting,
            "title": f"{setting.metric}, {billed[0].start}",
            "detail": "as measured",
            "start": billed[0].start,
            "end": billed[-1].end,
            "quantity": exact_sum(quantities),
            "statement": _statement(unit, pricing, each=each, aggregation=aggregation),
            "steps": [
                start | step_json(step) for start, charge in zip(starts, charges, strict=False) for step in charge.steps
            ],
            "exact": exact,
            "amount": round_amount(exact, service.currency),
            **values,
        }
    )
    return Written(line, billed)


def _statement(unit: Unit, pricing: Pricing, *, each: bool, aggregation: str) -> Statement:
    how = {"aggregation": aggregation, "periods": "each" if each else "summed", "price_at": "start"}
    return Statement.of(unit.as_json(), as_quoted(pricing) | {"version": 1, "effective_from": "2020-01-01"} | how)


def _period(setting: MetricSetting, start: str, end: str | None) -> Period:
    first = date.fromisoformat(start)
    if end:
        return Period(first, date.fromisoformat(end))
    return month(first) if setting.metric.type == MetricType.MONTH else day(first)


def issued(client: Client, *written: Written, when: str = "2026-11-01 07:00", **values: object) -> Invoice:
    """Store a document with its lines, in their order. A credit note is one that `credits` an invoice."""
    at_issue = at(when)
    credited = values.get("credits")
    series, _ = Series.objects.get_or_create(
        code="C2026" if credited else "2026", defaults={"last_issued_on": at_issue.date()}
    )
    number = Invoice.objects.filter(series=series).count() + 1
    invoice = Invoice.objects.create(
        **{
            "kind": Invoice.Kind.CREDIT_NOTE if credited else Invoice.Kind.RENEWAL,
            "series": series,
            "number": f"{series.code}-{number:05d}",
            "client": client,
            "currency": client.currency,
            "issued_on": at_issue.date(),
            "due_on": at_issue.date() + timedelta(days=14),
            "total": exact_sum(each.line.amount for each in written),
            "seller": {"name": "Northquay", "address": ""},
            "buyer": {"name": client.name, "address": ""},
            "created_at": at_issue,
            "digest": uuid.uuid4().hex,
            **values,
        }
    )
    for position, each in enumerate(written, start=1):
        each.line.invoice, each.line.position = invoice, position
        if each.line.statement is not None:
            Statement.objects.bulk_create([each.line.statement], ignore_conflicts=True)
        each.line.save(force_insert=True)
        for period in each.periods:
            period.line = each.line
        BilledPeriod.objects.bulk_create(each.periods)
    return invoice


def an_invoice(total: str = "24", *, client: Client | None = None, currency: str = "USD", **values: object) -> Invoice:
    """Store an invoice of one recurring line. Days may be given as text."""
    client = client or Client.objects.create(name="Lindqvist & Moe", currency=currency, email="sara@client.test")
    product, _ = Product.objects.get_or_create(name="Business Web", slug="business-web")
    service = Service.objects.filter(client=client).first() or a_service(product, client, name="a web site")
    days = {
        key: date.fromisoformat(day) if isinstance(day, str) else day for key, day in values.items() if "_on" in key
    }
    return issued(client, fee(service, total), **{**values, **days})
