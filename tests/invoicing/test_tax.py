"""Tax comes on top of a document's lines, rounded once, and goes back with what is given back, to the cent."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError, Sum
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Client, TaxRate
from catalog.money import minor_units
from invoicing import credits, issuing, taxes
from invoicing.billing import create_invoices
from invoicing.corrections import settle
from invoicing.drafts import Draft, DraftLine
from invoicing.issuing import Document
from invoicing.models import Invoice, Line, Receivable
from invoicing.taxes import Tax, Taxed
from invoicing.verification import verify
from metering.correcting import correct
from metering.decimals import exact_sum
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

ON, AT = date(2026, 11, 5), at("2026-11-05 12:00")
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "EUR"])
PERCENTS = st.decimals(0, 100, places=3)


def a_rate(percent="19", name="VAT", note=""):
    return TaxRate.objects.create(name=name, percent=Decimal(percent), note=note)


def a_taxed_client(percent="19", currency="USD", note="", name="Lindqvist & Moe"):
    client = a_client(name, currency=currency)
    Client.objects.filter(pk=client.pk).update(tax_rate=a_rate(percent, note=note))
    client.refresh_from_db()
    return client


def bill(on="2026-11-01"):
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def a_bill(percent="19", note=""):
    """24.00 for the service and 90.00 for 100 GB, of which 10 are included."""
    server = a_server()
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    a_service(setting.product, client=a_taxed_client(percent, note=note), tenant=a_tenant(server))
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=100 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", traffic=0))
    bill()
    return Invoice.objects.get()


def credit(invoice, amounts):
    return credits.credit(invoice=invoice, amounts=amounts, reason="the outage", on=ON, at=AT)


def is_sound():
    assert [str(finding) for finding in verify()] == []
    return True


def said_of_tax(document):
    return document.tax_name, document.tax_percent, document.tax_note, document.tax


# ---- laws of the arithmetic


@given(st.lists(st.decimals(0, 10_000, places=4), min_size=1, max_size=12), PERCENTS, CURRENCIES)
def test_what_is_given_back_in_pieces_has_the_tax_of_the_whole(amounts, percent, currency):
    pieces = [taxes.round_amount(each, currency) for each in amounts]
    whole = exact_sum(pieces)
    taxed = Taxed(Tax("VAT", percent, "", taxes.of(whole, percent, currency)))
    given_back = [taxed.give_back(piece, currency).amount for piece in pieces]
    assert exact_sum(given_back) == taxed.tax.amount
    assert all(tax >= 0 for tax in given_back)


@given(st.decimals(0, 1_000_000, places=2), PERCENTS, CURRENCIES)
def test_a_tax_is_at_most_half_of_the_smallest_coin_from_its_share(net, percent, currency):
    coin = Decimal(1).scaleb(-minor_units(currency))
    assert abs(taxes.of(net, percent, currency) - net * percent / 100) <= coin / 2


# ---- what is issued


@pytest.mark.django_db
def test_the_tax_of_an_invoice_is_of_the_sum_of_its_lines():
    invoice = a_bill()
    assert (invoice.net, invoice.tax, invoice.total) == (Decimal(114), Decimal("21.66"), Decimal("135.66"))
    assert said_of_tax(invoice) == ("VAT", 19, "", Decimal("21.66"))
    assert invoice.lines.aggregate(Sum("amount")) == {"amount__sum": Decimal(114)}
    assert is_sound()


@pytest.mark.django_db
def test_it_is_rounded_once_for_all_services_on_the_invoice():
    product, client = a_product(price="0.03"), a_taxed_client("20")
    for name in ("one", "two", "three"):
        a_service(product, client=client, name=name)
    bill()
    # 0.006 of each, which by themselves would be 0.01
    assert (Invoice.objects.get().net, Invoice.objects.get().tax) == (Decimal("0.09"), Decimal("0.02"))


@pytest.mark.django_db
def test_what_has_no_smaller_coin_has_a_tax_in_whole_ones():
    a_service(a_product(price="525", currency="JPY"), client=a_taxed_client("8.1", "JPY"))
    bill()
    assert (Invoice.objects.get().tax, Invoice.objects.get().total) == (43, 568)


@pytest.mark.django_db
def test_a_client_without_a_rate_is_not_taxed():
    a_service()
    bill()
    invoice = Invoice.objects.get()
    assert said_of_tax(invoice) == ("", None, "", 0)
    assert invoice.total == invoice.net == 24
    assert is_sound()


@pytest.mark.django_db
def test_a_rate_of_nothing_still_says_why():
    invoice = a_bill("0", note="Reverse charge")
    assert said_of_tax(invoice) == ("VAT", 0, "Reverse charge", 0)
    assert invoice.total == 114
    assert is_sound()


@pytest.mark.django_db
def test_what_is_left_to_pay_has_the_tax():
    invoice = a_bill()
    assert Receivable.objects.get().left == invoice.total == Decimal("135.66")


@pytest.mark.django_db
def test_each_client_of_a_run_has_its_own_rate_in_one_query(django_assert_max_num_queries):
    product = a_product(price="100")
    for number, percent in enumerate(["19", "7", "0", "25.5"]):
        a_service(product, client=a_taxed_client(percent, name=f"client {number}"))
    a_service(product, client=a_client("untaxed"))
    bill()
    found = {invoice.client.name: invoice.tax for invoice in Invoice.objects.select_related("client")}
    assert found == {
        "client 0": 19,
        "client 1": 7,
        "client 2": 0,
        "client 3": Decimal("25.5"),
        "untaxed": 0,
    }
    documents = [Document("renewal", client, []) for client in Client.objects.all()]
    with django_assert_max_num_queries(1):
        issuing._levy(documents)


@pytest.mark.django_db
def test_a_run_and_its_dry_run_speak_of_the_same_sum_before_tax():
    a_service(a_product(price="100"), client=a_taxed_client())
    with panel(says()):
        tried = create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"), dry_run=True)
    assert tried.amounts == bill().amounts == {"USD": 100}


@pytest.mark.django_db
def test_a_changed_rate_is_for_what_is_issued_from_then_on():
    first = a_bill()
    TaxRate.objects.update(name="MwSt.", percent=Decimal("20"))
    bill("2026-12-01")
    first.refresh_from_db()
    second = Invoice.objects.order_by("entry").last()
    assert said_of_tax(first) == ("VAT", 19, "", Decimal("21.66"))
    assert said_of_tax(second) == ("MwSt.", 20, "", Decimal("4.80"))
    assert is_sound()


@pytest.mark.django_db
def test_a_rate_that_clients_have_stays():
    a_taxed_client()
    with pytest.raises(ProtectedError):
        TaxRate.objects.get().delete()


@pytest.mark.django_db
def test_the_database_wants_no_tax_without_a_rate_and_none_above_the_total():
    invoice = a_bill()
    values = Invoice.objects.filter(pk=invoice.pk).values().get() | {"number": "2026-00099"}
    values.pop("id")
    for wrong in ({"tax_percent": None}, {"tax": Decimal(200)}, {"tax": Decimal(-1)}):
        with pytest.raises(IntegrityError, match="invoice_tax_in_bounds"), transaction.atomic():
            Invoice.objects.create(**values | wrong)


# ---- what is given back


@pytest.mark.django_db
def test_a_credit_note_gives_back_the_tax_of_what_it_gives_back():
    invoice = a_bill()
    note = credit(invoice, {invoice.lines.get(kind="usage").pk: Decimal("12.50")})
    assert said_of_tax(note) == ("VAT", 19, "", Decimal("2.38"))  # 2.375
    assert note.total == Decimal("14.88")
    assert Receivable.objects.get().left == Decimal("135.66") - Decimal("14.88")
    assert is_sound()


@pytest.mark.django_db
def test_all_of_it_given_back_in_pieces_leaves_no_cent_of_the_tax():
    invoice = a_bill()
    usage = invoice.lines.get(kind="usage").pk
    notes = [credit(invoice, {usage: Decimal(piece)}) for piece in ("0.02", "0.02", "0.02", "12.50", "77.44")]
    notes.append(credit(invoice, {invoice.lines.get(kind="recurring").pk: Decimal(24)}))
    assert [note.tax for note in notes[:3]] == [Decimal(0), Decimal("0.01"), Decimal(0)]
    assert exact_sum(note.tax for note in notes) == invoice.tax
    assert exact_sum(note.total for note in notes) == invoice.total
    assert not Receivable.objects.filter(left__gt=0).exists()
    assert is_sound()


@pytest.mark.django_db
def test_it_is_taxed_as_its_invoice_was_whatever_the_client_is_now():
    invoice = a_bill()
    Client.objects.update(tax_rate=a_rate("7", "VAT, reduced"))
    note = credit(invoice, {invoice.lines.get(kind="usage").pk: Decimal(10)})
    Client.objects.update(tax_rate=None)
    another = credit(invoice, {invoice.lines.get(kind="usage").pk: Decimal(10)})
    assert said_of_tax(note) == said_of_tax(another) == ("VAT", 19, "", Decimal("1.90"))


@pytest.mark.django_db
def test_what_an_invoice_without_tax_charged_is_given_back_without_tax():
    a_service()
    bill()
    invoice = Invoice.objects.get()
    Client.objects.update(tax_rate=a_rate())
    note = credit(invoice, {invoice.lines.get().pk: Decimal(10)})
    assert said_of_tax(note) == ("", None, "", 0)
    assert note.total == 10
    assert is_sound()


@pytest.mark.django_db
def test_a_voided_invoice_goes_back_whole_and_its_replacement_is_taxed_as_the_client_is_now():
    invoice = a_bill()
    Client.objects.update(tax_rate=a_rate("0", note="Reverse charge"))
    voided = credits.void(invoice=invoice, reason="their number came late", on=ON, at=AT)
    assert (voided.credit_note.total, voided.credit_note.tax) == (invoice.total, invoice.tax)
    assert said_of_tax(voided.replacement) == ("VAT", 0, "Reverse charge", 0)
    assert voided.replacement.total == 114
    assert is_sound()


@pytest.mark.django_db
def test_usage_that_was_corrected_takes_its_tax_along():
    invoice = a_bill()
    line = invoice.lines.get(kind="usage")
    correct(
        tenant=line.service.tenant,
        metric=Metric.objects.get(system_name="traffic"),
        start=date(2026, 10, 1),
        value=50 * GB,
        reason="counted twice",
        by=None,
        at=at("2026-11-03 12:00"),
    )
    settle(service=line.service, on=ON, at=AT)
    note = Invoice.objects.get(kind="credit_note")
    assert (note.net, note.tax, note.total) == (Decimal(50), Decimal("9.50"), Decimal("59.50"))
    assert is_sound()


@pytest.mark.django_db
def test_what_is_credited_as_soon_as_it_is_issued_has_its_tax():
    service = a_service(client=a_taxed_client())

    def document(kind, amount, **values):
        line = DraftLine(
            kind=Line.Kind.RECURRING,
            service=service,
            title="Business Web",
            detail="",
            start=ON,
            end=date(2026, 12, 5),
            exact=Decimal(amount),
            amount=Decimal(amount),
        )
        return Document(kind, service.client, [Draft(service, [line], [])], **values)

    invoice = document("renewal", "100")
    notes = [document("credit_note", "50", credits=invoice.id, reason="half") for _ in range(2)]
    issuing.issue([*notes, invoice], on=ON, at=AT)
    assert [each.tax for each in Invoice.objects.order_by("entry")] == [Decimal(19), Decimal("9.5"), Decimal("9.5")]


# ---- what it says stays


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["tax_name = 'MwSt.'", "tax_note = 'Reverse charge'", "tax_percent = 19.001"])
def test_what_a_document_says_of_its_tax_is_part_of_the_chain(change):
    a_bill()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f"UPDATE invoicing_invoice SET {change}")
        cursor.execute("SET session_replication_role = origin")
    assert any("the chain breaks" in str(finding) for finding in verify())
