"""`POST /api/v1/services/{public_id}/terminate`: end a service and bill it to date, for scripts."""

from datetime import date
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Router, Schema, Status
from ninja.errors import HttpError
from ninja.security import SessionAuth
from pydantic import ConfigDict, field_validator

from catalog.models import Service, User
from catalog.money import round_amount
from invoicing.boundary import CannotClose
from invoicing.drafts import CannotBill
from invoicing.models import Invoice
from invoicing.termination import CannotTerminate, Ended, WhenDown, terminate
from metering import dates


class StaffSession(SessionAuth):
    """A signed-in member of staff who may change services, with the token against forged requests."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if not user.is_staff or not user.has_perm("catalog.change_service"):
            raise HttpError(403, "You may not change services.")
        return user


router = Router(tags=["services"], auth=StaffSession())


class Refused(Schema):
    """Why nothing was done."""

    error: str = Field(examples=["There is no such service."])


class Termination(Schema):
    """When a service ends, and what to do if its server does not answer."""

    model_config = ConfigDict(extra="forbid")

    on: date | None = Field(None, description="The last day, which is over or today. Left out: today.")
    when_down: WhenDown = Field(
        WhenDown.LAST_VALUES,
        description="If the server does not answer: bill the last values known, or let the last invoice wait for it.",
    )

    @field_validator("on", mode="before")
    @classmethod
    def _is_written_out(cls, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and len(value) == len("2026-11-19")):
            raise ValueError("must be a date such as 2026-11-19")
        return value


class LastInvoice(Schema):
    number: str = Field(examples=["2026-00042"])
    total: str = Field(examples=["18.00"], description="With the decimals of its currency.")
    currency: str = Field(examples=["USD"])


class Terminated(Schema):
    """What came of it: no invoice where nothing was left to charge, or where it waits for the server."""

    status: str = Field(examples=["terminated"])
    terminated_on: date
    invoice: LastInvoice | None
    warning: str | None = Field(description="What the last question to the server came to, if it failed.")
    waits: bool = Field(description="Whether the last invoice is made later, when the server answers.")


@router.post(
    "/services/{public_id}/terminate",
    response={200: Terminated, 400: Refused, 401: Refused, 403: Refused, 404: Refused, 409: Refused, 422: Refused},
    operation_id="terminate_service",
    summary="Terminate a service",
)
def terminate_service(request: HttpRequest, public_id: UUID, body: Termination) -> Any:
    """End a service: its server is asked once more, and usage to date is billed on one last invoice.

    To end it again changes nothing and gives the same answer. 409: it cannot end as things are, and runs on.
    """
    services = Service.objects.select_related("client", "product", "tenant__server")
    service = services.filter(public_id=public_id).first()
    if service is None:
        return Status(404, {"error": "There is no such service."})
    try:
        ended = terminate(service=service, on=body.on or dates.site_day(), at=timezone.now(), when_down=body.when_down)
    except (CannotClose, CannotBill) as error:
        is_wrong_day = isinstance(error, CannotTerminate) and service.is_billable
        return Status(422 if is_wrong_day else 409, {"error": str(error)})
    return _terminated(ended)


def _terminated(ended: Ended) -> dict[str, Any]:
    service, invoice = ended.service, ended.invoice
    return {
        "status": service.status,
        "terminated_on": service.terminated_on,
        "invoice": _last(invoice) if invoice else None,
        "warning": ended.warning or None,
        "waits": ended.waits,
    }


def _last(invoice: Invoice) -> dict[str, str]:
    total = round_amount(invoice.total, invoice.currency)
    return {"number": invoice.number, "total": f"{total:f}", "currency": invoice.currency}
