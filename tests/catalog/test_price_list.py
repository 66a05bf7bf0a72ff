"""The public price list of a product, and the same block for a service."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from catalog import price_list
from catalog.models import BracketPrice, ChargeBounds, EnabledSpan, Override, OverridePrice, Product, ProductPrice
from tests.builders import (
    DISK,
    EMAILS,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    panel,
    priced,
)

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 19)


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))
    with panel():
        yield


@pytest.fixture
def product():
    return a_product()


def see(client, address, status=200, **data):
    response = client.get(address, data)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def page_of(product):
    return reverse("price_list", args=[product.slug])


def also_in(version, currency, *brackets):
    for start, price in brackets:
        BracketPrice.objects.create(version=version, currency=currency, start=Decimal(start), unit_price=Decimal(price))
    return version


def sold_in(product, currency, amount="22"):
    return ProductPrice.objects.create(product=product, cycle="monthly", currency=currency, amount=Decimal(amount))


def metric_of(product, currency="USD"):
    """The only metric of a product, as the list has it."""
    [metric] = price_list.of_product(with_prices(product), currency, TODAY).metrics
    return metric


def with_prices(product):
    return price_list.with_prices(Product.objects.all()).get(pk=product.pk)


# What it says


def test_everybody_sees_the_prices_of_a_product_without_a_login(client, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    shown = see(client, page_of(product))
    for words in (
        "Business Web",
        "$24.00",
        "per month",
        "per three years",
        "From $2.00 per mailbox, cheaper from the 10th and from the 20th",
        "1 to 9",
        "20 and more",
        "Graduated: each mailbox has the price of its own range",
        "25 mailboxes cost $31.00",
        "9 at $2.00, 10 at $1.00, 6 at $0.50",
        "In force since 1 January 2020",
        "Log in",
    ):
        assert words in shown


def test_a_metric_that_is_off_is_not_on_the_list_and_one_without_prices_is_shown_and_not_charged(client, product):
    priced(a_setting(product, MAILBOXES, enabled_from=None), ("0", "2"))
    a_setting(product, DISK)
    shown = see(client, page_of(product))
    assert "Mailboxes" not in shown
    assert "Disk space" in shown
    assert "Shown, not charged" in shown


def test_a_metric_that_was_switched_off_again_is_not_on_the_list(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    EnabledSpan.objects.filter(setting=setting).update(end=TODAY)
    assert "Mailboxes" not in see(client, page_of(product))


def test_a_metric_of_a_provider_that_no_longer_meters_the_product_is_not_on_the_list(client, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    Product.objects.update(provider="another")
    assert "Mailboxes" not in see(client, page_of(product))


def test_a_product_that_nothing_meters_says_so(client, product):
    assert "Nothing of it is metered. It costs its fixed price." in see(client, page_of(product))


@pytest.mark.parametrize(
    ("brackets", "values", "scheme", "example"),
    [
        ([("0", "1")], {"scheme": "per_unit"}, "Every GB costs the same.", "25 GB cost $25.00"),
        (
            [("0", "1")],
            {"scheme": "per_unit", "included": "10", "notation": "above"},
            "Every GB above the included costs the same.",
            "12.5 GB cost $2.50",
        ),
        (
            [("0", "2"), ("10", "1")],
            {"scheme": "volume", "notation": "above"},
            "Total volume: the range that the total reaches sets the price of every GB.",
            "12.5 GB cost $12.50",
        ),
        (
            [("0", "0.40")],
            {"scheme": "package", "included": "5000", "package_size": Decimal(1000)},
            "Sold in packages of 1,000 GB. A package that is started counts as a whole one.",
            "6,250 GB cost $0.80",
        ),
    ],
)
def test_each_scheme_is_explained_and_worked(product, brackets, values, scheme, example):
    priced(a_setting(product, DISK), *brackets, **values)
    metric = metric_of(product)
    assert metric.scheme == scheme
    assert metric.example.sentence == example


def test_a_price_too_small_to_see_is_worked_with_more(product):
    priced(a_setting(product, ROWS), ("0", "0.0000002"), scheme="per_unit")
    assert metric_of(product).example.sentence == "2,500,000 rows cost $0.50"


def test_what_is_free_costs_nothing_in_the_example(product):
    priced(a_setting(product, ROWS), ("0", "0"), scheme="per_unit")
    assert metric_of(product).example.sentence == "25 rows cost $0.00"


@pytest.mark.parametrize(("start", "included"), [("0", "1"), ("0", "1000000000000000"), ("1000000000000000", "0")])
def test_the_example_is_of_more_than_is_included_and_can_be_rated(product, start, included):
    brackets = {("0", "1"), (start, "1")}
    priced(a_setting(product, MAILBOXES), *sorted(brackets), notation="above", included=included)
    example = metric_of(product).example
    assert "cost" in example.sentence
    assert example.reason


def test_the_table_has_the_included_the_ranges_and_the_fees(product):
    version = priced(a_setting(product, DISK), ("0", "0.50"), ("15", "0.20"), included="10", notation="above")
    BracketPrice.objects.filter(version=version, start=15).update(flat_fee=5)
    assert [(row.words, row.price, row.fee) for row in metric_of(product).ranges] == [
        ("up to 10 GB", "included", ""),
        ("above 10 to 15 GB", "$0.50", ""),
        ("above 15 GB", "$0.20", "$5.00"),
    ]


def test_stairs_are_a_fee_and_not_a_price_of_nothing_each(product):
    version = priced(a_setting(product, MAILBOXES), ("0", "0"), ("1001", "0"), scheme="volume")
    BracketPrice.objects.filter(version=version, start=0).update(flat_fee=50)
    BracketPrice.objects.filter(version=version, start=1001).update(flat_fee=200)
    metric = metric_of(product)
    assert metric.sentence == "From $50.00 once, dearer for all of them from the 1,001st"
    assert metric.scheme.endswith("sets the price of every mailbox, and the fee.")


def test_a_fee_is_not_said_to_be_per_unit(product):
    version = priced(a_setting(product, DISK), ("0", "1"), scheme="per_unit")
    BracketPrice.objects.filter(version=version).update(flat_fee=5)
    assert metric_of(product).sentence == "$1.00 per GB plus $5.00 once"


def test_the_least_and_the_most_that_is_charged_are_said(client, product):
    version = priced(a_setting(product, MAILBOXES), ("0", "2"))
    ChargeBounds.objects.create(version=version, currency="USD", minimum=5, maximum=60)
    shown = strip_tags(see(client, page_of(product))).split()
    for words in (["At", "least", "$5.00"], ["At", "most", "$60.00"]):
        assert words in [shown[number : number + 3] for number in range(len(shown))]


@pytest.mark.parametrize(
    ("declared", "values", "words"),
    [
        (MAILBOXES, {}, "Of each term the last value counts."),
        (MAILBOXES, {"aggregation": "p95"}, "Of each term the 95th percentile counts."),
        (TRAFFIC, {}, "The calendar months of an invoice are added up and priced once."),
        (TRAFFIC, {"included": "10"}, "added up and priced once, with 10 GB included once."),
        (EMAILS, {"periods": "each"}, "Each day is priced by itself."),
        (TRAFFIC, {"periods": "each", "included": "10"}, "Each calendar month is priced by itself, with 10 GB incl"),
    ],
)
def test_how_the_quantity_comes_about_is_said(product, declared, values, words):
    priced(a_setting(product, declared), ("0", "1"), **values)
    assert words in metric_of(product).quantity


@pytest.mark.parametrize(
    ("code", "words"), [("GB", "Counted in GB, 1,000³ bytes."), ("GiB", "Counted in GiB, 1,024³ bytes.")]
)
def test_the_unit_says_whether_it_counts_in_1000s_or_1024s(client, product, code, words):
    priced(a_setting(product, DISK), ("0", "1"), unit_code=code)
    assert words in see(client, page_of(product))


# Which version


def test_the_version_in_force_today_counts_and_a_later_one_is_announced(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "9"), effective_from="2026-01-01")
    priced(setting, ("0", "2"), effective_from="2026-11-19")
    priced(setting, ("0", "3"), effective_from="2026-12-01")
    shown = see(client, page_of(product))
    assert "In force since 19 November 2026" in shown
    assert "25 mailboxes cost $50.00" in shown
    assert "From 1 December 2026: $3.00 per mailbox" in shown
    assert "$3.00 instead of $2.00, 50% more" in shown
    assert "For terms that begin on that day or later." in shown
    assert "$9.00" not in shown


def test_a_version_that_was_withdrawn_is_not_announced(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    priced(setting, ("0", "3"), effective_from="2026-12-01", withdrawn_at=at("2026-11-18 09:00"))
    assert "December" not in see(client, page_of(product))


def test_a_version_that_charges_alike_is_not_announced(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    priced(setting, ("0", "2"), effective_from="2026-12-01")
    assert "December" not in see(client, page_of(product))


def test_what_will_be_charged_is_announced_while_it_is_only_shown(client, product):
    priced(a_setting(product, EMAILS), ("0", "2"), effective_from="2026-12-01", price_at="invoice")
    shown = see(client, page_of(product))
    assert "Shown, not charged" in shown
    assert "From 1 December 2026: $2.00 per email" in shown
    assert "For invoices of that day or later." in shown


def test_a_later_version_without_the_currency_is_no_price_and_not_zero(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    priced(setting, ("0", "3"), currency="EUR", effective_from="2026-12-01")
    assert "From 1 December 2026: no price in USD yet" in see(client, page_of(product))


# Which currency


def test_the_sites_currency_is_the_usual_one_and_the_others_are_linked(client, product):
    sold_in(product, "EUR")
    also_in(priced(a_setting(product, MAILBOXES), ("0", "2")), "EUR", ("0", "1.80"))
    shown = see(client, page_of(product))
    assert "$2.00 per mailbox" in shown
    assert 'href="?currency=EUR"' in shown
    shown = see(client, page_of(product), currency="eur")
    assert "€22.00" in shown
    assert "€1.80 per mailbox" in shown
    assert "$" not in shown


def test_a_client_sees_the_currency_that_it_is_billed_in(client, product):
    sold_in(product, "EUR")
    client.force_login(sara := a_user())
    a_client(currency="EUR", users=(sara,))
    assert "€22.00" in see(client, page_of(product))
    assert "€22.00 per month" in see(client, reverse("price_lists"))


def test_a_client_whose_currency_the_product_lacks_sees_another_that_it_is_sold_in(client, product):
    client.force_login(sara := a_user())
    a_client(currency="GBP", users=(sara,))
    assert "$24.00" in see(client, page_of(product))


def test_without_the_sites_currency_it_is_the_first_that_there_is(client):
    product = a_product(currency="SEK", price="240")
    sold_in(product, "NOK")
    assert "NOK 22.00" in see(client, page_of(product))


@pytest.mark.parametrize("currency", ["JPY", "XYZ", "<b>", "💶", "USD' OR 1=1", "A" * 500])
def test_a_currency_that_it_is_not_sold_in_gets_a_page_in_words(client, product, currency):
    shown = see(client, page_of(product), 404, currency=currency)
    assert "Business Web has no price in" in shown
    assert "It is sold in USD" in shown
    assert ("is not a currency of ISO 4217" in shown) is (currency != "JPY")
    assert "<b>" not in shown
    assert "0.00" not in shown


def test_a_metric_without_the_currency_means_that_the_product_is_not_sold_in_it(client, product):
    """M5."""
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    assert "Business Web has no price in EUR" in see(client, page_of(product), 404, currency="EUR")
    assert "EUR" not in see(client, page_of(product))


def test_a_product_without_any_price_says_that_it_cannot_be_ordered(client):
    bare = Product.objects.create(name="Bare", slug="bare")
    assert "It cannot be ordered until it has one." in see(client, page_of(bare), 404)
    Product.objects.update(is_active=False)
    client.force_login(a_staff_user())
    assert "Only staff see this page." in see(client, page_of(bare), 404)


# Which products


def test_the_list_has_what_can_be_ordered_with_its_prices(client, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    a_product("Old", price="1")
    Product.objects.filter(name="Old").update(is_active=False)
    shown = see(client, reverse("price_lists"))
    assert "Business Web" in shown
    assert "$24.00 per month" in shown
    assert "$2.00 per mailbox" in shown
    assert "Old" not in shown


def test_a_product_that_is_not_sold_in_the_currency_says_so_on_the_list(client, product):
    a_product("Elsewhere", currency="EUR", price="7")
    shown = see(client, reverse("price_lists"), currency="EUR")
    assert "not sold in EUR" in shown
    assert "€7.00" in shown
    assert "There are no prices in JPY" in see(client, reverse("price_lists"), 404, currency="JPY")


def test_before_there_is_anything_to_order_the_list_says_so(client):
    assert "Nothing can be ordered at the moment." in see(client, reverse("price_lists"))


def test_what_cannot_be_ordered_is_there_for_staff_only_and_says_so(client, product):
    Product.objects.update(is_active=False)
    see(client, page_of(product), 404)
    client.force_login(a_user())
    see(client, page_of(product), 404)
    client.force_login(a_user("otto@staff.test", is_staff=True))
    see(client, page_of(product), 404)
    client.force_login(a_staff_user())
    assert "Business Web cannot be ordered" in see(client, page_of(product))


def test_an_address_that_is_none_is_not_found(client):
    see(client, reverse("price_list", args=["nothing"]), 404)


def test_prices_are_read_and_never_posted_to(client, product):
    assert client.post(page_of(product)).status_code == 405
    assert client.post(reverse("price_lists")).status_code == 405


def test_staff_find_the_price_list_from_the_product(client, product):
    client.force_login(a_staff_user())
    for name, arguments in (("staff_products", []), ("staff_product_metrics", [product.pk])):
        assert page_of(product) in see(client, reverse(name, args=arguments))


def test_a_product_without_an_address_breaks_no_page(client, product):
    Product.objects.update(slug="")
    see(client, reverse("price_lists"))
    client.force_login(a_staff_user())
    see(client, reverse("staff_products"))
    see(client, reverse("staff_product_metrics", args=[product.pk]))


def test_a_product_that_is_added_gets_its_address_from_its_name(client):
    client.force_login(a_staff_user())
    empty = {"prices-TOTAL_FORMS": "0", "prices-INITIAL_FORMS": "0", "invoice_days_ahead": "0", "grace_days": "0"}
    client.post(reverse("admin:catalog_product_add"), {"name": "Größe L", "is_active": "on", **empty})
    assert Product.objects.get().slug == "groe-l"
    assert "the name has no letters" in see_posted(client, {"name": "商品", **empty})
    assert "already exists" in see_posted(client, {"name": "Other", "slug": "groe-l", **empty})


def see_posted(client, data):
    return client.post(reverse("admin:catalog_product_add"), data).content.decode()


# Who may keep it


def test_a_page_of_somebody_who_is_logged_in_is_stored_nowhere(client, product):
    anonymous = client.get(page_of(product))
    assert "Cookie" in anonymous.headers["Vary"]
    assert "public" not in anonymous.headers.get("Cache-Control", "")
    client.force_login(a_user())
    for address in (page_of(product), reverse("price_lists"), f"{page_of(product)}?currency=JPY"):
        response = client.get(address)
        assert {"no-store", "private"} <= set(response.headers["Cache-Control"].split(", "))


def test_the_page_has_no_script_nor_style_of_its_own(client, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    shown = see(client, page_of(product))
    assert "<script" not in shown
    assert "style=" not in shown


def test_a_name_from_outside_is_text(client):
    product = a_product("<b>Bold</b>")
    assert "&lt;b&gt;Bold" in see(client, page_of(product))
    assert "&lt;b&gt;Bold" in see(client, reverse("price_lists"))


def test_the_pages_take_as_many_queries_for_much_as_for_little(client, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    addresses = (page_of(product), reverse("price_lists"))
    few = [queries(client, address) for address in addresses]
    for number in range(5):
        priced(setting, ("0", "2"), ("10", str(number)), effective_from=f"2027-0{number + 1}-01")
        priced(a_setting(a_product(f"Product {number}"), DISK), ("0", "1"))
    for declared in (DISK, EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"))
    assert [queries(client, address) for address in addresses] == few


def queries(client, address):
    with CaptureQueriesContext(connection) as captured:
        see(client, address)
    return len(captured)


# The same for a service


@pytest.fixture
def sara(client):
    user = a_user()
    client.force_login(user)
    return user


@pytest.fixture
def own(product, sara):
    return a_service(product, client=a_client(users=(sara,)), tenant=a_tenant(a_server()))


def agree(service, declared=MAILBOXES, start="2026-11-01", end=None, price=None, **values):
    setting = service.product.metric_settings.get(metric=a_metric(declared))
    override = Override.objects.create(
        service=service,
        setting=setting,
        start=date.fromisoformat(start),
        end=end and date.fromisoformat(end),
        unit_code=setting.metric.unit.code,
        reason="as agreed by phone",
        **{"currency": service.currency, **values},
        **({"scheme": "per_unit", "notation": "first_unit"} if price else {}),
    )
    if price:
        OverridePrice.objects.create(override=override, start=0, unit_price=Decimal(price))
    return override


def service_page(client, service):
    return see(client, reverse("portal_service_prices", args=[service.public_id]))


def test_a_service_shows_its_prices_as_the_list_does(client, product, own):
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    shown = service_page(client, own)
    assert "<h1>Prices</h1>" in shown
    assert "25 mailboxes cost $31.00" in shown
    assert "Graduated: each mailbox has the price of its own range" in shown


def test_a_service_that_nothing_meters_has_no_list_of_prices(client, own):
    assert "Nothing of this service is metered." in service_page(client, own)


def test_a_service_shows_the_prices_that_were_agreed_for_it_until_they_end(client, product, own):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agree(own, price="1.50", end="2026-12-01")
    shown = service_page(client, own)
    assert "25 mailboxes cost $37.50" in shown
    assert "as agreed by phone" in shown
    assert "From 1 December 2026: $2.00 per mailbox" in shown


def test_what_is_agreed_from_a_later_day_is_announced(client, product, own):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agree(own, start="2027-01-01", included=Decimal(5), discount=Decimal(10))
    shown = service_page(client, own)
    assert "25 mailboxes cost $50.00" in shown
    assert "From 1 January 2027: 5 mailboxes included, then $2.00 per mailbox, less 10%" in shown


def test_what_was_agreed_for_another_service_is_not_shown(client, product, own):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agree(a_service(product, client=a_client("Other")), price="1.50")
    assert "25 mailboxes cost $50.00" in service_page(client, own)


def test_a_service_whose_metric_has_no_price_says_so_and_shows_no_zero(client, product, sara):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, client=a_client(currency="EUR", users=(sara,)), tenant=a_tenant(a_server()))
    shown = service_page(client, service)
    assert "No price in EUR yet" in shown
    assert "It is not billed before it has one." in shown


def test_prices_agreed_in_another_currency_are_no_price(client, product, own):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agree(own, price="1.50", currency="EUR")
    assert "No price in USD yet" in service_page(client, own)


def test_the_service_page_takes_as_many_queries_for_more_prices(client, product, own):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    agree(own, price="1.50", end="2026-12-01")
    address = reverse("portal_service_prices", args=[own.public_id])
    see(client, address)  # writes down once which metrics there are
    few = queries(client, address)
    priced(setting, ("0", "2"), ("10", "1"), effective_from="2027-01-01")
    agree(own, price="1.20", start="2026-12-01")
    priced(a_setting(product, DISK), ("0", "1"))
    assert queries(client, address) == few
