"""What was agreed with one client is billed, and the portal and the invoice state it. Numbers by hand."""

import re
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog import overrides
from catalog.models import ChargeBounds, Client, Override
from catalog.overrides import CannotWithdraw
from catalog.terms import Cycle
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line, Parked
from invoicing.verification import verify
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
    a_user,
    agreed,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.pages import unfolded

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def disk():
    """Disk space: 10 GB included, then $1.00 per GB."""
    setting = a_setting(a_product(), DISK)
    priced(setting, ("0", "1"), included="10", notation="above")
    return setting


@pytest.fixture
def service(server, disk, sara):
    """A service whose term of October is due on 1 November 2026."""
    return a_service(disk.product, a_client(users=(sara,)), a_tenant(server))


def bill(on="2026-11-01"):
    with panel(says()):
        result = create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))
    return result, list(Line.objects.filter(kind="usage").order_by("invoice__number", "position"))


def billed(server, gigabytes="37", **values):
    """Bill the term of October, with 37 GB of disk at its end."""
    collected(server, "2026-11-01 06:00", tenant_says("alice", disk=Decimal(gigabytes) * GB, **values))
    [line] = bill()[1]
    return line


def see(client, user, name, *arguments):
    client.force_login(user)
    with panel():
        shown = unfolded(client, reverse(name, args=arguments))
    return " ".join(re.sub(r"<[^>]+>", " ", shown).replace("&nbsp;", " ").split())


# What is billed


def test_an_own_quantity_is_included_instead_of_that_of_the_product(server, service, disk):
    """37 - 20 = 17 at 1.00."""
    agreed(service, disk, start="2026-10-01", included="20", reason="a trial")
    line = billed(server)
    assert line.amount == 17
    assert line.detail == (
        "37 GB: 20 included, 17 at $1.00; agreed for this service from 1 October 2026: 20 GB included (a trial)"
    )


def test_own_prices_stand_instead_of_those_of_the_product_and_keep_its_included(server, service, disk):
    """10 included, 20 at 0.80 up to 30, 7 at 0.50."""
    agreed(service, disk, ("0", "0.80"), ("30", "0.50"), start="2026-10-01")
    line = billed(server)
    assert line.amount == Decimal("19.50")
    assert line.detail.startswith("37 GB: 10 included, 20 at $0.80, 7 at $0.50; agreed for this service")


def test_a_discount_comes_off_the_charge(server, service, disk):
    """27.00 less 12.5 percent are 23.625, rounded once."""
    agreed(service, disk, start="2026-10-01", discount="12.5")
    line = billed(server)
    assert (line.exact, line.amount) == (Decimal("23.625"), Decimal("23.63"))
    assert line.detail.startswith("37 GB: 10 included, 27 at $1.00; less 12.5% discount; agreed for")
    assert sum(Decimal(step["amount"]) for step in line.steps) == line.exact


def test_a_discount_comes_after_the_maximum_charge(server, service, disk):
    """27.00 cut to 20.00, less half."""
    ChargeBounds.objects.create(version=disk.versions.get(), currency="USD", maximum=Decimal(20))
    agreed(service, disk, start="2026-10-01", discount="50")
    assert billed(server).amount == 10


def test_all_three_at_once(server, service, disk):
    """20 included, 17 at 0.80 are 13.60, less 10 percent are 12.24."""
    agreed(service, disk, ("0", "0.80"), start="2026-10-01", included="20", discount="10")
    assert billed(server).amount == Decimal("12.24")


def test_a_charge_with_all_the_decimals_that_there_are_is_kept_to_the_last(server, service, disk):
    """Six of the quantity, twelve of the price, six of the discount and two of its percent."""
    priced(disk, ("0", "0.123456789013"), included="0.333333", notation="above", effective_from="2026-02-01")
    agreed(service, disk, discount="33.333333")
    line = billed(server, "37.123456")
    assert str(line.exact) == "3.02799365045551390924439533"  # 36.790123 × 0.123456789013 × 0.66666667
    assert line.exact == sum(Decimal(step["amount"]) for step in line.steps)
    assert not list(verify())


def test_a_hundred_percent_leave_a_line_of_zero(server, service, disk):
    agreed(service, disk, start="2026-10-01", discount="100")
    assert billed(server).amount == 0


