"""What adds up or checks totals knows which of them have the tax: verification, what is left to pay, runs, drafts."""

from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from catalog.models import Client, Service
from invoicing import payments, preview, runs, termination
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Parked, Receivable
from invoicing.payments import CannotPay
from invoicing.verification import verify
from metering.decimals import exact_sum
from tests.builders import a_client, a_product, a_service, a_staff_user, at, panel, says, tenant_says
from tests.invoicing.pages import see
from tests.invoicing.test_tax import a_bill, a_rate, a_taxed_client, bill, credit, is_sound

pytestmark = pytest.mark.django_db

NOON = at("2026-11-05 12:00")


@pytest.fixture
def books():
    """114.00 with 19% of tax, of which 12.50 and 10.00 were given back; and 24.00 without tax, of which 4.00 was."""
    invoice = a_bill()
    usage = invoice.lines.get(kind="usage").pk
    notes = [credit(invoice, {usage: Decimal(piece)}) for piece in ("12.50", "10")]
    assert [note.tax for note in notes] == [Decimal("2.38"), Decimal("1.90")]
    a_service(client=a_client("untaxed"), name="another")
    bill()
    untaxed = Invoice.objects.get(client__name="untaxed")
    credit(untaxed, {untaxed.lines.get().pk: Decimal(4)})
    assert is_sound()
    return invoice


@contextmanager
def by_force():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        cursor.execute("SET LOCAL session_replication_role = origin")


def findings():
    with transaction.atomic():
        return [str(finding) for finding in verify()]


#: Each change by force, and what is said of it.
FORGERIES = {
    "total = total + 1 WHERE number = '2026-00001'": (
        "2026-00001: the total 136.6600 is not the sum of its lines and its tax"
    ),
    "total = total + 1 WHERE number = '2026-00002'": "2026-00002: the total 25.0000 is not the sum of its lines",
    "total = total + 0.01, tax = tax + 0.01 WHERE number = '2026-00001'": (
        "2026-00001: the tax 21.6700 is not 19% of 114 rounded once"
    ),
    "total = total - tax, tax = 0, tax_percent = 0 WHERE number = 'C2026-00001'": (
        "C2026-00001: it is taxed otherwise than 2026-00001, which it credits"
    ),
    "total = total - tax, tax = 0, tax_percent = NULL WHERE number = 'C2026-00001'": (
        "C2026-00001: it is taxed otherwise than 2026-00001, which it credits"
    ),
    "tax_note = 'Reverse charge' WHERE number = 'C2026-00001'": (
        "C2026-00001: it is taxed otherwise than 2026-00001, which it credits"
    ),
    "tax_name = 'MwSt.' WHERE number = 'C2026-00002'": (
        "C2026-00002: it is taxed otherwise than 2026-00001, which it credits"
    ),
    "tax_percent = 0, tax_name = 'VAT' WHERE number = 'C2026-00003'": (
        "C2026-00003: it is taxed otherwise than 2026-00002, which it credits"
    ),
    "total = total + 0.01, tax = tax + 0.01 WHERE number = 'C2026-00002'": (
        "2026-00001: 4.2900 of its tax was given back with 22.5000, of which the tax is 4.28"
    ),
    "tax_note = 'Reverse charge' WHERE number = '2026-00002'": (
        "2026-00002: it is not taxed, but states a tax, which is not in the chain"
    ),
}


@pytest.mark.parametrize(("change", "said"), FORGERIES.items())
def test_a_tax_that_is_not_right_is_found(books, change, said):
    with by_force() as cursor:
        cursor.execute(f"UPDATE invoicing_invoice SET {change}")
        assert cursor.rowcount == 1
    assert said in findings()


def test_it_is_found_in_as_many_queries_for_twelve_documents_as_for_two():
    product, counts = a_product(), []
    for number in range(6):
        a_service(product, a_taxed_client(name=f"client {number}"), name=f"service {number}")
        if number not in (0, 5):
            continue
        bill()
        for invoice in Invoice.objects.filter(credits=None, credit_notes=None):
            credit(invoice, {invoice.lines.get().pk: Decimal("0.02")})
        with CaptureQueriesContext(connection) as captured:
            assert findings() == []
        counts.append(len(captured))
    assert Invoice.objects.count() == 12
    assert counts[0] == counts[1]


def test_what_is_left_to_pay_is_checked_with_its_tax(books):
    left = Receivable.objects.get(pk=books.pk).left
    assert left == Decimal("135.66") - Decimal("14.88") - Decimal("11.90")
    Receivable.objects.filter(pk=books.pk).update(left=114 - Decimal("22.5"))
    assert findings() == [f"{books}: 91.5 is said to be left to pay, but it is 108.88"]


def test_what_is_left_with_its_tax_can_be_paid_and_no_more(books):
    paid = {"invoice": books, "received_on": date(2026, 11, 5), "by": None, "at": NOON}
    payments.record(amount=Decimal(100), **paid)
    with pytest.raises(CannotPay, match=r"Only \$8\.88 is left to pay"):
        payments.record(amount=Decimal("8.89"), **paid)
    payments.record(amount=Decimal("8.88"), **paid)
    assert Invoice.objects.with_state(date(2026, 11, 5)).get(pk=books.pk).state == "paid"
    assert is_sound()


