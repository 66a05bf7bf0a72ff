"""Tax rates in Django's admin: who keeps them, how a percent is read, and that one which clients have stays."""

from decimal import Decimal

import pytest
from django.db.models import ProtectedError
from django.urls import reverse

from audit.models import Entry
from audit.telling import tell
from catalog.models import TaxRate
from tests.builders import a_client, a_staff_user
from tests.invoicing.pages import words
from tests.people import staff_with

pytestmark = pytest.mark.django_db


def vat(percent="19", note="", name="VAT"):
    return TaxRate.objects.create(name=name, percent=Decimal(percent), note=note)


def a_client_with(rate, name="Lindqvist & Moe"):
    client = a_client(name)
    client.tax_rate = rate
    client.save()
    return client


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def add(client, **values):
    return client.post(reverse("admin:catalog_taxrate_add"), {"name": "VAT", "percent": "19", "note": "", **values})


@pytest.mark.parametrize("role", ["billing", "pricing", "administrator"])
def test_who_keeps_money_or_prices_adds_and_changes_them(client, role):
    client.force_login(staff_with(role))
    add(client)
    rate = TaxRate.objects.get()
    address = reverse("admin:catalog_taxrate_change", args=[rate.pk])
    client.post(address, {"name": "MwSt.", "percent": "8.1", "note": ""})
    rate.refresh_from_db()
    assert str(rate) == "MwSt. 8.1%"
    assert "Tax rates" in client.get(reverse("staff_records")).content.decode()


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_everybody_else_of_staff_sees_them_and_changes_none(client, role):
    rate = vat()
    client.force_login(staff_with(role))
    assert "Tax rates" in client.get(reverse("staff_records")).content.decode()
    assert "19%" in words(client.get(reverse("admin:catalog_taxrate_changelist")))
    address = reverse("admin:catalog_taxrate_change", args=[rate.pk])
    assert client.get(address).status_code == 200
    assert client.post(address, {"name": "VAT", "percent": "20", "note": ""}).status_code == 403
    assert add(client).status_code == 403
    assert TaxRate.objects.get().percent == 19


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("", "Enter a percent, such as 19"),
        ("19%", "Not a plain number"),
        ("8,1", "Not a plain number"),
        ("1e1", "Not a plain number"),
        ("NaN", "Not a plain number"),
        ("-1", "Must be 0 or more"),
        ("8.1234", "At most 3 decimals"),
        ("100.001", "less than or equal to 100"),
    ],
)
def test_a_percent_is_read_strictly(ines, typed, answer):
    assert answer in words(add(ines, percent=typed))
    assert not TaxRate.objects.exists()


def test_a_percent_is_shown_as_it_was_typed(ines):
    rate = vat("19")
    shown = ines.get(reverse("admin:catalog_taxrate_change", args=[rate.pk])).content.decode()
    assert 'value="19"' in shown
    assert "Documents that were issued stay as they are" in shown


def test_a_rate_of_nothing_needs_no_other_number(ines):
    add(ines, percent="0", note="Reverse charge")
    assert str(TaxRate.objects.get()) == "VAT 0% (Reverse charge)"


def test_a_rate_that_clients_have_is_not_deleted_and_the_page_says_how_many_have_it(ines):
    rate, unused = vat(), vat("7")
    for number in range(3):
        a_client_with(rate, f"client {number}")
    address = reverse("admin:catalog_taxrate_delete", args=[rate.pk])
    shown = words(ines.get(address))
    assert "3 clients with VAT 19%: give them another rate first" in shown
    assert "client 0" not in shown
    ines.post(address, {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [rate.pk, unused.pk], "post": "yes"}
    shown = words(ines.post(reverse("admin:catalog_taxrate_changelist"), chosen))
    assert "3 clients with VAT 19%" in shown
    assert set(TaxRate.objects.all()) == {rate, unused}
    with pytest.raises(ProtectedError):
        rate.delete()


def test_a_rate_that_nobody_has_is_deleted(ines):
    unused = vat("7")
    a_client_with(vat())
    ines.post(reverse("admin:catalog_taxrate_delete", args=[unused.pk]), {"post": "yes"})
    assert [each.percent for each in TaxRate.objects.all()] == [19]


def test_only_administrators_delete_one(client):
    rate = vat()
    client.force_login(staff_with("pricing"))
    address = reverse("admin:catalog_taxrate_delete", args=[rate.pk])
    assert client.post(address, {"post": "yes"}).status_code == 403
    assert TaxRate.objects.exists()


def test_the_audit_log_says_who_changed_a_rate_and_whose_rate_was_changed(ines):
    rate, other = vat(), vat("0", "Reverse charge")
    one = a_client_with(rate)
    ines.post(
        reverse("admin:catalog_taxrate_change", args=[rate.pk]), {"name": "VAT", "percent": "20", "note": "As of 2027."}
    )
    one.tax_rate = other
    one.save()
    page = ines.get(reverse("staff_audit"), {"kind": "catalog_taxrate"})
    assert page.context["told"][0].sentence == "ines@staff.test changed tax rate “VAT 20% (As of 2027.)”"
    assert "Percent: 19 → became 20 · Statement: As of 2027." in words(page)
    assert page.context["told"][0].page == reverse("admin:catalog_taxrate_change", args=[rate.pk])
    entry = Entry.objects.filter(table="catalog_client").latest("id")
    shown = words(ines.get(reverse("staff_audit_entry", args=[entry.pk])))
    assert "VAT 20% (As of 2027.)" in shown
    assert "VAT 0% (Reverse charge)" in shown


def test_the_audit_log_names_rates_in_one_query_however_many_there_are(django_assert_num_queries):
    for percent in (1, 2, 3):
        vat(str(percent), "As the law says.")
    entries = list(Entry.objects.filter(table="catalog_taxrate").order_by("id"))
    with django_assert_num_queries(1):
        sentences = [each.sentence.partition("added ")[2] for each in tell(entries)]
    assert sentences == [f"tax rate “VAT {percent}% (As the law says.)”" for percent in (1, 2, 3)]
