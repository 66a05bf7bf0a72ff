"""The timeline of a thing: what people did with it and its parts, among what it was billed."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import timeline
from audit.actors import working
from audit.models import reference
from audit.names import _PAGES, model_of
from catalog.models import EnabledSpan
from catalog.timelines import of_client, of_product
from invoicing import timelines
from invoicing.billing import create_invoices
from invoicing.credits import credit
from invoicing.models import Decision, Invoice, Parked
from tests.builders import (
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    agreed,
    at,
    priced,
)

pytestmark = pytest.mark.django_db


def said(one):
    return [event.sentence for event in one.events]


def by_ines():
    return working(user=None, name="Ines", source="page", path="/")


def test_a_service_has_its_agreements_decisions_and_invoices():
    client = a_client()
    service = a_service(client=client, tenant=a_tenant(a_server()), name="shop.test", next_term=0)
    other = a_service(a_product("Other"), client, name="other.test", next_term=0)
    setting = a_setting(service.product)
    with by_ines():
        override = agreed(service, setting, included="20")
        override.end = date(2027, 1, 1)
        override.save()
        Decision.objects.create(service=service, verdict="hold", through="2026-11-01", at=at("2026-11-01 06:00"))
        Decision.objects.create(service=other, verdict="hold", through="2026-11-01", at=at("2026-11-01 06:00"))
        Decision.objects.create(service=service, verdict="release", through="2026-11-01", at=at("2026-11-01 06:00"))
    create_invoices(on=date(2026, 10, 1), at=at("2026-10-01 07:00"))
    one = timelines.of_service(service)
    for sentence in (
        "Ines released shop.test to be billed",
        "Ines held shop.test back from billing",
        "Ines ended what was agreed with shop.test on Disk space of Business Web",
        "Ines agreed other terms with shop.test, on Disk space of Business Web",
        "Invoice 2026-00001 issued",
    ):
        assert sentence in said(one), said(one)
    assert "other.test" not in " ".join(said(one))
    assert [event.at for event in one.events] == sorted((event.at for event in one.events), reverse=True)


def test_a_credit_note_says_who_gave_it():
    service, ines = a_service(next_term=0), a_staff_user()
    create_invoices(on=date(2026, 10, 1), at=at("2026-10-01 07:00"))
    invoice = Invoice.objects.get()
    with working(user=ines.pk, name="Ines", source="page", path="/"):
        given = {invoice.lines.get().pk: Decimal(5)}
        credit(invoice=invoice, amounts=given, reason="goodwill", on=date(2026, 10, 2), at=at("2026-10-02 07:00"))
    said_of_notes = [(each.sentence, each.note) for each in timelines.of_service(service).events]
    assert ("Ines credited $5.00: C2026-00001", "goodwill") in said_of_notes


def test_a_parked_service_says_so():
    service = a_service()
    Parked.objects.create(service=service, reason="No price in SEK.", since=at("2026-11-01 07:00"))
    event = next(each for each in timelines.of_service(service).events if each.state == "bad")
    assert (event.sentence, event.note) == ("Parked: no run bills it", "No price in SEK.")


def test_billing_of_a_service_is_no_deed_of_anybody():
    service = a_service(next_term=0)
    before = timelines.of_service(service).events
    create_invoices(on=date(2026, 10, 1), at=at("2026-10-01 07:00"))
    after = timelines.of_service(service).events
    assert [each.sentence for each in after if each not in before] == ["Invoice 2026-00001 issued"]


def test_a_product_has_its_prices_and_metrics():
    product = a_product()
    setting = a_setting(product)
    with by_ines():
        priced(setting, ("0", "1"))
        EnabledSpan.objects.filter(setting=setting).update(end=date(2027, 1, 1))
        price = product.prices.first()
        price.amount += 1
        price.save()
    assert said(of_product(product))[:3] == [
        f"Ines changed a price of Business Web: {price.cycle}, USD",
        "Ines switched Disk space of Business Web off",
        "Ines set prices of Disk space of Business Web",
    ]


def test_a_client_has_its_people_and_services():
    sara = a_user()
    client = a_client()
    with by_ines():
        client.clientuser_set.create(user=sara)
        a_service(client=client, name="shop.test")
        sara.name = "Sara Lindqvist"
        sara.save()
    assert said(of_client(client))[:3] == [
        "Ines changed user “Sara Lindqvist”",
        "Ines added service “shop.test”",
        "Ines let Sara Lindqvist see Lindqvist & Moe",
    ]


def test_a_long_one_is_cut_and_leads_to_the_log():
    client = a_client()
    for number in range(timeline.SHOWN + 3):
        client.name = f"name {number}"
        client.save()
    one = of_client(client)
    assert len(one.events) == timeline.SHOWN
    assert (one.has_more, one.about) == (True, reference(client))


@pytest.mark.parametrize(
    "name", ["staff_service", "staff_client", "staff_server", "staff_product", "staff_product_metrics"]
)
def test_it_is_on_the_pages(name):
    server = a_server()
    service = a_service(tenant=a_tenant(server))
    address = {
        "staff_service": lambda: reverse(name, args=[service.public_id]),
        "staff_server": lambda: reverse(name, args=[server.pk]),
        "staff_client": lambda: reverse(name, args=[service.client_id]),
        "staff_product": lambda: reverse(name, args=[service.product_id]),
        "staff_product_metrics": lambda: reverse(name, args=[service.product_id]),
    }[name]()
    browser = Browser()
    browser.force_login(a_staff_user())
    page = browser.get(address).content.decode()
    assert 'id="timeline"' in page
    assert "added" in page.partition('id="timeline"')[2]


def test_what_leads_to_the_log_finds_the_parts_there_too():
    service = a_service()
    setting = a_setting(service.product)
    agreed(service, setting, included="20")
    browser = Browser()
    browser.force_login(a_staff_user())
    for thing, kind in ((service, "catalog_override"), (service.product, "catalog_enabledspan")):
        page = browser.get(reverse("staff_audit"), {"about": reference(thing), "kind": kind})
        assert len(page.context["told"]) == 1, kind
    sara = a_user()
    service.client.clientuser_set.create(user=sara)
    page = browser.get(reverse("staff_audit"), {"about": reference(service.client), "kind": "catalog_user"})
    assert [each.sentence for each in page.context["told"]] == [
        "Somebody with access to the database added user “sara@client.test”"
    ]


def test_every_page_that_a_row_may_have_is_an_address():
    number, public = "7", "7d444840-9dc0-11d1-b245-5ffdce74fad2"
    for table, (name, *attributes) in _PAGES.items():
        assert model_of(table), table
        first = public if attributes[0].endswith("public_id") or table == "invoicing_invoice" else number
        assert reverse(name, args=[first, *[number for _ in attributes[1:]]])


def test_a_service_asks_the_same_number_of_questions_however_much_happened():
    service = a_service(tenant=a_tenant(a_server()))
    setting = a_setting(service.product)
    agreed(service, setting, start="2020-01-01", end="2020-02-01")
    with CaptureQueriesContext(connection) as few:
        timelines.of_service(service)
    for year in range(2021, 2026):
        agreed(service, setting, start=f"{year}-01-01", end=f"{year}-02-01")
    with CaptureQueriesContext(connection) as many:
        timelines.of_service(service)
    assert len(many) <= len(few)
