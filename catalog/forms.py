"""The pricing editor's form: what staff type is read strictly, and judged by the engine before it is kept."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.pricing import ONE, ZERO, Bracket, Notation, Pricing, PricingError, Scheme
from catalog.sheet import Sheet
from catalog.typed import Subject, Typed, row_count
from metering import dates
from metering.decimals import NotANumber, parse, plain
from metering.providers.base import MetricType
from metering.units import alike, find

NOT_PLAIN = gettext_lazy("Not a plain number")
NO_PRICE = gettext_lazy("Enter a price")
NO_QUANTITY = gettext_lazy("Enter a quantity")
_REFUSED_START = re.compile(r"brackets\[(\d+)\]\.start")


class NumberField(forms.CharField):
    """A quantity or a price in plain digits with a point. Everything else is refused, not guessed at."""

    def __init__(self, *, places: int, digits: int = 15, missing: Any = NO_QUANTITY, **options: Any) -> None:
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
            return str(NOT_PLAIN)
        if text.startswith("-"):
            return _("Must be 0 or more")
        if len(text.partition(".")[2]) > self.places:
            return (
                _("At most %(places)s decimals") % {"places": self.places} if self.places else _("Whole numbers only")
            )
        return _("At most %(digits)s digits before the point") % {"digits": self.digits}


def _choice(label: Any, kind: type[StrEnum], default: StrEnum) -> forms.TypedChoiceField:
    """A choice that has its default when nothing was sent, as where the page has no such question."""
    options = [(each.value, each.value) for each in kind]
    return forms.TypedChoiceField(label=label, coerce=kind, choices=options, required=False, empty_value=default)


class PricingForm(forms.Form):
    """A version of a pricing as it is being typed."""

    use_required_attribute = False

    scheme = forms.TypedChoiceField(
        label=gettext_lazy("Scheme"), coerce=Scheme, choices=[(each, each) for each in Scheme]
    )
    notation = forms.TypedChoiceField(
        label=gettext_lazy("Notation"), coerce=Notation, choices=[(each, each) for each in Notation]
    )
    effective_from = forms.DateField(
        label=gettext_lazy("In force from"),
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        input_formats=["%Y-%m-%d"],
        error_messages={
            "required": gettext_lazy("Choose a date"),
            "invalid": gettext_lazy("Choose a date that exists"),
        },
        help_text=gettext_lazy(
            "Terms, months and days that begin on this day or later. Nothing that began before is priced anew."
        ),
    )
    reason = forms.CharField(
        label=gettext_lazy("Why"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "form-control", "autocomplete": "off"}),
        help_text=gettext_lazy("For colleagues, in the history of versions. Clients do not see it."),
    )
    aggregation = _choice(gettext_lazy("Quantity of a term"), Aggregation, Aggregation.LATEST)
    periods = _choice(gettext_lazy("Periods"), Periods, Periods.SUMMED)
    price_at = _choice(gettext_lazy("Price of"), PriceAt, PriceAt.START)

    def __init__(self, typed: Typed, subject: Subject, *, is_checked: bool) -> None:
        """Show what was typed, with what is wrong with it or without."""
        super().__init__(data=typed if is_checked else None, initial=None if is_checked else typed)
        self.typed, self.subject = typed, subject
        self.unit = find(typed.get("unit", ""), subject.setting.metric.unit)
        self.numbers = range(1, row_count(typed) + 1)
        self.fields["unit"] = forms.ChoiceField(
            label=_("Unit"),
            choices=[(unit.code, unit.explain()) for unit in alike(subject.setting.metric.unit)],
            widget=forms.Select(attrs={"class": "form-select"}),
        )
        self.fields["included"] = NumberField(
            places=self.unit.places,
            label=_("Quantity included"),
            help_text=_("Included units are never charged. The first bracket begins right after them."),
        )
        self.fields["package_size"] = NumberField(
            places=self.unit.places,
            label=_("Size of a package"),
            help_text=_("For packages only. The price in the table is that of one package."),
        )
        if not subject.may_backdate:
            self.fields["effective_from"].widget.attrs["min"] = subject.today.isoformat()
        for number in self.numbers:
            self.fields[f"start-{number}"] = NumberField(
                places=self.unit.places, label=_("Bracket %(number)s, starts with") % {"number": number}
            )
            for column in subject.columns:
                told = {"number": number, "currency": column.currency}
                price, fee = (
                    _("Bracket %(number)s, price in %(currency)s"),
                    _("Bracket %(number)s, flat fee in %(currency)s"),
                )
                self._add_price(f"price-{number}-{column.currency}", price % told)
                self._add_price(f"fee-{number}-{column.currency}", fee % told)
        for column in subject.columns:
            told = {"currency": column.currency}
            self._add_price(f"minimum-{column.currency}", _("Minimum charge in %(currency)s") % told)
            self._add_price(f"maximum-{column.currency}", _("Maximum charge in %(currency)s") % told)
        first = ["scheme", "unit", "included", "package_size", "notation", "aggregation", "periods"]
        last = ["price_at", "effective_from", "reason"]
        self.order_fields([*first, *(name for name in self.fields if name not in {*first, *last}), *last])

    def _add_price(self, name: str, label: str) -> None:
        self.fields[name] = NumberField(digits=12, places=12, required=False, label=label)

    def clean(self) -> None:
        self._check_package()
        self._check_prices()
        self._check_bounds()
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
            self.add_error("package_size", _("Must be above 0"))

    def _check_prices(self) -> None:
        for column in self.subject.columns:
            names = [f"price-{number}-{column.currency}" for number in self.numbers]
            if column.is_required or any(self.typed.get(name, "").strip() for name in names):
                for name in names:
                    if self.cleaned_data.get(name, "refused") is None:
                        self.add_error(name, NO_PRICE)

    def _check_bounds(self) -> None:
        for column in self.subject.columns:
            least, most = (self.cleaned_data.get(f"{name}-{column.currency}") for name in ("minimum", "maximum"))
            if least is not None and most is not None and most < least:
                words = _("Must be at least the minimum of %(amount)s") % {"amount": plain(least)}
                self.add_error(f"maximum-{column.currency}", words)

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
                self.add_error("scheme", _("Takes one bracket. Remove the others, or choose another scheme"))

    def _check_date(self) -> None:
        day, subject = self.cleaned_data.get("effective_from"), self.subject
        if day is None or day >= subject.today:
            return
        if not subject.may_backdate:
            words = _("Choose %(day)s or a later day") % {"day": dates.full_day(subject.today)}
            self.add_error("effective_from", words)
        elif day.year < 2000:
            self.add_error("effective_from", _("Choose a day after 1999"))
        elif not self.cleaned_data.get("reason"):
            self.add_error("reason", _("Say why prices change for days that are over"))

    @property
    def unit_name(self) -> str:
        """The unit as it stands behind any quantity: `databases`, `GB`."""
        return self.unit.noun(Decimal(2))

    @property
    def unit_title(self) -> str:
        return self.unit.symbol or self.unit_name.capitalize()

    @property
    def first_unit_words(self) -> str:
        words = _("The 10th %(unit)s is the first at the new price. Usual for whole units.")
        return words % {"unit": self.unit.noun(ONE)}

    @property
    def above_words(self) -> str:
        return _("10 %(units)s are still at the old price. Usual for GB and hours.") % {"units": self.unit_name}

    @property
    def each_words(self) -> str:
        if self.subject.setting.metric.type == MetricType.MONTH:
            return _("Every month is rated on its own, with its own quantity included; the line adds them up.")
        return _("Every day is rated on its own, with its own quantity included; the line adds them up.")

    @property
    def sheet(self) -> Sheet:
        """The price sheet that a valid form describes."""
        data = self.cleaned_data
        priced = [each for each in self.subject.currencies if data.get(f"price-1-{each}") is not None]
        return Sheet(
            unit=self.unit,
            pricings={currency: self.pricing(currency, self.numbers) for currency in priced},
            aggregation=data["aggregation"],
            periods=data["periods"],
            price_at=data["price_at"],
        )

    def pricing(self, currency: str, numbers: Iterable[int]) -> Pricing:
        """Return the pricing of some rows in a currency, what has no price as free. Raises PricingError."""
        data = self.cleaned_data
        return Pricing(
            scheme=data["scheme"],
            brackets=tuple(
                Bracket(
                    data[f"start-{number}"],
                    data.get(f"price-{number}-{currency}") or ZERO,
                    data.get(f"fee-{number}-{currency}") or ZERO,
                )
                for number in numbers
            ),
            included=data["included"],
            notation=data["notation"],
            package_size=data["package_size"],
            minimum=data.get(f"minimum-{currency}"),
            maximum=data.get(f"maximum-{currency}"),
        )


def refused_starts(starts: Sequence[Decimal], included: Decimal, notation: Notation) -> dict[int, str]:
    """Return why the engine refuses a start, by row from 1. A refused row does not count for those below it.

    The first must be 0 or right after the included quantity: in between, it could be read in two ways.
    """
    first = included + 1 if notation is Notation.FIRST_UNIT else included
    reasons, kept = {}, dict(enumerate(starts, start=1))
    if kept[1] not in (ZERO, first):
        reasons[1] = _("Start with 0 or %(number)s") % {"number": plain(first)} if first else _("Start with 0")
        kept[1] = ZERO
    while number := _refused(kept, included, notation):
        below = [start for row, start in kept.items() if 1 < row < number]
        limit = below[-1] if below else first
        if included and kept[number] <= included:
            reasons[number] = _("Lies within the %(number)s included") % {"number": plain(included)}
        else:
            reasons[number] = _("Must be above %(number)s") % {"number": plain(limit)}
        del kept[number]
    return reasons


def _refused(starts: Mapping[int, Decimal], included: Decimal, notation: Notation) -> int:
    try:
        Pricing(Scheme.GRADUATED, tuple(Bracket(start, ZERO) for start in starts.values()), included, notation)
    except PricingError as error:
        if match := _REFUSED_START.fullmatch(error.field):
            return list(starts)[int(match[1]) - 1]
        raise
    return 0
