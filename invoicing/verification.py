"""Everything that was issued, computed again from what is stored: an empty list, or what is wrong and where.

It reads one snapshot of the database, so that billing may go on beside it, and holds a batch at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction

from catalog.aggregation import Aggregation, Periods, aggregate
from catalog.in_force import agreed_pricing
from catalog.models import Override, PricingVersion, Service
from catalog.money import round_amount
from catalog.pricing import PricingError, added, rate
from catalog.quote import as_quoted, read_pricing, step_json
from catalog.terms import Cycle, term
from invoicing import chain, unbilled
from invoicing.billing import Catalog
from invoicing.models import BilledPeriod, Claim, Deferral, Invoice, Line, Series
from metering.decimals import exact_sum
from metering.periods import Period
from metering.units import Unit

BATCH = 1000

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
        yield from _documents(progress)
        yield from _series()
        yield from _billed_twice()
        yield from _claims()
        yield from _missing()


def _documents(progress: Progress) -> Iterator[Finding]:
    """Number, chain, sums and every line of every document, in the order of the numbers."""
    done, of = 0, Invoice.objects.count()
    prices = _Prices()
    last: Row | None = None
    for batch in _batches(Invoice.objects.order_by("series", "number").values().iterator(BATCH), BATCH):
        lines, periods = _lines(batch)
        for invoice in batch:
            own = lines[invoice["id"]]
            if last is not None and last["series_id"] != invoice["series_id"]:
                last = None
            yield from _in_order(invoice, last)
            previous = last["digest"] if last else chain.START
            if chain.digest(previous, invoice, own) != invoice["digest"]:
                yield Finding(invoice["number"], "its content or its place in the series was changed: the chain breaks")
            if invoice["total"] != exact_sum(line["amount"] for line in own):
                yield Finding(invoice["number"], f"the total {invoice['total']:f} is not the sum of its lines")
            for line in own:
                for what in _line(line, periods[line["id"]], invoice["currency"], prices):
                    yield Finding(f"{invoice['number']}, line {line['position']}", what)
            last = invoice
        done += len(batch)
        progress(done, of)


def _lines(invoices: Sequence[Row]) -> tuple[dict[UUID, list[Row]], dict[UUID, list[Row]]]:
    lines: dict[UUID, list[Row]] = defaultdict(list)
    periods: dict[UUID, list[Row]] = defaultdict(list)
    ids = [invoice["id"] for invoice in invoices]
    for line in Line.objects.filter(invoice__in=ids).order_by("invoice", "position").values():
        lines[line["invoice_id"]].append(line)
    for period in BilledPeriod.objects.filter(line__invoice__in=ids).order_by("start").values():
        periods[period["line_id"]].append(period)
    return lines, periods


def _in_order(invoice: Row, last: Row | None) -> Iterator[Finding]:
    expected = f"{invoice['series_id']}-{int(last['number'].rpartition('-')[2]) + 1 if last else 1:05d}"
    if invoice["number"] != expected:
        yield Finding(invoice["number"], f"the series goes on with {expected}: a number is missing")
    if last is not None and invoice["issued_on"] < last["issued_on"]:
        yield Finding(invoice["number"], f"issued on {invoice['issued_on']}, before {last['number']}")


def _line(line: Row, periods: list[Row], currency: str, prices: "_Prices") -> Iterator[str]:
    if line["amount"] != round_amount(line["exact"], currency):
        yield f"the amount {line['amount']:f} is not {line['exact']:f} rounded once"
    if line["kind"] != Line.Kind.USAGE:
        return
    try:
        yield from _rated_again(line, periods)
    except (PricingError, KeyError, ValueError, TypeError) as error:
        yield f"cannot be computed again: {error}"
    if (now := prices.of(line, currency)) is not None:
        kept = {name: line["pricing"].get(name) for name in now}
        if kept != now:
            yield f"the prices of version {line['pricing']['version']} are not what the line states"


def _rated_again(line: Row, periods: list[Row]) -> Iterator[str]:
    if not periods:
        yield "no usage period says what it billed"
        return
    pricing, unit = read_pricing(line["pricing"]), Unit.from_json(line["unit"])
    values = [period["value"] for period in periods]
    if line["levels"]:
        [term_] = periods
        levels = [(date.fromisoformat(day), Decimal(value)) for day, value in line["levels"]]
        measured = Period(term_["start"], term_["end"])
        how = Aggregation(line["pricing"]["aggregation"])
        if aggregate(how, levels, measured, line["pricing"]["term_days"]) != values[0]:
            yield "the quantity is not what its days come to"
    is_each = line["pricing"].get("periods") == Periods.EACH
    rated = values if is_each else [exact_sum(values)]
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
        last = Invoice.objects.filter(series=series).order_by("number").last()
        if series.next_number != (int(last.number.rpartition("-")[2]) + 1 if last else 1):
            newest = last.number if last else "none"
            yield Finding(f"series {series.code}", f"the next number is {series.next_number}, the last one {newest}")
        if series.last_digest != (last.digest if last else chain.START):
            yield Finding(f"series {series.code}", "its last digest is not that of its last document")


def _billed_twice() -> Iterator[Finding]:
    """Periods of one tenant and metric must not overlap, on whichever lines they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT tenant_id, metric_id, start, following FROM (SELECT tenant_id, metric_id, start, "end",'
            " lead(start) OVER (PARTITION BY tenant_id, metric_id ORDER BY start) AS following"
            ' FROM invoicing_billedperiod) p WHERE following < "end"'
        )
        for tenant, metric, start, following in cursor:
            yield Finding(f"tenant {tenant}, metric {metric}", f"{following} was billed twice, first from {start} on")


