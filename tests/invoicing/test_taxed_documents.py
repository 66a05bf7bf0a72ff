"""What people read of a taxed document: the sum before tax, the tax and the total; of another one, no word of tax."""

from datetime import date
from decimal import Decimal

import pytest
from django.urls import reverse

from catalog.models import Client, ProductPrice, TaxRate
from invoicing import credits, pdf
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import a_client, a_product, a_service, a_staff_user, at, panel, says
from tests.invoicing.pages import post, see
from tests.invoicing.reading import mailed, printed
from tests.people import api_key, bearer, client_user

pytestmark = pytest.mark.django_db

AT = at("2026-11-19 09:00")
REVERSE = "Reverse charge:\nthe recipient owes the tax."


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(AT)


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def an_invoice(percent="19", *, name="VAT", note="", price="24", currency="USD", language=""):
    """An invoice of one line, of a client that is taxed at a percent, or is not."""
    whose = a_client(currency=currency)
    rate = None if percent is None else TaxRate.objects.create(name=name, percent=Decimal(percent), note=note)
    Client.objects.update(tax_rate=rate, language=language, email="sara@client.test")
    a_service(a_product(price=price, currency=currency, provider=""), Client.objects.get(pk=whose.pk))
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    return Invoice.objects.get()


def given_back(invoice, amount="10"):
    [line] = invoice.lines.all()
    return credits.credit(
        invoice=invoice, amounts={line.pk: Decimal(amount)}, reason="the outage", on=date(2026, 11, 5), at=AT
    )


def shown(browser, invoice):
    return see(browser, "staff_invoice", invoice.pk)


def in_portal(browser, invoice):
    browser.force_login(client_user(invoice.client))
    return see(browser, "portal_invoice", invoice.pk)


def answered(browser, invoice):
    key = api_key(invoice.client, name=invoice.number)
    return browser.get(reverse("api:read_invoice", args=[invoice.pk]), headers=bearer(key)).json()


def amounts(invoice, amount):
    [line] = invoice.lines.all()
    return {f"amount-{line.pk}": amount}


def notes():
    rows = Invoice.objects.filter(kind="credit_note").order_by("number")
    return [(str(note.net.normalize()), str(note.tax.normalize())) for note in rows]


# ---- the page


def test_the_page_says_the_sum_before_tax_the_tax_and_the_total(ines):
    invoice = an_invoice()
    foot = "Sum before tax $24.00 VAT 19% $4.56 Total $28.56"
    assert foot in shown(ines, invoice)
    assert foot in in_portal(ines, invoice)


def test_credit_notes_are_taken_off_with_their_tax(ines):
    invoice = an_invoice()
    note = given_back(invoice)
    expected = f"VAT 19% $4.56 Total $28.56 Credit note {note.number} −$11.90 Left to pay $16.66"
    assert expected in shown(ines, invoice)
    assert "Sum before tax $10.00 VAT 19% $1.90 Given back $11.90" in shown(ines, note)
    assert "$11.90 of $28.56 credited" in shown(ines, invoice)


def test_a_rate_of_nothing_is_said_with_what_the_law_wants(ines):
    invoice = an_invoice("0", note=REVERSE)
    expected = "Sum before tax $24.00 VAT 0% Reverse charge: the recipient owes the tax. $0.00 Total $24.00"
    assert expected in shown(ines, invoice)
    assert expected in in_portal(ines, invoice)


def test_a_document_that_is_not_taxed_says_nothing_of_tax(ines):
    invoice = an_invoice(None)
    for said in (shown(ines, invoice), printed(invoice), *mailed(invoice, AT)):
        assert "before tax" not in said
        assert "VAT" not in said
        assert "Total" in said
    said = see(ines, "staff_credit", invoice.pk)
    assert "Give back, USD" in said
    assert "tax" not in said
    said = post(ines, "staff_credit", invoice.pk, reason="An error", **amounts(invoice, "3.20"))
    assert "A credit note of $3.20 for 2026-00001 Once it is issued" in said


