"""Usage that changes after it was billed: rated again as a whole, and the difference billed or given back once."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection

from catalog.models import ChargeBounds, PricingVersion, Service
from invoicing import corrections, credits, termination
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.corrections import settle
from invoicing.models import BilledPeriod, Difference, Invoice, Line, Parked
from invoicing.settlements import of_differences
from invoicing.verification import verify
from metering.approval import approve
from metering.correcting import correct
from metering.models import Metric, Restated
from metering.providers.base import Usage
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
    a_staff_user,
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
    with panel(says(*answers)):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def corrected(service, declared, start, value, when="2026-11-10 12:00"):
    return correct(
        tenant=service.tenant,
        metric=Metric.objects.get(system_name=declared.system_name),
        start=date.fromisoformat(start),
        value=Decimal(value),
        reason="the panel counted twice",
        by=None,
        at=at(when),
    )


def lines(kind):
    rows = Line.objects.filter(kind=kind).order_by("invoice__created_at", "invoice__number", "position")
    return [(line.invoice.number, line.title, line.amount) for line in rows.select_related("invoice")]


def is_sound():
    assert [str(finding) for finding in verify()] == []
    return True


@pytest.fixture
def traffic():
    """A service whose October came to 100 GB, of which 10 are included, at 1.00: 90.00 on 2026-00001."""
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    collected(server, "2026-11-30 18:00", tenant_says("alice", traffic=20 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    service.refresh_from_db()
    return service


def test_more_than_was_billed_is_a_line_on_the_next_invoice_that_names_the_period_and_both_quantities(traffic):
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB)
    bill("2026-12-01")
    [line] = Line.objects.filter(kind="adjustment")
    assert line.invoice.number == "2026-00002"
    assert (line.title, line.amount) == ("Bandwidth, October 2026, corrected", 30)
    assert line.detail == (
        "130 GB instead of 100 GB: 130 GB: 10 included, 120 at $1.00; $90.00 of it was billed with 2026-00001"
    )
    assert (line.before, line.quantity, line.settled, line.exact) == (100, 130, 90, 120)
    assert line.corrects.invoice.number == "2026-00001"
    assert lines("usage")[1] == ("2026-00002", "Bandwidth, November 2026", 10)
    assert not Difference.objects.exists()
    assert is_sound()


def test_less_than_was_billed_is_given_back_by_a_credit_note_for_that_invoice(traffic):
    corrected(traffic, TRAFFIC, "2026-10-01", 60 * GB)
    run = bill("2026-12-01").run
    note = Invoice.objects.get(kind="credit_note")
    assert (note.number, note.credits.number, note.total) == ("C2026-00001", "2026-00001", 40)
    assert note.reason == "The usage was corrected after it had been billed."
    [line] = note.lines.all()
    assert (line.title, line.before, line.quantity, line.settled) == (
        "Bandwidth, October 2026, corrected",
        100,
        60,
        90,
    )
    assert (run.invoices, run.credit_notes, run.amounts) == (1, 1, {"USD": "34.0000"})
    assert is_sound()


def test_a_difference_is_settled_once_however_often_runs_are_made(traffic):
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB)
    for on in ("2026-12-01", "2026-12-01", "2026-12-02"):
        bill(on)
    assert len(lines("adjustment")) == 1
    assert is_sound()


def test_usage_may_be_corrected_again_and_again(traffic):
    for value, when in ((130, "2026-11-10 12:00"), (50, "2026-11-11 12:00"), (100, "2026-11-12 12:00")):
        corrected(traffic, TRAFFIC, "2026-10-01", value * GB, when)
        settle(service=traffic, on=date(2026, 11, 10), at=at(when))
    assert [(number, amount) for number, _, amount in lines("adjustment")] == [("2026-00002", 30), ("2026-00003", 50)]
    # Newest charge first: the 30 of the settlement, and the rest of the first invoice.
    notes = Invoice.objects.filter(kind="credit_note").order_by("number")
    assert [(note.credits.number, note.total) for note in notes] == [("2026-00002", 30), ("2026-00001", 50)]
    assert is_sound()


def test_a_clock_that_is_set_back_does_not_change_what_came_first(traffic):
    for value, when in ((130, "2026-11-10 12:00"), (50, "2026-11-10 09:00")):
        corrected(traffic, TRAFFIC, "2026-10-01", value * GB, "2026-11-10 12:00")
        settle(service=traffic, on=date(2026, 11, 10), at=at(when))
    notes = Invoice.objects.filter(kind="credit_note").order_by("number")
    assert [(note.credits.number, note.total) for note in notes] == [("2026-00002", 30), ("2026-00001", 50)]
    assert is_sound()


def test_a_correction_within_what_is_included_is_said_on_a_line_of_nothing(traffic):
    settle(service=traffic, on=date(2026, 11, 10), at=at("2026-11-10 12:00"))
    corrected(traffic, TRAFFIC, "2026-11-01", 22 * GB, "2026-12-05 12:00")
    bill("2026-12-01")
    assert lines("adjustment") == []  # it was not billed before
    corrected(traffic, TRAFFIC, "2026-10-01", 100 * GB + 1, "2026-12-06 12:00")
    collected(traffic.tenant.server, "2027-01-01 06:00", tenant_says("alice", traffic=0))
    bill("2027-01-01")
    [(_, title, amount)] = lines("adjustment")
    assert (title, amount) == ("Bandwidth, October 2026, corrected", 0)
    assert is_sound()


def test_a_correction_of_nothing_that_is_settled_by_hand_waits_for_the_next_invoice(traffic):
    corrected(traffic, TRAFFIC, "2026-10-01", 100 * GB + 1)
    assert settle(service=traffic, on=date(2026, 11, 10), at=at("2026-11-10 13:00")) == []
    assert Difference.objects.count() == 1
    bill("2026-12-01")
    assert [(number, amount) for number, _, amount in lines("adjustment")] == [("2026-00002", 0)]
    assert is_sound()


def test_a_correction_of_nothing_at_the_end_of_a_service_is_written_down_on_its_last_invoice():
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    version = priced(setting, ("0", "1"), included="10", notation="above")
    ChargeBounds.objects.create(version=version, currency="USD", maximum=50)
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    corrected(service, TRAFFIC, "2026-10-01", 120 * GB)
    with panel(says(tenant_says("alice", traffic=6 * GB))):
        termination.terminate(service=service, on=date(2026, 11, 10), at=at("2026-11-10 20:00"))
    assert [amount for _, _, amount in lines("adjustment")] == [0]
    corrected(service, TRAFFIC, "2026-10-01", 121 * GB, "2026-11-12 12:00")
    bill("2026-11-12")
    assert sum(amount for _, _, amount in [*lines("usage"), *lines("adjustment")]) == 50
    assert is_sound()


@pytest.mark.parametrize("value", [Decimal(10) ** 16, Decimal(10) ** 15 - 1])
def test_what_cannot_be_rated_parks_its_service_waits_and_stops_nobody_else(value):
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    other = a_service(setting.product, a_client("Other"), a_tenant(server, "bob"))
    collected(server, "2026-10-05 06:00", tenant_says("alice", emails=8), tenant_says("bob", emails=8))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0), tenant_says("bob", emails=0))
    bill("2026-11-01")
    corrected(service, EMAILS, "2026-10-05", value)
    bill("2026-12-01")
    assert [one.service_id for one in Parked.objects.all()] == [service.pk]
    assert Invoice.objects.filter(client=other.client).count() == 2
    assert settle(service=service, on=date(2026, 12, 1), at=at("2026-12-01 08:00")) == []
    assert Difference.objects.count() == 1
    corrected(service, EMAILS, "2026-10-05", 9, "2026-12-02 06:00")
    bill("2026-12-02")
    assert not Parked.objects.exists()
    assert [amount for _, _, amount in lines("adjustment")] == [1]
    assert is_sound()


def test_what_cannot_be_rated_of_a_service_that_is_over_waits():
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), notation="above")
    service = a_service(setting.product, tenant=a_tenant(server), next_term=2)
    with panel(says(tenant_says("alice", emails=8))):
        termination.terminate(service=service, on=date(2026, 11, 5), at=at("2026-11-05 12:00"))
    corrected(service, EMAILS, "2026-11-05", Decimal(10) ** 16)
    bill("2026-11-11")
    assert Difference.objects.count() == 1
    corrected(service, EMAILS, "2026-11-05", 10, "2026-11-12 12:00")
    bill("2026-11-13")
    assert Invoice.objects.get(kind="settlement").total == 2
    assert is_sound()


def test_a_month_that_two_lines_billed_gives_back_on_both_what_is_less():
    """Up to a change of product, and from it on."""
    server = a_server()
    small, big = a_product("Small"), a_product("Big")
    priced(a_setting(small, TRAFFIC), ("0", "1"), notation="above")
    priced(a_setting(big, TRAFFIC), ("0", "10"), notation="above")
    service = a_service(small, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    with panel(says(tenant_says("alice", traffic=50 * GB))):
        change(service=Service.objects.get(), at=at("2026-11-10 20:00"), product=big)
    collected(server, "2026-11-30 18:00", tenant_says("alice", traffic=60 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-12-01")
    assert [amount for _, _, amount in lines("usage")] == [50, 100]
    corrected(service, TRAFFIC, "2026-11-01", 20 * GB, "2026-12-10 12:00")
    settle(service=Service.objects.get(), on=date(2026, 12, 10), at=at("2026-12-10 12:10"))
    assert sorted(amount for _, _, amount in lines("credit")) == [30, 100]
    assert is_sound()


def test_a_day_that_lies_within_the_days_of_two_lines_is_billed_by_one_of_them():
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    for day in (20, 25):
        collected(server, f"2026-10-{day} 18:00", tenant_says("alice", emails=1))
    collected(server, "2026-11-01 00:40", tenant_says("alice", emails=0))
    bill("2026-11-01")
    corrected(service, EMAILS, "2026-10-03", 2, "2026-11-05 12:00")  # before the days of that line: the next one's
    bill("2026-12-01")
    corrected(service, EMAILS, "2026-10-22", 7, "2026-12-05 12:00")
    bill("2027-01-01")
    assert not Parked.objects.exists()
    assert sum(amount for _, _, amount in [*lines("usage"), *lines("adjustment")]) == 1 + 1 + 2 + 7
    assert is_sound()


def test_usage_of_a_tenant_that_the_service_had_before_stays_that_tenants():
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), notation="above")
    alice, bob = a_tenant(server), a_tenant(server, "bob")
    service = a_service(setting.product, tenant=alice)
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    with panel(says(tenant_says("alice", traffic=9 * GB), tenant_says("bob", traffic=0))):
        change(service=Service.objects.get(), at=at("2026-11-03 12:00"), tenant=bob)
    october = {"start": "2026-10-01", "metric_id": setting.metric_id}
    for value, day in ((130, 10), (140, 11)):
        corrected(service, TRAFFIC, "2026-10-01", value * GB, f"2026-11-{day} 12:00")
        settle(service=Service.objects.get(), on=date(2026, 11, day), at=at(f"2026-11-{day} 13:00"))
    assert [amount for _, _, amount in lines("adjustment")] == [30, 10]
    assert {row.tenant_id for row in BilledPeriod.objects.filter(**october)} == {alice.pk}
    assert is_sound()


def test_the_whole_line_is_rated_again_by_the_prices_of_then(traffic):
    """The eleventh unit of a later version must not price an old month."""
    version = PricingVersion.objects.get()
    priced(version.setting, ("0", "5"), notation="above", effective_from="2026-11-01")
    corrected(traffic, TRAFFIC, "2026-10-01", 101 * GB)
    bill("2026-12-01")
    assert [amount for _, _, amount in lines("adjustment")] == [1]
    assert [amount for _, _, amount in lines("usage")] == [90, 100]


def test_what_a_server_says_anew_about_a_closed_period_is_a_difference_too(traffic):
    said = Usage(125 * GB, start=date(2026, 10, 1), end=date(2026, 11, 1))
    collected(traffic.tenant.server, "2026-12-01 06:30", tenant_says("alice", traffic=said))
    assert Restated.objects.count() == 1
    bill("2026-12-01")
    assert [amount for _, _, amount in lines("adjustment")] == [25]


def test_a_day_that_comes_late_is_rated_with_the_days_of_its_line():
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), included="5", notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    for day in (29, 31):
        collected(server, f"2026-10-{day} 23:00", tenant_says("alice", emails=2))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill("2026-11-01")
    assert [amount for _, _, amount in lines("usage")] == [0]
    late = Usage(Decimal(7), start=date(2026, 10, 30), end=date(2026, 10, 31))
    collected(server, "2026-11-02 06:00", tenant_says("alice", emails=late))
    collected(server, "2026-11-30 23:00", tenant_says("alice", emails=3))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0))
    bill("2026-12-01")
    # 2 + 7 + 2 of October are 6 above what is included; the 3 of November are within.
    assert [amount for _, _, amount in lines("adjustment")] == [6]
    assert [amount for _, _, amount in lines("usage")] == [0, 0]
    assert BilledPeriod.objects.filter(start="2026-10-30").count() == 1
    assert service.claims.count() == 2
    assert is_sound()


def test_a_late_day_of_a_line_whose_run_was_late_has_the_prices_of_the_renewal():
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), included="10", notation="above", price_at="invoice")
    priced(setting, ("0", "2"), included="10", notation="above", price_at="invoice", effective_from="2026-11-02")
    service = a_service(setting.product, tenant=a_tenant(server))
    for day in ("2026-10-05", "2026-10-09"):
        collected(server, f"{day} 18:00", tenant_says("alice", emails=8))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill("2026-11-04")
    assert Line.objects.get(kind="usage").pricing["invoiced"] == "2026-11-01"
    corrected(service, EMAILS, "2026-10-07", 5)
    settle(service=service, on=date(2026, 11, 10), at=at("2026-11-10 12:10"))
    assert [amount for _, _, amount in lines("usage") + lines("adjustment")] == [6, 5]
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0))
    bill("2026-12-01")
    assert len(lines("adjustment")) == 1
    assert is_sound()


def test_a_day_that_only_begins_when_a_line_ends_is_none_of_its_days():
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"))
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 23:00", tenant_says("alice", emails=2))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    bill("2026-11-01")
    collected(server, "2026-11-02 06:00", tenant_says("alice", emails=1))
    corrected(service, EMAILS, "2026-11-01", 7)
    assert Restated.objects.exists()
    assert corrections.assess(at("2026-11-10 12:00")) == 0
    assert not Difference.objects.exists()


def test_a_corrected_level_is_measured_again():
    server = a_server()
    setting = a_setting(a_product(), DISK)
    priced(setting, ("0", "1"), notation="above", aggregation="peak")
    service = a_service(setting.product, tenant=a_tenant(server))
    for day, used in ((29, 3), (30, 9), (31, 4)):
        collected(server, f"2026-10-{day} 23:00", tenant_says("alice", disk=used * GB))
    bill("2026-11-01")
    corrected(service, DISK, "2026-10-30", 6 * GB)
    settle(service=service, on=date(2026, 11, 10), at=at("2026-11-10 12:00"))
    [line] = Line.objects.filter(kind="credit")
    assert (line.before, line.quantity, line.amount) == (9, 6, 3)
    assert ["2026-10-30", "6000000000"] in line.levels
    assert is_sound()


def test_what_is_measured_later_on_the_day_of_the_bill_is_no_correction():
    server = a_server()
    setting = a_setting(a_product(), MAILBOXES)
    priced(setting, ("0", "1"))
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", mailboxes=3))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=4))
    bill("2026-11-01")
    collected(server, "2026-11-01 18:00", tenant_says("alice", mailboxes=9))
    corrected(service, MAILBOXES, "2026-10-31", 5)
    assert settle(service=service, on=date(2026, 11, 10), at=at("2026-11-10 12:00")) == []
    corrected(service, MAILBOXES, "2026-11-01", 5)
    settle(service=service, on=date(2026, 11, 10), at=at("2026-11-10 12:00"))
    assert [amount for _, _, amount in lines("adjustment")] == [1]


def test_a_service_that_is_over_is_settled_by_the_next_run(traffic):
    with panel(says(tenant_says("alice", traffic=0))):
        termination.terminate(service=traffic, on=date(2026, 12, 1), at=at("2026-12-01 08:00"))
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB, "2026-12-05 12:00")
    run = bill("2026-12-06").run
    invoice = Invoice.objects.get(kind="settlement")
    assert (invoice.total, run.invoices, run.amounts) == (30, 1, {"USD": "30.0000"})
    assert is_sound()


def test_usage_that_came_to_nothing_on_no_invoice_is_charged_when_it_is_corrected():
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-20 18:00", tenant_says("alice", traffic=6 * GB))
    with panel(says(tenant_says("alice", traffic=6 * GB))):
        assert termination.terminate(service=service, on=date(2026, 10, 20), at=at("2026-10-20 20:00")).invoice is None
    corrected(service, TRAFFIC, "2026-10-01", 14 * GB)
    bill("2026-11-10")
    assert [(number, amount) for number, _, amount in lines("usage")] == [("2026-00001", 4)]
    corrected(service, TRAFFIC, "2026-10-01", 12 * GB, "2026-11-11 12:00")
    bill("2026-11-11")
    assert Invoice.objects.get(kind="credit_note").total == 2
    assert is_sound()


def test_another_client_or_currency_gets_a_document_of_its_own(traffic):
    other = a_client("Other", "USD")
    traffic.client = other
    traffic.save()
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB)
    bill("2026-12-01")
    settlement = Invoice.objects.get(kind="settlement")
    assert (settlement.client.name, settlement.total) == ("Lindqvist & Moe", 30)
    assert Invoice.objects.get(client=other).total == 34


def test_what_was_given_back_for_another_reason_stays_given(traffic):
    [line] = Line.objects.filter(kind="usage")
    credits.credit(
        invoice=line.invoice,
        amounts={line.pk: Decimal(80)},
        reason="the outage",
        on=date(2026, 11, 5),
        at=at("2026-11-05 12:00"),
    )
    corrected(traffic, TRAFFIC, "2026-10-01", 60 * GB)
    settle(service=traffic, on=date(2026, 11, 10), at=at("2026-11-10 12:00"))
    notes = Invoice.objects.filter(kind="credit_note").order_by("number")
    assert [note.total for note in notes] == [80, 10]  # 40 were to be given back, and no more than 10 were left
    corrected(traffic, TRAFFIC, "2026-10-01", 61 * GB, "2026-11-12 12:00")
    assert is_sound() if settle(service=traffic, on=date(2026, 11, 12), at=at("2026-11-12 12:00")) else True


def test_a_dry_run_shows_the_adjustment_and_the_credit_note_and_writes_nothing(traffic):
    corrected(traffic, TRAFFIC, "2026-10-01", 60 * GB)
    result = bill("2026-12-01", dry_run=True)
    assert [(document.kind, document.total) for document in result.documents] == [("renewal", 34), ("credit_note", 40)]
    assert Invoice.objects.count() == 1
    assert Restated.objects.count() == 1


def test_the_queries_of_settling_do_not_grow_with_the_differences(traffic, django_assert_max_num_queries):
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB)
    corrections.assess(at("2026-11-10 12:00"))
    with django_assert_max_num_queries(15):
        found = list(of_differences(Difference.objects.select_related("setting__metric", "service__client")))
    assert [one.amount for one in found] == [30]


def by_force(sql):
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL session_replication_role = replica; {sql}; SET LOCAL session_replication_role = origin"
        )


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE metering_usage SET value = value + 5e9 WHERE start = '2026-10-01'", "was billed as 130 GB, is 135 GB"),
        ("UPDATE invoicing_line SET amount = 31 WHERE kind = 'adjustment'", "is not what 120.00 is more than 90"),
        ("UPDATE invoicing_line SET settled = 80 WHERE kind = 'adjustment'", "90.0000 was charged before it, not 80"),
        ("UPDATE invoicing_line SET before = 1 WHERE kind = 'adjustment'", "the chain breaks"),
        ("UPDATE invoicing_billedperiod SET value = 1 WHERE revision = 1", "is not the 0.000000 of its periods"),
        ("UPDATE invoicing_billedperiod SET revision = 2 WHERE revision = 1", "a revision of what was billed"),
        ("DELETE FROM invoicing_billedperiod WHERE revision = 1", "no usage period says what it billed"),
        ("UPDATE invoicing_line SET amount = 95 WHERE kind = 'credit'", "95.0000 was given back of 90.0000"),
        ("UPDATE invoicing_invoice SET currency = 'EUR' WHERE kind = 'credit_note'", "in another currency than"),
        (
            "UPDATE invoicing_invoice SET credits_id = (SELECT id FROM invoicing_invoice WHERE number = '2026-00002')"
            " WHERE kind = 'credit_note'",
            "gives back a line of another invoice",
        ),
    ],
)
def test_what_was_changed_by_force_is_found(traffic, sql, says):
    corrected(traffic, TRAFFIC, "2026-10-01", 130 * GB)
    settle(service=traffic, on=date(2026, 11, 10), at=at("2026-11-10 12:00"))
    [line] = Line.objects.filter(kind="usage")
    amounts = {line.pk: Decimal(5)}
    credits.credit(invoice=line.invoice, amounts=amounts, reason="x", on=date(2026, 11, 11), at=at("2026-11-11 12:00"))
    assert is_sound()
    by_force(sql)
    found = [str(finding) for finding in verify()]
    assert any(says in one for one in found), found


def test_a_level_that_was_held_and_stored_after_the_bill_is_billed_with_the_next():
    server, names = a_server(), [f"user{number}" for number in range(6)]
    setting = a_setting(a_product(), DISK)
    priced(setting, ("0", "1"), notation="above")
    a_service(setting.product, tenant=a_tenant(server, names[0]))

    def everybody(when, disk):
        return collected(server, when, *[tenant_says(name, disk=disk * GB) for name in names])

    everybody("2026-10-31 06:00", 10)
    held = everybody("2026-10-31 18:00", 200)
    bill("2026-11-01")
    approve(record=held, at=at("2026-11-01 09:00"), by=a_staff_user())
    everybody("2026-11-30 18:00", 200)
    bill("2026-12-01")
    assert [(number, amount) for number, _, amount in lines("usage")] == [("2026-00001", 10), ("2026-00002", 200)]
    assert [(number, amount) for number, _, amount in lines("adjustment")] == [("2026-00002", 190)]
    assert is_sound()
