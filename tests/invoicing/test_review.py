"""What is unusual about a bill, and the words for it."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Service
from invoicing import anomalies, review
from invoicing.anomalies import Bill, Used
from invoicing.billing import create_invoices
from metering import units
from tests.builders import (
    GB,
    MAILBOXES,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    priced,
    tenant_says,
)

DISK, MAIL = 1, 2


def used(quantity, amount="1", name="Disk space", unit=units.GB):
    return Used(name, unit, Decimal(quantity), Decimal(amount))


def a_bill(total="0", fixed="0", corrected="0", **uses):
    known = {"disk": DISK, "mail": MAIL}
    return Bill(
        "USD", Decimal(total), Decimal(fixed), {known[name]: use for name, use in uses.items()}, Decimal(corrected)
    )


@pytest.mark.parametrize(
    ("last", "now", "is_listed"),
    [
        ("100", "120", False),
        ("100", "120.01", True),
        ("100", "79.99", True),
        ("100", "80", False),
        ("10", "20", False),
        ("10", "20.01", True),
        ("0", "10.01", True),
        ("0", "10", False),
        ("60", "48", False),
        ("60", "47.99", True),
    ],
)
def test_a_difference_is_more_than_20_percent_and_more_than_10_units(last, now, is_listed):
    assert anomalies.differs(Decimal(last), Decimal(now), percent=Decimal(20), amount=Decimal(10)) is is_listed


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (used("330"), used("1392", "99"), ["Disk space rose from 330 GB to 1,392 GB"]),
        (used("330"), used("989", "99"), []),
        (used("330"), used("990", "99"), ["Disk space rose from 330 GB to 990 GB"]),
        (used("0", "0"), used("990", "99"), []),
        (used("330"), used("990", "0"), []),
        (used("330"), used("990", "11"), []),
        (used("330"), used("990", "11.01"), ["Disk space rose from 330 GB to 990 GB"]),
        (used("500", unit=units.MB), used("2", "99"), ["Disk space rose from 500 MB to 2 GB"]),
        (used("5", unit=units.MAILBOXES), used("100", "99"), []),
    ],
)
def test_usage_that_rose_by_a_factor_and_costs_more_for_it_is_named(before, after, words):
    found = anomalies.usage_rose(a_bill(disk=before), a_bill(disk=after), factor=Decimal(3), amount=Decimal(10))
    assert list(found) == words


def test_zero_after_something_is_named_and_told_from_no_data():
    gone = a_bill(disk=used("0", "0"))
    assert list(anomalies.usage_fell_to_zero(a_bill(disk=used("24")), gone)) == [
        "Disk space fell from 24 GB to 0 GB. The server reported zero, not “no data”"
    ]
    assert not list(anomalies.usage_fell_to_zero(a_bill(disk=used("24", "0")), gone))
    assert not list(anomalies.usage_fell_to_zero(gone, gone))


def test_a_metric_that_is_on_the_bill_no_more_is_named_unless_it_waits():
    last, now = a_bill(disk=used("24")), a_bill(mail=used("1"))
    assert list(anomalies.not_billed_now(last, now, frozenset())) == ["Not on this bill: Disk space, 24 GB last term"]
    assert not list(anomalies.not_billed_now(last, now, frozenset({DISK})))


@pytest.mark.parametrize(
    ("last", "now", "words"),
    [
        (
            a_bill(disk=used("5620", "118")),
            a_bill(disk=used("8546", "176")),
            "Disk space rose from 5,620 GB to 8,546 GB",
        ),
        (a_bill(disk=used("5", "20")), a_bill(disk=used("5", "50")), "Disk space comes to $50.00 instead of $20.00"),
        (a_bill(fixed="24"), a_bill(fixed="48"), "The fixed price is $48.00 instead of $24.00"),
        (a_bill(), a_bill(fixed="48"), "The fixed price of $48.00 was not due in the last term"),
        (a_bill(fixed="48"), a_bill(), "The fixed price is not due in this term"),
        (a_bill(), a_bill(disk=used("5", "20")), "New on this bill: Disk space, 5 GB"),
        (a_bill(), a_bill(corrected="20"), "$20.00 is for usage that was corrected"),
    ],
)
def test_what_makes_the_biggest_part_of_a_difference_is_said(last, now, words):
    assert list(anomalies.biggest_change(last, now)) == [words]


def test_a_bill_is_very_large_beside_the_middle_one():
    for total, is_large in (("240", False), ("240.01", True)):
        assert anomalies.is_very_large(Decimal(total), Decimal(24), times=Decimal(10), amount=Decimal(10)) is is_large
    assert not anomalies.is_very_large(Decimal(9), Decimal(0), times=Decimal(10), amount=Decimal(10))


def some_services(count):
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    names = [f"tenant-{number}" for number in range(count)]
    for name in names:
        a_service(product, a_client(name), a_tenant(server, name), anchor="2026-09-19", next_term=1)
    for day in ("2026-10-19", "2026-11-19"):
        collected(server, f"{day} 06:00", *[tenant_says(name, mailboxes=5) for name in names])
        create_invoices(on=at(day).date(), at=at(f"{day} 07:00"))
    return list(Service.objects.select_related("client", "product"))


@pytest.mark.django_db
def test_the_last_bill_is_read_with_its_usage_in_one_query_for_any_number():
    services = some_services(3)
    with CaptureQueriesContext(connection) as captured:
        last = review.last_bills(services)
    assert len(captured) == 1
    assert {bill.total for bill in last.values()} == {Decimal(34)}
    [line] = last[services[0].pk].used.values()
    assert (line.name, line.quantity, line.amount) == ("Mailboxes", Decimal(5), Decimal(10))
    assert not review.last_bills([a_service(next_term=0)])


@pytest.mark.django_db
def test_a_term_that_came_to_nothing_is_a_last_bill_of_nothing():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, tenant=a_tenant(server), cycle="annually", bills_monthly=True, anchor="2026-09-19")
    collected(server, "2026-10-18 06:00", tenant_says("alice", mailboxes=0, disk=GB))
    create_invoices(on=at("2026-10-19").date(), at=at("2026-10-19 07:00"))
    service = Service.objects.select_related("client", "product").get(pk=service.pk)
    assert review.last_bills([service])[service.pk].total == 0
