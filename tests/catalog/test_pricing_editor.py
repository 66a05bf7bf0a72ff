"""The pricing editor: versions are added and never changed, and nothing that is wrong is saved."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.metric_billing import Outdated, add_version, new_setting
from catalog.models import BracketPrice, MetricSetting, PricingVersion, ProductPrice, User
from catalog.pricing import Bracket, Notation, Pricing, Scheme, rate
from catalog.sheet import Sheet
from catalog.wording import bracket_price, bracket_ranges, charge_rows
from metering.units import GB
from metering.units import MAILBOXES as WHOLE
from tests.builders import (
    DISK,
    MAILBOXES,
    a_client,
    a_metric,
    a_product,
    a_service,
    a_setting,
    a_staff_user,
    panel,
    priced,
)
from tests.catalog.pricing_form import address, errors_of, prices_of, said, text_of, typed, value_of

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 19)


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 19, 12, tzinfo=UTC), tick=False), panel():
        yield


@pytest.fixture
def product():
    return a_product()


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


# Saving


def test_the_first_version_is_saved_with_its_prices_and_who_saved_it(staff, product):
    response = staff.post(address(product), typed())
    version = PricingVersion.objects.get()
    assert response["Location"] == reverse("staff_product_metrics", args=[product.pk])
    assert said(response) == [
        "Version 1 of the pricing of Mailboxes is saved. It applies to terms, months and days that begin on "
        "1 December 2026 or later. Mailboxes is off: it is billed once it is switched on."
    ]
    assert (version.number, version.effective_from) == (1, date(2026, 12, 1))
    assert (version.scheme, version.notation) == (Scheme.GRADUATED, Notation.FIRST_UNIT)
    assert (version.included, version.package_size) == (0, 1)
    assert str(version.created_by) == "ines@staff.test"
    assert prices_of(version) == [("USD", 0, 2), ("USD", 10, 1), ("USD", 20, Decimal("0.5"))]
    assert not MetricSetting.objects.get().is_enabled


def test_the_next_version_has_the_next_number_and_leaves_the_one_before_as_it_was(staff, product):
    setting = a_setting(product, MAILBOXES)
    first = priced(setting, ("0", "9"))
    response = staff.post(address(product), typed(after="1"))
    assert said(response)[0].endswith("1 December 2026 or later.")
    setting = MetricSetting.objects.with_pricing().get()
    assert [version.number for version in setting.versions.all()] == [1, 2]
    assert prices_of(first) == [("USD", 0, 9)]
    assert setting.version_on(date(2026, 11, 30)) == first
    assert setting.version_on(date(2026, 12, 1)).number == 2


def test_each_metric_counts_its_own_versions(staff, product):
    priced(a_setting(product, DISK), ("0", "9"))
    staff.post(address(product), typed())
    assert PricingVersion.objects.get(setting__metric__system_name="mailboxes").number == 1


def test_twelve_decimals_and_a_flat_fee_are_kept_to_the_last_digit(staff, product):
    staff.post(address(product), typed(price__1__USD="0.000000000001", fee__2__USD="1.25"))
    first, second, _ = BracketPrice.objects.order_by("start")
    assert first.unit_price == Decimal("0.000000000001")
    assert (first.flat_fee, second.flat_fee) == (0, Decimal("1.25"))


def test_a_package_is_saved_with_its_size(staff, product):
    staff.post(address(product), typed(scheme="package", package_size="1000", included="5000", rows="1"))
    version = PricingVersion.objects.get()
    assert (version.scheme, version.package_size, version.included) == (Scheme.PACKAGE, 1000, 5000)


def test_the_size_of_a_package_does_not_matter_to_other_schemes(staff, product):
    staff.post(address(product), typed(package_size="nonsense"))
    assert PricingVersion.objects.get().package_size == 1


def test_two_people_who_edit_at_once_do_not_overwrite_each_other(staff, product):
    """The page was made from no version, and there is one by now: the second Save of a double click, say."""
    staff.post(address(product), typed(), follow=True)
    response = staff.post(address(product), typed(price__1__USD="3.10"))
    assert said(response)[0].startswith("Not saved: version 1 was saved by ines@staff.test meanwhile.")
    assert PricingVersion.objects.count() == 1
    assert value_of(response, "price-1-USD") == "3.10"
    staff.post(address(product), typed(after=value_of(response, "after")))
    assert PricingVersion.objects.count() == 2


# What is refused, with its error at the field


INCLUDED = {"included": "10", "start__1": "11", "start__2": "20", "start__3": "30"}


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"start__1": "5"}, "start-1", "Start with 0 or 1"),
        ({"start__1": "2", "notation": "above"}, "start-1", "Start with 0"),
        ({**INCLUDED, "start__1": "12"}, "start-1", "Start with 0 or 11"),
        ({**INCLUDED, "start__1": "5"}, "start-1", "Start with 0 or 11"),
        ({**INCLUDED, "start__2": "8"}, "start-2", "Lies within the 10 included"),
        ({**INCLUDED, "start__2": "11"}, "start-2", "Must be above 11"),
        ({"start__3": "10"}, "start-3", "Must be above 10"),
        ({"start__3": "5"}, "start-3", "Must be above 10"),
        ({"start__2": "0"}, "start-2", "Must be above 1"),
        ({"start__2": ""}, "start-2", "Enter a quantity"),
        ({"start__2": "-10"}, "start-2", "Must be 0 or more"),
        ({"start__2": "10.5"}, "start-2", "Whole numbers only"),
        ({"start__2": "9" * 16}, "start-2", "At most 15 digits before the point"),
        ({"price__2__USD": ""}, "price-2-USD", "Enter a price"),
        ({"price__2__USD": " "}, "price-2-USD", "Enter a price"),
        ({"price__2__USD": "-1"}, "price-2-USD", "Must be 0 or more"),
        ({"price__2__USD": "-0"}, "price-2-USD", "Must be 0 or more"),
        ({"price__2__USD": "1.234,56"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "1,5"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "1 000"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "1e3"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "NaN"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "Infinity"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "0x10"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "+1"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": ".5"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "１２"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "٣"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "1\0"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "$1"}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "9" * 400}, "price-2-USD", "Not a plain number"),
        ({"price__2__USD": "0.0000000000001"}, "price-2-USD", "At most 12 decimals"),
        ({"price__2__USD": "1000000000000"}, "price-2-USD", "At most 12 digits before the point"),
        ({"fee__2__USD": "NaN"}, "fee-2-USD", "Not a plain number"),
        ({"included": ""}, "included", "Enter a quantity"),
        ({"included": "1e3"}, "included", "Not a plain number"),
        ({"included": "0.5"}, "included", "Whole numbers only"),
        ({"scheme": "per_unit"}, "scheme", "Takes one bracket. Remove the others, or choose another scheme"),
        ({"scheme": "package"}, "scheme", "Takes one bracket. Remove the others, or choose another scheme"),
        ({"scheme": "package", "rows": "1", "package_size": "0"}, "package_size", "Must be above 0"),
        ({"effective_from": ""}, "effective_from", "Choose a date"),
        ({"effective_from": "2026-02-30"}, "effective_from", "Choose a date that exists"),
        ({"effective_from": "1999-12-31", "reason": "y2k"}, "effective_from", "Choose a day after 1999"),
        ({"minimum-USD": "9", "maximum-USD": "5"}, "maximum-USD", "Must be at least the minimum of 9"),
        ({"minimum-USD": "-1"}, "minimum-USD", "Must be 0 or more"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(staff, product, changes, name, words):
    response = staff.post(address(product), typed(**changes))
    assert response.status_code == 200
    assert errors_of(response) == {name: words}
    assert "Not saved: 1 field needs a change" in text_of(response)
    assert not PricingVersion.objects.exists()
    assert not MetricSetting.objects.exists()


def test_everything_that_was_typed_is_still_there_beside_the_mistake(staff, product):
    form = typed(start__2="1.234,56", price__3__USD="0.500", included="７", quantity="abc")
    response = staff.post(address(product), form)
    for name in ("start-2", "price-3-USD", "included", "quantity", "effective_from"):
        assert value_of(response, name) == form[name]


def test_every_row_that_is_out_of_order_is_named(staff, product):
    form = typed(rows="4", start__2="30", start__3="20", start__4="10", price__4__USD="1")
    assert errors_of(staff.post(address(product), form)) == {
        "start-3": "Must be above 30",
        "start-4": "Must be above 30",
    }


def test_a_price_that_misses_in_one_currency_of_a_row_is_named_with_whom_that_concerns(staff, product):
    a_service(product, a_client(currency="EUR"))
    form = typed(price__1__EUR="1.90", price__2__EUR="0.95", price__3__EUR="")
    response = staff.post(address(product), form)
    assert errors_of(response) == {"price-3-EUR": "Enter a price"}
    assert "Bracket 3, price in EUR</a>: Enter a price. 1 service is billed in EUR." in text_of(response)
    assert not PricingVersion.objects.exists()


def test_scheme_and_notation_that_do_not_exist_are_refused(staff, product):
    response = staff.post(address(product), typed(scheme="free", notation="below", unit="stones"))
    assert response.status_code == 200
    assert {"scheme", "notation", "unit"} <= response.context["form"].errors.keys()
    assert not PricingVersion.objects.exists()


@pytest.mark.parametrize("rows", ["", "0", "-1", "abc", "99999999999999999999", "１"])
def test_a_number_of_rows_that_is_none_saves_nothing_by_accident(staff, product, rows):
    response = staff.post(address(product), typed(rows=rows, start__1="nonsense"))
    assert response.status_code == 200
    assert not PricingVersion.objects.exists()


def test_a_form_of_another_site_is_refused(product):
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(a_staff_user())
    assert browser.post(address(product), typed()).status_code == 403
    assert not PricingVersion.objects.exists()


def test_a_metric_of_another_provider_is_not_found(staff, product):
    other = a_metric(DISK, provider="elsewhere")
    assert staff.get(reverse("staff_pricing", args=[product.pk, other.pk])).status_code == 404


# From when it applies


def test_the_editor_proposes_today_for_the_first_version_and_then_the_next_month(staff, product):
    assert value_of(staff.get(address(product)), "effective_from") == "2026-11-19"
    priced(a_setting(product, MAILBOXES), ("0", "9"))
    assert value_of(staff.get(address(product)), "effective_from") == "2026-12-01"


def test_in_december_the_next_month_is_that_of_the_next_year(staff, product):
    priced(a_setting(product, MAILBOXES), ("0", "9"))
    with time_machine.travel(datetime(2026, 12, 31, 12, tzinfo=UTC), tick=False):
        staff.force_login(a_staff_user("late@staff.test"))
        assert value_of(staff.get(address(product)), "effective_from") == "2027-01-01"


# What the page offers


def test_a_new_pricing_starts_with_one_bracket_and_the_notation_of_its_unit(staff, product):
    whole = staff.get(address(product)).context["form"]
    assert (whole["scheme"].value(), whole["notation"].value(), len(whole.numbers)) == ("per_unit", "first_unit", 1)
    assert staff.get(address(product, DISK)).context["form"]["notation"].value() == "above"


def test_a_new_version_starts_from_the_one_that_it_would_follow(staff, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"), ("10", "0.000125"), scheme="volume", included="5")
    priced(setting, ("0", "7"), effective_from="2027-06-01")
    response = staff.get(address(product))
    assert [value_of(response, name) for name in ("start-2", "price-1-USD", "price-2-USD", "included", "after")] == [
        *("10", "2.00", "0.000125", "5", "2"),
    ]
    assert response.context["form"]["scheme"].value() == "volume"
    assert "Version 2 follows on 1 June 2027." in text_of(response)


def columns(response):
    return [(column.currency, column.is_required) for column in response.context["subject"].columns]


def test_the_currencies_are_those_of_the_product_and_its_clients_and_the_sites_own(staff):
    product = a_product(currency="EUR")
    a_service(product, a_client(currency="SEK"))
    a_service(product, a_client("Gone", currency="JPY"), status="terminated", terminated_on=TODAY)
    assert columns(staff.get(address(product))) == [("SEK", True), ("EUR", True), ("USD", False)]


def test_a_currency_that_nobody_is_billed_in_may_stay_empty(staff):
    product = a_product(currency="EUR")
    form = typed(rows="1", price__1__EUR="2", price__1__USD="")
    assert staff.post(address(product), form).status_code == 302
    assert PricingVersion.objects.get().currencies == ["EUR"]


def test_a_currency_that_may_stay_empty_is_filled_wholly_or_not_at_all(staff):
    product = a_product(currency="EUR")
    form = typed(price__1__EUR="2", price__2__EUR="1", price__3__EUR="1", price__2__USD="")
    assert errors_of(staff.post(address(product), form)) == {"price-2-USD": "Enter a price"}


def test_without_any_price_and_client_the_sites_own_currency_is_needed(staff, product):
    ProductPrice.objects.all().delete()
    assert columns(staff.get(address(product))) == [("USD", True)]


def test_a_currency_of_the_last_version_does_not_vanish(staff, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"), currency="NOK")
    response = staff.get(address(product))
    assert columns(response) == [("USD", True), ("NOK", False)]
    assert value_of(response, "price-1-NOK") == "2.00"


# The unit


def test_a_version_may_choose_another_unit_of_the_same_kind(staff, product):
    form = typed(unit="MB", notation="above", included="0.5", start__2="10.25")
    staff.post(address(product, DISK), form)
    version = PricingVersion.objects.get()
    assert (version.unit_code, version.unit.symbol, version.included) == ("MB", "MB", Decimal("0.5"))


def test_each_version_is_read_in_its_own_unit(staff, product):
    first = priced(a_setting(product, DISK), ("0", "2"))
    assert '<option value="GB" selected>' in text_of(staff.get(address(product, DISK)))
    assert staff.post(address(product, DISK), typed(after="1", unit="MB")).status_code == 302
    assert [version.unit_code for version in first.setting.versions.order_by("number")] == ["GB", "MB"]


# Rows, without script


def test_a_bracket_is_added_and_everything_typed_is_kept(staff, product):
    response = staff.post(address(product), typed(add="1", price__1__USD="1.234,56", included="abc"))
    assert value_of(response, "rows") == "4"
    assert [value_of(response, f"start-{number}") for number in (1, 2, 3, 4)] == ["0", "10", "20", ""]
    assert value_of(response, "price-1-USD") == "1.234,56"
    assert value_of(response, "included") == "abc"
    assert errors_of(response) == {}
    assert not PricingVersion.objects.exists()


def test_a_bracket_is_removed_and_the_others_move_up(staff, product):
    response = staff.post(address(product), typed(remove="2", price__3__USD="0.5x", fee__3__USD="7"))
    assert value_of(response, "rows") == "2"
    assert [value_of(response, f"start-{number}") for number in (1, 2)] == ["0", "20"]
    assert [value_of(response, name) for name in ("price-2-USD", "fee-2-USD")] == ["0.5x", "7"]
    assert 'name="start-3"' not in response.content.decode()
    assert not PricingVersion.objects.exists()


def test_the_last_bracket_cannot_be_removed(staff, product):
    response = staff.post(address(product), typed(rows="1", remove="1"))
    assert value_of(response, "start-1") == "0"
    assert 'name="remove"' not in response.content.decode()


@pytest.mark.parametrize("number", ["0", "4", "x", "-1", ""])
def test_removing_a_bracket_that_is_none_changes_nothing(staff, product, number):
    assert value_of(staff.post(address(product), typed(remove=number)), "rows") == "3"


def test_there_is_room_for_a_hundred_brackets(staff, product):
    response = staff.post(address(product), typed(rows="100", add="1"))
    assert value_of(response, "rows") == "100"
    assert "There is no room for another bracket." in text_of(response)


def test_enter_in_a_field_neither_removes_a_bracket_nor_saves(staff, product):
    """A browser presses the first button of the form."""
    form = re.search(
        r'<form method="post"\s+id="pricing".*?</form>', staff.get(address(product)).content.decode(), re.S
    )[0]
    assert 'name="preview"' in re.search(r"<button[^>]*>", form)[0]


# The worked example


def example_of(response):
    return response.context["example"]


def test_the_example_is_calculated_from_what_is_typed_and_nothing_is_saved(staff, product):
    response = staff.post(address(product), typed(preview=""))
    example = example_of(response)
    assert (example.total, example.quantity, example.average) == ("$31.00", "25 mailboxes", "$1.24")
    assert example.rows == [
        ("1 to 9", "9", "$2.00", "$18.00"),
        ("10 to 19", "10", "$1.00", "$10.00"),
        ("20 to 25", "6", "$0.50", "$3.00"),
    ]
    assert "<b>$31.00</b>" in text_of(response)
    assert not PricingVersion.objects.exists()


@pytest.mark.parametrize(
    ("changes", "total", "rows"),
    [
        ({"scheme": "volume"}, "$12.50", [("All 25", "25", "$0.50", "$12.50")]),
        ({"quantity": "0"}, "$0.00", []),
        (
            {"scheme": "per_unit", "rows": "1", "included": "10"},
            "$30.00",
            [("Included", "10", "", "$0.00"), ("Above 10", "15", "$2.00", "$30.00")],
        ),
        (
            {"scheme": "package", "rows": "1", "package_size": "10", "price__1__USD": "0.40"},
            "$1.20",
            [("All 25", "3 × 10", "$0.40", "$1.20")],
        ),
        (
            {"fee__2__USD": "5", "quantity": "10"},
            "$24.00",
            [("1 to 9", "9", "$2.00", "$18.00"), ("10", "1", "$1.00 plus $5.00", "$6.00")],
        ),
    ],
)
def test_the_example_follows_the_scheme(staff, product, changes, total, rows):
    example = example_of(staff.post(address(product), typed(preview="", **changes)))
    assert (example.total, example.rows) == (total, rows)


def test_the_example_says_the_exact_amount_where_it_rounds(staff, product):
    form = typed(preview="", rows="1", price__1__USD="0.0001", scheme="per_unit", quantity="55")
    response = staff.post(address(product), form)
    assert example_of(response).total == "$0.01"
    assert "Exactly $0.0055" in text_of(response)


def test_the_example_is_in_the_currency_that_is_chosen(staff):
    product = a_product(currency="EUR")
    form = typed(preview="", currency="EUR", rows="1", price__1__EUR="1.90")
    response = staff.post(address(product), form)
    assert example_of(response).total == "€47.50"
    assert "Every mailbox: €1.90 each" in text_of(response)


def test_the_example_does_not_need_the_prices_of_other_currencies_nor_a_date(staff):
    product = a_product(currency="EUR")
    form = typed(preview="", price__1__EUR="abc", effective_from="")
    response = staff.post(address(product), form)
    assert example_of(response).total == "$31.00"
    assert errors_of(response) == {}


def test_what_is_in_the_way_of_the_example_is_said_beside_it(staff, product):
    response = staff.post(address(product), typed(preview="", start__3="10"))
    assert [(problem.label, problem.message) for problem in example_of(response).problems] == [
        ("Bracket 3, starts with", "Must be above 10")
    ]
    assert "This comes to an amount once these are right:" in text_of(response)
    assert errors_of(response) == {}


@pytest.mark.parametrize("quantity", ["", "abc", "-1", "2.5", "1e3", "１"])
def test_a_quantity_that_is_none_is_refused_beside_the_example_only(staff, product, quantity):
    example = example_of(staff.post(address(product), typed(preview="", quantity=quantity)))
    assert example.quantity_error
    assert not example.total
    staff.post(address(product), typed(quantity=quantity))
    assert PricingVersion.objects.count() == 1


def test_before_there_is_a_price_the_example_asks_for_one(staff, product):
    assert "Enter a price in USD to see what this quantity costs." in text_of(staff.get(address(product)))


def test_a_script_gets_the_same_page_without_its_frame(staff, product):
    response = staff.post(address(product), typed(preview=""), headers={"X-Partial": "1"})
    html = response.content.decode()
    assert "<html" not in html
    assert 'id="example"' in html
    assert 'id="words-3"' in html


def test_the_page_has_no_script_nor_style_of_its_own(staff, product):
    html = staff.post(address(product), typed(start__3="10")).content.decode()
    assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", html)


# Words


def words_of(response):
    return [row.words for row in response.context["rows"]]


def test_each_row_says_its_range_in_words(staff, product):
    assert words_of(staff.post(address(product), typed(preview=""))) == [
        "Mailboxes 1 to 9: $2.00 each",
        "Mailboxes 10 to 19: $1.00 each",
        "From the 20th: $0.50 each",
    ]


def test_a_row_that_cannot_be_said_stays_without_words_and_the_others_keep_theirs(staff, product):
    assert words_of(staff.post(address(product), typed(preview="", start__3="5", price__2__USD=""))) == [
        "Mailboxes 1 to 9: $2.00 each",
        "From the 10th: no price in USD yet",
        "",
    ]


def a_pricing(*brackets, scheme=Scheme.GRADUATED, notation=Notation.FIRST_UNIT, included="0", size="1"):
    rows = tuple(Bracket(*map(Decimal, bracket)) for bracket in brackets)
    return Pricing(scheme, rows, Decimal(included), notation, Decimal(size))


@pytest.mark.parametrize(
    ("pricing", "unit", "words"),
    [
        (a_pricing(("0", "2")), WHOLE, ["Every mailbox: $2.00 each"]),
        (a_pricing(("0", "2")), GB, ["Every GB: $2.00 per GB"]),
        (a_pricing(("0", "2"), included="10"), WHOLE, ["From the 11th: $2.00 each"]),
        (a_pricing(("0", "2"), ("2", "1")), WHOLE, ["Mailbox 1: $2.00 each", "From the 2nd: $1.00 each"]),
        (
            a_pricing(("0", "2"), ("10", "1", "5"), notation=Notation.ABOVE),
            GB,
            ["Up to 10 GB: $2.00 per GB", "Above 10 GB: $1.00 per GB, and $5.00 once"],
        ),
        (a_pricing(("0", "2"), ("10", "1")), GB, ["1 to 9 GB: $2.00 per GB", "10 and more GB: $1.00 per GB"]),
        (
            a_pricing(("0", "2"), ("10", "1"), scheme=Scheme.VOLUME),
            WHOLE,
            ["Mailboxes 1 to 9: $2.00 for each of them", "From the 10th: $1.00 for each of them"],
        ),
        (
            a_pricing(("0", "2"), ("10", "1"), scheme=Scheme.VOLUME, notation=Notation.ABOVE, included="5"),
            GB,
            [
                "Above 5 to 10 GB: $2.00 per GB for all above the included",
                "Above 10 GB: $1.00 per GB for all above the included",
            ],
        ),
        (
            a_pricing(("0", "0.4"), scheme=Scheme.PACKAGE, size="1000", included="5000"),
            WHOLE,
            ["From the 5,001st: $0.40 per started 1,000 mailboxes"],
        ),
    ],
)
def test_brackets_are_said_as_people_would(pricing, unit, words):
    said = zip(bracket_ranges(pricing, unit), pricing.brackets, strict=True)
    assert [f"{words}: {bracket_price(pricing, bracket, unit, 'USD')}" for words, bracket in said] == words


def test_the_rows_of_a_charge_name_what_lifts_or_cuts_it():
    pricing = Pricing(Scheme.PER_UNIT, (Bracket(Decimal(0), Decimal(1)),), minimum=Decimal(5), maximum=Decimal(9))
    assert charge_rows(pricing, rate(pricing, Decimal(2)), GB, "USD")[1] == (
        "Up to the minimum charge",
        "",
        "",
        "$3.00",
    )
    assert charge_rows(pricing, rate(pricing, Decimal(12)), GB, "USD")[1] == (
        *("Down to the maximum charge", "", "", "−$3.00"),
    )


# The history


def test_the_history_says_when_each_version_applies_and_what_it_costs(staff, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"), effective_from="2026-01-01")
    priced(setting, ("0", "2"), effective_from="2026-06-01")
    priced(setting, ("0", "3"), effective_from="2027-01-01")
    priced(setting, ("0", "4"), included="5", effective_from="2027-01-01")
    past = staff.get(address(product)).context["history"]
    assert [(each.version.number, each.state, each.sentences) for each in past] == [
        (4, "planned", ["5 mailboxes included, then $4.00 per mailbox"]),
        (3, "replaced", ["$3.00 per mailbox"]),
        (2, "now", ["$2.00 per mailbox"]),
        (1, "over", ["$1.00 per mailbox"]),
    ]


def test_the_editor_takes_as_many_queries_for_ten_versions_as_for_one(staff, product):
    def queries():
        with CaptureQueriesContext(connection) as caught:
            assert staff.get(address(product)).status_code == 200
        return len(caught)

    staff.post(address(product), typed())
    queries()
    few = queries()
    for number in range(1, 9):
        staff.post(address(product), typed(after=str(number)))
        a_service(product, a_client(currency=["EUR", "SEK", "NOK"][number % 3]), status="cancelled")
    assert PricingVersion.objects.count() == 9
    assert queries() == few


# The deed


def version_of(setting, *rows, by=None, effective_from=TODAY, **values):
    pricing = Pricing(Scheme.GRADUATED, tuple(Bracket(Decimal(start), Decimal(price)) for start, price in rows))
    sheet = Sheet(setting.metric.unit, {"USD": pricing})
    by = by or User.objects.first() or a_staff_user()
    return add_version(setting=setting, sheet=sheet, effective_from=effective_from, today=TODAY, by=by, **values)


def test_versions_are_numbered_without_a_gap(product):
    setting = new_setting(product, a_metric(MAILBOXES))
    assert [version_of(setting, ("0", "1")).number for _ in range(3)] == [1, 2, 3]


def test_the_deed_refuses_a_version_made_from_one_that_is_no_longer_the_last(product):
    setting = a_setting(product, MAILBOXES)
    version_of(setting, ("0", "1"), after=0)
    with pytest.raises(Outdated):
        version_of(setting, ("0", "1"), after=0)
    assert version_of(setting, ("0", "1"), after=1).number == 2
