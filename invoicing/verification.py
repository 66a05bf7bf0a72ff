"""Everything that was issued, computed again from what is stored: an empty list, or what is wrong and where.

It reads one snapshot of the database, so that billing may go on beside it, and holds a batch at a time.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Length

from catalog.aggregation import Aggregation, Periods, aggregate
from catalog.in_force import agreed_pricing
from catalog.models import MetricSetting, Override, PricingVersion, Service
from catalog.money import round_amount
from catalog.pricing import Pricing, PricingError, added, rate
from catalog.quote import as_quoted, read_pricing, step_json
from catalog.terms import Cycle, number_at
from invoicing import chain, corrections, overage, unbilled
from invoicing.models import (
    BilledPeriod,
    Claim,
    Deferral,
    Difference,
    Invoice,
    Line,
    OverageCharge,
    Series,
    Statement,
)
from invoicing.prices import Catalog
from metering.decimals import EXACT, exact_sum
from metering.periods import Period
from metering.units import Unit

BATCH = 500
#: How many lines that were found right are kept, to be compared with others.
KNOWN = 20_000

#: Numbers grow by a digit after 99999.
BY_NUMBER = (Length("number"), "number")
#: The values of a row, by column.
Row = Any
Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: which document or service, and what about it."""

    about: str
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


def verify(*, progress: Progress = lambda done, of: None) -> Iterator[Finding]:
    """Check all documents, and that what was used is on exactly one of them. Yields what is wrong."""
    is_inside = connection.in_atomic_block
    with transaction.atomic():
        if not is_inside:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL datestyle = ISO")  # as the chain writes days
        yield from _documents(progress)
        yield from _series()
        yield from _statements()
        yield from _lost()
        yield from _given_back()
        yield from _receivables()
        yield from _billed_twice()
        yield from _claims()
        yield from _missing()
        yield from _different()
        yield from _overage()


def _documents(progress: Progress) -> Iterator[Finding]:
    """Number, chain, sums and every line of every document, in the order of the numbers."""
    done, of = 0, Invoice.objects.count()
    check, last = _Check(), None
    for batch in _batches(Invoice.objects.order_by("series", *BY_NUMBER).values().iterator(BATCH), BATCH):
        lines = _lines(batch)
        check.read([line for group in lines.values() for line in group])
        for invoice in batch:
            own = lines[str(invoice["id"])]
            if last is not None and last["series_id"] != invoice["series_id"]:
                last = None
            yield from _in_order(invoice, last)
            previous = last["digest"] if last else chain.START
            if chain.link(previous, _row(invoice), [line.row for line in own]) != invoice["digest"]:
                yield Finding(invoice["number"], "its content or its place in the series was changed: the chain breaks")
            if invoice["total"] != exact_sum(line.amount for line in own):
                yield Finding(invoice["number"], f"the total {invoice['total']:f} is not the sum of its lines")
            for line in own:
                for what in check.findings(line, invoice["currency"]):
                    yield Finding(f"{invoice['number']}, line {line.position}", what)
            last = invoice
        done += len(batch)
        progress(done, of)


def _row(invoice: Row) -> str:
    return chain.row([invoice[name] for name in chain.INVOICE])


class _Line:
    """A line as the text of its row, with that of its billed periods."""

    __slots__ = ("id", "invoice", "kin", "kind", "periods", "position", "row", "said", "statement")

    def __init__(self, row: str) -> None:
        self.row = row
        self.id, self.invoice, self.position, self.kind, _, rest = row.split("\t", 5)
        *said, levels, corrects, credits_, before, settled = rest.split("\t")
        self.said = "\t".join(said)
        self.kin = "\t".join((levels, corrects, credits_, before, settled))
        self.statement = said[_STATEMENT]
        self.periods: list[str] = []

    @property
    def amount(self) -> Decimal:
        return Decimal(self.said.rpartition("\t")[2])

    def values(self) -> Row:
        """Read the values of chain.LINE, and those of the periods."""
        texts = zip(chain.LINE, self.row.split("\t"), strict=True)
        line: Row = {name: None if text == chain.NULL else _READ.get(name, str)(text) for name, text in texts}
        line["periods"] = [
            {"start": date.fromisoformat(start), "end": date.fromisoformat(end), "value": Decimal(value)}
            for start, end, value in (period.split("\t") for period in self.periods)
        ]
        return line


