"""Staff order a service for a client, and nobody orders what could not be billed."""

import re
from datetime import date

import pytest
from django.urls import reverse
from django.utils.html import escape

from catalog.models import Client, Product, Service
from tests.builders import a_client, a_product, a_setting, a_staff_user, a_user, at, panel, says

pytestmark = pytest.mark.django_db

ADDRESS = "/admin/services/add/"


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def order(ines, **changes):
    """Press the button. Returns the answer, and its words if the form came back."""
    form = {"cycle": "monthly", "start": "2026-12-01", "name": "shop.example", "status": "active", **changes}
    answer = ines.post(ADDRESS, {name: value for name, value in form.items() if value is not None})
    return answer, " ".join(answer.content.decode().split())


def test_a_service_is_added_with_what_was_asked_for(ines):
    client, product = a_client(), a_product()
    answer, _words = order(ines, client=client.name, product=product.pk)
    service = Service.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("staff_service", args=[service.public_id]))
    assert (service.client, service.product, service.name) == (client, product, "shop.example")
    assert (service.status, service.cycle, service.anchor) == ("active", "monthly", date(2026, 12, 1))
    assert (service.next_term, service.next_due_on, service.tenant) == (0, date(2026, 12, 1), None)
    assert "shop.example is added" in ines.get(answer["Location"]).content.decode()


def test_a_form_that_is_sent_twice_adds_one_service(ines):
    client, product = a_client(), a_product()
    number = re.search(r'name="public_id" value="([^"]+)"', ines.get(ADDRESS).content.decode())[1]
    said = {order(ines, client=client.name, product=product.pk, public_id=number)[0]["Location"] for _ in range(2)}
    assert said == {reverse("staff_service", args=[Service.objects.get().public_id])}


@pytest.mark.parametrize(
    "typed", [{"name": "blog.example"}, {"cycle": "annually"}, {"start": "2026-12-02"}, {"status": "pending"}]
)
def test_who_goes_back_to_the_form_and_types_another_service_is_told_that_the_first_is_added(ines, typed):
    form = {"client": a_client().name, "product": a_product().pk}
    form["public_id"] = re.search(r'name="public_id" value="([^"]+)"', ines.get(ADDRESS).content.decode())[1]
    order(ines, **form)
    answer, words = order(ines, **form | typed)
    assert answer.status_code == 200
    assert "shop.example was added with this form already. Open the page again to add another one." in words
    assert Service.objects.get().name == "shop.example"


def test_it_can_wait_until_somebody_makes_it_active(ines):
    order(ines, client=a_client().name, product=a_product().pk, status="pending")
    assert Service.objects.get().status == "pending"


def test_usage_that_is_billed_monthly_makes_a_monthly_clock(ines):
    product = a_product()
    Product.objects.update(bills_monthly=True)
    order(ines, client=a_client().name, product=product.pk, cycle="annually", start="2026-11-01")
    service = Service.objects.get()
    assert (service.bills_monthly, service.next_due_on) == (True, date(2026, 11, 1))


def test_the_page_of_a_client_leads_to_a_form_that_names_it(ines):
    client = a_client()
    link = f"{ADDRESS}?client={client.pk}"
    assert link in ines.get(reverse("staff_client", args=[client.pk])).content.decode()
    assert f'value="{escape(client.name)}"' in ines.get(link).content.decode()
    assert ines.get(f"{ADDRESS}?client=x").status_code == ines.get(f"{ADDRESS}?client={9**17}").status_code == 200


def test_one_of_two_clients_of_a_name_is_named_by_its_address(ines):
    product = a_product()
    for email in ("one@twin.test", "two@twin.test"):
        Client.objects.create(name="Twin", email=email, currency="USD")
    _answer, words = order(ines, client="Twin", product=product.pk)
    assert "Several clients are called so" in words
    assert not Service.objects.exists()
    order(ines, client="two@twin.test", product=product.pk)
    assert Service.objects.get().client.email == "two@twin.test"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client": "Nobody at all"}, "No client is called so."),
        ({"client": ""}, "Enter the name of a client."),
        ({"product": ""}, "Choose a product."),
        ({"cycle": "fortnightly"}, "Choose a cycle."),
        ({"start": ""}, "Enter a day."),
        ({"start": "2028-11-19"}, "Let it start on 20 November 2027 or before."),
        ({"name": ""}, "Enter a name."),
        ({"status": "terminated"}, "Choose one."),
    ],
)
def test_what_is_wrong_is_said_and_the_rest_is_kept(ines, changes, said):
    form = {"client": a_client().name, "product": a_product().pk, "name": "kept.example", **changes}
    answer, words = order(ines, **form)
    assert answer.status_code == 200
    assert said in words
    assert 'value="kept.example"' in words or "name" in changes
    assert not Service.objects.exists()


def test_a_product_without_a_price_in_the_clients_currency_leads_to_where_it_is_added(ines):
    client, product = a_client(currency="EUR"), a_product()
    _answer, words = order(ines, client=client.name, product=product.pk)
    assert f"{product} has no price per month in EUR" in words
    assert reverse("staff_product", args=[product.pk]) in words or "/catalog/product/" in words
    assert not Service.objects.exists()


def test_a_product_that_is_not_sold_any_more_is_not_offered(ines):
    product = a_product()
    Product.objects.update(is_active=False)
    answer, words = order(ines, client=a_client().name, product=product.pk)
    assert "Choose a product that is offered." in words
    assert not Service.objects.exists()
    assert answer.status_code == 200


def test_no_link_of_a_service_that_was_just_added_leads_nowhere(ines):
    """It has no tenant, and so no history of any metric."""
    with panel(says()):
        product, client = a_product(), a_client(users=(sara := a_user(),))
        a_setting(product)
        order(ines, client=client.name, product=product.pk)
        service = Service.objects.get()
        for user, name in ((None, "staff_service"), (sara, "portal_service")):
            if user is not None:
                ines.force_login(user)
            page = ines.get(reverse(name, args=[service.public_id])).content.decode()
            assert "Disk" in page
            links = set(re.findall(r'href="(/[^"#?]*services/[^"#?]*)', page))
            assert {link: ines.get(link).status_code for link in links} == dict.fromkeys(links, 200)
