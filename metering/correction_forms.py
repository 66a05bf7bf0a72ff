"""The forms that choose a period of a metric, and that correct what counts for it."""

from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from metering.decimals import NotANumber, parse
from metering.models import MAX_VALUE, Metric
from metering.providers.base import MetricType
from metering.units import Unit

#: Days that an address may name; beyond them somebody has mistyped.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)


class PeriodForm(forms.Form):
    """Which day, or which month, as browsers send it: `2026-11-18` or `2026-11`."""

    use_required_attribute = False

    def __init__(self, *args: Any, metric: Metric, last: str, **options: Any) -> None:
        """`last` is the last period that is over, as a browser writes it."""
        super().__init__(*args, **options)
        is_month = metric.type == MetricType.MONTH
        example = _("a month, such as 2026-11") if is_month else _("a day, such as 2026-11-18")
        self.fields["period"] = forms.DateField(
            label=_("Another month") if is_month else _("Another day"),
            input_formats=["%Y-%m" if is_month else "%Y-%m-%d"],
            widget=forms.TextInput({"type": "month" if is_month else "date", "max": last, "class": "form-control"}),
            error_messages={
                "required": _("Choose %(example)s.") % {"example": example},
                "invalid": _("Choose %(example)s.") % {"example": example},
            },
            validators=[MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)],
        )


class CorrectionForm(forms.Form):
    """What counts for a period instead, in the unit that the metric is shown in."""

    use_required_attribute = False

    quantity = forms.CharField(
        label=gettext_lazy("What counts instead"),
        widget=forms.TextInput({"class": "form-control", "inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Enter a quantity.")},
    )
    reason = forms.CharField(
        label=gettext_lazy("Why"),
        max_length=500,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Say why.")},
        help_text=gettext_lazy("Kept with the correction for good."),
    )

    def __init__(self, *args: Any, unit: Unit, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unit = unit

    def clean(self) -> None:
        for name in self.errors:
            self.fields[name].widget.attrs["class"] += " is-invalid"

    def clean_quantity(self) -> Decimal:
        """Return the quantity in the base of the unit."""
        try:
            quantity = parse(self.cleaned_data["quantity"], places=self.unit.places)
        except NotANumber as error:
            example = "1234" if self.unit.is_whole else "1234.5"
            raise ValidationError(
                _("%(error)s. Write it plainly, such as %(example)s.") % {"error": error, "example": example}
            ) from None
        value = self.unit.to_base(quantity)
        if value >= MAX_VALUE:
            raise ValidationError(
                _("Must be less than %(value)s.") % {"value": self.unit.write(self.unit.from_base(Decimal(MAX_VALUE)))}
            )
        return value
