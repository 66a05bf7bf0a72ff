"""What the pricing editor shows beside what is typed: cautions above the example, and the curve below it."""

import re
from datetime import UTC, datetime

import pytest
import time_machine
from django.urls import reverse

from catalog.models import PricingVersion
from tests.builders import DISK, EMAILS, MAILBOXES, a_client, a_metric, a_product, a_service, a_staff_user, panel

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 19, 12, tzinfo=UTC), tick=False), panel():
        yield


@pytest.fixture
def product():
    """A product that is sold by the month alone."""
    one = a_product()
    one.prices.exclude(cycle="monthly").delete()
    return one


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


def address(product, declared=MAILBOXES):
    return reverse("staff_pricing", args=[product.pk, a_metric(declared).pk])


def typed(**changes):
    """Three brackets by total volume, as they are sent while typing. A dash in a name is two underscores."""
    form = {
        "scheme": "volume",
        "unit": "mailboxes",
        "included": "0",
        "package_size": "1",
        "notation": "first_unit",
        "effective_from": "2026-12-01",
        "after": "0",
        "quantity": "25",
        "currency": "USD",
        "rows": "3",
        "preview": "",
    }
    for number, (start, price) in enumerate([("0", "2.00"), ("10", "1.00"), ("20", "0.50")], start=1):
        form |= {f"start-{number}": start, f"price-{number}-USD": price}
    return form | {name.replace("__", "-"): value for name, value in changes.items()}


def text_of(response):
    return " ".join(response.content.decode().split())


def cautions_part(response):
    """What a script puts in above the example."""
    return text_of(response).partition('<div id="cautions" aria-live="polite" data-live>')[2].partition("<h2>")[0]


def curve_part(response):
    """What a script puts in below the example."""
    return text_of(response).partition('<div class="tp-panel-body" id="curve" data-live>')[2].partition("</aside>")[0]


def said(response):
    return {caution.title: list(caution.lines) for caution in response.context["cautions"]}


def line_of(response):
    """The corners of the total charge: quantity and amount."""
    points = response.context["curve"].charts[0].points
    return [(float(point.quantity), float(point.value)) for point in points]


# Cautions


def test_a_cliff_is_shown_above_the_example_with_its_numbers(staff, product):
    response = staff.post(address(product), typed())
    shown = cautions_part(response)
    assert '<p class="tp-strong">More usage would cost less</p>' in shown
    for line in ("9 cost $18.00, 10 cost $10.00", "19 cost $19.00, 20 cost $10.00"):
        assert f'<li class="tp-num">{line}</li>' in shown
    assert "If only the further units should be cheaper, choose graduated. You can save this as it is." in shown
    html = text_of(response)
    assert html.index('id="cautions"') < html.index('id="example"') < html.index('id="curve"')


def test_what_is_cautioned_against_can_be_saved(staff, product):
    form = typed()
    del form["preview"]
    assert staff.post(address(product), form).status_code == 302
    assert PricingVersion.objects.count() == 1


def test_without_a_surprise_there_is_room_for_one_and_nothing_in_it(staff, product):
    response = staff.post(address(product), typed(scheme="graduated"))
    assert said(response) == {}
    assert "tp-notice" not in cautions_part(response)


def test_cautions_are_in_the_currency_that_is_chosen(staff):
    product = a_product(currency="EUR")
    prices = {"price__1__EUR": "3", "price__2__EUR": "2", "price__3__EUR": "1"}
    response = staff.post(address(product), typed(currency="EUR", **prices))
    assert said(response)["More usage would cost less"] == [
        *("9 cost €27.00, 10 cost €20.00", "19 cost €38.00, 20 cost €20.00"),
    ]


def test_prices_that_miss_in_a_currency_are_named_with_the_services_billed_in_it(staff, product):
    a_service(product, a_client(currency="EUR"))
    a_service(product, a_client("Brandt", currency="EUR"))
    response = staff.post(address(product), typed(price__1__EUR="1.90", price__2__EUR="0.95"))
    assert said(response)["Prices in EUR are missing"] == ["Bracket 3 has none"]
    assert "2 services are billed in EUR. This can be saved once every bracket has one." in cautions_part(response)
    assert said(staff.post(address(product), typed()))["Prices in EUR are missing"] == ["No bracket has one"]


def test_a_currency_that_may_stay_empty_is_not_missed(staff):
    product = a_product(currency="EUR")
    product.prices.exclude(cycle="monthly").delete()
    response = staff.post(address(product), typed(price__1__EUR="1", rows="1", price__1__USD=""))
    assert said(response) == {}


def test_a_page_on_which_nothing_is_priced_yet_misses_nothing(staff, product):
    assert said(staff.get(address(product))) == {}
    empty = {f"price__{number}__USD": "" for number in (1, 2, 3)}
    assert said(staff.post(address(product), typed(**empty))) == {}


def test_a_bracket_that_was_only_just_added_misses_nothing_yet(staff, product):
    assert "Prices in USD are missing" not in said(staff.post(address(product), typed(add="1")))


def test_a_bracket_that_starts_within_what_is_included_is_named(staff, product):
    response = staff.post(address(product), typed(included="12", scheme="graduated"))
    assert said(response) == {
        "A bracket starts within what is included": ["Bracket 2 starts with 10, 12 mailboxes are included"]
    }
    assert "Include less, start it above 12, or remove it." in cautions_part(response)


