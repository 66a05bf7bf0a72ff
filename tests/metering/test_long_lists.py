"""Lists that may be of any length: counted so far, paged so far, searched by indexes."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Client, Product, Service, TaxRate, User
from metering import paging
from metering.models import Metric, Server, Tenant
from metering.paging import CappedPaginator, capped
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user

pytestmark = pytest.mark.django_db

LISTS = [
    "staff_services",
    "staff_invoices",
    "staff_clients",
    "staff_credit_notes",
    "staff_messages",
    "staff_collections",
    "staff_unbilled",
    "admin:catalog_client_changelist",
    "admin:catalog_service_changelist",
    "admin:catalog_user_changelist",
    "admin:metering_tenant_changelist",
    "admin:metering_collection_changelist",
]
#: Records that there are a handful of.
SHORT = {Product, TaxRate, Server, Metric, Group}


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def many(number):
    Client.objects.bulk_create(Client(name=f"Client {n:03}", currency="USD") for n in range(number))


def test_a_list_is_counted_no_further_than_its_pages_go(monkeypatch):
    monkeypatch.setattr(paging, "MOST", 20)
    many(30)
    pages = CappedPaginator(Client.objects.order_by("name"), 10)
    assert (pages.count, pages.num_pages, pages.is_capped) == (20, 2, True)
    assert [client.name for client in pages.get_page(9)][-1] == "Client 019"
    assert CappedPaginator([1, 2, 3], 2).count == 3
    assert capped(Client.objects.all(), 5) == 6


@pytest.mark.parametrize("asked", [None, "", "1", 1])
def test_a_list_of_one_page_is_read_and_not_counted(asked):
    many(10)
    rows = Client.objects.order_by("name")
    with CaptureQueriesContext(connection) as captured:
        page = CappedPaginator(rows, 10).get_page(asked)
        assert (len(page), page.paginator.count, page.has_other_pages(), page.number) == (10, 10, False, 1)
    assert len(captured) == 1
    page = CappedPaginator(rows, 9).get_page(asked)
    assert (len(page), page.paginator.count, page.has_next(), page.number) == (9, 10, True, 1)
    assert [client.name for client in page][-1] == "Client 008"


def test_rows_before_a_page_are_joined_with_nothing():
    """However far it is: they are skipped by their ids, and the page is what it would be."""
    product = a_product()
    for number in range(7):
        a_service(product, a_client(f"Client {number}"), name=f"shop {number}")
    rows = Service.objects.select_related("client").order_by("-name")
    with CaptureQueriesContext(connection) as captured:
        page = CappedPaginator(rows, 3).page(2)
        assert [service.client.name for service in page] == ["Client 3", "Client 2", "Client 1"]
    joined = [each["sql"] for each in captured.captured_queries if "JOIN" in each["sql"]]
    assert len(joined) == 1
    assert "OFFSET" not in joined[0]
    assert [service.name for service in CappedPaginator(rows, 3).page(3)] == ["shop 0"]


def test_the_last_page_of_a_capped_list_says_how_to_find_the_others(ines, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 60)
    many(61)
    page = ines.get(reverse("staff_clients"), {"page": 2}).content.decode()
    assert "A list goes as far as 60 rows" in page
    assert "A list goes" not in ines.get(reverse("staff_clients")).content.decode()


def test_pages_keep_what_else_was_asked_for(ines):
    many(60)
    page = ines.get(reverse("staff_clients"), {"currency": "USD", "q": "client"}).content.decode()
    assert "currency=USD&amp;q=client&amp;page=2" in page


@pytest.mark.parametrize("name", LISTS)
def test_no_list_counts_a_whole_table_or_skips_by_name(ines, name):
    server = a_server()
    a_service(a_product(), a_client("One"), a_tenant(server))
    for query in ({}, {"q": "client", "p": "2"}):
        with CaptureQueriesContext(connection) as captured:
            assert ines.get(reverse(name), query).status_code in (200, 302)
        for each in captured.captured_queries:
            sql = each["sql"]
            is_of_waiting_mails = '"sent_at" IS NULL' in sql  # which have an index of their own
            if "COUNT(*)" in sql and "GROUP BY" not in sql and not is_of_waiting_mails:
                assert "LIMIT" in sql, sql


def test_no_list_of_djangos_admin_counts_its_table(ines):
    """Every one that is registered: as it comes, on a later page, searched, and narrowed by each of its filters."""
    a_service(a_product(), a_client("One"), a_tenant(a_server()))
    reverse("admin:index")  # reads the addresses, with which some are registered and others not
    for model, registered in admin.site._registry.items():
        assert not registered.date_hierarchy, f"{model}: it would look for the first and last day of all rows"
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        with CaptureQueriesContext(connection) as captured:
            page = ines.get(address)
            for query in ({"p": "2"}, {"q": "client"}, {"all": ""}):
                assert ines.get(address, query).status_code in (200, 302), model
            for choices in page.context["cl"].filter_specs:
                for choice in choices.choices(page.context["cl"]):
                    assert ines.get(address + choice["query_string"]).status_code == 200, model
        counts = [each["sql"] for each in captured.captured_queries if "COUNT(" in each["sql"].upper()]
        assert counts, f"{model}: as far as its pages go it is counted"
        assert [sql for sql in counts if "LIMIT" not in sql] == [], model


def test_every_long_list_of_djangos_admin_is_sorted_by_an_index():
    reverse("admin:index")
    for model, registered in admin.site._registry.items():
        if model not in SHORT:
            assert list(registered.ordering) in (["-pk"], ["email"]), model
            assert tuple(registered.sortable_by) == (), model


def test_records_are_found_by_a_part_of_their_name(ines):
    a_service(a_product(), a_client("Harbour"), a_tenant(a_server(), "alice"), name="shop")
    a_service(a_product(), a_client("Other"), name="mail")
    for name, word in (
        ("catalog_service", "hop"),
        ("catalog_service", "arbour"),
        ("catalog_service", "lic"),
        ("metering_tenant", "lic"),
        ("catalog_client", "arbo"),
    ):
        page = ines.get(reverse(f"admin:{name}_changelist"), {"q": word}).content.decode()
        assert "1 result" in page, (name, word)
    a_user("sara@client.test")
    assert "sara@client.test" in ines.get(reverse("admin:catalog_user_changelist"), {"q": "ara@"}).content.decode()
    assert "1 result" in ines.get(reverse("admin:metering_server_changelist"), {"q": "anel"}).content.decode()


def test_what_has_its_own_pages_is_listed_for_administrators_only(client, ines):
    assert reverse("admin:catalog_client_changelist") in ines.get(reverse("staff_records")).content.decode()
    otto = a_user("otto@staff.test", is_staff=True)
    otto.user_permissions.set(type(otto.user_permissions.model.objects.first()).objects.all())
    client.force_login(User.objects.get(pk=otto.pk))
    page = client.get(reverse("staff_records")).content.decode()
    assert reverse("admin:catalog_client_changelist") not in page
    assert reverse("admin:catalog_product_changelist") in page


def test_djangos_admin_stands_in_the_staff_areas_shell(ines):
    a_service(a_product(), a_client("One"), name="shop")
    for name, entry in (("admin:catalog_service_changelist", "staff_services"), ("staff_records", "staff_records")):
        page = ines.get(reverse(name)).content.decode()
        assert f'action="{reverse("staff_search")}"' in page
        assert f'href="{reverse("staff_invoices")}"' in page
        assert f'href="{reverse(entry)}" aria-current="page"' in page
    assert Tenant.objects.count() == 0