def _json(text: str) -> Any:
    return json.loads(chain.unescaped(text))


_STATEMENT = chain.SAID.index("statement_id")
#: How the values of a line are read of its row; those that are not named are texts.
_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("setting_id", "version_id", "override_id"), int),
    **dict.fromkeys(("quantity", "exact", "amount", "before", "settled"), Decimal),
    **dict.fromkeys(("id", "corrects_id", "credits_id"), UUID),
    **dict.fromkeys(("steps", "levels"), _json),
}
#: As the chain writes numbers: without zeros at the end.
_NUMBERS = {"quantity", "exact", "amount", "before", "settled"}


def _lines(invoices: Sequence[Row]) -> dict[str, list[_Line]]:
    """Return the lines of invoices by the id of the invoice, as COPY writes them: the text that they are chained by."""
    lines: dict[str, list[_Line]] = defaultdict(list)
    by_id: dict[str, _Line] = {}
    ids = f"'{{{','.join(str(invoice['id']) for invoice in invoices)}}}'"
    columns = ", ".join(f'trim_scale("{name}")' if name in _NUMBERS else f'"{name}"' for name in chain.LINE)
    query = f"SELECT {columns} FROM invoicing_line WHERE invoice_id = ANY({ids}) ORDER BY invoice_id, position"  # noqa: S608  # nosec B608
    for row in _copied(query):
        line = _Line(row)
        by_id[line.id] = line
        lines[line.invoice].append(line)
    query = (
        'SELECT p.line_id, p.start, p."end", trim_scale(p.value) FROM invoicing_billedperiod p'  # noqa: S608  # nosec B608
        f" JOIN invoicing_line l ON l.id = p.line_id WHERE l.invoice_id = ANY({ids}) ORDER BY p.start"
    )
    for row in _copied(query):
        line_id, _, period = row.partition("\t")
        by_id[line_id].periods.append(period)
    return lines


def _copied(query: str) -> Iterator[str]:
    """Yield the rows of a query, as COPY writes them."""
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT") as copy,
    ):
        text = b"".join(map(bytes, copy)).decode()
    yield from text.split("\n")[:-1]


class _Check:
    """Computes lines again. Those that say the same of the same usage are computed once."""

    def __init__(self) -> None:
        self.statements: dict[str, _Statement] = {}
        self.prices = _Prices()
        self.right: set[tuple[str, ...]] = set()

    def read(self, lines: Sequence[_Line]) -> None:
        """Read what lines state, and the lines that have to do with them."""
        unknown = {line.statement for line in lines} - self.statements.keys() - {chain.NULL}
        if unknown:
            for pk, stored in Statement.objects.in_bulk(unknown).items():
                self.statements[pk] = _Statement(stored)
        self.chains = _Chains([line for line in lines if line.kin != chain.ALONE])

    def findings(self, line: _Line, currency: str) -> Sequence[str]:
        key = (currency, line.kind, line.said, line.kin, *line.periods)
        if key in self.right:
            return ()
        values = line.values()
        found = list(_line(values, currency, self.statements.get(line.statement), self.prices, self.chains))
        if not found and line.kin == chain.ALONE:
            if len(self.right) >= KNOWN:
                self.right.clear()
            self.right.add(key)
        return found


class _Statement:
    """The unit and the prices that lines state."""

    def __init__(self, stored: Statement) -> None:
        self.stored = stored
        self.frozen: dict[str, Any] = stored.pricing

    @cached_property
    def unit(self) -> Unit:
        return Unit.from_json(self.stored.unit)

    @cached_property
    def pricing(self) -> Pricing:
        return read_pricing(self.frozen)


def _in_order(invoice: Row, last: Row | None) -> Iterator[Finding]:
    expected = f"{invoice['series_id']}-{int(last['number'].rpartition('-')[2]) + 1 if last else 1:05d}"
    if invoice["number"] != expected:
        yield Finding(invoice["number"], f"the series goes on with {expected}: a number is missing")
    if last is not None and invoice["issued_on"] < last["issued_on"]:
        yield Finding(invoice["number"], f"issued on {invoice['issued_on']}, before {last['number']}")


