"""Decimal numbers from the outside: read strictly, written plainly, never through a float."""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache, reduce

#: Wide enough that no product or quotient of the numbers we accept is ever rounded by accident.
EXACT = Context(prec=120, rounding=ROUND_HALF_UP)

_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)


class NotANumber(ValueError):
    """The text is not a number that may become usage or money. The message says why."""


def parse(text: str, *, digits: int = 20, places: int = 6) -> Decimal:
    """Return the non-negative decimal that `text` writes in plain ASCII digits.

    At most `digits` digits before the point and `places` behind it. Nothing else is understood: no
    exponent, sign, thousands separator, space, `NaN` or infinity, since each of these is more likely
    a fault of the sender than a quantity.

    Raises NotANumber.
    """
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    if len(text) > digits + places + 2 or not _PLAIN.fullmatch(text):
        raise NotANumber(f"{shown!r} is not a plain decimal number of at most {digits} digits")
    if text.startswith("-"):
        raise NotANumber(f"{shown} is negative")
    whole, _, fraction = text.partition(".")
    if len(whole) > digits:
        raise NotANumber(f"{shown} has more than {digits} digits before the point")
    if len(fraction) > places:
        raise NotANumber(f"{shown} has more than {places} decimal places")
    return Decimal(text)


def plain(value: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros: `31`, `12.5`, `0`."""
    text = str(value)
    if "E" in text:
        text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def round_half_up(value: Decimal, places: int) -> Decimal:
    """Round to `places` decimals, halves away from zero, whatever the caller's decimal context."""
    return EXACT.quantize(value, _step(places))


@cache
def _step(places: int) -> Decimal:
    return Decimal(1).scaleb(-places)


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """Add up, whatever the caller's decimal context."""
    return reduce(EXACT.add, values, Decimal(0))
