"""What the client API answers: the shape of each thing, and how a row is written in it."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from ninja import Field, Schema

from catalog.models import MetricSetting, Service
from catalog.money import round_amount
from invoicing.models import Invoice, Line
from metering.decimals import plain
from metering.models import Usage
from metering.units import Unit


class Refused(Schema):
    """Why there is no answer."""

    error: str = Field(examples=["There is no such invoice."])


class ServiceMetric(Schema):
    """A metric that is shown for a service. Its usage is asked for by `system_name`."""

    system_name: str = Field(examples=["bandwidth"])
    name: str
    type: str = Field(description="snapshot: a level. day, month, counter: what adds up.")
    unit: str = Field(examples=["GB"], description="In which its quantities are given.")


class OneService(Schema):
    """A service."""

    id: UUID
    name: str
    product: str
    status: str = Field(examples=["active"])
    currency: str = Field(examples=["USD"])
    cycle: str = Field(examples=["monthly"])
    starts_on: date
    next_due_on: date | None
    terminated_on: date | None


class ServiceWithMetrics(OneService):
    """A service and the metrics that are shown for it."""

    metrics: list[ServiceMetric]


class Used(Schema):
    """What was used in one period, half-open: a day, or a calendar month."""

    start: date
    end: date
    quantity: str = Field(examples=["12.5"])


class InvoiceTax(Schema):
    """The tax of a document: one rate, of the sum of its lines."""

    name: str = Field(examples=["VAT"])
    percent: str = Field(examples=["19", "8.1"])
    amount: str = Field(examples=["3.42"], description="With the decimals of the currency.")
    note: str = Field(examples=["Reverse charge"], description="What the law wants said; empty where it wants nothing.")


class OneInvoice(Schema):
    """An issued document. A credit note is one, too: its total is given back for the invoice that it `credits`."""

    id: UUID
    number: str = Field(examples=["2026-00042"])
    kind: str = Field(examples=["renewal", "credit_note"])
    issued_on: date
    due_on: date
    currency: str = Field(examples=["USD"])
    net: str = Field(examples=["18.00"], description="The sum of its lines, before tax.")
    tax: InvoiceTax | None = Field(description="null: it is not taxed.")
    total: str = Field(
        examples=["21.42"], description="What is to be paid, with tax. With the decimals of its currency."
    )
    paid: str
    left: str = Field(description="What is left to pay; below zero it is owed to the client.")
    state: str = Field(description="unpaid, part_paid, paid, overdue and so on; empty for a credit note.")
    credits: UUID | None


class OneLine(Schema):
    """A line of a document. What a line of kind `credit` says is given back."""

    id: UUID
    position: int
    kind: str = Field(examples=["usage"])
    service: UUID
    title: str
    detail: str
    start: date
    end: date
    quantity: str | None
    unit: str | None = Field(examples=["GB"])
    exact: str = Field(description="Before the one rounding.")
    amount: str = Field(examples=["18.00"], description="Before tax.")
    steps: list[dict[str, Any]] = Field(description="How the amount came about; they add up to `exact`.")


class Services(Schema):
    items: list[OneService]
    next: str | None


class Usages(Schema):
    metric: str
    unit: str
    items: list[Used]
    next: str | None


class Invoices(Schema):
    items: list[OneInvoice]
    next: str | None


class Lines(Schema):
    items: list[OneLine]
    next: str | None


def of_service(service: Service) -> dict[str, Any]:
    return {
        "id": service.public_id,
        "name": service.name,
        "product": service.product.name,
        "status": service.status,
        "currency": service.currency,
        "cycle": service.cycle,
        "starts_on": service.anchor,
        "next_due_on": service.next_due_on,
        "terminated_on": service.terminated_on,
    }


def of_metric(setting: MetricSetting) -> dict[str, str]:
    metric = setting.metric
    unit = metric.unit
    return {
        "system_name": metric.system_name,
        "name": metric.display_name or metric.system_name,
        "type": metric.type,
        "unit": unit.symbol or unit.plural,
    }


def of_usage(usage: Usage, unit: Unit) -> dict[str, Any]:
    return {"start": usage.start, "end": usage.end, "quantity": plain(unit.from_base(usage.value))}


def of_invoice(invoice: Invoice) -> dict[str, Any]:
    def money(value: Decimal) -> str:
        return f"{round_amount(value, invoice.currency):f}"

    return {
        "id": invoice.pk,
        "number": invoice.number,
        "kind": invoice.kind,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "currency": invoice.currency,
        "net": money(invoice.net),
        "tax": None
        if invoice.tax_percent is None
        else {
            "name": invoice.tax_name,
            "percent": plain(invoice.tax_percent),
            "amount": money(invoice.tax),
            "note": invoice.tax_note,
        },
        "total": money(invoice.total),
        "paid": money(invoice.paid),
        "left": money(invoice.left),
        "state": str(invoice.state),
        "credits": invoice.credits_id,
    }


def of_line(line: Line, currency: str) -> dict[str, Any]:
    unit = line.unit
    return {
        "id": line.pk,
        "position": line.position,
        "kind": line.kind,
        "service": line.service.public_id,
        "title": line.title,
        "detail": line.detail,
        "start": line.start,
        "end": line.end,
        "quantity": None if line.quantity is None else plain(line.quantity),
        "unit": (unit.get("symbol") or unit.get("plural")) if unit else None,
        "exact": plain(line.exact),
        "amount": f"{round_amount(line.amount, currency):f}",
        "steps": line.steps or [],
    }
