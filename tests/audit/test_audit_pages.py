"""The pages of the audit log: who may see them, what they choose, a page at a time, and the same as a table."""

import csv
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from audit import reading
from audit.actors import working
from audit.models import Entry, reference
from catalog.models import ProductPrice
from invoicing import payments
from tests.builders import MAILBOXES, a_client, a_product, a_service, a_setting, a_staff_user, a_user, agreed, priced
from tests.invoicing.documents import fee, issued

pytestmark = pytest.mark.django_db


def browser_of(user):
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def ines():
    return a_staff_user()


def said(response):
    return [each.sentence for each in response.context["told"]]


def page_of(user, **asked):
    return browser_of(user).get(reverse("staff_audit"), asked)


def by(user):
    return working(user=user.pk, name=str(user), source="page", path="/admin/x/")


@pytest.mark.parametrize(
    "about",
    [
        "invoicing_invoice:x",
        "catalog_user:1e5",
        "catalog_client:²",
        "catalog_client:",
        "catalog_client:" + "9" * 30,
        ":",
    ],
)
def test_what_cannot_be_a_row_is_about_nothing(ines, about):
    page = page_of(ines, about=about)
    assert page.status_code == 200
    assert page.context["about_name"] == ""


PAGES = ["staff_audit", "staff_audit_csv", "staff_audit_entry"]


@pytest.mark.parametrize("name", PAGES)
def test_only_staff_with_the_permission_see_it(name):
    a_client()
    args = [Entry.objects.latest("id").pk] if name == "staff_audit_entry" else []
    address = reverse(name, args=args)
    assert Browser().get(address).status_code == 302
    assert browser_of(a_user()).get(address).status_code == 403
    staff = a_user("viewer@staff.test", is_staff=True)
    assert browser_of(staff).get(address).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_entry"))
    assert browser_of(staff).get(address).status_code == 200
    assert browser_of(staff).post(address).status_code == 405


def test_a_row_says_who_did_what_and_what_it_was_before(ines):
    product = a_product()
    price = ProductPrice.objects.get(product=product, cycle="monthly")
    with by(ines):
        price.amount = "20.50"
        price.save()
    page = page_of(ines, kind="catalog_productprice").content.decode()
    assert "ines@staff.test changed a price of Business Web: monthly, USD" in page
    assert ">20.5" in page.replace("\n", "").replace("</span> ", ">")
    assert "in the browser" in page


def test_deeds_have_sentences_of_their_own(ines):
    sara, client = a_user(), a_client()
    setting = a_setting(a_product())
    with by(ines):
        client.clientuser_set.create(user=sara)
        priced(setting, ("0", "1"))
        agreed(a_service(setting.product, client, name="shop.test"), setting, ("0", "0.5"))
        sara.set_password("something else")
        sara.save()
        sara.delete()
    sentences = said(page_of(ines))
    for sentence in (
        "ines@staff.test took from one that is gone what they saw of Lindqvist & Moe",
        "ines@staff.test deleted user “sara@client.test”",
        "ines@staff.test agreed other terms with shop.test, on Disk space of Business Web",
        "ines@staff.test added service “shop.test”",
        "ines@staff.test set prices of Disk space of Business Web",
        "ines@staff.test let one that is gone see Lindqvist & Moe",
    ):
        assert sentence in sentences, sentences
    assert any("changed the password of" in each for each in sentences)


def test_amounts_have_their_currency_and_values_their_names(ines):
    product = a_product()
    setting = a_setting(product, MAILBOXES)
    service = a_service(product, a_client())
    with by(ines):
        priced(setting, ("0", "2"), ("10", "1.25"))
        bill = issued(service.client, fee(service))
        payments.record(invoice=bill, amount=Decimal("24"), received_on=bill.issued_on, by=ines, at=timezone.now())
    page = " ".join(page_of(ines).content.decode().split())
    assert "entered a payment of invoice" in page
    assert "Amount: 24 USD" in page
    assert "Unit price: 1.25 USD" in page
    entry = Entry.objects.get(table="catalog_pricingversion", what="insert")
    detail = browser_of(ines).get(reverse("staff_audit_entry", args=[entry.pk])).content.decode()
    assert ">Graduated<" in detail
    cells = b"".join(browser_of(ines).get(reverse("staff_audit_csv")).streaming_content).decode()
    assert "Amount:  → 24.0000 USD" in cells


