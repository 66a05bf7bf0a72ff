"""What a renewal invoice bills, and what it leaves for later."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext

from catalog.models import EnabledSpan
from catalog.terms import Cycle
from invoicing import issuing
from invoicing.billing import create_invoices
from invoicing.models import BilledPeriod, Deferral, Invoice, InvoicingSpan, Line, Parked
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
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


def bill(on, *answers, **options):
    """Run the billing of a day at seven in the morning; servers that are asked answer this."""
    with panel(says(*answers)):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def lines(kind="usage"):
    return [
        (line.title, line.amount) for line in Line.objects.filter(kind=kind).order_by("invoice__number", "position")
    ]


def amounts(kind="usage"):
    return [amount for _, amount in lines(kind)]


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    return a_product()


def test_the_invoice_has_the_recurring_line_and_one_usage_line_per_billed_metric(server, product):
    """Statement 24."""
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, TRAFFIC), ("0", "1"), included="10", notation="above")
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", mailboxes=24, traffic=Decimal("16.37") * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=25, traffic=0))
    bill("2026-11-01")
    invoice = Invoice.objects.get()
    assert [(line.title, line.detail, line.amount) for line in invoice.lines.all()] == [
        ("Business Web", "alice, 1 November to 1 December 2026", 24),
        ("Bandwidth, October 2026", "16.37 GB: 10 included, 6.37 at $1.00", Decimal("6.37")),
        (
            "Mailboxes, measured on 1 November 2026",
            "25 mailboxes: 9 at $2.00, 10 at $1.00, 6 at $0.50",
            31,
        ),
    ]
    assert invoice.total == Decimal("61.37")
    assert invoice.number == "2026-00001"


def test_a_snapshot_bills_its_newest_value():
    """Statement 7: 5, then 3, bills 3."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 06:00", tenant_says("alice", mailboxes=5))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=3))
    bill("2026-11-01")
    assert amounts() == [3]


def test_a_snapshot_of_zero_bills_zero_on_a_line_of_its_own(server, product):
    """Statement 8."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 06:00", tenant_says("alice", mailboxes=5))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=0))
    bill("2026-11-01")
    assert amounts() == [0]


def test_a_service_that_pauses_is_still_metered_and_billed(server, product):
    """Statement 21."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server), status="suspended")
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert amounts() == [5]


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_a_service_that_does_not_run_is_not_billed(server, product, status):
    a_service(product, tenant=a_tenant(server), status=status)
    bill("2026-11-01")
    assert not Invoice.objects.exists()


def test_while_usage_invoicing_is_off_there_is_no_usage_line(server, product):
    """Statements 19 and 22."""
    InvoicingSpan.objects.update(end=date(2026, 10, 1))
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert (amounts("recurring"), amounts()) == ([24], [])


