"""What is unusual about a bill, beside the last one, said in words. Pure.

Nothing here holds a bill back: it is for the person who looks before it goes out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.money import write
from metering.decimals import EXACT
from metering.units import Unit

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Used:
    """What a bill says of one metric: how much, in its unit, and what that comes to."""

    name: str
    unit: Unit
    quantity: Decimal
    amount: Decimal

    @property
    def words(self) -> str:
        return self.unit.write(self.quantity, places=2)

    @property
    def base(self) -> Decimal:
        return self.unit.to_base(self.quantity)

    def plus(self, more: "Used") -> "Used":
        """Both lines of a metric together; of units that cannot be added, the quantity of the second."""
        quantity = more.quantity
        if self.unit.family == more.unit.family:
            quantity = more.unit.from_base(EXACT.add(self.base, more.base))
        return Used(more.name, more.unit, quantity, EXACT.add(self.amount, more.amount))


@dataclass(frozen=True, slots=True)
class Bill:
    """What a service comes to in a term: its total, the fixed price, and what it used, by metric setting."""

    currency: str
    total: Decimal
    fixed: Decimal = NOTHING
    used: Mapping[int, Used] = field(default_factory=dict)
    corrected: Decimal = NOTHING


def differs(last: Decimal, now: Decimal, *, percent: Decimal, amount: Decimal) -> bool:
    """Whether two totals are more than so many percent of the last, and more than an amount, apart."""
    apart = abs(EXACT.subtract(now, last))
    return apart > amount and EXACT.multiply(apart, Decimal(100)) > EXACT.multiply(abs(last), percent)


def usage_rose(last: Bill, now: Bill, *, factor: Decimal, amount: Decimal) -> Iterator[str]:
    """Say which metrics were used so many times as much, where that costs more than an amount."""
    for before, after in _pairs(last, now):
        costs = EXACT.subtract(after.amount, before.amount)
        if before.quantity and costs > amount and after.base >= EXACT.multiply(before.base, factor):
            yield _changed(before, after)


def usage_fell_to_zero(last: Bill, now: Bill) -> Iterator[str]:
    """Say which metrics that cost something were measured as zero now."""
    for before, after in _pairs(last, now):
        if before.amount and before.quantity and not after.quantity:
            told = {"name": after.name, "before": before.words, "after": after.words}
            yield _("%(name)s fell from %(before)s to %(after)s. The server reported zero, not “no data”") % told


def not_billed_now(last: Bill, now: Bill, waiting: frozenset[int]) -> Iterator[str]:
    """Say which metrics cost something last time and are not on this bill, unless they wait."""
    for key, before in last.used.items():
        if before.amount and key not in now.used and key not in waiting:
            told = {"name": before.name, "quantity": before.words}
            yield _("Not on this bill: %(name)s, %(quantity)s last term") % told


def biggest_change(last: Bill, now: Bill) -> Iterator[str]:
    """Say what makes the biggest part of the difference between two bills."""
    changes = [(abs(EXACT.subtract(now.fixed, last.fixed)), _fixed(last, now))]
    for before, after in _pairs(last, now):
        words = _changed(before, after) if before.quantity != after.quantity else _dearer(before, after, now.currency)
        changes.append((abs(EXACT.subtract(after.amount, before.amount)), words))
    for key, after in now.used.items():
        if key not in last.used:
            told = {"name": after.name, "quantity": after.words}
            changes.append((after.amount, _("New on this bill: %(name)s, %(quantity)s") % told))
    if now.corrected:
        told = {"amount": write(now.corrected, now.currency)}
        changes.append((now.corrected, _("%(amount)s is for usage that was corrected") % told))
    apart, words = max(changes)
    if apart:
        yield words


def is_very_large(total: Decimal, middle: Decimal, *, times: Decimal, amount: Decimal) -> bool:
    """Whether a bill is above so many times the middle one of its run, and above an amount."""
    return total > amount and total > EXACT.multiply(middle, times)


def _pairs(last: Bill, now: Bill) -> Iterator[tuple[Used, Used]]:
    """The metrics that are on both bills, in units that can be compared."""
    for key, after in now.used.items():
        before = last.used.get(key)
        if before is not None and before.unit.family == after.unit.family:
            yield before, after


def _changed(before: Used, after: Used) -> str:
    told = {"name": after.name, "before": before.words, "after": after.words}
    if after.base > before.base:
        return _("%(name)s rose from %(before)s to %(after)s") % told
    return _("%(name)s fell from %(before)s to %(after)s") % told


def _dearer(before: Used, after: Used, currency: str) -> str:
    told = {"name": after.name, "after": write(after.amount, currency), "before": write(before.amount, currency)}
    return _("%(name)s comes to %(after)s instead of %(before)s") % told


def _fixed(last: Bill, now: Bill) -> str:
    if not now.fixed:
        return _("The fixed price is not due in this term")
    told = {"after": write(now.fixed, now.currency), "before": write(last.fixed, now.currency)}
    if not last.fixed:
        return _("The fixed price of %(after)s was not due in the last term") % told
    return _("The fixed price is %(after)s instead of %(before)s") % told
