"""The language in which people are written to: Django's active one, which a page, a mail or a document sets.

Numbers and dates follow it as Unicode's locale data has them; words follow it by their translations. Providers are
written in English alone and need no Django: it is imported where something is written.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache, lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from babel import Locale
from babel.numbers import get_decimal_symbol, get_group_symbol

Given = ParamSpec("Given")
Said = TypeVar("Said")

#: English dates are written with the day first, as the invoices of most of the world have them.
_OF_DATES = {"en": "en_GB"}


def current() -> str:
    """Return the locale that is written in, such as `en`, `de` or `pt_BR`."""
    if (spoken := getattr(_real()._active, "value", None)) is None:  # none was chosen: that of the settings
        return _locale(_real().get_language() or "en")
    if (locale := _locales.get(spoken)) is None:
        locale = _locales[spoken] = _locale(spoken.to_language() or "en")
    return locale


def translated(text: str) -> str:
    """Return a text of ours in the current language; a name that staff gave comes back as it is."""
    return str(_translation().gettext(text))


@cache
def _translation() -> Any:
    from django.utils import translation

    return translation


@cache
def _real() -> Any:
    # Below what Django documents, which takes three calls more: a page writes hundreds of numbers.
    from django.utils.translation import trans_real

    return trans_real


#: By the translations that Django has of each language.
_locales: dict[Any, str] = {}


@cache
def _locale(language: str) -> str:
    from django.utils.translation import to_locale

    return to_locale(language)


@cache
def of_dates(locale: str) -> Locale:
    return Locale.parse(_OF_DATES.get(locale, locale))


def said_once(say: Callable[Given, Said]) -> Callable[Given, Said]:
    """Return a function of values alone that remembers what it said last of them in each language."""

    @lru_cache(maxsize=2048)
    def said(_locale: str, *values: Any, **named: Any) -> Said:
        return say(*values, **named)

    @wraps(say)
    def say_once(*values: Given.args, **named: Given.kwargs) -> Said:
        return said(current(), *values, **named)  # type: ignore[arg-type]  # values can be told apart

    return say_once


def in_digits(text: str) -> str:
    """Return a number that is written in English, such as `1,234.5`, as the current language has it: `1.234,5`."""
    return text if text.isdecimal() else digits(current())(text)


@cache
def digits(locale: str) -> Callable[[str], str]:
    """Return what writes a number as `in_digits` does, in the language of a locale."""
    # Babel writes a number in 60 µs, and a billing run writes millions.
    group, point = get_group_symbol(locale), get_decimal_symbol(locale)
    table = str.maketrans({",": group, ".": point})
    _first, others = Locale.parse(locale).decimal_formats[None].grouping
    if others != 3:
        return lambda text: _grouped(text, others).translate(table)
    return str if (group, point) == (",", ".") else lambda text: text.translate(table)


def with_percent(number: str) -> str:
    """Return a number, as the current language has it, with its percent sign: `12.5%`, in German `12,5 %`."""
    before, after = _around_percent(current())
    return f"{before}{number}{after}"


def signed_percent(share: Decimal) -> str:
    """Write a change, in percent to one decimal: `+4.8%`, `−12.0%`, `0.0%`. Those that stand below each other have
    the same decimals."""
    words = with_percent(in_digits(f"{abs(share):,.1f}"))
    return f"+{words}" if share > 0 else f"\N{MINUS SIGN}{words}" if share < 0 else words


@cache
def _around_percent(locale: str) -> tuple[str, str]:
    before, after = re.split(r"[#0,.]+", Locale.parse(locale).percent_formats[None].pattern.partition(";")[0])
    return before, after


def _grouped(text: str, others: int) -> str:
    """Group the digits before the last three by so many: `12,34,567.5` in India."""
    whole, point, rest = text.replace(",", "").partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    head, tail = digits[:-3], digits[-3:]
    parts = [head[max(end - others, 0) : end] for end in range(len(head), 0, -others)][::-1]
    return f"{sign}{','.join([*parts, tail])}{point}{rest}"
