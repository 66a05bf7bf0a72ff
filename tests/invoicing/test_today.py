"""The first page of staff: what needs a person, what happens if nobody acts, and the way out."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from invoicing.billing import create_invoices
from invoicing.models import Difference, Invoice, Parked, Post, Question
from invoicing.troubled import MOST, NAMED
from metering.models import Collection, Server
from tests.builders import (
    DISK,
    GB,
    MAILBOXES,
    a_client,
    a_metric,
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
    tenant_says,
)
from tests.invoicing.pages import allow, post, see

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def failed(server, when="2026-11-19 06:00", status="failed", error="No answer within 30 s."):
    moment = at(when)
    return Collection.objects.create(
        server=server, as_of=moment, started_at=moment, ended_at=moment, status=status, error=error
    )


def opened(client):
    with panel():
        response = client.get(reverse("staff_home"))
    assert response.status_code == 200
    return response.content.decode()


def test_a_server_that_fails_says_since_when_whom_it_concerns_and_the_way_out(ines):
    server = a_server("da-03")
    due = a_service(a_product(), a_client("Due"), a_tenant(server, "due"), anchor="2026-10-20")
    a_service(a_product(), a_client("Later"), a_tenant(server, "later"), anchor="2026-10-29")
    collected(server, "2026-11-18 06:00", tenant_says("due", disk=GB), tenant_says("later", disk=GB))
    failed(server)
    shown = see(ines, "staff_home")
    assert "1 thing needs a person today" in shown
    assert "Server da-03 has brought nothing since 18 Nov, 06:00" in shown
    assert "No answer within 30 s. 2 services have no new usage. 1 of them is due by tomorrow" in shown
    assert str(due.next_due_on) == "2026-11-20"
    page = opened(ines)
    assert reverse("staff_server_test", args=[server.pk]) in page
    assert reverse("staff_server", args=[server.pk]) in page


def test_a_collection_that_is_held_is_to_be_decided(ines):
    record = failed(a_server("pve-01"), status="held", error="187 of 204 tenants would vanish.")
    shown = see(ines, "staff_home")
    assert f"Collection no. {record.pk} of pve-01 is held" in shown
    assert "187 of 204 tenants would vanish. Nothing of it is stored until somebody decides" in shown
    assert reverse("staff_collection", args=[record.pk]) in opened(ines)


def test_a_metric_that_a_server_no_longer_brings_is_stale_though_the_server_answers(ines):
    server, product = a_server("da-02"), a_product()
    a_setting(product, DISK)
    a_setting(product, MAILBOXES)
    a_service(product, a_client("One"), a_tenant(server))
    collected(server, "2026-11-17 18:00", tenant_says("alice", disk=GB, mailboxes=1))
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=1))
    shown = see(ines, "staff_home")
    assert "Disk space on da-02 is 39 hours old" in shown
    assert "Mailboxes on da-02" not in shown
    assert "1 service has no new usage." in shown


def test_a_metric_that_nobody_is_shown_is_not_missed(ines):
    server = a_server("da-02")
    a_metric(DISK)
    collected(server, "2026-11-17 18:00", tenant_says("alice", disk=GB, mailboxes=1))
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=1))
    assert "is 39 hours old" not in see(ines, "staff_home")


def test_many_servers_are_named_up_to_six(ines):
    for number in range(NAMED + 2):
        failed(a_server(f"s{number}"))
    shown = see(ines, "staff_home")
    assert "2 more servers need a person" in shown
    assert "Server s5" in shown
    assert "Server s6 has" not in shown


def test_parked_services_are_counted_by_reason_and_no_further_than_a_hundred(ines):
    product = a_product()
    for number in range(MOST + 5):
        one = a_service(product, a_client(f"Client {number}"))
        reason = "No price in EUR." if number % 2 else "No value."
        Parked.objects.create(service=one, reason=reason, since=timezone.now())
    shown = see(ines, "staff_home")
    assert "More than 100 services cannot be billed" in shown
    assert "51 × No value." in shown
    assert "50 × No price in EUR." in shown


def a_question(client_name="Kestrel"):
    a_service(a_product(), a_client(client_name), anchor="2026-10-19", name=client_name)
    create_invoices(on=timezone.localdate(), at=timezone.now())
    invoice = Invoice.objects.get(client__name=client_name)
    moment = timezone.now()
    question = Question.objects.create(
        client=invoice.client, invoice=invoice, line=invoice.lines.get(), opened_at=moment, posted_at=moment
    )
    Post.objects.create(question=question, is_of_staff=False, text="Why?", at=moment)
    return question


def test_a_question_that_waits_for_staff_is_named_until_it_is_answered(ines):
    question = a_question()
    shown = see(ines, "staff_home")
    assert "1 question waits for an answer" in shown
    assert "The oldest is of Kestrel about “Business Web”" in shown
    Question.objects.filter(pk=question.pk).update(waits_for_staff=False)
    assert "waits for an answer" not in see(ines, "staff_home")


def test_the_next_run_shows_what_its_dry_run_came_to_and_what_differs(ines):
    a_service(a_product(), a_client("One"), anchor="2026-10-19", name="shop", next_term=1)
    assert "Make a dry run" in see(ines, "staff_home")
    post(ines, "staff_preview")
    shown = see(ines, "staff_home")
    assert "by the dry run of today, 09:00" in shown
    assert "Would be billed $24.00 1 invoice, 1 term" in shown
    assert "What differs most" in shown
    assert "First bill" in shown
    create_invoices(on=timezone.localdate(), at=timezone.now() + timedelta(minutes=1))
    shown = see(ines, "staff_home")
    assert "Would be billed" not in shown
    assert "Last billing run" in shown


def test_a_good_day_says_so(ines):
    a_service(status="pending")
    shown = see(ines, "staff_home")
    assert "Nothing needs a person today" in shown
    assert "Every server answers" in shown
    assert "There is no server yet." in shown


def test_the_menu_says_how_much_there_is(ines):
    failed(a_server("da-03"))
    assert '<span class="tp-count">1</span>' in opened(ines)


def test_staff_see_only_what_they_may(client):
    failed(a_server("da-03"))
    service = a_service(a_product(), a_client("One"))
    Parked.objects.create(service=service, reason="No price.", since=timezone.now())
    address = reverse("staff_home")
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert client.get(address).status_code == 403
    client.force_login(otto := a_user("otto@staff.test", is_staff=True))
    assert client.get(address).status_code == 403
    allow(otto, "view_server")
    client.force_login(type(otto).objects.get(pk=otto.pk))
    shown = see(client, "staff_home")
    assert "da-03" in shown
    assert "cannot be billed" not in shown
    assert "Next billing run" not in shown
    page = opened(client)
    assert reverse("staff_server_test", args=[Server.objects.get().pk]) not in page
    for name in ("staff_invoices", "staff_services", "staff_clients", "staff_products"):
        assert f'href="{reverse(name)}"' not in page


def test_the_page_takes_as_many_queries_for_much_as_for_little(ines):
    product = a_product()
    setting = a_setting(product, DISK)
    priced(setting, ("0", "1"))

    def grow(first, last):
        for number in range(first, last):
            server = a_server(f"s{number}")
            service = a_service(product, a_client(f"C{number}"), a_tenant(server, "a"))
            a_service(a_product("Euro"), a_client(f"E{number}", "EUR"))
            collected(server, "2026-11-19 06:00", tenant_says("a", disk=GB), tenant_says("free", disk=GB))
            failed(server, "2026-11-19 07:00")
            Parked.objects.create(service=service, reason=f"Reason {number}", since=timezone.now())
            Difference.objects.create(service=service, setting=setting, since=timezone.now())

    def queries():
        with CaptureQueriesContext(connection) as captured:
            opened(ines)
        return len(captured)

    grow(0, 1)
    queries()
    few = queries()
    grow(1, 6)
    assert queries() == few
    assert few < 45


def test_every_permission_that_the_page_asks_about_exists():
    names = {"view_server", "view_run", "view_question", "view_message", "view_tenant", "view_product", "view_service"}
    assert names <= set(Permission.objects.values_list("codename", flat=True))