def test_what_was_used_while_usage_invoicing_was_off_is_not_billed_later(server, product):
    InvoicingSpan.objects.update(end=date(2026, 9, 1))
    InvoicingSpan.objects.create(start=date(2026, 10, 1))
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server), anchor="2026-08-01", next_term=3)
    for month, used in ((8, 1), (9, 2), (10, 4)):
        collected(server, f"2026-{month:02}-28 18:00", tenant_says("alice", traffic=used * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    assert amounts() == [1 + 4]


def test_a_metric_that_is_off_at_the_product_has_no_line(server, product):
    """Statement 23."""
    priced(a_setting(product, MAILBOXES, enabled_from=None), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert amounts() == []


def test_what_was_used_before_a_metric_was_enabled_is_not_billed(server, product):
    setting = a_setting(product, EMAILS, enabled_from="2026-10-11")
    priced(setting, ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    for day in (9, 10, 11, 12):
        collected(server, f"2026-10-{day:02} 18:00", tenant_says("alice", emails=day))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill("2026-11-01")
    assert amounts() == [11 + 12]


def test_a_month_in_which_a_metric_was_off_for_a_while_is_not_billed(server, product):
    setting = a_setting(product, TRAFFIC, enabled_from=None)
    EnabledSpan.objects.create(setting=setting, start=date(2026, 1, 1), end=date(2026, 9, 20))
    EnabledSpan.objects.create(setting=setting, start=date(2026, 9, 25))
    priced(setting, ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server), anchor="2026-08-01", next_term=3)
    for month, used in ((8, 1), (9, 2), (10, 4)):
        collected(server, f"2026-{month:02}-28 18:00", tenant_says("alice", traffic=used * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    assert amounts() == [1 + 4]


def test_a_metric_without_a_pricing_bills_nothing(server, product):
    """Statement 61."""
    a_setting(product, MAILBOXES)
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert amounts() == []


def test_the_open_month_waits_for_the_next_invoice(server, product):
    """Statement 25: due on the 15th, the line covers the closed month only."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server), anchor="2026-01-15", next_term=2)
    collected(server, "2026-02-28 18:00", tenant_says("alice", traffic=7 * GB))
    collected(server, "2026-03-15 06:00", tenant_says("alice", traffic=3 * GB))
    bill("2026-03-15")
    assert lines() == [("Bandwidth, February 2026", 7)]


def test_an_annual_service_carries_its_closed_months(server, product):
    """Statement 26. Due on 1 January, so all twelve months are closed; eleven when due in mid-December."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server), anchor="2025-12-15", cycle=Cycle.ANNUALLY)
    for month in range(1, 13):
        collected(server, f"2026-{month:02}-15 06:00", tenant_says("alice", traffic=month * GB))
    bill("2026-12-15")
    assert lines() == [("Bandwidth, January to November 2026", sum(range(1, 12)))]
    assert BilledPeriod.objects.count() == 11


def test_billing_again_on_the_same_day_adds_nothing(server, product):
    """Statement 27."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    bill("2026-11-01")
    assert (Invoice.objects.count(), amounts()) == (1, [5])


def test_a_snapshot_on_an_annual_cycle_is_billed_once_at_its_value_on_the_day(server, product):
    """Statement 28."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server), anchor="2025-11-01", cycle=Cycle.ANNUALLY)
    collected(server, "2026-03-01 06:00", tenant_says("alice", mailboxes=90))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert amounts() == [5]


def test_months_without_a_record_count_as_none_and_are_named(server, product):
    """Statement 29."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server), anchor="2026-08-01", next_term=1, cycle=Cycle.QUARTERLY)
    collected(server, "2026-08-31 18:00", tenant_says("alice", traffic=2 * GB))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=3 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    line = Line.objects.get(kind="usage")
    assert line.amount == 5
    assert line.detail.endswith("; nothing was recorded for September 2026, which counts as none")


def test_several_months_are_summed_and_rated_once(server, product):
    """Statement 30, as the design decides: 9 + 9 with 10 included at 1 come to 8."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    a_service(product, tenant=a_tenant(server), anchor="2026-09-01", next_term=1, cycle=Cycle.QUARTERLY)
    for day in ("2026-09-30", "2026-10-31"):
        collected(server, f"{day} 18:00", tenant_says("alice", traffic=9 * GB))
    collected(server, "2026-11-30 18:00", tenant_says("alice", traffic=0))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert amounts() == [8]


def test_a_period_is_priced_by_the_version_in_force_when_it_began(server, product):
    """Statement 31 is WHMCS's way, the current price; the design prices each period by its own version."""
    setting = a_setting(product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    priced(setting, ("0", "3"), notation="above", effective_from="2026-10-01")
    a_service(product, tenant=a_tenant(server), anchor="2026-09-01", next_term=1, cycle=Cycle.QUARTERLY)
    for day, used in (("2026-09-30", 10), ("2026-10-31", 20)):
        collected(server, f"{day} 18:00", tenant_says("alice", traffic=used * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("Bandwidth, September 2026", 10), ("Bandwidth, October 2026", 60)]


def test_all_closed_periods_of_terms_that_were_missed_are_billed_once_each(server, product):
    """Statement 33 is about unpaid invoices, which come later; usage that piled up is billed in full."""
    priced(a_setting(product, EMAILS), ("0", "1"))
    a_service(product, tenant=a_tenant(server), anchor="2026-09-01")
    for day in ("2026-09-10", "2026-10-10", "2026-11-10"):
        collected(server, f"{day} 18:00", tenant_says("alice", emails=1))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0))
    bill("2026-12-01")
    assert [line.start for line in Line.objects.filter(kind="recurring").order_by("start")] == [
        date(2026, 10, 1),
        date(2026, 11, 1),
        date(2026, 12, 1),
    ]
    assert amounts() == [1, 1, 1]


def test_the_first_partial_month_has_its_full_included_quantity(server, product):
    """Statement 35."""
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    a_service(product, tenant=a_tenant(server), anchor="2026-10-20", next_term=1)
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=12 * GB))
    collected(server, "2026-11-20 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-20")
    assert lines() == [("Bandwidth, October 2026", 2)]


def test_a_late_run_bills_the_level_of_the_day_that_was_due(server, product):
    """Statement 36 bills the value of the day of the run; here the term's own last day counts, so that a run
    that is late changes no amount."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    collected(server, "2026-11-03 06:00", tenant_says("alice", mailboxes=50))
    bill("2026-11-03")
    assert amounts() == [5]


def test_a_level_that_was_not_measured_in_time_waits_for_the_next_invoice(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-20 06:00", tenant_says("alice", mailboxes=5))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=5))
    bill("2026-11-01")
    assert (amounts("recurring"), amounts()) == ([24], [])
    assert [(wait.service, wait.reason) for wait in Deferral.objects.all()] == [
        (service, "not measured since 2026-10-20")
    ]
    collected(server, "2026-12-01 06:00", tenant_says("alice", mailboxes=7))
    bill("2026-12-01")
    assert amounts() == [5, 7]
    assert not Deferral.objects.exists()


def test_a_server_whose_values_are_old_is_asked_again_before_the_bill(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-20 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01", tenant_says("alice", mailboxes=9))
    assert amounts() == [9]


def test_a_month_that_was_not_read_after_its_end_waits(server, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=7 * GB))
    result = bill("2026-11-01")
    assert amounts() == []
    assert [wait.reason for wait in result.waiting] == ["not read since the period ended on 2026-11-01"]
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert lines() == [("Bandwidth, October 2026", 7)]


def test_a_missing_price_in_the_clients_currency_parks_the_service_and_the_others_go_on(server, product):
    """Statement 64: reported, never billed 0."""
    a_product(currency="EUR")
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    euro = a_service(product, a_client("Kaffehaus", "EUR"), a_tenant(server, "kaffehaus"))
    a_service(product, a_client("Moe", "USD"), a_tenant(server, "moe"))
    answers = [tenant_says("kaffehaus", mailboxes=3), tenant_says("moe", mailboxes=3)]
    collected(server, "2026-11-01 06:00", *answers)
    result = bill("2026-11-01")
    assert result.parked[euro.pk].startswith("No price in EUR for Mailboxes of Business Web.")
    assert Invoice.objects.get().client.name == "Moe"
    priced(product.metric_settings.get(), ("0", "2"), currency="EUR", effective_from="2026-10-01")
    bill("2026-11-01")
    assert Invoice.objects.get(currency="EUR").total == 24 + 6
    assert not Parked.objects.exists()


def test_a_client_pays_the_prices_of_its_currency(server, product):
    """Statement 63."""
    a_product(currency="JPY", price="2400")
    setting = a_setting(product, MAILBOXES)
    version = priced(setting, ("0", "1"))
    version.prices.create(currency="JPY", start=0, unit_price=Decimal("150.5"))
    a_service(product, a_client("Sato", "JPY"), a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=3))
    bill("2026-11-01")
    assert amounts() == [452]
    assert Line.objects.get(kind="usage").exact == Decimal("451.5")


def test_services_of_a_client_that_are_due_on_a_day_share_an_invoice(server, product):
    client = a_client()
    for name in ("alice", "bob"):
        a_service(product, client, a_tenant(server, name))
    a_service(product, a_client("Other"), a_tenant(server, "carol"))
    bill("2026-11-01")
    assert sorted(Invoice.objects.values_list("client__name", "total")) == [("Lindqvist & Moe", 48), ("Other", 24)]
    assert sorted(Invoice.objects.values_list("number", flat=True)) == ["2026-00001", "2026-00002"]


def test_a_dry_run_shows_the_documents_and_writes_nothing(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    result = bill("2026-11-01", dry_run=True)
    assert [document.total for document in result.documents] == [29]
    assert not Invoice.objects.exists()
    service.refresh_from_db()
    assert service.next_term == 1
    bill("2026-11-01")
    assert [invoice.total for invoice in Invoice.objects.all()] == [29]


def test_the_first_term_is_billed_in_advance_without_usage(server, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server), anchor="2026-11-01", next_term=0)
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    assert (amounts("recurring"), amounts()) == ([24], [])


def test_the_queries_of_a_run_do_not_grow_with_its_services(server, product):
    for declared in (MAILBOXES, DISK, EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    names, counts = [], []
    for more in (2, 12):
        for name in (f"{more}-{number}" for number in range(more)):
            names.append(name)
            a_service(product, a_client(name), a_tenant(server, name))
        answers = [tenant_says(name, mailboxes=1, disk=GB, traffic=GB) for name in names]
        collected(server, "2026-11-01 06:00", *answers, accept_changes=True)
        with CaptureQueriesContext(connection) as captured:
            result = bill("2026-11-01", dry_run=True)
        counts.append((len(result.documents), len(captured)))
    assert [documents for documents, _ in counts] == [2, 14]
    assert counts[0][1] == counts[1][1]


def test_an_invoice_cannot_be_deleted_and_so_its_periods_stay_billed(server, product):
    """Statement 32 is open in WHMCS; here an issued invoice stays."""
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    bill("2026-11-01")
    with pytest.raises(ProtectedError):
        Invoice.objects.all().delete()


def test_the_database_refuses_to_bill_a_period_twice(server, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    service = a_service(product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=7 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    again = BilledPeriod.objects.get()
    again.pk = None
    with pytest.raises(IntegrityError, match="each_period_is_billed_once"), transaction.atomic():
        again.save()
    with pytest.raises(IntegrityError, match="each_term_is_billed_once"), transaction.atomic():
        service.claims.create(kind="renewal", term_start=date(2026, 11, 1), created_at=at("2026-11-02 00:00"))


def test_when_the_database_refuses_one_service_the_others_are_billed_and_counted_once(product, monkeypatch):
    services = [a_service(product, a_client(name), name=name) for name in ("one", "two", "bad", "four", "five")]
    issue = issuing.issue

    def refuse_the_bad(documents, **values):
        issue(documents, **values)
        if any(document.client.name == "bad" for document in documents):
            raise DatabaseError("out of range")

    monkeypatch.setattr(issuing, "issue", refuse_the_bad)
    result = bill("2026-11-01")
    assert sorted(Invoice.objects.values_list("client__name", flat=True)) == ["five", "four", "one", "two"]
    assert (result.run.services, result.run.invoices, result.amounts) == (4, 4, {"USD": 4 * 24})
    assert list(result.parked) == [services[2].pk]
    assert Parked.objects.get().reason.startswith("The database refused it: DatabaseError.")
    assert sorted(Invoice.objects.values_list("number", flat=True)) == [f"2026-0000{n}" for n in (1, 2, 3, 4)]
