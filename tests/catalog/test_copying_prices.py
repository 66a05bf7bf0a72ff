"""The pricing editor takes over prices from another currency or product, and adds currencies."""

from datetime import UTC, datetime

import pytest
import time_machine

from catalog.models import PricingVersion
from tests.builders import DISK, EMAILS, MAILBOXES, a_product, a_setting, a_staff_user, panel, priced
from tests.catalog.pricing_form import address, prices_of, text_of, typed, value_of

pytestmark = pytest.mark.django_db


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


def test_an_added_currency_becomes_a_column_that_needs_prices(staff, product):
    response = staff.post(address(product), typed(add_currency_button="1", add_currency="gbp"))
    assert value_of(response, "added") == "GBP"
    assert 'name="price-3-GBP"' in text_of(response)
    saved = staff.post(address(product), typed(added="GBP"))
    assert set(saved.context["form"].errors) == {"price-1-GBP", "price-2-GBP", "price-3-GBP"}
    form = typed(added="GBP", price__1__GBP="1.50", price__2__GBP="0.80", price__3__GBP="0.40")
    staff.post(address(product), form)
    assert PricingVersion.objects.get().currencies == ["GBP", "USD"]


@pytest.mark.parametrize("code", ["", "XXY", "<b>", "US", "USDD", "ＧＢＰ"])
def test_what_is_no_currency_is_not_added(staff, product, code):
    response = staff.post(address(product), typed(add_currency_button="1", add_currency=code))
    assert "is not a currency of ISO 4217. Enter a code such as GBP." in text_of(response)
    assert value_of(response, "added") == ""
    assert value_of(response, "price-2-USD") == "1.00"


def test_prices_of_another_currency_are_taken_over_by_a_factor_and_shown_before_they_are_saved(staff, product):
    form = typed(added="EUR", convert="1", convert_from="USD", convert_to="EUR", factor="0.95", fee__2__USD="5")
    response = staff.post(address(product), {**form, "minimum-USD": "0.333333333333"})
    assert [value_of(response, f"price-{number}-EUR") for number in (1, 2, 3)] == ["1.90", "0.95", "0.475"]
    assert value_of(response, "fee-2-EUR") == "4.75"
    assert value_of(response, "minimum-EUR") == "0.316666666666"
    assert not PricingVersion.objects.exists()


def test_what_is_no_price_yet_is_not_taken_over(staff, product):
    form = typed(added="EUR", convert="1", convert_from="USD", convert_to="EUR", factor="2", price__2__USD="x")
    response = staff.post(address(product), form)
    assert [value_of(response, f"price-{number}-EUR") for number in (1, 2, 3)] == ["4.00", "", "1.00"]


@pytest.mark.parametrize("factor", ["", "0", "-1", "1,5", "abc", "1e3", "NaN"])
def test_a_factor_that_is_none_copies_nothing(staff, product, factor):
    form = typed(added="EUR", convert="1", convert_from="USD", convert_to="EUR", factor=factor)
    response = staff.post(address(product), form)
    assert "the factor must be a plain number above 0" in text_of(response)
    assert value_of(response, "price-1-EUR") == ""


def test_a_currency_is_not_copied_onto_itself(staff, product):
    form = typed(convert="1", convert_from="USD", convert_to="USD", factor="2")
    response = staff.post(address(product), form)
    assert "choose two different currencies" in text_of(response)
    assert value_of(response, "price-1-USD") == "2.00"


def test_the_pricing_of_another_product_is_taken_over_with_its_currencies(staff, product):
    other = a_setting(a_product("Business Mail"), MAILBOXES)
    priced(other, ("0", "7"), ("50", "6"), scheme="volume", included="3", currency="SEK")
    form = typed(copy="1", copy_from=str(other.pk), effective_from="2027-02-01", reason="as the other one")
    response = staff.post(address(product), form)
    assert [value_of(response, name) for name in ("start-2", "price-2-SEK", "included")] == ["50", "6.00", "3"]
    assert [value_of(response, name) for name in ("effective_from", "reason")] == ["2027-02-01", "as the other one"]
    assert response.context["form"]["scheme"].value() == "volume"
    assert not PricingVersion.objects.filter(setting__product=product).exists()
    form = typed(added="SEK", rows="1", price__1__SEK="7", price__1__USD="1", scheme="per_unit")
    staff.post(address(product), form)
    found = prices_of(PricingVersion.objects.get(setting__product=product))
    assert [currency for currency, _, _ in found] == ["USD", "SEK"]


def test_only_what_counts_the_same_kind_of_thing_is_offered(staff, product):
    other = a_product("Business Mail")
    for declared in (DISK, EMAILS, MAILBOXES):
        priced(a_setting(other, declared), ("0", "1"))
    a_setting(a_product("Unpriced"), MAILBOXES)
    sources = staff.get(address(product)).context["sources"]
    assert [str(source) for source in sources] == ["Mailboxes of Business Mail"]


def test_a_source_that_does_not_exist_copies_nothing(staff, product):
    response = staff.post(address(product), typed(copy="1", copy_from="999999"))
    assert "choose a product to copy prices from" in text_of(response)
    assert value_of(response, "price-1-USD") == "2.00"