def _claims() -> Iterator[Finding]:
    for claim in Claim.objects.filter(kind=Claim.Kind.RENEWAL, invoice=None).select_related("service").iterator(BATCH):
        yield Finding(str(claim.service), f"the term from {claim.term_start} was claimed but is on no invoice")


def _missing() -> Iterator[Finding]:
    """A level of a term that was billed must be on that bill, or wait."""
    catalog = Catalog.read()
    services = Service.objects.filter(tenant__isnull=False, next_term__gt=0).select_related("tenant__server", "client")
    for batch in _batches(services.order_by("pk").iterator(BATCH), BATCH):
        keys = [service.tenant_id for service in batch if service.tenant_id]
        billed = set(BilledPeriod.objects.filter(tenant_id__in=keys).values_list("tenant_id", "metric_id", "start"))
        waiting = set(Deferral.objects.filter(service__in=batch).values_list("service_id", "setting_id", "start"))
        claimed = set(
            Claim.objects.filter(service__in=batch, kind=Claim.Kind.RENEWAL).values_list("service_id", "term_start")
        )
        for number in range(1, max(service.next_term for service in batch)):
            cuts = [_renewal(service, number) for service in batch if number < service.next_term]
            cuts = [cut for cut in cuts if (cut.service.pk, cut.until) in claimed]
            found = unbilled.find(cuts, catalog.settings)
            for cut in cuts:
                for one in found[cut.service.pk].billable:
                    item, setting = one.items[0], one.setting
                    if setting.metric.adds_up:
                        continue  # what is not on an invoice yet is on the next one
                    is_billed = (cut.tenant_id, setting.metric_id, item.start) in billed
                    if not is_billed and (cut.service.pk, setting.pk, item.start) not in waiting:
                        what = f"{setting.metric} from {item.start} to {item.end} is on no invoice"
                        yield Finding(str(cut.service), what)


def _renewal(service: Service, number: int) -> unbilled.Cut:
    """The cut that billed a term that is over."""
    closing = term(service.anchor, Cycle(service.cycle), number - 1)
    return unbilled.Cut(service, closing, closing.days, closing.end)


def _batches(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(rows, size)):
        yield batch
