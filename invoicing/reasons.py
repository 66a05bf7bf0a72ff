"""Why something is not billed, in sentences that are kept.

A run, a service that is parked and usage that waits keep their reason in English, as logs and the API have it: it is
read years later, by anybody. A page says it again in the language of its reader.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import cache, partial
from time import strptime

from babel import Locale
from babel.lists import format_list
from django.utils.translation import gettext, gettext_noop, ngettext, override

from catalog.money import write
from metering import dates, language

NO_CYCLE_PRICE = gettext_noop(
    "%(product)s has no price %(per_cycle)s in %(currency)s. Add it to the prices of the product."
)
NO_PRICE = gettext_noop(
    "No price in %(currency)s for %(metric)s of %(product)s. Add a version of its pricing that has one, in force from"
    " %(day)s or before."
)
NOT_RATED = gettext_noop("%(metric)s of %(product)s cannot be rated: %(problem)s.")
METRIC_TOO_MUCH = gettext_noop("%(metric)s comes to %(sum)s, more than any invoice may state.")
TOO_MUCH = gettext_noop("It comes to %(sum)s, more than any invoice may state.")
SELLER_LACKS = gettext_noop("Invoices must state %(words)s. Set %(settings)s, and bill it again.")
BUYER_LACKS = gettext_noop("Invoices must state the client’s %(words)s. Add it to %(client)s, and bill it again.")

HELD = gettext_noop("Held.")
HELD_FOR = gettext_noop("Held: %(said)s")
ABOVE = gettext_noop("It comes to %(amount)s; more than %(most)s waits for approval.")
FAR_ABOVE = gettext_noop("It comes to %(amount)s, more than %(factor)s times the %(last)s of the last term.")

NOT_READ = gettext_noop("not read since the period ended on %(day)s")
NOT_MEASURED = gettext_noop("not measured since %(day)s")
NOT_COLLECTED = gettext_noop("not collected yet")
MADE_AHEAD = gettext_noop("the term runs until %(day)s, and its invoice is made ahead")

LAST_INVOICE_WAITS = gettext_noop("Its last invoice waits: %(reason)s")
TERM_IS_OVER = gettext_noop("A term of %(service)s that is over cannot be billed: %(reason)s")


def missed_terms(count: int) -> str:
    return ngettext(
        "%(count)s term is due, the first since %(day)s; more than %(most)s are not billed without approval.",
        "%(count)s terms are due, the first since %(day)s; more than %(most)s are not billed without approval.",
        count,
    )


#: `missed_terms` besides.
_SENTENCES = (
    NO_PRICE, METRIC_TOO_MUCH, TOO_MUCH, BUYER_LACKS, SELLER_LACKS, HELD, HELD_FOR, ABOVE, FAR_ABOVE, NOT_READ,
    NOT_MEASURED, NOT_COLLECTED, MADE_AHEAD, LAST_INVOICE_WAITS, TERM_IS_OVER, NOT_RATED, NO_CYCLE_PRICE,
)  # fmt: skip
_MONEY = re.compile(r"(\N{MINUS SIGN}?)(\D+?)(\d[\d,]*(?:\.\d+)?)")


def retold(reason: str) -> str:
    """Return a reason in the current language, its days and amounts, too. What is none of these sentences, as what a
    person wrote or a server said, comes back as it is."""
    for pattern, text in _patterns():
        if found := pattern.fullmatch(reason):
            named = found.groupdict()
            with suppress(ValueError):  # somebody else's words after all
                return text(int(named.get("count", 1))) % {name: _again(name, value) for name, value in named.items()}
    return reason


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Callable[[int], str]], ...]:
    return tuple(_made_patterns())


def _made_patterns() -> Iterator[tuple[re.Pattern[str], Callable[[int], str]]]:
    with override(None):
        for count in (1, 2):
            yield _pattern(missed_terms(count)), missed_terms
    for sentence in _SENTENCES:
        yield _pattern(sentence), partial(_plain, sentence)


def _plain(sentence: str, _count: int) -> str:
    return gettext(sentence)


def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"%\\?\((\w+)\\?\)s", r"(?P<\1>.+?)", re.escape(sentence)), re.DOTALL)


def _again(name: str, value: str) -> str:
    match name:
        case "reason":
            return retold(value)
        case "metric" | "per_cycle":
            return gettext(value)
        case "words":
            return format_list([gettext(each) for each in value.split(" and ")], locale=language.current())
        case "settings":
            return format_list(value.split(" and "), locale=language.current())
        case "day":
            return dates.full_day(_day(value))
        case "amount" | "most" | "last" | "factor":
            return _number(value)
    return value


def _day(value: str) -> date:
    """A day as Python writes it, or in English."""
    return date.fromisoformat(value) if value[4:5] == "-" else date(*strptime(value, "%d %B %Y")[:3])


def _number(value: str) -> str:
    """A number or an amount that was written in English."""
    if (found := _MONEY.fullmatch(value)) is None:
        return language.in_digits(value)
    sign, symbol, digits = found.groups()
    amount = Decimal(digits.replace(",", ""))
    return write(-amount if sign else amount, _currencies().get(symbol.strip(), symbol.strip()))


@cache
def _currencies() -> dict[str, str]:
    """Currencies by their English symbols; one without a symbol is written by its code."""
    return {symbol: code for code, symbol in Locale("en").currency_symbols.items()}
