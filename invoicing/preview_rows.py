"""The services of a dry run that a person looks at: what each would be billed, and how that stands with decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Self

from invoicing import review
from invoicing.models import Decision, Preview
from metering.decimals import EXACT, plain

NOTHING = Decimal(0)


@dataclass(slots=True)
class Row:
    """What a service would be billed, beside its last term, and what a person should know of it.

    `left` is set where it waits: because it is `held`, or for the approval that a `bound` asks for. `amount`
    is what is to be approved then, if an amount is.
    """

    service: int
    currency: str
    total: Decimal
    last: Decimal | None
    due: date
    words: list[str] = field(default_factory=list)
    terms: int = 1
    left: bool = False
    held: str = ""
    bound: str = ""
    amount: Decimal | None = None

    @property
    def difference(self) -> Decimal:
        return EXACT.subtract(self.total, self.last or NOTHING)

    def is_issued(self, decision: Decision | None) -> bool:
        """Whether the run bills it, after what is decided about it now."""
        if decision is not None and decision.verdict == Decision.Verdict.HOLD:
            return False
        return not self.bound or review.is_approved(
            decision, self.due, self.total if self.amount is None else self.amount
        )

    @property
    def approved_amount(self) -> Decimal | None:
        """What a person approves with the row; None if it is not one amount of one term."""
        return self.amount if self.bound or self.terms > 1 else self.total

    def verdict(self, decision: Decision | None) -> str:
        """What is decided about it already, or nothing."""
        if decision is None or decision.verdict == Decision.Verdict.RELEASE:
            return ""
        if decision.verdict == Decision.Verdict.HOLD:
            return Decision.Verdict.HOLD
        is_of_this = review.is_let_through(decision, self.due) and self.is_issued(decision)
        return Decision.Verdict.APPROVE if is_of_this else ""

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "currency": self.currency,
            "total": plain(self.total),
            "last": None if self.last is None else plain(self.last),
            "due": str(self.due),
            "words": self.words,
            "terms": self.terms,
            "left": self.left,
            "held": self.held,
            "bound": self.bound,
            "amount": None if self.amount is None else plain(self.amount),
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        return cls(
            **kept
            | {name: None if kept[name] is None else Decimal(kept[name]) for name in ("total", "last", "amount")}
            | {"due": date.fromisoformat(kept["due"])}
        )


def rows_of(one: Preview, kind: str) -> list[Row]:
    """Return the `rows` of what would be billed, or those that are `left`."""
    return [Row.from_json(kept) for kept in one.outcome.get(kind, ())]
