"""How a metric's quantity is counted, converted, rounded and written.

Usage is stored in the base of its unit: bytes for everything that is measured in bytes, pieces for
everything that is counted. A unit says how many of its base one unit is, so that 1000 and 1024 are
never mixed up: `GB` is 10**9 bytes and `GiB` is 2**30 bytes.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from metering import language
from metering.decimals import EXACT, round_half_up


def _(text: str) -> str:
    """Mark a text for the catalogues of translations; it is translated where it is written."""
    return text


#: Rated quantities have at most this many decimals.
PLACES = 6


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure.

    `places` is the number of decimals a quantity is rounded to before it is priced; 0 makes it a
    whole-number unit. `factor` is the number of `base` units in one unit. `symbol` is written behind
    the number; a unit without one is written with its noun.
    """

    code: str
    singular: str
    plural: str
    symbol: str = ""
    places: int = 0
    factor: int = 1
    base: str = ""

    def __hash__(self) -> int:
        """By its code alone: what is remembered of a unit is looked up often."""
        return hash(self.code)

    @property
    def is_whole(self) -> bool:
        return self.places == 0

    @property
    def family(self) -> str:
        """What can be converted into each other: units with the same family."""
        return self.base or self.code

    def from_base(self, value: Decimal) -> Decimal:
        """Convert a stored value into this unit and round it, half up, to the unit's places."""
        return round_half_up(EXACT.divide(value, _decimal(self.factor)), self.places)

    def to_base(self, quantity: Decimal) -> Decimal:
        return EXACT.multiply(quantity, Decimal(self.factor))

    def noun(self, quantity: Decimal) -> str:
        """`GB`, `mailbox` or `mailboxes`, as it stands behind the quantity or behind "per"."""
        return self.symbol or language.translated(self.singular if quantity == 1 else self.plural)

    def number(self, quantity: Decimal, *, places: int | None = None) -> str:
        """Write the number alone, with at most `places` decimals (all that the unit has, if None)."""
        shown = round_half_up(quantity, self.places if places is None else min(places, self.places))
        text = f"{shown:,f}"
        return language.in_digits(text.rstrip("0").rstrip(".") if "." in text else text)

    def write(self, quantity: Decimal, *, places: int | None = None) -> str:
        """Write a quantity in this unit: `1 mailbox`, `3,120 emails`, `16.37 GB`."""
        return f"{self.number(quantity, places=places)} {self.noun(quantity)}"

    def explain(self) -> str:
        """Say what one unit is, for the people who price it."""
        if self.base != "byte" or self.factor == 1:
            plural = language.translated(self.plural)
            return language.translated(_("whole %(units)s")) % {"units": plural} if self.is_whole else plural
        step = 1000 if self.factor % 1000 == 0 else 1024
        power = {1: "", 2: "²", 3: "³", 4: "⁴"}[_power(self.factor, step)]
        bytes_ = language.in_digits(f"{step:,}")
        return language.translated(_("%(symbol)s, %(number)s bytes")) % {
            "symbol": self.symbol,
            "number": f"{bytes_}{power}",
        }

    def as_json(self) -> dict[str, Any]:
        """Return all of it, as it is frozen on a line."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Unit":
        return cls(**data)

    @property
    def title(self) -> str:
        """What heads a column of quantities: `GB`, `Mailboxes`."""
        text = str(self)
        return self.symbol or text[:1].upper() + text[1:]

    def __str__(self) -> str:
        return self.symbol or language.translated(self.plural)


_decimal = cache(Decimal)


def _power(factor: int, step: int) -> int:
    power = 0
    while factor > 1:
        factor //= step
        power += 1
    return power


def _bytes(symbol: str, factor: int) -> Unit:
    return Unit(symbol, symbol, symbol, symbol, places=PLACES, factor=factor, base="byte")


WHOLE = Unit("whole", _("unit"), _("units"))
DECIMAL = Unit("decimal", _("unit"), _("units"), places=PLACES)
BYTES = Unit("B", _("byte"), _("bytes"), base="byte")
KB, MB, GB, TB = (_bytes(symbol, 1000**n) for n, symbol in enumerate(["kB", "MB", "GB", "TB"], start=1))
KIB, MIB, GIB, TIB = (_bytes(symbol, 1024**n) for n, symbol in enumerate(["KiB", "MiB", "GiB", "TiB"], start=1))
ACCOUNTS = Unit("accounts", _("account"), _("accounts"))
DOMAINS = Unit("domains", _("domain"), _("domains"))
MAILBOXES = Unit("mailboxes", _("mailbox"), _("mailboxes"))
DATABASES = Unit("databases", _("database"), _("databases"))
USERS = Unit("users", _("user"), _("users"))
REQUESTS = Unit("requests", _("request"), _("requests"))
MESSAGES = Unit("messages", _("message"), _("messages"))
HOURS = Unit("hours", _("hour"), _("hours"), "h", places=PLACES, factor=3600, base="second")

BUILT_IN = {
    unit.code: unit
    for unit in [
        *(WHOLE, DECIMAL, BYTES, KB, MB, GB, TB, KIB, MIB, GIB, TIB),
        *(ACCOUNTS, DOMAINS, MAILBOXES, DATABASES, USERS, REQUESTS, MESSAGES, HOURS),
    ]
}


def alike(unit: Unit) -> list[Unit]:
    """Return the units that a metric in `unit` may be shown and priced in, itself first."""
    return [unit, *(other for other in BUILT_IN.values() if other.family == unit.family and other != unit)]


@cache
def find(code: str, own: Unit) -> Unit:
    """Return the unit called `code` among those that `own` can be converted into, else `own`."""
    return next((unit for unit in alike(own) if unit.code == code), own)
