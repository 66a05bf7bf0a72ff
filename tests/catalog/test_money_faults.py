"""The faults M1 to M21 of money, as far as they need no invoice. Which test holds which is in docs/reliability.md."""

import ast
import json
import re
from decimal import ROUND_UP, Context, Decimal, FloatOperation, localcontext
from pathlib import Path

import pytest
from babel.numbers import list_currencies
from django.contrib import admin
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from catalog.cautions import cautions
from catalog.models import BracketPrice, ChargeBounds, MetricSetting, OverridePrice, PricingVersion, ProductPrice
from catalog.money import minor_units, round_amount, write, write_price
from catalog.pricing import Bracket, Notation, Pricing, PricingError, Scheme, amount, rate
from catalog.quote import answer
from catalog.wording import charge_sentence, price_sentence, ranges
from metering.decimals import plain
from metering.units import DATABASES
from tests.builders import (
    DISK,
    MAILBOXES,
    a_product,
    a_setting,
    a_staff_user,
    panel,
    priced,
)

ROOT = Path(__file__).resolve().parents[2]
#: Where lines are drawn: places on paper are no money.
DRAWING = {"chart.py", "usage_charts.py"}
EXACT_MODULES = [
    *(ROOT / "catalog" / f"{name}.py" for name in ("pricing", "aggregation", "money", "quote", "sheet")),
    *(path for path in (ROOT / "invoicing").rglob("*.py") if not {"migrations", *DRAWING} & set(path.parts)),
]
EXAMPLE = (Bracket(Decimal(0), Decimal(2)), Bracket(Decimal(10), Decimal(1)), Bracket(Decimal(20), Decimal("0.50")))


def D(text):
    return Decimal(text)


def saved(version):
    """A version as it is read again."""
    return PricingVersion.objects.get(pk=version.pk)


def graduated(*brackets, **values):
    return Pricing(Scheme.GRADUATED, tuple(Bracket(D(start), D(price)) for start, price in brackets), **values)


# M1: half cents


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [("2.665", "2.67"), ("2.675", "2.68"), ("0.005", "0.01"), ("-2.665", "-2.67"), ("2.6649", "2.66")],
)
def test_half_a_cent_is_rounded_away_from_zero(exact, rounded):
    """M1: Python's own rounding would make 2.66 of 2.665."""
    assert round_amount(D(exact), "USD") == D(rounded)


# M3: floats


