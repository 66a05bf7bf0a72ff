"""How usage grows: per product and metric, month against the month before and against the year before.

It is what was measured, billed or not: of totals their sum over the calendar month, of levels the last one of each
service in it. The month that is not over is shown so far and compared with nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from catalog.models import Product
from invoicing.chart import Chart
from metering import dates
from metering.decimals import EXACT
from metering.language import signed_percent
from metering.models import Metric
from metering.units import Unit
from reports import charts
from reports.models import UsageSum
from reports.months import growth, previous, year_before
from reports.tables import NOTHING, Cell, Column, Row, Table


@dataclass(frozen=True)
class Used:
    """What was used of a metric of a product in a month, in the metric's unit, and by how many services."""

    quantity: Decimal
    services: int


@dataclass(frozen=True)
class Usage:
    """What was used of a metric of a product, by month."""

    product: Product
    metric: Metric
    by_month: Mapping[date, Used]

    @property
    def unit(self) -> Unit:
        return self.metric.unit

    def quantity(self, month: date) -> Decimal | None:
        return self.by_month[month].quantity if month in self.by_month else None

    def against_month(self, month: date) -> Decimal | None:
        """By how much a month is above the one before, in percent."""
        return growth(self.quantity(month), self.quantity(previous(month)))

    def against_year(self, month: date) -> Decimal | None:
        return growth(self.quantity(month), self.quantity(year_before(month)))


def usages(*, product: int | None = None, metric: int | None = None) -> list[Usage]:
    """Return what was used, by product and metric in the order of their names, in two queries."""
    rows = UsageSum.objects.select_related("product").order_by("product__name", "month")
    if product is not None:
        rows = rows.filter(product=product)
    if metric is not None:
        rows = rows.filter(metric=metric)
    metrics = Metric.objects.in_bulk()
    found: dict[tuple[int, int], dict[date, Used]] = {}
    products: dict[int, Product] = {}
    for row in rows:
        products[row.product_id] = row.product
        unit = metrics[row.metric_id].unit
        used = Used(unit.from_base(row.value), row.services)
        found.setdefault((row.product_id, row.metric_id), {})[row.month] = used
    made = [Usage(products[pk], metrics[metric], by_month) for (pk, metric), by_month in found.items()]
    return sorted(made, key=lambda one: (one.product.name, str(one.metric)))


def overview(found: Sequence[Usage], month: date, today: date, links: Mapping[tuple[int, int], str]) -> Table:
    """Return a table with a row for each metric of each product, about one month."""
    is_open = month == today.replace(day=1)
    before, year = previous(month), year_before(month)
    columns = [
        Column(_("Metric"), is_number=False),
        Column(dates.short_month(month), name=f"{month:%Y-%m}", note=_("so far") if is_open else ""),
        Column(dates.short_month(before), name=f"{before:%Y-%m}"),
        Column(pgettext("difference", "Change"), name=_("change to the month before, %")),
        Column(dates.short_month(year), name=f"{year:%Y-%m}"),
        Column(pgettext("difference", "Change"), name=_("change to the year before, %")),
        Column(_("Services")),
    ]
    rows, product = [], ""
    for one in found:
        if one.product.name != product:
            product = one.product.name
            rows.append(Row(Cell(product), [Cell("")] * (len(columns) - 1), is_strong=True))
        used = one.by_month.get(month)
        rows.append(
            Row(
                Cell(str(one.metric), _named(one), link=links[one.product.pk, one.metric.pk]),
                [
                    *(_quantity(one, month), _quantity(one, before)),
                    NOTHING if is_open else _percent(one.against_month(month)),
                    _quantity(one, year),
                    NOTHING if is_open else _percent(one.against_year(month)),
                    _count(used.services) if used else NOTHING,
                ],
                group=product,
            )
        )
    return Table(columns, rows, group_title=_("product"))


def history(one: Usage, months: Sequence[date], today: date) -> Table:
    """Return a table with a row for each month, the newest first."""
    columns = [
        Column(_("Month"), is_number=False),
        Column(_("Usage"), name=_named(one)),
        Column(_("Against the month before"), name=_("change to the month before, %")),
        Column(_("Against the year before"), name=_("change to the year before, %")),
        Column(_("Services")),
        Column(_("Per service"), name=_("per service, %(unit)s") % {"unit": str(one.unit)}),
    ]
    rows = []
    for month in reversed(months):
        used = one.by_month.get(month)
        is_open = month == today.replace(day=1)
        head = Cell(dates.month(month), f"{month:%Y-%m}", note=_("so far") if is_open else "")
        if used is None:
            rows.append(Row(head, [NOTHING] * 5))
            continue
        compared = [
            NOTHING if is_open else _percent(each) for each in (one.against_month(month), one.against_year(month))
        ]
        each_service = EXACT.divide(used.quantity, Decimal(used.services))
        rows.append(
            Row(
                head,
                [
                    *(_quantity(one, month), *compared, _count(used.services)),
                    Cell(one.unit.write(each_service, places=2), round(each_service, 6)),
                ],
            )
        )
    return Table(columns, rows)


@dataclass(frozen=True)
class Figures:
    """What a metric came to in one month, written."""

    month: str
    usage: str
    note: str
    against_month: str
    month_before: str
    against_year: str
    year_before: str
    services: str


def figures(one: Usage, month: date, today: date) -> Figures:
    is_open = month == today.replace(day=1)
    before, year, used = previous(month), year_before(month), one.by_month.get(month)

    def was(then: date) -> str:
        known = one.by_month.get(then)
        if known is None:
            return _("nothing is known of %(month)s") % {"month": dates.month(then)}
        return _("%(quantity)s in %(month)s") % {
            "quantity": one.unit.write(known.quantity, places=2),
            "month": dates.month(then),
        }

    return Figures(
        dates.month(month),
        _quantity(one, month).text,
        _("so far") if is_open else _("used in the month") if one.metric.adds_up else _("at the end of the month"),
        (NOTHING if is_open else _percent(one.against_month(month))).text,
        was(before),
        (NOTHING if is_open else _percent(one.against_year(month))).text,
        was(year),
        _count(used.services).text if used else NOTHING.text,
    )


def _named(one: Usage) -> str:
    """A metric with its unit, as the CSV has it: `Bandwidth, GB`."""
    return _("%(metric)s, %(unit)s") % {"metric": str(one.metric), "unit": str(one.unit)}


def _quantity(one: Usage, month: date) -> Cell:
    quantity = one.quantity(month)
    return NOTHING if quantity is None else Cell(one.unit.write(quantity, places=2), quantity)


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)


def _percent(share: Decimal | None) -> Cell:
    return NOTHING if share is None else Cell(signed_percent(share), share)


def chart(one: Usage, months: Sequence[date]) -> Chart:
    unit = one.unit
    return charts.by_month(
        title=_("%(metric)s of %(product)s by month, %(unit)s")
        % {"metric": str(one.metric), "product": one.product.name, "unit": str(unit)},
        what=_("Usage"),
        months=months,
        values=[one.quantity(month) for month in months],
        write=lambda value: unit.number(value, places=2),
        written=lambda value: unit.write(value, places=2),
        smallest=Decimal(1) if unit.is_whole else Decimal(0),
    )


@dataclass(frozen=True)
class Headline:
    """How many metrics were used more in a month than in the one before, of how many compared."""

    month: date
    grew: int
    compared: int

    @property
    def words(self) -> str:
        return dates.month(self.month)


def headline(found: Sequence[Usage], month: date) -> Headline:
    changes = [change for one in found if (change := one.against_month(month)) is not None]
    return Headline(month, sum(change > 0 for change in changes), len(changes))
