"""Every charge, computed again from what its line states and what was used."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Q

from catalog.aggregation import Aggregation, Periods, aggregate
from catalog.in_force import agreed_pricing
from catalog.models import Override, PricingVersion
from catalog.money import round_amount
from catalog.pricing import Pricing, PricingError, added, rate
from catalog.quote import as_quoted, read_pricing, step_json
from invoicing import chain, overage
from invoicing.models import Line, OverageCharge, Statement
from invoicing.verification.findings import BATCH, Finding
from invoicing.verification.rows import LineRow
from metering.decimals import EXACT, exact_sum
from metering.periods import Period
from metering.units import Unit

#: How many lines that were found right are kept, to be compared with others.
KNOWN = 20_000
#: What a line says, by column.
Values = dict[str, Any]


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


class _Prices:
    """What the versions and agreements say today, each looked up once."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def of(self, line: Values, currency: str) -> dict[str, Any] | None:
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


class _Chains:
    """The lines that correct the same line as one of a batch, in the order in which they were issued."""

    def __init__(self, lines: Sequence[LineRow]) -> None:
        self.known: dict[UUID, list[tuple[UUID, str, Decimal]]] = defaultdict(list)
        roots = {UUID(line.corrects) for line in lines if line.corrects != chain.NULL}
        if roots:
            found = Line.objects.select_related(None).filter(Q(pk__in=roots) | Q(corrects__in=roots))
            for line in found.order_by("invoice__entry", "position").only("pk", "corrects", "kind", "amount"):
                self.known[line.corrects_id or line.pk].append((line.pk, line.kind, line.amount))

    def settled_before(self, line: Values) -> Decimal:
        """What the chain of a line charged, less what it gave back, before that line."""
        total = Decimal(0)
        for pk, kind, amount in self.known[line["corrects_id"]]:
            if pk == line["id"]:
                break
            total = EXACT.add(total, -amount if kind == Line.Kind.CREDIT else amount)
        return total


class Check:
    """Computes lines again. Those that say the same of the same usage are computed once."""

    def __init__(self) -> None:
        self.statements: dict[str, _Statement] = {}
        self.prices = _Prices()
        self.right: set[tuple[str, ...]] = set()

    def read(self, lines: Sequence[LineRow]) -> None:
        """Read what lines state, and the lines that have to do with them."""
        unknown = {line.statement for line in lines} - self.statements.keys() - {chain.NULL}
        if unknown:
            for pk, stored in Statement.objects.in_bulk(unknown).items():
                self.statements[pk] = _Statement(stored)
        self.chains = _Chains([line for line in lines if line.kin != chain.ALONE])

    def findings(self, line: LineRow, currency: str) -> Sequence[str]:
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


def _line(line: Values, currency: str, stated: _Statement | None, prices: _Prices, chains: _Chains) -> Iterator[str]:
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


def _amount(line: Values, currency: str, chains: _Chains) -> Iterator[str]:
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


def _rated_again(line: Values, stated: _Statement) -> Iterator[str]:
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


def overages() -> Iterator[Finding]:
    """Every charge above a limit must be what its terms say, and its line must charge that."""
    charges = OverageCharge.objects.select_related("terms", "line").prefetch_related("terms__prices")
    for charge in charges.order_by("pk").iterator(BATCH):
        where = f"{charge.name} of service {charge.service_id} in {charge.month:%Y-%m}"
        if (costs := overage.amount_of(charge, charge.currency, charge.before)) != charge.amount:
            yield Finding(where, f"{charge.amount:f} was charged above the limit, but its terms say {costs:f}")
        if charge.line is not None and charge.line.amount != charge.amount:
            yield Finding(where, f"its line charges {charge.line.amount:f} above the limit, not {charge.amount:f}")