@pytest.mark.parametrize("path", EXACT_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_float_is_written_where_money_is_reckoned(path):
    """M3: neither a literal nor a call of `float`."""
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert not found


@pytest.mark.parametrize("function", [amount, rate])
def test_the_engine_refuses_a_float(function):
    """M3: as a quantity, and as every part of a pricing."""
    with pytest.raises(PricingError, match=r"quantity: must be a Decimal, not float"):
        function(Pricing(Scheme.GRADUATED, EXAMPLE), 8.0)


@pytest.mark.parametrize("name", ["included", "package_size", "minimum", "maximum", "discount"])
def test_a_pricing_refuses_a_float(name):
    """M3"""
    with pytest.raises(PricingError, match=f"{name}: must be a Decimal, not float"):
        Pricing(Scheme.PER_UNIT, EXAMPLE[:1], **{name: 1.0})


@pytest.mark.parametrize("name", ["start", "unit_price", "flat_fee"])
def test_a_bracket_refuses_a_float(name):
    """M3"""
    values = {"start": Decimal(0), "unit_price": Decimal(1)} | {name: 0.5}
    with pytest.raises(PricingError, match=f"{name}: must be a Decimal, not float"):
        Pricing(Scheme.PER_UNIT, (Bracket(**values),))


def test_no_float_is_made_on_the_way_to_an_answer():
    """M3: also where nobody wrote one."""
    with localcontext() as context:
        context.traps[FloatOperation] = True
        line = {"brackets": [{"unit_price": 0.1}, {"start": 10, "unit_price": 0.05}], "quantity": 25.5}
        assert json.loads(answer(json.dumps({**line, "scheme": "graduated"})))["amount"] == "1.725"


# M4: currencies without cents, and with more


@pytest.mark.parametrize(
    ("currency", "places"),
    [
        *[("JPY", 0), ("KRW", 0), ("ISK", 0), ("UGX", 0), ("CLP", 0), ("HUF", 2), ("USD", 2)],
        *[("BHD", 3), ("KWD", 3), ("TND", 3), ("CLF", 4), ("UYW", 4)],
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(currency, places):
    """M4: ISO 4217 gives the forint two decimals, whatever its coins."""
    assert minor_units(currency) == places
    assert -round_amount(D("1.23456789"), currency).as_tuple().exponent == places


def test_a_price_may_be_below_the_minor_unit_and_an_amount_never_is():
    """M4"""
    one = Pricing(Scheme.PER_UNIT, (Bracket(D(0), D("0.00002")),))
    exact = amount(one, D(1_000_001))
    assert (exact, round_amount(exact, "JPY"), round_amount(exact, "USD")) == (D("20.00002"), D(20), D("20.00"))
    assert write_price(D("0.00002"), "JPY") == "¥0.00002"
    assert write(exact, "JPY") == "¥20"


@pytest.mark.parametrize("currency", sorted(list_currencies())[::20])
def test_every_currency_can_be_written(currency):
    """M4"""
    assert write(D("1234.5"), currency)


# M5: a currency without a price


@pytest.mark.django_db
def test_a_version_without_the_currency_has_no_pricing_and_no_zero():
    """M5: neither 0 nor the price of another currency."""
    version = priced(a_setting(a_product(), MAILBOXES), ("0", "2"))
    assert saved(version).pricing("EUR") is None
    assert saved(version).pricing("USD").brackets[0].unit_price == 2


# M7: brackets


@pytest.mark.parametrize(
    ("brackets", "values", "field"),
    [
        ([], {}, "brackets"),
        ([("0", "2"), ("10", "1"), ("10", "0.5")], {}, r"brackets\[3\].start"),
        ([("0", "2"), ("20", "1"), ("10", "0.5")], {}, r"brackets\[3\].start"),
        ([("-1", "2")], {}, r"brackets\[1\].start"),
        ([("5", "2")], {}, r"brackets\[1\].start"),
        ([("12", "2")], {"included": Decimal(10)}, r"brackets\[1\].start"),
        ([("0", "2"), ("5", "1")], {"included": Decimal(10)}, r"brackets\[2\].start"),
    ],
    ids=["none", "double", "unsorted", "negative", "gap", "gap after the included", "inside the included"],
)
def test_brackets_that_could_be_read_in_two_ways_are_refused_by_the_engine(brackets, values, field):
    """M7"""
    with pytest.raises(PricingError, match=f"^{field}"):
        graduated(*brackets, **values)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"start": 10}, "one_price_per_bracket"),
        ({"start": -1}, "start_in_bounds"),
        ({"start": 20, "unit_price": -1}, "unit_price_in_bounds"),
        ({"start": 20, "flat_fee": -1}, "flat_fee_in_bounds"),
    ],
)
def test_the_database_refuses_a_bracket_that_is_none(values, constraint):
    """M7, M8"""
    version = priced(a_setting(a_product(), DISK), ("0", "2"), ("10", "1"))
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        BracketPrice.objects.create(**{"version": version, "currency": "USD", "unit_price": 1, **values})


@pytest.mark.django_db
@pytest.mark.parametrize(("start", "price"), [("NaN", "1"), ("20", "NaN")])
def test_the_database_refuses_what_is_not_a_number(start, price):
    """M7, M8: also from somebody who passes by the fields of the model."""
    version = priced(a_setting(a_product(), DISK), ("0", "2"))
    with pytest.raises(IntegrityError, match="_in_bounds"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO catalog_bracketprice (version_id, currency, start, unit_price, flat_fee)"
            " VALUES (%s, 'USD', %s, %s, 0)",
            [version.pk, start, price],
        )


@pytest.mark.django_db
def test_the_order_in_which_brackets_were_written_does_not_matter():
    """M7"""
    setting = a_setting(a_product(), MAILBOXES)
    written = [("0", "2"), ("10", "1"), ("20", "0.50")]
    sheets = [
        saved(priced(setting, *rows)).pricing("USD") for rows in (written, written[::-1], written[1:] + written[:1])
    ]
    assert sheets[0] == sheets[1] == sheets[2]
    assert amount(sheets[2], D(25)) == 31


