"""What a client reads on documents is in the client's language, whoever looks on while they are written."""

from datetime import date
from decimal import Decimal

import pytest
from django.utils import translation

from catalog.models import Client, ProductPrice
from invoicing import credits, preview
from invoicing.billing import create_invoices
from invoicing.corrections import settle
from invoicing.models import Invoice, Parked, Preview
from invoicing.preview_rows import rows_of
from metering.correcting import correct
from metering.models import Metric
from tests.builders import (
    GB,
    TRAFFIC,
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


def german() -> Client:
    client = a_client("Müller & Söhne", currency="EUR")
    client.language = "de"
    client.save()
    return client


def billed(on="2026-11-01", **options):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def a_month_of_traffic(client, quantity="1234.5"):
    """24.00 for the service and 1.00 for each GB above 10."""
    server = a_server()
    setting = a_setting(a_product(price="24", currency=client.currency), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above", currency=client.currency)
    a_service(setting.product, client=client, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=Decimal(quantity) * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    return setting


def lines(invoice):
    return {line.kind: (line.title, line.detail) for line in invoice.lines.all()}


def test_an_invoice_is_written_in_the_language_of_its_client_while_staff_read_english():
    a_month_of_traffic(german())
    with translation.override("en"):
        billed()
        assert translation.get_language() == "en"
    assert lines(Invoice.objects.get()) == {
        "recurring": ("Business Web", "alice, 1. November bis 1. Dezember 2026"),
        "usage": ("Bandbreite, Oktober 2026", "1.234,5 GB: 10 inklusive, 1.224,5 zu 1,00\N{NO-BREAK SPACE}€"),
    }


def test_two_clients_of_one_run_are_each_written_to_in_their_own_language():
    setting = a_month_of_traffic(german())
    ProductPrice.objects.create(product=setting.product, cycle="monthly", currency="USD", amount=Decimal(24))
    a_service(setting.product, client=a_client("Sara"), name="hers")
    billed()
    said = {invoice.client.name: lines(invoice)["recurring"][1] for invoice in Invoice.objects.select_related("client")}
    assert said == {
        "Müller & Söhne": "alice, 1. November bis 1. Dezember 2026",
        "Sara": "hers, 1 November to 1 December 2026",
    }


def test_what_is_voided_on_a_french_screen_is_billed_again_in_german():
    a_month_of_traffic(german())
    billed()
    first = Invoice.objects.get()
    with translation.override("fr"):
        voided = credits.void(invoice=first, reason="Falsch.", on=date(2026, 11, 5), at=at("2026-11-05 12:00"))
        assert translation.get_language() == "fr"
    assert lines(voided.replacement) == lines(first)
    assert voided.replacement.reason == f"Ersetzt {first.number}. Falsch."
    assert voided.credit_note.reason == "Falsch."


def test_a_correction_on_a_french_screen_is_credited_in_german():
    client = german()
    a_month_of_traffic(client)
    billed()
    line = Invoice.objects.get().lines.get(kind="usage")
    correct(
        tenant=line.service.tenant,
        metric=Metric.objects.get(system_name="traffic"),
        start=date(2026, 10, 1),
        value=1000 * GB,
        reason="doppelt gezählt",
        by=None,
        at=at("2026-11-03 12:00"),
    )
    with translation.override("fr"):
        settle(service=line.service, on=date(2026, 11, 5), at=at("2026-11-05 12:00"))
    note = Invoice.objects.get(kind="credit_note")
    assert note.reason == "Der Verbrauch wurde korrigiert, nachdem er abgerechnet worden war."
    how = "1.000 GB: 10 inklusive, 990 zu 1,00\N{NO-BREAK SPACE}€"
    assert lines(note)["credit"] == (
        "Bandbreite, Oktober 2026, korrigiert",
        f"1.000 GB statt 1.234,5 GB: {how}; 234,50\N{NO-BREAK SPACE}€ von {line.invoice.number} werden gutgeschrieben",
    )


def test_why_something_cannot_be_done_is_said_to_who_asked_in_their_language():
    a_month_of_traffic(german())
    billed()
    first, how = Invoice.objects.get(), {"on": date(2026, 11, 5), "at": at("2026-11-05 12:00")}
    credits.void(invoice=first, reason="Falsch.", **how)
    with translation.override("fr"), pytest.raises(credits.CannotCredit, match="a déjà fait l’objet d’avoirs"):
        credits.void(invoice=first, reason="Falsch.", **how)


def test_what_a_dry_run_or_a_run_keeps_is_in_the_language_of_the_site(settings):
    settings.CATCH_UP_TERMS = 0
    a_month_of_traffic(german())
    one = Preview.objects.create(on=date(2026, 11, 1), asked_at=at("2026-11-01 07:00"))
    with translation.override("fr"):
        with panel(says()):
            preview.make(pk=one.pk, at=at("2026-11-01 07:00"))
        billed()
    one.refresh_from_db()
    [row] = rows_of(one, "left")
    why = "1 term is due, the first since 1 November 2026; more than 0 are not billed without approval."
    assert row.bound == why
    assert Parked.objects.get().reason == why