def _line(line: Row, currency: str, stated: _Statement | None, prices: "_Prices", chains: "_Chains") -> Iterator[str]:
    yield from _amount(line, currency, chains)
    if line["setting_id"] is None or (line["kind"] == Line.Kind.CREDIT and not line["periods"]):
        return  # no usage, or a part of a credit: another part says what the usage is now
    if stated is None:
        yield "nothing says by what unit and prices it was charged"
        return
    try:
        yield from _rated_again(line, stated)
    except (PricingError, AttributeError, KeyError, ValueError, TypeError) as error:
        yield f"cannot be computed again: {error}"
    if (now := prices.of(line, stated.frozen.get("currency", currency))) is not None:
        kept = {name: stated.frozen.get(name) for name in now}
        if kept != now:
            yield f"the prices of version {stated.frozen['version']} are not what the line states"


def _amount(line: Row, currency: str, chains: "_Chains") -> Iterator[str]:
    """The charge rounded once, or what it differs from what was charged before."""
    costs = round_amount(line["exact"], currency)
    if line["setting_id"] is None or line["kind"] in (Line.Kind.RECURRING, Line.Kind.USAGE):
        if line["amount"] != costs:
            yield f"the amount {line['amount']:f} is not {line['exact']:f} rounded once"
        return
    if line["settled"] != (settled := chains.settled_before(line)):
        yield f"{settled:f} was charged before it, not {line['settled']:f}"
    more = EXACT.subtract(costs, line["settled"])
    if line["kind"] == Line.Kind.ADJUSTMENT and line["amount"] != max(more, Decimal(0)):
        yield f"the amount {line['amount']:f} is not what {costs:f} is more than {line['settled']:f}"
    if line["kind"] == Line.Kind.CREDIT and line["amount"] > -more:
        yield f"{line['amount']:f} is more than {line['settled']:f} is above {costs:f}"


class _Chains:
    """The lines that correct the same line as one of a batch, in the order in which they were issued."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.known: dict[UUID, list[tuple[UUID, str, Decimal]]] = defaultdict(list)
        roots = {root for line in lines if (root := line.values()["corrects_id"])}
        if roots:
            found = Line.objects.select_related(None).filter(Q(pk__in=roots) | Q(corrects__in=roots))
            for line in found.order_by("invoice__entry", "position").only("pk", "corrects", "kind", "amount"):
                self.known[line.corrects_id or line.pk].append((line.pk, line.kind, line.amount))

    def settled_before(self, line: Row) -> Decimal:
        """What the chain of a line charged, less what it gave back, before that line."""
        total = Decimal(0)
        for pk, kind, amount in self.known[line["corrects_id"]]:
            if pk == line["id"]:
                break
            total = EXACT.add(total, -amount if kind == Line.Kind.CREDIT else amount)
        return total


def _rated_again(line: Row, stated: _Statement) -> Iterator[str]:
    periods = line["periods"]
    if not periods:
        yield "no usage period says what it billed"
        return
    pricing, unit, frozen = stated.pricing, stated.unit, stated.frozen
    values = [period["value"] for period in periods]
    if line["levels"]:
        [term_] = periods
        levels = [(date.fromisoformat(day), Decimal(value)) for day, value in line["levels"]]
        measured = Period(term_["start"], term_["end"])
        if aggregate(Aggregation(frozen["aggregation"]), levels, measured, frozen["term_days"]) != values[0]:
            yield "the quantity is not what its days come to"
    rated = values if frozen.get("periods") == Periods.EACH else [exact_sum(values)]
    charges = [rate(pricing, unit.from_base(value)) for value in rated]
    charge = added(charges)
    if charge.quantity != line["quantity"]:
        yield f"the quantity {line['quantity']:f} is not the {charge.quantity:f} of its periods"
    if charge.amount != line["exact"]:
        yield f"{line['exact']:f} was charged, but its usage costs {charge.amount:f}"
    kept = [{name: value for name, value in step.items() if name != "period"} for step in line["steps"]]
    if kept != [step_json(step) for step in charge.steps]:
        yield "its steps are not those of its charge"


class _Prices:
    """What the versions and agreements say today, each looked up once."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], Row | None] = {}

    def of(self, line: Row, currency: str) -> Row | None:
        key = (line["version_id"], line["override_id"], currency)
        if line["version_id"] is None:
            return None
        if key not in self.known:
            self.known[key] = self.read(*key)
        return self.known[key]

    def read(self, version_id: int, override_id: int | None, currency: str) -> dict[str, Any]:
        versions = PricingVersion.objects.select_related("setting__metric").prefetch_related("prices", "charge_bounds")
        version = versions.get(pk=version_id)
        override = Override.objects.prefetch_related("prices").get(pk=override_id) if override_id else None
        pricing = agreed_pricing(version, override, currency)
        return as_quoted(pricing) if pricing else {"brackets": None}


