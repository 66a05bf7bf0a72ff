"""The bar of used against included and limit, and its words."""

from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.pricing import HUNDRED, ZERO
from metering import language
from metering.decimals import EXACT, round_half_up
from metering.units import Unit

#: Where on a bar, in percent, words around a tick would meet those at its beginning, or at its end.
NEAR_START, NEAR_END = Decimal(25), Decimal(80)


@dataclass(frozen=True, slots=True)
class Meter:
    """What was `used` of the quantity `included` and of the `limit`, in a unit, and the bar of that: what lies
    `inside` the quantity included and `over` it, and the `tick` where it ends, in percent of its length."""

    unit: Unit
    used: Decimal
    included: Decimal
    limit: Decimal | None
    inside: Decimal
    over: Decimal
    tick: Decimal | None

    @property
    def anchor(self) -> str:
        """To which side of the tick its words stand, so that they stay on the bar; nothing where they join those at
        its end."""
        if self.tick is None or self.tick > NEAR_END:
            return ""
        return "start" if self.tick < NEAR_START else "end" if self.tick > HUNDRED - NEAR_START else "middle"

    @property
    def words_at_tick(self) -> str:
        return _included(self.unit, self.included)

    @property
    def words_at_end(self) -> str:
        """The limit, the quantity included, or what was used beyond it."""
        if not self.limit and not self.tick:
            return self.words_at_tick
        end = self._number(self.used)
        if self.limit:
            end = _("%(number)s limit") % {"number": self._number(self.limit)}
        return f"{self.words_at_tick}, {end}" if self.tick and not self.anchor else end

    @property
    def words(self) -> str:
        """The bar for those who cannot see it."""
        plural = _(self.unit.plural)
        said = {"used": f"{self._number(self.used)} {plural}", "included": self.words_at_tick}
        if not self.limit:
            return _("%(used)s used, %(included)s") % said
        said["limit"] = self._number(self.limit)
        return _("%(used)s used, %(included)s, %(limit)s allowed") % said

    def _number(self, quantity: Decimal) -> str:
        return self.unit.number(quantity, places=2)


def of_quantity(unit: Unit, used: Decimal, *, included: Decimal, limit: Decimal | None) -> Meter | None:
    """Return the bar of a quantity, or None where nothing is included and there is no limit."""
    end = limit or included
    if not end:
        return None
    length = max(end, used)
    inside = min(used, included) if included else ZERO
    over = EXACT.subtract(used, inside)
    tick = _percent(included, length) if included and included < length else None
    return Meter(unit, used, included, limit, _percent(inside, length), _percent(over, length), tick)


@language.said_once
def _included(unit: Unit, quantity: Decimal) -> str:
    """Remembered: it is the same for most services of a product."""
    return _("%(number)s included") % {"number": unit.number(quantity, places=2)}


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return round_half_up(EXACT.divide(EXACT.multiply(part, HUNDRED), whole), 2)
