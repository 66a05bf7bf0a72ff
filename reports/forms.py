"""What a report shows: from which month to which, of which product, in which currency, by which rule."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from metering import dates
from reports.months import between
from reports.outgrown import Rule

#: Months that are shown unless somebody chooses others.
USUAL = 12

_UNKNOWN = {"invalid_choice": _("Choose one of those that are offered")}


class ReportForm(forms.Form):
    """The fields of a report. What was not chosen, or cannot be, is the usual."""

    use_required_attribute = False

    def __init__(self, data: Mapping[str, Any], **usual: str) -> None:
        super().__init__({name: data.get(name) or usual.get(name, "") for name in self.base_fields})
        self.usual = usual
        for name, field in self.fields.items():
            if isinstance(field, forms.ChoiceField):
                field.error_messages.update(_UNKNOWN)
                field.widget.attrs["class"] = "form-select"
            else:
                field.widget.attrs["class"] = "form-control"
            field.widget.attrs["id"] = f"id_{name}"

    def offer(self, name: str, choices: Iterable[tuple[Any, Any]]) -> None:
        """Offer values for a field; one that has nothing to choose is left out."""
        field = self.fields.get(name)
        if isinstance(field, forms.ChoiceField):
            field.choices = [(str(value), words) for value, words in choices]
            if len(field.choices) < 2:
                del self.fields[name]

    def chosen(self, name: str) -> str:
        """Return what was chosen, or the usual."""
        self.is_valid()
        return str(self.cleaned_data.get(name) or self.usual.get(name, ""))

    @property
    def one_product(self) -> int | None:
        return int(pk) if (pk := self.chosen("product")) else None

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What cannot be shown, by the label of its field."""
        return [(str(field.label), str(error)) for field in self for error in field.errors]


def _months(months: Sequence[date]) -> list[tuple[str, str]]:
    return [(f"{first:%Y-%m}", dates.month(first)) for first in months]


def _first(text: str) -> date:
    return date.fromisoformat(f"{text}-01")


class SpanForm(ReportForm):
    """A span of months."""

    first = forms.ChoiceField(label=_("First month"))
    last = forms.ChoiceField(label=_("Last month"))

    def __init__(self, data: Mapping[str, Any], months: Sequence[date], **usual: str) -> None:
        """`months` are those that may be chosen, the newest first."""
        span = {"first": f"{months[:USUAL][-1]:%Y-%m}", "last": f"{months[0]:%Y-%m}"} if months else {}
        super().__init__(data, **span, **usual)
        for name in ("first", "last"):
            self.fields[name].choices = _months(months)  # type: ignore[attr-defined]  # a choice field

    def clean(self) -> None:
        first, last = self.cleaned_data.get("first"), self.cleaned_data.get("last")
        if first and last and first > last:
            self.add_error("first", _("Choose a month that is not after the last one"))

    @property
    def months(self) -> list[date]:
        """The chosen months, the oldest first."""
        names = ("first", "last")
        if not self.is_valid():
            return between(*(_first(self.usual[name]) for name in names)) if self.usual.get("first") else []
        return between(*(_first(self.chosen(name)) for name in names))


class RevenueForm(SpanForm):
    product = forms.ChoiceField(label=_("Product"), required=False)
    currency = forms.ChoiceField(label=_("Currency"), required=False)
    by = forms.ChoiceField(
        label=_("Month of"), required=False, choices=[("issue", _("issue")), ("use", _("the period of use"))]
    )


class MonthOrSpanForm(SpanForm):
    """One month for all metrics, or a span of them for one."""

    month = forms.ChoiceField(label=_("Month"))

    def __init__(
        self, data: Mapping[str, Any], months: Sequence[date], today: date, is_span: bool, **usual: str
    ) -> None:
        """What is usual is the last month that is over, if there is one."""
        complete = [first for first in months if first < today.replace(day=1)] or months
        if complete:
            usual["month"] = f"{complete[0]:%Y-%m}"
        super().__init__(data, months, **usual)
        self.fields["month"].choices = _months(months)  # type: ignore[attr-defined]  # a choice field
        for name in ["month"] if is_span else ["first", "last"]:
            del self.fields[name]

    @property
    def the_month(self) -> date | None:
        return _first(text) if (text := self.chosen("month")) else None


class GrowthForm(MonthOrSpanForm):
    product = forms.ChoiceField(label=_("Product"), required=False)
    field_order = ("month", "first", "last", "product")


class PricesForm(MonthOrSpanForm):
    product = forms.ChoiceField(label=_("Product"), required=False)
    currency = forms.ChoiceField(label=_("Currency"), required=False)
    field_order = ("month", "first", "last", "product", "currency")


class OutgrownForm(ReportForm):
    """When a plan counts as outgrown."""

    terms = forms.TypedChoiceField(
        label=_("Above the plan for"), coerce=int, choices=[(count, "") for count in (1, 2, 3, 6, 12)]
    )
    percent = forms.IntegerField(
        label=_("Usage above this percentage of the recurring price"), min_value=0, max_value=100_000
    )
    product = forms.ChoiceField(label=_("Product"), required=False)
    currency = forms.ChoiceField(label=_("Currency"), required=False)
    cheaper = forms.ChoiceField(
        label=_("Cheaper products"), required=False, choices=[("yes", _("count")), ("no", _("do not count"))]
    )

    @property
    def rule(self) -> Rule:
        return Rule(int(self.chosen("terms")), int(self.chosen("percent") or 0), cheaper=self.chosen("cheaper") != "no")
