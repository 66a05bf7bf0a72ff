"""Prices in words: the same sentences for the price list, the service page, the editor and the invoice."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal, localcontext

from babel.dates import format_date
from babel.numbers import format_decimal

from catalog.aggregation import Aggregation
from catalog.money import write_price
from catalog.pricing import Bracket, Charge, Notation, Pricing, Scheme, Step
from catalog.terms import Cycle
from metering.decimals import EXACT
from metering.units import Unit

#: How the quantity of a term comes about, for metrics that measure a level.
AGGREGATIONS = {
    Aggregation.LATEST: "last value",
    Aggregation.PEAK: "peak",
    Aggregation.MEAN: "mean of the days",
    Aggregation.TIME_WEIGHTED: "time-weighted mean",
    Aggregation.P95: "95th percentile",
    Aggregation.DAYS: "sum of the days over the days of the term",
}
#: How often a recurring price is paid, to stand behind it.
PER_CYCLE = {
    Cycle.MONTHLY: "per month",
    Cycle.QUARTERLY: "per quarter",
    Cycle.SEMIANNUALLY: "per half-year",
    Cycle.ANNUALLY: "per year",
    Cycle.BIENNIALLY: "per two years",
    Cycle.TRIENNIALLY: "per three years",
}


def price_sentence(pricing: Pricing, unit: Unit, currency: str, locale: str = "en") -> str:
    """Say what a metric costs in a sentence: `10 GB included, then $1.00 per GB`."""
    included = f"{unit.write(pricing.included, locale=locale)} included" if pricing.included else ""
    if pricing.scheme is Scheme.PACKAGE:
        size = unit.write(pricing.package_size, locale=locale)
        price = price_per(pricing.brackets[0], f"started {size}", currency, locale)
    elif len(pricing.brackets) == 1:
        price = price_per(pricing.brackets[0], unit.noun(Decimal(1)), currency, locale)
    else:
        price = _several(pricing, unit, currency, locale)
    if pricing.discount:
        price += f", less {percent(pricing.discount, locale)}"
    return f"{included}, then {price[0].lower()}{price[1:]}" if included else price


def _several(pricing: Pricing, unit: Unit, currency: str, locale: str) -> str:
    first = price_per(pricing.brackets[0], unit.noun(Decimal(1)), currency, locale)
    others = [_reached(pricing, lower, unit, locale) for lower, _, _ in pricing.ranges[1:]]
    whole = " for all of them" if pricing.scheme is Scheme.VOLUME else ""
    return f"From {first}, {_change(pricing.brackets)}{whole} {_and(others)}"


def price_per(bracket: Bracket, each: str, currency: str, locale: str = "en") -> str:
    """Say what a bracket costs: `$1.00 per GB`, `$1.00 per GB plus $5.00 once`, or `$50.00 once`."""
    price = f"{write_price(bracket.unit_price, currency, locale=locale)} per {each}"
    if not bracket.flat_fee:
        return price
    fee = f"{write_price(bracket.flat_fee, currency, locale=locale)} once"
    return f"{price} plus {fee}" if bracket.unit_price else fee


def _change(brackets: Sequence[Bracket]) -> str:
    """Which way prices go from a bracket to the next, if both the price of units and the fee go there."""
    prices, fees = ([getattr(bracket, name) for bracket in brackets] for name in ("unit_price", "flat_fee"))
    if prices == sorted(prices, reverse=True) and fees == sorted(fees, reverse=True):
        return "cheaper"
    return "dearer" if prices == sorted(prices) and fees == sorted(fees) else "another price"


def _reached(pricing: Pricing, lower: Decimal, unit: Unit, locale: str) -> str:
    first = pricing.first(lower)
    if pricing.notation is Notation.ABOVE:
        return f"above {unit.write(first, locale=locale)}"
    return f"from the {unit.number(first, locale=locale)}{_ordinal(first)}"


def _ordinal(number: Decimal) -> str:
    last = int(number) % 100
    return "th" if last in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(last % 10, "th")


def short_price(pricing: Pricing, unit: Unit, currency: str, locale: str = "en") -> str:
    """The price in one line for a table: `$1.00 per GB`, or `from $2.00, then $1.00 and $0.50`."""
    if pricing.scheme is Scheme.PACKAGE or len(pricing.brackets) == 1:
        return price_sentence(
            Pricing(pricing.scheme, pricing.brackets, package_size=pricing.package_size), unit, currency, locale
        )
    first, *others = (_price(bracket, currency, locale) for bracket in pricing.brackets)
    return f"from {first}, then {_and(others)}"


def terms_of_price(pricing: Pricing, unit: Unit, locale: str = "en") -> str:
    """What stands below the price in a table: `graduated, none included`."""
    included = f"{unit.write(pricing.included, locale=locale)} included" if pricing.included else "none included"
    scheme = {Scheme.VOLUME: "total volume, ", Scheme.GRADUATED: "graduated, "}.get(pricing.scheme, "")
    return f"{scheme}{included}" if len(pricing.brackets) > 1 else included


def ranges(pricing: Pricing, unit: Unit, locale: str = "en") -> list[str]:
    """The range of each bracket in words: `1 to 9`, `10 to 19`, `20 and more`."""
    words = []
    for lower, upper, _ in pricing.ranges:
        first = unit.number(pricing.first(lower), locale=locale)
        if pricing.notation is Notation.ABOVE:
            until = f" to {unit.write(upper, locale=locale)}" if upper is not None else f" {unit.noun(Decimal(2))}"
            words.append(
                f"above {first}{until}" if upper is None or lower else f"up to {unit.write(upper, locale=locale)}"
            )
        elif upper is None:
            words.append(f"{first} and more")
        else:
            last = unit.number(upper, locale=locale)
            words.append(first if first == last else f"{first} to {last}")
    return words


def charge_sentence(pricing: Pricing, charge: Charge, unit: Unit, currency: str, locale: str = "en") -> str:
    """Say how an amount came about: `16.37 GB, 10 included, 6.37 at $1.00`."""
    used = unit.write(charge.quantity, locale=locale)
    steps = [step for step in charge.steps if step.end is not None]
    adjusted = [step for step in charge.steps if step.end is None]
    if not charge.quantity:
        text = f"{used}, nothing used"
    elif not steps:
        text = f"{used}, all within the {unit.write(pricing.included, locale=locale)} included"
    else:
        included = f"{unit.number(pricing.included, locale=locale)} included, " if pricing.included else ""
        clauses = ", ".join(_clause(pricing, step, unit, currency, locale) for step in steps)
        text = f"{used}: {included}{clauses}"
    for step in adjusted:
        text += f"; {_adjustment(pricing, step, currency, locale)}"
    return text


def _adjustment(pricing: Pricing, step: Step, currency: str, locale: str) -> str:
    if step.is_discount:
        return f"less {percent(pricing.discount, locale)} discount"
    if step.amount > 0:
        assert pricing.minimum is not None
        return f"raised to the minimum charge of {write_price(pricing.minimum, currency, locale=locale)}"
    assert pricing.maximum is not None
    return f"cut to the maximum charge of {write_price(pricing.maximum, currency, locale=locale)}"


def percent(share: Decimal, locale: str = "en") -> str:
    """Write a number of percent: `12.5 %`."""
    with localcontext(EXACT):
        return f"{format_decimal(share, format='#,##0.######', locale=locale)} %"


def agreed(
    *, included: Decimal | None, own: Pricing | None, discount: Decimal, unit: Unit, currency: str, locale: str = "en"
) -> str:
    """Say what was agreed for one service: `20 GB included, then $0.80 per GB, 10 % discount`."""
    what = []
    if included is not None and (own is None or not included):
        what.append(f"{unit.write(included, locale=locale)} included" if included else "nothing included")
    if own is not None:
        words = price_sentence(own.with_included(included) if included else own, unit, currency, locale)
        what.append(f"{words[0].lower()}{words[1:]}")
    if discount:
        what.append(f"{percent(discount, locale)} discount")
    return ", ".join(what)


def agreement(*, what: str, start: date, end: date | None, reason: str, locale: str = "en") -> str:
    """Say what was agreed, until when and why: `agreed for this service from 1 May 2027: 20 GB included (trial)`."""
    return f"agreed for this service {agreed_days(start, end, locale)}: {what} ({reason})"


def agreed_days(start: date, end: date | None, locale: str = "en") -> str:
    """Say on which days something applies, the last one counted in: `from 1 May 2027 until 31 May 2027`."""
    until = f" until {day_words(end - timedelta(days=1), locale)}" if end else ""
    return f"from {day_words(start, locale)}{until}"


def day_words(day: date, locale: str = "en") -> str:
    return str(format_date(day, "d MMMM y", locale=locale))


def bracket_ranges(pricing: Pricing, unit: Unit, locale: str = "en") -> list[str]:
    """The range of each bracket, to stand alone: `Databases 1 to 9`, `From the 20th`, `Up to 10 GB`."""
    said = []
    for (lower, upper, _), words in zip(pricing.ranges, ranges(pricing, unit, locale), strict=True):
        if upper is None and not lower:
            said.append(f"Every {unit.noun(Decimal(1))}")
        elif pricing.notation is Notation.ABOVE:
            said.append(_capital(words))
        elif upper is None and not unit.symbol:
            said.append(_capital(_reached(pricing, lower, unit, locale)))
        elif unit.symbol:
            said.append(f"{words} {unit.symbol}")
        else:
            said.append(f"{_capital(unit.singular if upper == pricing.first(lower) else unit.plural)} {words}")
    return said


def bracket_price(pricing: Pricing, bracket: Bracket, unit: Unit, currency: str, locale: str = "en") -> str:
    """What a unit costs in a bracket, to stand behind its range: `$2.00 each`, `$1.00 per GB`."""
    price = write_price(bracket.unit_price, currency, locale=locale)
    if pricing.scheme is Scheme.PACKAGE:
        words = f"{price} per started {unit.write(pricing.package_size, locale=locale)}"
    elif pricing.scheme is Scheme.VOLUME and len(pricing.brackets) > 1:
        whole = "above the included" if pricing.included else "of them"
        words = f"{price} per {unit.symbol} for all {whole}" if unit.symbol else f"{price} for each {whole}"
    else:
        words = f"{price} per {unit.symbol}" if unit.symbol else f"{price} each"
    fee = f", and {write_price(bracket.flat_fee, currency, locale=locale)} once" if bracket.flat_fee else ""
    return f"{words}{fee}"


def charge_rows(
    pricing: Pricing, charge: Charge, unit: Unit, currency: str, locale: str = "en"
) -> list[tuple[str, str, str, str]]:
    """Explain a charge as rows of a table, their amounts exact: range, quantity, price of each, amount."""
    rows = []
    if pricing.included and charge.quantity:
        within = min(pricing.included, charge.quantity)
        free = write_price(Decimal(0), currency, locale=locale)
        rows.append(("Included", unit.number(within, locale=locale), "", free))
    for step in charge.steps:
        amount = write_price(abs(step.amount), currency, locale=locale)
        if step.end is None:
            if step.is_discount:
                rows.append((f"{percent(pricing.discount, locale)} discount", "", "", f"\N{MINUS SIGN}{amount}"))
                continue
            rise = ("Up to the minimum charge", "", "", amount)
            cut = ("Down to the maximum charge", "", "", f"\N{MINUS SIGN}{amount}")
            rows.append(rise if step.amount > 0 else cut)
            continue
        each = _price(Bracket(step.end, step.unit_price, step.flat_fee), currency, locale)
        quantity = unit.number(step.quantity, locale=locale)
        if pricing.scheme is Scheme.PACKAGE:
            quantity = f"{step.quantity:,} × {unit.number(pricing.package_size, locale=locale)}"
        rows.append((_step_range(pricing, charge, step, unit, locale), quantity, each, amount))
    return rows


def _step_range(pricing: Pricing, charge: Charge, step: Step, unit: Unit, locale: str) -> str:
    assert step.start is not None
    assert step.end is not None
    end = unit.number(step.end, locale=locale)
    if pricing.scheme is not Scheme.GRADUATED:
        return f"Above {unit.number(pricing.included, locale=locale)}" if pricing.included else f"All {end}"
    if pricing.notation is Notation.ABOVE:
        return f"Above {unit.number(step.start, locale=locale)} to {end}" if step.start else f"Up to {end}"
    start = unit.number(step.start, locale=locale)
    return start if start == end else f"{start} to {end}"


def _clause(pricing: Pricing, step: Step, unit: Unit, currency: str, locale: str) -> str:
    price = write_price(step.unit_price, currency, locale=locale)
    fee = f" plus {write_price(step.flat_fee, currency, locale=locale)}" if step.flat_fee else ""
    if pricing.scheme is Scheme.PACKAGE:
        blocks = "1 block" if step.quantity == 1 else f"{step.quantity:,} blocks"
        return f"{blocks} of {unit.number(pricing.package_size, locale=locale)} at {price}{fee}"
    return f"{unit.number(step.quantity, locale=locale)} at {price}{fee}"


def _price(bracket: Bracket, currency: str, locale: str) -> str:
    price = write_price(bracket.unit_price, currency, locale=locale)
    return f"{price} plus {write_price(bracket.flat_fee, currency, locale=locale)}" if bracket.flat_fee else price


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"
