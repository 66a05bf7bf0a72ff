"""What a run leaves out: services that are held, that missed many terms, that are beyond a bound, or that kill it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from django.utils.translation import override

from catalog.models import Service
from invoicing import billing
from invoicing.billing import create_invoices
from invoicing.models import Decision, Invoice, Parked, Run, RunNote
from tests.builders import a_client, a_product, a_service, at, panel, says

pytestmark = pytest.mark.django_db

APPROVE, HOLD, RELEASE = Decision.Verdict.APPROVE, Decision.Verdict.HOLD, Decision.Verdict.RELEASE


def bill(on="2026-11-01", **options):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def decide(service, verdict, through="2026-11-01", amount=None, reason=""):
    Decision.objects.create(
        service=service,
        verdict=verdict,
        through=date.fromisoformat(through),
        amount=amount,
        reason=reason,
        at=at("2026-10-31 12:00"),
    )


def a_vps(name="vps", **values):
    return a_service(a_product("VPS", provider=""), a_client(f"client of {name}"), name=name, **values)


def billed():
    return set(Invoice.objects.values_list("lines__service__name", flat=True))


def test_a_service_that_is_held_is_left_out_until_it_is_released_and_then_billed_for_all_its_terms():
    held, other = a_vps("held"), a_vps("other")
    decide(held, HOLD, reason="they dispute it")
    result = bill()
    assert (result.held, billed()) == ({held.pk: "Held: they dispute it"}, {"other"})
    assert not Parked.objects.exists()
    note = RunNote.objects.get(run=result.run)
    assert (note.kind, note.service, note.reason) == ("held", held, "Held: they dispute it")
    bill("2026-12-01")
    assert billed() == {"other"}
    decide(held, RELEASE)
    bill("2026-12-01")
    assert Invoice.objects.filter(lines__service=held).count() == 2
    assert other.claims.count() == 2


def test_a_dry_run_says_what_a_held_service_would_bring():
    decide(a_vps("held"), HOLD)
    result = bill(dry_run=True)
    assert [draft.total for draft in result.left] == [24]
    assert result.documents == []


def test_a_service_that_missed_many_terms_waits_for_approval_and_is_then_billed_once_for_each():
    service = a_vps("late", anchor="2026-01-01", next_term=1)  # February to November: ten terms
    result = bill()
    assert result.held[service.pk].startswith("10 terms are due, the first since 1 February 2026; more than 6")
    assert Parked.objects.get().needs_approval
    decide(service, APPROVE, through="2026-11-01")
    bill()
    assert Invoice.objects.count() == 10
    assert not Parked.objects.exists()
    service.refresh_from_db()
    assert service.next_due_on == date(2026, 12, 1)


def test_an_approval_does_not_reach_further_than_the_day_that_it_was_given_for():
    service = a_vps("late", anchor="2026-01-01", next_term=1)
    decide(service, APPROVE, through="2026-03-01")
    bill()
    assert Invoice.objects.count() == 2
    assert Parked.objects.get().service == service


def test_as_many_missed_terms_as_are_allowed_are_billed_without_asking():
    a_vps("late", anchor="2026-05-01", next_term=1)  # June to November
    assert bill().held == {}
    assert Invoice.objects.count() == 6


def test_above_the_bound_of_the_operator_a_bill_waits_until_that_amount_is_approved(settings):
    settings.APPROVAL_ABOVE = Decimal(20)
    service = a_vps("dear")
    with override("de"):  # what is kept is in English, whoever began the run
        assert bill().held == {service.pk: "It comes to $24.00; more than $20.00 waits for approval."}
    decide(service, APPROVE, amount=Decimal("23.99"))
    assert bill().held
    decide(service, APPROVE, amount=Decimal(24))
    assert bill().held == {}
    assert billed() == {"dear"}


def test_so_does_one_of_many_times_the_last_term(settings):
    settings.APPROVAL_ABOVE_FACTOR = Decimal(3)
    service = a_vps("dear", next_term=0)
    bill("2026-10-01")
    service.product.prices.filter(cycle="monthly").update(amount=80)
    assert bill().held == {service.pk: "It comes to $80.00, more than 3 times the $24.00 of the last term."}


def a_dead_run(*services):
    long_ago = timezone.now() - timedelta(hours=1)
    pks = [service.pk for service in services]
    return Run.objects.create(on=date(2026, 11, 1), started_at=long_ago, beat_at=long_ago, working_on=pks)


def test_services_with_which_runs_died_are_billed_last_and_alone(monkeypatch):
    first, second, third = a_vps("first"), a_vps("second"), a_vps("third")
    for _ in range(3):
        a_dead_run(first, second)
    batches, bill_batch = [], billing.bill_batch
    monkeypatch.setattr(billing, "bill_batch", lambda ids, **rest: batches.append(ids) or bill_batch(ids, **rest))
    bill()
    assert batches == [[third.pk], [first.pk], [second.pk]]
    assert billed() == {"first", "second", "third"}


def test_a_service_with_which_every_run_dies_is_parked_and_the_others_are_billed():
    poison, other = a_vps("poison"), a_vps("other")
    for _ in range(3):
        a_dead_run(poison)
    result = bill()
    assert billed() == {"other"}
    assert result.held[poison.pk].startswith("3 runs stopped while they were billing this service alone.")
    assert Parked.objects.get().needs_approval
    bill()
    assert other.claims.count() == 1
    decide(poison, APPROVE)
    bill()
    assert billed() == {"other", "poison"}


def test_a_run_that_was_killed_just_now_is_not_taken_for_dead():
    service = a_vps()
    for _ in range(5):
        Run.objects.create(
            on=date(2026, 11, 1), started_at=timezone.now(), beat_at=timezone.now(), working_on=[service.pk]
        )
    assert bill().held == {}


def test_a_run_that_is_asked_to_stop_finishes_its_batch_and_the_next_run_does_the_rest(monkeypatch):
    monkeypatch.setattr("invoicing.billing.BATCH", 1)
    for number in range(3):
        a_vps(f"vps {number}")
    asked = iter([False, True])
    run = bill(should_stop=lambda: next(asked)).run
    assert (run.invoices, run.due) == (1, 3)
    assert bill().run.invoices == 2
    assert Service.objects.filter(next_term=2).count() == 3


def test_the_record_says_what_was_done_how_long_it_took_and_what_was_left():
    a_vps("one")
    a_service(a_product("Without a price", provider="", currency="EUR"), a_client("poor"), name="two")
    run = Run.objects.get(pk=bill().run.pk)
    assert (run.due, run.services, run.invoices, run.parked, run.amounts) == (2, 1, 1, 1, {"USD": "24.0000"})
    assert {"corrections", "billing"} <= set(run.seconds)
    assert run.ended_at
    assert not run.working_on
    [note] = run.notes.all()
    assert (note.kind, note.service.name) == ("parked", "two")
