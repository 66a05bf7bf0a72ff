"""Currencies: their minor units, the one rounding of money, and how amounts are written for people."""

from decimal import Decimal, localcontext
from functools import cache

from babel.numbers import format_currency, list_currencies

from metering.decimals import EXACT, plain, round_half_up

#: Decimal places of the currencies that do not have two, from the table of ISO 4217 (list one, 2024).
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_MINOR_UNITS = {code: places for codes, places in ((_NONE, 0), (_THREE, 3), (_FOUR, 4)) for code in codes.split()}
_KNOWN = frozenset(list_currencies())


def is_currency(code: str) -> bool:
    return code in _KNOWN


def minor_units(currency: str) -> int:
    """Return how many decimals an amount of this currency has: 2 for USD, 0 for JPY, 3 for BHD."""
    return _MINOR_UNITS.get(currency, 2)


def round_amount(amount: Decimal, currency: str) -> Decimal:
    """Round to the currency's minor unit, half up. The only place where money is rounded."""
    return round_half_up(amount, minor_units(currency))


def write(amount: Decimal, currency: str, *, locale: str = "en") -> str:
    """Write an amount for people: `$31.00`, `−$0.40`, `¥525`."""
    text = _format(round_amount(amount.copy_abs(), currency), currency, minor_units(currency), locale)
    return f"\N{MINUS SIGN}{text}" if amount < 0 else text


def write_price(price: Decimal, currency: str, *, locale: str = "en") -> str:
    """Write a unit price with all its decimals, at least the currency's own: `$2.00`, `$0.0000002`."""
    places = len(plain(price).partition(".")[2])
    return _format(price, currency, max(places, minor_units(currency)), locale)


def _format(amount: Decimal, currency: str, places: int, locale: str) -> str:
    amount = amount or Decimal(0)  # -0 is nothing
    if locale == "en":
        # What Babel writes, without its 80 µs: a billing run writes millions of these.
        return f"{_before(currency)}{amount:,.{places}f}"
    return _by_locale(amount, currency, places, locale)


@cache
def _before(currency: str) -> str:
    """What English writes before an amount: `$`, or `SEK` and a space."""
    return _by_locale(Decimal(0), currency, 0, "en").removesuffix("0")


def _by_locale(amount: Decimal, currency: str, places: int, locale: str) -> str:
    pattern = "¤#,##0" + ("." + "0" * places if places else "")
    with localcontext(EXACT):  # Babel's own arithmetic would stumble over more than 28 digits
        return str(
            format_currency(
                amount, currency, format=pattern, locale=locale, currency_digits=False, decimal_quantization=False
            )
        )
