"""What in a pricing may surprise: it can be saved as it is, but somebody should have seen it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import pairwise

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from catalog.money import minor_units, write_price
from catalog.pricing import MAX_QUANTITY, ONE, ZERO, Bracket, Notation, Pricing, Scheme, amount
from metering.decimals import EXACT, round_half_up
from metering.units import Unit

#: How many boundaries a caution counts up.
MAX_LINES = 6
_AS_IT_IS = gettext_lazy("You can save this as it is.")


@dataclass(frozen=True, slots=True)
class Caution:
    """A surprise: its title, the numbers that show it, and what to do about it."""

    title: str
    lines: tuple[str, ...]
    note: str


def cautions(pricing: Pricing, unit: Unit, currency: str) -> list[Caution]:
    """Say what may surprise in what a pricing charges."""
    look = _Look(pricing, unit, currency)
    with localcontext(EXACT):
        found = [_cliffs(look), _dearer(look), _free(look), _fees(look), _maximum(look)]
    return [Caution(title, _first_few(lines), f"{note} {_AS_IT_IS}") for title, lines, note in found if lines]


def missing_prices(currency: str, numbers: Sequence[int], *, is_every: bool, services: int) -> Caution:
    """Say which brackets, by number, have no price in a currency, and how many services are billed in it."""
    line = _("No bracket has one") if is_every else _without_price(numbers)
    note = _("This can be saved once every bracket has one.")
    if services:
        who = ngettext(
            "%(count)s service is billed in %(currency)s.", "%(count)s services are billed in %(currency)s.", services
        )
        note = f"{who % {'count': services, 'currency': currency}} {note}"
    return Caution(_("Prices in %(currency)s are missing") % {"currency": currency}, (line,), note)


def inside_included(starts: Sequence[tuple[int, Decimal]], included: Decimal, unit: Unit) -> Caution:
    """Say which brackets, by number and start, lie within the quantity included."""
    way_out = _("Include less, start it above %(quantity)s, or remove it.") % {"quantity": unit.number(included)}
    if starts[0][0] == 1:
        way_out = _("Start the first bracket with 0: it begins right after what is included.")
    if included == ONE:
        line = _("Bracket %(number)s starts with %(start)s, %(quantity)s is included")
    else:
        line = _("Bracket %(number)s starts with %(start)s, %(quantity)s are included")
    told, why = {"quantity": unit.write(included)}, _("Included units are never charged.")
    return Caution(
        _("A bracket starts within what is included"),
        _first_few([line % {"number": number, "start": unit.number(start), **told} for number, start in starts]),
        f"{why} {way_out}",
    )


def long_terms(cycles: Sequence[str]) -> Caution:
    """Say that a level is billed once a term, however long that is."""
    words = _(" and ").join(cycles)
    note = _(
        "With the last value, only the level at the renewal counts, as if it had been there all the time. The mean or "
        "the days used say more of a long term."
    )
    return Caution(
        _("A level is billed once a term"),
        (_("This product is also sold %(cycles)s") % {"cycles": words},),
        f"{note} {_AS_IT_IS}",
    )


@dataclass(frozen=True)
class _Look:
    """A pricing, and how its numbers are written."""

    pricing: Pricing
    unit: Unit
    currency: str

    def price(self, price: Decimal) -> str:
        return write_price(price, self.currency)

    def each(self, bracket: Bracket) -> str:
        return _("%(price)s per %(unit)s") % {
            "price": self.price(bracket.unit_price),
            "unit": self.unit.noun(ONE),
        }

    def cost(self, quantity: Decimal) -> Decimal:
        return amount(self.pricing, quantity)

    def after(self, quantity: Decimal) -> Decimal:
        """Return the next quantity that the unit knows."""
        return min(quantity + ONE.scaleb(-self.unit.places), MAX_QUANTITY)

    def falls(self, lower: Decimal) -> bool:
        return self.cost(self.after(lower)) < self.cost(lower)

    def boundaries(self) -> Iterator[tuple[Decimal, Bracket, Bracket]]:
        """Yield the last quantity before each bracket but the first, the bracket before and the bracket."""
        for (_start, _end, before), (lower, _upper, bracket) in pairwise(self.pricing.ranges):
            yield lower, before, bracket

    def quantity(self, quantity: Decimal) -> str:
        """Write a quantity that stands for itself: `10`, `10 GB`."""
        if self.unit.symbol:
            return self.unit.write(quantity)
        return self.unit.number(quantity)

    def begin(self, lower: Decimal) -> str:
        """Say where a bracket begins, in the notation in which it was typed: `From 10`, `Above 10 GB`."""
        if self.pricing.notation is Notation.ABOVE:
            return _("Above %(quantity)s") % {"quantity": self.quantity(lower)}
        return _("From %(quantity)s") % {"quantity": self.quantity(lower + ONE)}

    def sides(self, lower: Decimal) -> str:
        """Say what is charged on both sides of a boundary: `9 cost $18.00, 10 cost $10.00`."""
        after = self.after(lower)
        less, more = map(self.price, _distinct(self.cost(lower), self.cost(after), self.currency))
        told = {"quantity": self.quantity(lower), "after": self.quantity(after), "less": less, "more": more}
        if self.unit.is_whole and lower == ONE:
            return _("%(quantity)s costs %(less)s, %(after)s cost %(more)s") % told
        if self.unit.is_whole:
            return _("%(quantity)s cost %(less)s, %(after)s cost %(more)s") % told
        if lower == ONE:
            return _("%(quantity)s costs %(less)s, a little more costs %(more)s") % told
        return _("%(quantity)s cost %(less)s, a little more costs %(more)s") % told

    def step(self, lower: Decimal, before: Bracket, bracket: Bracket) -> str:
        """Say what a unit costs on both sides of a boundary: `From 10: $1.00 per GB, before that $2.00`."""
        return _("%(begin)s: %(price)s, before that %(before)s") % {
            "begin": self.begin(lower),
            "price": self.each(bracket),
            "before": self.price(before.unit_price),
        }


_Found = tuple[str, list[str], str]


def _cliffs(look: _Look) -> _Found:
    falls = [each for each in look.boundaries() if look.falls(each[0])]
    note = _(
        "With total volume, reaching a bracket changes the price of every unit. If only the further units should be "
        "cheaper, choose graduated."
    )
    if all(before.unit_price <= bracket.unit_price for _lower, before, bracket in falls):
        note = _("With total volume, only the flat fee of the bracket that is reached counts.")
    return _("More usage would cost less"), [look.sides(lower) for lower, *_brackets in falls], note


def _dearer(look: _Look) -> _Found:
    """Units that cost more than those before. What was free may cost something further up: that is a usual offer."""
    lines = [
        look.step(lower, before, bracket)
        for lower, before, bracket in look.boundaries()
        if ZERO < before.unit_price < bracket.unit_price
    ]
    note = _("Larger quantities are usually cheaper per unit.")
    if look.pricing.scheme is Scheme.VOLUME:
        note = _("With total volume, reaching a bracket makes every unit dearer.")
    return _("A later bracket is dearer"), lines, note


def _free(look: _Look) -> _Found:
    """Units for nothing after units with a price. By total volume that is a cliff, and said there."""
    lines = [
        look.step(lower, before, bracket)
        for lower, before, bracket in look.boundaries()
        if look.pricing.scheme is Scheme.GRADUATED
        and before.unit_price
        and not bracket.unit_price
        and not bracket.flat_fee
    ]
    return _("A later bracket is free"), lines, _("Whatever is used there adds nothing to the charge.")


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
    note = _("It is charged at once, with the first unit of its bracket.")
    return _("A flat fee makes the charge jump"), lines, note


def _maximum(look: _Look) -> _Found:
    """Prices that never count, because the maximum charge is reached before them."""
    pricing, most = look.pricing, look.pricing.maximum
    if most is None:
        return "", [], ""
    limit = look.price(most)
    if pricing.minimum == most:
        return (
            _("Every quantity costs the same"),
            [_("Minimum and maximum charge are both %(amount)s") % {"amount": limit}],
            _("No other price counts."),
        )
    bare = Pricing(pricing.scheme, pricing.brackets, pricing.included, pricing.notation, pricing.package_size)
    idle = [lower for lower, *_rest in pricing.ranges if amount(bare, look.after(lower)) >= most]
    if pricing.included in idle:
        first = look.after(pricing.included)
        without, _most = _distinct(amount(bare, first), most, look.currency)
        told = {"quantity": look.quantity(first), "amount": look.price(without), "limit": limit}
        if look.unit.is_whole:
            line = _("%(quantity)s would cost %(amount)s without it, it is %(limit)s") % told
        else:
            told["quantity"] = look.quantity(pricing.included)
            line = _("Anything above %(quantity)s would cost %(amount)s without it, it is %(limit)s") % told
        return _("The maximum charge is reached at once"), [line], _("A higher one would let prices count.")
    if pricing.scheme is Scheme.GRADUATED:
        idle = idle[:1]
    line = _("%(begin)s: %(limit)s, whatever is used")
    lines = [line % {"begin": look.begin(lower), "limit": limit} for lower in idle]
    return _("The maximum charge is reached before a bracket"), lines, _("Prices there never count.")


def _distinct(before: Decimal, after: Decimal, currency: str) -> tuple[Decimal, Decimal]:
    """Round two amounts as an invoice would, or as little more as it takes to tell them apart."""
    places = minor_units(currency)
    while (less := round_half_up(before, places)) == (more := round_half_up(after, places)) and before != after:
        places += 1
    return less, more


def _first_few(lines: Sequence[str]) -> tuple[str, ...]:
    if len(lines) <= MAX_LINES:
        return tuple(lines)
    more = len(lines) - MAX_LINES + 1
    return (*lines[: MAX_LINES - 1], ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more})


def _without_price(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    if others:
        return _("Brackets %(numbers)s and %(last)s have none") % {"numbers": ", ".join(others), "last": last}
    return _("Bracket %(number)s has none") % {"number": last}
