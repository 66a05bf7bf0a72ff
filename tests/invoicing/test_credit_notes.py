"""Giving back and voiding: a credit note refers to its invoice, never exceeds it, and nothing is billed twice."""

import threading
import time
from datetime import date
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction

from catalog.models import ProductPrice, Service
from invoicing import credits, issuing
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.corrections import settle
from invoicing.credits import CannotCredit
from invoicing.models import Invoice, Line
from invoicing.verification import verify
from metering.correcting import correct
from metering.models import Metric
from tests.builders import (
    GB,
    TRAFFIC,
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

ON, AT = date(2026, 11, 5), at("2026-11-05 12:00")


def bill(on):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


@pytest.fixture
def invoice():
    """24.00 for the service and 90.00 for 100 GB, of which 10 are included."""
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-01")
    collected(server, "2026-11-30 18:00", tenant_says("alice", traffic=20 * GB))
    collected(server, "2026-12-01 06:00", tenant_says("alice", traffic=0))
    return Invoice.objects.get()


def corrected(value, when="2026-11-03 12:00"):
    line = Line.objects.filter(kind="usage").first()
    correct(
        tenant=line.service.tenant,
        metric=Metric.objects.get(system_name="traffic"),
        start=date(2026, 10, 1),
        value=value * GB,
        reason="counted twice",
        by=None,
        at=at(when),
    )
    return line


def is_sound():
    assert [str(finding) for finding in verify()] == []
    return True


def credit(invoice, amounts, reason="the outage"):
    return credits.credit(invoice=invoice, amounts=amounts, reason=reason, on=ON, at=AT)


def void(invoice, reason="wrong address"):
    return credits.void(invoice=invoice, reason=reason, on=ON, at=AT)


def test_some_of_a_line_is_given_back_on_a_document_that_refers_to_the_invoice(invoice):
    line = invoice.lines.get(kind="usage")
    note = credit(invoice, {line.pk: Decimal("12.50")})
    assert (note.number, note.kind, note.credits, note.total, note.reason) == (
        "C2026-00001",
        "credit_note",
        invoice,
        Decimal("12.50"),
        "the outage",
    )
    assert credits.left_of(invoice)[line.pk] == Decimal("77.50")
    assert is_sound()


def test_no_line_is_given_back_by_more_than_is_left_of_it(invoice):
    line = invoice.lines.get(kind="usage")
    credit(invoice, {line.pk: Decimal(80)})
    with pytest.raises(CannotCredit, match=r"at most \$10\.00 is left"):
        credit(invoice, {line.pk: Decimal("10.01")})
    assert Invoice.objects.filter(kind="credit_note").count() == 1


@pytest.mark.parametrize(
    ("amounts", "reason", "why"),
    [
        ({}, "the outage", "Say how much"),
        ({0: "5"}, " ", "Say why"),
        ({0: "-5"}, "the outage", "cannot be given back"),
        ({0: "0.001"}, "the outage", "more decimals"),
        ({"another": "5"}, "the outage", "no such line"),
    ],
)
def test_what_cannot_be_given_back_is_refused_in_words(invoice, amounts, reason, why):
    lines = list(invoice.lines.all())
    chosen = {lines[key].pk if key == 0 else key: Decimal(value) for key, value in amounts.items()}
    with pytest.raises(CannotCredit, match=why):
        credit(invoice, chosen, reason)
    assert not Invoice.objects.filter(kind="credit_note").exists()


def test_a_credit_note_is_not_credited(invoice):
    line = invoice.lines.get(kind="usage")
    note = credit(invoice, {line.pk: Decimal(1)})
    with pytest.raises(CannotCredit, match="is a credit note itself"):
        credit(note, {note.lines.get().pk: Decimal(1)})


def test_the_database_wants_a_credit_note_to_name_its_invoice(invoice):
    values = Invoice.objects.filter(pk=invoice.pk).values().get() | {"kind": "credit_note", "number": "C2026-00009"}
    values.pop("id")
    with pytest.raises(IntegrityError, match="credit_note_names_its_invoice"), transaction.atomic():
        Invoice.objects.create(**values)


def test_voiding_gives_all_back_and_bills_it_again_as_prices_are_now(invoice):
    ProductPrice.objects.filter(cycle="monthly").update(amount=20)
    voided = void(invoice)
    assert voided.credit_note.total == invoice.total == 114
    assert (voided.replacement.kind, voided.replacement.total) == ("replacement", 110)
    assert voided.replacement.reason == "Replaces 2026-00001. wrong address"
    assert is_sound()
    bill("2026-12-01")
    assert [line.amount for line in Line.objects.filter(kind="usage").order_by("invoice__number")] == [90, 90, 10]
    assert is_sound()


@pytest.mark.parametrize(
    ("ahead", "billed", "changed"),
    [
        (0, "2026-11-01", "2026-11-01 12:00"),
        (0, "2026-11-01", "2026-11-03 12:00"),
        (7, "2026-10-25", "2026-10-28 12:00"),
    ],
    ids=["on its first day", "within it", "before it, and it was invoiced ahead"],
)
def test_the_price_of_a_term_is_not_that_of_a_product_to_which_the_service_was_changed(ahead, billed, changed):
    small, big = a_product("Small", price="10"), a_product("Big", price="100")
    small.invoice_days_ahead = ahead
    small.save()
    service = a_service(small)
    bill(billed)
    change(service=Service.objects.get(pk=service.pk), product=big, at=at(changed))
    invoice = Invoice.objects.get()
    for _ in range(2):
        invoice = void(invoice).replacement
        assert [(line.title, line.amount) for line in invoice.lines.all()] == [("Small", 10)]


def test_a_term_that_was_billed_after_a_change_has_the_price_of_now():
    small, big = a_product("Small", price="10"), a_product("Big", price="100")
    service = a_service(small, next_term=0)
    bill("2026-10-01")
    change(service=Service.objects.get(pk=service.pk), product=big, at=at("2026-10-15 12:00"))
    bill("2026-11-01")
    ProductPrice.objects.filter(product=big).update(amount=90)
    replacement = void(Invoice.objects.get(issued_on="2026-11-01")).replacement
    assert [(line.title, line.amount) for line in replacement.lines.all()] == [("Big", 90)]


def test_voiding_takes_the_usage_as_it_is_now_and_no_difference_is_left(invoice):
    corrected(60)
    voided = void(invoice)
    assert voided.replacement.total == 24 + 50
    bill("2026-12-01")
    assert not Line.objects.filter(kind__in=["adjustment"]).exists()
    assert Invoice.objects.filter(kind="credit_note").count() == 1
    assert is_sound()


def test_the_replacement_is_corrected_like_any_invoice(invoice):
    void(invoice)
    line = corrected(130)
    settle(service=line.service, on=ON, at=at("2026-11-06 12:00"))
    adjustment = Line.objects.get(kind="adjustment")
    assert (adjustment.amount, adjustment.corrects.invoice.kind) == (30, "replacement")
    assert is_sound()


def test_what_was_given_back_already_is_not_given_back_again_by_voiding(invoice):
    line = invoice.lines.get(kind="usage")
    credit(invoice, {line.pk: Decimal(80)})
    assert void(invoice).credit_note.total == 34
    with pytest.raises(CannotCredit, match="credited in full already"):
        void(invoice)
    assert is_sound()


def test_an_invoice_that_another_one_corrects_is_voided_after_that_one(invoice):
    line = corrected(130)
    settle(service=line.service, on=ON, at=at("2026-11-04 12:00"))
    settlement = Invoice.objects.get(kind="settlement")
    with pytest.raises(CannotCredit, match="2026-00002 corrects a line of 2026-00001"):
        void(invoice)
    replaced = void(settlement)
    assert (replaced.credit_note.total, replaced.replacement.total) == (30, 30)
    assert is_sound()
    line = corrected(140, "2026-11-06 12:00")
    settle(service=line.service, on=ON, at=at("2026-11-06 12:00"))
    assert Line.objects.filter(kind="adjustment").order_by("invoice__number").last().amount == 10
    assert is_sound()


def test_what_is_billed_again_has_the_prices_of_the_renewal_however_late_its_run():
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), notation="above", price_at="invoice")
    priced(setting, ("0", "2"), notation="above", price_at="invoice", effective_from="2026-11-02")
    a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=20 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill("2026-11-04")
    invoice = Invoice.objects.get()
    for reason in ("the name was wrong", "and the address"):
        invoice = credits.void(invoice=invoice, reason=reason, on=ON, at=AT).replacement
        assert [line.amount for line in invoice.lines.filter(kind="usage")] == [20]


