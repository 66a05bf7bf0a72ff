"""What the page of a dry run shows: its outcome beside what is decided by now, and how that stands together."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from catalog import missing_prices
from catalog.missing_prices import Missing
from catalog.models import Service
from invoicing import review
from invoicing.models import Decision, Invoice, Preview, Run
from invoicing.preview_rows import Row, rows_of
from metering.decimals import EXACT, round_half_up
from metering.language import signed_percent

NOTHING = Decimal(0)


@dataclass(slots=True)
class Shown:
    """A row with its service and what is decided about it. One that stands on the page twice is decided once."""

    row: Row
    service: Service
    decision: Decision | None
    is_decided_below: bool = False

    @property
    def choice(self) -> str:
        return self.row.verdict(self.decision)

    @property
    def is_issued(self) -> bool:
        return self.row.is_issued(self.decision)

    @property
    def share_words(self) -> str:
        return percent(self.row.difference, self.row.last)


@dataclass(slots=True)
class Total:
    """What many services come to, in one currency, beside their last term."""

    currency: str
    services: int
    total: Decimal
    last: Decimal

    @property
    def difference(self) -> Decimal:
        return EXACT.subtract(self.total, self.last)

    @property
    def share_words(self) -> str:
        return percent(self.difference, self.last)


@dataclass(slots=True)
class Standing:
    """What is issued and what waits after the decisions, by currency."""

    issued: dict[str, Decimal]
    waits: dict[str, Decimal]
    services: int = 0


@dataclass
class Cockpit:
    """All that the page says of a dry run that ended."""

    one: Preview
    outcome: dict[str, Any]
    rows: list[Shown]
    held: list[Shown]
    for_approval: list[Shown]
    #: Why, how many, the first of them, and the price that they lack, if it is a price.
    parked: list[tuple[str, int, list[Service], Missing | None]]
    grace: list[tuple[Service, Decimal, date]]
    credit_notes: list[tuple[dict[str, Any], Invoice | None]]
    run: Run | None
    decided_since: int
    standing: Standing = field(init=False)

    def __post_init__(self) -> None:
        self.standing = self._standing()

    @property
    def totals(self) -> list[Total]:
        return _totals(self.outcome["all"])

    @property
    def others(self) -> list[Total]:
        return _totals(self.outcome["others"])

    @property
    def left(self) -> list[Shown]:
        return [*self.held, *self.for_approval]

    @property
    def left_count(self) -> int:
        return sum(each["services"] for each in self.outcome["left_all"].values())

    @property
    def left_not_shown(self) -> int:
        return self.left_count - len(self.left)

    @property
    def left_out(self) -> int:
        return self.left_count + int(self.outcome["parked_count"])

    @property
    def to_decide(self) -> list[Shown]:
        return [shown for shown in (*self.rows, *self.left) if not shown.is_decided_below]

    @property
    def decided(self) -> int:
        return sum(bool(shown.choice) for shown in self.to_decide)

    @property
    def rated(self) -> int:
        """Services that were rated, whatever becomes of them."""
        billed: int = sum(each["services"] for each in self.outcome["all"].values())
        return billed + self.left_count + int(self.outcome["drafts"])

    @property
    def due(self) -> int:
        """Services that were due, of which several terms may be."""
        return self.rated + int(self.outcome["parked_count"])

    @property
    def needs_another(self) -> bool:
        """Whether the decisions let services go on of which this dry run saw the first term only."""
        return any(shown.is_issued for shown in self.left) or bool(self.decided_since)

    def _standing(self) -> Standing:
        issued = {currency: Decimal(text) for currency, text in self.outcome["amounts"].items()}
        waits = {currency: Decimal(each["total"]) for currency, each in self.outcome["left_all"].items()}
        for shown in self.rows:
            if not shown.is_issued:
                _move(issued, waits, shown.row)
        for shown in self.left:
            if shown.is_issued:
                _move(waits, issued, shown.row)
        ids = {shown.row.service for shown in (*self.rows, *self.left) if not shown.is_issued}
        standing = Standing(_some(issued), _some(waits), len(ids) + self.left_not_shown)
        return standing


def _move(source: dict[str, Decimal], target: dict[str, Decimal], row: Row) -> None:
    source[row.currency] = EXACT.subtract(source.get(row.currency, NOTHING), row.total)
    target[row.currency] = EXACT.add(target.get(row.currency, NOTHING), row.total)


def _some(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {currency: amount for currency, amount in sorted(amounts.items()) if amount}


def _totals(group: dict[str, dict[str, Any]]) -> list[Total]:
    return [
        Total(currency, each["services"], Decimal(each["total"]), Decimal(each["last"]))
        for currency, each in group.items()
    ]


def of(one: Preview) -> Cockpit:
    """Read what the page shows, in the same number of queries however many services there are."""
    outcome = one.outcome
    rows, left = rows_of(one, "rows"), rows_of(one, "left")
    ids = {row.service for row in (*rows, *left)}
    named = {pk for group in outcome["parked"] for pk in group["services"]} | {d["service"] for d in outcome["grace"]}
    services = Service.objects.select_related("client", "product").in_bulk(ids | named)
    decisions = review.decisions(ids)
    below = {row.service for row in left}

    def shown(row: Row) -> Shown:
        return Shown(
            row,
            services[row.service],
            decisions.get(row.service),
            is_decided_below=not row.left and row.service in below,
        )

    found = Invoice.objects.in_bulk([note["credits"] for note in outcome["credits"]])
    credited = {str(pk): invoice for pk, invoice in found.items()}
    missing = missing_prices.of_living_services(one.on) if outcome["parked"] else []
    parked = [
        (group["reason"], group["count"], [services[pk] for pk in group["services"] if pk in services])
        for group in outcome["parked"]
    ]
    return Cockpit(
        one=one,
        outcome=outcome,
        rows=[shown(row) for row in rows if row.service in services],
        held=[shown(row) for row in left if row.held and row.service in services],
        for_approval=[shown(row) for row in left if not row.held and row.service in services],
        parked=[
            (reason, count, found, next((each for each in missing if each.is_lacked_by(found[0])), None))
            for reason, count, found in parked
            if found
        ],
        grace=[
            (services[each["service"]], Decimal(each["total"]), date.fromisoformat(each["issue_on"]))
            for each in outcome["grace"]
            if each["service"] in services
        ],
        credit_notes=[(note, credited.get(note["credits"])) for note in outcome["credits"]],
        run=Run.objects.filter(started_at__gte=one.ended_at).order_by("id").first(),
        decided_since=Decision.objects.filter(at__gt=one.asked_at).exclude(service__in=ids).count(),
    )


def percent(difference: Decimal, last: Decimal | None) -> str:
    """Write a difference in percent with its sign: `+4.8%`; nothing without a last term."""
    if not last:
        return ""
    share = EXACT.divide(EXACT.multiply(difference, Decimal(100)), last)
    return signed_percent(round_half_up(share, 1))
