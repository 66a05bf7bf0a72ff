"""Nothing is invoiced without what the operator says that invoices must state (I26)."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing_site import checks
from catalog.models import Client
from invoicing import corrections, credits
from invoicing.billing import create_invoices
from invoicing.drafts import CannotBill
from invoicing.models import Difference, Invoice, Parked
from invoicing.termination import terminate
from metering.correcting import correct
from tests.builders import (
    GB,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db
ALL = ["seller_address", "seller_tax_number", "buyer_address", "buyer_tax_number"]


@pytest.fixture(autouse=True)
def asked(settings):
    settings.REQUIRED_ON_INVOICES = ALL
    settings.SELLER_ADDRESS, settings.SELLER_TAX_NUMBER = "14 Wharf Street", "US-55"


def run(on="2026-11-01", **options):
    with panel():
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"), **options)


def complete(client):
    Client.objects.filter(pk=client.pk).update(address="Sjøgata 6", tax_number="NO 998")
    client.refresh_from_db()


def test_a_service_is_parked_until_its_client_is_complete():
    service = a_service()
    assert run().run.parked == 1
    assert not Invoice.objects.exists()
    reason = Parked.objects.get(service=service).reason
    assert reason == (
        "Invoices must state the client’s address and tax number. Add it to Lindqvist & Moe, and bill it again."
    )
    complete(service.client)
    run()
    assert Invoice.objects.get().buyer["tax_number"] == "NO 998"
    assert not Parked.objects.exists()


def test_the_services_of_complete_clients_are_billed():
    a_service(client=a_client("Incomplete"))
    complete(a_service(client=a_client("Complete"), name="other").client)
    run()
    assert [invoice.buyer["name"] for invoice in Invoice.objects.all()] == ["Complete"]


@pytest.mark.parametrize(("setting", "words"), [("SELLER_ADDRESS", "address"), ("SELLER_TAX_NUMBER", "tax number")])
def test_nothing_is_billed_without_what_is_required_of_the_seller(settings, setting, words):
    setattr(settings, setting, " ")
    service = a_service()
    complete(service.client)
    run()
    assert Parked.objects.get().reason == f"Invoices must state your {words}. Set {setting}, and bill it again."


@pytest.mark.parametrize("required", [[], ["buyer_address"]])
def test_only_what_is_required_is_asked_for(settings, required):
    settings.REQUIRED_ON_INVOICES = required
    service = a_service()
    Client.objects.filter(pk=service.client_id).update(address="Sjøgata 6")
    run()
    assert Invoice.objects.count() == 1


def test_a_dry_run_says_it_too():
    a_service()
    assert "tax number" in "".join(run(dry_run=True).parked.values())


def test_it_costs_no_query(settings):
    for number in range(3):
        complete(a_service(client=a_client(f"Client {number}"), name=f"s{number}").client)
    counts = []
    for required, on in (([], "2026-11-01"), (ALL, "2026-12-01")):
        settings.REQUIRED_ON_INVOICES = required
        with CaptureQueriesContext(connection) as queries:
            assert run(on).run.invoices == 3
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_termination_is_refused_with_the_reason():
    service = a_service()
    with panel(), pytest.raises(CannotBill, match="Lindqvist & Moe"):
        terminate(service=service, on=date(2026, 10, 20), at=at("2026-10-20 07:00"))


def test_what_is_given_back_does_not_wait(settings):
    """A credit note refers to an invoice that the client has; to bill it again is refused."""
    settings.REQUIRED_ON_INVOICES = []
    a_service()
    run()
    settings.REQUIRED_ON_INVOICES = ALL
    invoice = Invoice.objects.get()
    day, now = date(2026, 11, 2), at("2026-11-02 07:00")
    with pytest.raises(CannotBill, match="tax number"):
        credits.void(invoice=invoice, reason="Wrong.", on=day, at=now)
    assert Invoice.objects.count() == 1
    given = {invoice.lines.get().pk: Decimal(4)}
    assert credits.credit(invoice=invoice, amounts=given, reason="Down.", on=day, at=now).total == 4


@pytest.mark.parametrize(("value", "documents"), [(130, []), (60, [Invoice.Kind.CREDIT_NOTE])])
def test_what_a_correction_charges_waits_and_what_it_gives_back_does_not(settings, value, documents):
    settings.REQUIRED_ON_INVOICES = []
    server, setting = a_server(), a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    run()
    metric, october = setting.metric, date(2026, 10, 1)
    correct(
        tenant=service.tenant,
        metric=metric,
        start=october,
        value=Decimal(value) * GB,
        reason="counted wrongly",
        by=None,
        at=at("2026-11-10 12:00"),
    )
    settings.REQUIRED_ON_INVOICES = ALL
    made = corrections.settle(service=service, on=date(2026, 11, 11), at=at("2026-11-11 07:00"))
    assert [document.kind for document in made] == documents
    assert Difference.objects.exists() is not bool(documents)
    complete(service.client)
    later = corrections.settle(service=service, on=date(2026, 11, 12), at=at("2026-11-12 07:00"))
    assert bool(made) is not bool(later)


def test_an_invoice_copies_the_names_of_its_services_and_the_language_of_its_client(settings):
    settings.SELLER_NOTE = "Reverse charge."
    service = a_service(product=a_product(), name="lindqvistmoe.example")
    complete(service.client)
    Client.objects.update(language="de")
    run()
    invoice = Invoice.objects.get()
    assert invoice.buyer["services"] == {str(service.pk): "lindqvistmoe.example"}
    assert invoice.buyer["language"] == "de"
    assert (invoice.seller["tax_number"], invoice.seller["note"]) == ("US-55", "Reverse charge.")


def test_a_client_without_a_language_has_that_of_the_site(settings):
    settings.LANGUAGE_CODE = "fr"
    complete(a_service().client)
    run()
    assert Invoice.objects.get().buyer["language"] == "fr"


@pytest.mark.parametrize("name", ["staff_runs", "staff_service"])
def test_staff_find_the_way_out_beside_the_reason(client, name):
    service = a_service()
    run()
    client.force_login(a_staff_user())
    page = client.get(reverse(name, args=[service.public_id] if name == "staff_service" else []))
    assert "Invoices must state the client’s address and tax number." in page.content.decode()
    assert reverse("staff_client_edit", args=[service.client_id]) in page.content.decode()


@pytest.mark.parametrize(
    ("values", "check", "found"),
    [
        ({"REQUIRED_ON_INVOICES": ["address"]}, checks.required_on_invoices, "tallyport.E010"),
        ({"SELLER_TAX_NUMBER": ""}, checks.required_of_seller, "tallyport.E011"),
        ({"SELLER_TAX_NUMBER": ""}, checks.tax_number, "tallyport.W007"),
        ({"PDF_FONTS": "/nowhere/at/all"}, checks.pdf_fonts, "tallyport.E012"),
    ],
)
def test_what_is_set_wrongly_is_said_with_a_hint(values, check, found):
    with override_settings(**values):
        (message,) = check()
    assert message.id == found
    assert message.hint


def test_what_is_set_right_is_not_mentioned():
    assert [*checks.required_on_invoices(), *checks.required_of_seller(), *checks.pdf_fonts()] == []
