"""The page of a dry run: what would be billed, what a person decides, and the run that does just that."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.models import Service
from invoicing import gathering, preview, runs
from invoicing.billing import create_invoices
from invoicing.models import Claim, Decision, Invoice, Preview, Run
from metering.correcting import correct
from metering.models import Metric
from tests.builders import (
    EMAILS,
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

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def a_site(**mailboxes):
    """Services by name with their mailboxes at $2 of the last term and of this one, billed a term ago."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    for name in mailboxes:
        a_service(product, a_client(f"{name} Ltd"), a_tenant(server, name), anchor="2026-09-19", next_term=1)
    for day, which in (("2026-10-19", 0), ("2026-11-19", 1)):
        collected(server, f"{day} 06:00", *[tenant_says(name, mailboxes=n[which]) for name, n in mailboxes.items()])
        if not which:
            create_invoices(on=at(day).date(), at=at(f"{day} 07:00"))
    return {service.name: service for service in Service.objects.all()}


def text(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def dry_run(client):
    with panel(says()):
        return text(client.post(reverse("staff_preview"), follow=True))


def decide(client, verdicts, **data):
    one = Preview.objects.first()
    fields = {f"decision-{service.pk}": verdict for service, verdict in verdicts.items()}
    with panel(says()):
        return text(client.post(reverse("staff_preview_decide", args=[one.pk]), {**fields, **data}, follow=True))


def test_a_dry_run_writes_nothing_but_itself(ines):
    a_site(usual=(5, 5))
    before = Invoice.objects.count(), Claim.objects.count(), Run.objects.count()
    shown = dry_run(ines)
    assert "Nothing has been issued. Dry run made today, 09:00 by ines@staff.test, from collections up to" in shown
    assert (Invoice.objects.count(), Claim.objects.count(), Run.objects.count()) == before
    assert Preview.objects.count() == 1


def test_services_far_from_their_last_term_are_listed_and_the_others_summed(ines):
    a_site(usual=(5, 6), jumped=(5, 25), steady=(5, 5))
    shown = dry_run(ines)
    assert "Mailboxes rose from 5 mailboxes to 25 mailboxes." in shown
    assert "+$40.00" in shown
    assert "+117.6%" in shown
    assert "2 others" in shown
    assert "> All 3 " in shown
    assert "$144.00" in shown
    assert "1 of 1 servers in time" in shown
    assert "0 of 1 decided" in shown
    assert "not decided yet: is issued" in shown


def test_what_is_held_waits_and_the_run_does_just_what_the_page_says(ines):
    services = a_site(usual=(5, 5), jumped=(5, 25), fell=(30, 0))
    dry_run(ines)
    shown = decide(ines, {services["jumped"]: "hold", services["fell"]: "approve"}, reason="asked the client")
    assert "2 decisions saved." in shown
    assert "As it stands, $58.00 is issued." in shown
    assert "What is held or waits for approval: 1 service, $74.00." in shown
    assert "2 of 2 decided" in shown
    held = Decision.objects.get(verdict="hold")
    assert (held.through, held.amount, held.reason) == (timezone.localdate(), Decimal(74), "asked the client")
    assert held.by.email == "ines@staff.test"
    issued_before = Invoice.objects.count()
    decide(ines, {}, issue="1")
    assert Invoice.objects.count() == issued_before + 2
    run = Run.objects.first()
    assert run.amounts == {"USD": "58.0000"}
    assert run.held == 1
    assert run.started_by.email == "ines@staff.test"
    assert Service.objects.get(name="jumped").next_term == 2


def test_the_same_decision_is_not_written_twice_and_a_new_one_takes_its_place(ines):
    services = a_site(jumped=(5, 25))
    dry_run(ines)
    decide(ines, {services["jumped"]: "hold"})
    assert "No decision was new." in decide(ines, {services["jumped"]: "hold"})
    shown = decide(ines, {services["jumped"]: "approve"})
    assert "As it stands, $74.00 is issued." in shown
    assert list(Decision.objects.values_list("verdict", flat=True)) == ["approve", "hold"]


def test_a_decision_about_a_service_that_the_dry_run_does_not_list_is_not_taken(ines):
    a_site(jumped=(5, 25))
    stranger = a_service(anchor="2027-01-01", next_term=0)
    dry_run(ines)
    decide(ines, {stranger: "hold"})
    assert not Decision.objects.exists()


def test_what_a_person_holds_already_is_listed_and_can_be_approved(ines):
    services = a_site(usual=(5, 5))
    create_a_hold(services["usual"])
    shown = dry_run(ines)
    assert "<h2>Held</h2>" in shown
    assert "Held: disputed" in shown
    assert "As it stands, nothing is issued." in shown
    assert "As it stands, $34.00 is issued." in decide(ines, {services["usual"]: "approve"})


def create_a_hold(service):
    Decision.objects.create(
        service=service, verdict="hold", through=timezone.localdate(), reason="disputed", at=timezone.now()
    )


def test_a_bill_above_the_bound_waits_for_the_approval_of_just_that_amount(ines, settings):
    settings.APPROVAL_ABOVE = Decimal(50)
    services = a_site(usual=(5, 5), jumped=(5, 25))
    shown = dry_run(ines)
    assert "<h2>Waiting for approval</h2>" in shown
    assert "It comes to $74.00; more than $50.00 waits for approval." in shown
    assert "not decided yet: waits" in shown
    assert "As it stands, $34.00 is issued." in shown
    assert "As it stands, $108.00 is issued." in decide(ines, {services["jumped"]: "approve"})
    assert Decision.objects.get().amount == 74
    decide(ines, {}, issue="1")
    assert Run.objects.first().amounts == {"USD": "108.0000"}


def test_an_approval_of_another_amount_does_not_let_it_pass(ines, settings):
    settings.APPROVAL_ABOVE = Decimal(50)
    services = a_site(jumped=(5, 25))
    dry_run(ines)
    decide(ines, {services["jumped"]: "approve"})
    collected(services["jumped"].tenant.server, "2026-11-19 08:00", tenant_says("jumped", mailboxes=40))
    shown = dry_run(ines)
    assert "As it stands, nothing is issued." in shown
    assert "It comes to $104.00" in shown


def test_many_missed_terms_wait_and_are_approved_together(ines):
    service = a_service(anchor="2026-03-19", next_term=1, name="long gone")
    shown = dry_run(ines)
    assert "8 terms are due" in shown
    decide(ines, {service: "approve"})
    assert Decision.objects.get().amount is None
    decide(ines, {}, issue="1")
    assert Run.objects.first().invoices == 8


def test_several_terms_at_once_are_one_row(ines):
    a_service(anchor="2026-08-19", next_term=1, name="late")
    shown = dry_run(ines)
    assert "3 terms are billed at once, the first due on 19 September 2026." in shown
    assert "1 of 1 services rated" in shown
    assert [row["total"] for row in Preview.objects.get().outcome["rows"]] == ["72"]
    assert "> All 1 " in shown
    assert "As it stands, $72.00 is issued." in shown


def test_a_first_bill_is_listed_as_such(ines):
    a_service(anchor="2026-11-19", next_term=0, name="new")
    assert "First bill." in dry_run(ines)


def test_a_bill_far_above_the_middle_one_is_listed(ines):
    a_site(**{f"usual{number}": (1, 1) for number in range(5)}, huge=(300, 300))
    assert "More than 10 times the middle bill of this run, $26.00." in dry_run(ines)


def test_parked_services_stand_together_by_reason(ines):
    for name in ("velo", "atelier"):
        a_service(a_product(), a_client(name, "EUR"), anchor="2026-10-19", name=name)
    shown = dry_run(ines)
    assert "no price per month in EUR" in shown
    assert "velo</a>, <a" in shown
    assert "2 parked" in shown
    assert "Add the price" in shown


def test_what_waits_for_usage_stands_together_by_server(ines):
    server, product = a_server(), a_product()
    for metric in (MAILBOXES, TRAFFIC):
        priced(a_setting(product, metric), ("0", "2"))
    for name in ("one", "two"):
        a_service(product, a_client(name), a_tenant(server, name), anchor="2026-10-05")
    collected(server, "2026-10-10 06:00", tenant_says("one", mailboxes=3), tenant_says("two", mailboxes=3))
    shown = dry_run(ines)
    assert "Mailboxes of panel-01" in shown
    assert "Not measured since 10 October 2026" in shown
    assert "2 services" in shown


def test_drafts_in_grace_are_listed_and_not_billed(ines):
    product = a_product()
    product.grace_days = 5
    product.save()
    a_service(product, anchor="2026-10-19", name="graceful")
    shown = dry_run(ines)
    assert "<h2>Drafts in grace</h2>" in shown
    assert "24 Nov 2026" in shown
    assert "As it stands, nothing is issued." in shown


def test_a_dry_run_can_be_looked_at_again_and_one_of_another_day_issues_nothing(ines, time_machine):
    a_site(jumped=(5, 25))
    dry_run(ines)
    time_machine.move_to(at("2026-11-20 09:00"))
    shown = text(ines.get(reverse("staff_preview")))
    assert "Run of 19 November 2026" in shown
    assert "This dry run is of another day." in shown
    assert "Save and issue now" not in shown


def test_after_a_run_the_page_says_so(ines):
    a_site(jumped=(5, 25))
    dry_run(ines)
    decide(ines, {}, issue="1")
    shown = text(ines.get(reverse("staff_preview")))
    assert "A run has billed since." in shown
    assert "Save and issue now" not in shown


def test_a_long_dry_run_is_left_to_the_worker_and_the_page_follows_it(ines, settings, monkeypatch):
    settings.PREVIEW_AT_ONCE = 0
    handed = []
    monkeypatch.setattr(runs, "hand_over", lambda job, pk: handed.append((job, pk)))
    a_site(jumped=(5, 25))
    shown = dry_run(ines)
    assert "The worker makes it as soon as it is free." in shown
    assert "live.js" in shown
    one = Preview.objects.get()
    assert handed == [("billing_site.jobs.dry_run", one.pk)]
    dry_run(ines)
    assert Preview.objects.count() == 1
    Preview.objects.update(beat_at=timezone.now(), began_at=timezone.now(), due=4000, done=1500)
    assert "1,500 of 4,000 services rated" in text(ines.get(reverse("staff_preview"), headers={"X-Live": "1"}))
    Preview.objects.update(beat_at=timezone.now() - timedelta(minutes=3))
    assert "It was last heard of" in text(ines.get(reverse("staff_preview")))


def test_a_dry_run_that_fails_says_so(ines, monkeypatch):
    monkeypatch.setattr(preview, "create_invoices", lambda **_: 1 / 0)
    assert "ZeroDivisionError. The log has the details." in dry_run(ines)


def test_the_table_is_bounded_and_the_rest_is_summed(ines, monkeypatch):
    monkeypatch.setattr(gathering, "MOST", 2)
    a_site(small=(5, 20), middle=(5, 30), large=(5, 40))
    shown = dry_run(ines)
    assert "1 other" in shown
    assert "1 of them would have a row, too" in shown
    assert [row["total"] for row in Preview.objects.get().outcome["rows"]] == ["104", "84"]


def test_the_page_takes_the_same_number_of_queries_however_many_services(ines):
    def queries():
        dry_run(ines)
        with CaptureQueriesContext(connection) as captured:
            ines.get(reverse("staff_preview"))
        return len(captured)

    services = a_site(jumped=(5, 25), fell=(30, 0))
    queries()
    before = queries()
    product, server = services["jumped"].product, services["jumped"].tenant.server
    for number in range(8):
        a_service(product, a_client(), a_tenant(server, f"new{number}"), anchor="2026-11-19", next_term=0)
        a_service(product, a_client("Euro", "EUR"), anchor="2026-11-19", name=f"euro{number}")
    assert queries() == before


def a_viewer():
    from django.contrib.auth.models import Permission

    user = a_user("view@staff.test", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_run", "view_service"]))
    return user


def test_what_cannot_be_decided_is_refused_in_words(ines):
    services = a_site(jumped=(5, 25))
    dry_run(ines)
    assert "Null characters are not allowed." in decide(ines, {services["jumped"]: "hold"}, reason="a\0b")
    address = reverse("staff_preview_decide", args=[Preview.objects.get().pk])
    for number in ("9" * 30, "9" * 5000, "%C2%B2"):
        said = ines.post(address, f"decision-{number}=hold", content_type="application/x-www-form-urlencoded")
        assert said.status_code == 302
    assert not Decision.objects.exists()


def test_who_may_look_may_not_decide_or_run(client, ines):
    services = a_site(jumped=(5, 25))
    dry_run(ines)
    one = Preview.objects.get()
    client.force_login(a_viewer())
    shown = text(client.get(reverse("staff_preview")))
    assert "Save decisions" not in shown
    assert "disabled" in shown
    for address in (
        reverse("staff_preview"),
        reverse("staff_runs"),
        reverse("staff_preview_decide", args=[one.pk]),
        *(
            reverse(f"staff_service_{deed}", args=[services["jumped"].public_id])
            for deed in ("decide", "bill", "finish", "settle")
        ),
    ):
        assert client.post(address).status_code == 403, address
    client.force_login(a_user())
    assert client.get(reverse("staff_preview")).status_code == 403


def test_usage_that_was_corrected_is_given_back_by_a_credit_note_that_is_listed(ines):
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), ("0", "1"))
    a_service(product, tenant=a_tenant(server), anchor="2026-09-19")
    for day, emails in (("2026-10-10", 30), ("2026-10-11", 0), ("2026-10-19", 0), ("2026-11-18", 0), ("2026-11-19", 0)):
        collected(server, f"{day} 12:00", tenant_says("alice", emails=emails))
        if day == "2026-10-19":
            create_invoices(on=at(day).date(), at=at(f"{day} 13:00"))
    correct(
        tenant=server.tenants.get(),
        metric=Metric.objects.get(system_name="emails"),
        start=at("2026-10-10").date(),
        value=Decimal(10),
        reason="counted twice",
        by=None,
        at=timezone.now(),
    )
    shown = dry_run(ines)
    assert "<h2>Credit notes</h2>" in shown
    assert "1 in all, $20.00 given back" in shown
    assert "2026-00001</a>" in shown
    assert Invoice.objects.count() == 1
