"""What is typed into the pricing editor, still as text, and what it is typed for.

A bracket is a row of fields: `start-1`, `price-1-USD`, `fee-1-USD`. What was typed stays as it was typed
until it is saved, so that adding a row, calculating an example or a mistake loses nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from django.conf import settings

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.models import MetricSetting, PricingVersion
from catalog.money import is_currency, minor_units
from catalog.pricing import ZERO, Notation, Scheme
from catalog.sheet import Sheet
from catalog.terms import Cycle
from metering.decimals import EXACT, NotANumber, parse, plain, round_half_up
from metering.units import Unit

#: Rows that the table may have; more would be more fields than one request may bring.
MAX_ROWS = 100
_CELL = re.compile(r"(start|price|fee)-([0-9]{1,3})(.*)", re.ASCII)
_MONEY = re.compile(r"((?:price|fee)-[0-9]{1,3}|minimum|maximum)-([A-Z]{3})", re.ASCII)

Typed = dict[str, str]


@dataclass(frozen=True)
class Column:
    """A currency of the table, with the number of services that are billed in it.

    One that is not required may stay empty: then the pricing has no price in it.
    """

    currency: str
    services: int
    is_required: bool


@dataclass(frozen=True)
class Subject:
    """What a pricing is written for: a setting, its versions by number, and the currencies it is sold in."""

    setting: MetricSetting
    versions: Sequence[PricingVersion]
    columns: Sequence[Column]
    today: date
    may_backdate: bool = False
    #: The billing cycles that the product is sold in.
    cycles: Sequence[Cycle] = ()

    @property
    def is_enabled(self) -> bool:
        return not self.setting._state.adding and self.setting.is_enabled

    @property
    def current(self) -> PricingVersion | None:
        return self.setting.version_on(self.today) if self.versions else None

    @property
    def following(self) -> PricingVersion | None:
        return following(self.versions, self.today)

    @property
    def newest(self) -> int:
        """The number of the last version, 0 before there is one."""
        return self.versions[-1].number if self.versions else 0

    @property
    def usual_start(self) -> date:
        """The day from which a new version applies unless somebody chooses another."""
        if not self.versions:
            return self.today
        year, month = divmod(self.today.year * 12 + self.today.month, 12)
        return date(year, month + 1, 1)

    @property
    def currencies(self) -> list[str]:
        return [column.currency for column in self.columns]

    def with_currencies(self, currencies: Iterable[str]) -> "Subject":
        """Add columns that nobody is billed in yet."""
        new = [Column(currency, 0, True) for currency in currencies if currency not in self.currencies]
        return replace(self, columns=[*self.columns, *new])


def following(versions: Iterable[PricingVersion], day: date) -> PricingVersion | None:
    """Return the version that comes into force next after a day."""
    planned = [each for each in versions if each.effective_from > day and not each.is_withdrawn]
    return min(planned, key=lambda version: (version.effective_from, -version.number), default=None)


def home_first(currencies: Iterable[str]) -> list[str]:
    """Put the site's own currency before the others."""
    return sorted(currencies, key=lambda currency: (currency != settings.DEFAULT_CURRENCY, currency))


def row_count(typed: Typed) -> int:
    text = typed.get("rows", "")
    return min(max(int(text), 1), MAX_ROWS) if re.fullmatch("[0-9]{1,4}", text) else 1


def with_row(typed: Typed) -> Typed:
    """Return what was typed with an empty row at the end."""
    return {**typed, "rows": str(min(row_count(typed) + 1, MAX_ROWS))}


def without_row(typed: Typed, number: int) -> Typed:
    """Return what was typed without one row; the last one is not taken away."""
    rows = row_count(typed)
    if rows == 1 or not 1 <= number <= rows:
        return typed
    kept = {**typed, "rows": str(rows - 1)}
    for name in typed:
        if (cell := _CELL.fullmatch(name)) and int(cell[2]) >= number:
            del kept[name]
    for name, text in typed.items():
        if (cell := _CELL.fullmatch(name)) and int(cell[2]) > number:
            kept[f"{cell[1]}-{int(cell[2]) - 1}{cell[3]}"] = text
    return kept


