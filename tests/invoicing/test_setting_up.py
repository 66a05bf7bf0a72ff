"""The first page of staff on a new site: what leads to the first invoice, and what of it is there."""

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Product
from invoicing import setting_up
from tests.builders import a_client, a_product, a_server, a_service, a_setting, a_staff_user, a_user, priced

pytestmark = pytest.mark.django_db


def page(client, user):
    client.force_login(user)
    return " ".join(client.get(reverse("staff_home")).content.decode().split())


def done(user):
    return [step.name for step in setting_up.steps(user) if step.is_done]


def test_an_empty_site_leads_to_the_first_invoice(client):
    shown = page(client, a_staff_user())
    assert "6 steps to the first invoice" in shown
    assert "Every server answers" not in shown
    assert "Next billing run" not in shown
    for name in ("staff_servers", "admin:catalog_product_add", "staff_client_new", "staff_service_add"):
        assert f'href="{reverse(name)}"' in shown


def test_each_step_is_done_when_what_it_makes_is_there(settings):
    ines = a_staff_user()
    assert done(ines) == []
    settings.SELLER_ADDRESS = "Kai 1, Hamburg"
    assert done(ines) == ["Say who issues the invoices"]
    a_server()
    assert done(ines)[1:] == ["Add a server"]
    product = Product.objects.create(name="Without a price", slug="without")
    assert done(ines)[2:] == []
    product = a_product()
    assert done(ines)[2:] == ["Add a product with its price"]
    setting = a_setting(product)
    assert done(ines)[3:] == []
    priced(setting, ("0", "1"))
    assert done(ines)[3:] == ["Switch metrics on and price them"]
    a_client()
    assert done(ines)[4:] == ["Add a client"]


def test_a_step_that_is_done_leads_nowhere_and_the_first_service_ends_them_all(client):
    ines = a_staff_user()
    a_client()
    shown = page(client, ines)
    assert "5 steps to the first invoice" in shown
    assert f'href="{reverse("staff_client_new")}"' not in shown
    a_service(status="pending")
    shown = page(client, ines)
    assert "to the first invoice" not in shown
    assert "Nothing needs a person today" in shown


def test_who_may_not_add_something_reads_of_it_and_is_not_led_there(client):
    otto = a_user("otto@staff.test", is_staff=True)
    otto.user_permissions.add(Permission.objects.get(codename="view_server"))
    shown = page(client, otto)
    assert "Add a client" in shown
    assert f'href="{reverse("staff_client_new")}"' not in shown


def test_the_steps_take_five_queries_and_one_where_there_is_a_service():
    ines = a_staff_user()
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            setting_up.steps(ines)
        counts.append(len(queries))
        a_service()
    assert counts == [5, 1]
