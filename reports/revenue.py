"""Revenue by product, metric and month: what issued documents charged, less what credit notes gave back.

A document counts in the month of its issue, a credit note in that of its own; amounts are as on the documents, before
tax. By the period of use, a line counts in the month in which its period begins, and what is given back in that of the
line that charged it. Currencies are never added.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.models import MetricSetting, Product
from catalog.money import write, write_rounded
from catalog.wording import percent
from invoicing.chart import Chart
from invoicing.models import Line
from metering import dates
from metering.decimals import exact_sum, round_half_up
from metering.language import signed_percent
from reports import charts
from reports.counting import LineRow, Sums
from reports.months import growth, previous
from reports.tables import NOTHING, Cell, Column, Row, Table

#: What a row is about: its kind, and the metric of usage.
Key = tuple[str, int | None]
GIVEN_BACK = "given back"


@dataclass(frozen=True)
class Names:
    """Products and metric settings by their ids, read once."""

    products: Mapping[int, Product]
    settings: Mapping[int, MetricSetting]

    @classmethod
    def read(cls) -> "Names":
        settings = MetricSetting.objects.select_related("metric", "product")
        return cls(Product.objects.in_bulk(), {each.pk: each for each in settings})


@dataclass(frozen=True)
class Documents:
    """The documents that were issued in some months, in one currency."""

    invoices: int
    charged: Decimal
    credit_notes: int
    given_back: Decimal

    @property
    def total(self) -> Decimal:
        return self.charged - self.given_back


@dataclass(frozen=True)
class Revenue:
    """Revenue in one currency over some months. `documents` is what it has to be equal to, where nothing is left
    out."""

    currency: str
    months: Sequence[date]
    by_month: Mapping[date, Decimal]
    by_kind: Mapping[str, Decimal]
    given_back: Decimal
    table: Table
    documents: Documents | None

    @property
    def total(self) -> Decimal:
        return exact_sum(self.by_month.values())

    @property
    def is_equal(self) -> bool:
        return self.documents is None or self.documents.total == self.total

    @property
    def span(self) -> str:
        return dates.months(self.months[0], self.months[-1]) if self.months else ""

    @property
    def caption(self) -> str:
        return _("Revenue by product and metric, %(currency)s") % {"currency": self.currency}

    @property
    def chart(self) -> Chart:
        return charts.by_month(
            title=_("Revenue by month, %(currency)s") % {"currency": self.currency},
            what=_("Revenue"),
            months=self.months,
            values=[self.by_month.get(month) for month in self.months],
            write=lambda value: write_rounded(value, self.currency, 0),
            written=lambda value: write(value, self.currency),
        )

    @property
    def documents_words(self) -> str:
        """What the documents come to, in a sentence."""
        found = self.documents
        if found is None:
            return ""
        charged = ngettext("%(count)s invoice of %(amount)s", "%(count)s invoices of %(amount)s", found.invoices)
        charged %= {"count": found.invoices, "amount": write(found.charged, self.currency)}
        if not found.credit_notes:
            return _("%(charged)s were issued in these months.") % {"charged": charged}
        back = ngettext(
            "%(count)s credit note of %(amount)s", "%(count)s credit notes of %(amount)s", found.credit_notes
        )
        back %= {"count": found.credit_notes, "amount": write(found.given_back, self.currency)}
        total = write(found.total, self.currency)
        return _("%(charged)s less %(back)s were issued in these months: %(total)s.") % {
            "charged": charged,
            "back": back,
            "total": total,
        }

    @property
    def recurring(self) -> Decimal:
        return self.by_kind.get(Line.Kind.RECURRING, Decimal(0))

    @property
    def usage_share(self) -> str:
        """What usage is of all that was charged, in percent; nothing of nothing."""
        charged = exact_sum(self.by_kind.values())
        return percent(round_half_up(self.usage * 100 / charged, 0)) if charged else ""

    @property
    def usage(self) -> Decimal:
        """What was charged for usage: metered, corrected, and above limits."""
        return exact_sum(amount for kind, amount in self.by_kind.items() if kind != Line.Kind.RECURRING)


def currencies(sums: Sums) -> set[str]:
    return {row.currency for row in sums.documents}


def revenue(
    sums: Sums,
    names: Names,
    *,
    currency: str,
    months: Sequence[date],
    product: int | None = None,
    by_use: bool = False,
    today: date = date.max,
) -> Revenue:
    """Return the revenue of some months, oldest first, in a currency, of all products or of one. The month of `today`
    is marked as one that is not over."""
    chosen = set(months)
    rows = [
        row
        for row in sums.lines
        if row.currency == currency
        and (row.used if by_use else row.month) in chosen
        and (product is None or row.product == product)
    ]
    by_month: dict[date, Decimal] = defaultdict(Decimal)
    by_kind: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_month[row.used if by_use else row.month] += row.signed
        if not row.is_credit:
            by_kind[row.kind] += row.amount
    return Revenue(
        currency=currency,
        months=months,
        by_month=by_month,
        by_kind=by_kind,
        given_back=exact_sum(row.amount for row in rows if row.is_credit),
        table=_table(rows, names, currency, months, by_use, today),
        documents=None if by_use or product else _documents(sums, currency, chosen),
    )


def _documents(sums: Sums, currency: str, months: set[date]) -> Documents:
    rows = [row for row in sums.documents if row.currency == currency and row.month in months]
    charged, back = ([row for row in rows if row.is_credit is is_credit] for is_credit in (False, True))
    return Documents(
        sum(row.documents for row in charged),
        exact_sum(row.total for row in charged),
        sum(row.documents for row in back),
        exact_sum(row.total for row in back),
    )


def _table(
    rows: Iterable[LineRow], names: Names, currency: str, months: Sequence[date], by_use: bool, today: date
) -> Table:
    """A row for each product, and below it one for each of its parts; what was given back is one of them."""
    found: dict[int, dict[Key, dict[date, Decimal]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(Decimal)))
    for row in rows:
        key = (GIVEN_BACK, None) if row.is_credit else (row.kind, row.setting)
        found[row.product][key][row.used if by_use else row.month] += row.signed
    columns = [
        Column(_("Product"), is_number=False, name=_("part")),
        *(_month_column(each, today) for each in months),
        Column(_("Total")),
    ]
    written: list[tuple[Decimal, list[Row]]] = []
    everything: dict[date, Decimal] = defaultdict(Decimal)
    for pk, parts in found.items():
        product = names.products[pk].name
        whole: dict[date, Decimal] = defaultdict(Decimal)
        below = []
        for key, amounts in sorted(parts.items(), key=lambda part: _order(part[0], names)):
            below.append(_row(_title(key, names), amounts, months, currency, group=product))
            for month, amount in amounts.items():
                whole[month] += amount
                everything[month] += amount
        head = _row(product, whole, months, currency, is_strong=True)
        written.append((exact_sum(whole.values()), [head, *below]))
    written.sort(key=lambda one: (-one[0], one[1][0].head.text))
    return Table(
        columns,
        [row for _, group in written for row in group],
        _row(_("All products"), everything, months, currency, is_strong=True),
        group_title=_("product"),
    )


_KINDS = [Line.Kind.RECURRING, Line.Kind.USAGE, Line.Kind.OVERAGE, Line.Kind.ADJUSTMENT, Line.Kind.CREDIT, GIVEN_BACK]


def _order(key: Key, names: Names) -> tuple[int, str]:
    return _KINDS.index(key[0]), _title(key, names)


def _title(key: Key, names: Names) -> str:
    kind, setting = key
    metric = str(names.settings[setting].metric) if setting else ""
    if kind == Line.Kind.RECURRING:
        return _("Recurring")
    if kind == Line.Kind.OVERAGE:
        return _("Space and traffic above limits")
    if kind == Line.Kind.ADJUSTMENT:
        return _("%(metric)s, corrected later") % {"metric": metric} if metric else _("Corrected later")
    if kind == GIVEN_BACK:
        return _("Given back by credit notes")
    return metric


def _month_column(month: date, today: date) -> Column:
    note = _("so far") if month == today.replace(day=1) else ""
    return Column(dates.short_month(month), name=f"{month:%Y-%m}", note=note)


def _row(
    title: str,
    amounts: Mapping[date, Decimal],
    months: Sequence[date],
    currency: str,
    *,
    group: str = "",
    is_strong: bool = False,
) -> Row:
    cells = [money(amounts[month], currency) if month in amounts else NOTHING for month in months]
    return Row(Cell(title), [*cells, money(exact_sum(amounts.values()), currency)], group, is_strong)


def money(amount: Decimal, currency: str) -> Cell:
    return Cell(write(amount, currency), amount)


@dataclass(frozen=True)
class Headline:
    """The revenue of the last complete month, beside the one before."""

    month: date
    currency: str
    total: Decimal
    before: Decimal

    @property
    def words(self) -> str:
        return dates.month(self.month)

    @property
    def grew(self) -> str:
        """`+4.8 %`; nothing where there is nothing to compare with."""
        share = growth(self.total, self.before)
        return "" if share is None else signed_percent(share)


def headline(sums: Sums, currency: str, today: date) -> Headline:
    """Return what the documents of the last complete month come to."""
    last = previous(today.replace(day=1))

    def total(month: date) -> Decimal:
        return _documents(sums, currency, {month}).total

    return Headline(last, currency, total(last), total(previous(last)))
