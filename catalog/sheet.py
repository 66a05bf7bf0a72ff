"""All that a version of a pricing says, saved or still a draft, and how two of them differ, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.money import write_price
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.wording import AGGREGATIONS, percent, price_per, price_sentence
from metering.decimals import EXACT, plain, round_half_up
from metering.units import Unit

SCHEMES = {
    Scheme.PER_UNIT: "per unit",
    Scheme.GRADUATED: "graduated",
    Scheme.VOLUME: "total volume",
    Scheme.PACKAGE: "package",
}
PERIODS = {Periods.SUMMED: "summed and rated once", Periods.EACH: "each rated by itself"}
PRICE_AT = {PriceAt.START: "the day on which a period begins", PriceAt.INVOICE: "the day of the invoice"}
NOTATIONS = {Notation.FIRST_UNIT: "the first unit at its price", Notation.ABOVE: "the last unit before its price"}


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
        yield f"Unit: {after.unit} instead of {before.unit}"
    if old.scheme is not new.scheme:
        yield f"Scheme: {SCHEMES[new.scheme]} instead of {SCHEMES[old.scheme]}"
    if (old.included, before.unit) != (new.included, after.unit):
        yield f"Included: {after.unit.write(new.included)} instead of {before.unit.write(old.included)}"
    if new.scheme is Scheme.PACKAGE and old.scheme is Scheme.PACKAGE and old.package_size != new.package_size:
        yield f"Package: {after.unit.write(new.package_size)} instead of {before.unit.write(old.package_size)}"
    if old.notation is not new.notation and len(new.brackets) > 1:
        yield f"Start of a bracket: {NOTATIONS[new.notation]} instead of {NOTATIONS[old.notation]}"
    if before.aggregation is not after.aggregation:
        yield f"Quantity of a term: {AGGREGATIONS[after.aggregation]} instead of {AGGREGATIONS[before.aggregation]}"
    if before.periods is not after.periods:
        yield f"Periods: {PERIODS[after.periods]} instead of {PERIODS[before.periods]}"
    if before.price_at is not after.price_at:
        yield f"Price of {PRICE_AT[after.price_at]} instead of {PRICE_AT[before.price_at]}"


def _currencies(before: Sheet, after: Sheet) -> Iterator[str]:
    for currency, new in after.pricings.items():
        old = before.pricings.get(currency)
        if old is None:
            yield f"{currency} is new: {price_sentence(new, after.unit, currency)}"
        else:
            yield from _brackets(old, new, after.unit, currency)
            yield from _bounds(old, new, currency)
    for currency in before.pricings:
        if currency not in after.pricings:
            yield f"No price in {currency} any more"


def _brackets(old: Pricing, new: Pricing, unit: Unit, currency: str) -> Iterator[str]:
    known, kept = _by_start(old), _by_start(new)
    for start, bracket in kept.items():
        where = f"{currency}, from {plain(start)}" if len(kept) > 1 else currency
        if start not in known:
            yield f"{where}: a new bracket at {price_per(bracket, unit.noun(Decimal(1)), currency)}"
            continue
        before = known[start]
        if bracket.unit_price != before.unit_price:
            prices = (
                f"{write_price(bracket.unit_price, currency)} instead of {write_price(before.unit_price, currency)}"
            )
            yield f"{where}: {prices}{_change(before.unit_price, bracket.unit_price)}"
        if bracket.flat_fee != before.flat_fee:
            fees = f"{write_price(bracket.flat_fee, currency)} instead of {write_price(before.flat_fee, currency)}"
            yield f"{where}: flat fee {fees}"
    for start in known:
        if start not in kept:
            yield f"{currency}: no bracket from {plain(start)} any more"


def _by_start(pricing: Pricing) -> dict[Decimal, Bracket]:
    """The first bracket starts after the quantity included, however its start is written."""
    first, *others = pricing.brackets
    return {Decimal(0): first, **{bracket.start: bracket for bracket in others}}


def _bounds(old: Pricing, new: Pricing, currency: str) -> Iterator[str]:
    for name, before, after in (
        ("minimum", old.minimum, new.minimum),
        ("maximum", old.maximum, new.maximum),
    ):
        if before != after:
            yield f"{currency}: {name} charge {_instead(after, before, currency)}"


def _instead(after: Decimal | None, before: Decimal | None, currency: str) -> str:
    new, old = ("none" if each is None else write_price(each, currency) for each in (after, before))
    return f"{new} instead of {old}"


def _change(before: Decimal, after: Decimal) -> str:
    """`, 16.7 % less`; nothing when it was free."""
    if not before:
        return ""
    share = EXACT.divide(abs(after - before) * 100, before)
    return f", {percent(round_half_up(share, 1))} {'more' if after > before else 'less'}"
