"""Adding issued documents to the sums, each once: some thousand at a time, with a watermark for each series.

The sums and the watermark are written in one transaction, so that whoever dies in between has done nothing. What is
not counted yet is added to what pages show by the same statement.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from invoicing.models import Series
from metering.periods import month
from reports.models import Counted, DocumentSum, LineSum, PriceSpread, SpreadMonth

#: Documents that are counted in one transaction.
BATCH = 10_000
#: A page adds what is not counted yet by itself, up to so many documents.
LIVE = 2_000

#: Its total is before tax, as that of its lines is: a tax is no revenue.
_DOCUMENT_IS = """
    id, date_trunc('month', issued_on)::date AS month, currency, kind = 'credit_note' AS is_credit, total - tax AS total
"""
_THESE = f"SELECT {_DOCUMENT_IS} FROM invoicing_invoice WHERE id = ANY(%s::uuid[])"  # noqa: S608  # nosec B608
#: What comes behind an entry in a series. The day of issue never goes back in one, and there is an index of days.
_BEHIND = "FROM invoicing_invoice WHERE series_id = %s AND issued_on >= %s AND entry > %s ORDER BY entry LIMIT %s"
_DOCUMENT_SUMS = """
    SELECT month, currency, is_credit, count(*), sum(total) FROM ({documents}) AS document
    GROUP BY month, currency, is_credit
"""
#: The lines are looked up by document (what OFFSET is for): the planner would rather read all that were ever issued.
#: A credit belongs to the line that charged it. A recurring line names its product, which a service may have changed
#: since. Quantities are brought to the base of their unit, as it was stated.
_LINE_SUMS = """
    SELECT d.month, date_trunc('month', l.start)::date AS used, coalesce(t.product_id, p.id, s.product_id) AS product,
        coalesce(l.setting_id, c.setting_id) AS setting, coalesce(c.kind, l.kind) AS kind, d.currency, d.is_credit,
        count(*), sum(l.amount),
        coalesce(sum(l.quantity * (f.unit ->> 'factor')::numeric) FILTER (WHERE l.kind = 'usage'), 0)
    FROM ({documents}) AS d
    CROSS JOIN LATERAL (SELECT * FROM invoicing_line WHERE invoice_id = d.id OFFSET 0) l
    JOIN catalog_service s ON s.id = l.service_id
    LEFT JOIN LATERAL (SELECT kind, setting_id FROM invoicing_line WHERE id = l.credits_id OFFSET 0) c ON true
    LEFT JOIN invoicing_statement f ON f.id = l.statement_id
    LEFT JOIN catalog_metricsetting t ON t.id = coalesce(l.setting_id, c.setting_id)
    LEFT JOIN catalog_product p ON coalesce(c.kind, l.kind) = 'recurring' AND p.name = l.title
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_ADD_DOCUMENTS = f"""
    INSERT INTO reports_documentsum AS known (month, currency, is_credit, documents, total)
    {_DOCUMENT_SUMS.format(documents=_THESE)}
    ON CONFLICT (month, currency, is_credit) DO UPDATE
    SET documents = known.documents + excluded.documents, total = known.total + excluded.total
"""  # noqa: S608  # nosec B608
_ADD_LINES = f"""
    INSERT INTO reports_linesum AS known
        (month, used, product_id, setting_id, kind, currency, is_credit, lines, amount, quantity)
    {_LINE_SUMS.format(documents=_THESE)}
    ON CONFLICT (month, used, product_id, setting_id, kind, currency, is_credit) DO UPDATE
    SET lines = known.lines + excluded.lines, amount = known.amount + excluded.amount,
        quantity = known.quantity + excluded.quantity
"""  # noqa: S608  # nosec B608


@dataclass(frozen=True)
class DocumentRow:
    """A row of DocumentSum."""

    month: date
    currency: str
    is_credit: bool
    documents: int
    total: Decimal


