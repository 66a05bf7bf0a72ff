"""Usage of months that came to nothing and so made no invoice, corrected later: charged as it would have been then."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.models import BracketPrice, Client, Service
from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.corrections import settle
from invoicing.models import BilledPeriod, Difference, Invoice, Line, Parked
from invoicing.verification import verify
from metering.correcting import correct
from metering.models import Metric
from metering.providers.base import Usage
from tests.builders import (
    DISK,
    GB,
    TRAFFIC,
    a_client,
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


def bill(on, **options):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def corrected(tenant, declared, start, value, when="2026-10-10 12:00"):
    correct(
        tenant=tenant,
        metric=Metric.objects.get(system_name=declared.system_name),
        start=date.fromisoformat(start),
        value=Decimal(value),
        reason="the panel counted twice",
        by=None,
        at=at(when),
    )


def settled(when="2026-10-10 13:00"):
    settle(service=Service.objects.get(), on=at(when).date(), at=at(when))
    assert [str(finding) for finding in verify()] == []


def charged():
    """What all documents come to."""
    return sum(-one.total if one.kind == Invoice.Kind.CREDIT_NOTE else one.total for one in Invoice.objects.all())


def a_yearly_service(declared, *, included="10", price="1", tenant="alice", **version):
    """A service that was billed for its year, and whose usage is billed each month from July on."""
    server, product = a_server(), a_product(price="120")
    priced(a_setting(product, declared), ("0", price), included=included, notation="above", **version)
    return a_service(
        product, tenant=a_tenant(server, tenant), anchor="2026-07-01", cycle=Cycle.ANNUALLY, bills_monthly=True
    )


def used(service, month, **values):
    """The tenant says this at the month's end, and the month is billed."""
    server, key = service.tenant.server, service.tenant.key
    after = f"2026-{month + 1:02}-01"
    collected(server, f"2026-{month:02}-28 18:00", tenant_says(key, **values))
    begun = {name: 0 if name == "traffic" else value for name, value in values.items()}
    collected(server, f"{after} 06:00", tenant_says(key, **begun))
    bill(after)


def test_each_month_is_rated_by_itself():
    service = a_yearly_service(TRAFFIC)
    for month, traffic in ((7, 8), (8, 9), (9, 7)):
        used(service, month, traffic=traffic * GB)
    assert not Invoice.objects.exists()
    corrected(service.tenant, TRAFFIC, "2026-08-01", 12 * GB)
    settled()
    assert [(line.start, line.quantity, line.amount) for line in Line.objects.all()] == [(date(2026, 8, 1), 12, 2)]


def test_each_level_is_rated_by_itself():
    service = a_yearly_service(DISK)
    for month, disk in ((7, 8), (8, 9), (9, 7)):
        used(service, month, disk=disk * GB)
    corrected(service.tenant, DISK, "2026-09-01", 12 * GB)  # the day on which August's level was read
    settled()
    assert [line.amount for line in Line.objects.all()] == [2]


@pytest.mark.parametrize(("aggregation", "costs"), [("latest", 0), ("peak", 36), ("mean", Decimal("1.65"))])
def test_a_level_is_measured_as_its_prices_said(aggregation, costs):
    """Of 4 GB included, 4 were used each day; four days turn out to be 40."""
    service = a_yearly_service(DISK, included="4" if aggregation != "mean" else "7", aggregation=aggregation)
    for day in range(1, 32):
        collected(service.tenant.server, f"2026-07-{day:02} 18:00", tenant_says("alice", disk=4 * GB))
    collected(service.tenant.server, "2026-08-01 06:00", tenant_says("alice", disk=4 * GB))
    bill("2026-08-01")
    for day in range(1, 5):
        corrected(service.tenant, DISK, f"2026-07-{day:02}", 40 * GB)
    settled()
    assert charged() == costs


def test_what_a_server_says_anew_about_such_a_month_is_rated_with_nothing_else():
    service = a_yearly_service(TRAFFIC)
    for month, traffic in ((7, 8), (8, 9), (9, 7)):
        used(service, month, traffic=traffic * GB)
    again = Usage(Decimal("7.1") * GB, start=date(2026, 9, 1), end=date(2026, 10, 1))
    collected(service.tenant.server, "2026-10-02 06:00", tenant_says("alice", traffic=again))
    settled()
    assert not Line.objects.exists()


