"""Suspended services are metered all the same, and billed unless their product says otherwise."""

from datetime import date

import pytest

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line
from invoicing.termination import terminate
from tests.builders import (
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
    usage_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    product = a_product()
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    return product


def bill(on):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def a_month(server, month, following, traffic):
    collected(server, f"{month}-28 20:00", tenant_says("alice", traffic=traffic * GB))
    collected(server, f"{following}-01 06:00", tenant_says("alice", traffic=0))


def test_they_are_collected_and_billed(server, product):
    a_service(product, tenant=a_tenant(server), status="suspended")
    a_month(server, "2026-10", "2026-11", 7)
    assert usage_of(a_tenant(server), TRAFFIC)["2026-10-01"] == 7 * GB
    bill("2026-11-01")
    assert Invoice.objects.get().total == 24 + 7


def test_where_the_product_says_so_their_terms_wait_until_they_are_resumed(server, product):
    product.bills_suspended = False
    product.save()
    service = a_service(product, tenant=a_tenant(server), status="suspended")
    a_month(server, "2026-10", "2026-11", 7)
    bill("2026-11-01")
    a_month(server, "2026-11", "2026-12", 5)
    bill("2026-12-01")
    assert not Invoice.objects.exists()
    Service.objects.filter(pk=service.pk).update(status="active")
    bill("2026-12-02")
    terms = Line.objects.filter(kind="recurring").order_by("start").values_list("start", flat=True)
    assert list(terms) == [date(2026, 11, 1), date(2026, 12, 1)]
    assert sum(line.amount for line in Line.objects.filter(kind="usage")) == 7 + 5


def test_one_that_is_not_billed_while_suspended_is_billed_when_it_ends(server, product):
    product.bills_suspended = False
    product.save()
    service = a_service(product, tenant=a_tenant(server), status="suspended", next_term=2)
    with panel(says(tenant_says("alice", traffic=3 * GB))):
        ended = terminate(service=service, on=date(2026, 11, 19), at=at("2026-11-19 12:00"))
    assert ended.invoice.total == 3
