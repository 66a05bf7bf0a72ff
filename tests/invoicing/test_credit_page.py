"""Staff give back some or all of an invoice, void one, and look credit notes up."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import BracketPrice, ProductPrice
from invoicing import credit_views, credits
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Message, Series
from tests.builders import (
    MAILBOXES,
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
from tests.invoicing.pages import allow, post, see

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def invoice():
    """$24.00 and $10.00 for mailboxes."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    a_service(product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", mailboxes=5))
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    return Invoice.objects.get()


def amounts(invoice, *given):
    lines = invoice.lines.order_by("position")
    return {f"amount-{line.pk}": amount for line, amount in zip(lines, given, strict=False)}


def notes():
    return [(note.number, note.total) for note in Invoice.objects.filter(kind="credit_note").order_by("number")]


def test_the_page_shows_what_is_left_of_each_line(ines, invoice):
    shown = see(ines, "staff_credit", invoice.pk)
    assert "$34.00, of which $34.00 is left to give back." in shown
    assert "Mailboxes, measured on 1 November 2026 alice $10.00 $10.00" in shown
    assert "All of it, $34.00" in shown


def test_the_sum_is_shown_before_anything_is_issued(ines, invoice):
    shown = post(ines, "staff_credit", invoice.pk, reason="Four days of outage", **amounts(invoice, "3.20", "1"))
    assert "A credit note of $4.20 for 2026-00001" in shown
    assert "Issue the credit note of $4.20" in shown
    assert notes() == []


def test_then_the_credit_note_is_issued(ines, invoice):
    given = amounts(invoice, "3.20", "1")
    shown = post(ines, "staff_credit", invoice.pk, reason="Four days of outage", confirm="4.20", **given)
    assert "Credit note C2026-00001 gives back $4.20." in shown
    [note] = Invoice.objects.filter(kind="credit_note")
    assert (note.credits, note.total, note.reason) == (invoice, Decimal("4.20"), "Four days of outage")
    shown = see(ines, "staff_credit", invoice.pk)
    assert "$34.00, of which $29.80 is left to give back." in shown


def test_what_was_typed_after_the_sum_was_shown_is_shown_again_first(ines, invoice):
    given = amounts(invoice, "5", "1")
    shown = post(ines, "staff_credit", invoice.pk, reason="Four days of outage", confirm="4.20", **given)
    assert "Issue the credit note of $6.00" in shown
    assert notes() == []


def test_a_form_that_is_sent_twice_issues_one_credit_note(ines, invoice):
    given = {"reason": "Four days of outage", **amounts(invoice, "3.20", "1")}
    page = ines.post(reverse("staff_credit", args=[invoice.pk]), given)
    given |= {"confirm": page.context["confirm"], "rest": page.context["rest"]}
    assert f'name="rest" value="{given["rest"]}"' in page.content.decode()
    post(ines, "staff_credit", invoice.pk, **given)
    shown = post(ines, "staff_credit", invoice.pk, **given)
    assert "Some of it was given back meanwhile. Look at it again, then issue it." in shown
    assert notes() == [("C2026-00001", Decimal("4.20"))]


def test_what_is_given_back_while_it_is_issued_is_seen(ines, invoice, monkeypatch):
    given = {"reason": "Four days of outage", **amounts(invoice, "3.20", "1")}
    issue = credit_views._credit

    def slowly(*said):
        monkeypatch.setattr(credit_views, "_credit", issue)
        post(ines, "staff_credit", invoice.pk, confirm="4.20", **given)
        return issue(*said)

    monkeypatch.setattr(credit_views, "_credit", slowly)
    shown = post(ines, "staff_credit", invoice.pk, confirm="4.20", **given)
    assert "The credit note comes to another total by now" in shown
    assert notes() == [("C2026-00001", Decimal("4.20"))]


def test_all_of_it_is_one_button(ines, invoice):
    credits.credit(
        invoice=invoice,
        amounts={invoice.lines.get(position=1).pk: Decimal(4)},
        reason="outage",
        on=date(2026, 11, 2),
        at=at("2026-11-02 09:00"),
    )
    response = ines.post(reverse("staff_credit", args=[invoice.pk]), {"all": "", "reason": "An error"})
    shown = response.content.decode()
    for value in ('value="20.00"', 'value="10.00"', 'value="An error"'):
        assert value in shown
    post(ines, "staff_credit", invoice.pk, reason="An error", confirm="30.00", **amounts(invoice, "20.00", "10.00"))
    assert sum(total for _, total in notes()) == 34
    assert "Nothing is left: it is credited in full." in see(ines, "staff_credit", invoice.pk)


@pytest.mark.parametrize(
    ("given", "reason", "why"),
    [
        (("24.01",), "An error", "More than is left of it"),
        (("0.005",), "An error", "At most 2 decimals"),
        (("-1",), "An error", "Must be 0 or more"),
        (("1,50",), "An error", "Not a plain number"),
        (("", ""), "An error", "Enter how much of which line is given back."),
        (("0", "0"), "An error", "Enter how much of which line is given back."),
        (("1",), " ", "Say why."),
    ],
)
def test_what_cannot_be_given_back_says_why(ines, invoice, given, reason, why):
    shown = post(ines, "staff_credit", invoice.pk, reason=reason, confirm="1", **amounts(invoice, *given))
    assert why in shown
    assert "Issue the credit note" not in shown
    assert notes() == []


def test_voiding_shows_first_what_the_new_invoice_would_be_and_writes_nothing(ines, invoice):
    ProductPrice.objects.filter(cycle="monthly").update(amount=20)
    before = Series.objects.values_list("next_number", flat=True).get(), Message.objects.count()
    shown = see(ines, "staff_void", invoice.pk)
    assert "Business Web alice, 1 November to 1 December 2026 $20.00" in shown
    assert "Credit note for 2026-00001 −$34.00" in shown
    assert "Difference for the client −$4.00" in shown
    assert "Void it and issue a new invoice of $30.00" in shown
    assert Invoice.objects.get() == invoice
    assert (Series.objects.values_list("next_number", flat=True).get(), Message.objects.count()) == before