def test_own_prices_may_count_in_another_unit(server, service, disk):
    """10 GB are 10,000 MB included; 27,000 MB in started packages of 5,000 at 2.00: 6 packages."""
    agreed(service, disk, ("0", "2"), scheme="package", package_size=Decimal(5000), unit_code="MB", start="2026-10-01")
    line = billed(server)
    assert (line.quantity, line.unit["code"], line.amount) == (37_000, "MB", 12)
    assert line.detail.startswith("37,000 MB: 10,000 included, 6 blocks of 5,000 at $2.00")


def test_an_own_quantity_in_another_unit_is_converted_into_that_of_the_product(server, service, disk):
    """20 GiB are 21.47483648 GB, rounded to 6 decimals: 37 - 21.474836 = 15.525164."""
    agreed(service, disk, unit_code="GiB", included="20", start="2026-10-01")
    line = billed(server)
    assert (line.exact, line.amount) == (Decimal("15.525164"), Decimal("15.53"))


def test_own_prices_replace_minimum_and_maximum_of_the_product(server, service, disk):
    ChargeBounds.objects.create(version=disk.versions.get(), currency="USD", minimum=Decimal(50))
    agreed(service, disk, ("0", "0.80"), start="2026-10-01")
    assert billed(server).amount == Decimal("21.60")


@pytest.mark.parametrize(
    ("start", "end", "amount"),
    [
        ("2026-10-01", None, 17),
        ("2026-10-01", "2026-10-02", 17),
        ("2026-09-01", "2026-10-01", 27),
        ("2026-10-02", None, 27),
    ],
)
def test_a_term_has_the_terms_of_the_day_on_which_it_began(server, service, disk, start, end, amount):
    agreed(service, disk, start=start, end=end, included="20")
    assert billed(server).amount == amount


def test_an_agreement_that_ends_in_the_middle_makes_two_lines(server, sara):
    """100 emails a day at 0.10: 30 and 31 October at half of it, 1 and 2 November in full."""
    emails = a_setting(a_product(), EMAILS)
    priced(emails, ("0", "0.10"))
    service = a_service(emails.product, tenant=a_tenant(server), anchor="2026-10-03")
    agreed(service, emails, discount="50", start="2026-10-01", end="2026-11-01")
    for day in ("2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02"):
        collected(server, f"{day} 18:00", tenant_says("alice", emails=100))
    collected(server, "2026-11-03 06:00", tenant_says("alice", emails=0))
    half, full = bill("2026-11-03")[1]
    assert (half.amount, full.amount) == (10, 20)
    assert half.title == "Emails sent, 30 October to 1 November 2026"
    assert "until 31 October 2026: 50% discount" in half.detail
    assert "agreed" not in full.detail


def test_an_agreement_of_another_service_and_of_another_metric_changes_nothing(server, service, disk):
    other = a_service(disk.product, a_client("Other"))
    agreed(other, disk, start="2026-10-01", included="20")
    agreed(service, a_setting(disk.product, TRAFFIC), start="2026-10-01", included="20")
    assert billed(server).amount == 27


def test_a_version_that_comes_into_force_keeps_what_was_agreed(server, service, disk):
    """The discount of 10 percent holds for the price of November too."""
    priced(disk, ("0", "2"), included="10", notation="above", effective_from="2026-11-01")
    agreed(service, disk, start="2026-10-01", discount="10")
    assert billed(server).amount == Decimal("24.30")
    collected(server, "2026-12-01 06:00", tenant_says("alice", disk=37 * GB))
    assert [line.amount for line in bill("2026-12-01")[1]] == [Decimal("24.30"), Decimal("48.60")]


def test_a_client_whose_currency_changed_is_parked_until_its_own_prices_are_agreed_anew(server, service, disk):
    a_product(currency="EUR")
    disk.versions.get().prices.create(currency="EUR", start=0, unit_price=Decimal("0.9"))
    override = agreed(service, disk, ("0", "0.80"), start="2026-10-01")
    Client.objects.update(currency="EUR")
    collected(server, "2026-11-01 06:00", tenant_says("alice", disk=37 * GB))
    result, lines = bill()
    assert lines == []
    assert "the prices agreed for this service are in USD, not EUR" in result.parked[service.pk]
    override.delete()
    agreed(service, disk, ("0", "0.70"), start="2026-10-01", currency="EUR")
    [line] = bill()[1]
    assert (line.invoice.currency, line.amount) == ("EUR", Decimal("18.90"))
    assert not Parked.objects.exists()


def test_a_quantity_and_a_discount_know_no_currency(server, service, disk):
    """17 at 0.90, less 10 percent."""
    a_product(currency="EUR")
    disk.versions.get().prices.create(currency="EUR", start=0, unit_price=Decimal("0.9"))
    agreed(service, disk, included="20", discount="10", start="2026-10-01")
    Client.objects.update(currency="EUR")
    assert billed(server).amount == Decimal("13.77")


