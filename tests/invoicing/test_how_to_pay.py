"""An invoice that is to be paid says how, as its seller had it when it was issued."""

from datetime import date
from decimal import Decimal

import pytest
from django.urls import reverse

from catalog.models import Client
from invoicing import credits, payments
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import a_service, at, panel, says
from tests.invoicing.pages import see
from tests.invoicing.reading import mailed, printed
from tests.people import client_user

pytestmark = pytest.mark.django_db

AT = at("2026-11-05 09:00")
BANK = "Northquay Hosting, Wharf Bank\nIBAN DE02 1203 0000 0000 2020 51"


@pytest.fixture
def invoice(settings, time_machine):
    time_machine.move_to(AT)
    settings.SELLER_PAYMENT = BANK
    a_service()
    Client.objects.update(email="sara@client.test")
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    return Invoice.objects.get()


def seen(browser, document):
    browser.force_login(client_user(document.client))
    return see(browser, "portal_invoice", document.pk)


def test_the_page_the_pdf_and_the_mail_name_the_account_and_the_reference(client, invoice):
    for said in (seen(client, invoice), printed(invoice), *mailed(invoice, AT)):
        assert "How to pay" in said
        assert "IBAN DE02 1203 0000 0000 2020 51" in said
        assert f"Reference: {invoice.number}" in said


def test_another_account_is_for_what_is_issued_from_then_on(client, invoice, settings):
    settings.SELLER_PAYMENT = "By card, to https://pay.example"
    assert "IBAN DE02" in seen(client, invoice)
    assert "pay.example" not in printed(invoice)


def test_who_has_paid_is_not_told_how_to(client, invoice):
    payments.record(invoice=invoice, amount=invoice.total, received_on=date(2026, 11, 4), by=None, at=AT)
    assert "How to pay" not in seen(client, invoice)
    assert not any("How to pay" in said for said in mailed(invoice, AT))


def test_a_credit_note_is_not_paid(client, invoice):
    note = credits.credit(
        invoice=invoice,
        amounts={invoice.lines.get().pk: Decimal(1)},
        reason="the outage",
        on=date(2026, 11, 5),
        at=AT,
    )
    assert not any("How to pay" in said for said in (seen(client, note), printed(note), *mailed(note, AT)))


def test_without_a_word_of_the_seller_nothing_is_said(client, settings, time_machine):
    time_machine.move_to(AT)
    a_service()
    Client.objects.update(email="sara@client.test")
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    invoice = Invoice.objects.get()
    assert not any("How to pay" in said for said in (seen(client, invoice), printed(invoice), *mailed(invoice, AT)))


def test_what_a_seller_writes_is_no_html(client, settings, invoice):
    settings.SELLER_PAYMENT = "<script>alert(1)</script>"
    with panel(says()):
        create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 07:00"))
    second = Invoice.objects.latest("entry")
    client.force_login(client_user(second.client))
    page = client.get(reverse("portal_invoice", args=[second.pk])).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
