"""Which tax a client pays: where staff choose it, and where the client hears that it comes on top."""

import re
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.client_forms import ClientForm
from catalog.models import Client, TaxRate
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import (
    DISK,
    GB,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.pages import see, words
from tests.people import client_user, staff_with

pytestmark = pytest.mark.django_db

LINE = "Prices and amounts are before tax; VAT 19% is added on the invoice."


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def vat():
    return TaxRate.objects.create(name="VAT", percent=Decimal(19))


@pytest.fixture
def reverse_charge():
    return TaxRate.objects.create(name="VAT", percent=Decimal(0), note="Reverse charge")


def a_client_of(rate, name="One"):
    client = a_client(name)
    client.tax_rate = rate
    client.save()
    return client


def form(**values):
    blank = {"name": "One", "email": "", "address": "", "tax_number": "", "currency": "USD", "language": ""}
    return {**blank, "tax_rate": "", **values}


def chosen(client, address):
    """The tax rate that a form has chosen."""
    return client.get(address).context["form"]["tax_rate"].value()


def test_staff_choose_the_rate_of_a_client_and_take_it_back(ines, vat):
    ines.post(reverse("staff_client_new"), form(tax_rate=vat.pk))
    one = Client.objects.get()
    assert one.tax_rate == vat
    assert chosen(ines, reverse("staff_client_edit", args=[one.pk])) == vat.pk
    ines.post(reverse("staff_client_edit", args=[one.pk]), form())
    one.refresh_from_db()
    assert one.tax_rate is None


def test_the_form_says_what_it_does_and_leads_to_the_rates(ines, vat):
    page = ines.get(reverse("staff_client_new"))
    shown = words(page)
    assert "none: prices are what it pays" in shown
    assert "VAT 19%" in shown
    assert "those that were issued stay as they are" in shown
    assert f'<a href="{reverse("admin:catalog_taxrate_changelist")}">Tax rates</a>' in page.content.decode()


def test_a_rate_that_is_not_there_is_refused(ines, vat):
    page = ines.post(reverse("staff_client_new"), form(tax_rate=vat.pk + 1))
    assert "not one of the available choices" in words(page)
    assert not Client.objects.exists()


def test_a_new_client_starts_with_the_rate_that_most_have(ines, vat, reverse_charge):
    address = reverse("staff_client_new")
    for number in range(3):
        a_client(f"not taxed {number}")
    assert chosen(ines, address) is None
    for number in range(2):
        a_client_of(reverse_charge, f"abroad {number}")
    a_client_of(vat, "at home")
    assert chosen(ines, address) == reverse_charge.pk
    for number in range(2):
        a_client_of(vat, f"at home, too {number}")
    assert chosen(ines, address) == vat.pk


def test_what_most_have_is_asked_for_once_and_only_for_a_new_client(vat):
    one = a_client_of(vat)
    with CaptureQueriesContext(connection) as captured:
        ClientForm()
    assert len(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        ClientForm(instance=one)
        ClientForm(form())
    assert len(captured) == 0


def test_whom_nobody_chose_a_rate_for_is_not_taxed(ines, vat):
    """Another client's rate is what the form begins with, not what is stored without being chosen."""
    a_client_of(vat, "Other")
    data = form()
    del data["tax_rate"]
    ines.post(reverse("staff_client_new"), data)
    assert Client.objects.get(name="One").tax_rate is None


def test_a_client_that_is_not_taxed_stays_so_when_others_are(ines, vat):
    a_client_of(vat, "Other")
    one = a_client("One")
    assert chosen(ines, reverse("staff_client_edit", args=[one.pk])) is None


def test_the_page_of_a_client_says_its_tax_beside_its_tax_number(ines, vat, reverse_charge):
    assert "Tax number none Tax VAT 19%" in see(ines, "staff_client", a_client_of(vat).pk)
    assert "Tax VAT 0% (Reverse charge)" in see(ines, "staff_client", a_client_of(reverse_charge, "Two").pk)
    assert "Tax none: prices are what it pays" in see(ines, "staff_client", a_client("Three").pk)


def test_the_page_of_a_taxed_client_takes_no_query_more(ines, vat):
    one = a_client_of(vat)
    with CaptureQueriesContext(connection) as captured:
        see(ines, "staff_client", one.pk)
    read = [each["sql"] for each in captured if 'FROM "catalog_taxrate"' in each["sql"]]
    assert len(read) == 1  # by its timeline, for the names of all rates that it tells of


def test_support_may_choose_a_rate_as_it_may_change_all_else_of_a_client(client, vat):
    client.force_login(staff_with("support"))
    one = a_client("One")
    client.post(reverse("staff_client_edit", args=[one.pk]), form(tax_rate=vat.pk))
    one.refresh_from_db()
    assert one.tax_rate == vat


def test_djangos_admin_offers_it_too(ines, vat):
    one = a_client("One")
    shown = ines.get(reverse("admin:catalog_client_change", args=[one.pk])).content.decode()
    assert "none: prices are what it pays" in shown
    assert 'name="tax_rate"' in shown


def test_another_rate_holds_for_the_next_invoice_and_leaves_those_that_were_issued(ines, vat):
    service = a_service(a_product(provider=""), a_client("One"), anchor="2026-10-19", next_term=0)
    create_invoices(on=date(2026, 10, 19), at=at("2026-10-19 07:00"))
    ines.post(reverse("staff_client_edit", args=[service.client_id]), form(tax_rate=vat.pk))
    create_invoices(on=date(2026, 11, 19), at=timezone.now())
    assert [(str(each.total), each.tax_percent) for each in Invoice.objects.order_by("entry")] == [
        ("24.0000", None),
        ("28.5600", Decimal(19)),
    ]


# The client


@pytest.mark.parametrize("before", ["taxed", "not taxed"])
def test_a_client_does_not_choose_its_own_tax(client, vat, reverse_charge, before):
    """What is posted besides the fields of the form is not taken."""
    own = a_client_of(vat if before == "taxed" else None)
    client.force_login(client_user(own, "owner"))
    for name, arguments in (("portal_client_data", []), ("portal_client_data_of", [own.pk])):
        address = reverse(name, args=arguments)
        assert "tax_rate" not in client.get(address).content.decode()
        for posted in ("", str(reverse_charge.pk)):
            data = {"name": "After", "tax_rate": posted, "tax_rate_id": posted}
            assert client.post(address, data).status_code == 302
        own.refresh_from_db()
        assert own.name == "After"
        assert own.tax_rate == (vat if before == "taxed" else None)


@pytest.fixture
def service():
    """Of which usage is measured, so that a range is expected of it."""
    server, product, one = a_server(), a_product(), a_client("One")
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    priced(a_setting(product, DISK), ("0", "1"), notation="above")
    own = a_service(product, one, a_tenant(server), anchor="2026-10-19", next_term=1, name="shop")
    for day in range(2, 20):
        values = tenant_says("alice", disk=(day % 5) * GB, traffic=day * day * GB)
        collected(server, f"2026-11-{day:02} 06:00", values)
    return own


def pages_of(service):
    metric = service.product.metric_settings.get(metric__system_name="traffic").metric_id
    yield reverse("portal_service", args=[service.public_id])
    yield reverse("portal_metric", args=[service.public_id, metric])
    yield reverse("portal_service_prices", args=[service.public_id])


def taxed(client, service, rate):
    Client.objects.filter(pk=service.client_id).update(tax_rate=rate)
    client.force_login(client_user(service.client, "owner"))


def opened(client, address):
    with panel(says()):
        return words(client.get(address))


def test_who_is_taxed_reads_so_beside_prices_and_amounts(client, service, vat):
    taxed(client, service, vat)
    for address in pages_of(service):
        assert opened(client, address).count(LINE) == 1, address


def test_the_first_page_says_which_tax_is_added(client, service, vat):
    taxed(client, service, vat)
    shown = opened(client, reverse("home"))
    assert re.search(r"Between \$\S+ and \$\S+, before tax; VAT 19% is added\.", shown)


@pytest.mark.parametrize("percent", [None, 0])
def test_where_nothing_is_added_pages_say_what_they_said_before(client, service, reverse_charge, percent):
    taxed(client, service, None if percent is None else reverse_charge)
    for address in pages_of(service):
        assert "tax" not in opened(client, address).replace("--tax", ""), address
    home = opened(client, reverse("home"))
    assert "before tax." in home.lower()
    assert "is added" not in home


def test_an_invoice_that_is_known_to_the_cent_says_the_tax_too(client, vat):
    own = a_service(a_product(provider=""), a_client_of(vat), anchor="2026-10-19", next_term=1)
    client.force_login(client_user(own.client, "owner"))
    assert "About $24.00 Before tax; VAT 19% is added." in opened(client, reverse("home"))


def test_the_tax_of_a_client_costs_no_query(client, service, vat):
    def queries():
        counts = []
        for address in [reverse("home"), *pages_of(service)]:
            opened(client, address)
            with CaptureQueriesContext(connection) as captured:
                opened(client, address)
            counts.append(len(captured))
        return counts

    taxed(client, service, None)
    before = queries()
    taxed(client, service, vat)
    assert queries() == before


def test_a_name_of_a_tax_is_text(client, service):
    taxed(client, service, TaxRate.objects.create(name="<b>VAT</b>", percent=Decimal(19)))
    for address in [reverse("home"), *pages_of(service)]:
        with panel(says()):
            page = client.get(address).content.decode()
        assert "&lt;b&gt;VAT&lt;/b&gt; 19%" in page
        assert "<b>VAT" not in page


def test_a_budget_is_of_charges_before_tax(client, service):
    client.force_login(client_user(service.client, "owner"))
    shown = opened(client, reverse("portal_budget_new", args=[service.client_id]))
    assert "without fixed prices and tax" in shown