def _series() -> Iterator[Finding]:
    for series in Series.objects.order_by("code"):
        last = Invoice.objects.filter(series=series).order_by(*BY_NUMBER).last()
        if series.next_number != (int(last.number.rpartition("-")[2]) + 1 if last else 1):
            newest = last.number if last else "none"
            yield Finding(f"series {series.code}", f"the next number is {series.next_number}, the last one {newest}")
        if series.last_digest != (last.digest if last else chain.START):
            yield Finding(f"series {series.code}", "its last digest is not that of its last document")


#: What documents, lines and billed periods refer to: table, column, table. No reference of the database checks these.
REFERENCES = (
    ("invoicing_invoice", "run_id", "invoicing_run"),
    ("invoicing_invoice", "series_id", "invoicing_series"),
    ("invoicing_payment", "invoice_id", "invoicing_invoice"),
    ("invoicing_receivable", "invoice_id", "invoicing_invoice"),
    ("invoicing_line", "invoice_id", "invoicing_invoice"),
    ("invoicing_line", "service_id", "catalog_service"),
    ("invoicing_line", "setting_id", "catalog_metricsetting"),
    ("invoicing_line", "version_id", "catalog_pricingversion"),
    ("invoicing_line", "override_id", "catalog_override"),
    ("invoicing_line", "statement_id", "invoicing_statement"),
    ("invoicing_line", "corrects_id", "invoicing_line"),
    ("invoicing_line", "credits_id", "invoicing_line"),
    ("invoicing_billedperiod", "line_id", "invoicing_line"),
    ("invoicing_billedperiod", "service_id", "catalog_service"),
)


def _statements() -> Iterator[Finding]:
    """What lines state must have the digest by which they name it."""
    for one in Statement.objects.iterator(BATCH):
        if one.pk != chain.statement(one.unit, one.pricing):
            yield Finding(f"statement {one.pk[:12]}", "the unit or the prices that lines state were changed")


def _lost() -> Iterator[Finding]:
    """Every line and billed period must lead to something that is there."""
    with connection.cursor() as cursor:
        for table, column, other in REFERENCES:
            key = "code" if other == "invoicing_series" else "id"
            cursor.execute(
                f"SELECT count(*) FROM {table} a LEFT JOIN {other} b ON b.{key} = a.{column}"  # noqa: S608  # nosec B608
                f" WHERE a.{column} IS NOT NULL AND b.{key} IS NULL"
            )
            if count := cursor.fetchone()[0]:
                yield Finding(table, f"{count} rows have a {column} that leads nowhere")


def _overage() -> Iterator[Finding]:
    """Every charge above a limit must be what its terms say, and its line must charge that."""
    charges = OverageCharge.objects.select_related("terms", "line").prefetch_related("terms__prices")
    for charge in charges.order_by("pk").iterator(BATCH):
        where = f"{charge.name} of service {charge.service_id} in {charge.month:%Y-%m}"
        if (costs := overage.amount_of(charge, charge.currency, charge.before)) != charge.amount:
            yield Finding(where, f"{charge.amount:f} was charged above the limit, but its terms say {costs:f}")
        if charge.line is not None and charge.line.amount != charge.amount:
            yield Finding(where, f"its line charges {charge.line.amount:f} above the limit, not {charge.amount:f}")


def _given_back() -> Iterator[Finding]:
    """No line may be given back by more than it charged, nor by a document for another invoice."""
    lines = Line.objects.exclude(credits=None)
    for one in lines.values("credits__invoice__number", "credits__position", "credits__amount").annotate(
        given=Sum("amount")
    ):
        if one["given"] > one["credits__amount"]:
            about = f"{one['credits__invoice__number']}, line {one['credits__position']}"
            yield Finding(about, f"{one['given']:f} was given back of {one['credits__amount']:f}")
    strange = lines.exclude(invoice__credits=F("credits__invoice")).select_related("invoice")
    for line in strange:
        yield Finding(f"{line.invoice}, line {line.position}", "gives back a line of another invoice than it says")
    for note in Invoice.objects.exclude(credits=None).exclude(
        credits__client=F("client"), credits__currency=F("currency")
    ):
        yield Finding(note.number, "is for another client or in another currency than the invoice that it credits")


