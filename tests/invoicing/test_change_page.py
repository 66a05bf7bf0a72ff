"""Staff give a service another product or tenant, having seen what is billed now."""

import pytest
from django.urls import reverse

from catalog.models import Service
from invoicing.models import Invoice
from metering.models import Tenant
from tests.builders import (
    GB,
    MAILBOXES,
    TRAFFIC,
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
    collected,
    priced,
    tenant_says,
)
from tests.invoicing.pages import allow, post, see

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def service(server):
    product = a_product("Small")
    for declared in (MAILBOXES, TRAFFIC):
        priced(a_setting(product, declared), ("0", "2"), notation="above")
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=3, traffic=4 * GB))
    return service


@pytest.fixture
def big():
    product = a_product("Big", price="48")
    priced(a_setting(product, TRAFFIC), ("0", "3"), notation="above")
    return product


def send(client, service, button, said=(), **values):
    data = {"product": service.product_id, "server": service.tenant.server_id, "tenant": service.tenant.key, **values}
    chosen = Tenant.objects.filter(server=data["server"] or None, key=data["tenant"]).first()
    data.setdefault("shown", f"{data['product']} {chosen.pk if chosen else ''}")
    return post(client, "staff_service_change", service.public_id, said=said, **data, **{button: ""})


def test_what_is_billed_now_is_shown_first_and_nothing_is_written(ines, service, big):
    shown = send(ines, service, "preview", product=big.pk)
    assert "Billed now, at the prices of Small" in shown
    assert "Bandwidth, November 2026 4 GB: 4 at $2.00 $8.00" in shown
    assert "Total $14.00" in shown
    assert "From the next term on, 1 December 2026: Big, $48.00 monthly." in shown
    assert not Invoice.objects.exists()
    assert Service.objects.get().product == service.product


def test_then_it_is_done_and_the_invoice_is_named(ines, service, big):
    said = [tenant_says("alice", mailboxes=3, traffic=5 * GB)]
    shown = send(ines, service, "change", said=said, product=big.pk)
    assert "alice is Big as alice now. Its usage up to now is on invoice 2026-00001, $16.00." in shown
    assert Service.objects.get().product == big


def test_what_was_chosen_after_it_was_shown_is_shown_again_first(ines, service, big):
    shown = send(ines, service, "change", product=big.pk, shown=f"{service.product_id} {service.tenant_id}")
    assert "Billed now, at the prices of Small" in shown
    assert Service.objects.get().product == service.product


def test_another_tenant_is_chosen_by_server_and_name(ines, server, service):
    other = a_server("panel-02")
    collected(other, "2026-11-18 06:00", tenant_says("alice2", mailboxes=1))
    shown = send(ines, service, "preview", server=other.pk, tenant="alice2")
    assert "Tenant from now on: alice2 on panel-02." in shown
    said = [tenant_says("alice", mailboxes=3, traffic=4 * GB)]
    send(ines, service, "change", said=said, server=other.pk, tenant="alice2")
    assert str(Service.objects.get().tenant.server) == "panel-02"


def test_free_tenants_are_offered_and_those_of_others_are_not(ines, server, service):
    a_service(service.product, a_client("Other"), a_tenant(server, "taken"))
    a_tenant(server, "free")
    shown = ines.get(reverse("staff_service_change", args=[service.public_id])).content.decode()
    assert 'value="free"' in shown
    assert 'value="taken"' not in shown


@pytest.mark.parametrize("button", ["preview", "change"])
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"tenant": "taken"}, "is the tenant of taken"),
        ({"tenant": "nobody"}, "panel-01 has no tenant of this name"),
        ({"tenant": ""}, "Enter its name on the server."),
        ({"server": ""}, "Choose the server that it is on."),
        ({"server": "", "tenant": ""}, "A service keeps its tenant, or gets another one."),
        ({"server": "999"}, "Choose a server that is offered."),
        ({"product": "999"}, "Choose a product that is offered."),
        ({}, "has that product and tenant already"),
    ],
)
def test_what_cannot_be_says_why(ines, server, service, values, why, button):
    a_service(service.product, a_client("Other"), a_tenant(server, "taken"))
    assert why in send(ines, service, button, **values)
    assert not Invoice.objects.exists()
    assert Service.objects.get(pk=service.pk).metered_from is None


def test_only_products_with_a_price_in_the_cycle_and_currency_are_offered(ines, service, big):
    euro = a_product("Euro only", currency="EUR")
    retired = a_product("Retired")
    retired.is_active = False
    retired.save()
    shown = see(ines, "staff_service_change", service.public_id)
    assert "Big" in shown
    assert "Euro only" not in shown
    assert "Retired" not in shown
    assert "Choose a product that is offered." in send(ines, service, "change", product=euro.pk)


def test_a_product_whose_metrics_lack_the_currency_is_refused_with_a_way_out(ines, server):
    small, big = a_product("Small", currency="EUR"), a_product("Big", currency="EUR")
    priced(a_setting(big, TRAFFIC), ("0", "3"), notation="above")
    service = a_service(small, a_client(currency="EUR"), a_tenant(server), next_term=2)
    shown = send(ines, service, "change", product=big.pk)
    assert "Bandwidth of Big has no price in EUR." in shown
    assert Service.objects.get().product == small


def test_agreements_that_do_not_go_along_are_said(ines, service, big):
    agreed(service, service.product.metric_settings.get(metric__system_name="traffic"), discount="10")
    assert "1 agreement of Small does not go along" in send(ines, service, "preview", product=big.pk)


def test_a_term_that_is_not_billed_yet_is_said(ines, service, big):
    Service.objects.update(next_term=1, next_due_on="2026-11-01")
    assert "A term that began on 1 November 2026 is not billed yet." in send(ines, service, "preview", product=big.pk)


def test_a_second_change_of_the_day_is_said_to_bill_nothing(ines, service, big):
    send(ines, service, "change", product=big.pk)
    third = a_product("Third")
    shown = send(ines, service, "preview", product=third.pk)
    assert "This service was changed today already." in shown


def test_one_that_does_not_run_is_not_changed_here(ines, service):
    Service.objects.update(status="pending")
    assert "alice is pending" in see(ines, "staff_service_change", service.public_id)


def test_it_takes_the_right_to_change_services_and_a_token(client, service, big):
    address = reverse("staff_service_change", args=[service.public_id])
    assert client.get(address).status_code == 302
    clerk = a_user("clerk@staff.test", is_staff=True)
    allow(clerk, "view_service")
    client.force_login(clerk)
    assert client.get(address).status_code == 403
    assert client.post(address, {"change": ""}).status_code == 403
    client.handler.enforce_csrf_checks = True
    client.force_login(a_staff_user())
    assert client.post(address, {"change": ""}).status_code == 403


def test_the_page_of_a_service_leads_there(ines, service):
    shown = ines.get(reverse("staff_service", args=[service.public_id])).content.decode()
    assert reverse("staff_service_change", args=[service.public_id]) in shown
