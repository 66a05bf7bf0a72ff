"""What is typed into the pricing editor, still as text, and what it is typed for.

A bracket is a row of fields: `start-1`, `price-1-USD`, `fee-1-USD`. What was typed stays as it was typed
until it is saved, so that adding a row, calculating an example or a mistake loses nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from babel.dates import format_date
from django.conf import settings

from catalog.models import MetricSetting, PricingVersion
from catalog.money import minor_units
from catalog.pricing import ZERO, Notation, Scheme
from metering.decimals import plain, round_half_up
from metering.units import Unit, alike

#: Rows that the table may have; more would be more fields than one request may bring.
MAX_ROWS = 100
_CELL = re.compile(r"(start|price|fee)-([0-9]{1,3})(.*)", re.ASCII)

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
    def earliest(self) -> date:
        """The first day from which a new version may apply."""
        return self.today if self.versions else self.today.replace(day=1)

    @property
    def usual_start(self) -> date:
        """The day from which a new version applies unless somebody chooses another."""
        if not self.versions:
            return self.today
        year, month = divmod(self.today.year * 12 + self.today.month, 12)
        return date(year, month + 1, 1)

    @property
    def may_change_unit(self) -> bool:
        """Whether a new version can replace all others, so that none is left to be read in another unit."""
        starts = {version.effective_from for version in self.versions}
        return (
            len(alike(self.setting.metric.unit)) > 1
            and len(starts) < 2
            and min(starts, default=self.today) >= self.today
        )


def following(versions: Iterable[PricingVersion], day: date) -> PricingVersion | None:
    """Return the version that comes into force next after a day."""
    planned = [version for version in versions if version.effective_from > day]
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


def first_typed(subject: Subject) -> Typed:
    """Return what the editor shows at first: the version that a new one would follow, or an empty bracket."""
    day, setting = subject.usual_start, subject.setting
    version = setting.version_on(day) or subject.versions[-1] if subject.versions else None
    typed = {"unit": setting.unit_code, "effective_from": day.isoformat(), "rows": "1", "start-1": "0"}
    typed |= {"scheme": Scheme.PER_UNIT, "included": "0", "package_size": "1", "notation": _usual(setting.unit)}
    highest = ZERO
    if version is not None:
        typed |= {name: getattr(version, name) for name in ("scheme", "notation")}
        typed |= {name: plain(getattr(version, name)) for name in ("included", "package_size")}
        starts = sorted({price.start for price in version.prices.all()})
        highest = max(version.included, starts[-1], version.package_size if version.package_size != 1 else ZERO)
        typed["rows"] = str(len(starts))
        for price in version.prices.all():
            number = starts.index(price.start) + 1
            typed[f"start-{number}"] = plain(price.start)
            typed[f"price-{number}-{price.currency}"] = _price_text(price.unit_price, price.currency)
            if price.flat_fee:
                typed[f"fee-{number}-{price.currency}"] = _price_text(price.flat_fee, price.currency)
    typed["quantity"] = plain(round_half_up(highest * 5 / 4 or Decimal(25), setting.unit.places))
    return typed


def _usual(unit: Unit) -> Notation:
    return Notation.FIRST_UNIT if unit.is_whole else Notation.ABOVE


def _price_text(price: Decimal, currency: str) -> str:
    """Write a price to be edited: at least the currency's own decimals, `2.00`."""
    return f"{price:.{max(minor_units(currency), len(plain(price).partition('.')[2]))}f}"


def day_words(day: date) -> str:
    return str(format_date(day, "d MMMM y", locale="en"))
