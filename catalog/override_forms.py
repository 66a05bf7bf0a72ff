"""The form for other terms with one client: what staff type is read strictly, and judged by the engine."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.forms import NO_PRICE, NumberField, refused_starts
from catalog.models import MetricSetting, PricingVersion, Service
from catalog.overrides import ONE_DAY, Agreement, CannotAgree, EndsBeforeItStarts, NothingAgreed, versions_between
from catalog.pricing import HUNDRED, ONE, ZERO, Bracket, Notation, Pricing, Scheme
from catalog.typed import Typed, row_count
from catalog.wording import price_sentence
from metering.providers.base import MetricType
from metering.units import Unit, alike, find

#: Days that a form takes; beyond them somebody has mistyped.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)
_PERIODS = {MetricType.SNAPSHOT: gettext_lazy("terms"), MetricType.MONTH: gettext_lazy("months")}


@dataclass(frozen=True)
class Subject:
    """What other terms are agreed on: a metric of a service. The setting is fetched `with_pricing`."""

    service: Service
    setting: MetricSetting
    today: date
    may_backdate: bool = False

    @property
    def currency(self) -> str:
        return self.service.currency

    @property
    def version(self) -> PricingVersion | None:
        """The version that terms agreed now are measured against: that of today, or else the next one."""
        return next(iter(versions_between(self.setting, self.today, None)), None)

    @property
    def periods(self) -> str:
        """What of this metric begins on a day: `terms`, `months` or `days`."""
        return str(_PERIODS.get(MetricType(self.setting.metric.type)) or _("days"))

    @property
    def price_words(self) -> str:
        """What everybody pays for the metric, in a sentence."""
        version = self.version
        pricing = version.pricing(self.currency) if version else None
        return price_sentence(pricing, version.unit, self.currency) if version and pricing else ""

    @property
    def usual_start(self) -> date:
        """The first day of the period that begins next."""
        if self.setting.metric.type == MetricType.SNAPSHOT:
            return max(self.service.next_due_on or self.today, self.today)
        year, month = divmod(self.today.year * 12 + self.today.month, 12)
        return date(year, month + 1, 1)


def first_typed(subject: Subject) -> Typed:
    """Return what the form shows at first: nothing agreed, and an empty bracket for prices of its own."""
    version = subject.version
    return {
        "unit": version.unit_code if version else subject.setting.metric.unit.code,
        "scheme": "",
        "notation": version.notation if version else Notation.ABOVE,
        "package_size": "1",
        "rows": "1",
        "start-1": "0",
        "starts_on": subject.usual_start.isoformat(),
    }


def _choice(label: str, kind: type[StrEnum], *, is_required: bool) -> forms.TypedChoiceField:
    options = [(each.value, each.value) for each in kind]
    return forms.TypedChoiceField(label=label, coerce=kind, choices=options, required=is_required, empty_value=None)


def day_field(label: str, *, is_required: bool) -> forms.DateField:
    """A day in the form in which browsers send it."""
    return forms.DateField(
        label=label,
        required=is_required,
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        input_formats=["%Y-%m-%d"],
        error_messages={"required": _("Choose a date"), "invalid": _("Choose a date that exists")},
    )


class OverrideForm(forms.Form):
    """Other terms for one metric of one service, as they are being typed. Empty is as for everybody."""

    use_required_attribute = False

    reason = forms.CharField(
        label=gettext_lazy("Why"),
        max_length=500,
        widget=forms.TextInput(attrs={"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Say why; the client reads it")},
        help_text=gettext_lazy("The client reads it, on the page of the service and on every invoice."),
    )

    def __init__(self, typed: Typed, subject: Subject, *, is_checked: bool) -> None:
        """Show what was typed, with what is wrong with it or without."""
        super().__init__(data=typed if is_checked else None, initial=None if is_checked else typed)
        self.typed, self.subject = typed, subject
        self.unit: Unit = find(typed.get("unit", ""), subject.setting.metric.unit)
        self.numbers = range(1, row_count(typed) + 1)
        self.fields["unit"] = forms.ChoiceField(
            label=_("Unit"),
            choices=[(unit.code, unit.explain()) for unit in alike(subject.setting.metric.unit)],
            widget=forms.Select(attrs={"class": "form-select"}),
        )
        self.fields["included"] = NumberField(places=self.unit.places, required=False, label=_("Quantity included"))
        self.fields["discount"] = NumberField(digits=3, places=6, required=False, label=_("Discount in percent"))
        self.fields["scheme"] = _choice(_("Prices"), Scheme, is_required=False)
        self.fields["notation"] = _choice(_("Notation"), Notation, is_required=True)
        self.fields["package_size"] = NumberField(places=self.unit.places, label=_("Size of a package"))
        for number in self.numbers:
            self.fields[f"start-{number}"] = NumberField(
                places=self.unit.places, label=_("Bracket %(number)s, starts with") % {"number": number}
            )
            self.fields[f"price-{number}"] = NumberField(
                digits=12,
                places=12,
                missing=NO_PRICE,
                label=_("Bracket %(number)s, price in %(currency)s") % {"number": number, "currency": subject.currency},
            )
            self.fields[f"fee-{number}"] = NumberField(
                digits=12,
                places=12,
                required=False,
                label=_("Bracket %(number)s, flat fee in %(currency)s")
                % {"number": number, "currency": subject.currency},
            )
        self.fields["starts_on"] = day_field(_("First day"), is_required=True)
        self.fields["last_day"] = day_field(_("Last day"), is_required=False)
        if not subject.may_backdate:
            self.fields["starts_on"].widget.attrs["min"] = subject.today.isoformat()
        self.order_fields([*(name for name in self.fields if name != "reason"), "reason"])

    def clean(self) -> None:
        if self.cleaned_data.get("scheme") is None and "scheme" not in self.errors:
            self._forget_prices()
        self._check_package()
        self._check_brackets()
        if (self.cleaned_data.get("discount") or ZERO) > HUNDRED:
            self.add_error("discount", _("At most 100"))
        self._check_days()
        if (agreement := self.agreement) and agreement.is_empty:
            self.add_error("included", str(NothingAgreed()))
        for name in self.errors:
            self._mark(name)

    def _forget_prices(self) -> None:
        """Without a scheme there are no prices of its own, whatever stands in their fields."""
        for name in [name for name in self.errors if name in ("notation", "package_size") or "-" in name]:
            del self.errors[name]

    def _check_package(self) -> None:
        if self.cleaned_data.get("scheme") is not Scheme.PACKAGE:
            self.errors.pop("package_size", None)
            self.cleaned_data["package_size"] = ONE
        elif self.cleaned_data.get("package_size") == 0:
            self.add_error("package_size", _("Must be above 0"))

    def _check_brackets(self) -> None:
        """Let the engine judge the scheme and the order, which do not depend on the prices."""
        data = self.cleaned_data
        starts = [data[f"start-{number}"] for number in self.numbers if f"start-{number}" in data]
        if data.get("scheme") is None or "notation" not in data or len(starts) < len(self.numbers):
            return
        for number, reason in refused_starts(starts, data.get("included") or ZERO, data["notation"]).items():
            self.add_error(f"start-{number}", reason)
        if len(starts) > 1 and data["scheme"] in (Scheme.PER_UNIT, Scheme.PACKAGE):
            self.add_error("scheme", _("Takes one bracket. Remove the others, or choose another scheme"))

    def _check_days(self) -> None:
        first, last = (self.cleaned_data.get(name) for name in ("starts_on", "last_day"))
        for name, day in (("starts_on", first), ("last_day", last)):
            if day is not None and not FIRST_DAY <= day <= LAST_DAY:
                self.add_error(
                    name,
                    _("Choose a day between %(first)s and %(last)s") % {"first": FIRST_DAY.year, "last": LAST_DAY.year},
                )
        if first and last and last < first:
            self.add_error("last_day", str(EndsBeforeItStarts()))

    def refuse(self, error: CannotAgree) -> None:
        """Show why the deed refused what the form let pass."""
        self.add_error(error.field, str(error))
        self._mark(error.field)

    def _mark(self, name: str) -> None:
        attrs = self.fields[name].widget.attrs
        attrs["class"] = f"{attrs.get('class', '')} is-invalid"

    @property
    def unit_name(self) -> str:
        """The unit as it stands behind any quantity: `databases`, `GB`."""
        return self.unit.noun(Decimal(2))

    @property
    def first_unit_words(self) -> str:
        return _("The 10th %(unit)s is the first at the new price.") % {"unit": self.unit.noun(ONE)}

    @property
    def above_words(self) -> str:
        return _("10 %(units)s are still at the old price.") % {"units": self.unit_name}

    @property
    def end(self) -> date | None:
        """The day after the last one."""
        last: date | None = self.cleaned_data["last_day"]
        return last + ONE_DAY if last else None

    @property
    def agreement(self) -> Agreement | None:
        """What is typed, as far as it is terms and not days or a reason; None while some of it is wrong."""
        if self.errors.keys() - {"starts_on", "last_day", "reason"}:
            return None
        data = self.cleaned_data
        return Agreement(
            unit=self.unit,
            currency=self.subject.currency,
            included=data["included"],
            discount=data["discount"] or ZERO,
            own_prices=self.own_prices,
        )

    @property
    def own_prices(self) -> Pricing | None:
        """The prices of the table. The first begins right after what is included, however it was written."""
        data = self.cleaned_data
        if data["scheme"] is None:
            return None
        rows = [
            Bracket(
                data[f"start-{number}"] if number > 1 else ZERO,
                data[f"price-{number}"],
                data[f"fee-{number}"] or ZERO,
            )
            for number in self.numbers
        ]
        return Pricing(data["scheme"], tuple(rows), notation=data["notation"], package_size=data["package_size"])