def test_the_role_that_somebody_got_is_named_in_the_language_of_the_reader(ines):
    with by(ines):
        a_user("bob@staff.test", is_staff=True).groups.add(Group.objects.get(name="pricing"))
    assert any(words.endswith("into the group Pricing") for words in said(page_of(ines)))
    with override("de"):
        german = browser_of(ines).get(reverse("staff_audit"), headers={"accept-language": "de"})
    assert any("Preisgestaltung" in words for words in said(german))


def test_names_of_people_cannot_bring_scripts_in(ines):
    with working(user=None, name="<script>alert(1)</script>", source="page", path="/<script>"):
        client = a_client("<img src=x onerror=alert(1)>")
    response = page_of(ines, kind="catalog_client")
    assert b"<script>alert" not in response.content
    assert b"<img src=x" not in response.content
    detail = browser_of(ines).get(
        reverse("staff_audit_entry", args=[Entry.objects.filter(key=client.pk).latest("id").pk])
    )
    assert b"<script>alert" not in detail.content
    assert b"<img src=x" not in detail.content


def test_a_percent_sign_in_a_name_breaks_nothing(ines):
    with working(user=None, name="100% %(who)s", source="page", path="/"):
        a_client("50 % off %(thing)s {0}")
    assert "100% %(who)s added client “50 % off %(thing)s {0}”" in said(page_of(ines))


def test_it_is_chosen_by_person(ines):
    tomas, sara = a_staff_user("tomas@staff.test"), a_user()
    for number, user in enumerate((ines, tomas, sara)):
        with by(user):
            a_client(f"client {number}")
    a_client("client of nobody")
    chosen = {"kind": "catalog_client"}
    assert said(page_of(ines, who=tomas.pk, **chosen)) == ["tomas@staff.test added client “client 1”"]
    assert said(page_of(ines, who=sara.pk, **chosen)) == ["sara@client.test added client “client 2”"]
    (nobody,) = said(page_of(ines, who="site", **chosen))
    assert "client of nobody" in nobody
    assert len(said(page_of(ines, who="no such thing", **chosen))) == 4


def test_it_is_chosen_by_kind_and_by_day(ines):
    a_client()
    assert {each.entry.table for each in page_of(ines, kind="catalog_user").context["told"]} == {"catalog_user"}
    assert {each.entry.what for each in page_of(ines, kind="access").context["told"]} == {"login"}
    today = timezone.localdate()
    assert said(page_of(ines, day=str(today)))
    assert not said(page_of(ines, day=str(today + timedelta(days=1))))
    response = page_of(ines, day="2026-13-45")
    assert "Enter a day such as 2026-11-19." in response.content.decode()


def test_one_thing_is_searched_by_its_name(ines):
    client, other = a_client("Harbour Analytics"), a_client("Fjell Media")
    a_service(client=client, name="db-harbor-07")
    a_service(client=other, product=a_product("Other"), name="fjell.test")
    found = said(page_of(ines, q="harbour"))
    assert any("Harbour Analytics" in each for each in found)
    assert any("db-harbor-07" in each for each in found)
    assert not any("fjell" in each.lower() for each in found)
    nothing = page_of(ines, q="no such name")
    assert not said(nothing)
    assert "No entry is like that" in nothing.content.decode()


def test_only_one_thing_is_asked_about(ines):
    client = a_client("Harbour Analytics")
    a_client("Fjell Media")
    response = page_of(ines, about=reference(client))
    assert len(said(response)) == 1
    assert "Only what is about Harbour Analytics." in response.content.decode()
    assert "which is gone" in page_of(ines, about="catalog_client:1000000000000").content.decode()


NONSENSE = [{"before": "x"}, {"before": "9" * 30}, {"who": "²"}, {"about": "x" * 999}, {"about": "\0"}, {"q": "\0"}]


