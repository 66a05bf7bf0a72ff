"""The client portal: what a client sees, and that nobody sees what is another's."""

import uuid
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.models import TaxRate, UsedOfLimit
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    Usage,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.documents import an_invoice, given_back, issued
from tests.invoicing.pages import unfolded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def own(sara):
    """Sara's service: databases billed, bandwidth with an included quantity, emails shown only, disk off."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    a_setting(product, EMAILS)
    priced(a_setting(product, DISK, enabled_from=None), ("0", "1"))
    client = a_client(users=(sara,))
    service = a_service(product, client, a_tenant(server), anchor="2026-10-01", next_term=2)
    collected(
        server,
        "2026-11-19 06:00",
        tenant_says("alice", mailboxes=25, traffic=Usage(13 * GB, limit=50 * GB), disk=7 * GB),
    )
    return service


def page(client, user, name, *arguments):
    client.force_login(user)
    with panel(says()):
        response = client.get(reverse(name, args=arguments))
    assert response.status_code == 200
    return response.content.decode()


def test_the_panel_shows_enabled_metrics_only(client, sara, own):
    """Statement 23, for the client."""
    shown = page(client, sara, "portal_service", own.public_id)
    assert "Mailboxes" in shown
    assert "Bandwidth" in shown
    assert "Disk space" not in shown


def test_a_metric_is_shown_with_usage_included_price_charge_and_age(client, sara, own):
    shown = " ".join(page(client, sara, "portal_service", own.public_id).split())
    assert "<b>25</b> <span>mailboxes now</span>" in shown
    assert "<b>$31.00</b>" in shown
    assert "25 mailboxes: 9 at $2.00, 10 at $1.00, 6 at $0.50" in shown
    assert "<b>13</b> <span>GB since 1 November</span>" in shown
    assert "10 GB included, then $1.00 per GB" in shown
    assert "50 limit" in shown
    assert "today, 06:00" in shown


def test_what_was_never_collected_is_said_in_words(client, sara, own):
    shown = page(client, sara, "portal_service", own.public_id)
    assert "Emails sent" in shown
    assert "Not collected yet" in shown
    assert "shown only, not charged" in shown


def test_what_is_out_of_date_says_since_when(client, sara, own, time_machine):
    time_machine.move_to(at("2026-11-21 09:00"))
    shown = page(client, sara, "portal_service", own.public_id)
    assert "Out of date: last measured 19 Nov, 06:00" in shown


def test_a_service_that_nothing_meters_says_so(client, sara):
    service = a_service(a_product("VPS", provider=""), a_client(users=(sara,)))
    assert "Nothing of this service is metered." in page(client, sara, "portal_service", service.public_id)


def test_the_charge_so_far_is_what_an_invoice_of_today_would_bill(client, sara, own):
    assert "$34.00" in page(client, sara, "home")
    assert "$34.00" in page(client, sara, "portal_services")
    assert "$34.00" in page(client, sara, "portal_service", own.public_id)


def test_the_price_of_one_more_says_what_it_is_one_more_of(client, sara, own):
    shown = page(client, sara, "portal_service", own.public_id)
    assert '<dd>$0.50<span class="tp-sub">for 26 mailboxes instead of 25</span></dd>' in shown
    assert "The next GB costs" in shown


def test_tables_are_headed_in_the_language_of_the_reader(client, sara, own):
    sara.language = "de"
    sara.save()
    client.force_login(sara)
    shown = unfolded(client, reverse("portal_service", args=[own.public_id]))
    assert '<th scope="col" role="columnheader">Postfächer</th>' in shown


def test_an_invoice_is_explained_down_to_the_readings(client, sara, own):
    collected(own.tenant.server, "2026-12-01 06:00", tenant_says("alice", mailboxes=25, traffic=0))
    create_invoices(on=at("2026-12-01 07:00").date(), at=at("2026-12-01 07:00"))
    invoice = Invoice.objects.get()
    client.force_login(sara)
    shown = unfolded(client, reverse("portal_invoice", args=[invoice.pk]))
    assert invoice.number in shown
    assert "25 mailboxes: 9 at $2.00, 10 at $1.00, 6 at $0.50" in shown
    assert "13 GB: 10 included, 3 at $1.00" in shown
    assert "today, 06:00" in shown  # the reading
    assert "$58.00" in shown
    assert invoice.number in page(client, sara, "portal_invoices")


def test_what_was_read_after_the_invoice_does_not_stand_behind_it(client, sara, own):
    create_invoices(on=at("2026-12-01 07:00").date(), at=at("2026-12-01 07:00"))
    collected(own.tenant.server, "2026-11-19 05:00", tenant_says("alice", mailboxes=24))
    a_service(own.product, own.client, a_tenant(own.tenant.server, "bob"), anchor="2026-10-19", next_term=1)
    collected(own.tenant.server, "2026-11-19 06:30", tenant_says("bob", mailboxes=3), accept_changes=True)
    create_invoices(on=timezone.localdate(), at=at("2026-11-19 07:00"))
    collected(own.tenant.server, "2026-11-19 08:00", tenant_says("bob", mailboxes=4), accept_changes=True)
    invoice = Invoice.objects.order_by("number").last()
    client.force_login(sara)
    shown = unfolded(client, reverse("portal_invoice", args=[invoice.pk]))
    assert "today, 06:30" in shown
    assert "today, 08:00" not in shown


# A list of prices reads its product by itself.
@pytest.mark.parametrize(("name", "queries"), [("portal_service", 1), ("portal_service_prices", 2)])
def test_all_that_a_page_reads_of_a_service_and_what_it_belongs_to_comes_in_one_query(client, sara, own, name, queries):
    """Columns that are not fetched with it would each be asked for by themselves."""
    own.client.tax_rate = TaxRate.objects.create(name="VAT", percent=Decimal(19))
    own.client.save()
    UsedOfLimit.objects.create(service=own, disk_used=5, disk_limit=10, measured_at=timezone.now())
    page(client, sara, name, own.public_id)
    with CaptureQueriesContext(connection) as captured:
        page(client, sara, name, own.public_id)
    parents = ("catalog_service", "catalog_client", "catalog_product", "metering_tenant", "metering_server")
    begins = tuple(f'SELECT "{table}".' for table in parents)
    read = [each["sql"] for each in captured if each["sql"].startswith(begins)]
    assert len(read) == queries, read


def test_another_clients_service_and_invoice_do_not_exist(client, own):
    """Statement of the issue: a client never sees another's anything."""
    with panel(says()):
        create_invoices(on=at("2026-12-01 07:00").date(), at=at("2026-12-01 07:00"))
    client.force_login(a_user("mallory@other.test"))
    a_client("Other", users=(a_user("eve@other.test"),))
    for address in (
        reverse("portal_service", args=[own.public_id]),
        reverse("portal_invoice", args=[Invoice.objects.get().pk]),
        reverse("portal_service", args=[uuid.uuid4()]),
        reverse("portal_invoice", args=[uuid.uuid4()]),
    ):
        assert client.get(address).status_code == 404
    for name in ("home", "portal_services", "portal_invoices"):
        shown = client.get(reverse(name)).content.decode()
        assert "alice" not in shown
        assert Invoice.objects.get().number not in shown


