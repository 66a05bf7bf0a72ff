"""What came to nothing before its claim was kept with it: found by the migration, and charged when it is corrected."""

import pytest

from catalog.models import Service
from invoicing import corrections
from invoicing.models import BilledPeriod, Claim, Invoice
from tests.builders import GB, TRAFFIC, at
from tests.invoicing.test_tax_migration import migrate
from tests.invoicing.test_usage_that_came_to_nothing import a_yearly_service, corrected, settled, used

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("invoicing", "0017_taxes")]


def test_each_month_is_by_its_own_claim_and_what_waits_is_looked_at_again():
    service = a_yearly_service(TRAFFIC)
    for month, traffic in ((7, 8), (8, 9), (9, 7)):
        used(service, month, traffic=traffic * GB)
    corrected(service.tenant, TRAFFIC, "2026-08-01", 12 * GB)
    try:
        migrate(BEFORE)
    finally:
        migrate()
    months = BilledPeriod.objects.order_by("start").values_list("start__month", "claim__term_start__month")
    assert list(months) == [(7, 8), (8, 9), (9, 10)]
    product = Service.objects.get().product_id
    assert set(Claim.objects.values_list("product", "client", "currency")) == {(product, service.client_id, "USD")}
    settled()
    assert [one.total for one in Invoice.objects.all()] == [2]


def test_a_difference_that_waits_is_found_again():
    service = a_yearly_service(TRAFFIC)
    used(service, 7, traffic=8 * GB)
    corrected(service.tenant, TRAFFIC, "2026-07-01", 12 * GB, "2026-08-10 12:00")
    assert corrections.assess(at("2026-08-10 12:30")) == 1
    try:
        migrate(BEFORE)
    finally:
        migrate()
    settled("2026-08-10 13:00")
    assert [one.total for one in Invoice.objects.all()] == [2]