# ---- the PDF


def test_the_pdf_says_them_above_its_total_and_the_statement_among_its_notes():
    invoice = an_invoice("8.1", note=REVERSE)
    said = printed(invoice)
    assert "Sum before tax $24.00 VAT 8.1% $1.94 Total $25.94" in said
    assert said.index("Total $25.94") < said.index("Reverse charge: the recipient owes the tax.")
    note = given_back(invoice)
    said = printed(note)
    assert "Sum before tax $10.00 VAT 8.1% $0.81 Given back $10.81" in said
    assert "Reverse charge:" in said


def test_no_name_of_a_tax_runs_out_of_its_column_or_turns_the_text_around_it():
    invoice = an_invoice(name="V" * 50, note="\u202eno")
    said = pdf.said_of(Invoice.objects.select_related("credits").get(pk=invoice.pk))
    assert "\u202e" not in str(said)
    assert [name.split("\N{ZERO WIDTH SPACE}")[0] for name, _amount in said["before_total"]] == [
        "Sum before tax",
        "VVVV",
    ]
    assert "$4.56 Total $28.56" in printed(invoice)


def test_the_pdf_is_written_as_its_language_writes_a_percent():
    invoice = an_invoice("8.1", currency="EUR", language="de")
    expected = "Summe vor Steuern 24,00\N{NO-BREAK SPACE}€ VAT 8,1\N{NO-BREAK SPACE}% 1,94\N{NO-BREAK SPACE}€"
    assert " ".join(expected.split()) in printed(invoice)
    for said in mailed(invoice, AT):
        assert "Summe vor Steuern" in said
        assert "8,1\N{NO-BREAK SPACE}%" in said or "8,1 %" in said


# ---- the mail


def test_the_mail_asks_for_the_sum_with_tax_and_lists_how_it_comes_about():
    invoice = an_invoice(note=REVERSE)
    said, page = mailed(invoice, AT)
    assert "comes to $28.56 and is due on" in said
    note = "Reverse charge: the recipient owes the tax."
    assert f"Sum before tax: $24.00 VAT 19%: $4.56 {note} Total: $28.56" in said
    assert f"Sum before tax $24.00 VAT 19% {note} $4.56 Total $28.56" in page


def test_the_mail_of_a_credit_note_gives_back_the_tax():
    said, page = mailed(given_back(an_invoice()), AT)
    assert "gives back $11.90 of invoice 2026-00001" in said
    assert "Sum before tax: $10.00 VAT 19%: $1.90 Given back: $11.90" in said
    assert "Sum before tax $10.00 VAT 19% $1.90 Given back $11.90" in page


# ---- giving back


def test_the_credit_page_takes_amounts_before_tax_and_says_what_is_given_back_with_it(ines):
    invoice = an_invoice("8.1")
    given_back(invoice, "3.33")
    said = see(ines, "staff_credit", invoice.pk)
    assert "$25.94, of which $22.34 is left to give back." in said
    assert "Lines are before tax, $20.67 of them is left, and VAT 8.1% goes back with what you enter." in said
    assert "Give back before tax, USD" in said
    assert "All of it, $22.34 with tax" in said
    said = post(ines, "staff_credit", invoice.pk, reason="An error", **amounts(invoice, "3.33"))
    assert "A credit note of $3.60 for 2026-00001 $3.33 before tax and $0.27 tax (VAT 8.1%)." in said
    assert "Issue the credit note of $3.60" in said
    assert notes() == [("3.33", "0.27")]


