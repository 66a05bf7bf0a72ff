"""What in a pricing may surprise: it can be saved as it is, but somebody should have seen it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import pairwise

from catalog.money import minor_units, write_price
from catalog.pricing import MAX_QUANTITY, ONE, ZERO, Bracket, Notation, Pricing, Scheme, amount
from metering.decimals import EXACT, round_half_up
from metering.units import Unit

#: How many boundaries a caution counts up.
MAX_LINES = 6
_AS_IT_IS = "You can save this as it is."


@dataclass(frozen=True, slots=True)
class Caution:
    """A surprise: its title, the numbers that show it, and what to do about it."""

    title: str
    lines: tuple[str, ...]
    note: str


def cautions(pricing: Pricing, unit: Unit, currency: str, locale: str = "en") -> list[Caution]:
    """Say what may surprise in what a pricing charges."""
    look = _Look(pricing, unit, currency, locale)
    with localcontext(EXACT):
        found = [_cliffs(look), _dearer(look), _free(look), _fees(look), _maximum(look)]
    return [Caution(title, _first_few(lines), f"{note} {_AS_IT_IS}") for title, lines, note in found if lines]


def missing_prices(currency: str, numbers: Sequence[int], *, is_every: bool, services: int) -> Caution:
    """Say which brackets, by number, have no price in a currency, and how many services are billed in it."""
    line = "No bracket has one" if is_every else f"{_brackets(numbers)} {'has' if len(numbers) == 1 else 'have'} none"
    who = f"{services} service{' is' if services == 1 else 's are'} billed in {currency}. " if services else ""
    return Caution(f"Prices in {currency} are missing", (line,), f"{who}This can be saved once every bracket has one.")


def inside_included(starts: Sequence[tuple[int, Decimal]], included: Decimal, unit: Unit) -> Caution:
    """Say which brackets, by number and start, lie within the quantity included."""
    most = unit.number(included)
    what = f"{unit.write(included)} {'is' if included == ONE else 'are'} included"
    way_out = f"Include less, start it above {most}, or remove it."
    if starts[0][0] == 1:
        way_out = "Start the first bracket with 0: it begins right after what is included."
    return Caution(
        "A bracket starts within what is included",
        _first_few([f"Bracket {number} starts with {unit.number(start)}, {what}" for number, start in starts]),
        f"Included units are never charged. {way_out}",
    )


def long_terms(cycles: Sequence[str]) -> Caution:
    """Say that a level is billed once a term, however long that is."""
    return Caution(
        "A level is billed once a term",
        (f"This product is also sold {' and '.join(cycles)}",),
        "With the last value, only the level at the renewal counts, as if it had been there all the time. The mean or "
        f"the days used say more of a long term. {_AS_IT_IS}",
    )


@dataclass(frozen=True)
class _Look:
    """A pricing, and how its numbers are written."""

    pricing: Pricing
    unit: Unit
    currency: str
    locale: str

    def price(self, price: Decimal) -> str:
        return write_price(price, self.currency, locale=self.locale)

    def each(self, bracket: Bracket) -> str:
        return f"{self.price(bracket.unit_price)} per {self.unit.noun(ONE)}"

    def cost(self, quantity: Decimal) -> Decimal:
        return amount(self.pricing, quantity)

    def after(self, quantity: Decimal) -> Decimal:
        """Return the next quantity that the unit knows."""
        return min(quantity + ONE.scaleb(-self.unit.places), MAX_QUANTITY)

    def falls(self, lower: Decimal) -> bool:
        return self.cost(self.after(lower)) < self.cost(lower)

    def boundaries(self) -> Iterator[tuple[Decimal, Bracket, Bracket]]:
        """Yield the last quantity before each bracket but the first, the bracket before and the bracket."""
        for (_, _, before), (lower, _, bracket) in pairwise(self.pricing.ranges):
            yield lower, before, bracket

    def quantity(self, quantity: Decimal) -> str:
        """Write a quantity that stands for itself: `10`, `10 GB`."""
        if self.unit.symbol:
            return self.unit.write(quantity, locale=self.locale)
        return self.unit.number(quantity, locale=self.locale)

    def begin(self, lower: Decimal) -> str:
        """Say where a bracket begins, in the notation in which it was typed: `From 10`, `Above 10 GB`."""
        if self.pricing.notation is Notation.ABOVE:
            return f"Above {self.quantity(lower)}"
        return f"From {self.quantity(lower + ONE)}"

    def sides(self, lower: Decimal) -> str:
        """Say what is charged on both sides of a boundary: `9 cost $18.00, 10 cost $10.00`."""
        after = self.after(lower)
        less, more = map(self.price, _distinct(self.cost(lower), self.cost(after), self.currency))
        above = f"{self.quantity(after)} cost {more}" if self.unit.is_whole else f"a little more costs {more}"
        return f"{self.quantity(lower)} cost{'s' if lower == ONE else ''} {less}, {above}"


_Found = tuple[str, list[str], str]


def _cliffs(look: _Look) -> _Found:
    falls = [each for each in look.boundaries() if look.falls(each[0])]
    note = (
        "With total volume, reaching a bracket changes the price of every unit. If only the further units should be "
        "cheaper, choose graduated."
    )
    if all(before.unit_price <= bracket.unit_price for _, before, bracket in falls):
        note = "With total volume, only the flat fee of the bracket that is reached counts."
    return "More usage would cost less", [look.sides(lower) for lower, _, _ in falls], note


def _dearer(look: _Look) -> _Found:
    """Units that cost more than those before. What was free may cost something further up: that is a usual offer."""
    lines = [
        f"{look.begin(lower)}: {look.each(bracket)}, before that {look.price(before.unit_price)}"
        for lower, before, bracket in look.boundaries()
        if ZERO < before.unit_price < bracket.unit_price
    ]
    note = "Larger quantities are usually cheaper per unit."
    if look.pricing.scheme is Scheme.VOLUME:
        note = "With total volume, reaching a bracket makes every unit dearer."
    return "A later bracket is dearer", lines, note


def _free(look: _Look) -> _Found:
    """Units for nothing after units with a price. By total volume that is a cliff, and said there."""
    lines = [
        f"{look.begin(lower)}: {look.each(bracket)}, before that {look.price(before.unit_price)}"
        for lower, before, bracket in look.boundaries()
        if look.pricing.scheme is Scheme.GRADUATED
        and before.unit_price
        and not bracket.unit_price
        and not bracket.flat_fee
    ]
    return "A later bracket is free", lines, "Whatever is used there adds nothing to the charge."


def _fees(look: _Look) -> _Found:
    """Flat fees that cost more than a unit does. Without any price of a unit the pricing is stairs, and meant so."""
    pricing, lines = look.pricing, []
    starts = list(look.boundaries())
    if pricing.included:
        starts.insert(0, (pricing.included, Bracket(ZERO, ZERO), pricing.brackets[0]))
    for lower, before, bracket in starts:
        rise = bracket.flat_fee - (before.flat_fee if pricing.scheme is Scheme.VOLUME else ZERO)
        is_more = rise > max(before.unit_price, bracket.unit_price) and look.cost(look.after(lower)) > look.cost(lower)
        if is_more and any(each.unit_price for each in pricing.brackets):
            lines.append(look.sides(lower))
    return "A flat fee makes the charge jump", lines, "It is charged at once, with the first unit of its bracket."


def _maximum(look: _Look) -> _Found:
    """Prices that never count, because the maximum charge is reached before them."""
    pricing, most = look.pricing, look.pricing.maximum
    if most is None:
        return "", [], ""
    limit = look.price(most)
    if pricing.minimum == most:
        return (
            "Every quantity costs the same",
            [f"Minimum and maximum charge are both {limit}"],
            "No other price counts.",
        )
    bare = Pricing(pricing.scheme, pricing.brackets, pricing.included, pricing.notation, pricing.package_size)
    idle = [lower for lower, _, _ in pricing.ranges if amount(bare, look.after(lower)) >= most]
    if pricing.included in idle:
        first = look.after(pricing.included)
        what = look.quantity(first) if look.unit.is_whole else f"Anything above {look.quantity(pricing.included)}"
        without, _ = _distinct(amount(bare, first), most, look.currency)
        line = f"{what} would cost {look.price(without)} without it, it is {limit}"
        return "The maximum charge is reached at once", [line], "A higher one would let prices count."
    if pricing.scheme is Scheme.GRADUATED:
        idle = idle[:1]
    lines = [f"{look.begin(lower)}: {limit}, whatever is used" for lower in idle]
    return "The maximum charge is reached before a bracket", lines, "Prices there never count."


def _distinct(before: Decimal, after: Decimal, currency: str) -> tuple[Decimal, Decimal]:
    """Round two amounts as an invoice would, or as little more as it takes to tell them apart."""
    places = minor_units(currency)
    while (less := round_half_up(before, places)) == (more := round_half_up(after, places)) and before != after:
        places += 1
    return less, more


def _first_few(lines: Sequence[str]) -> tuple[str, ...]:
    if len(lines) <= MAX_LINES:
        return tuple(lines)
    return (*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more")


def _brackets(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"Brackets {', '.join(others)} and {last}" if others else f"Bracket {last}"
