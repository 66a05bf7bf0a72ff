"""The staff's search over clients, services, tenants and invoices."""

import time
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invoicing import searching
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from metering import lookup
from metering.models import Tenant
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user, at
from tests.invoicing.pages import allow, words

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def found(client, query):
    response = client.get(reverse("staff_search"), {"q": query})
    assert response.status_code == 200
    return words(response)


def names(group):
    return [str(one) for one in group]


def test_who_is_called_just_so_comes_first_then_who_begins_so_then_who_has_it_somewhere():
    for name in ("The Harbour", "Harbour & Sons", "Old harbour inn", "HARBOUR", "Kestrel"):
        a_client(name)
    assert names(searching.clients("harbour")) == ["HARBOUR", "Harbour & Sons", "The Harbour", "Old harbour inn"]


def test_clients_are_found_by_a_part_of_their_mail_address():
    client = a_client("Kestrel Press")
    client.email = "bills@kestrel.test"
    client.save()
    assert names(searching.clients("@kestrel")) == ["Kestrel Press"]


def test_two_letters_find_what_begins_so_only():
    a_client("Brandt")
    a_client("Studio Brandt")
    assert names(searching.clients("br")) == ["Brandt"]


def test_signs_of_patterns_mean_themselves():
    for name in ("100% Web", "under_score", "back\\slash", "plain"):
        a_client(name)
    assert names(searching.clients("0% ")) == ["100% Web"]
    assert names(searching.clients("r_s")) == ["under_score"]
    assert names(searching.clients("k\\s")) == ["back\\slash"]
    assert names(searching.clients("%%%")) == []


def test_an_invoice_is_found_by_its_number_however_short_it_is_written(ines):
    for name in ("One", "Two"):
        a_service(a_product(), a_client(name), anchor="2026-10-19")
    create_invoices(on=at("2026-11-19 09:00").date(), at=at("2026-11-19 09:00"))
    for query in ("2026-00002", "2", "00002", "2026-2"):
        assert names(searching.invoices(query))[0] == "2026-00002"
    assert names(searching.invoices("2026-0000")) == ["2026-00002", "2026-00001"]
    one = Invoice.objects.get(number="2026-00001")
    for copied in (one.pk, one.lines.first().pk):
        assert names(searching.invoices(str(copied))) == ["2026-00001"]
    assert "2026-00002" in found(ines, "2")


def test_a_service_is_found_by_the_id_of_its_address(ines):
    service = a_service(a_product(), a_client("One"), name="shop")
    assert "shop" in found(ines, str(service.public_id))
    assert "Nothing is called" in found(ines, str(uuid4()))


def test_a_tenant_leads_to_its_service_or_says_that_it_has_none(ines):
    server = a_server()
    service = a_service(a_product(), a_client("One"), a_tenant(server, "alice"), name="shop")
    a_tenant(server, "alina")
    page = ines.get(reverse("staff_search"), {"q": "ali"}).content.decode()
    assert reverse("staff_service", args=[service.public_id]) in page
    assert "shop of One, on panel-01" in page
    assert f"{reverse('staff_unbilled')}?q=alina" in page
    assert "no service" in page


def test_eight_of_a_kind_are_shown_and_the_list_has_the_others(ines):
    for number in range(searching.SHOWN):
        a_client(f"Harbour {number}")
    assert "All that match" not in found(ines, "harbour")
    a_client("Harbour 9")
    page = ines.get(reverse("staff_search"), {"q": "harbour"}).content.decode()
    assert f"{reverse('staff_clients')}?q=harbour" in page
    assert page.count("Harbour ") == searching.SHOWN


def test_nobody_finds_what_they_may_not_see(client):
    tenant = a_tenant(a_server(), "harbour")
    a_service(a_product(), a_client("Harbour"), tenant, anchor="2026-10-19", name="harbour.example")
    create_invoices(on=at("2026-11-19 09:00").date(), at=at("2026-11-19 09:00"))
    address = reverse("staff_search")
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert client.get(address).status_code == 403
    client.force_login(otto := a_user("otto@staff.test", is_staff=True))
    assert client.get(address).status_code == 403
    allow(otto, "view_invoice")
    assert "Nothing is called" in found(client, "harbour")
    assert "2026-00001" in found(client, "2026-")
    allow(otto, "view_service")
    client.force_login(type(otto).objects.get(pk=otto.pk))
    assert [group.name for group in client.get(address, {"q": "harbour"}).context["groups"]] == ["services"]


def test_one_letter_is_too_short_and_says_so(ines):
    a_client("Harbour")
    assert "Enter two letters or more" in found(ines, "h")
    assert "Enter two letters or more" in found(ines, "")


def test_a_hundred_kilobytes_are_cut_and_answered_at_once(ines):
    a_client("a" * 150)
    begin = time.monotonic()
    page = found(ines, "a" * 100_000)
    assert time.monotonic() - begin < 2
    assert "a" * (lookup.LONGEST + 1) not in page.replace("a" * 150, "")


@pytest.mark.parametrize("query", ["\0\0\0", "'; DROP TABLE x; --", "<script>alert(1)</script>", "🦊🦊🦊", "\u202eabc"])
def test_whatever_is_typed_is_answered(ines, query):
    page = ines.get(reverse("staff_search"), {"q": query})
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()


def test_it_takes_as_many_queries_for_many_hits_as_for_one(ines):
    server = a_server()

    def grow(number):
        key = f"harbour-{number}"
        a_service(a_product(), a_client(key), a_tenant(server, key), anchor="2026-10-19", name=key)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            found(ines, "harbour")
        return len(captured)

    grow(0)
    queries()
    few = queries()
    for number in range(1, 7):
        grow(number)
    assert queries() == few


def test_the_box_is_on_every_page_for_who_may_search(client, ines):
    assert reverse("staff_search") in ines.get(reverse("staff_home")).content.decode()
    otto = a_user("otto@staff.test", is_staff=True)
    allow(otto, "view_server")
    client.force_login(otto)
    assert f'action="{reverse("staff_search")}"' not in client.get(reverse("staff_home")).content.decode()


def test_a_part_is_found_by_an_index():
    server = a_server()
    Tenant.objects.bulk_create(Tenant(server=server, key=f"tenant-{number}") for number in range(3000))
    a_tenant(server, "needle")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE metering_tenant")
    assert "tenants_by_part" in lookup.containing(Tenant.objects.all(), "key", "eedl").explain()
    assert "tenants_by_key" in lookup.beginning(Tenant.objects.all(), "key", "need")[:9].explain()
