"""Currencies: their minor units, the one rounding of money, and how amounts are written for people."""

import re
from decimal import Decimal
from functools import cache, lru_cache

from babel import Locale
from babel.numbers import format_currency, list_currencies

from metering import language
from metering.decimals import plain, round_half_up

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


def write(amount: Decimal, currency: str) -> str:
    """Write an amount for people: `$31.00`, `−$0.40`, `¥525`; in German `31,00 $`."""
    rounded = round_amount(amount, currency)
    text = _format(rounded.copy_abs(), currency, minor_units(currency))
    return f"\N{MINUS SIGN}{text}" if rounded < 0 else text


def write_price(price: Decimal, currency: str) -> str:
    """Write a unit price with all its decimals, at least the currency's own: `$2.00`, `$0.0000002`."""
    return _price(price, currency, language.current())


def write_rounded(amount: Decimal, currency: str, places: int) -> str:
    """Write an amount with so many decimals, for the labels of a chart."""
    return _format(amount, currency, places)


@lru_cache(maxsize=4096)
def _price(price: Decimal, currency: str, _locale: str) -> str:
    places = len(plain(price).partition(".")[2])
    return _format(price, currency, max(places, minor_units(currency)))


def _format(amount: Decimal, currency: str, places: int) -> str:
    locale = language.current()
    before, after = _around(currency, locale)
    number = language.digits(locale)(f"{amount or Decimal(0):,.{places}f}")  # -0 is nothing
    return f"{before}{number}{after}"


@cache
def _around(currency: str, locale: str) -> tuple[str, str]:
    """What a language writes before and behind an amount: `$`, or `SEK` and a space, or a space and `€`."""
    pattern = Locale.parse(locale).currency_formats["standard"].pattern.partition(";")[0]
    whole = re.sub(r"\.0+", "", pattern)
    text = format_currency(Decimal(0), currency, whole, locale, currency_digits=False, decimal_quantization=False)
    before, _, after = text.partition("0")
    # Babel leaves out the space that Unicode has between letters and digits: `CHF 12.00`, but `$12.00`.
    # https://unicode.org/reports/tr35/tr35-numbers.html#Currencies, currencySpacing
    return (
        f"{before}\N{NO-BREAK SPACE}" if before[-1:].isalpha() else before,
        f"\N{NO-BREAK SPACE}{after}" if after[:1].isalpha() else after,
    )