def test_it_is_charged_given_back_and_charged_again():
    service = a_yearly_service(TRAFFIC)
    used(service, 7, traffic=8 * GB)
    for value, day, total in ((50, 10, 40), (8, 12, 0), (20, 14, 10)):
        corrected(service.tenant, TRAFFIC, "2026-07-01", value * GB, f"2026-08-{day} 12:00")
        settled(f"2026-08-{day} 13:00")
        assert charged() == total


def test_it_is_priced_by_the_product_that_the_service_had():
    service = a_yearly_service(TRAFFIC)
    other = a_product("Other")
    priced(a_setting(other, TRAFFIC), ("0", "5"), notation="above")
    used(service, 7, traffic=8 * GB)
    with panel(says(tenant_says("alice", traffic=0))):
        change(service=Service.objects.get(), at=at("2026-08-10 20:00"), product=other)
    before = charged()
    corrected(service.tenant, TRAFFIC, "2026-07-01", 9 * GB, "2026-08-12 12:00")
    settled("2026-08-12 13:00")
    assert charged() == before
    corrected(service.tenant, TRAFFIC, "2026-07-01", 12 * GB, "2026-08-13 12:00")
    settled("2026-08-13 13:00")
    assert charged() == before + 2


def test_it_is_charged_to_the_client_that_the_service_had():
    service = a_yearly_service(TRAFFIC)
    used(service, 7, traffic=8 * GB)
    Service.objects.update(client=a_client("Other"))
    corrected(service.tenant, TRAFFIC, "2026-07-01", 50 * GB, "2026-08-10 12:00")
    settled("2026-08-10 13:00")
    invoice = Invoice.objects.get()
    assert (invoice.client.name, invoice.total) == ("Lindqvist & Moe", 40)


def test_it_is_charged_in_the_currency_of_then():
    service = a_yearly_service(TRAFFIC)
    used(service, 7, traffic=8 * GB)
    a_product("In euro", currency="EUR")
    Client.objects.update(currency="EUR")
    corrected(service.tenant, TRAFFIC, "2026-07-01", 12 * GB, "2026-08-10 12:00")
    settled("2026-08-10 13:00")
    invoice = Invoice.objects.get()
    assert (invoice.currency, invoice.total) == ("USD", 2)


def test_it_is_of_the_tenant_that_the_service_had():
    service = a_yearly_service(TRAFFIC)
    alice, bob = service.tenant, a_tenant(service.tenant.server, "bob")
    used(service, 7, traffic=8 * GB)
    with panel(says(tenant_says("alice", traffic=0), tenant_says("bob", traffic=0))):
        change(service=Service.objects.get(), at=at("2026-08-03 12:00"), tenant=bob)
    before = charged()
    used(Service.objects.get(), 8, traffic=8 * GB)
    for value, day in ((50, 10), (51, 11)):
        corrected(alice, TRAFFIC, "2026-07-01", value * GB, f"2026-09-{day} 12:00")
        settled(f"2026-09-{day} 13:00")
    assert charged() == before + 41
    july = BilledPeriod.objects.filter(start="2026-07-01")
    assert {row.tenant_id for row in july} == {alice.pk}


def test_where_it_has_no_price_its_service_is_parked_and_the_others_are_billed():
    service = a_yearly_service(TRAFFIC)
    other = a_service(service.product, a_client("Other"), a_tenant(service.tenant.server, "bob"), anchor="2026-08-01")
    used(service, 7, traffic=8 * GB)
    corrected(service.tenant, TRAFFIC, "2026-07-01", 12 * GB, "2026-08-10 12:00")
    BracketPrice.objects.filter(currency="USD").delete()
    bill("2026-09-01")
    assert list(Parked.objects.values_list("service", flat=True)) == [service.pk]
    assert Difference.objects.filter(service=service).exists()
    assert other.claims.count() == 1
