"""Days of grace: an invoice stays a draft that follows the usage, and is issued once when they are over."""

from datetime import date

import pytest

from catalog.models import Service
from invoicing.billing import create_invoices
from invoicing.boundary import CannotClose
from invoicing.changing import change
from invoicing.models import BilledPeriod, Claim, Decision, DraftInvoice, Invoice, Line
from invoicing.termination import terminate
from invoicing.verification import verify
from metering.correcting import correct
from metering.models import Metric
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
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def service():
    server = a_server()
    product = a_product()
    product.grace_days = 3
    product.save()
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=10 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    return service


def bill(on, **options):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def corrected(service, value, when):
    metric = Metric.objects.get(system_name="traffic")
    correct(
        tenant=service.tenant,
        metric=metric,
        start=date(2026, 10, 1),
        value=value * GB,
        reason="late",
        by=None,
        at=at(when),
    )


def drafts():
    return [(draft.version, draft.total) for draft in DraftInvoice.objects.order_by("version")]


def test_while_it_lasts_nothing_is_issued_or_claimed(service):
    run = bill("2026-11-01").run
    assert (run.drafts, run.invoices) == (1, 0)
    assert drafts() == [(1, 34)]
    assert DraftInvoice.objects.get().issue_on == date(2026, 11, 4)
    assert not Invoice.objects.exists()
    assert not Claim.objects.exists()
    assert not BilledPeriod.objects.exists()


def test_a_draft_that_did_not_change_gets_no_new_version(service):
    bill("2026-11-01")
    bill("2026-11-02")
    assert drafts() == [(1, 34)]


def test_what_is_corrected_meanwhile_is_in_the_next_version_and_on_the_invoice(service):
    bill("2026-11-01")
    corrected(service, 15, "2026-11-02 06:00")
    bill("2026-11-02")
    assert drafts() == [(1, 34), (2, 39)]
    bill("2026-11-04")
    assert Invoice.objects.get().total == 39
    bill("2026-11-05")
    assert Invoice.objects.count() == 1
    assert [str(finding) for finding in verify()] == []


def test_a_run_after_the_days_of_grace_issues_at_once(service):
    bill("2026-11-09")
    assert drafts() == []
    assert Invoice.objects.get().total == 34


def test_a_dry_run_shows_it_as_a_draft(service):
    result = bill("2026-11-01", dry_run=True)
    assert [draft.total for draft in result.in_grace] == [34]
    assert drafts() == []


def test_a_service_that_ends_meanwhile_is_billed_for_the_term_that_has_begun(service):
    bill("2026-11-01")
    service.refresh_from_db()
    with panel(says(tenant_says("alice", traffic=2 * GB))):
        terminate(service=service, on=date(2026, 11, 3), at=at("2026-11-03 12:00"))
    assert [(each.kind, each.total) for each in Invoice.objects.order_by("entry")] == [
        ("renewal", 24 + 10),
        ("termination", 2),
    ]
    assert [str(finding) for finding in verify()] == []


def test_a_service_that_ends_on_the_day_of_renewal_is_not_billed_for_the_term_that_would_begin(service):
    bill("2026-11-01")
    service.refresh_from_db()
    with panel(says(tenant_says("alice", traffic=2 * GB))):
        terminate(service=service, on=date(2026, 11, 1), at=at("2026-11-01 12:00"))
    assert [(each.kind, each.total) for each in Invoice.objects.all()] == [("termination", 10 + 2)]


def test_a_service_that_is_changed_meanwhile_pays_the_old_price_for_the_term_that_has_begun(service):
    big = a_product("Big", price="100")
    priced(a_setting(big, TRAFFIC), ("0", "5"), notation="above")
    bill("2026-11-01")
    service.refresh_from_db()
    with panel(says(tenant_says("alice", traffic=2 * GB))):
        change(service=service, at=at("2026-11-03 12:00"), product=big)
    assert [each.total for each in Invoice.objects.order_by("entry")] == [24 + 10, 2]
    bill("2026-11-04")
    assert Invoice.objects.count() == 2
    collected(service.tenant.server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert [line.amount for line in Line.objects.filter(kind="recurring").order_by("start")] == [24, 100]


def test_a_draft_that_is_held_keeps_the_service_from_ending(service):
    bill("2026-11-01")
    service.refresh_from_db()
    Decision.objects.create(
        service=service, verdict="hold", through=date(2026, 11, 1), reason="ask first", at=at("2026-11-02 12:00")
    )
    with panel(says(tenant_says("alice", traffic=2 * GB))), pytest.raises(CannotClose, match="Held: ask first"):
        terminate(service=service, on=date(2026, 11, 3), at=at("2026-11-03 12:00"))
    assert Service.objects.get().status == "active"
    assert not Invoice.objects.exists()
