"""What is left of an invoice is its total less what was credited and paid, in whatever order that came."""

import threading
from datetime import date
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from invoicing import payments, receivables
from invoicing.credits import credit
from invoicing.models import Invoice, Payment, Receivable
from invoicing.verification import verify
from invoicing.verification.receivables import left_to_pay
from tests.builders import a_client, a_user, at
from tests.invoicing.documents import an_invoice

NOON, TODAY = at("2026-11-19 12:00"), date(2026, 11, 19)

cents = st.integers(-3000, 3000).filter(bool).map(lambda number: Decimal(number) / 100)
deeds = st.lists(st.tuples(st.sampled_from(["pay", "credit", "take back"]), st.integers(0, 2), cents), max_size=12)


def expected(invoice):
    credited = invoice.credit_notes.aggregate(sum=Sum("total"))["sum"] or 0
    paid = invoice.payments.aggregate(sum=Sum("amount"))["sum"] or 0
    return invoice.total - credited - paid


def left(invoice):
    row = Receivable.objects.filter(pk=invoice.pk).first()
    return row.left if row else Decimal(0)


def do(deed, invoice, amount):
    if deed == "pay":
        payments.record(invoice=invoice, amount=amount, received_on=TODAY, by=None, at=NOON, overpay=True)
    elif deed == "credit":
        line = invoice.lines.get()
        credited = invoice.credit_notes.aggregate(sum=Sum("total"))["sum"] or Decimal(0)
        given_back = min(abs(amount), line.amount - credited)
        if given_back:
            credit(invoice=invoice, amounts={line.pk: given_back}, reason="so", on=TODAY, at=NOON)
    else:
        for payment, what in payments.of_invoice(invoice)[:1]:
            if what != "takes back":
                payments.take_back(payment=payment, by=None, at=NOON)


class TestLaws(TestCase):
    @settings(max_examples=40)
    @given(deeds)
    def test_left_is_the_total_less_what_was_credited_and_paid(self, deeds):
        invoices = [an_invoice(total) for total in ("24", "10", "0.01")]
        for deed, number, amount in deeds:
            do(deed, invoices[number], amount)
            assert left(invoices[number]) == expected(invoices[number])
        for invoice in invoices:
            assert left(invoice) == expected(invoice)
            shown = Invoice.objects.with_state(TODAY).get(pk=invoice.pk)
            assert (shown.left, shown.paid) == (left(invoice), invoice.total - shown.credited - shown.left)
        assert not Receivable.objects.filter(left=0).exists()
        assert not Receivable.objects.filter(invoice__kind="credit_note").exists()
        assert not list(left_to_pay())

    @settings(max_examples=20)
    @given(st.lists(st.tuples(st.integers(0, 2), cents), min_size=1, max_size=12))
    def test_one_statement_with_many_payments_comes_to_the_same(self, rows):
        invoices = [an_invoice(total) for total in ("24", "10", "0")]
        Payment.objects.bulk_create(
            Payment(invoice=invoices[number], amount=amount, received_on=TODAY, at=NOON) for number, amount in rows
        )
        for invoice in invoices:
            assert left(invoice) == expected(invoice)