@pytest.mark.parametrize("name", ["home", "portal_services", "portal_invoices"])
def test_nobody_is_sent_to_the_login(client, name):
    response = client.get(reverse(name))
    assert response.url.startswith(reverse("account_login"))


@pytest.mark.parametrize("name", ["home", "portal_services", "portal_invoices"])
def test_an_empty_portal_says_what_comes_next(client, sara, name):
    assert "yet" in page(client, sara, name)


@pytest.mark.parametrize("name", ["home", "portal_services"])
def test_a_user_without_a_client_is_told_who_can_let_them_in(client, sara, name):
    assert "can invite sara@client.test" in page(client, sara, name)
    a_client(users=(sara,))
    assert "can invite" not in page(client, sara, name)


def test_the_way_to_the_support_is_shown_where_there_is_one(client, sara, settings):
    settings.SUPPORT_EMAIL = ""
    assert "mailto:" not in page(client, sara, "home")
    settings.SUPPORT_EMAIL = "help@provider.test"
    assert 'href="mailto:help@provider.test"' in page(client, sara, "home")


def test_how_many_of_the_open_invoices_are_overdue_is_said(client, sara, own):
    late = an_invoice("24", client=own.client, due_on="2026-11-15")
    assert "1 invoice is overdue" in page(client, sara, "home")
    an_invoice("10", client=own.client, due_on="2026-11-30")
    shown = page(client, sara, "home")
    assert "1 of 2 invoices is overdue" in shown
    assert late.number in shown


