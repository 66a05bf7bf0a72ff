"""What may be stored of what comes from outside: names, values and periods; and the list of what may not."""

import re
from dataclasses import dataclass, field
from decimal import Decimal

from metering.models import MAX_VALUE
from metering.units import PLACES

#: A run that refuses more keeps counting, but lists no further ones.
MAX_PROBLEMS = 500
MAX_KEY = 255
#: A period may lie so many years back.
MAX_YEARS = 5


@dataclass(slots=True)
class Refusals:
    """What was refused: how often, and the first of it by tenant, metric and reason, as a record keeps them."""

    count: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)

    def add(self, tenant: str, metric: str, reason: str) -> None:
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"tenant": printable(tenant), "metric": printable(metric), "reason": reason[:500]})


def printable(text: str) -> str:
    """Return a name from outside as it may be shown and stored: no control characters, not too long."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def bad_key(key: str) -> str:
    """Say why a tenant cannot be called so; empty if it can."""
    if not key.strip():
        return "a tenant without a name"
    if len(key) > MAX_KEY:
        return f"a tenant's name of more than {MAX_KEY} characters"
    if not key.isprintable():
        return "a tenant's name with control characters or broken text"
    return ""


#: What almost every value looks like: up to 18 digits and 6 decimals, so that no bound is crossed.
_ORDINARY = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,6})?", re.ASCII)


def checked(value: Decimal) -> str:
    """Return the value as text if it may be stored. Raises ValueError with the reason."""
    if not isinstance(value, Decimal):
        raise ValueError(f"{value!r:.40} is of type {type(value).__name__}, not a Decimal")
    text = str(value)
    if _ORDINARY.fullmatch(text):
        return text
    if not value.is_finite():
        raise ValueError(f"{value} is not a number")
    if value < 0:
        raise ValueError(f"{value} is negative")
    if value >= MAX_VALUE:
        raise ValueError(f"{value:.3E} is not below {MAX_VALUE:.0E}")
    if value.as_tuple().exponent < -PLACES and value != round(value, PLACES):  # type: ignore[operator]
        raise ValueError(f"{value} has more than {PLACES} decimal places")
    return text
