"""The editor lists whom a draft affects, with what they pay now and then, and from when."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Override
from catalog.terms import Cycle
from tests.builders import (
    EMAILS,
    MAILBOXES,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    collected,
    panel,
    priced,
    tenant_says,
)
from tests.catalog.pricing_form import address, text_of, typed

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 19, 12, tzinfo=UTC), tick=False), panel():
        yield


@pytest.fixture
def product():
    return a_product()


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


def whom(staff, product, declared=MAILBOXES, **changes):
    return staff.post(address(product, declared), typed(preview="", **changes)).context["affected"]


def shown(found):
    return [(one.row.name, one.quantity, one.now, one.then, one.starts) for one in found.shown]


def test_each_service_pays_what_its_level_of_today_costs_now_and_then(staff, product, server):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for key in ("alice", "bob"):
        a_service(product, a_client(key), a_tenant(server, key), anchor="2026-10-07")
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=25), tenant_says("bob", mailboxes=5))
    found = whom(staff, product)
    assert shown(found) == [
        ("alice", 25, 25, 31, date(2026, 12, 7)),
        ("bob", 5, 5, 10, date(2026, 12, 7)),
    ]
    [total] = found.totals
    assert (total.services, total.more, total.less, total.same, total.difference) == (2, 2, 0, 0, 11)
    assert found.unmeasured == 0


def test_services_without_a_value_are_said_to_be_in_no_sum(staff, product, server):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    for key in ("alice", "bob"):
        a_service(product, a_client(key), a_tenant(server, key), anchor="2026-10-07")
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=25))
    found = whom(staff, product)
    assert (found.services, found.unmeasured) == (2, 1)
    page = text_of(staff.post(address(product, MAILBOXES), typed(preview="")))
    assert "1 service is not counted: nothing was measured for it today." in page


def test_a_metric_that_adds_up_counts_the_last_month(staff, product, server):
    a_service(product, tenant=a_tenant(server))
    for day, used in (("2026-09-30", 900), ("2026-10-10", 7), ("2026-10-31", 5), ("2026-11-10", 800)):
        collected(server, f"{day} 06:00", tenant_says("alice", emails=used))
    found = whom(staff, product, EMAILS, unit="emails")
    assert (found.measured, shown(found)) == (
        "in October 2026",
        [("alice", 12, None, Decimal("21"), date(2026, 12, 1))],
    )


def test_months_are_priced_from_the_first_of_a_month(staff, product, server):
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 06:00", tenant_says("alice", traffic=10**9))
    found = whom(staff, product, TRAFFIC, unit="GB", notation="above", effective_from="2026-12-02")
    assert [one.starts for one in found.shown] == [date(2027, 1, 1)]


def test_a_yearly_service_pays_the_new_price_from_its_next_year(staff, product, server):
    a_service(product, tenant=a_tenant(server), anchor="2025-12-15", next_term=1, cycle=Cycle.ANNUALLY)
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=1))
    assert [one.starts for one in whom(staff, product, effective_from="2026-12-16").shown] == [date(2027, 12, 15)]
    assert [one.starts for one in whom(staff, product, effective_from="2026-12-15").shown] == [date(2026, 12, 15)]


def test_what_was_agreed_for_a_service_stays(staff, product, server):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"))
    service = a_service(product, tenant=a_tenant(server))
    Override.objects.create(
        service=service, setting=setting, unit_code="mailboxes", discount=50, currency="USD", reason="a friend",
        start=date(2026, 1, 1),
    )  # fmt: skip
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=25))
    assert [(one.now, one.then) for one in whom(staff, product).shown] == [(Decimal("12.5"), Decimal("15.5"))]


def test_each_currency_has_its_sum_and_what_has_no_price_yet_says_so(staff, product, server):
    priced(a_setting(product, MAILBOXES), ("0", "1"), currency="SEK")
    a_service(product, a_client(currency="SEK"), a_tenant(server))
    a_service(product, a_client("Other"), a_tenant(server, "bob"))
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=2), tenant_says("bob", mailboxes=2))
    prices = {f"price__{number}__SEK": "3" for number in (1, 2, 3)}
    found = whom(staff, product, **prices)
    assert [(total.currency, total.now, total.then) for total in found.totals] == [("USD", 0, 4), ("SEK", 2, 6)]
    assert {one.row.currency: one.now for one in found.shown} == {"USD": None, "SEK": 2}
    assert "no price" in text_of(staff.post(address(product), typed(preview="", **prices)))


def test_nobody_is_affected_before_there_are_services(staff, product):
    assert "No service has this product yet." in text_of(staff.post(address(product), typed(preview="")))


def test_services_that_were_never_measured_are_said_to_be(staff, product, server):
    a_service(product, tenant=a_tenant(server))
    words = text_of(staff.post(address(product), typed(preview="")))
    assert "Nothing of Mailboxes was measured today for any of them." in words


def test_the_ten_that_change_most_are_listed_in_a_constant_number_of_queries(staff, product, server):
    priced(a_setting(product, MAILBOXES), ("0", "1"))

    def add(keys):
        for key in keys:
            a_service(product, a_client(key), a_tenant(server, key))
        says = [tenant_says(key, mailboxes=int(key[1:])) for key in all_keys[: len(keys) + done[0]]]
        collected(server, f"2026-11-{10 + done[0]} 06:00", *says, accept_changes=True)
        done[0] += len(keys)

    def queries():
        with CaptureQueriesContext(connection) as caught:
            found = whom(staff, product)
        return len(caught), found

    all_keys, done = [f"t{number}" for number in range(1, 9 + 7)], [0]
    add(all_keys[:2])
    queries()
    few, _ = queries()
    add(all_keys[2:15])
    many, found = queries()
    assert many == few
    assert found.services == 15
    assert len(found.shown) == 10
    assert [one.row.name for one in found.shown][:2] == ["t10", "t11"]
