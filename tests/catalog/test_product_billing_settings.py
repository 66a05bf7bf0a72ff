"""When a product's services are billed, as staff set it, and what of a service cannot be edited once it runs."""

from datetime import date

import pytest
from django.urls import reverse

from catalog.models import Client, Product, Service
from tests.builders import (
    a_client,
    a_product,
    a_server,
    a_service,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    panel,
    says,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def see(client, name, *arguments):
    with panel(says()):
        response = client.get(reverse(name, args=arguments))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def save_product(client, product, **values):
    form = {
        "name": product.name,
        "slug": product.slug,
        "provider": "",
        "is_active": "on",
        "bills_suspended": "on",
        "invoice_days_ahead": "0",
        "grace_days": "0",
        "prices-TOTAL_FORMS": "0",
        "prices-INITIAL_FORMS": "0",
        **values,
    }
    form = {name: value for name, value in form.items() if value is not None}
    return client.post(reverse("admin:catalog_product_change", args=[product.pk]), form)


def order(client, product, name="shop", **values):
    """Add a service as staff do."""
    form = {
        "client": str(Client.objects.get().pk),
        "product": str(product.pk),
        "tenant": "",
        "name": name,
        "status": "active",
        "cycle": "annually",
        "anchor": "2026-11-19",
        **values,
    }
    response = client.post(reverse("admin:catalog_service_add"), form)
    assert response.status_code == 302, response.context["errors"]
    return Service.objects.get(name=name)


def edit(client, service, **values):
    form = {
        "client": str(service.client_id),
        "product": str(service.product_id),
        "tenant": str(service.tenant_id or ""),
        "name": service.name,
        "status": service.status,
        "cycle": service.cycle,
        "anchor": str(service.anchor),
        **values,
    }
    response = client.post(reverse("admin:catalog_service_change", args=[service.pk]), form)
    service.refresh_from_db()
    return response


def test_staff_set_when_services_are_billed(ines):
    product = a_product(provider="")
    response = save_product(
        ines, product, bills_monthly="on", bills_suspended=None, invoice_days_ahead="7", grace_days="3"
    )
    assert response.status_code == 302
    product.refresh_from_db()
    assert (product.bills_monthly, product.bills_suspended) == (True, False)
    assert (product.invoice_days_ahead, product.grace_days) == (7, 3)


def test_more_days_than_are_of_use_are_refused(ines):
    product = a_product(provider="")
    for wrong in ({"invoice_days_ahead": "61"}, {"grace_days": "31"}, {"grace_days": "-1"}):
        assert save_product(ines, product, **wrong).status_code == 200
    assert Product.objects.get().grace_days == 0


def test_the_form_says_why_usage_products_are_not_invoiced_ahead(ines):
    shown = see(ines, "admin:catalog_product_change", a_product(provider="").pk)
    assert "leave it at 0 where usage is billed" in shown
    assert "holds for services that are ordered from now on" in shown


def test_the_product_page_shows_them(ines):
    product = a_product()
    assert "on the first day of the term" in see(ines, "staff_product_metrics", product.pk)
    Product.objects.update(bills_monthly=True, bills_suspended=False, invoice_days_ahead=7, grace_days=1)
    shown = see(ines, "staff_product_metrics", product.pk)
    for words in ("every month", "wait until they are resumed", "7 days before the term starts", "> 1 day <"):
        assert words in shown


def test_a_service_takes_the_clock_of_its_usage_from_its_product_when_it_is_ordered(ines):
    a_client()
    product = a_product(provider="")
    assert order(ines, product, "before").bills_monthly is False
    Product.objects.update(bills_monthly=True)
    ordered = order(ines, product)
    assert ordered.bills_monthly is True
    assert (ordered.next_due_on, ordered.term(1).start) == (date(2026, 11, 19), date(2026, 12, 19))
    assert Service.objects.get(name="before").bills_monthly is False


def test_editing_a_service_that_is_billed_monthly_keeps_its_next_month(ines):
    a_client()
    Product.objects.filter(pk=a_product(provider="").pk).update(bills_monthly=True)
    service = order(ines, Product.objects.get())
    Service.objects.update(next_term=2, next_due_on=date(2027, 1, 19))
    service.refresh_from_db()
    assert edit(ines, service, status="suspended").status_code == 302
    assert (service.status, service.next_due_on) == ("suspended", date(2027, 1, 19))


def test_service_pages_say_that_it_is_billed_monthly_and_renews_annually(client):
    sara = a_user()
    service = a_service(client=a_client(users=(sara,)), cycle="annually", bills_monthly=True)
    client.force_login(a_staff_user())
    assert "billed monthly, renews annually, anchored on" in see(client, "staff_service", service.public_id)
    client.force_login(sara)
    assert "billed monthly, renews annually" in see(client, "portal_service", service.public_id)
    Service.objects.update(bills_monthly=False)
    assert "renews" not in see(client, "portal_service", service.public_id)


def test_product_and_tenant_of_a_service_that_runs_are_not_edited_but_changed(ines):
    server = a_server()
    service = a_service(tenant=a_tenant(server), next_term=2)
    other = a_product("Other")
    form = see(ines, "admin:catalog_service_change", service.pk)
    assert reverse("staff_service_change", args=[service.public_id]) in form
    assert 'name="product"' not in form
    assert 'name="tenant"' not in form
    edit(ines, service, product=str(other.pk), tenant=str(a_tenant(server, "bob").pk), name="renamed")
    assert (service.name, service.product.name, service.tenant.key) == ("renamed", "Business Web", "alice")


def test_a_running_service_that_was_not_billed_yet_is_not_edited_either(ines):
    service = a_service(next_term=0, anchor="2026-11-19")
    assert 'name="product"' not in see(ines, "admin:catalog_service_change", service.pk)
    assert 'name="cycle"' in see(ines, "admin:catalog_service_change", service.pk)


def test_cycle_and_anchor_of_one_that_was_billed_stay(ines):
    service = a_service(next_term=2)
    form = see(ines, "admin:catalog_service_change", service.pk)
    assert 'name="cycle"' not in form
    assert 'name="anchor"' not in form


@pytest.mark.parametrize(("status", "anchor"), [("pending", "2026-10-01"), ("active", "2026-12-01")])
def test_before_it_begins_all_of_it_can_be_edited(ines, status, anchor):
    service = a_service(next_term=0, anchor=anchor, status=status, product=a_product(provider=""))
    other = a_product("Other", provider="")
    Product.objects.filter(pk=other.pk).update(bills_monthly=True)
    assert edit(ines, service, product=str(other.pk), cycle="annually").status_code == 302
    assert (service.product, service.cycle, service.bills_monthly) == (other, "annually", True)


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_one_that_runs_is_not_put_away_before_its_usage_is_billed(ines, status):
    service = a_service(next_term=2)
    assert (
        "Terminate it on its own page, so that what it used is billed."
        in edit(ines, service, status=status).content.decode()
    )
    assert service.status == "active"
    planned = a_service(client=a_client("Other"), next_term=0, anchor="2026-12-01")
    assert edit(ines, planned, status=status).status_code == 302
    assert planned.status == status


def test_one_that_is_over_is_reactivated_on_its_own_page(ines):
    service = a_service(next_term=2, status="terminated", terminated_on=date(2026, 11, 10))
    response = edit(ines, service, status="active")
    assert "Reactivate it on its own page." in response.content.decode()
    assert service.status == "terminated"
