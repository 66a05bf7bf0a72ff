"""All that a version of a pricing says, saved or still a draft, and how two of them differ, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.money import write_price
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.wording import AGGREGATIONS, percent, price_per, price_sentence
from metering.decimals import EXACT, plain, round_half_up
from metering.units import Unit

SCHEMES = {
    Scheme.PER_UNIT: gettext_lazy("per unit"),
    Scheme.GRADUATED: gettext_lazy("graduated"),
    Scheme.VOLUME: gettext_lazy("total volume"),
    Scheme.PACKAGE: gettext_lazy("package"),
}
PERIODS = {Periods.SUMMED: gettext_lazy("summed and rated once"), Periods.EACH: gettext_lazy("each rated by itself")}
PRICE_AT = {
    PriceAt.START: gettext_lazy("the day on which a period begins"),
    PriceAt.INVOICE: gettext_lazy("the day of the invoice"),
}
NOTATIONS = {
    Notation.FIRST_UNIT: gettext_lazy("the first unit at its price"),
    Notation.ABOVE: gettext_lazy("the last unit before its price"),
}


@dataclass(frozen=True)
class Sheet:
    """A price sheet: the pricing of a metric in every currency, and how quantities come to be rated."""

    unit: Unit
    pricings: Mapping[str, Pricing]
    aggregation: Aggregation = Aggregation.LATEST
    periods: Periods = Periods.SUMMED
    price_at: PriceAt = PriceAt.START

    @property
    def any(self) -> Pricing:
        """The pricing in one of the currencies; what is not a price is the same in all of them."""
        return next(iter(self.pricings.values()))

    @property
    def included(self) -> Decimal:
        return self.any.included

    def pricing(self, currency: str) -> Pricing | None:
        return self.pricings.get(currency)


def differences(before: Sheet, after: Sheet) -> list[str]:
    """Say what another sheet changes, a sentence each; nothing when they charge alike in every way."""
    return list(chain(_terms(before, after), _currencies(before, after)))


def _terms(before: Sheet, after: Sheet) -> Iterator[str]:
    old, new = before.any, after.any
    if before.unit != after.unit:
        yield _("Unit: %(new)s instead of %(old)s") % {"new": after.unit, "old": before.unit}
    if old.scheme is not new.scheme:
        yield _("Scheme: %(new)s instead of %(old)s") % {"new": SCHEMES[new.scheme], "old": SCHEMES[old.scheme]}
    if (old.included, before.unit) != (new.included, after.unit):
        told = {"new": after.unit.write(new.included), "old": before.unit.write(old.included)}
        yield _("Included: %(new)s instead of %(old)s") % told
    if new.scheme is Scheme.PACKAGE and old.scheme is Scheme.PACKAGE and old.package_size != new.package_size:
        told = {"new": after.unit.write(new.package_size), "old": before.unit.write(old.package_size)}
        yield _("Package: %(new)s instead of %(old)s") % told
    if old.notation is not new.notation and len(new.brackets) > 1:
        words = {"new": NOTATIONS[new.notation], "old": NOTATIONS[old.notation]}
        yield _("Start of a bracket: %(new)s instead of %(old)s") % words
    if before.aggregation is not after.aggregation:
        words = {"new": AGGREGATIONS[after.aggregation], "old": AGGREGATIONS[before.aggregation]}
        yield _("Quantity of a term: %(new)s instead of %(old)s") % words
    if before.periods is not after.periods:
        words = {"new": PERIODS[after.periods], "old": PERIODS[before.periods]}
        yield _("Periods: %(new)s instead of %(old)s") % words
    if before.price_at is not after.price_at:
        words = {"new": PRICE_AT[after.price_at], "old": PRICE_AT[before.price_at]}
        yield _("Price of %(new)s instead of %(old)s") % words


def _currencies(before: Sheet, after: Sheet) -> Iterator[str]:
    for currency, new in after.pricings.items():
        old = before.pricings.get(currency)
        if old is None:
            told = {"currency": currency, "price": price_sentence(new, after.unit, currency)}
            yield _("%(currency)s is new: %(price)s") % told
        else:
            yield from _brackets(old, new, after.unit, currency)
            yield from _bounds(old, new, currency)
    for currency in before.pricings:
        if currency not in after.pricings:
            yield _("No price in %(currency)s any more") % {"currency": currency}


def _brackets(old: Pricing, new: Pricing, unit: Unit, currency: str) -> Iterator[str]:
    known, kept = _by_start(old), _by_start(new)
    for start, bracket in kept.items():
        where = currency
        if len(kept) > 1:
            where = _("%(currency)s, from %(start)s") % {"currency": currency, "start": plain(start)}
        if start not in known:
            price = price_per(bracket, unit.noun(Decimal(1)), currency)
            yield _("%(where)s: a new bracket at %(price)s") % {"where": where, "price": price}
            continue
        before = known[start]
        if bracket.unit_price != before.unit_price:
            yield f"{where}: {_price_change(before.unit_price, bracket.unit_price, currency)}"
        if bracket.flat_fee != before.flat_fee:
            told = {"new": write_price(bracket.flat_fee, currency), "old": write_price(before.flat_fee, currency)}
            yield _("%(where)s: flat fee %(new)s instead of %(old)s") % {"where": where, **told}
    for start in known:
        if start not in kept:
            told = {"currency": currency, "start": plain(start)}
            yield _("%(currency)s: no bracket from %(start)s any more") % told


def _by_start(pricing: Pricing) -> dict[Decimal, Bracket]:
    """The first bracket starts after the quantity included, however its start is written."""
    first, *others = pricing.brackets
    return {Decimal(0): first, **{bracket.start: bracket for bracket in others}}


def _bounds(old: Pricing, new: Pricing, currency: str) -> Iterator[str]:
    for words, before, after in (
        (_("%(currency)s: minimum charge %(new)s instead of %(old)s"), old.minimum, new.minimum),
        (_("%(currency)s: maximum charge %(new)s instead of %(old)s"), old.maximum, new.maximum),
    ):
        if before != after:
            yield words % {"currency": currency, "new": _bound(after, currency), "old": _bound(before, currency)}


def _bound(amount: Decimal | None, currency: str) -> str:
    return _("none") if amount is None else write_price(amount, currency)


def _price_change(before: Decimal, after: Decimal, currency: str) -> str:
    """`$2.50 instead of $3.00, 16.7 % less`; without the share when it was free."""
    told = {"new": write_price(after, currency), "old": write_price(before, currency)}
    if not before:
        return _("%(new)s instead of %(old)s") % told
    told["percent"] = percent(round_half_up(EXACT.divide(abs(after - before) * 100, before), 1))
    if after > before:
        return _("%(new)s instead of %(old)s, %(percent)s more") % told
    return _("%(new)s instead of %(old)s, %(percent)s less") % told