def net():
    return sum(-one.total if one.kind == "credit_note" else one.total for one in Invoice.objects.all())


def a_correction(value, when):
    """October's usage is corrected and settled by itself. Returns the newest invoice."""
    corrected(value, when)
    line = Line.objects.filter(kind="usage").select_related("service").first()
    settle(service=line.service, on=at(when).date(), at=at(when))
    return Invoice.objects.exclude(kind="credit_note").latest("entry")


def test_what_was_given_back_of_a_correction_stays_given_when_that_is_voided(invoice):
    more = a_correction(130, "2026-11-03 12:00")
    [line] = more.lines.all()
    credits.credit(invoice=more, amounts={line.pk: Decimal(10)}, reason="the outage", on=ON, at=AT)
    assert (net(), is_sound()) == (24 + 120 - 10, True)
    again = credits.void(invoice=more, reason="the address", on=ON, at=AT).replacement
    [line] = again.lines.all()
    assert (line.amount, line.before, line.quantity, line.settled) == (20, 100, 130, 100)
    assert (net(), is_sound()) == (24 + 120 - 10, True)
    a_correction(131, "2026-11-06 12:00")
    assert (net(), is_sound()) == (24 + 121 - 10, True)


def test_a_correction_that_was_corrected_itself_is_billed_again_as_it_was_last(invoice):
    more = a_correction(130, "2026-11-03 12:00")
    a_correction(125, "2026-11-04 12:00")
    assert (net(), is_sound()) == (24 + 115, True)
    again = credits.void(invoice=more, reason="the address", on=ON, at=AT).replacement
    assert again.total == 25
    assert (net(), is_sound()) == (24 + 115, True)