def test_all_of_it_given_back_is_credited_in_full():
    invoice = a_bill()
    for line in invoice.lines.all():
        credit(invoice, {line.pk: line.amount})
    found = Invoice.objects.with_state(date(2026, 11, 5)).get(pk=invoice.pk)
    assert (found.state, found.credited, found.creditable, found.left) == ("credited", invoice.total, 0, 0)


class TestRuns:
    @pytest.fixture(autouse=True)
    def _today(self):
        with time_machine.travel(at("2026-11-01 07:00"), tick=False):
            yield

    @pytest.fixture
    def ines(self, client):
        client.force_login(a_staff_user())
        return client

    def tried_and_run(self):
        """Dry run and run of what is due, each by its amounts."""
        on, now = date(2026, 11, 1), at("2026-11-01 07:00")
        tried = preview.ask(on=on, at=now, by=None)
        runs.make_preview(tried, due=0)
        tried.refresh_from_db()
        return tried, bill().run

    def test_the_run_and_its_dry_run_are_before_tax_and_say_so(self, ines):
        a_service(a_product(price="100"), a_taxed_client())
        tried, done = self.tried_and_run()
        assert Decimal(tried.outcome["amounts"]["USD"]) == Decimal(done.amounts["USD"]) == 100
        assert tried.outcome["is_taxed"]
        assert "Would be billed, before tax $100.00" in see(ines, "staff_preview_of", tried.pk)
        said = see(ines, "staff_run", done.pk)
        assert "Billed, before tax $100.00" in said
        assert "$119.00" in said  # its invoice

    def test_without_tax_they_say_nothing_of_it(self, ines):
        a_service(a_product(price="100"))
        tried, done = self.tried_and_run()
        assert not tried.outcome["is_taxed"]
        assert "Would be billed $100.00" in see(ines, "staff_preview_of", tried.pk)
        assert "Billed $100.00" in see(ines, "staff_run", done.pk)

    @pytest.mark.parametrize("is_taxed", [False, True])
    def test_the_command_says_it_too(self, is_taxed):
        a_service(a_product(price="100"), a_taxed_client() if is_taxed else None)
        said = StringIO()
        call_command("create_invoices", "--dry-run", stdout=said)
        call_command("create_invoices", stdout=said)
        words = " before tax" if is_taxed else ""
        first, *_, would, done = said.getvalue().splitlines()
        assert first.endswith(f"Lindqvist & Moe  $100.00{words}")
        assert would == f"1 invoices would be issued for 1 terms: $100.00{words}"
        assert done == f"1 invoices issued for 1 terms: $100.00{words}"

    @pytest.mark.parametrize(("is_taxed", "words"), [(True, "Sum before tax"), (False, "Total")])
    def test_a_draft_is_summed_before_tax_and_says_so(self, ines, is_taxed, words):
        product = a_product(price="100")
        product.grace_days = 3
        product.save()
        service = a_service(product, a_taxed_client() if is_taxed else None)
        assert bill().run.drafts == 1
        said = see(ines, "staff_service", service.public_id)
        assert f"{words} $100.00" in said[said.index("Draft invoice") :]

    def test_so_is_what_the_end_of_a_service_would_bill(self, ines):
        service = a_bill().lines.first().service
        assert "Sum before tax $0.00" in see(ines, "staff_service_terminate", service.public_id)


# ---- the bound of what an invoice can state


def test_a_draft_whose_tax_would_not_fit_is_parked_in_words():
    a_service(a_product(price="500000000000"), a_taxed_client("100"))
    assert list(bill().parked.values()) == ["It comes to 5.000E+11, more than any invoice may state."]


@pytest.mark.parametrize(
    ("percent", "price", "invoices"), [(None, "400000000000", 2), ("100", "400000000000", 3), ("19", "499999999999", 3)]
)
@pytest.mark.django_db(transaction=True)
def test_services_of_a_client_that_do_not_fit_on_one_invoice_get_several(percent, price, invoices):
    client = a_taxed_client(percent) if percent else a_client()
    for number in range(3):
        a_service(a_product(price=price), client, name=f"service {number}")
    done = bill()
    assert not done.parked
    assert not Parked.objects.exists()
    assert not Service.objects.due(date(2026, 11, 1)).exists()
    assert Invoice.objects.count() == invoices
    assert exact_sum(invoice.net for invoice in Invoice.objects.all()) == 3 * Decimal(price)
    assert is_sound()


# ---- what happens to a rate


def test_a_last_invoice_is_taxed_and_verifies():
    invoice = a_bill()
    with panel(says(tenant_says("alice", traffic=30 * 10**9))):
        ended = termination.terminate(
            service=invoice.lines.first().service, on=date(2026, 11, 5), at=at("2026-11-05 12:00")
        )
    assert (ended.invoice.net, ended.invoice.tax) == (20, Decimal("3.80"))
    assert is_sound()


def test_a_term_after_the_rate_was_taken_away_is_compared_before_tax(settings):
    """The bounds and the differences of a run look at prices, not at what the state takes."""
    settings.APPROVAL_ABOVE_FACTOR = Decimal("1.1")
    a_service(a_product(price="100"), client=a_client())
    bill()
    Client.objects.update(tax_rate=a_rate("25"))
    done = create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 07:00"))
    assert not done.held
    assert Invoice.objects.order_by("entry").last().total == 125