@pytest.mark.django_db
class TestVerification:
    def found(self):
        return [str(finding) for finding in verify() if "left" in str(finding) or "payment" in str(finding)]

    def tamper(self, statement, *values):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(statement, values)
            cursor.execute("SET LOCAL session_replication_role = DEFAULT")

    def test_it_finds_what_is_not_what_is_left(self):
        invoice = an_invoice("24")
        assert self.found() == []
        self.tamper('UPDATE invoicing_receivable SET "left" = 20')
        assert self.found() == [f"{invoice.number}: 20 is said to be left to pay, but it is 24"]

    def test_it_finds_an_unpaid_invoice_that_nobody_would_be_reminded_of(self):
        invoice = an_invoice("24")
        self.tamper("DELETE FROM invoicing_receivable")
        assert self.found() == [f"{invoice.number}: 0 is said to be left to pay, but it is 24"]

    def test_it_finds_what_is_paid_and_still_asked_for(self):
        invoice = an_invoice("24")
        do("pay", invoice, Decimal(24))
        self.tamper(
            'INSERT INTO invoicing_receivable (invoice_id, client_id, due_on, "left") VALUES (%s, %s, %s, 24)',
            invoice.pk,
            invoice.client_id,
            invoice.due_on,
        )
        assert self.found() == [f"{invoice.number}: 24 is said to be left to pay, but it is 0"]

    def test_it_finds_another_day_or_client(self):
        invoice = an_invoice("24")
        self.tamper("UPDATE invoicing_receivable SET due_on = due_on + 1")
        assert self.found() == [f"{invoice.number}: what is left to pay of it is kept for another day or client"]

    def test_it_finds_payments_of_no_invoice(self):
        invoice = an_invoice("24")
        do("pay", invoice, Decimal(4))
        self.tamper("UPDATE invoicing_payment SET invoice_id = gen_random_uuid()")
        assert "invoicing_payment: 1 rows have a invoice_id that leads nowhere" in self.found()


@pytest.mark.django_db
class TestKept:
    @pytest.mark.parametrize("statement", ["UPDATE invoicing_payment SET amount = 1", "DELETE FROM invoicing_payment"])
    def test_a_payment_is_never_changed(self, statement):
        invoice = an_invoice("24")
        do("pay", invoice, Decimal(4))
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert left(invoice) == Decimal(20)


@pytest.mark.django_db
class TestOfClients:
    def test_it_sums_up_what_is_open_by_currency_and_names_what_waits_longest(self, django_assert_num_queries):
        sara, other = a_client(), a_client("Brandt")
        euro = a_client("Lindqvist EU", "EUR")
        late = an_invoice("24", client=sara, due_on="2026-11-15")
        an_invoice("10", client=sara, due_on="2026-11-30")
        an_invoice("7", client=euro, due_on="2026-11-20", currency="EUR")
        an_invoice("99", client=other)
        do("pay", an_invoice("5", client=sara), Decimal(5))
        do("pay", an_invoice("5", client=sara), Decimal(6))
        with django_assert_num_queries(2):
            unpaid = receivables.of([sara.pk, euro.pk], TODAY)
            assert unpaid.totals == [("EUR", Decimal(7)), ("USD", Decimal(34))]
            assert (unpaid.count, unpaid.overdue_count, unpaid.days) == (3, 1, 4)
            assert unpaid.overdue_totals == [("USD", Decimal(24))]
            assert unpaid.invoices[0] == late
            assert unpaid.invoices[0].state == "overdue"
            assert unpaid.is_overdue

    def test_nothing_open_is_nothing(self):
        unpaid = receivables.of([a_client().pk], TODAY)
        assert (unpaid.count, unpaid.is_overdue, unpaid.invoices, unpaid.next_due_on) == (0, False, [], None)

    def test_the_newest_documents_come_after_those_that_are_open(self):
        client = a_client(users=(a_user(),))
        old = an_invoice("24", client=client, issued_on="2026-01-01", due_on="2026-01-15")
        settled = [an_invoice("10", client=client) for _ in range(receivables.SHOWN)]
        for paid in settled:
            do("pay", paid, Decimal(10))
        unpaid = receivables.of([client.pk], TODAY)
        assert receivables.latest([client.pk], unpaid) == [old, *settled[:0:-1]]


@pytest.mark.django_db(transaction=True)
def test_payments_of_several_invoices_at_once_in_any_order_wait_for_each_other():
    invoices = [an_invoice("24") for _ in range(3)]
    problems = []

    def pay(order):
        try:
            for _ in range(8):
                Payment.objects.bulk_create(
                    Payment(invoice=invoices[number], amount=Decimal("0.5"), received_on=TODAY, at=NOON)
                    for number in order
                )
        except DatabaseError as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=pay, args=[order]) for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert [left(invoice) for invoice in invoices] == [Decimal(12)] * 3
