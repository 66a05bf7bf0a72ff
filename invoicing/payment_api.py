"""`POST /api/v1/invoices/{id}/payments`: what was paid of an invoice, reported by a payment system."""

from datetime import date
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Path, Router, Schema, Status
from ninja.errors import HttpError
from ninja.security import SessionAuth
from pydantic import ConfigDict, field_validator

from catalog.models import User
from catalog.money import round_amount
from invoicing import payments
from invoicing.models import Invoice
from invoicing.payments import CannotPay
from metering import dates


class PaymentSession(SessionAuth):
    """A signed-in member of staff who may record payments, with the token against forged requests."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if not user.is_staff or not user.has_perm("invoicing.add_payment"):
            raise HttpError(403, "You may not record payments.")
        return user


router = Router(tags=["payments"], auth=PaymentSession())


_ID = Path(..., description="The id of an invoice.")  # type: ignore[type-arg]


class NotRecorded(Schema):
    """Why nothing was written down."""

    error: str = Field(examples=["Only $75.93 is left to pay of 2026-00042."])


class NewPayment(Schema):
    """Money that came in for an invoice, or with a minus was given back."""

    model_config = ConfigDict(extra="forbid")

    amount: str = Field(
        pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$", examples=["75.93"], description="In the invoice's currency."
    )
    received_on: date = Field(description="The day on which it came in, which is over or today.")
    method: str = Field("", max_length=50, pattern=r"^[^\x00-\x1f]*$", examples=["bank transfer"])
    reference: str = Field("", max_length=200, pattern=r"^[^\x00-\x1f]*$")
    key: str = Field(
        pattern=r"^[A-Za-z0-9._:/-]{1,100}$",
        examples=["bank-2026-11-18-0042"],
        description="What the sender tells it from all others by: what is sent again with it counts once.",
    )
    overpay: bool = Field(False, description="Whether it may be more than what is left; the rest is then owed.")

    @field_validator("received_on", mode="before")
    @classmethod
    def _is_written_out(cls, value: Any) -> Any:
        if not (isinstance(value, str) and len(value) == len("2026-11-19")):
            raise ValueError("must be a date such as 2026-11-19")
        return value


class Recorded(Schema):
    """The payment, and how its invoice stands now."""

    payment: int
    invoice: str = Field(examples=["2026-00042"])
    currency: str = Field(examples=["USD"])
    amount: str = Field(examples=["75.93"])
    left: str = Field(description="Below zero it is owed to the client.")
    state: str = Field(examples=["paid", "part_paid", "overdue", "owed"])


@router.post(
    "/invoices/{id}/payments",
    response={200: Recorded} | dict.fromkeys([400, 401, 403, 404, 409, 422], NotRecorded),
    operation_id="record_payment",
    summary="Record a payment",
)
def record_payment(request: HttpRequest, body: NewPayment, id: UUID = _ID) -> Any:
    """Write down a payment. To send it again changes nothing and gives the same payment.

    409: it cannot be so: it is more than what is left, or another payment had this key.
    """
    invoice = Invoice.objects.filter(pk=id).first()
    if invoice is None:
        return Status(404, {"error": "There is no such invoice."})
    try:
        payment = payments.record(
            invoice=invoice,
            amount=Decimal(body.amount),
            received_on=body.received_on,
            method=body.method,
            reference=body.reference,
            by=cast(User, request.user),
            at=timezone.now(),
            key=body.key,
            overpay=body.overpay,
        )
    except CannotPay as error:
        return Status(409, {"error": str(error)})
    shown = Invoice.objects.with_state(dates.site_day()).get(pk=invoice.pk)
    return {
        "payment": payment.pk,
        "invoice": invoice.number,
        "currency": invoice.currency,
        "amount": f"{round_amount(payment.amount, invoice.currency):f}",
        "left": f"{round_amount(shown.left, invoice.currency):f}",
        "state": str(shown.state),
    }