def test_then_it_is_credited_in_full_and_billed_again(ines, invoice):
    ProductPrice.objects.filter(cycle="monthly").update(amount=20)
    shown = post(ines, "staff_void", invoice.pk, total="30", reason="The price was wrong")
    assert "2026-00001 is voided: credit note C2026-00001 gives it back, and 2026-00002 replaces it." in shown
    assert notes() == [("C2026-00001", 34)]
    replacement = Invoice.objects.get(kind="replacement")
    assert (replacement.number, replacement.total) == ("2026-00002", 30)
    assert replacement.reason == "Replaces 2026-00001. The price was wrong"


def test_another_total_than_was_shown_voids_nothing(ines, invoice):
    ProductPrice.objects.filter(cycle="monthly").update(amount=20)
    shown = post(ines, "staff_void", invoice.pk, total="34", reason="The price was wrong")
    assert "The new invoice comes to another total by now." in shown
    assert "Void it and issue a new invoice of $30.00" in shown
    assert Invoice.objects.get() == invoice


def test_voiding_takes_a_reason(ines, invoice):
    assert "Say why." in post(ines, "staff_void", invoice.pk, total="34", reason="")
    assert Invoice.objects.get() == invoice


def test_what_cannot_be_billed_again_is_not_voided_and_says_why(ines, invoice):
    BracketPrice.objects.all().delete()
    shown = see(ines, "staff_void", invoice.pk)
    assert "It cannot be voided as things are" in shown
    assert "Void it and issue" not in shown
    assert "No price in USD for Mailboxes" in post(ines, "staff_void", invoice.pk, total="34", reason="An error")
    assert Invoice.objects.get() == invoice


def test_what_is_credited_in_full_cannot_be_voided(ines, invoice):
    post(ines, "staff_credit", invoice.pk, reason="An error", confirm="34.00", **amounts(invoice, "24.00", "10.00"))
    assert "is credited in full already" in see(ines, "staff_void", invoice.pk)


def test_the_page_of_an_invoice_leads_there_while_something_is_left(ines, invoice):
    addresses = [reverse(name, args=[invoice.pk]) for name in ("staff_credit", "staff_void")]

    def leads(pk):
        shown = ines.get(reverse("staff_invoice", args=[pk])).content.decode()
        return [address in shown for address in addresses]

    assert leads(invoice.pk) == [True, True]
    post(ines, "staff_credit", invoice.pk, reason="An error", confirm="34.00", **amounts(invoice, "24.00", "10.00"))
    assert leads(invoice.pk) == [False, False]


def test_a_credit_note_is_not_credited(ines, invoice):
    post(ines, "staff_credit", invoice.pk, reason="An error", confirm="1.00", **amounts(invoice, "1.00"))
    note = Invoice.objects.get(kind="credit_note")
    for name in ("staff_credit", "staff_void"):
        assert ines.get(reverse(name, args=[note.pk])).status_code == 404
    assert "Void and bill again" not in see(ines, "staff_invoice", note.pk)


def test_credit_notes_have_a_list_and_are_found_by_number_client_and_invoice(ines, invoice):
    assert "No credit note yet." in see(ines, "staff_credit_notes")
    post(ines, "staff_credit", invoice.pk, reason="An error", confirm="1.00", **amounts(invoice, "1.00"))
    for query in ("C2026-00001", "lindq", "2026-00001", ""):
        assert "C2026-00001" in ines.get(reverse("staff_credit_notes"), {"q": query}).content.decode()
    assert "No credit note matches" in ines.get(reverse("staff_credit_notes"), {"q": "zzz"}).content.decode()


def test_the_list_takes_the_same_number_of_queries_however_long(ines, invoice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            see(ines, "staff_credit_notes")
        return len(captured)

    def some(count):
        for _ in range(count):
            post(ines, "staff_credit", invoice.pk, reason="An error", confirm="1.00", **amounts(invoice, "1.00"))

    some(1)
    queries()
    before = queries()
    some(4)
    assert queries() == before


def test_it_takes_the_right_to_add_invoices_and_a_token(client, invoice):
    addresses = [reverse(name, args=[invoice.pk]) for name in ("staff_credit", "staff_void")]
    data = {"reason": "An error", "confirm": "1.00", "total": "34", **amounts(invoice, "1.00")}
    for address in addresses:
        assert client.post(address, data).status_code == 302
    sara, clerk = a_user(), a_user("clerk@staff.test", is_staff=True)
    invoice.client.users.add(sara)
    allow(clerk, "view_invoice")
    for user in (sara, clerk):
        client.force_login(user)
        assert [client.post(address, data).status_code for address in addresses] == [403, 403]
    assert "Credit…" not in see(client, "staff_invoice", invoice.pk)
    client.handler.enforce_csrf_checks = True
    client.force_login(a_staff_user())
    assert [client.post(address, data).status_code for address in addresses] == [403, 403]
    assert Invoice.objects.get() == invoice


def test_the_decimals_are_those_of_the_currency(ines):
    product = a_product(currency="JPY", price="500")
    a_service(product, a_client("Sato", "JPY"))
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    invoice = Invoice.objects.get()
    assert "Whole numbers only" in post(ines, "staff_credit", invoice.pk, reason="x", **amounts(invoice, "1.5"))
    shown = ines.post(reverse("staff_credit", args=[invoice.pk]), {"all": ""}).content.decode()
    assert 'value="500"' in shown