def added_currencies(typed: Typed) -> list[str]:
    """Return the currencies that were added to the table by hand."""
    return [code for code in dict.fromkeys(typed.get("added", "").split(",")) if is_currency(code)]


def with_currency(typed: Typed, currency: str) -> Typed:
    """Return what was typed with another currency in the table; it stays as it was if there is no such."""
    return {**typed, "added": ",".join([*added_currencies(typed), currency]), "add_currency": ""}


def with_converted(typed: Typed, source: str, target: str, factor: Decimal) -> Typed:
    """Return what was typed with the prices of one currency times a factor as those of another.

    What is no number is left out. Prices keep 12 decimals, half up.
    """
    converted = dict(typed)
    for name, text in typed.items():
        if (cell := _MONEY.fullmatch(name)) and cell[2] == source:
            try:
                price = EXACT.multiply(parse(text.strip(), digits=12, places=12), factor)
            except NotANumber:
                continue
            converted[f"{cell[1]}-{target}"] = _price_text(round_half_up(price, 12), target)
    return converted


def first_typed(subject: Subject) -> Typed:
    """Return what the editor shows at first: the version that a new one would follow, or an empty bracket."""
    day, setting = subject.usual_start, subject.setting
    standing = [version for version in subject.versions if not version.is_withdrawn]
    version = setting.version_on(day) or standing[-1] if standing else None
    unit = version.unit if version else setting.metric.unit
    typed = {
        "effective_from": day.isoformat(),
        "rows": "1",
        "start-1": "0",
        "unit": unit.code,
        "scheme": Scheme.PER_UNIT,
    }
    typed |= {"included": "0", "package_size": "1", "notation": _usual(unit), "aggregation": Aggregation.LATEST}
    typed |= {"periods": Periods.SUMMED, "price_at": PriceAt.START}
    highest = ZERO
    if version is not None:
        pricing = version.sheet.any
        highest = max(pricing.included, pricing.brackets[-1].start)
        if pricing.scheme is Scheme.PACKAGE:
            highest = max(highest, pricing.package_size)
        typed |= typed_sheet(version.sheet)
    typed["quantity"] = plain(round_half_up(highest * 5 / 4 or Decimal(25), unit.places))
    return typed


def typed_sheet(sheet: Sheet) -> Typed:
    """Write a price sheet as it would be typed."""
    pricing = sheet.any
    typed: Typed = {"unit": sheet.unit.code, "rows": str(len(pricing.brackets))}
    typed |= {name: getattr(sheet, name) for name in ("aggregation", "periods", "price_at")}
    typed |= {name: getattr(pricing, name) for name in ("scheme", "notation")}
    typed |= {name: plain(getattr(pricing, name)) for name in ("included", "package_size")}
    for currency, prices in sheet.pricings.items():
        for number, bracket in enumerate(prices.brackets, start=1):
            typed[f"start-{number}"] = plain(bracket.start)
            typed[f"price-{number}-{currency}"] = _price_text(bracket.unit_price, currency)
            if bracket.flat_fee:
                typed[f"fee-{number}-{currency}"] = _price_text(bracket.flat_fee, currency)
        for name, bound in (("minimum", prices.minimum), ("maximum", prices.maximum)):
            if bound is not None:
                typed[f"{name}-{currency}"] = _price_text(bound, currency)
    return typed


def _usual(unit: Unit) -> Notation:
    return Notation.FIRST_UNIT if unit.is_whole else Notation.ABOVE


def _price_text(price: Decimal, currency: str) -> str:
    """Write a price to be edited: at least the currency's own decimals, `2.00`."""
    return f"{price:.{max(minor_units(currency), len(plain(price).partition('.')[2]))}f}"
