"""What a unit really cost: what usage was billed, divided by the quantity that was billed.

Usage counts as it was billed, in the month of issue: neither what was corrected later nor credit notes are in it, and
a unit that was included counts as one that cost nothing. Beside it stand what single services paid for a unit, those
that used nothing left out, and the list price of the day on which the month began.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.models import MetricSetting
from catalog.money import minor_units, write, write_price
from catalog.wording import short_price
from invoicing.chart import Chart
from metering import dates
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.units import Unit
from reports import charts
from reports.counting import Sums
from reports.models import PriceSpread
from reports.months import previous
from reports.tables import NOTHING, Cell, Column, Row, Table

#: Digits behind the first one that counts, of a price per unit.
DIGITS = 3


@dataclass(frozen=True)
class Spread:
    """What services paid for a unit: the least, the middle one, and the most."""

    services: int
    low: Decimal
    median: Decimal
    high: Decimal


@dataclass(frozen=True)
class Price:
    """What was billed of a metric in a month in one currency. The quantity is in its unit; `each` is None where
    nothing was used."""

    setting: MetricSetting
    currency: str
    month: date
    amount: Decimal
    quantity: Decimal
    spread: Spread | None

    @property
    def unit(self) -> Unit:
        return unit_of(self.setting)

    @property
    def each(self) -> Decimal | None:
        return EXACT.divide(self.amount, self.quantity) if self.quantity else None

    @property
    def list_price(self) -> str:
        """The price of the day on which the month began, in words; nothing if there was none."""
        version = self.setting.version_on(self.month)
        pricing = version.pricing(self.currency) if version else None
        return short_price(pricing, version.unit, self.currency) if version and pricing else ""


def unit_of(setting: MetricSetting) -> Unit:
    """The unit in which a metric is sold: that of its newest version."""
    kept = [version for version in setting.all_versions if not version.is_withdrawn]
    return max(kept, key=lambda version: version.number).unit if kept else setting.metric.unit


def prices(
    sums: Sums,
    *,
    months: Sequence[date],
    currency: str = "",
    product: int | None = None,
    setting: int | None = None,
) -> list[Price]:
    """Return what usage of some months cost, by product, metric and month, in a few queries."""
    chosen = set(months)
    found: dict[tuple[int, str, date], tuple[Decimal, Decimal]] = {}
    for row in sums.lines:
        if row.kind != "usage" or row.is_credit or row.setting is None or row.month not in chosen:
            continue
        if (currency and row.currency != currency) or (setting is not None and row.setting != setting):
            continue
        if product is not None and row.product != product:
            continue
        key = row.setting, row.currency, row.month
        amount, quantity = found.get(key, (Decimal(0), Decimal(0)))
        found[key] = amount + row.amount, EXACT.add(quantity, row.quantity)
    settings = _settings({key[0] for key in found})
    spreads = _spreads(chosen, settings)
    made = []
    for (pk, of, month), (amount, base) in found.items():
        unit = unit_of(settings[pk])
        quantity = EXACT.divide(base, Decimal(unit.factor))
        made.append(Price(settings[pk], of, month, amount, quantity, spreads.get((pk, of, month))))
    return sorted(
        made,
        key=lambda one: (one.setting.product.name, str(one.setting.metric), one.currency, one.month),
    )


def _settings(ids: Iterable[int]) -> dict[int, MetricSetting]:
    chosen = MetricSetting.objects.filter(pk__in=ids).with_pricing().select_related("product", "metric")
    return {setting.pk: setting for setting in chosen}


def _spreads(months: Iterable[date], settings: Mapping[int, MetricSetting]) -> dict[tuple[int, str, date], Spread]:
    """By metric, currency and month, in the unit of the metric."""
    found = {}
    for row in PriceSpread.objects.filter(month__in=months, setting__in=settings):
        factor = Decimal(unit_of(settings[row.setting_id]).factor)
        bounds = [EXACT.multiply(each, factor) for each in (row.low, row.median, row.high)]
        found[row.setting_id, row.currency, row.month] = Spread(row.services, *bounds)
    return found


_COLUMNS = 7


def overview(found: Sequence[Price], links: Mapping[int, str]) -> Table:
    """Return a table of one month and one currency, with a row for each metric of each product."""
    columns = [Column(_("Metric"), is_number=False), *_columns()]
    rows, product = [], ""
    for one in found:
        if one.setting.product.name != product:
            product = one.setting.product.name
            rows.append(Row(Cell(product), [Cell("")] * _COLUMNS, is_strong=True))
        head = Cell(str(one.setting.metric), _named(one), link=links[one.setting.pk])
        rows.append(Row(head, _cells(one), group=product))
    return Table(columns, rows, group_title=_("product"))


def history(found: Sequence[Price], months: Sequence[date], today: date) -> Table:
    """Return a table about one metric in one currency, with a row for each month, the newest first."""
    by_month = {one.month: one for one in found}
    rows = []
    for month in reversed(months):
        one = by_month.get(month)
        note = _("so far") if month == today.replace(day=1) else ""
        head = Cell(dates.month(month), f"{month:%Y-%m}", note=note)
        rows.append(Row(head, _cells(one) if one else [NOTHING] * _COLUMNS))
    return Table([Column(_("Month"), is_number=False), *_columns()], rows)


def chart(found: Sequence[Price], months: Sequence[date]) -> Chart:
    by_month = {one.month: one for one in found}
    last = found[-1]
    return charts.by_month(
        title=_("Price per %(unit)s of %(metric)s by month, %(currency)s")
        % {
            "unit": last.unit.noun(Decimal(1)),
            "metric": str(last.setting.metric),
            "currency": last.currency,
        },
        what=_("Price per unit"),
        months=months,
        values=[one.each if (one := by_month.get(month)) else None for month in months],
        write=lambda value: write_price(shortened(value, last.currency), last.currency),
    )


def _columns() -> list[Column]:
    return [
        Column(_("Billed")),
        Column(_("Quantity")),
        Column(_("Price per unit")),
        Column(_("Lowest")),
        Column(_("Median")),
        Column(_("Highest")),
        Column(_("List price"), is_number=False),
    ]


def _cells(one: Price) -> list[Cell]:
    spread = one.spread
    bounds = [spread.low, spread.median, spread.high] if spread else [None] * 3
    return [
        Cell(write(one.amount, one.currency), one.amount),
        Cell(one.unit.write(one.quantity, places=2), round_half_up(one.quantity, 6)),
        _price(one.each, one.currency),
        *(_price(each, one.currency) for each in bounds),
        Cell(one.list_price or "—", one.list_price or None),
    ]


def _named(one: Price) -> str:
    return _("%(metric)s, %(unit)s") % {"metric": str(one.setting.metric), "unit": str(one.unit)}


def _price(price: Decimal | None, currency: str) -> Cell:
    if price is None:
        return NOTHING
    short = shortened(price, currency)
    return Cell(write_price(short, currency), short)


def shortened(price: Decimal, currency: str) -> Decimal:
    """Round a price per unit to the currency's minor unit, or to the digits that still count in a small one."""
    places = minor_units(currency) if price >= 1 or not price else DIGITS - 1 - price.adjusted()
    return round_half_up(price, min(max(places, minor_units(currency)), 12))


@dataclass(frozen=True)
class Headline:
    """The metric that brought most in the last complete month, and what a unit of it cost."""

    price: Price
    month: date

    @property
    def words(self) -> str:
        return dates.month(self.month)

    @property
    def each(self) -> str:
        return _price(self.price.each, self.price.currency).text

    @property
    def unit(self) -> str:
        return self.price.unit.noun(Decimal(1))

    @property
    def metric(self) -> str:
        return str(self.price.setting.metric)


def headline(sums: Sums, currency: str, today: date) -> Headline | None:
    last = previous(today.replace(day=1))
    found = [one for one in prices(sums, months=[last], currency=currency) if one.each is not None]
    return Headline(max(found, key=lambda one: one.amount), last) if found else None


def total(found: Iterable[Price]) -> Decimal:
    return exact_sum(one.amount for one in found)
