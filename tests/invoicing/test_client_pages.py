"""Staff pages about clients: the list, one client, and its form."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.models import Client
from invoicing.billing import create_invoices
from invoicing.models import Message, Parked
from tests.builders import (
    DISK,
    GB,
    a_client,
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
from tests.invoicing.pages import allow, see, words

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def listed(client, **query):
    response = client.get(reverse("staff_clients"), query)
    assert response.status_code == 200
    return words(response)


def bill():
    create_invoices(on=timezone.localdate(), at=timezone.now())


def test_the_list_is_searched_and_filtered(ines):
    a_client("Harbour")
    a_client("Kestrel", currency="EUR")
    page = listed(ines)
    assert "Harbour" in page
    assert "Kestrel" in page
    assert "Kestrel" not in listed(ines, q="arbou")
    assert "Harbour" not in listed(ines, currency="EUR")
    assert "No client is like that." in listed(ines, q="arbou", currency="EUR")
    assert "Harbour" in listed(ines, currency="nonsense", state="nonsense", page="x")


def test_the_list_finds_clients_that_need_a_look(ines):
    late = a_service(a_product(), a_client("Late"), anchor="2026-08-19", next_term=2)
    parked = a_service(a_product(), a_client("Parked"), anchor="2026-11-01")
    a_client("Well")
    create_invoices(on=at("2026-10-19 09:00").date(), at=at("2026-10-19 09:00"))
    Parked.objects.create(service=parked, reason="No price.", since=timezone.now())
    assert late.client.name in listed(ines, state="overdue")
    assert "Parked" not in listed(ines, state="overdue").replace("has a parked service", "")
    shown = listed(ines, state="parked")
    assert "Well" not in shown
    assert "Late" not in shown


def test_an_empty_list_says_how_to_begin(ines):
    assert "No client yet" in listed(ines)


def test_a_client_is_shown_with_all_that_it_has(ines):
    sara = a_user(name="Sara Lindqvist")
    client = a_client(users=(sara,))
    server, product = a_server(), a_product()
    priced(a_setting(product, DISK), ("0", "1"), notation="above")
    service = a_service(product, client, a_tenant(server), anchor="2026-09-19", next_term=2, name="shop")
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=7 * GB))
    bill()
    mail = {"kind": "issued", "to": "old@client.test", "error": "Refused."}
    Message.objects.create(client=client, created_at=timezone.now(), **mail)
    shown = see(ines, "staff_client", client.pk)
    for part in ("Lindqvist & Moe".replace("&", "&amp;"), "billed in USD", "shop", "Active", "alice", "2026-00001"):
        assert part in shown
    assert "sara@client.test" in shown
    assert "Read only" in shown
    assert "old@client.test" in shown
    assert "Refused." in shown
    page = ines.get(reverse("staff_client", args=[client.pk])).content.decode()
    for address in (
        reverse("staff_service", args=[service.public_id]),
        reverse("staff_product", args=[product.pk]),
        reverse("staff_server", args=[server.pk]),
        f"{reverse('staff_invoices')}?client={client.pk}",
    ):
        assert address in page


def test_what_is_owed_and_overdue_is_said(ines):
    service = a_service(a_product(), a_client("Late"), anchor="2026-08-19", next_term=2)
    create_invoices(on=at("2026-10-19 09:00").date(), at=at("2026-10-19 09:00"))
    shown = see(ines, "staff_client", service.client_id)
    assert "To be paid $24.00 $24.00 overdue" in shown


def test_a_parked_service_is_marked(ines):
    service = a_service(a_product(), a_client("One"))
    Parked.objects.create(service=service, reason="No price.", since=timezone.now())
    assert "Parked" in see(ines, "staff_client", service.client_id)


def test_a_client_without_anything_says_so(ines):
    shown = see(ines, "staff_client", a_client("Empty").pk)
    for kind in ("No service yet.", "No invoice yet.", "Nobody yet.", "None was sent yet.", "It has no mail address"):
        assert kind in shown


def test_staff_see_only_what_they_may(client):
    one = a_service(a_product(), a_client("One"), anchor="2026-10-19", name="shop").client
    bill()
    otto = a_user("otto@staff.test", is_staff=True)
    client.force_login(otto)
    for name, arguments in (("staff_clients", []), ("staff_client", [one.pk]), ("staff_client_new", [])):
        assert client.get(reverse(name, args=arguments)).status_code == 403
    allow(otto, "view_client")
    client.force_login(type(otto).objects.get(pk=otto.pk))
    shown = see(client, "staff_client", one.pk)
    assert "shop" not in shown
    assert "2026-00001" not in shown
    assert "Edit" not in shown
    assert client.get(reverse("staff_client_edit", args=[one.pk])).status_code == 403
    assert client.post(reverse("staff_client", args=[one.pk])).status_code == 405


def form(**values):
    return {"name": "New", "email": "", "address": "", "tax_number": "", "currency": "USD", "language": "", **values}


def test_a_client_is_added_and_changed(ines):
    response = ines.post(reverse("staff_client_new"), form(name="Kestrel", email="a@kestrel.test", tax_number="GB 1"))
    client = Client.objects.get()
    assert response.url == reverse("staff_client", args=[client.pk])
    ines.post(reverse("staff_client_edit", args=[client.pk]), form(name="Kestrel Press", language="de"))
    client.refresh_from_db()
    assert (client.name, client.language, client.currency) == ("Kestrel Press", "de", "USD")


def test_the_form_refuses_a_currency_that_its_services_have_no_price_in(ines):
    service = a_service(a_product(), a_client("One"))
    address = reverse("staff_client_edit", args=[service.client_id])
    page = ines.post(address, form(name="One", currency="EUR"))
    assert page.status_code == 200
    assert "Business Web has no price per month in EUR" in words(page)
    assert reverse("admin:catalog_product_change", args=[service.product_id]) in page.content.decode()
    service.client.refresh_from_db()
    assert service.client.currency == "USD"


def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(ines):
    page = ines.post(reverse("staff_client_new"), form(name="", currency="XXY", email="nobody"))
    text = words(page)
    assert "This field is required." in text
    assert "XXY is not a currency" in text
    assert 'value="nobody"' in page.content.decode()
    assert not Client.objects.exists()


def queries(client, address):
    with panel(), CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_pages_take_the_same_number_of_queries_however_much_there_is(ines):
    server, product, one = a_server(), a_product(), a_client("One")
    priced(a_setting(product, DISK), ("0", "1"), notation="above")

    def grow(first, last):
        for number in range(first, last):
            user = a_user(f"{number}@client.test")
            one.users.add(user)
            a_service(product, one, a_tenant(server, f"t{number}"), anchor="2026-09-19", next_term=2)
            a_service(product, a_client(f"Other {number}"))
        keys = [f"t{number}" for number in range(last)]
        collected(server, "2026-11-19 06:00", *[tenant_says(key, disk=Decimal(last) * GB) for key in keys])
        bill()

    addresses = [reverse("staff_clients"), reverse("staff_client", args=[one.pk])]
    grow(0, 1)
    for address in addresses:
        queries(ines, address)
    few = [queries(ines, address) for address in addresses]
    grow(1, 6)
    assert [queries(ines, address) for address in addresses] == few
