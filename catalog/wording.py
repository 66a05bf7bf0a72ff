"""Prices in words: the same sentences for the price list, the service page, the editor and the invoice.

Every sentence is written in the active language, whole or of clauses that are translated each.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal, localcontext

from babel.numbers import format_decimal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from catalog.aggregation import Aggregation, Periods, PriceAt
from catalog.money import write_price
from catalog.pricing import Bracket, Charge, Notation, Pricing, Scheme, Step
from catalog.terms import Cycle
from metering import dates, language
from metering.decimals import EXACT
from metering.units import Unit

#: What pricing consists of, as the editor calls it.
SCHEMES = {
    Scheme.PER_UNIT: gettext_lazy("Per unit"),
    Scheme.VOLUME: gettext_lazy("Total volume"),
    Scheme.GRADUATED: gettext_lazy("Graduated"),
    Scheme.PACKAGE: gettext_lazy("Package"),
}
NOTATIONS = {Notation.FIRST_UNIT: gettext_lazy("First unit"), Notation.ABOVE: gettext_lazy("Above")}
PERIODS = {Periods.SUMMED: gettext_lazy("Summed"), Periods.EACH: gettext_lazy("Each by itself")}
PRICES_AT = {
    PriceAt.START: gettext_lazy("The day on which a period begins"),
    PriceAt.INVOICE: gettext_lazy("The day of the invoice"),
}
#: How the quantity of a term comes about, for metrics that measure a level.
AGGREGATIONS = {
    Aggregation.LATEST: gettext_lazy("last value"),
    Aggregation.PEAK: gettext_lazy("peak"),
    Aggregation.MEAN: gettext_lazy("mean of the days"),
    Aggregation.TIME_WEIGHTED: gettext_lazy("time-weighted mean"),
    Aggregation.P95: gettext_lazy("95th percentile"),
    Aggregation.DAYS: gettext_lazy("sum of the days over the days of the term"),
}
#: How often a recurring price is paid, to stand behind it.
PER_CYCLE = {
    Cycle.MONTHLY: gettext_lazy("per month"),
    Cycle.QUARTERLY: gettext_lazy("per quarter"),
    Cycle.SEMIANNUALLY: gettext_lazy("per half-year"),
    Cycle.ANNUALLY: gettext_lazy("per year"),
    Cycle.BIENNIALLY: gettext_lazy("per two years"),
    Cycle.TRIENNIALLY: gettext_lazy("per three years"),
}
#: How often a service renews, to stand for itself.
CYCLES = {
    Cycle.MONTHLY: gettext_lazy("monthly"),
    Cycle.QUARTERLY: gettext_lazy("quarterly"),
    Cycle.SEMIANNUALLY: gettext_lazy("semiannually"),
    Cycle.ANNUALLY: gettext_lazy("annually"),
    Cycle.BIENNIALLY: gettext_lazy("biennially"),
    Cycle.TRIENNIALLY: gettext_lazy("triennially"),
}


@language.said_once
def price_sentence(pricing: Pricing, unit: Unit, currency: str) -> str:
    """Say what a metric costs in a sentence: `10 GB included, then $1.00 per GB`."""
    if pricing.scheme is Scheme.PACKAGE:
        size = unit.write(pricing.package_size)
        price = price_per(pricing.brackets[0], _("started %(size)s") % {"size": size}, currency)
    elif len(pricing.brackets) == 1:
        price = price_per(pricing.brackets[0], unit.noun(Decimal(1)), currency)
    else:
        price = _several(pricing, unit, currency)
    if pricing.discount:
        price = _("%(price)s, less %(percent)s") % {"price": price, "percent": percent(pricing.discount)}
    if not pricing.included:
        return price
    included = unit.write(pricing.included)
    return _("%(quantity)s included, then %(price)s") % {"quantity": included, "price": _small(price)}


def _several(pricing: Pricing, unit: Unit, currency: str) -> str:
    first = price_per(pricing.brackets[0], unit.noun(Decimal(1)), currency)
    where = _and([_reached(pricing, lower, unit) for lower, *_rest in pricing.ranges[1:]])
    prices, fees = ([getattr(bracket, name) for bracket in pricing.brackets] for name in ("unit_price", "flat_fee"))
    told = {"price": first, "where": where}
    is_whole = pricing.scheme is Scheme.VOLUME
    if prices == sorted(prices, reverse=True) and fees == sorted(fees, reverse=True):
        if is_whole:
            return _("From %(price)s, cheaper for all of them %(where)s") % told
        return _("From %(price)s, cheaper %(where)s") % told
    if prices == sorted(prices) and fees == sorted(fees):
        if is_whole:
            return _("From %(price)s, dearer for all of them %(where)s") % told
        return _("From %(price)s, dearer %(where)s") % told
    if is_whole:
        return _("From %(price)s, another price for all of them %(where)s") % told
    return _("From %(price)s, another price %(where)s") % told


def price_per(bracket: Bracket, each: str, currency: str) -> str:
    """Say what a bracket costs: `$1.00 per GB`, `$1.00 per GB plus $5.00 once`, or `$50.00 once`."""
    told = {"price": write_price(bracket.unit_price, currency), "unit": each}
    if not bracket.flat_fee:
        return _("%(price)s per %(unit)s") % told
    told["fee"] = write_price(bracket.flat_fee, currency)
    return _("%(price)s per %(unit)s plus %(fee)s once") % told if bracket.unit_price else _("%(fee)s once") % told


def _reached(pricing: Pricing, lower: Decimal, unit: Unit) -> str:
    first = pricing.first(lower)
    if pricing.notation is Notation.ABOVE:
        return _("above %(quantity)s") % {"quantity": unit.write(first)}
    # Translators: an ordinal number. "ordinal" is th, st, nd or rd, which English alone writes.
    return _("from the %(number)s%(ordinal)s") % {"number": unit.number(first), "ordinal": _ordinal(first)}


def _ordinal(number: Decimal) -> str:
    last = int(number) % 100
    return "th" if last in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(last % 10, "th")


def short_price(pricing: Pricing, unit: Unit, currency: str) -> str:
    """The price in one line for a table: `$1.00 per GB`, or `from $2.00, then $1.00 and $0.50`."""
    if pricing.scheme is Scheme.PACKAGE or len(pricing.brackets) == 1:
        return price_sentence(
            Pricing(pricing.scheme, pricing.brackets, package_size=pricing.package_size), unit, currency
        )
    first, *others = (_price(bracket, currency) for bracket in pricing.brackets)
    return _("from %(price)s, then %(prices)s") % {"price": first, "prices": _and(others)}


def terms_of_price(pricing: Pricing, unit: Unit) -> str:
    """What stands below the price in a table: `graduated, none included`."""
    included = _("none included")
    if pricing.included:
        included = _("%(quantity)s included") % {"quantity": unit.write(pricing.included)}
    if len(pricing.brackets) > 1 and pricing.scheme is Scheme.VOLUME:
        return _("total volume, %(included)s") % {"included": included}
    if len(pricing.brackets) > 1 and pricing.scheme is Scheme.GRADUATED:
        return _("graduated, %(included)s") % {"included": included}
    return included


def ranges(pricing: Pricing, unit: Unit) -> list[str]:
    """The range of each bracket in words: `1 to 9`, `10 to 19`, `20 and more`."""
    return [_range(pricing, lower, upper, unit) for lower, upper, _bracket in pricing.ranges]


@language.said_once
def price_rows(pricing: Pricing, unit: Unit, currency: str) -> tuple[tuple[str, str], ...]:
    """The brackets as rows of a table: range, and the price of each unit or package in it."""
    size = unit.write(pricing.package_size) if pricing.scheme is Scheme.PACKAGE else ""
    rows = []
    for text, bracket in zip(ranges(pricing, unit), pricing.brackets, strict=True):
        price = write_price(bracket.unit_price, currency)
        if size:
            price = _("%(price)s per started %(size)s") % {"price": price, "size": size}
        rows.append((text, _with_fee(price, bracket, currency)))
    return tuple(rows)


def _range(pricing: Pricing, lower: Decimal, upper: Decimal | None, unit: Unit) -> str:
    first = unit.number(pricing.first(lower))
    if pricing.notation is Notation.ABOVE:
        if upper is None:
            return _("above %(quantity)s") % {"quantity": f"{first} {unit.noun(Decimal(2))}"}
        if lower:
            return _("above %(number)s to %(quantity)s") % {"number": first, "quantity": unit.write(upper)}
        return _("up to %(quantity)s") % {"quantity": unit.write(upper)}
    if upper is None:
        return _("%(number)s and more") % {"number": first}
    last = unit.number(upper)
    return first if first == last else _("%(start)s to %(end)s") % {"start": first, "end": last}


def charge_sentence(pricing: Pricing, charge: Charge, unit: Unit, currency: str) -> str:
    """Say how an amount came about: `16.37 GB, 10 included, 6.37 at $1.00`."""
    used = unit.write(charge.quantity)
    steps = [step for step in charge.steps if step.end is not None]
    adjusted = [step for step in charge.steps if step.end is None] if len(steps) < len(charge.steps) else []
    if not charge.quantity:
        text = _("%(quantity)s, nothing used") % {"quantity": used}
    elif not steps:
        included = unit.write(pricing.included)
        text = _("%(quantity)s, all within the %(included)s included") % {"quantity": used, "included": included}
    else:
        clauses = [_clause(pricing, step, unit, currency) for step in steps]
        if pricing.included:
            clauses.insert(0, _("%(quantity)s included") % {"quantity": unit.number(pricing.included)})
        text = f"{used}: {', '.join(clauses)}"
    for step in adjusted:
        text += f"; {_adjustment(pricing, step, currency)}"
    return text


def _adjustment(pricing: Pricing, step: Step, currency: str) -> str:
    if step.is_discount:
        return _("less %(percent)s discount") % {"percent": percent(pricing.discount)}
    if step.amount > 0:
        assert pricing.minimum is not None
        return _("raised to the minimum charge of %(amount)s") % {"amount": write_price(pricing.minimum, currency)}
    assert pricing.maximum is not None
    return _("cut to the maximum charge of %(amount)s") % {"amount": write_price(pricing.maximum, currency)}


def percent(share: Decimal) -> str:
    """Write a number of percent: `12.5%`."""
    with localcontext(EXACT):
        return language.with_percent(format_decimal(share, format="#,##0.######", locale=language.current()))


def agreed(*, included: Decimal | None, own: Pricing | None, discount: Decimal, unit: Unit, currency: str) -> str:
    """Say what was agreed for one service: `20 GB included, then $0.80 per GB, 10 % discount`."""
    what = []
    if included is not None and (own is None or not included):
        free = _("%(quantity)s included") % {"quantity": unit.write(included)}
        what.append(free if included else _("nothing included"))
    if own is not None:
        what.append(_small(price_sentence(own.with_included(included) if included else own, unit, currency)))
    if discount:
        what.append(_("%(percent)s discount") % {"percent": percent(discount)})
    return ", ".join(what)


def agreement(*, what: str, start: date, end: date | None, reason: str) -> str:
    """Say what was agreed, until when and why: `agreed for this service from 1 May 2027: 20 GB included (trial)`."""
    told = {"days": agreed_days(start, end), "what": what, "reason": reason}
    return _("agreed for this service %(days)s: %(what)s (%(reason)s)") % told


def agreed_days(start: date, end: date | None) -> str:
    """Say on which days something applies, the last one counted in: `from 1 May 2027 until 31 May 2027`."""
    if end is None:
        return _("from %(day)s") % {"day": dates.full_day(start)}
    told = {"day": dates.full_day(start), "last": dates.full_day(end - timedelta(days=1))}
    return _("from %(day)s until %(last)s") % told


def bracket_ranges(pricing: Pricing, unit: Unit) -> list[str]:
    """The range of each bracket, to stand alone: `Databases 1 to 9`, `From the 20th`, `Up to 10 GB`."""
    said = []
    for (lower, upper, _bracket), words in zip(pricing.ranges, ranges(pricing, unit), strict=True):
        if upper is None and not lower:
            said.append(_("Every %(unit)s") % {"unit": unit.noun(Decimal(1))})
        elif pricing.notation is Notation.ABOVE:
            said.append(_capital(words))
        elif upper is None and not unit.symbol:
            said.append(_capital(_reached(pricing, lower, unit)))
        elif unit.symbol:
            said.append(f"{words} {unit.symbol}")
        else:
            noun = unit.noun(Decimal(1 if upper == pricing.first(lower) else 2))
            said.append(f"{_capital(noun)} {words}")
    return said


def bracket_price(pricing: Pricing, bracket: Bracket, unit: Unit, currency: str) -> str:
    """What a unit costs in a bracket, to stand behind its range: `$2.00 each`, `$1.00 per GB`."""
    told = {"price": write_price(bracket.unit_price, currency), "unit": unit.symbol}
    if pricing.scheme is Scheme.PACKAGE:
        words = _("%(price)s per started %(size)s") % {**told, "size": unit.write(pricing.package_size)}
    elif pricing.scheme is Scheme.VOLUME and len(pricing.brackets) > 1:
        words = _for_all(told, is_above=bool(pricing.included))
    else:
        words = _("%(price)s per %(unit)s") % told if unit.symbol else _("%(price)s each") % told
    if not bracket.flat_fee:
        return words
    return _("%(price)s, and %(fee)s once") % {"price": words, "fee": write_price(bracket.flat_fee, currency)}


def _for_all(told: dict[str, str], *, is_above: bool) -> str:
    if told["unit"] and is_above:
        return _("%(price)s per %(unit)s for all above the included") % told
    if told["unit"]:
        return _("%(price)s per %(unit)s for all of them") % told
    return _("%(price)s for each above the included") % told if is_above else _("%(price)s for each of them") % told


def charge_rows(pricing: Pricing, charge: Charge, unit: Unit, currency: str) -> list[tuple[str, str, str, str]]:
    """Explain a charge as rows of a table, their amounts exact: range, quantity, price of each, amount."""
    rows = []
    if pricing.included and charge.quantity:
        within = min(pricing.included, charge.quantity)
        rows.append((_("Included"), unit.number(within), "", write_price(Decimal(0), currency)))
    for step in charge.steps:
        amount = write_price(abs(step.amount), currency)
        less = f"\N{MINUS SIGN}{amount}"
        if step.is_discount:
            rows.append((_("%(percent)s discount") % {"percent": percent(pricing.discount)}, "", "", less))
        elif step.end is None and step.amount > 0:
            rows.append((_("Up to the minimum charge"), "", "", amount))
        elif step.end is None:
            rows.append((_("Down to the maximum charge"), "", "", less))
        else:
            each = _price(Bracket(step.end, step.unit_price, step.flat_fee), currency)
            rows.append((_step_range(pricing, charge, step, unit), _counted(pricing, step, unit), each, amount))
    return rows


def _counted(pricing: Pricing, step: Step, unit: Unit) -> str:
    if pricing.scheme is not Scheme.PACKAGE:
        return unit.number(step.quantity)
    return f"{language.in_digits(f'{step.quantity:,}')} × {unit.number(pricing.package_size)}"


def _step_range(pricing: Pricing, charge: Charge, step: Step, unit: Unit) -> str:
    assert step.start is not None
    assert step.end is not None
    end = unit.number(step.end)
    if pricing.scheme is not Scheme.GRADUATED:
        if pricing.included:
            return _("Above %(number)s") % {"number": unit.number(pricing.included)}
        return _("All %(number)s") % {"number": end}
    start = unit.number(step.start)
    if pricing.notation is not Notation.ABOVE:
        return start if start == end else _("%(start)s to %(end)s") % {"start": start, "end": end}
    if step.start:
        return _("Above %(start)s to %(end)s") % {"start": start, "end": end}
    return _("Up to %(end)s") % {"end": end}


def _clause(pricing: Pricing, step: Step, unit: Unit, currency: str) -> str:
    price = _price(Bracket(Decimal(0), step.unit_price, step.flat_fee), currency)
    if pricing.scheme is Scheme.PACKAGE:
        told = {"size": unit.number(pricing.package_size), "price": price}
        told["count"] = language.in_digits(f"{step.quantity:,}")
        blocks = ngettext(
            "%(count)s block of %(size)s at %(price)s", "%(count)s blocks of %(size)s at %(price)s", int(step.quantity)
        )
        return blocks % told
    return _("%(quantity)s at %(price)s") % {"quantity": unit.number(step.quantity), "price": price}


def _price(bracket: Bracket, currency: str) -> str:
    return _with_fee(write_price(bracket.unit_price, currency), bracket, currency)


def _with_fee(price: str, bracket: Bracket, currency: str) -> str:
    if not bracket.flat_fee:
        return price
    return _("%(price)s plus %(fee)s") % {"price": price, "fee": write_price(bracket.flat_fee, currency)}


def _and(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return _("%(first)s and %(last)s") % {"first": ", ".join(words[:-1]), "last": words[-1]}


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _small(words: str) -> str:
    return f"{words[0].lower()}{words[1:]}"
