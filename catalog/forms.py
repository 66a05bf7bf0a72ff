"""The pricing editor's form: what staff type, read strictly and judged by the engine before it is kept.

A bracket is a row of fields: `start-1`, `price-1-USD`, `fee-1-USD`. What was typed stays as it was typed
until it is saved, so that adding a row, calculating an example or a mistake loses nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypedDict

from babel.dates import format_date
from django import forms
from django.core.exceptions import ValidationError

from catalog.metric_billing import Row
from catalog.models import MetricSetting, PricingVersion
from catalog.money import minor_units
from catalog.pricing import ONE, ZERO, Bracket, Notation, Pricing, PricingError, Scheme
from metering.decimals import NotANumber, parse, plain
from metering.units import Unit, alike, find

#: Rows that the table may have; more would be more fields than one request may bring.
MAX_ROWS = 100
_CELL = re.compile(r"(start|price|fee)-([0-9]{1,3})(.*)", re.ASCII)
_REFUSED_START = re.compile(r"brackets\[(\d+)\]\.start")

Typed = dict[str, str]


class NumberField(forms.CharField):
    """A quantity or a price in plain digits with a point. Everything else is refused, not guessed at."""

    def __init__(self, *, places: int, digits: int = 15, missing: str = "Enter a quantity", **options: Any) -> None:
        self.places, self.digits = places, digits
        super().__init__(error_messages={"required": missing}, **options)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return parse(text, digits=self.digits, places=self.places)
        except NotANumber:
            raise ValidationError(self._why_not(text)) from None

    def widget_attrs(self, widget: forms.Widget) -> dict[str, str]:
        return {"class": "form-control", "inputmode": "decimal", "autocomplete": "off"}

    def _why_not(self, text: str) -> str:
        try:
            parse(text.removeprefix("-"), digits=100, places=100)
        except NotANumber:
            return "Write a plain number, such as 1234.5"
        if text.startswith("-"):
            return "Must not be negative"
        if len(text.partition(".")[2]) > self.places:
            return f"At most {self.places} decimals" if self.places else "Whole numbers only"
        return f"At most {self.digits} digits before the point"


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
        return len(alike(self.setting.metric.unit)) > 1 and len(starts) < 2 and min(starts, default=self.today) >= self.today


class Values(TypedDict):
    """What a valid form brings to `metric_billing.add_version`."""

    unit_code: str
    scheme: Scheme
    notation: Notation
    included: Decimal
    package_size: Decimal
    brackets: list[Row]
    effective_from: date


class PricingForm(forms.Form):
    """A version of a pricing as it is being typed."""

    use_required_attribute = False

    scheme = forms.TypedChoiceField(label="Scheme", coerce=Scheme, choices=[(each, each) for each in Scheme])
    notation = forms.TypedChoiceField(label="Notation", coerce=Notation, choices=[(each, each) for each in Notation])
    effective_from = forms.DateField(
        label="In force from",
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        input_formats=["%Y-%m-%d"],
        error_messages={"required": "Choose a date", "invalid": "Choose a date that exists"},
    )

    def __init__(self, typed: Typed, subject: Subject, *, is_checked: bool) -> None:
        """Show what was typed, with what is wrong with it or without."""
        super().__init__(data=typed if is_checked else None, initial=None if is_checked else typed)
        self.typed, self.subject = typed, subject
        self.unit = find(typed.get("unit", ""), subject.setting.metric.unit)
        self.numbers = range(1, row_count(typed) + 1)
        self.fields["unit"] = forms.ChoiceField(
            label="Unit",
            choices=[(unit.code, unit.explain()) for unit in alike(subject.setting.metric.unit)],
            widget=forms.Select(attrs={"class": "form-select"}),
        )
        self.fields["included"] = NumberField(places=self.unit.places, label="Quantity included")
        self.fields["package_size"] = NumberField(places=self.unit.places, label="Size of a package")
        self.fields["effective_from"].widget.attrs["min"] = subject.earliest.isoformat()
        for number in self.numbers:
            self.fields[f"start-{number}"] = NumberField(
                places=self.unit.places, label=f"Bracket {number}, starts with"
            )
            for column in subject.columns:
                self._add_price(f"price-{number}-{column.currency}", f"Bracket {number}, price in {column.currency}")
                self._add_price(f"fee-{number}-{column.currency}", f"Bracket {number}, flat fee in {column.currency}")
        self.order_fields(["scheme", "unit", "included", "package_size", "notation", *list(self.fields)[6:]])

    def _add_price(self, name: str, label: str) -> None:
        self.fields[name] = NumberField(digits=12, places=12, required=False, label=label)

    def clean(self) -> None:
        self._check_package()
        self._check_prices()
        self._check_brackets()
        self._check_date()
        for name in self.errors:
            attrs = self.fields[name].widget.attrs
            attrs["class"] = f"{attrs.get('class', '')} is-invalid"

    def _check_package(self) -> None:
        if self.cleaned_data.get("scheme") is not Scheme.PACKAGE:
            self.errors.pop("package_size", None)
            self.cleaned_data["package_size"] = ONE
        elif self.cleaned_data.get("package_size") == 0:
            self.add_error("package_size", "Must be above 0")

    def _check_prices(self) -> None:
        for column in self.subject.columns:
            names = [f"price-{number}-{column.currency}" for number in self.numbers]
            if column.is_required or any(self.typed.get(name, "").strip() for name in names):
                for name in names:
                    if self.cleaned_data.get(name, "refused") is None:
                        self.add_error(name, "Enter a price")

    def _check_brackets(self) -> None:
        """Let the engine judge the scheme and the order, which do not depend on the prices."""
        data = self.cleaned_data
        starts = [data[f"start-{number}"] for number in self.numbers if f"start-{number}" in data]
        if len(starts) < len(self.numbers) or not {"scheme", "notation", "included"} <= data.keys():
            return
        for number, reason in refused_starts(starts, data["included"], data["notation"]).items():
            self.add_error(f"start-{number}", reason)
        try:
            Pricing(data["scheme"], tuple(Bracket(start, ZERO) for start in starts), data["included"], data["notation"])
        except PricingError as error:
            if error.field == "brackets":
                self.add_error("scheme", "Takes one bracket. Remove the others, or choose another scheme")

    def _check_date(self) -> None:
        day, setting = self.cleaned_data.get("effective_from"), self.subject.setting
        if day is not None and day < self.subject.earliest:
            self.add_error("effective_from", f"Choose {day_words(self.subject.earliest)} or a later day")
        others = [version for version in self.subject.versions if version.effective_from != day]
        if others and self.unit.code != setting.unit_code:
            since = day_words(others[0].effective_from)
            self.add_error("unit", f"Stays {setting.unit}: version {others[0].number}, from {since}, is read in it")

    @property
    def values(self) -> Values:
        data = self.cleaned_data
        return Values(
            unit_code=data["unit"],
            scheme=data["scheme"],
            notation=data["notation"],
            included=data["included"],
            package_size=data["package_size"],
            brackets=[(data[f"start-{number}"], self._prices(number)) for number in self.numbers],
            effective_from=data["effective_from"],
        )

    def _prices(self, number: int) -> dict[str, tuple[Decimal, Decimal]]:
        found = {}
        for column in self.subject.columns:
            price = self.cleaned_data[f"price-{number}-{column.currency}"]
            if price is not None:
                found[column.currency] = price, self.cleaned_data[f"fee-{number}-{column.currency}"] or ZERO
        return found


def refused_starts(starts: Sequence[Decimal], included: Decimal, notation: Notation) -> dict[int, str]:
    """Return why the engine refuses a start, by row from 1. A refused row does not count for those below it.

    The first must be 0 or right after the included quantity: in between, it could be read in two ways.
    """
    first = included + 1 if notation is Notation.FIRST_UNIT else included
    reasons, kept = {}, dict(enumerate(starts, start=1))
    if kept[1] not in (ZERO, first):
        reasons[1] = f"Start with 0 or {plain(first)}" if first else "Start with 0"
        kept[1] = ZERO
    while number := _refused(kept, included, notation):
        below = [start for row, start in kept.items() if 1 < row < number]
        limit = below[-1] if below else first
        is_inside = included and kept[number] <= included
        reasons[number] = f"Lies within the {plain(included)} included" if is_inside else f"Must be above {plain(limit)}"
        del kept[number]
    return reasons


def _refused(starts: Mapping[int, Decimal], included: Decimal, notation: Notation) -> int:
    try:
        Pricing(Scheme.GRADUATED, tuple(Bracket(start, ZERO) for start in starts.values()), included, notation)
    except PricingError as error:
        match = _REFUSED_START.fullmatch(error.field)
        assert match, error
        return list(starts)[int(match[1]) - 1]
    return 0


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
        typed["rows"], highest = str(len(starts)), max(version.included, starts[-1])
        for price in version.prices.all():
            number = starts.index(price.start) + 1
            typed[f"start-{number}"] = plain(price.start)
            typed[f"price-{number}-{price.currency}"] = _price_text(price.unit_price, price.currency)
            if price.flat_fee:
                typed[f"fee-{number}-{price.currency}"] = _price_text(price.flat_fee, price.currency)
    example = highest * 5 / 4 or Decimal(25)
    typed["quantity"] = plain(example.quantize(ONE)) if setting.unit.is_whole else plain(example)
    return typed


def _usual(unit: Unit) -> Notation:
    return Notation.FIRST_UNIT if unit.is_whole else Notation.ABOVE


def _price_text(price: Decimal, currency: str) -> str:
    """Write a price to be edited: at least the currency's own decimals, `2.00`."""
    return f"{price:.{max(minor_units(currency), len(plain(price).partition('.')[2]))}f}"


def day_words(day: date) -> str:
    return str(format_date(day, "d MMMM y", locale="en"))
