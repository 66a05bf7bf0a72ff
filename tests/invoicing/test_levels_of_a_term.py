"""A level is billed as its version says: last value, peak, mean, percentile or days used."""

from datetime import date
from decimal import Decimal

import pytest

from invoicing import statistics, termination
from invoicing.billing import create_invoices
from invoicing.models import BilledPeriod, Deferral, Line
from invoicing.panel import Panel
from tests.builders import (
    DISK,
    GB,
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

#: 10 GB for ten days, 40 on the 11th, 20 from the 12th; seven days were measured, the renewal day at 70.
OCTOBER = {
    "2026-10-01": "10",
    "2026-10-02": "10",
    "2026-10-05": "10",
    "2026-10-11": "40",
    "2026-10-12": "20",
    "2026-10-31": "20",
    "2026-11-01": "70",
}


@pytest.fixture
def service():
    server = a_server()
    one = a_service(a_product(), tenant=a_tenant(server))
    for day, value in OCTOBER.items():
        collected(server, f"{day} 06:00", tenant_says("alice", disk=Decimal(value) * GB))
    return one


def billed_by(service, how, **values):
    priced(a_setting(service.product, DISK), ("0", "1"), notation="above", aggregation=how, **values)
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    return Line.objects.get(kind="usage")


@pytest.mark.parametrize(
    ("how", "quantity", "title"),
    [
        ("latest", "70", "Disk space, measured on 1 November 2026"),
        ("peak", "40", "Disk space, peak, 1 October to 1 November 2026"),
        # 110 / 6
        ("mean", "18.333333", "Disk space, mean of the days, 1 October to 1 November 2026"),
        # (10 × 10 + 1 × 40 + 20 × 20) / 31
        ("time_weighted", "17.419355", "Disk space, time-weighted mean, 1 October to 1 November 2026"),
        ("p95", "40", "Disk space, 95th percentile, 1 October to 1 November 2026"),
        # 110 / 31
        (
            "days",
            "3.548387",
            "Disk space, sum of the days over the days of the term, 1 October to 1 November 2026",
        ),
    ],
)
def test_the_level_of_a_term_is_what_its_version_says(service, how, quantity, title):
    line = billed_by(service, how)
    assert (line.quantity, line.title) == (Decimal(quantity), title)
    assert line.amount == Decimal(quantity).quantize(Decimal("0.01"))


def test_the_line_keeps_the_days_that_it_comes_from(service):
    line = billed_by(service, "peak")
    days = {day: value for day, value in OCTOBER.items() if day < "2026-11-01"}
    assert line.levels == [[day, str(Decimal(value) * GB)] for day, value in days.items()]
    period = BilledPeriod.objects.get()
    assert (period.start, period.end, period.measured_on) == (date(2026, 10, 1), date(2026, 11, 1), date(2026, 10, 31))
    assert period.value == 40 * GB


def test_a_last_value_needs_no_list_of_days(service):
    assert billed_by(service, "latest").levels is None


def test_the_line_points_at_its_version(service):
    line = billed_by(service, "peak")
    assert (line.version.number, line.pricing["aggregation"]) == (1, "peak")


def test_the_panel_shows_what_an_invoice_of_today_would_bill(service):
    priced(a_setting(service.product, DISK), ("0", "1"), notation="above", aggregation="peak", unit_code="GB")
    with panel():
        one = next(each for each in statistics.of_service(service, at=at("2026-11-01 08:00")) if each.setting)
    assert one.amount == 70
    assert Panel(one).number == "70"


def test_a_term_that_ends_early_is_measured_against_its_whole_length(service):
    """Terminated on 16 October: days 1, 2, 5, 11 and 12 of a term of 31 days, and not the last day itself."""
    priced(a_setting(service.product, DISK), ("0", "31"), notation="above", aggregation="days")
    service.next_term, service.next_due_on = 1, date(2026, 11, 1)
    service.save()
    with panel(says(tenant_says("alice", disk=99 * GB))):
        ended = termination.terminate(service=service, on=date(2026, 10, 16), at=at("2026-10-16 09:00"))
    # 90 GB-days / 31, at 31 each, on an invoice of two decimals
    assert ended.invoice.lines.get().quantity == Decimal("2.903226")


def test_a_level_that_was_not_measured_at_the_end_of_its_term_waits(service):
    priced(a_setting(service.product, DISK), ("0", "1"), notation="above", aggregation="peak")
    service.anchor, service.next_due_on = date(2026, 11, 1), date(2026, 12, 1)
    service.save()
    with panel(says()):
        create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 07:00"))
    assert not Line.objects.filter(kind="usage").exists()
    assert Deferral.objects.get().reason == "not measured since 2026-11-01"
