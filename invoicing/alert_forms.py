"""The forms of alerts and budgets."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.forms import NumberField
from catalog.models import MetricSetting
from catalog.money import minor_units
from invoicing.models import Alert
from metering.decimals import plain
from metering.units import Unit

Measure = Alert.Measure
#: What is watched if it is no metric.
CHARGES = "charges"


class _BoundForm(forms.Form):
    use_required_attribute = False

    bound = NumberField(
        places=6,
        missing=gettext_lazy("Enter the bound, such as 100"),
        label=gettext_lazy("Tell when it reaches"),
        help_text=gettext_lazy("Write it like 1234.5, without spaces and commas."),
    )
    when = forms.ChoiceField(
        label=gettext_lazy("Look at"),
        choices=[
            ("now", gettext_lazy("what was used so far")),
            ("forecast", gettext_lazy("what is expected by the end of the term")),
        ],
        widget=forms.RadioSelect,
        initial="now",
    )
    by_mail = forms.BooleanField(label=gettext_lazy("Send a mail, too"), required=False, initial=True)

    def clean_bound(self) -> Decimal:
        bound = self.cleaned_data["bound"]
        if not bound:
            raise forms.ValidationError(_("Enter more than 0."))
        return Decimal(bound)

    @property
    def said(self) -> dict[str, Any]:
        """What was typed, as fields of an alert."""
        data = self.cleaned_data
        return {
            "bound": data["bound"],
            "is_of_forecast": data["when"] == "forecast",
            "by_mail": data["by_mail"],
        }


class BudgetForm(_BoundForm):
    """A bound of money for all usage charges of a client or a service, in one currency."""

    field_order = ("bound", "when", "by_mail")

    def __init__(self, *args: Any, currency: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.currency = currency
        field = self.fields["bound"]
        assert isinstance(field, NumberField)
        field.places = minor_units(currency)
        field.label = _("Tell when usage charges reach, in %(currency)s") % {"currency": currency}

    @property
    def said(self) -> dict[str, Any]:
        return {**super().said, "measure": Measure.AMOUNT, "currency": self.currency}


class AlertForm(_BoundForm):
    """A bound for a metric of a service or product, or for its usage charges."""

    field_order = ("about", "measure", "bound", "when", "by_mail")

    about = forms.ChoiceField(label=gettext_lazy("What"), widget=forms.Select({"class": "form-select"}))
    measure = forms.ChoiceField(
        label=gettext_lazy("Measured in"),
        choices=[
            (Measure.QUANTITY, gettext_lazy("its unit")),
            (Measure.SHARE, gettext_lazy("percent of what is included")),
            (Measure.AMOUNT, gettext_lazy("money")),
        ],
        widget=forms.RadioSelect,
        initial=Measure.QUANTITY,
    )

    def __init__(
        self, *args: Any, settings: Sequence[MetricSetting], currencies: Sequence[str], today: date, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.settings = {str(setting.pk): setting for setting in settings}
        self.today = today
        is_gone = self.initial.get("about") not in (None, "", CHARGES, *self.settings)
        self.fields["about"].choices = [  # type: ignore[attr-defined]
            # Of what is there no more, a browser would choose the first, which nobody asked for.
            *([("", "---------")] if is_gone else []),
            *((pk, f"{one.metric} ({unit_of(one, today)})") for pk, one in self.settings.items()),
            (CHARGES, _("All usage charges")),
        ]
        if len(currencies) > 1:
            self.fields["currency"] = forms.ChoiceField(
                label=_("Currency of money"),
                choices=[(code, code) for code in currencies],
                widget=forms.Select({"class": "form-select"}),
                required=False,
            )
        elif currencies:
            money = _("money, in %(currency)s") % {"currency": currencies[0]}
            choices = dict(self.fields["measure"].choices) | {Measure.AMOUNT: money}  # type: ignore[attr-defined]
            self.fields["measure"].choices = list(choices.items())  # type: ignore[attr-defined]
        self.currency = currencies[0] if currencies else ""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        about, measure = data.get("about"), data.get("measure")
        if not about or not measure:
            return data
        setting = self.settings.get(about)
        if setting is None:
            if measure != Measure.AMOUNT:
                self.add_error("measure", _("Charges are measured in money."))
            return data
        version = setting.version_on(self.today)
        if measure == Measure.AMOUNT and version is None:
            self.add_error("measure", _("It costs nothing today. Choose its unit."))
        if measure == Measure.SHARE and (version is None or not version.included):
            self.add_error("measure", _("Nothing of it is included, so there is no share of that. Choose its unit."))
        return data

    @property
    def said(self) -> dict[str, Any]:
        data = self.cleaned_data
        setting, money = self.settings.get(data["about"]), data["measure"] == Measure.AMOUNT
        return {
            **super().said,
            "measure": data["measure"],
            "setting": setting,
            "unit_code": unit_of(setting, self.today).code if setting else "",
            "currency": (data.get("currency") or self.currency) if money else "",
        }


def unit_of(setting: MetricSetting, day: date) -> Unit:
    """The unit in which a metric is priced on a day, or else measured."""
    version = setting.version_on(day)
    return version.unit if version else setting.metric.unit


def initial_of(alert: Alert) -> dict[str, Any]:
    """An alert as the form shows it."""
    return {
        "about": str(alert.setting_id) if alert.setting_id else CHARGES,
        "measure": alert.measure,
        "bound": plain(alert.bound),
        "when": "forecast" if alert.is_of_forecast else "now",
        "by_mail": alert.by_mail,
        "currency": alert.currency,
    }