@pytest.mark.django_db
def test_brackets_that_were_spoiled_in_the_database_are_refused_when_they_are_read():
    """M7: they are checked once more where they are priced."""
    version = priced(a_setting(a_product(), MAILBOXES), ("0", "2"), ("10", "1"), included="5", notation="above")
    BracketPrice.objects.filter(version=version, start=10).update(start=3)
    with pytest.raises(PricingError, match=r"must be above the included quantity"):
        saved(version).pricing("USD")


# M8: prices


@pytest.mark.parametrize("price", ["-0.01", "-1E-30", "NaN", "Infinity", "1000000000000.01", "1E-19"])
def test_a_price_that_is_none_is_refused(price):
    """M8"""
    with pytest.raises(PricingError, match=r"unit_price: "):
        Pricing(Scheme.PER_UNIT, (Bracket(D(0), D(price)),))


def test_a_price_of_zero_is_free():
    """M8"""
    assert rate(Pricing(Scheme.PER_UNIT, (Bracket(D(0), D(0)),)), D(7)).amount == 0


@pytest.mark.django_db
def test_twelve_decimals_are_stored_to_the_last():
    """M8"""
    version = priced(a_setting(a_product(), MAILBOXES), ("0", "0.000000000001"))
    assert amount(saved(version).pricing("USD"), D(10**12)) == 1


# M9, M10, M13: the documented example and its boundaries


@pytest.mark.parametrize(
    ("scheme", "notation", "amounts"),
    [
        (Scheme.VOLUME, Notation.FIRST_UNIT, ["16", "18", "9.5", "10", "19", "10", "12.5"]),
        (Scheme.GRADUATED, Notation.FIRST_UNIT, ["16", "18", "18.5", "19", "28", "28.5", "31"]),
        (Scheme.VOLUME, Notation.ABOVE, ["16", "18", "19", "20", "19", "20", "12.5"]),
        (Scheme.GRADUATED, Notation.ABOVE, ["16", "18", "19", "20", "29", "30", "32.5"]),
    ],
)
def test_the_example_at_and_between_its_boundaries(scheme, notation, amounts):
    """M9, M10: 8 and 25 as documented; what lies between 9 and 10 belongs to the bracket that 10 begins."""
    one = Pricing(scheme, EXAMPLE, notation=notation)
    quantities = ("8", "9", "9.5", "10", "19", "20", "25")
    assert [plain(amount(one, D(quantity))) for quantity in quantities] == amounts


@pytest.mark.parametrize("scheme", list(Scheme))
def test_the_included_quantity_is_the_last_that_costs_nothing(scheme):
    """M10, M11: one less, just that, the least more, and one more."""
    one = Pricing(scheme, (Bracket(D(0), D("0.5")),), included=D(10))
    charged = [amount(one, D(quantity)) for quantity in ("0", "9", "10", "10.000001", "11")]
    least = D("0.5") if scheme is Scheme.PACKAGE else D("0.0000005")
    assert charged == [0, 0, 0, least, D("0.5")]


@given(st.decimals(0, 10**15, places=6), st.decimals(0, 10**15, places=6))
def test_more_included_than_used_is_never_below_nothing(included, quantity):
    """M11"""
    one = Pricing(Scheme.GRADUATED, (Bracket(D(0), D(1)),), included=included)
    assert amount(one, quantity) == max(quantity - included, 0)


def test_by_total_volume_ten_may_cost_less_than_nine_and_the_editor_warns():
    """M13"""
    one = Pricing(Scheme.VOLUME, EXAMPLE, notation=Notation.FIRST_UNIT)
    assert (amount(one, D(9)), amount(one, D(10))) == (18, 10)
    assert cautions(one, DATABASES, "USD")


# M16: a price that is used


def test_no_page_changes_or_deletes_a_version():
    """M16: the admin does not know versions, and the site can only add and withdraw."""
    for model in (PricingVersion, BracketPrice, ChargeBounds, MetricSetting, OverridePrice):
        assert not admin.site.is_registered(model)


# M18: numbers as people write them


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["1.234,56", "1,5", "1 234.5", "1'234", "1_000", "1e3", "NaN", "Infinity", "-1", "１２", "0x10"]
)
def test_an_amount_that_is_not_written_plainly_is_refused(client, text):
    """M18: never 1.234 for 1.234,56, in the admin as little as in the editor."""
    product = a_product()
    client.force_login(a_staff_user())
    data = {"name": product.name, "slug": product.slug, "prices-TOTAL_FORMS": "1", "prices-INITIAL_FORMS": "0"}
    data |= {"prices-0-product": product.pk, "prices-0-cycle": "monthly", "prices-0-currency": "EUR"}
    with panel():
        client.post(reverse("admin:catalog_product_change", args=[product.pk]), data | {"prices-0-amount": text})
    assert not ProductPrice.objects.filter(currency="EUR").exists()