def test_a_first_bracket_within_what_is_included_is_to_start_with_0(staff, product):
    response = staff.post(address(product), typed(included="12", rows="1", start__1="5"))
    assert "Start the first bracket with 0" in cautions_part(response)


def test_a_bracket_right_after_what_is_included_is_in_order(staff, product):
    assert said(staff.post(address(product), typed(included="9", scheme="graduated", start__1="10", rows="1"))) == {}
    above = typed(included="10", scheme="graduated", start__1="10", rows="1", notation="above")
    assert said(staff.post(address(product), above)) == {}


# The curve


def test_a_level_billed_by_its_last_value_is_cautioned_against_where_terms_are_long(staff, product):
    """Fault I15, which WHMCS warns of."""
    product.prices.create(cycle="annually", currency="USD", amount=100)
    product.prices.create(cycle="quarterly", currency="USD", amount=30)
    shown = text_of(staff.post(address(product), typed(scheme="graduated")))
    assert "A level is billed once a term" in shown
    assert "This product is also sold quarterly and annually" in shown
    shown = text_of(staff.post(address(product), typed(scheme="graduated", aggregation="mean")))
    assert "A level is billed once a term" not in shown
    shown = text_of(staff.post(address(product, EMAILS), typed(scheme="graduated", unit="emails")))
    assert "A level is billed once a term" not in shown


def test_the_curve_is_drawn_with_title_sentence_and_table(staff, product):
    shown = curve_part(staff.post(address(product), typed()))
    assert "Total charge, for 0 to 40 mailboxes</figcaption>" in shown
    assert "It falls from $18.00 to $10.00 at 10, from $19.00 to $10.00 at 20, and comes to $20.00." in shown
    assert '<polyline class="line" points="0.0,106.0 225.0,10.6 225.0,58.3 475.0,5.3' in shown
    assert shown.count('class="dot2"') == 4
    assert shown.count("<figcaption") == shown.count('role="img"') == 2
    table = shown.partition("<summary>The same as a table</summary>")[2]
    assert re.findall(r'rowheader">(.*?)</th>', table) == ["1", "9", "10", "19", "20", "30", "40"]
    assert "$18.00" in table


def test_the_curve_is_in_the_unit_that_is_chosen(staff, product):
    response = staff.post(address(product, DISK), typed(unit="MB", notation="above"))
    assert "Total charge, for 0 to 40 MB" in curve_part(response)
    assert ">just above 10</th>" in curve_part(response)


def test_the_curve_shows_fees_and_bounds(staff, product):
    changes = {"scheme": "per_unit", "rows": "1", "fee__1__USD": "3", "minimum__USD": "7", "maximum__USD": "23"}
    assert line_of(staff.post(address(product), typed(**changes))) == [(0, 7), (2, 7), (10, 23), (20, 23)]


def test_a_bracket_without_a_price_is_left_out_and_that_is_said(staff, product):
    response = staff.post(address(product), typed(scheme="graduated", price__3__USD=""))
    assert line_of(response) == [(0, 0), (9, 18), (20, 29)]
    assert "Left out until it is complete: bracket 3." in curve_part(response)


def test_what_is_wrong_is_left_out_and_the_rest_is_drawn(staff, product):
    wrong = {"start__3": "5", "fee__2__USD": "x", "maximum__USD": "-1", "effective_from": "", "quantity": "abc"}
    response = staff.post(address(product), typed(scheme="graduated", **wrong))
    assert line_of(response) == [(0, 0), (100, 200)]
    note = "Left out until they are complete: bracket 2, bracket 3, the maximum charge."
    assert note in curve_part(response)


def test_the_curve_does_not_need_the_prices_of_other_currencies(staff):
    response = staff.post(address(a_product(currency="EUR")), typed(price__1__EUR="abc"))
    assert len(line_of(response)) == 6


@pytest.mark.parametrize("wrong", [{"included": "abc"}, {"scheme": "per_unit"}, {"start__1": "5"}, {"notation": ""}])
def test_without_scheme_quantity_and_a_first_bracket_nothing_is_drawn(staff, product, wrong):
    response = staff.post(address(product), typed(**wrong))
    assert response.context["curve"] is None
    assert "Drawn once scheme, quantity and brackets are right." in curve_part(response)


def test_before_there_is_a_price_the_curve_asks_for_one(staff, product):
    assert "Enter a price in USD to see its curve." in curve_part(staff.get(address(product)))


def test_a_script_finds_both_parts_and_no_style_or_script_in_them(staff, product):
    response = staff.post(address(product), typed(), headers={"X-Partial": "1"})
    for shown in (cautions_part(response), curve_part(response)):
        assert shown
        assert not re.findall(r"<script|<style|\sstyle=|\son[a-z]+=", shown)


def test_a_hundred_brackets_and_the_largest_numbers_are_drawn(staff, product):
    changes = {"rows": "100", "price__100__USD": "999999999999", "minimum__USD": "500", "maximum__USD": "999999999999"}
    for number in range(1, 101):
        changes[f"start__{number}"] = str((number - 1) * 10)
        changes.setdefault(f"price__{number}__USD", str(200 - number))
    changes["start__100"] = "999999999999999"
    response = staff.post(address(product), typed(**changes))
    assert response.status_code == 200
    assert response.context["curve"] is not None