def test_what_is_on_an_invoice_is_not_withdrawn(server, service, disk):
    override = agreed(service, disk, start="2026-10-01", included="20")
    assert billed(server).override == override
    Override.objects.update(start=date(2026, 12, 1))
    with pytest.raises(CannotWithdraw):
        overrides.withdraw(override=override, by=a_staff_user(), today=date(2026, 11, 19))
    assert Override.objects.exists()


# What the portal says


def test_the_portal_says_what_was_agreed_from_when_and_why(server, service, disk, sara, client, time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))
    service.next_term = 2
    service.save()
    agreed(service, disk, start="2026-11-01", end="2027-01-01", included="20", discount="10", reason="A trial.")
    agreed(service, disk, ("0", "0.80"), start="2027-01-01", reason="A long contract.")
    agreed(service, disk, start="2026-01-01", end="2026-02-01", included="1", reason="Long ago.")
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=37 * GB))
    words = see(client, sara, "portal_service", service.public_id)
    assert "Price 20 GB included, then $1.00 per GB, less 10%" in words
    assert "Charge so far $15.30" in words
    assert "Agreed for you 20 GB included, 10% discount From 1 November 2026 until 31 December 2026. A trial." in words
    assert "From 1 January 2027 $0.80 per GB Agreed for you, for what begins on these days. A long contract." in words
    assert "Long ago." not in words


def test_what_begins_within_the_term_is_shown_as_to_come(server, service, disk, sara, client, time_machine):
    """The term of November began before, so it keeps its price."""
    time_machine.move_to(at("2026-11-19 09:00"))
    service.next_term = 2
    service.save()
    agreed(service, disk, start="2026-11-15", included="20")
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=37 * GB))
    words = see(client, sara, "portal_service", service.public_id)
    assert "Charge so far $27.00" in words
    assert "From 15 November 2026 20 GB included" in words


def test_the_queries_of_the_portal_do_not_grow_with_the_agreements(server, service, disk, sara, client):
    client.force_login(sara)
    with panel():
        client.get(reverse("portal_service", args=[service.public_id]))
    counts = []
    for months in (range(1, 2), range(2, 12)):
        for month in months:
            agreed(service, disk, ("0", "1"), start=f"2027-{month:02}-01", end=f"2027-{month + 1:02}-01")
        with CaptureQueriesContext(connection) as captured, panel():
            client.get(reverse("portal_service", args=[service.public_id]))
        counts.append(len(captured))
    assert counts[0] == counts[1]


# What the invoice proves


def proof_of(client, user, line):
    return see(client, user, "portal_invoice", line.invoice_id)


def test_the_invoice_shows_the_discount_as_a_step_and_what_was_agreed(server, service, disk, sara, client):
    agreed(service, disk, start="2026-10-01", end="2027-01-01", discount="10", reason="An outage in May.")
    words = proof_of(client, sara, billed(server))
    assert "Above 10 to 37 27 $1.00 $27.00 10% discount −$2.70 Rounded once 37 GB $24.30" in words
    assert (
        "Agreed for this service from 1 October 2026 until 31 December 2026: 10% discount. An outage in May." in words
    )
    assert "Price in force since 1 January 2020, version 1." in words


def test_an_invoice_keeps_the_days_that_it_was_made_with(server, service, disk, sara, client):
    override = agreed(service, disk, start="2026-10-01", discount="10")
    line = billed(server)
    overrides.end(override=override, on=date(2027, 1, 1), by=a_staff_user(), today=date(2026, 11, 19))
    words = proof_of(client, sara, line)
    assert "from 1 October 2026: 10% discount. as we talked" in words
    assert "until 31 December 2026" not in words


@pytest.mark.parametrize(
    ("bounds", "used", "row"),
    [
        ({"minimum": Decimal(50)}, "37", "Up to the minimum charge $23.00"),
        ({"maximum": Decimal(20)}, "37", "Down to the maximum charge −$7.00"),
        ({"minimum": Decimal(5)}, "3", "Included 3 $0.00 Up to the minimum charge $5.00"),
    ],
)
def test_the_invoice_names_what_raises_or_cuts_the_charge(server, service, disk, sara, client, bounds, used, row):
    ChargeBounds.objects.create(version=disk.versions.get(), currency="USD", **bounds)
    assert row in proof_of(client, sara, billed(server, used))