#: What is left to pay of an invoice, computed anew, where it is not what is kept of it.
_LEFT = """
    SELECT i.number, trim_scale(coalesce(r."left", 0)),
        trim_scale(i.total - coalesce(n.credited, 0) - coalesce(p.paid, 0)),
        r.due_on <> i.due_on OR r.client_id <> i.client_id
    FROM invoicing_invoice i
    LEFT JOIN invoicing_receivable r ON r.invoice_id = i.id
    LEFT JOIN (
        SELECT credits_id, sum(total) AS credited FROM invoicing_invoice WHERE credits_id IS NOT NULL GROUP BY 1
    ) n ON n.credits_id = i.id
    LEFT JOIN (SELECT invoice_id, sum(amount) AS paid FROM invoicing_payment GROUP BY 1) p ON p.invoice_id = i.id
    WHERE i.kind <> 'credit_note' AND (
        coalesce(r."left", 0) <> i.total - coalesce(n.credited, 0) - coalesce(p.paid, 0)
        OR r.due_on <> i.due_on OR r.client_id <> i.client_id
    ) OR i.kind = 'credit_note' AND (r.invoice_id IS NOT NULL OR p.invoice_id IS NOT NULL)
    ORDER BY i.number
"""


def _receivables() -> Iterator[Finding]:
    """What is left to pay must be the total less what was credited and paid."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT)
        for number, kept, left, is_astray in cursor:
            if kept != left:
                yield Finding(number, f"{kept:f} is said to be left to pay, but it is {left:f}")
            elif is_astray:
                yield Finding(number, "what is left to pay of it is kept for another day or client")
            else:
                yield Finding(number, "it is a credit note, but was paid")


def _billed_twice() -> Iterator[Finding]:
    """Periods of one tenant and metric must not overlap, on whichever lines they are. The parts of one may not
    leave one out, nor may its revisions."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT tenant_id, metric_id, start, following FROM (SELECT tenant_id, metric_id, start, "end",'
            " lead(start) OVER (PARTITION BY tenant_id, metric_id ORDER BY start) AS following"
            ' FROM (SELECT DISTINCT tenant_id, metric_id, start, "end" FROM invoicing_billedperiod) d) p'
            ' WHERE following < "end"'
        )
        for tenant, metric, start, following in cursor:
            yield Finding(f"tenant {tenant}, metric {metric}", f"{following} was billed twice, first from {start} on")
        cursor.execute(
            "SELECT tenant_id, metric_id, start FROM invoicing_billedperiod"
            " GROUP BY tenant_id, metric_id, start, part HAVING max(revision) <> count(*) - 1"
        )
        for tenant, metric, start in cursor:
            yield Finding(f"tenant {tenant}, metric {metric}", f"a revision of what was billed from {start} is missing")


def _claims() -> Iterator[Finding]:
    """A term that was claimed is on an invoice, unless it was a month of usage that came to nothing."""
    renewals = Claim.objects.filter(kind=Claim.Kind.RENEWAL)
    before = renewals.filter(service=OuterRef("service"), term_start__lt=OuterRef("term_start"), invoice__isnull=False)
    latest = Subquery(before.order_by("-term_start").values("term_start")[:1])
    claims = renewals.filter(invoice=None).annotate(last_invoiced=latest).select_related("service")
    for claim in claims.iterator(BATCH):
        if not _is_month_of_usage(claim.service, claim.term_start, claim.last_invoiced):
            yield Finding(str(claim.service), f"the term from {claim.term_start} was claimed but is on no invoice")


def _is_month_of_usage(service: Service, start: date, last_invoiced: date | None) -> bool:
    """Whether a term has no recurring price: it is a month of a longer cycle, and not the first one.

    What the terms of a service that ended and came back were counted from is not known any more: there, an
    invoice of the months before says that the cycle was begun.
    """
    months = Cycle(service.cycle).months
    if not service.bills_monthly:
        return False
    if start >= service.anchor:
        return number_at(service.anchor, service.clock, start) % months != 0
    return last_invoiced is not None and _months(start) - _months(last_invoiced) < months


