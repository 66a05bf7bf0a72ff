"""What a service pays for what it uses today, and what it would pay by terms that are being typed."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.db.models import Sum
from django.utils.translation import gettext as _

from catalog.in_force import Agreed, Priced, agreed_pricing, agreed_unit, choose, overrides_of
from catalog.money import round_amount
from catalog.override_forms import OverrideForm, Subject
from catalog.pricing import Charge, Pricing, PricingError, rate
from catalog.wording import bracket_price, bracket_ranges, charge_rows, price_sentence
from metering import dates
from metering.models import Latest, Usage
from metering.periods import month
from metering.units import Unit


@dataclass(frozen=True)
class Cost:
    """A quantity at a price, in words."""

    quantity: str
    amount: Decimal
    price: str
    rows: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Example:
    """The usage of today, or of last month, at the price of today and at that of the terms.

    `quantity` is empty while nothing was measured; `now` and `then` are None while there is no price.
    """

    quantity: str = ""
    measured: str = ""
    now: Cost | None = None
    then: Cost | None = None

    @property
    def difference(self) -> Decimal | None:
        return self.then.amount - self.now.amount if self.now and self.then else None


def example(draft: OverrideForm) -> Example:
    """Rate what the service uses by what is in force today and by what was typed, in six queries."""
    subject = draft.subject
    found = _measured(subject)
    if found is None:
        return Example()
    value, measured = found
    now = _now(subject, value)
    unit = subject.version.unit if subject.version else subject.setting.metric.unit
    quantity = now.quantity if now else unit.write(unit.from_base(value), places=2)
    return Example(quantity, measured, now, _then(draft, value))


def row_words(draft: OverrideForm) -> list[str]:
    """Say what each bracket of the table comes to; nothing while something is wrong with the terms."""
    agreement, words = draft.agreement, [""] * len(draft.numbers)
    own = agreement.own_prices if agreement else None
    if agreement is None or own is None:
        return words
    own = own.with_included(agreement.included) if agreement.included else own
    return [
        f"{said}: {bracket_price(own, bracket, agreement.unit, agreement.currency)}"
        for said, bracket in zip(bracket_ranges(own, agreement.unit), own.brackets, strict=True)
    ]


def _measured(subject: Subject) -> tuple[Decimal, str] | None:
    """Return the level of today, or what was used last month, in the base of the unit, and when that was."""
    tenant, metric = subject.service.tenant_id, subject.setting.metric
    if tenant is None:
        return None
    if not metric.adds_up:
        latest = Latest.objects.filter(tenant_id=tenant, metric_id=metric.pk).first()
        return (latest.value, _("now")) if latest else None
    last = month(subject.today.replace(day=1) - timedelta(days=1))
    used = Usage.objects.filter(tenant_id=tenant, metric_id=metric.pk, start__gte=last.start, start__lt=last.end)
    total = used.aggregate(total=Sum("value"))["total"]
    return (total, _("in %(month)s") % {"month": dates.month(last.start)}) if total is not None else None


def _now(subject: Subject, value: Decimal) -> Cost | None:
    key = (subject.service.pk, subject.setting.pk)
    in_force = choose(subject.setting, overrides_of([key[0]]).get(key, []), began=subject.today)
    return _cost(in_force.version, in_force.override, subject.currency, value) if in_force else None


def _then(draft: OverrideForm, value: Decimal) -> Cost | None:
    """The version is that of the first day, which may be a planned one."""
    agreement, subject = draft.agreement, draft.subject
    day: date = draft.cleaned_data.get("starts_on") or subject.today
    version = subject.setting.version_on(day) or subject.version
    return _cost(version, agreement, subject.currency, value) if version and agreement else None


def _cost(priced: Priced, agreed: Agreed | None, currency: str, value: Decimal) -> Cost | None:
    try:
        pricing, unit = agreed_pricing(priced, agreed, currency), agreed_unit(priced, agreed)
        return _worked(pricing, rate(pricing, unit.from_base(value)), unit, currency) if pricing else None
    except PricingError:
        return None


def _worked(pricing: Pricing, charge: Charge, unit: Unit, currency: str) -> Cost:
    return Cost(
        quantity=unit.write(charge.quantity, places=2),
        amount=round_amount(charge.amount, currency),
        price=price_sentence(pricing, unit, currency),
        rows=charge_rows(pricing, charge, unit, currency),
    )
