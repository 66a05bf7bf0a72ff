"""Whom a draft of a pricing affects: what each service's usage of today would cost now and then, and from when."""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Sum
from django.utils.translation import gettext as _

from catalog.forms import PricingForm
from catalog.in_force import Priced, agreed_pricing, agreed_unit, choose, overrides_of
from catalog.models import OVER, Override, Service
from catalog.money import round_amount
from catalog.pricing import PricingError, amount
from catalog.spans import covered
from catalog.terms import Cycle, term
from catalog.typed import Subject, home_first
from metering import dates
from metering.models import Latest, Usage
from metering.periods import Period, month
from metering.providers.base import MetricType
from metering.units import Unit

#: How many services the editor lists, those that change most.
SHOWN = 10


class Row(NamedTuple):
    """A service, as few columns as there are: a product may have tens of thousands of them."""

    pk: int
    public_id: str
    name: str
    client: str
    currency: str
    tenant_id: int
    anchor: date
    clock: str


@dataclass(frozen=True, slots=True)
class Affected:
    """What the usage of today, or of last month, costs a service now and would cost it then, rounded.

    `now` is None while there is no price, `then` when the draft has none in its currency.
    """

    row: Row
    unit: Unit
    quantity: Decimal
    now: Decimal | None
    then: Decimal | None
    starts: date | None = None

    @property
    def difference(self) -> Decimal:
        return (self.then or Decimal(0)) - (self.now or Decimal(0))


@dataclass(frozen=True, slots=True)
class Total:
    """The services that are billed in one currency."""

    currency: str
    services: int
    more: int
    less: int
    unpriced: int
    now: Decimal
    then: Decimal

    @property
    def same(self) -> int:
        return self.services - self.more - self.less - self.unpriced

    @property
    def difference(self) -> Decimal:
        return self.then - self.now


@dataclass(frozen=True)
class Whom:
    """The services of a product: sums by currency, and those of each that change most."""

    services: int
    measured: str
    totals: list[Total]
    shown: list[Affected]

    @property
    def unmeasured(self) -> int:
        """How many have no usage to rate."""
        return self.services - sum(total.services for total in self.totals)


def services(draft: PricingForm) -> Whom:
    """Rate what every living service uses by a valid draft, beside what is in force today, in six queries."""
    subject = draft.subject
    rows = _living(subject)
    found = _rated(draft, rows)
    by_currency: dict[str, list[Affected]] = defaultdict(list)
    for one in found:
        by_currency[one.row.currency].append(one)
    shown = sorted(found, key=lambda one: (one.then is not None, -abs(one.difference), one.row.name))[:SHOWN]
    return Whom(
        services=len(rows),
        measured=_("in %(month)s") % {"month": dates.month(last_month(subject.today).start)}
        if subject.setting.metric.adds_up
        else _("today"),
        totals=[_total(currency, by_currency[currency]) for currency in home_first(by_currency)],
        shown=[replace(one, starts=_starts(one.row, draft)) for one in shown],
    )


def last_month(today: date) -> Period:
    return month(today.replace(day=1) - timedelta(days=1))


def _living(subject: Subject) -> list[Row]:
    living = Service.objects.filter(product=subject.setting.product_id, tenant__isnull=False).exclude(status__in=OVER)
    columns = ("pk", "public_id", "name", "client__name", "client__currency", "tenant_id", "anchor", "billed_every")
    return [Row(*columns) for columns in living.with_clock().order_by("name", "pk").values_list(*columns)]


def _rated(draft: PricingForm, rows: list[Row]) -> list[Affected]:
    subject, sheet, starts = draft.subject, draft.sheet, draft.cleaned_data["effective_from"]
    setting = subject.setting
    values = _values(subject, [row.tenant_id for row in rows])
    overrides = overrides_of([row.pk for row in rows]) if subject.versions else {}
    found = []
    for row in rows:
        if (value := values.get(row.tenant_id)) is None:
            continue
        agreed = overrides.get((row.pk, setting.pk), [])
        now = choose(setting, agreed, began=subject.today) if subject.versions else None
        then = next((each for each in agreed if covered([each], starts)), None)
        unit = agreed_unit(sheet, then)
        cost_now = _cost(now.version, now.override, row.currency, value) if now else None
        found.append(Affected(row, unit, unit.from_base(value), cost_now, _cost(sheet, then, row.currency, value)))
    return found


def _values(subject: Subject, tenants: list[int]) -> dict[int, Decimal]:
    """Return what each tenant has now, or used in the last month, in the base of the unit."""
    metric = subject.setting.metric
    if not metric.adds_up:
        rows = Latest.objects.filter(metric_id=metric.pk, tenant_id__in=tenants)
        return dict(rows.values_list("tenant_id", "value"))
    last = last_month(subject.today)
    used = Usage.objects.filter(metric_id=metric.pk, tenant_id__in=tenants, start__gte=last.start, start__lt=last.end)
    return dict(used.order_by().values_list("tenant_id").annotate(Sum("value")))


def _cost(priced: Priced, override: Override | None, currency: str, value: Decimal) -> Decimal | None:
    try:
        pricing = agreed_pricing(priced, override, currency)
        quantity = agreed_unit(priced, override).from_base(value)
        return None if pricing is None else round_amount(amount(pricing, quantity), currency)
    except PricingError:
        return None


def _total(currency: str, found: list[Affected]) -> Total:
    return Total(
        currency,
        services=len(found),
        more=sum(one.then is not None and one.difference > 0 for one in found),
        less=sum(one.then is not None and one.difference < 0 for one in found),
        unpriced=sum(one.then is None for one in found),
        now=sum((one.now or Decimal(0) for one in found), Decimal(0)),
        then=sum((one.then or Decimal(0) for one in found), Decimal(0)),
    )


def _starts(row: Row, draft: PricingForm) -> date:
    """Return the first day of the first period that the draft prices: of a term, a month or a day."""
    day: date = draft.cleaned_data["effective_from"]
    kind = draft.subject.setting.metric.type
    if kind == MetricType.MONTH:
        return day if day.day == 1 else month(day).end
    if kind != MetricType.SNAPSHOT:
        return max(day, row.anchor)
    cycle, number = Cycle(row.clock), 0
    if day > row.anchor:
        number = (day - row.anchor).days // (31 * cycle.months)
    while term(row.anchor, cycle, number).start < day:
        number += 1
    return term(row.anchor, cycle, number).start
