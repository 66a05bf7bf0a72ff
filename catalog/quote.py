"""One JSON pricing and quantity in, one JSON charge with its steps out: the engine for scripts.

The keys are listed in the guide, `docs/quote.md`. Numbers are decimal strings; JSON numbers are read
from their text, so that no digit is lost. Every input is answered, with `{"error": "field: reason"}`
when it cannot be rated.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from catalog.money import is_currency, round_amount
from catalog.pricing import PRICE_PLACES, Bracket, Charge, Notation, Pricing, PricingError, Scheme, Step, rate
from metering.decimals import NotANumber, parse, plain

#: Longest line that is read, in characters. A pricing of a thousand brackets fits.
MAX_LENGTH = 100_000
_KEYS = {
    *("scheme", "included", "notation", "brackets", "package_size", "minimum", "maximum"),
    *("discount", "currency", "quantity"),
}
_BRACKET_KEYS = {"start", "unit_price", "flat_fee"}


E = TypeVar("E", bound=StrEnum)


class _Number(str):
    """The digits of a JSON number, as they were written."""


def answer(line: str) -> str:
    """Return the JSON answer to one line. Never raises."""
    try:
        return charge(line)
    except PricingError as error:
        return refusal(error)


def charge(line: str) -> str:
    """Return the JSON charge of the pricing and quantity on one line. Raises PricingError."""
    data = _read(line)
    currency = _currency(data)
    rated = rate(read_pricing(data), _number(data, "quantity", digits=16))
    return json.dumps(as_json(rated, currency), ensure_ascii=False)


def refusal(error: PricingError) -> str:
    """Return the JSON answer to what cannot be rated."""
    return json.dumps({"error": str(error)}, ensure_ascii=False)


def as_json(charge: Charge, currency: str) -> dict[str, Any]:
    """Return a charge as the documented JSON object."""
    return {
        "amount": plain(charge.amount),
        "rounded": f"{round_amount(charge.amount, currency):f}",
        "steps": [step_json(step) for step in charge.steps],
    }


def as_quoted(pricing: Pricing) -> dict[str, Any]:
    """Return a pricing as the documented JSON object, without what has its default."""
    data: dict[str, Any] = {
        "scheme": str(pricing.scheme),
        "notation": str(pricing.notation),
        "included": plain(pricing.included),
        "package_size": plain(pricing.package_size),
        "brackets": [
            {name: plain(getattr(bracket, name)) for name in ("start", "unit_price", "flat_fee")}
            for bracket in pricing.brackets
        ],
    }
    bounds = {"minimum": pricing.minimum, "maximum": pricing.maximum, "discount": pricing.discount or None}
    return data | {name: plain(value) for name, value in bounds.items() if value is not None}


def step_json(step: Step) -> dict[str, Any]:
    return {
        "from": None if step.start is None else plain(step.start),
        "to": None if step.end is None else plain(step.end),
        "quantity": plain(step.quantity),
        "unit_price": plain(step.unit_price),
        "flat_fee": plain(step.flat_fee),
        "amount": plain(step.amount),
    }


def step_text(step: Step) -> str:
    """Return `step_json` written as JSON, its keys sorted, without spaces: a billing run writes millions of these."""
    start, end = ("null" if each is None else f'"{plain(each)}"' for each in (step.start, step.end))
    return (
        f'{{"amount":"{plain(step.amount)}","flat_fee":"{plain(step.flat_fee)}","from":{start},'
        f'"quantity":"{plain(step.quantity)}","to":{end},"unit_price":"{plain(step.unit_price)}"}}'
    )


def _read(line: str) -> dict[str, Any]:
    if len(line) > MAX_LENGTH:
        raise PricingError("input", f"longer than {MAX_LENGTH:,} characters")
    if not line.strip():
        raise PricingError("input", "empty line")
    try:
        data = json.loads(
            line,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise PricingError("input", "nested too deeply") from None
    except ValueError as error:
        if isinstance(error, PricingError):
            raise
        raise PricingError("input", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise PricingError("input", "must be a JSON object")
    _only(data, _KEYS, "input")
    return data


def _refuse_constant(constant: str) -> NoReturn:
    raise PricingError("input", f"{constant} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise PricingError("input", f"the key {_shown(key)} is there twice")
        data[key] = value
    return data


def _only(data: Mapping[str, Any], keys: set[str], field: str) -> None:
    if unknown := sorted(set(data) - keys):
        raise PricingError(field, f"unknown key {_shown(unknown[0])}; known are {', '.join(sorted(keys))}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _currency(data: Mapping[str, Any]) -> str:
    currency = data.get("currency", "USD")
    if not isinstance(currency, str) or not is_currency(currency):
        raise PricingError("currency", "must be a code of ISO 4217, such as USD")
    return currency


def read_pricing(data: Mapping[str, Any]) -> Pricing:
    """Return the pricing of a JSON object; what it does not say has its default. Raises PricingError."""
    return Pricing(
        scheme=_choice(data, "scheme", Scheme, Scheme.PER_UNIT),
        brackets=_brackets(data.get("brackets")),
        included=_number(data, "included", default=Decimal(0), digits=16),
        notation=_choice(data, "notation", Notation, Notation.FIRST_UNIT),
        package_size=_number(data, "package_size", default=Decimal(1), digits=16),
        minimum=_optional(data, "minimum"),
        maximum=_optional(data, "maximum"),
        discount=_number(data, "discount", default=Decimal(0), digits=3),
    )


def _brackets(rows: Any) -> tuple[Bracket, ...]:
    if not isinstance(rows, list):
        raise PricingError("brackets", "must be a list of objects with start and unit_price")
    return tuple(_bracket(row, f"brackets[{number}]") for number, row in enumerate(rows, start=1))


def _bracket(row: Any, field: str) -> Bracket:
    if not isinstance(row, dict):
        raise PricingError(field, "must be an object with start and unit_price")
    _only(row, _BRACKET_KEYS, field)
    return Bracket(
        start=_number(row, "start", within=field, default=Decimal(0), digits=16),
        unit_price=_number(row, "unit_price", within=field, default=Decimal(0), places=PRICE_PLACES),
        flat_fee=_number(row, "flat_fee", within=field, default=Decimal(0), places=PRICE_PLACES),
    )


def _optional(data: Mapping[str, Any], key: str) -> Decimal | None:
    return None if data.get(key) is None else _number(data, key, places=PRICE_PLACES)


def _number(
    data: Mapping[str, Any],
    key: str,
    *,
    within: str = "",
    default: Decimal | None = None,
    digits: int = 13,
    places: int = 6,
) -> Decimal:
    field = f"{within}.{key}" if within else key
    if key not in data:
        if default is None:
            raise PricingError(field, "is missing")
        return default
    text = data[key]
    if not isinstance(text, str):
        raise PricingError(field, 'must be a decimal string, such as "12.5"')
    try:
        return parse(text, digits=digits, places=places)
    except NotANumber as error:
        raise PricingError(field, str(error)) from None


def _choice(data: Mapping[str, Any], key: str, kind: type[E], default: E) -> E:
    try:
        return kind(data.get(key, default))
    except ValueError:
        raise PricingError(key, f"must be one of {', '.join(kind)}") from None
