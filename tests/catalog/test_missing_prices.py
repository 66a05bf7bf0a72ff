"""A currency that a product lacks: an error at ordering, and on a list for staff before billing parks."""

from datetime import date
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog import missing_prices
from catalog.models import BracketPrice, Client, EnabledSpan, Override, OverridePrice, Product, ProductPrice, Service
from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line, Parked
from tests.builders import (
    DISK,
    EMAILS,
    MAILBOXES,
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
    collected,
    panel,
    priced,
    tenant_says,
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


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def found(today=TODAY):
    """What is missing, as (product, what, currency, number of services)."""
    return [
        (str(each.product), each.what, each.currency, each.services)
        for each in missing_prices.of_living_services(today)
    ]


def sold_in(product, currency, cycle="monthly"):
    ProductPrice.objects.create(product=product, cycle=cycle, currency=currency, amount=22)


def also_in(version, currency):
    BracketPrice.objects.create(version=version, currency=currency, start=0, unit_price=1)


def agreed(service, declared=MAILBOXES, currency="EUR", start="2026-11-01", end=None):
    """Agree on prices of its own for a metric of a service."""
    override = Override.objects.create(
        service=service,
        setting=service.product.metric_settings.get(metric=a_metric(declared)),
        start=date.fromisoformat(start),
        end=end and date.fromisoformat(end),
        unit_code=declared.unit.code,
        currency=currency,
        scheme="per_unit",
        notation="first_unit",
        reason="as agreed by phone",
    )
    OverridePrice.objects.create(override=override, start=0, unit_price=Decimal(1))
    return override


# What is found


def test_nothing_is_missing_where_every_price_is_there(product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    a_service(product)
    assert found() == []


def test_a_cycle_that_a_service_has_needs_a_price_in_its_currency(product):
    sold_in(product, "EUR", "annually")
    a_service(product, client=(brandt := a_client(currency="EUR")))
    a_service(product, client=brandt, cycle=Cycle.ANNUALLY)
    assert found() == [("Business Web", "price per month", "EUR", 1)]


def test_a_metric_that_is_on_needs_a_price_in_the_currency_of_every_service(product):
    """M5."""
    sold_in(product, "EUR")
    setting = a_setting(product, MAILBOXES)
    version = priced(setting, ("0", "2"))
    brandt = a_client(currency="EUR")
    a_service(product, client=brandt)
    a_service(product, client=brandt)
    a_service(product)
    assert found() == [("Business Web", "Mailboxes", "EUR", 2)]
    also_in(version, "EUR")
    assert found() == []


def test_a_metric_that_is_off_or_only_shown_needs_no_price(product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES, enabled_from=None), ("0", "2"))
    setting = a_setting(product, EMAILS)
    priced(setting, ("0", "2"))
    EnabledSpan.objects.filter(setting=setting).update(end=TODAY)
    a_setting(product, DISK)
    a_service(product, client=a_client(currency="EUR"))
    assert found() == []


def test_a_version_to_come_that_lacks_a_currency_is_found_before_its_day(product):
    sold_in(product, "EUR")
    setting = a_setting(product, MAILBOXES)
    also_in(priced(setting, ("0", "2")), "EUR")
    priced(setting, ("0", "3"), effective_from="2026-12-01")
    a_service(product, client=a_client(currency="EUR"))
    assert found() == [("Business Web", "Mailboxes from 1 December 2026", "EUR", 1)]


def test_a_version_that_never_comes_into_force_lacks_nothing(product):
    sold_in(product, "EUR")
    setting = a_setting(product, MAILBOXES)
    also_in(priced(setting, ("0", "2")), "EUR")
    priced(setting, ("0", "3"), effective_from="2026-12-01")
    also_in(priced(setting, ("0", "3"), effective_from="2026-12-01"), "EUR")
    priced(setting, ("0", "4"), effective_from="2027-01-01", withdrawn_at=at("2026-11-18 09:00"))
    a_service(product, client=a_client(currency="EUR"))
    assert found() == []


@pytest.mark.parametrize("status", ["terminated", "cancelled"])
def test_a_service_that_is_over_needs_no_price(product, status):
    a_service(product, client=a_client(currency="EUR"), status=status, terminated_on=TODAY)
    assert found() == []


def test_prices_of_its_own_are_enough_for_their_service_and_no_other(product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    brandt = a_client(currency="EUR")
    agreed(a_service(product, client=brandt))
    a_service(product, client=brandt)
    assert found() == [("Business Web", "Mailboxes", "EUR", 1)]


@pytest.mark.parametrize(("start", "end"), [("2026-12-01", None), ("2026-10-01", "2026-11-19")])
def test_prices_of_its_own_that_are_not_in_force_are_not_enough(product, start, end):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agreed(a_service(product, client=a_client(currency="EUR")), start=start, end=end)
    assert found() == [("Business Web", "Mailboxes", "EUR", 1)]


def test_prices_of_its_own_in_another_currency_are_found_by_their_service(product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agreed(a_service(product, name="shop"), currency="EUR")
    assert found() == [("Business Web", "Mailboxes as agreed for shop in EUR", "USD", 1)]


def test_a_metric_of_a_provider_that_no_longer_meters_the_product_needs_no_price(product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    a_service(product, client=a_client(currency="EUR"))
    Product.objects.update(provider="another")
    assert found() == []


def test_it_is_found_in_as_many_queries_for_many_as_for_one(product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    agreed(a_service(product, client=a_client(currency="EUR")))
    with CaptureQueriesContext(connection) as few:
        found()
    for number in range(4):
        another = a_product(f"Product {number}")
        priced(a_setting(another, MAILBOXES), ("0", "2"), effective_from=f"2027-0{number + 1}-01")
        agreed(a_service(another, client=a_client(f"Client {number}", currency="GBP")), currency="GBP")
    with CaptureQueriesContext(connection) as many:
        assert len(found()) == 5
    assert len(many) == len(few)


# Ordering


def order(staff, product, **values):
    """Add a service as staff do. Returns the page that answers."""
    data = {"product": product.pk, "name": "new", "status": "pending", "cycle": "monthly", "anchor": "2026-11-19"}
    return staff.post(reverse("admin:catalog_service_add"), data | values).content.decode()


def change(staff, service, **values):
    data = {name: getattr(service, name) for name in ("name", "status", "cycle")}
    data |= {"client": service.client_id, "product": service.product_id, "anchor": str(service.anchor)} | values
    return staff.post(reverse("admin:catalog_service_change", args=[service.pk]), data).content.decode()


def test_a_service_cannot_be_ordered_in_a_currency_that_its_product_lacks(ines, product):
    """M5."""
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    shown = order(ines, product, client=a_client(currency="EUR").pk)
    assert "Business Web has no price per month in EUR. Add it to the prices of the product." in shown
    assert f'<a href="{reverse("admin:catalog_product_change", args=[product.pk])}">' in shown
    assert "Mailboxes of Business Web has no price in EUR. Add a version of its pricing that has one." in shown
    assert reverse("staff_pricing", args=[product.pk, a_metric(MAILBOXES).pk]) in shown
    assert not Service.objects.exists()


def test_a_service_is_ordered_where_every_price_is_there(ines, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    order(ines, product, client=a_client().pk)
    assert Service.objects.get().name == "new"


def test_a_service_cannot_move_to_a_client_product_or_cycle_without_a_price(ines, product):
    service = a_service(product, next_term=0, anchor="2026-12-01")
    other = a_product("Other", currency="EUR")
    ProductPrice.objects.filter(product=product, cycle="annually").delete()
    for values, words in (
        ({"client": a_client("Brandt", currency="EUR").pk}, "Business Web has no price per month in EUR"),
        ({"product": other.pk}, "Other has no price per month in USD"),
        ({"cycle": "annually"}, "Business Web has no price per year in USD"),
    ):
        assert words in change(ines, service, **values)
    service.refresh_from_db()
    assert (service.client.currency, service.product, service.cycle) == ("USD", product, "monthly")


def test_a_service_that_lacks_a_price_already_can_still_be_renamed_and_suspended(ines, product):
    service = a_service(product, client=a_client(currency="EUR"), next_term=0)
    change(ines, service, status="suspended", name="renamed")
    service.refresh_from_db()
    assert (service.status, service.name) == ("suspended", "renamed")


def test_a_cancelled_service_that_lacks_a_price_is_not_brought_back(ines, product):
    service = a_service(product, client=a_client(currency="EUR"), next_term=0, status="cancelled")
    assert "has no price per month in EUR" in change(ines, service, status="active")
    assert Service.objects.get().status == "cancelled"


def test_a_service_with_prices_of_its_own_may_move_to_a_client_in_their_currency(ines, product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, next_term=0)
    agreed(service)
    change(ines, service, client=a_client("Brandt", currency="EUR").pk)
    assert Service.objects.get().client.name == "Brandt"


def test_a_service_that_is_cancelled_from_the_start_needs_no_price(ines, product):
    order(ines, product, client=a_client(currency="EUR").pk, status="cancelled")
    assert Service.objects.exists()


# The currency of a client


def bill_in(client, one, currency):
    """Give a client another currency, as staff do. Returns the page that answers."""
    members = {"clientuser_set-TOTAL_FORMS": "0", "clientuser_set-INITIAL_FORMS": "0"}
    data = {"name": one.name, "currency": currency, **members}
    return client.post(reverse("admin:catalog_client_change", args=[one.pk]), data).content.decode()


def test_a_client_is_not_billed_in_a_currency_that_its_services_lack(ines, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product)
    shown = bill_in(ines, service.client, "EUR")
    assert "Business Web has no price per month in EUR" in shown
    assert "Mailboxes of Business Web has no price in EUR" in shown
    assert Client.objects.get().currency == "USD"


def test_prices_that_were_agreed_in_the_old_currency_refuse_another(ines, product):
    sold_in(product, "EUR")
    also_in(priced(a_setting(product, MAILBOXES), ("0", "2")), "EUR")
    service = a_service(product, name="shop")
    agreed(service, currency="USD")
    shown = bill_in(ines, service.client, "EUR")
    assert "Mailboxes as agreed for shop in USD: that is not EUR." in shown
    assert reverse("staff_service", args=[service.public_id]) in shown
    assert Client.objects.get().currency == "USD"


def test_services_that_are_over_do_not_keep_a_client_in_its_currency(ines, product):
    service = a_service(product, status="cancelled")
    bill_in(ines, service.client, "EUR")
    assert Client.objects.get().currency == "EUR"


def test_a_client_keeps_its_currency_though_a_price_is_missing(ines, product):
    service = a_service(product, client=a_client(currency="EUR"))
    service.client.name = "Renamed"
    bill_in(ines, service.client, "EUR")
    assert Client.objects.get().name == "Renamed"


def test_what_is_issued_stays_when_a_client_is_billed_in_another_currency(ines, product):
    """M6: the next invoice is in the new currency, those before are as they were."""
    sold_in(product, "EUR")
    also_in(priced(a_setting(product, MAILBOXES), ("0", "2")), "EUR")
    service = a_service(product, tenant=a_tenant(a_server()), anchor="2026-10-19")
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", mailboxes=5))
    create_invoices(on=TODAY, at=at("2026-11-19 09:00"))
    before = list(Invoice.objects.values()), list(Line.objects.values())
    bill_in(ines, service.client, "EUR")
    assert Client.objects.get().currency == "EUR"
    assert (list(Invoice.objects.values()), list(Line.objects.values())) == before
    collected(service.tenant.server, "2026-12-19 06:00", tenant_says("alice", mailboxes=5))
    create_invoices(on=date(2026, 12, 19), at=at("2026-12-19 09:00"))
    assert list(Invoice.objects.order_by("number").values_list("currency", "total")) == [("USD", 34), ("EUR", 27)]


# The list for staff


def see(client, name):
    response = client.get(reverse(name))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_staff_see_what_is_missing_for_how_many_and_since_when_they_are_parked(ines, product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    brandt, server = a_client("Brandt", currency="EUR"), a_server()
    late = a_service(product, client=brandt, tenant=a_tenant(server), anchor="2026-10-19")
    a_service(product, client=brandt, tenant=a_tenant(server, "bob"), anchor="2026-11-10")
    a_service(product, client=a_client("Other"), anchor="2026-11-10")
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=5))
    create_invoices(on=TODAY, at=at("2026-11-19 07:00"))
    assert [parked.service for parked in Parked.objects.all()] == [late]
    shown = see(ines, "staff_missing_prices")
    assert "1 price is missing" in shown
    for label, words in (("What has no price", "Mailboxes"), ("Currency", "EUR"), ("Services", "2")):
        assert f'data-label="{label}">{words}</td>' in shown
    assert "1 since today, 07:00" in shown
    assert reverse("staff_pricing", args=[product.pk, a_metric(MAILBOXES).pk]) in shown


def test_what_nobody_is_parked_for_yet_says_so(ines, product):
    a_service(product, client=a_client(currency="EUR"), anchor="2026-11-10")
    shown = see(ines, "staff_missing_prices")
    assert "none yet" in shown
    assert reverse("admin:catalog_product_change", args=[product.pk]) in shown


def test_a_service_that_is_parked_for_something_else_is_not_counted(ines, product):
    sold_in(product, "EUR")
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    brandt = a_client(currency="EUR")
    own = a_service(product, client=brandt)
    agreed(own)
    a_service(product, client=brandt)
    Parked.objects.create(service=own, reason="The database refused it.", since=at("2026-11-18 07:00"))
    assert "none yet" in see(ines, "staff_missing_prices")


def test_when_nothing_is_missing_the_list_says_so(ines, product):
    a_service(product)
    assert "No price is missing" in see(ines, "staff_missing_prices")


def test_the_first_page_of_staff_says_what_is_missing_and_leads_there(ines, product):
    a_service(product, client=a_client(currency="EUR"), anchor="2026-11-10")
    shown = see(ines, "staff_home")
    assert "1 price is missing" in shown
    assert "Business Web has no price per month in EUR" in shown
    assert reverse("staff_missing_prices") in shown
    assert "1 thing needs a person today" in shown
    sold_in(product, "EUR")
    shown = see(ines, "staff_home")
    assert "missing</h3>" not in shown
    assert "Nothing needs a person today" in shown


def test_the_list_is_for_staff_who_may_see_products(client, product):
    address = reverse("staff_missing_prices")
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert client.get(address).status_code == 403
    client.force_login(otto := a_user("otto@staff.test", is_staff=True))
    assert client.get(address).status_code == 403
    otto.user_permissions.add(Permission.objects.get(codename="view_product"))
    assert client.get(address).status_code == 200
    assert client.post(address).status_code == 405


def test_staff_who_may_not_see_products_are_not_told_of_their_prices(client, product):
    a_service(product, client=a_client(currency="EUR"), anchor="2026-11-10")
    otto = a_user("otto@staff.test", is_staff=True)
    otto.user_permissions.add(Permission.objects.get(codename="view_service"))
    client.force_login(otto)
    assert "price in EUR" not in see(client, "staff_home")


def test_the_list_takes_as_many_queries_for_many_as_for_one(ines, product):
    a_service(product, client=a_client(currency="EUR"))
    few = [queries(ines, name) for name in ("staff_missing_prices", "staff_home")]
    for number in range(4):
        service = a_service(a_product(f"Product {number}"), client=a_client(f"Client {number}", currency="GBP"))
        Parked.objects.create(service=service, reason="No price.", since=at("2026-11-18 07:00"))
    assert [queries(ines, name) for name in ("staff_missing_prices", "staff_home")] == few


def queries(client, name):
    with CaptureQueriesContext(connection) as captured:
        see(client, name)
    return len(captured)