def test_the_invoice_shows_each_period_that_was_rated_by_itself(server, sara, client):
    """Of 100 included each day: 30 more on the 30th, nothing on the 31st, 50 more on 1 November."""
    emails = a_setting(a_product(), EMAILS)
    priced(emails, ("0", "0.10"), included="100", periods="each", scheme="per_unit")
    service = a_service(emails.product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-02")
    for day, sent in (("2026-10-30", 130), ("2026-10-31", 90), ("2026-11-01", 150), ("2026-11-02", 0)):
        collected(server, f"{day} 18:00", tenant_says("alice", emails=sent))
    [line] = bill("2026-11-02")[1]
    assert (line.service, line.amount) == (service, 8)
    words = proof_of(client, sara, line)
    assert "30 October 2026 130 emails $3.00 Included 100 $0.00 Above 100 30 $0.10 $3.00" in words
    assert "1 November 2026 150 emails $5.00 Included 100 $0.00 Above 100 50 $0.10 $5.00" in words
    assert "1 other period nothing to charge $0.00 Rounded once 370 emails $8.00" in words


def test_months_that_were_all_within_the_included_say_so(server, sara, client):
    traffic = a_setting(a_product(), TRAFFIC)
    priced(traffic, ("0", "1"), included="10", periods="each", notation="above")
    a_service(traffic.product, a_client(users=(sara,)), a_tenant(server), anchor="2026-09-01", cycle=Cycle.QUARTERLY)
    for day, used in (("2026-09-30", 8), ("2026-10-31", 9), ("2026-11-30", 7), ("2026-12-01", 0)):
        collected(server, f"{day} 23:00", tenant_says("alice", traffic=used * GB))
    [line] = bill("2026-12-01")[1]
    words = proof_of(client, sara, line)
    assert "3 periods nothing to charge $0.00 Rounded once 24 GB $0.00" in words


def test_the_invoice_shows_the_days_of_an_aggregated_level(server, sara, client):
    disk = a_setting(a_product(), DISK)
    priced(disk, ("0", "1"), notation="above", aggregation="peak")
    a_service(disk.product, a_client(users=(sara,)), a_tenant(server))
    for day, used in (("2026-10-29", 3), ("2026-10-30", 9), ("2026-10-31", 4)):
        collected(server, f"{day} 23:00", tenant_says("alice", disk=used * GB))
    [line] = bill()[1]
    words = proof_of(client, sara, line)
    assert line.amount == 9
    assert "The highest of the 3 days that were measured." in words
    assert "1 October 2026 to 1 November 2026 9 GB 3 days" in words
    days = see(client, sara, "portal_line", line.invoice_id, line.pk)
    assert "29 October 2026 3 GB 30 October 2026 9 GB 31 October 2026 4 GB" in days


def test_the_invoice_says_when_its_own_day_decided_the_price(server, sara, client):
    boxes = a_setting(a_product(), MAILBOXES)
    priced(boxes, ("0", "1"), price_at="invoice")
    a_service(boxes.product, a_client(users=(sara,)), a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=3))
    [line] = bill()[1]
    words = proof_of(client, sara, line)
    assert "The price on the day of the invoice, in force since 1 January 2020, version 1." in words


def test_the_invoice_shows_packages_and_flat_fees(server, service, disk, sara, client):
    """27 GB above 10 are 3 packages of 10 at 4.00, and a fee of 1.50."""
    override = agreed(service, disk, ("0", "4"), scheme="package", package_size=Decimal(10), start="2026-10-01")
    override.prices.update(flat_fee=Decimal("1.5"))
    line = billed(server)
    words = proof_of(client, sara, line)
    assert line.amount == Decimal("13.50")
    assert "Above 10 3 × 10 $4.00 plus $1.50 $13.50" in words
    assert "What was not agreed is as the price of the product says, in force since 1 January 2020, version 1." in words


def test_the_queries_of_an_invoice_do_not_grow_with_its_lines(server, service, disk, sara, client):
    agreed(service, disk, ("0", "1"), start="2026-10-01")
    boxes = a_setting(disk.product, MAILBOXES)
    priced(boxes, ("0", "1"))
    agreed(service, boxes, ("0", "1"), start="2026-11-01")
    for on in ("2026-11-01", "2026-12-01"):
        collected(server, f"{on} 06:00", tenant_says("alice", disk=37 * GB, mailboxes=3))
        bill(on)
    client.force_login(sara)
    counts = []
    for invoice in Invoice.objects.order_by("number"):
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("portal_invoice", args=[invoice.pk]))
        counts.append(len(captured))
    assert counts[0] == counts[1]
