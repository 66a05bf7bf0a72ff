"""Clients set alerts and budgets in the portal, staff for a product; each is refused in words if it watches nothing."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import connection, connections
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import ClientUser, Role
from invoicing import alerts
from invoicing.models import Alert
from tests.builders import (
    GB,
    TRAFFIC,
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
    priced,
    tenant_says,
)
from tests.invoicing.pages import allow, see, words

pytestmark = pytest.mark.django_db

QUANTITY = {"measure": "quantity", "bound": "8", "when": "now", "by_mail": "on"}


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 12:00"))


def a_priced_service(role=Role.OWNER, email="sara@client.test"):
    sara = a_user(email)
    owner = a_client(f"Client of {email}", users=(sara,))
    ClientUser.objects.filter(client=owner).update(role=role)
    service = a_service(a_product(), owner, a_tenant(a_server(email), "alice"), next_term=2)
    setting = service.product.metric_settings.first()
    if setting is None:
        setting = a_setting(service.product, TRAFFIC)
        priced(setting, ("0", "1"), notation="above", included="10", unit_code="GB")
    return service, setting, sara


def set_one(client, service, setting, **data):
    said = {"about": str(setting.pk) if setting else "charges", **QUANTITY, **data}
    return client.post(reverse("portal_alert_new", args=[service.public_id]), said, follow=True)


@pytest.mark.parametrize("role", Role)
def test_the_page_of_a_service_offers_an_alert_to_who_may_set_one(client, role):
    service, _setting, sara = a_priced_service(role)
    collected(service.tenant.server, "2026-11-18 06:00", tenant_says("alice", traffic=8 * GB))
    client.force_login(sara)
    offered = "Set an alert" in see(client, "portal_service", service.public_id)
    assert offered is (role in (Role.OWNER, Role.BILLING))


def test_an_alert_is_set_listed_changed_and_taken_away(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    assert "No bound is set yet" in see(client, "portal_alerts")
    assert "Bandwidth reaches 8 GB" in words(set_one(client, service, setting))
    one = Alert.objects.get()
    assert (one.client, one.service, one.setting, one.created_by) == (service.client, service, setting, sara)
    change = {"about": str(setting.pk), "measure": "share", "bound": "80", "when": "forecast"}
    page = client.post(reverse("portal_alert", args=[one.pk]), change, follow=True)
    assert "Bandwidth is expected to reach 80% of what is included" in words(page)
    client.post(reverse("portal_alert_delete", args=[one.pk]))
    assert not Alert.objects.exists()


def test_what_was_told_before_stands_there_in_the_words_of_then(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)
    one = Alert.objects.get()
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", traffic=9 * GB))
    alerts.watch(at=at("2026-11-19 12:00"))
    charges = {"about": "charges", "measure": "amount", "bound": "500", "when": "now", "by_mail": "on"}
    page = words(client.post(reverse("portal_alert", args=[one.pk]), charges, follow=True))
    own, before = page.split("What was told before")
    assert "Usage charges reach $500.00" in own
    assert "Bandwidth" not in own
    assert "Bandwidth reaches 8 GB" in before
    assert "9 GB" in before
    old = Alert.objects.get(is_active=False)
    for name in ("portal_alert", "portal_alert_delete"):
        assert client.post(reverse(name, args=[old.pk]), charges).status_code == 404
    client.post(reverse("portal_alert_delete", args=[one.pk]))
    assert Alert.objects.get() == old


def test_an_alert_that_is_sent_twice_is_set_once(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    for bound in ("8", "8", "9"):
        set_one(client, service, setting, bound=bound)
    assert sorted(one.bound for one in Alert.objects.all()) == [8, 9]


@pytest.mark.django_db(transaction=True)
def test_of_an_alert_that_is_sent_twice_at_once_the_second_finds_the_first():
    service, setting, sara = a_priced_service()

    def once(browser):
        try:
            set_one(browser, service, setting)
        finally:
            connections.close_all()

    browsers = [Browser() for _ in range(4)]
    for browser in browsers:
        browser.force_login(sara)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, browsers))
    assert Alert.objects.count() == 1


def test_an_alert_that_is_taken_away_while_its_form_is_saved_stays_away(client, monkeypatch):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)
    one, change = Alert.objects.get(), alerts.change

    def too_late(alert, said, at):
        Alert.objects.all().delete()
        return change(alert, said, at=at)

    monkeypatch.setattr(alerts, "change", too_late)
    said = {"about": str(setting.pk), "measure": "share", "bound": "80", "when": "forecast"}
    assert "taken away meanwhile" in words(client.post(reverse("portal_alert", args=[one.pk]), said, follow=True))
    assert not Alert.objects.exists()


def test_a_budget_is_in_the_money_of_the_client(client):
    service, _setting, sara = a_priced_service()
    client.force_login(sara)
    address = reverse("portal_budget_new", args=[service.client_id])
    client.post(address, {"bound": "50.005", "when": "now"})
    assert not Alert.objects.exists()
    client.post(address, {"bound": "50", "when": "now", "by_mail": "on"})
    assert (Alert.objects.get().currency, Alert.objects.get().bound) == ("USD", Decimal(50))
    assert "Usage charges reach $50.00" in see(client, "portal_alerts")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"bound": "0"}, "Enter more than 0."),
        ({"bound": "-1"}, "Must be 0 or more"),
        ({"bound": "NaN"}, "Not a plain number"),
        ({"bound": ""}, "Enter the bound"),
        ({"about": "charges"}, "Charges are measured in money."),
        ({"about": "999999"}, "Select a valid choice"),
        ({"measure": "share"}, ""),
    ],
)
def test_what_watches_nothing_is_refused_in_words(client, data, why):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    page = words(set_one(client, service, setting, **data))
    assert why in page
    assert Alert.objects.exists() is (not why)


def test_a_share_of_nothing_and_money_of_what_is_free_are_refused(client):
    service, _setting, sara = a_priced_service()
    free = a_service(a_product("Free"), service.client, a_tenant(a_server("free"), "bob"), next_term=2)
    setting = a_setting(free.product, TRAFFIC)
    client.force_login(sara)
    assert "Nothing of it is included" in words(set_one(client, free, setting, measure="share"))
    assert "It costs nothing today" in words(set_one(client, free, setting, measure="amount"))


def test_what_was_reached_stands_on_the_first_page(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", traffic=9 * GB))
    alerts.watch(at=at("2026-11-19 12:00"))
    assert "Bandwidth reaches 8 GB" in see(client, "home")
    assert "Reached" in see(client, "portal_alerts")


def test_what_was_reached_stands_before_the_rest(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting, bound="800")
    set_one(client, service, setting)
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", traffic=9 * GB))
    alerts.watch(at=at("2026-11-19 12:00"))
    shown = see(client, "portal_alerts")
    assert shown.index("Bandwidth reaches 8 GB") < shown.index("Bandwidth reaches 800 GB")


def test_the_form_says_which_money(client):
    service, _setting, sara = a_priced_service()
    client.force_login(sara)
    assert "money, in USD" in see(client, "portal_alert_new", service.public_id)


def test_alerts_of_another_client_do_not_exist(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)
    one = Alert.objects.get()
    _service, _setting, eve = a_priced_service(email="eve@client.test")
    client.force_login(eve)
    assert "Bandwidth reaches" not in see(client, "portal_alerts")
    for address in (
        reverse("portal_alert", args=[one.pk]),
        reverse("portal_alert_new", args=[service.public_id]),
        reverse("portal_budget_new", args=[service.client_id]),
    ):
        assert client.get(address).status_code == 404
        assert client.post(address, QUANTITY).status_code == 404
    assert client.post(reverse("portal_alert_delete", args=[one.pk])).status_code == 404


def test_an_alert_says_nothing_of_a_service_that_is_another_clients_by_now(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)
    one = Alert.objects.get()
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", traffic=9 * GB))
    alerts.watch(at=at("2026-11-19 12:00"))
    service.client, service.name = a_client("Other"), "secret.example"
    service.save()
    alerts.watch(at=at("2026-11-19 13:00"))
    assert "secret.example" not in see(client, "portal_alerts")
    assert client.get(reverse("portal_alert", args=[one.pk])).status_code == 404


def test_what_watches_nothing_any_more_says_so_and_is_changed_to_what_is(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    client.post(reverse("portal_budget_new", args=[service.client_id]), {"bound": "50", "when": "now"})
    budget = Alert.objects.get()
    set_one(client, service, setting)
    one = Alert.objects.exclude(pk=budget.pk).get()
    assert "Watches nothing" not in see(client, "portal_alerts")
    second = a_setting(a_product("Second"), TRAFFIC)
    priced(second, ("0", "1"), unit_code="GB")
    service.product, service.client.currency = second.product, "EUR"
    service.save()
    service.client.save()
    assert see(client, "portal_alerts").count("Watches nothing") == 2
    assert '<option value="">---------</option>' in client.get(reverse("portal_alert", args=[one.pk])).content.decode()
    client.post(reverse("portal_alert", args=[one.pk]), QUANTITY)
    one.refresh_from_db()
    assert one.setting == setting
    client.post(reverse("portal_alert", args=[one.pk]), {**QUANTITY, "about": str(second.pk)})
    client.post(reverse("portal_alert", args=[budget.pk]), {"bound": "40", "when": "now"})
    budget.refresh_from_db()
    assert (budget.currency, budget.bound) == ("EUR", 40)
    assert "Watches nothing" not in see(client, "portal_alerts")


def test_who_only_reads_sees_alerts_and_sets_none(client):
    service, setting, ole = a_priced_service(role=Role.READER)
    client.force_login(ole)
    assert "Set another" not in see(client, "portal_alerts")
    assert set_one(client, service, setting).status_code == 403


def test_staff_set_alerts_for_a_product(client):
    service, setting, _sara = a_priced_service()
    ines = a_staff_user()
    client.force_login(ines)
    address = reverse("staff_product_alerts", args=[service.product_id])
    client.post(address, {"about": str(setting.pk), **QUANTITY})
    one = Alert.objects.get()
    assert (one.product, one.client, one.created_by) == (service.product, None, ines)
    assert "Bandwidth reaches 8 GB" in see(client, "staff_product_alerts", service.product_id)
    client.post(reverse("staff_product_alert_delete", args=[service.product_id, one.pk]))
    assert not Alert.objects.exists()


def test_staff_who_only_look_at_alerts_set_none(client):
    service, setting, _sara = a_priced_service()
    kim = a_user("kim@staff.test", is_staff=True)
    client.force_login(kim)
    address = reverse("staff_product_alerts", args=[service.product_id])
    assert client.get(address).status_code == 403
    allow(kim, "view_alert")
    assert "Set an alert" not in see(client, "staff_product_alerts", service.product_id)
    assert client.post(address, {"about": str(setting.pk), **QUANTITY}).status_code == 403


def test_the_list_takes_as_many_queries_for_many_as_for_one(client):
    service, setting, sara = a_priced_service()
    client.force_login(sara)
    set_one(client, service, setting)

    def queries():
        with CaptureQueriesContext(connection) as found:
            client.get(reverse("portal_alerts"))
        return len(found)

    queries()
    before = queries()
    for bound in range(1, 8):
        set_one(client, service, setting, bound=str(bound))
    assert queries() == before
