"""Alerts and budgets tell once when a bound is reached, of what is used, expected and charged."""

from datetime import time
from decimal import Decimal

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from catalog.models import ClientUser, Role
from invoicing import alerts
from invoicing.models import Alert, Crossing, Message
from metering import vault
from tests.builders import (
    DISK,
    EMAILS,
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

pytestmark = pytest.mark.django_db

NOON = at("2026-11-19 12:00")


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(NOON)


def a_watched_service(key="alice", included="10", product="Business Web", name="Lindqvist & Moe", **values):
    """A service in its term from 1 November whose traffic costs $1 per GB beyond what is included."""
    sara = a_user(f"{key}@client.test", **values)
    client = a_client(f"{name} {key}", users=(sara,))
    ClientUser.objects.filter(client=client).update(role=Role.OWNER)
    service = a_service(a_product(product), client, a_tenant(a_server(f"panel of {key}"), key), next_term=2)
    is_new = not service.product.metric_settings.exists()
    setting = a_setting(service.product, TRAFFIC, "2020-01-01" if is_new else None)
    if is_new:
        priced(setting, ("0", "1"), notation="above", included=included, unit_code="GB")
    return service, setting


def an_alert(service, setting=None, bound="8", measure="quantity", **values):
    told = {"client": service.client, "service": service, "setting": setting, "unit_code": "GB" if setting else ""}
    currency = {"currency": "USD"} if measure == "amount" else {}
    return Alert.objects.create(bound=Decimal(bound), measure=measure, created_at=NOON, **told | currency | values)


def used(service, gigabytes, when="2026-11-19 06:00", metric="traffic"):
    """A collection that says how much traffic there was in the month so far."""
    return collected(service.tenant.server, when, tenant_says(service.tenant.key, **{metric: gigabytes * GB}))


def watched(when="2026-11-19 12:00"):
    return alerts.watch(at=at(when))


def test_a_bound_that_is_reached_is_told_once_by_mail():
    service, setting = a_watched_service()
    alert = an_alert(service, setting)
    used(service, 8)
    watched()
    watched("2026-11-19 13:00")
    crossing = Crossing.objects.get()
    assert (crossing.alert, crossing.service, crossing.value, crossing.bound) == (alert, service, 8, 8)
    assert Message.objects.get().to == "alice@client.test"


def test_to_watch_services_takes_no_credentials(monkeypatch):
    """They would be decrypted for each service."""
    service, setting = a_watched_service()
    an_alert(service, setting)
    used(service, 8)
    monkeypatch.setattr(vault, "decrypt", lambda token: pytest.fail("credentials were read"))
    watched()
    assert Crossing.objects.count() == 1


def test_below_its_bound_it_says_nothing():
    service, setting = a_watched_service()
    an_alert(service, setting, bound="8.000001")
    used(service, 8)
    watched()
    assert not Crossing.objects.exists()


def test_nothing_collected_is_not_zero_and_not_reached():
    service, setting = a_watched_service()
    an_alert(service, setting, bound="0.000001")
    assert (watched().services, Crossing.objects.count()) == (1, 0)


def test_a_share_of_what_is_included():
    service, setting = a_watched_service(included="10")
    an_alert(service, setting, bound="80", measure="share")
    used(service, 7)
    watched()
    assert not Crossing.objects.exists()
    used(service, 8, "2026-11-19 18:00")
    watched("2026-11-19 19:00")
    assert Crossing.objects.get().value == 80


def test_a_share_that_is_too_large_to_be_kept_keeps_no_other_from_being_told():
    service, _setting = a_watched_service()
    emails = a_setting(service.product, EMAILS)
    priced(emails, ("0", "0"), notation="above", included="0.000001")
    other, others = a_watched_service("bob", product="Second", included="10")
    an_alert(service, emails, bound="80", measure="share", unit_code="")
    an_alert(other, others)
    collected(service.tenant.server, "2026-11-19 06:00", tenant_says("alice", emails=10**15))
    used(other, 8)
    watched()
    assert {row.value for row in Crossing.objects.all()} == {alerts.LARGEST, 8}


def test_an_amount_of_one_metric_and_of_all_charges_of_a_service():
    service, setting = a_watched_service(included="10")
    of_metric = an_alert(service, setting, bound="2", measure="amount")
    of_service = an_alert(service, None, bound="3", measure="amount")
    used(service, 12)
    watched()
    assert [row.alert for row in Crossing.objects.all()] == [of_metric]
    used(service, 13, "2026-11-19 18:00")
    watched("2026-11-19 19:00")
    assert {row.alert for row in Crossing.objects.all()} == {of_metric, of_service}


def test_a_budget_adds_up_all_services_of_the_client():
    one, _setting = a_watched_service("alice", included="0")
    other = a_service(one.product, one.client, a_tenant(a_server("another"), "alice2"), next_term=2)
    Alert.objects.create(client=one.client, bound=Decimal(10), measure="amount", currency="USD", created_at=NOON)
    used(one, 6)
    watched()
    assert not Crossing.objects.exists()
    used(other, 4)
    watched("2026-11-19 13:00")
    crossing = Crossing.objects.get()
    assert (crossing.service, crossing.value) == (None, 10)


def test_a_forecast_is_told_of_before_it_happens_and_once_a_term():
    service, setting = a_watched_service()
    alert = an_alert(service, setting, bound="30", is_of_forecast=True)
    for day in range(1, 20):
        used(service, day, f"2026-11-{day:02d} 23:00")
    watched("2026-11-19 23:30")
    assert Crossing.objects.get().alert == alert
    Crossing.objects.update(ended_at=NOON)
    watched("2026-11-20 00:30")
    assert Crossing.objects.count() == 1


def test_a_forecast_is_told_of_again_when_it_watches_something_else():
    service, setting = a_watched_service()
    alert = an_alert(service, setting, bound="20", is_of_forecast=True)
    for day in range(1, 20):
        used(service, day, f"2026-11-{day:02d} 23:00")
    watched("2026-11-19 23:30")
    alerts.change(alert, {"bound": Decimal(20), "by_mail": False}, at=at("2026-11-19 23:40"))
    watched("2026-11-20 00:30")
    assert Crossing.objects.get().ended_at is None
    alerts.change(alert, {"bound": Decimal(25)}, at=at("2026-11-20 00:40"))
    watched("2026-11-20 01:30")
    watched("2026-11-20 02:30")
    second, first = Crossing.objects.all()
    assert (first.bound, first.ended_at) == (20, at("2026-11-20 00:40"))
    assert (second.bound, second.ended_at, second.alert) == (25, None, alert)


def test_what_adds_up_is_told_of_again_in_the_next_term():
    service, setting = a_watched_service()
    an_alert(service, setting)
    used(service, 9)
    watched()
    service.next_term, service.next_due_on = 3, service.term(2).end
    service.save()
    used(service, 9, "2026-12-03 06:00")
    watched("2026-12-03 12:00")
    first, second = Crossing.objects.order_by("began_at")
    assert (first.ended_at, second.ended_at) == (at("2026-12-03 12:00"), None)
    assert Message.objects.count() == 2


def test_a_level_is_over_once_it_falls_and_is_told_of_again_when_it_rises():
    service, _traffic = a_watched_service()
    disk = a_setting(service.product, DISK)
    an_alert(service, disk, bound="5")
    for day, value in (("10", 6), ("11", 4), ("12", 6)):
        used(service, value, f"2026-11-{day} 06:00", metric="disk")
        watched(f"2026-11-{day} 07:00")
    assert Crossing.objects.count() == 2
    assert Crossing.objects.filter(ended_at=None).count() == 1


def test_a_level_that_stays_is_not_told_of_with_each_term():
    service, _traffic = a_watched_service()
    disk = a_setting(service.product, DISK)
    an_alert(service, disk, bound="5")
    used(service, 6, "2026-11-19 06:00", metric="disk")
    watched()
    service.next_term, service.next_due_on = 3, service.term(2).end
    service.save()
    used(service, 6, "2026-12-03 06:00", metric="disk")
    watched("2026-12-03 12:00")
    assert Crossing.objects.count() == 1


def test_a_metric_without_a_price_is_watched_too():
    service, _setting = a_watched_service()
    free = a_service(a_product("Shown only"), service.client, a_tenant(a_server("free"), "free"), next_term=2)
    setting = a_setting(free.product, TRAFFIC)
    an_alert(free, setting)
    used(free, 9)
    watched()
    assert Crossing.objects.get().value == 9


def test_the_bound_stays_in_its_unit_when_prices_get_another():
    service, setting = a_watched_service()
    an_alert(service, setting, bound="8")
    priced(setting, ("0", "1"), notation="above", unit_code="MB", effective_from="2026-10-01")
    used(service, 7)
    watched()
    assert not Crossing.objects.exists()


def test_quiet_hours_hold_the_mail_back_and_the_portal_says_it_at_once():
    service, setting = a_watched_service(quiet_from=time(11), quiet_until=time(14))
    an_alert(service, setting)
    used(service, 9)
    watched()
    assert Message.objects.get().hold_until == at("2026-11-19 14:00")
    assert len(alerts.open_for([service.client_id])) == 1


def test_without_by_mail_it_stands_in_the_portal_only():
    service, setting = a_watched_service()
    an_alert(service, setting, by_mail=False)
    used(service, 9)
    watched()
    assert (Crossing.objects.count(), Message.objects.count()) == (1, 0)


def test_who_only_reads_is_not_written_to():
    service, setting = a_watched_service()
    ClientUser.objects.update(role=Role.READER)
    an_alert(service, setting)
    used(service, 9)
    watched()
    assert not Message.objects.exists()


def test_an_alert_of_a_product_tells_who_set_it_of_each_service():
    ines = a_staff_user()
    one, setting = a_watched_service("alice")
    other, _same = a_watched_service("bob")
    Alert.objects.create(
        product=one.product,
        setting=setting,
        unit_code="GB",
        bound=8,
        measure="quantity",
        created_at=NOON,
        created_by=ines,
    )
    used(one, 9)
    used(other, 9)
    watched()
    assert {row.service for row in Crossing.objects.all()} == {one, other}
    assert set(Message.objects.values_list("to", "client")) == {(ines.email, None)}


@override_settings(SUPPORT_EMAIL="billing@provider.test")
def test_if_who_set_it_is_gone_the_address_of_support_is_told():
    service, setting = a_watched_service()
    Alert.objects.create(
        product=service.product, setting=setting, unit_code="GB", bound=8, measure="quantity", created_at=NOON
    )
    used(service, 9)
    watched()
    assert Message.objects.get().to == "billing@provider.test"


def test_what_is_switched_off_or_over_is_not_crossed_any_more():
    service, setting = a_watched_service()
    alert = an_alert(service, setting)
    used(service, 9)
    watched()
    Alert.objects.filter(pk=alert.pk).update(is_active=False)
    watched("2026-11-19 13:00")
    assert Crossing.objects.get().ended_at == at("2026-11-19 13:00")


def test_an_alert_stays_with_the_client_when_its_service_goes_to_another():
    service, setting = a_watched_service()
    an_alert(service, setting)
    of_product = an_alert(service, setting)
    of_product.service = None
    of_product.save()
    used(service, 9)
    watched()
    assert Crossing.objects.filter(ended_at=None).count() == 2
    before = service.client
    service.client = a_client("Other")
    service.save()
    assert alerts.open_for([before.pk]) == []
    assert watched("2026-11-19 13:00").ended == 2
    used(service, 90, "2026-11-19 18:00")
    watched("2026-11-19 19:00")
    assert not Crossing.objects.filter(ended_at=None).exists()
    assert Message.objects.count() == 2
    mine = a_service(service.product, before, a_tenant(a_server("new"), "carol"), next_term=2)
    used(mine, 9)
    watched("2026-11-19 20:00")
    assert [(row.alert, row.service) for row in Crossing.objects.filter(ended_at=None)] == [(of_product, mine)]


def test_what_cannot_be_watched_any_more_is_not_crossed():
    """Its service has another product, or its client is billed in other money."""
    service, setting = a_watched_service(included="0")
    other, others = a_watched_service("bob", product="Second", included="0")
    an_alert(service, setting)
    an_alert(other, others, bound="5", measure="amount")
    Alert.objects.create(client=other.client, bound=5, measure="amount", currency="USD", created_at=NOON)
    lasting = an_alert(other, others)
    used(service, 9)
    used(other, 9)
    assert watched().began == 4
    service.product = other.product
    service.save()
    other.client.currency = "EUR"
    other.client.save()
    watched("2026-11-19 13:00")
    assert [row.alert for row in Crossing.objects.filter(ended_at=None)] == [lasting]


def test_looking_takes_as_many_queries_for_many_as_for_one():
    service, setting = a_watched_service()
    an_alert(service, setting)
    used(service, 9)

    def queries():
        Crossing.objects.all().delete()
        with CaptureQueriesContext(connection) as found:
            watched()
        return len(found)

    queries()
    before = queries()
    for number in range(6):
        another, _same = a_watched_service(f"tenant{number}")
        an_alert(another, setting)
        used(another, 9)
    assert queries() == before
    assert Crossing.objects.count() == 7