@dataclass(frozen=True)
class LineRow:
    """A row of LineSum."""

    month: date
    used: date
    product: int
    setting: int | None
    kind: str
    currency: str
    is_credit: bool
    lines: int
    amount: Decimal
    quantity: Decimal

    @property
    def signed(self) -> Decimal:
        """What it adds to revenue: what is given back takes away."""
        return -self.amount if self.is_credit else self.amount


# ---- adding up


def count_documents(*, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Add all documents that are not in the sums yet. Returns how many there were."""
    done = 0
    for code in Series.objects.order_by("code").values_list("pk", flat=True):
        while not should_stop() and (count := _count_some(code, at)):
            done += count
    return done


@transaction.atomic
def _count_some(code: str, at: datetime) -> int:
    Counted.objects.get_or_create(pk=code)
    counted = Counted.objects.select_for_update().get(pk=code)
    found = _next(counted, BATCH)
    if found:
        ids = [pk for pk, _, _ in found]
        with connection.cursor() as cursor:
            cursor.execute(_ADD_DOCUMENTS, [ids])
            cursor.execute(_ADD_LINES, [ids])
        _, counted.entry, counted.day = found[-1]
    counted.at = at
    counted.save(update_fields=["entry", "day", "at"])
    return len(found)


def _next(counted: Counted, limit: int) -> list[tuple[Any, int, date]]:
    """The next documents of a series, with their entries and days, in their order."""
    return list(_rows(f"SELECT id, entry, issued_on {_BEHIND}", _behind(counted, limit)))


def _behind(counted: Counted, limit: int) -> list[Any]:
    """The parameters of _BEHIND."""
    return [counted.pk, counted.day, counted.entry, limit]


@transaction.atomic
def forget() -> None:
    """Begin anew: the next count is of all documents. It waits for one that runs."""
    list(Counted.objects.select_for_update())
    for model in (Counted, DocumentSum, LineSum, PriceSpread, SpreadMonth):
        model._default_manager.all().delete()


# ---- asking


@dataclass(frozen=True)
class Sums:
    """The sums as they stand now. `is_behind` says that more was issued than a page counts by itself."""

    documents: list[DocumentRow]
    lines: list[LineRow]
    at: datetime | None
    is_behind: bool


def sums() -> Sums:
    """Return the sums of all months, with what was issued since they were counted, unless that is too much."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            # One state of all tables, whatever is counted meanwhile.
            if not connection.savepoint_ids:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        known = {one.pk: one for one in Counted.objects.all()}
        series = [known.get(code) or Counted(pk=code) for code in Series.objects.values_list("pk", flat=True)]
        documents = [DocumentRow(*row) for row in DocumentSum.objects.order_by("month").values_list(*_DOCUMENT)]
        lines = [LineRow(*row) for row in LineSum.objects.order_by("month").values_list(*_LINE)]
        # One statement for all series, whatever their number.
        rest = " UNION ALL ".join([f"(SELECT {_DOCUMENT_IS} {_BEHIND})"] * len(series))
        which = [each for one in series for each in _behind(one, LIVE)]
        more = [DocumentRow(*row) for row in _rows(_DOCUMENT_SUMS.format(documents=rest), which)] if series else []
        is_behind = sum(row.documents for row in more) >= LIVE
        if more and not is_behind:
            documents += more
            lines += [LineRow(*row) for row in _rows(_LINE_SUMS.format(documents=rest), which)]
    return Sums(documents, lines, max((one.at for one in known.values() if one.at), default=None), is_behind)


_DOCUMENT = ("month", "currency", "is_credit", "documents", "total")
_LINE = ("month", "used", "product_id", "setting_id", "kind", "currency", "is_credit", "lines", "amount", "quantity")


def _rows(query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor.fetchall()


# ---- what services paid for a unit

#: Services that used nothing have no price per unit.
_SPREADS = """
    WITH paid AS (
        SELECT l.setting_id, i.currency, l.service_id,
            sum(l.amount) / sum(l.quantity * (f.unit ->> 'factor')::numeric) AS price
        FROM invoicing_invoice i
        CROSS JOIN LATERAL (SELECT * FROM invoicing_line WHERE invoice_id = i.id AND kind = 'usage' OFFSET 0) l
        JOIN invoicing_statement f ON f.id = l.statement_id
        WHERE i.issued_on >= %(begin)s AND i.issued_on < %(end)s AND i.kind <> 'credit_note'
        GROUP BY l.setting_id, i.currency, l.service_id HAVING sum(l.quantity) > 0
    )
    INSERT INTO reports_pricespread (month, setting_id, currency, services, low, median, high)
    SELECT %(begin)s, setting_id, currency, count(*), round(min(price), 24),
        round(percentile_disc(0.5) WITHIN GROUP (ORDER BY price), 24), round(max(price), 24)
    FROM paid GROUP BY setting_id, currency
"""


def spread_prices(*, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Work out what services paid for a unit, of the months in which something was counted since. Returns how many
    months that were."""
    known = dict(SpreadMonth.objects.values_list("month", "lines"))
    counted: dict[date, int] = {}
    for first, lines in LineSum.objects.filter(kind="usage", is_credit=False).values_list("month", "lines"):
        counted[first] = counted.get(first, 0) + lines
    stale = sorted(first for first, lines in counted.items() if known.get(first) != lines)
    done = 0
    for first in stale:
        if should_stop():
            break
        _spread(first, counted[first])
        done += 1
    return done


@transaction.atomic
def _spread(first: date, lines: int) -> None:
    SpreadMonth.objects.update_or_create(month=first, defaults={"lines": lines})
    PriceSpread.objects.filter(month=first).delete()
    with connection.cursor() as cursor:
        cursor.execute(_SPREADS, {"begin": first, "end": month(first).end})


# ---- comparing

_RAW = """
    SELECT date_trunc('month', i.issued_on)::date, i.currency, coalesce(c.kind, l.kind), i.kind = 'credit_note',
        count(*), sum(l.amount)
    FROM invoicing_line l JOIN invoicing_invoice i ON i.id = l.invoice_id
    LEFT JOIN invoicing_line c ON c.id = l.credits_id
    GROUP BY 1, 2, 3, 4
"""
_TOTALS = """
    SELECT date_trunc('month', issued_on)::date, currency, kind = 'credit_note', count(*), sum(total - tax)
    FROM invoicing_invoice GROUP BY 1, 2, 3
"""


def differences() -> Iterable[str]:
    """Add everything up again and say, in a sentence each, where the sums are not what documents come to."""
    now = sums()
    if now.is_behind:
        yield f"More than {LIVE} documents are not counted yet. Run the job Reports first."
        return
    lines: dict[tuple[Any, ...], tuple[int, Decimal]] = {}
    for one in now.lines:
        key = one.month, one.currency, one.kind, one.is_credit
        count, amount = lines.get(key, (0, Decimal(0)))
        lines[key] = count + one.lines, amount + one.amount
    documents: dict[tuple[Any, ...], tuple[int, Decimal]] = {}
    for each in now.documents:
        whose = each.month, each.currency, each.is_credit
        count, amount = documents.get(whose, (0, Decimal(0)))
        documents[whose] = count + each.documents, amount + each.total
    yield from _unlike("lines", lines, {row[:-2]: row[-2:] for row in _rows(_RAW)})
    yield from _unlike("documents", documents, {row[:-2]: row[-2:] for row in _rows(_TOTALS)})


def _unlike(what: str, kept: dict[Any, Any], raw: dict[Any, Any]) -> Iterator[str]:
    for key in sorted(kept.keys() | raw.keys(), key=str):
        if kept.get(key, (0, 0)) != raw.get(key, (0, 0)):
            month_of, currency, *rest = key
            ours, theirs = (found.get(key, (0, Decimal(0))) for found in (kept, raw))
            yield (
                f"{month_of:%Y-%m}, {currency}, {', '.join(map(str, rest))}: the sums say {ours[0]} {what} of"
                f" {ours[1]:f}, the documents {theirs[0]} of {theirs[1]:f}"
            )