@pytest.mark.parametrize("asked", NONSENSE)
def test_nonsense_in_the_address_breaks_nothing(ines, asked):
    assert page_of(ines, **asked).status_code == 200


def test_pages_follow_each_other_without_a_gap(ines, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 4)
    for number in range(10):
        a_client(f"client {number}")
    seen, before = [], ""
    while True:
        response = page_of(ines, kind="catalog_client", before=before)
        seen += [each.entry.pk for each in response.context["told"]]
        if not response.context["older"]:
            break
        before = response.context["older"]
        assert f"before={before}&amp;kind=catalog_client" in response.content.decode()
    newest_first = Entry.objects.filter(table="catalog_client").order_by("-id").values_list("pk", flat=True)
    assert seen == list(newest_first)


def test_entries_of_the_same_instant_follow_each_other_too(ines):
    rows = [Entry(pk=number, at=timezone.now()) for number in (1, 2)]
    assert "id" in str(Entry.objects.older_than(rows[1]).query)


def test_the_detail_shows_every_column_and_what_was_changed_with_it(ines):
    setting = a_setting(a_product())

    with by(ines):
        version = priced(setting, ("0", "1"), ("10", "0.80"))
    entry = Entry.objects.get(table="catalog_pricingversion", key=version.pk)
    page = browser_of(ines).get(reverse("staff_audit_entry", args=[entry.pk])).content.decode()
    assert "In force from" in page
    assert "Changed with it" in page
    assert "bracket" in page
    assert entry.digest in page
    assert browser_of(ines).get(reverse("staff_audit_entry", args=[10**12])).status_code == 404


def test_the_table_for_a_spreadsheet_holds_what_is_chosen_and_no_formula(ines):
    with working(user=ines.pk, name="=HYPERLINK(1)", source="page", path="/admin/x/"):
        a_client("=cmd|' /C calc'!A0")
    a_product("Not chosen")
    ines.name = "+Ines"
    ines.save()
    response = browser_of(ines).get(reverse("staff_audit_csv"), {"kind": "catalog_client"})
    rows = list(csv.DictReader(StringIO(b"".join(response.streaming_content).decode())))
    (row,) = rows
    assert row["Who"] == "'+Ines"
    assert row["Sentence"].startswith("'+Ines added client")
    assert row["Changes"].startswith("Name:")
    assert (row["What"], row["Kind"], row["User"]) == ("insert", "client", str(ines.pk))
    for cell in row.values():
        assert not cell.startswith(("=", "+", "-", "@"))


def test_the_table_has_all_pages(ines, monkeypatch):
    monkeypatch.setattr(reading, "PART", 3)
    for number in range(8):
        a_client(f"client {number}")
    response = browser_of(ines).get(reverse("staff_audit_csv"), {"kind": "catalog_client"})
    assert len(list(csv.reader(StringIO(b"".join(response.streaming_content).decode())))) == 9


def some_of_each(count):
    for number in range(count):
        product = a_product(f"Product {count}.{number}")
        setting = a_setting(product)
        priced(setting, ("0", "1"))
        client = a_client(f"client {count}.{number}", users=(a_user(f"u{count}.{number}@client.test"),))
        agreed(a_service(product, client), setting, ("0", "0.5"))


def test_a_page_asks_the_same_number_of_questions_however_much_is_on_it(ines):
    browser, address = browser_of(ines), reverse("staff_audit")
    some_of_each(1)
    with CaptureQueriesContext(
        connection,
    ) as few:
        browser.get(address)
    some_of_each(3)
    with CaptureQueriesContext(connection) as many:
        response = browser.get(address)
    assert len(response.context["told"]) == 50
    assert len(many) <= len(few)
    assert not any("count(" in query["sql"].lower() for query in many)


def test_an_empty_log_says_what_comes_into_it(ines):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("TRUNCATE audit_entry")
        cursor.execute("SET LOCAL session_replication_role = origin")
    browser = Browser()
    ines.groups.clear()

    browser.force_login(ines)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("TRUNCATE audit_entry")
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert "Nothing was changed yet" in browser.get(reverse("staff_audit")).content.decode()