def test_pages_of_users_are_stored_nowhere(client, sara):
    client.force_login(sara)
    assert "no-store" in client.get(reverse("home"))["Cache-Control"]


def test_a_name_from_outside_is_text(client, sara):
    service = a_service(a_product(), a_client(users=(sara,)), name="<script>alert(1)</script>")
    assert "<script>alert" not in page(client, sara, "portal_service", service.public_id)


def test_staff_without_a_client_go_to_their_own_start(client):
    client.force_login(a_staff_user())
    assert client.get(reverse("home")).url == reverse("staff_home")


def queries(client, address):
    with panel(says()), CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


@pytest.mark.parametrize("name", ["home", "portal_services", "portal_invoices"])
def test_lists_take_the_same_number_of_queries_however_long(client, sara, own, name):
    client.force_login(sara)
    a_service(a_product("VPS", provider=""), own.client, anchor="2026-10-19", next_term=1)
    a_service(own.product, own.client, a_tenant(own.tenant.server, "waits"), anchor="2026-10-01", next_term=1)
    with panel(says(tenant_says("waits", mailboxes=1))):
        create_invoices(on=timezone.localdate(), at=timezone.now())
    queries(client, reverse(name))
    counts = [queries(client, reverse(name))]
    for number in range(7):
        tenant = a_tenant(own.tenant.server, f"more-{number}")
        a_service(own.product, own.client, tenant, anchor="2026-10-01", next_term=1)
    with panel(says(*[tenant_says(f"more-{number}", mailboxes=1) for number in range(7)])):
        create_invoices(on=timezone.localdate(), at=timezone.now())
    counts.append(queries(client, reverse(name)))
    assert counts[0] == counts[1]


def test_the_panel_takes_the_same_number_of_queries_for_more_metrics_and_days(client, sara, own):
    client.force_login(sara)
    address = reverse("portal_service", args=[own.public_id])
    queries(client, address)
    before = queries(client, address)
    for declared in (EMAILS, DISK):
        setting = a_setting(own.product, declared, enabled_from=None)
        setting.enabled_spans.all().delete()
        priced(a_setting(own.product, declared), ("0", "1"), notation="above")
    for day in range(2, 15):
        collected(own.tenant.server, f"2026-11-{day:02} 06:00", tenant_says("alice", emails=day, disk=GB, mailboxes=3))
    queries(client, address)  # what is new of the prices is read once
    assert queries(client, address) == before


def test_an_invoice_takes_the_same_number_of_queries_for_more_lines(client, sara, own):
    client.force_login(sara)
    counts = []
    for services in (1, 5):
        names = [f"{services}-{number}" for number in range(services)]
        collected(own.tenant.server, "2026-11-19 07:00", *[tenant_says(name, mailboxes=3) for name in names])
        for name in names:
            a_service(own.product, own.client, a_tenant(own.tenant.server, name), anchor="2026-10-19", next_term=1)
        create_invoices(on=timezone.localdate(), at=timezone.now())
        invoice = Invoice.objects.filter(kind="renewal").latest("entry")
        assert invoice.lines.filter(kind="usage").count() == services
        address = reverse("portal_invoice", args=[invoice.pk])
        queries(client, address)
        plain = queries(client, address)
        given = given_back(invoice.lines.first(), "1")
        issued(own.client, given, credits=invoice, reason="Outage", when=f"{timezone.localdate()} 23:00")
        counts.append((plain, queries(client, address)))
    assert counts[0] == counts[1]
