"""`create_invoices` on the command line: what it says of what it leaves out, and how it stops."""

import os
import signal
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from catalog.models import Service
from invoicing import billing, corrections, termination
from invoicing.billing import create_invoices
from invoicing.models import Decision, DraftInvoice, Invoice, Parked
from metering.correcting import correct
from metering.models import Metric
from metering.providers.base import ProviderError
from tests.builders import (
    EMAILS,
    MAILBOXES,
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


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


def run(*arguments, said=()):
    out = StringIO()
    with panel(said if callable(said) else says(*said)):
        call_command("create_invoices", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_a_dry_run_says_what_is_held_waits_for_approval_and_is_in_grace(settings):
    settings.APPROVAL_ABOVE = Decimal(30)
    held = a_service(anchor="2026-10-19", name="held")
    Decision.objects.create(
        service=held, verdict="hold", through=timezone.localdate(), reason="disputed", at=timezone.now()
    )
    dear = a_service(a_product("Dear", price="40"), anchor="2026-10-19")
    kind = a_product("Kind")
    kind.grace_days = 5
    kind.save()
    graceful = a_service(kind, anchor="2026-10-19")
    said = run("--dry-run")
    assert f"left out: service {held.pk}, $24.00: Held: disputed" in said
    assert f"left out: service {dear.pk}, $40.00: It comes to $40.00; more than $30.00 waits for approval." in said
    assert f"in grace: service {graceful.pk}: a draft over $24.00" in said
    assert "0 invoices would be issued for 0 terms: nothing" in said
    assert not DraftInvoice.objects.exists()
    assert "1 invoices are drafts in their days of grace" in run()


def test_a_dry_run_says_which_credit_notes_would_be_made():
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
    corrections.assess(timezone.now())
    said = run("--dry-run")
    assert "credit note, $20.00" in said
    assert "1 credit notes would be issued" in said
    assert "1 credit notes issued" in run()


def down(connection, period):
    raise ProviderError("No answer.")
    yield


def test_last_invoices_that_waited_for_their_server_are_made_first_unless_one_service_is_named():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=5))
    with panel(down):
        termination.terminate(
            service=service, on=timezone.localdate(), at=timezone.now(), when_down=termination.WhenDown.WAIT
        )
    other = a_service(anchor="2026-12-01", client=a_client("other"))
    answer = [tenant_says("alice", mailboxes=7)]
    run("--service", str(other.pk), said=answer)
    run("--dry-run", said=answer)
    assert not Invoice.objects.exists()
    assert "alice: panel-01 could not be asked once more" in run(said=down)
    assert "alice: its last invoice is 2026-00001" in run(said=answer)
    assert not Parked.objects.exists()


def test_a_signal_lets_the_batch_at_hand_be_finished_and_then_stops(monkeypatch):
    for number in range(3):
        a_service(client=a_client(f"client {number}"), anchor="2026-10-19", name=f"{number}")
    bill, handler = billing._bill, signal.getsignal(signal.SIGTERM)

    def bill_and_be_told(*arguments):
        done = bill(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(billing, "BATCH", 1)
    monkeypatch.setattr(billing, "_bill", bill_and_be_told)
    with pytest.raises(CommandError, match=r"Stopped\. What is billed stays billed; the next run does the rest\."):
        run()
    assert Invoice.objects.count() == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    monkeypatch.setattr(billing, "_bill", bill)
    run()
    assert Invoice.objects.count() == 3
    assert set(Service.objects.values_list("next_term", flat=True)) == {2}