@pytest.mark.parametrize("text", ["1.234,56", "1,5", "1 234.5", "1'234", "1_000", "1e3", "+1", ".5", "5.", "１２"])
def test_a_number_that_is_not_written_plainly_is_refused_by_the_engine(text):
    """M18"""
    said = json.loads(answer(json.dumps({"brackets": [{"unit_price": text}], "quantity": "1"})))
    assert said["error"].startswith("brackets[1].unit_price: ")


# M19: numbers as computers write them


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("-0", "0"),
        ("0E+5", "0"),
        ("0E-9", "0"),
        ("1E+2", "100"),
        ("2.500000", "2.5"),
        ("10", "10"),
        ("1E-6", "0.000001"),
    ],
)
def test_a_number_is_shown_in_one_way(written, shown):
    """M19"""
    assert plain(D(written)) == shown
    one = Pricing(Scheme.PER_UNIT, (Bracket(D("-0"), D(written)),))
    assert one == Pricing(Scheme.PER_UNIT, (Bracket(D(0), D(shown)),))
    assert plain(rate(one, D(1)).amount) == shown
    assert "-$" not in price_sentence(one, DATABASES, "USD")


@pytest.mark.parametrize(("written", "shown"), [("-0", "$0.00"), ("1E+2", "$100.00"), ("2.500", "$2.50")])
def test_money_is_shown_in_one_way(written, shown):
    """M19"""
    assert write(D(written), "USD") == write_price(D(written), "USD") == shown


# M20: somebody else's decimal context


HOSTILE = Context(prec=3, rounding=ROUND_UP, Emin=-3, Emax=3, capitals=0)


def in_german(write, *values):
    with override("de"):
        return write(*values)


def test_nothing_that_is_reckoned_or_said_depends_on_the_decimal_context():
    """M20"""

    def everything():
        one = graduated(
            ("0", "2.345678"),
            ("10", "1"),
            ("20000", "0.50"),
            notation=Notation.FIRST_UNIT,
            minimum=D(5),
            discount=D("12.5"),
        )
        charge = rate(one, D("54321.123456"))
        return [
            charge,
            amount(one, D("54321.123456")),
            round_amount(charge.amount, "BHD"),
            write(charge.amount, "USD"),
            write(charge.amount.copy_negate(), "USD"),
            in_german(write, charge.amount, "EUR"),
            write_price(one.brackets[0].unit_price, "USD"),
            in_german(DATABASES.write, D(54321)),
            price_sentence(one, DATABASES, "USD"),
            charge_sentence(one, charge, DATABASES, "USD"),
            ranges(one, DATABASES),
            answer('{"brackets": [{"unit_price": "2.665"}], "quantity": "123456.654321", "discount": "3"}'),
        ]

    usual = everything()
    with localcontext(HOSTILE):
        assert everything() == usual


# M21: units are in tests/metering/test_units.py; here, that a version keeps its own


@pytest.mark.django_db
def test_a_version_is_priced_in_its_own_unit():
    """M21: the same bytes, in thousands and in 1024s."""
    setting = a_setting(a_product(), DISK)
    used = D(1024**3)
    for code, quantity in (("GB", "1.073742"), ("GiB", "1")):
        version = priced(setting, ("0", "1"), unit_code=code)
        assert plain(version.unit.from_base(used)) == quantity
        assert version.unit.explain().startswith(f"{code}, ")


# The guide


def test_every_test_that_the_guide_of_faults_names_is_there():
    guide = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", guide)
    gone = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" * bool(name) not in (ROOT / "tests" / path).read_text()
    ]
    assert gone == []
    numbers = set(re.findall(r"^\| ([A-Z]\d+) \|", guide, re.MULTILINE))
    assert numbers >= {
        *(f"M{number}" for number in range(1, 22)),
        *(f"P{number}" for number in range(1, 36)),
        *(f"I{number}" for number in (*range(11, 17), 19, 32)),
    }
