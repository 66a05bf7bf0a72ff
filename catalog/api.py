"""`POST /api/v1/quote`: the engine for scripts over HTTP, with the very answers of `manage.py quote`."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema

from catalog.pricing import Notation, PricingError, Scheme
from catalog.quote import MAX_LENGTH, charge, refusal

router = Router(tags=["pricing"])

#: A character has at most four bytes. Of what is longer no more than this is read.
MAX_BYTES = 4 * MAX_LENGTH


class Step(Schema):
    """One clause of the explanation: `quantity` × `unit_price` + `flat_fee` = `amount`.

    `from` and `to` are of total usage, both included; null in a step for a minimum, a maximum or a discount.
    """

    start: str | None = Field(alias="from")
    end: str | None = Field(alias="to")
    quantity: str
    unit_price: str
    flat_fee: str
    amount: str


class Charge(Schema):
    """What the quantity costs: exactly, rounded to the currency's minor unit, and how it came about."""

    amount: str = Field(examples=["31"])
    rounded: str = Field(examples=["31.00"])
    steps: list[Step]


class Refusal(Schema):
    """Why there is no charge: the field and the reason."""

    error: str = Field(examples=["quantity: is missing"])


def _number(meaning: str, example: str, default: str | None = None) -> dict[str, Any]:
    left_out = {} if default is None else {"default": default}
    return {"type": ["string", "number"], "description": meaning, "examples": [example], **left_out}


_BRACKET = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "start": _number("The quantity from which it applies.", "10", "0"),
        "unit_price": _number("The price of a unit; for a package, of one package.", "1", "0"),
        "flat_fee": _number("A fee for reaching it.", "0", "0"),
    },
}
_QUESTION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["brackets", "quantity"],
    "properties": {
        "scheme": {"type": "string", "enum": list(Scheme), "default": Scheme.PER_UNIT},
        "brackets": {"type": "array", "minItems": 1, "items": _BRACKET},
        "quantity": _number("Up to 10¹⁵, with up to 6 decimals.", "25"),
        "included": _number("The quantity that is never charged.", "0", "0"),
        "notation": {
            "type": "string",
            "enum": list(Notation),
            "default": Notation.FIRST_UNIT,
            "description": "What a start of 10 means: the 10th unit has the new price, or 10 are still at the old.",
        },
        "package_size": _number("Units per package; a started one counts whole.", "1", "1"),
        "minimum": {**_number("The least that is charged.", "5"), "type": ["string", "number", "null"]},
        "maximum": {**_number("The most that is charged.", "50"), "type": ["string", "number", "null"]},
        "discount": _number("Percent off, after minimum and maximum.", "10", "0"),
        "currency": {"type": "string", "default": "USD", "description": "A code of ISO 4217, for rounding."},
    },
}
_EXAMPLES = {
    "graduated": {
        "summary": "Brackets of 2.00, from the 10th 1.00, from the 20th 0.50",
        "value": {
            "scheme": "graduated",
            "brackets": [
                {"start": "0", "unit_price": "2"},
                {"start": "10", "unit_price": "1"},
                {"start": "20", "unit_price": "0.50"},
            ],
            "quantity": "25",
        },
    },
    "package": {
        "summary": "5,000 included, then 0.40 per started 1,000",
        "value": {
            "scheme": "package",
            "included": "5000",
            "package_size": "1000",
            "brackets": [{"unit_price": "0.40"}],
            "quantity": "6240",
        },
    },
}
_BODY = {"required": True, "content": {"application/json": {"schema": _QUESTION, "examples": _EXAMPLES}}}


@router.post(
    "/quote",
    auth=None,
    response={200: Charge, 413: Refusal, 422: Refusal},
    by_alias=True,
    operation_id="quote",
    summary="Rate a quantity",
    openapi_extra={"requestBody": _BODY},
)
def quote(request: HttpRequest) -> HttpResponse:
    """Turn a pricing and a quantity into the exact charge and the steps that add up to it.

    Numbers are decimal strings in plain digits; JSON numbers are read from their text. Nothing is looked up
    and nothing is kept, so it needs no key. The body is read as JSON in UTF-8, whatever its content type says.
    """
    try:
        return _json(charge(_text(request)), 200)
    except TooLong as error:
        return _json(refusal(error), 413)
    except PricingError as error:
        return _json(refusal(error), 422)


class TooLong(PricingError):
    """A body that is not worth reading."""

    def __init__(self) -> None:
        super().__init__("input", f"longer than {MAX_LENGTH:,} characters")


def _text(request: HttpRequest) -> str:
    body = request.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise TooLong
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise PricingError("input", "not UTF-8") from None


def _json(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, content_type="application/json", status=status)
