"""The staff's page of a product."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.builders import (
    DISK,
    MAILBOXES,
    METRICS,
    a_client,
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
from tests.invoicing.pages import allow, see

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def test_it_says_what_it_costs_what_is_metered_and_who_has_it(ines):
    server, product = a_server(), a_product()
    priced(a_setting(product, DISK), ("0", "1"), notation="above", reason="As agreed in spring.")
    priced(a_setting(product, DISK, None), ("0", "2"), notation="above", effective_from="2027-01-01")
    a_setting(product, MAILBOXES)
    a_service(product, a_client("One"), a_tenant(server))
    a_service(product, a_client("Gone"), status="cancelled")
    shown = see(ines, "staff_product", product.pk)
    assert "Can be ordered" in shown
    assert "metered by Panel" in shown
    assert "Services 1 See them" in shown
    assert "Metrics on 2 1 has a price" in shown
    assert "Monthly $24.00" in shown
    assert "As agreed in spring." in shown
    assert "In force" in shown
    assert "To come" in shown
    assert "shown, not billed" in shown
    with panel():
        page = ines.get(reverse("staff_product", args=[product.pk])).content.decode()
    for address in (
        reverse("staff_server", args=[server.pk]),
        reverse("staff_product_metrics", args=[product.pk]),
        reverse("price_list", args=[product.slug]),
        f"{reverse('staff_services')}?product={product.pk}",
        reverse("admin:catalog_product_change", args=[product.pk]),
    ):
        assert address in page


def test_a_product_that_nothing_meters_says_so(ines):
    shown = see(ines, "staff_product", a_product(provider="").pk)
    assert "Nothing meters this product" in shown
    assert "Servers" not in shown


def test_services_are_counted_up_to_a_hundred(ines):
    product, client = a_product(), a_client("One")
    for number in range(101):
        a_service(product, client, name=f"s{number}")
    assert "Services 100+" in see(ines, "staff_product", product.pk)
    assert "100+" in see(ines, "staff_products")
    assert "More than 100 services have this product." in see(ines, "staff_product_metrics", product.pk)


def test_the_services_of_a_product_are_listed(ines):
    product, other = a_product(), a_product("Other")
    a_service(product, a_client("One"), name="shop")
    a_service(other, a_client("Two"), name="mail")
    address = f"{reverse('staff_services')}?product={product.pk}"
    page = ines.get(address).content.decode()
    assert "shop" in page
    assert "mail" not in page.replace("Mails", "")
    assert ines.get(f"{reverse('staff_services')}?product=999").status_code == 404
    assert ines.get(f"{reverse('staff_services')}?product=x").status_code == 200


def test_it_is_for_staff_who_may_see_products(client):
    address = reverse("staff_product", args=[a_product().pk])
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert client.get(address).status_code == 403
    client.force_login(otto := a_user("otto@staff.test", is_staff=True))
    assert client.get(address).status_code == 403
    allow(otto, "view_product")
    client.force_login(type(otto).objects.get(pk=otto.pk))
    with panel():
        page = client.get(address).content.decode()
    assert reverse("admin:catalog_product_change", args=[1]) not in page
    assert "Metric billing" not in page
    assert client.post(address).status_code == 405


def test_the_page_takes_as_many_queries_for_many_versions_as_for_one(ines):
    product = a_product()
    address = reverse("staff_product", args=[product.pk])

    def queries():
        with panel(), CaptureQueriesContext(connection) as captured:
            assert ines.get(address).status_code == 200
        return len(captured)

    priced(a_setting(product, DISK), ("0", "1"))
    a_server()
    queries()
    few = queries()
    for declared in METRICS:
        setting = a_setting(product, declared, enabled_from=None)
        for _ in range(3):
            priced(setting, ("0", "1"), ("10", "2"))
        a_service(product, a_client(declared.display_name), a_tenant(a_server(declared.system_name)))
    assert queries() <= few  # the newest events of the timeline may be of one kind fewer
