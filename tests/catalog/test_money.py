"""How money and numbers are written: as Babel does, and exactly, however many digits there are."""

import re
from decimal import Decimal, localcontext

import pytest
from babel import Locale
from babel.numbers import format_currency, format_decimal
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import minor_units, round_amount, write, write_price
from metering.decimals import EXACT
from metering.units import DECIMAL, WHOLE

amounts = st.decimals(0, 10**30, places=12)


@given(
    amounts,
    st.sampled_from(["USD", "EUR", "JPY", "BHD", "SEK", "CHF", "CLF"]),
    st.sampled_from(["en", "de", "fr", "es", "sv", "ar", "hi"]),
)
def test_money_is_written_as_babel_writes_it_with_a_space_beside_letters(amount, currency, locale):
    places, pattern = minor_units(currency), Locale.parse(locale).currency_formats["standard"].pattern
    pattern = re.sub(r"\.0+", f".{'0' * places}" if places else "", pattern)
    rounded = round_amount(amount, currency)
    with localcontext(EXACT), override(locale):
        expected = format_currency(
            rounded, currency, pattern, locale, currency_digits=False, decimal_quantization=False
        )
        expected = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", "\N{NO-BREAK SPACE}", expected)
        assert write(amount, currency) == expected
        assert write(-amount, currency) == (f"−{expected}" if rounded else expected)


@given(st.decimals(0, 10**20, places=6))
def test_english_numbers_are_written_as_babel_writes_them(quantity):
    with localcontext(EXACT):
        expected = format_decimal(quantity, format="#,##0.######", locale="en", decimal_quantization=False)
    assert DECIMAL.number(quantity) == expected
    assert WHOLE.number(Decimal(int(quantity))) == f"{int(quantity):,}"


@pytest.mark.parametrize("locale", ["en", "de"])
def test_what_has_more_than_28_digits_is_written_in_full(locale):
    amount = Decimal("999999999998999999000000000001.005")
    with override(locale):
        total, price = write(amount, "USD"), write_price(amount, "USD")
    assert "".join(filter(str.isdigit, total)) == "99999999999899999900000000000101"
    digits = "".join(filter(str.isdigit, price))
    assert digits == "999999999998999999000000000001005"


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        ("31", "USD", "$31.00"),
        ("31", "CHF", "CHF\N{NO-BREAK SPACE}31.00"),
        ("-31", "CHF", "−CHF\N{NO-BREAK SPACE}31.00"),
        ("-0.4", "USD", "−$0.40"),
        ("2.665", "USD", "$2.67"),
        ("524.5", "JPY", "¥525"),
        ("1.0005", "BHD", "BHD\N{NO-BREAK SPACE}1.001"),
        ("1234567.5", "EUR", "€1,234,567.50"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(amount, currency, words):
    assert write(Decimal(amount), currency) == words