def _months(day: date) -> int:
    return day.year * 12 + day.month


def _different() -> Iterator[Finding]:
    """Usage of a period that is over must be what was billed of it, or its difference must wait."""
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENT)
        found = cursor.fetchall()
    waiting = set(Difference.objects.values_list("service_id", "setting_id", "line_id"))
    services = Service.objects.select_related("client", "product", "tenant__server").in_bulk({row[0] for row in found})
    settings = MetricSetting.objects.select_related("metric", "product").in_bulk({row[1] for row in found})
    asked = [
        Difference(service=services[service], setting=settings[setting], line_id=line)
        for service, setting, line in found
        if (service, setting, line) not in waiting and setting is not None
    ]
    for one in corrections.of_differences(asked):
        if one.amount:
            was, now = one.unit.write(one.before), one.unit.write(one.quantity)
            what = f"{one.title} was billed as {was}, is {now}, and no difference waits"
            yield Finding(one.number or str(one.service), what)


#: The lines of totals whose closed periods add up to something else than their usage, noted as restated or not.
_DIFFERENT = """
SELECT DISTINCT b.service_id, coalesce(l.setting_id, m.id), coalesce(l.corrects_id, l.id)
FROM (
    SELECT tenant_id, metric_id, start, sum(value) AS value, bool_or(is_open AND part = last) AS is_open,
           max(service_id) FILTER (WHERE part = last) AS service_id,
           (array_agg(line_id ORDER BY part DESC))[1] AS line_id
    FROM (
        SELECT DISTINCT ON (tenant_id, metric_id, start, part) *,
               max(part) OVER (PARTITION BY tenant_id, metric_id, start) AS last
        FROM invoicing_billedperiod ORDER BY tenant_id, metric_id, start, part, revision DESC
    ) p GROUP BY tenant_id, metric_id, start
) b
JOIN metering_metric k ON k.id = b.metric_id AND k.type <> 'snapshot'
JOIN metering_usage u ON u.tenant_id = b.tenant_id AND u.metric_id = b.metric_id AND u.start = b.start
JOIN catalog_service s ON s.id = b.service_id
LEFT JOIN catalog_metricsetting m ON m.product_id = s.product_id AND m.metric_id = b.metric_id
LEFT JOIN invoicing_line l ON l.id = b.line_id
WHERE u.value <> b.value AND NOT b.is_open AND NOT EXISTS (
    SELECT FROM metering_restated r
    WHERE r.tenant_id = b.tenant_id AND r.metric_id = b.metric_id AND r.start = b.start
)
"""


def _missing() -> Iterator[Finding]:
    """A level of a term that was billed must be on that bill, or wait."""
    # Totals that are not on an invoice yet are on the next one.
    settings = {
        product: [setting for setting in group if not setting.metric.adds_up]
        for product, group in Catalog.read().settings.items()
    }
    services = Service.objects.filter(tenant__isnull=False, next_term__gt=0).select_related("tenant__server", "client")
    for batch in _batches(services.order_by("pk").iterator(BATCH), BATCH):
        keys = [service.tenant_id for service in batch if service.tenant_id]
        billed = set(BilledPeriod.objects.filter(tenant_id__in=keys).values_list("tenant_id", "metric_id", "start"))
        waiting = set(Deferral.objects.filter(service__in=batch).values_list("service_id", "setting_id", "start"))
        claimed = set(
            Claim.objects.filter(service__in=batch, kind=Claim.Kind.RENEWAL).values_list("service_id", "term_start")
        )
        for number in range(1, max(service.next_term for service in batch)):
            cuts = [
                unbilled.of_term(service, number, service.term(number).start)
                for service in batch
                if number < service.next_term
            ]
            cuts = [cut for cut in cuts if (cut.service.pk, cut.until) in claimed]
            found = unbilled.find(cuts, settings)
            for cut in cuts:
                for one in found[cut.service.pk].billable:
                    item, setting = one.items[0], one.setting
                    is_billed = (cut.tenant_id, setting.metric_id, item.start) in billed
                    if not is_billed and (cut.service.pk, setting.pk, item.start) not in waiting:
                        what = f"{setting.metric} from {item.start} to {item.end} is on no invoice"
                        yield Finding(str(cut.service), what)


def _batches(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(rows, size)):
        yield batch
