"""Periods that are billed together are summed and rated once, or each by itself; and which day prices them."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.models import Line
from tests.builders import (
    EMAILS,
    GB,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    return a_product()


def bill(on):
    with panel(says()):
        create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))
    return list(Line.objects.filter(kind="usage").order_by("position"))


def three_months(server, product):
    """Bandwidth of August, September and October: 5, 30 and 25 GB, read again after each month."""
    a_service(product, tenant=a_tenant(server), anchor="2026-08-01", next_term=1, cycle=Cycle.QUARTERLY)
    for day, used in (("2026-08-31", 5), ("2026-09-30", 30), ("2026-10-31", 25), ("2026-11-01", 0)):
        collected(server, f"{day} 23:00", tenant_says("alice", traffic=used * GB))


def test_months_are_summed_and_rated_once_so_the_included_counts_once(server, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), included="10", notation="above")
    three_months(server, product)
    [line] = bill("2026-11-02")
    assert (line.quantity, line.amount) == (60, 50)
    assert line.detail == "60 GB: 10 included, 50 at $1.00"


def test_each_month_is_rated_by_itself_with_its_own_quantity_included(server, product):
    """5 is within the 10 included, 30 costs 20, 25 costs 15."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), included="10", notation="above", periods="each")
    three_months(server, product)
    [line] = bill("2026-11-02")
    assert (line.quantity, line.amount) == (60, 35)
    assert line.detail == "60 GB in 3 periods, each rated by itself"
    assert [(step["period"], step["quantity"], step["amount"]) for step in line.steps] == [
        ("2026-09-01", "20", "20"),
        ("2026-10-01", "15", "15"),
    ]
    assert sum(Decimal(step["amount"]) for step in line.steps) == line.exact


def test_a_minimum_charge_counts_for_each_period_that_is_rated(server, product):
    from catalog.models import ChargeBounds

    version = priced(a_setting(product, TRAFFIC), ("0", "1"), included="10", notation="above", periods="each")
    ChargeBounds.objects.create(version=version, currency="USD", minimum=Decimal(3))
    three_months(server, product)
    [line] = bill("2026-11-02")
    assert line.amount == 3 + 20 + 15


def test_each_day_is_rated_by_itself(server, product):
    priced(a_setting(product, EMAILS), ("0", "1"), included="100", periods="each")
    a_service(product, tenant=a_tenant(server))
    for day, used in (("2026-10-30", 90), ("2026-10-31", 130), ("2026-11-01", 0)):
        collected(server, f"{day} 23:00", tenant_says("alice", emails=used))
    [line] = bill("2026-11-02")
    assert (line.quantity, line.amount) == (220, 30)


def test_the_version_in_force_when_a_month_began_prices_it(server, product):
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    priced(setting, ("0", "2"), notation="above", effective_from="2026-10-01")
    three_months(server, product)
    assert [(line.version.number, line.quantity, line.amount) for line in bill("2026-11-02")] == [
        (1, 35, 35),
        (2, 25, 50),
    ]


def test_priced_at_the_invoice_everything_costs_what_is_in_force_on_its_day(server, product):
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above", price_at="invoice")
    priced(setting, ("0", "2"), notation="above", effective_from="2026-10-20", price_at="invoice")
    three_months(server, product)
    assert [(line.version.number, line.quantity, line.amount) for line in bill("2026-11-02")] == [(2, 60, 120)]


def test_the_day_of_the_invoice_is_that_of_the_renewal_however_late_the_run(server, product):
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above", price_at="invoice")
    priced(setting, ("0", "9"), notation="above", effective_from="2026-11-15")
    three_months(server, product)
    assert [line.amount for line in bill("2026-11-20")] == [60]


def test_a_version_that_was_withdrawn_prices_nothing(server, product):
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    priced(setting, ("0", "9"), notation="above", effective_from="2026-09-01", withdrawn_at=at("2026-08-20 09:00"))
    three_months(server, product)
    assert [line.amount for line in bill("2026-11-02")] == [60]


def test_versions_in_different_units_price_their_own_periods(server, product):
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    priced(setting, ("0", "0.002"), notation="above", effective_from="2026-10-01", unit_code="MB")
    three_months(server, product)
    found = [(line.unit["symbol"], line.quantity, line.amount) for line in bill("2026-11-02")]
    assert found == [("GB", 35, 35), ("MB", 25_000, 50)]