def test_what_was_shown_is_what_is_issued_to_the_cent_however_it_is_rounded(ines):
    """One thirds of 8.1%: each credit note has what all of them have more than those before."""
    invoice = an_invoice("8.1", price="10")
    for amount in ("3.33", "3.33", "3.34"):
        address = reverse("staff_credit", args=[invoice.pk])
        answer = ines.post(address, {"reason": "An error", **amounts(invoice, amount)})
        confirm = answer.context["confirm"]
        said = post(ines, "staff_credit", invoice.pk, reason="An error", confirm=confirm, **amounts(invoice, amount))
        note = Invoice.objects.filter(kind="credit_note").order_by("number").last()
        assert f"Credit note {note.number} gives back ${confirm}." in said
        assert f"{note.total:.2f}" == confirm
    assert notes() == [("3.33", "0.27"), ("3.33", "0.27"), ("3.34", "0.27")]
    assert sum(Decimal(tax) for _net, tax in notes()) == invoice.tax
    assert "Nothing is left: it is credited in full." in see(ines, "staff_credit", invoice.pk)


def test_the_sum_before_tax_confirms_nothing(ines):
    invoice = an_invoice()
    said = post(ines, "staff_credit", invoice.pk, reason="An error", confirm="10.00", **amounts(invoice, "10.00"))
    assert "Issue the credit note of $11.90" in said
    assert notes() == []


def test_when_somebody_else_takes_the_cent_meanwhile_nothing_is_issued(ines, monkeypatch):
    invoice = an_invoice("8.1")
    given_back(invoice, "3.38")
    as_shown = credits.tax_with

    def and_then_another_is_issued(*arguments):
        tax = as_shown(*arguments)
        given_back(invoice, "0.05")
        return tax

    monkeypatch.setattr(credits, "tax_with", and_then_another_is_issued)
    said = post(ines, "staff_credit", invoice.pk, reason="An error", confirm="0.07", **amounts(invoice, "0.06"))
    assert "The credit note comes to another total by now." in said
    assert "Issue the credit note" not in said
    assert notes() == [("3.38", "0.27"), ("0.05", "0.01")]


def test_voiding_shows_the_tax_of_the_new_invoice_as_its_client_is_taxed_now(ines):
    invoice = an_invoice()
    ProductPrice.objects.filter(cycle="monthly").update(amount=20)
    TaxRate.objects.update(percent=7)
    said = see(ines, "staff_void", invoice.pk)
    assert "Sum before tax $20.00 VAT 7% $1.40 Total $21.40" in said
    assert "Credit note for 2026-00001 −$28.56 Difference for the client −$7.16" in said
    assert "Void it and issue a new invoice of $21.40" in said
    assert Invoice.objects.get() == invoice
    assert "another total" in post(ines, "staff_void", invoice.pk, total="20", reason="The price was wrong")
    assert Invoice.objects.get() == invoice
    assert "is voided" in post(ines, "staff_void", invoice.pk, total="21.4", reason="The price was wrong")
    assert notes() == [("24", "4.56")]
    replacement = Invoice.objects.get(kind="replacement")
    assert (replacement.net, replacement.tax, replacement.total) == (20, Decimal("1.4"), Decimal("21.4"))


# ---- the API


def test_the_api_answers_net_tax_and_what_is_to_be_paid(client):
    invoice = an_invoice("8.1", note=REVERSE)
    answer = answered(client, invoice)
    assert (answer["net"], answer["total"], answer["left"]) == ("24.00", "25.94", "25.94")
    assert answer["tax"] == {"name": "VAT", "percent": "8.1", "amount": "1.94", "note": REVERSE}
    answer = answered(client, given_back(invoice))
    assert (answer["net"], answer["tax"]["amount"], answer["total"]) == ("10.00", "0.81", "10.81")


def test_the_api_answers_a_tax_of_nothing_for_what_is_exempt(client):
    answer = answered(client, an_invoice("0", note="Exempt"))
    assert answer["tax"] == {"name": "VAT", "percent": "0", "amount": "0.00", "note": "Exempt"}
    assert answer["net"] == answer["total"] == "24.00"


def test_the_api_answers_null_for_what_is_not_taxed(client):
    answer = answered(client, an_invoice(None))
    assert answer["tax"] is None
    assert answer["net"] == answer["total"] == "24.00"