def test_an_invoice_that_is_corrected_elsewhere_is_voided_once_that_line_is_given_back(invoice):
    more = a_correction(130, "2026-11-03 12:00")
    for _ in range(2):
        with pytest.raises(
            CannotCredit, match=r"corrects a line of 2026-00001\. Give back that line of .* in full first"
        ):
            credits.void(invoice=invoice, reason="the address", on=ON, at=AT)
        more = credits.void(invoice=more, reason="the address", on=ON, at=AT).replacement
    amounts = {line.pk: line.amount for line in more.lines.all()}
    credits.credit(invoice=more, amounts=amounts, reason="the address", on=ON, at=AT)
    again = credits.void(invoice=invoice, reason="the address", on=ON, at=AT).replacement
    assert again.total == net() == 24 + 120
    assert is_sound()
    a_correction(131, "2026-11-06 12:00")
    assert (net(), is_sound()) == (24 + 121, True)


def test_an_invoice_of_nothing_is_not_voided_and_the_reason_is_the_right_one():
    a_service(a_product(price="0"))
    bill("2026-11-01")
    with pytest.raises(CannotCredit, match="comes to nothing, so there is nothing to give back"):
        credits.void(invoice=Invoice.objects.get(), reason="x", on=ON, at=AT)


def somebody_waits():
    """Whether another connection waits for a lock. Returns once one does, or after ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return True
        time.sleep(0.02)
    return False


@pytest.mark.django_db(transaction=True)
def test_voiding_beside_a_run_that_gives_back_waits_for_it(invoice):
    """A run numbers its invoices, and then its credit notes."""
    problems = []

    def work():
        try:
            void(invoice)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        issuing._number([], f"{ON.year}", ON)
        thread.start()
        assert somebody_waits()
        issuing._number([], f"C{ON.year}", ON)
    thread.join(20)
    assert problems == []
    assert [one.kind for one in Invoice.objects.order_by("entry")] == ["renewal", "credit_note", "replacement"]
    assert is_sound()
