"""Billing runs on the staff's pages: started, followed, looked at afterwards, and the ways out of what they leave."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing_site import jobs
from billing_site.models import Tick
from catalog.models import ProductPrice, Service
from invoicing import runs, termination
from invoicing.models import Decision, Invoice, Parked, Run, RunNote
from metering.providers.base import ProviderError
from tests.builders import (
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
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.people import staff_with

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"), tick=False)


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def handed(monkeypatch):
    """What is left to the worker, which has not come to it."""
    left = []
    monkeypatch.setattr(runs, "hand_over", lambda job, pk: left.append((job, pk)))
    return left


def text(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def see(client, name, *arguments, **options):
    return text(client.get(reverse(name, args=arguments), **options))


def post(client, name, *arguments, said=(), **data):
    with panel(said if callable(said) else says(*said)):
        return text(client.post(reverse(name, args=arguments), data, follow=True))


def down(connection, period):
    raise ProviderError("No answer within 5 s.")
    yield


def test_a_run_is_started_done_and_then_its_record_stands_there(ines):
    a_service(a_product(), a_client("Paid"), anchor="2026-10-19", name="paid")
    a_service(a_product(), a_client("Euro", "EUR"), anchor="2026-10-19", name="euro")
    shown = post(ines, "staff_runs", bill="1")
    assert "Run of 19 November 2026" in shown
    assert "Started today, 09:00 by ines@staff.test" in shown
    assert "Done" in shown
    assert "$24.00" in shown
    assert "no price per month in EUR" in shown
    assert "2026-00001</a>" in shown
    assert "data-live" not in shown
    listed = see(ines, "staff_runs")
    assert "by ines@staff.test" in listed
    assert "Done" in listed


def test_what_a_run_leaves_to_a_person_comes_before_the_last_runs(ines):
    a_service(a_product(), a_client("Euro", "EUR"), anchor="2026-10-19", name="euro")
    post(ines, "staff_runs", bill="1")
    listed = see(ines, "staff_runs")
    assert listed.index("<h2>Parked</h2>") < listed.index("<h2>Last runs</h2>")
    assert '">19 Nov 2026</a><span class="tp-sub">by ines@staff.test' in listed


def test_a_client_is_linked_for_who_may_see_it(ines, client):
    client_of_it = a_client("Fish & Euro", "EUR")
    a_service(a_product(), client_of_it, anchor="2026-10-19", name="euro")
    post(ines, "staff_runs", bill="1")
    run = Run.objects.get()
    linked = f'euro</a>, <a href="{reverse("staff_client", args=[client_of_it.pk])}">Fish &amp; Euro</a></h3>'
    assert linked in see(ines, "staff_run", run.pk)
    somebody = a_user("some@staff.test", is_staff=True)
    somebody.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(somebody)
    assert "euro</a>, Fish &amp; Euro</h3>" in see(client, "staff_run", run.pk)


def test_usage_invoicing_is_switched_by_who_may_and_read_by_the_others(ines, client):
    assert "Usage is billed at every renewal." in see(ines, "staff_runs")
    assert "Switch off" in see(ines, "staff_runs")
    client.force_login(staff_with("viewer"))
    assert "Usage is billed at every renewal." in see(client, "staff_runs")
    assert "Switch off" not in see(client, "staff_runs")


def test_a_run_that_waits_for_the_worker_is_not_started_twice(ines, handed):
    a_service(anchor="2026-10-19")
    assert "The worker begins it as soon as it is free." in post(ines, "staff_runs")
    post(ines, "staff_runs")
    run = Run.objects.get()
    assert handed == [("billing_site.jobs.issue", run.pk)]
    jobs.issue(run.pk)
    jobs.issue(run.pk)
    assert Invoice.objects.count() == 1
    assert runs.state(Run.objects.get(), timezone.now()) == "done"


def test_a_run_that_no_worker_takes_says_so_and_is_not_begun_after_an_hour(ines, handed, time_machine):
    a_service(anchor="2026-10-19")
    post(ines, "staff_runs")
    run = Run.objects.get()
    time_machine.shift(20)
    assert "No worker has taken it for 20 s." in see(ines, "staff_run", run.pk)
    time_machine.shift(3700)
    assert "No worker took it" in see(ines, "staff_run", run.pk)
    jobs.issue(run.pk)
    assert "was not begun. Start it again." in see(ines, "staff_run", run.pk)
    assert not Invoice.objects.exists()


def test_nothing_is_billed_by_a_clock_that_is_doubted(ines, handed):
    a_service(anchor="2026-10-19")
    Tick.objects.create(pk=1, at=timezone.now() - timedelta(days=400))
    post(ines, "staff_runs")
    jobs.issue(Run.objects.get().pk)
    assert not Invoice.objects.exists()
    assert "Nothing is billed until that is confirmed" in see(ines, "staff_run", Run.objects.get().pk)


def a_run(**values):
    return Run.objects.create(**{"on": timezone.localdate(), "started_at": timezone.now(), **values})


def test_a_page_follows_a_run_at_work(ines):
    run = a_run(
        beat_at=timezone.now(), working_on=[1], due=4000, services=1500, invoices=1400, seconds={"billing": 3.2}
    )
    shown = see(ines, "staff_run", run.pk)
    assert 'data-live="1"' in shown
    assert "live.js" in shown
    assert "Refresh</a>" in shown
    part = see(ines, "staff_run", run.pk, headers={"X-Live": "1"})
    assert "<html" not in part
    assert "1,500 terms billed, 4,000 services due" in part
    assert "Last heard of at 09:00:00" in part
    assert "Billing 3.2 s" in part


def test_a_run_that_was_not_heard_of_for_two_minutes_died(ines):
    run = a_run(beat_at=timezone.now() - timedelta(seconds=121), working_on=[1])
    shown = see(ines, "staff_run", run.pk)
    assert "Died" in shown
    assert "What it had committed stays; the next run does the rest." in shown
    assert "not counted" in shown
    assert "data-live" not in shown
    assert "Died" in see(ines, "staff_runs")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"beat": 119, "working_on": [1]}, "running"),
        ({"beat": 121, "working_on": [1]}, "died"),
        ({"beat": 121}, "running"),
        ({"beat": 1801}, "died"),
        ({}, "waiting"),
        ({"started": 16}, "late"),
        ({"started": 3601}, "died"),
        ({"beat": 5, "ended": 1}, "done"),
        ({"beat": 5, "ended": 1, "error": "OperationalError."}, "failed"),
    ],
)
def test_what_became_of_a_run_is_told_from_when_it_was_heard_of(values, state):
    now = timezone.now()

    def ago(name):
        return now - timedelta(seconds=values[name]) if name in values else None

    run = Run(
        started_at=ago("started") or now,
        beat_at=ago("beat"),
        ended_at=ago("ended"),
        error=values.get("error", ""),
        working_on=values.get("working_on", []),
    )
    assert runs.state(run, now) == state


def test_services_that_a_run_did_not_come_to_are_counted(ines):
    run = a_run(beat_at=timezone.now(), ended_at=timezone.now(), due=10, services=6, parked=1)
    assert "3 services are left for the next run" in see(ines, "staff_run", run.pk)


def test_trying_again_bills_a_service_that_can_be_billed_by_now(ines):
    service = a_service(a_product(), a_client("Euro", "EUR"), anchor="2026-10-19", name="euro")
    post(ines, "staff_runs")
    shown = post(ines, "staff_service_bill", service.public_id, next=reverse("staff_runs"))
    assert "euro is still not billed: Business Web has no price per month in EUR." in shown
    assert "Billing runs" in shown
    ProductPrice.objects.create(product=service.product, cycle="monthly", currency="EUR", amount=Decimal(20))
    assert "euro is billed: 1 term" in post(ines, "staff_service_bill", service.public_id)
    assert not Parked.objects.exists()
    assert Run.objects.first().started_by.email == "ines@staff.test"


def test_a_bill_above_the_bound_is_approved_from_the_list_for_what_it_comes_to(ines, settings):
    settings.APPROVAL_ABOVE = Decimal(20)
    service = a_service(anchor="2026-10-19", name="dear")
    assert "more than $20.00 waits for approval" in post(ines, "staff_runs")
    assert 'value="approve"' in see(ines, "staff_runs")
    shown = post(ines, "staff_service_decide", service.public_id, verdict="approve")
    assert "$24.00 of dear is approved." in shown
    assert Decision.objects.get().amount == 24
    post(ines, "staff_runs")
    assert Invoice.objects.get().total == 24


def test_a_service_is_held_and_released_on_its_page(ines):
    service = a_service(anchor="2026-10-19", name="disputed")
    shown = post(ines, "staff_service_decide", service.public_id, verdict="hold", reason="they dispute it")
    assert "disputed is held" in shown
    assert "they dispute it" in shown
    assert 'value="release"' in shown
    post(ines, "staff_runs")
    assert not Invoice.objects.exists()
    post(ines, "staff_service_decide", service.public_id, verdict="release")
    post(ines, "staff_runs")
    assert Invoice.objects.count() == 1


def test_a_decision_that_is_none_is_refused(ines):
    service = a_service()
    assert "Choose to hold, release or approve it." in post(
        ines, "staff_service_decide", service.public_id, verdict="x"
    )
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    ("reason", "why"), [("a\0b", "Null characters are not allowed."), ("x" * 1001, "at most 1000 characters")]
)
def test_a_reason_that_cannot_be_kept_is_refused_in_words(ines, reason, why):
    service = a_service()
    assert why in post(ines, "staff_service_decide", service.public_id, verdict="hold", reason=reason)
    assert not Decision.objects.exists()


def test_a_button_never_leads_to_another_site(ines):
    service = a_service()
    data = {"verdict": "hold", "next": "https://elsewhere.test/"}
    response = ines.post(reverse("staff_service_decide", args=[service.public_id]), data)
    assert response.url == reverse("staff_service", args=[service.public_id])


def a_last_invoice_that_waits():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=5))
    with panel(down):
        termination.terminate(
            service=service, on=timezone.localdate(), at=timezone.now(), when_down=termination.WhenDown.WAIT
        )
    return service


def test_the_last_invoice_that_waits_for_its_server_is_asked_for_again(ines):
    service = a_last_invoice_that_waits()
    assert "Ask the server again" in see(ines, "staff_runs")
    assert "Ask the server again" in see(ines, "staff_service", service.public_id)
    assert "its last invoice waits on" in post(ines, "staff_service_finish", service.public_id, said=down)
    shown = post(ines, "staff_service_finish", service.public_id, said=[tenant_says("alice", mailboxes=7)])
    assert "The last invoice of alice is 2026-00001." in shown
    assert Invoice.objects.get().total == 14


def test_the_last_values_are_billed_if_a_person_says_so(ines):
    service = a_last_invoice_that_waits()
    shown = post(ines, "staff_service_finish", service.public_id, said=down, last_values="1")
    assert "the last values known are billed" in shown
    assert Invoice.objects.get().total == 10


def a_draft():
    server, product = a_server(), a_product()
    product.grace_days = 5
    product.save()
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above")
    sara = a_user()
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-19")
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=10 * GB))
    collected(server, "2026-11-19 06:00", tenant_says("alice", traffic=0))
    return service, sara


def test_a_draft_invoice_stands_on_the_pages_of_its_service_with_its_versions(ines):
    service, sara = a_draft()
    post(ines, "staff_runs")
    ProductPrice.objects.filter(cycle="monthly").update(amount=Decimal(30))
    post(ines, "staff_runs")
    shown = see(ines, "staff_service", service.public_id)
    assert "Issued on 24 November 2026" in shown
    assert "2 versions" in shown
    assert "$30.00" in shown
    ines.force_login(sara)
    shown = see(ines, "portal_service", service.public_id)
    assert "Issued on 24 November 2026; until then it follows your usage" in shown
    assert "versions" not in shown


def test_a_draft_that_was_issued_is_gone_from_the_pages(ines, time_machine):
    service, _ = a_draft()
    post(ines, "staff_runs")
    time_machine.move_to(at("2026-11-24 09:00"))
    Tick.objects.all().delete()  # nobody doubts the clock
    post(ines, "staff_runs")
    assert Invoice.objects.count() == 1
    assert "Draft invoice" not in see(ines, "staff_service", service.public_id)


def test_pages_take_the_same_number_of_queries_however_much_a_run_left(ines):
    def queries(run):
        with CaptureQueriesContext(connection) as captured:
            see(ines, "staff_run", run.pk)
        return len(captured)

    run = a_run(beat_at=timezone.now(), ended_at=timezone.now())

    def leave(count):
        for number in range(count):
            RunNote.objects.create(run=run, service=a_service(client=a_client()), kind="parked", reason=f"{number}")

    leave(1)
    queries(run)
    before = queries(run)
    leave(6)
    assert queries(run) == before
    assert Service.objects.count() == 7
