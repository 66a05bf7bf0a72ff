"""Payments: what may be written down, and that it counts once."""

import threading
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection

from invoicing import payments
from invoicing.credits import credit
from invoicing.models import Invoice, Payment, Receivable
from invoicing.payments import CannotPay
from tests.builders import a_user, at
from tests.invoicing.documents import an_invoice

NOON = at("2026-11-19 12:00")


def paid(invoice, amount, **values):
    values = {"received_on": date(2026, 11, 18), "by": None, "at": NOON, **values}
    return payments.record(invoice=invoice, amount=Decimal(amount), **values)


def left(invoice):
    row = Receivable.objects.filter(pk=invoice.pk).first()
    return row.left if row else Decimal(0)


def state(invoice, today=date(2026, 11, 19)):
    return Invoice.objects.with_state(today).get(pk=invoice.pk)


@pytest.mark.django_db
class TestOne:
    def test_an_invoice_is_unpaid_then_partly_then_wholly_paid(self):
        invoice = an_invoice("76.33", due_on="2026-12-01")
        assert (state(invoice).state, left(invoice)) == ("unpaid", Decimal("76.33"))
        paid(invoice, "26.33", method="bank transfer", reference="  PO-7731 ")
        assert Payment.objects.get().reference == "PO-7731"
        shown = state(invoice)
        assert (shown.state, shown.left, shown.paid) == ("part_paid", Decimal(50), Decimal("26.33"))
        paid(invoice, "50")
        shown = state(invoice)
        assert (shown.state, shown.left, shown.paid) == ("paid", Decimal(0), Decimal("76.33"))
        assert not Receivable.objects.filter(pk=invoice.pk).exists()

    def test_it_is_overdue_from_the_day_after_it_was_due(self):
        invoice = an_invoice("76.33", due_on="2026-11-19")
        assert state(invoice, date(2026, 11, 19)).state == "unpaid"
        assert state(invoice, date(2026, 11, 20)).state == "overdue"
        paid(invoice, "1")
        assert state(invoice, date(2026, 11, 20)).state == "overdue"

    def test_what_is_credited_in_full_was_not_paid(self):
        invoice = an_invoice("10")
        credit_all(invoice)
        shown = state(invoice)
        assert (shown.state, shown.paid, shown.left) == ("credited", Decimal(0), Decimal(0))

    def test_what_is_credited_after_it_was_paid_is_owed_to_the_client_until_it_is_given_back(self):
        invoice = an_invoice("10")
        paid(invoice, "10")
        credit_all(invoice)
        shown = state(invoice)
        assert (shown.state, shown.left) == ("owed", Decimal(-10))
        with pytest.raises(CannotPay, match=r"Only \$10.00 of .* was paid too much"):
            paid(invoice, "-10.01")
        paid(invoice, "-10")
        assert state(invoice).state == "credited"

    def test_an_invoice_of_nothing_has_nothing_to_pay(self):
        invoice = an_invoice("0")
        assert state(invoice).state == "nothing"
        with pytest.raises(CannotPay, match="Nothing is left"):
            paid(invoice, "1")

    @pytest.mark.parametrize(
        ("amount", "values", "why"),
        [
            ("76.34", {}, "Only \\$76.33 is left"),
            ("-1", {}, "was paid too much"),
            ("0", {}, "Enter an amount"),
            ("NaN", {}, "Enter an amount"),
            ("1.005", {}, "at most 2 decimals"),
            ("1e30", {"overpay": True}, "too large"),
            ("1", {"received_on": date(2026, 11, 20)}, "yet to come"),
            ("1", {"key": "taken back 1"}, "no spaces"),
        ],
    )
    def test_what_cannot_be_is_refused_with_a_reason(self, amount, values, why):
        invoice = an_invoice("76.33")
        with pytest.raises(CannotPay, match=why):
            paid(invoice, amount, **values)
        assert not Payment.objects.exists()
        assert left(invoice) == Decimal("76.33")

    def test_an_amount_has_the_decimals_of_its_currency(self):
        invoice = an_invoice("500", currency="JPY")
        with pytest.raises(CannotPay, match="at most 0 decimals"):
            paid(invoice, "0.5")
        paid(invoice, "500")

    def test_a_credit_note_is_not_paid(self):
        note = credit_all(an_invoice("10"))
        with pytest.raises(CannotPay, match="credit note"):
            paid(note, "10")

    def test_more_than_is_left_counts_if_it_is_meant(self):
        invoice = an_invoice("10")
        paid(invoice, "12", overpay=True)
        assert (state(invoice).state, left(invoice)) == ("owed", Decimal(-2))

    def test_the_same_payment_reported_again_is_the_same(self):
        invoice = an_invoice("10")
        first = paid(invoice, "4", key="bank-1")
        assert paid(invoice, "4", key="bank-1") == first
        with pytest.raises(CannotPay, match="Another payment was reported with the key bank-1"):
            paid(invoice, "5", key="bank-1")
        assert left(invoice) == Decimal(6)

    def test_a_payment_that_settled_its_invoice_can_be_reported_again(self):
        invoice = an_invoice("10")
        first = paid(invoice, "10", key="bank-1")
        assert paid(invoice, "10", key="bank-1") == first

    def test_a_mistake_is_taken_back_once_by_another_payment(self):
        invoice, ines = an_invoice("10"), a_user()
        wrong = paid(invoice, "10")
        back = payments.take_back(payment=wrong, by=ines, at=NOON)
        assert (back.amount, back.by, left(invoice)) == (Decimal(-10), ines, Decimal(10))
        assert payments.take_back(payment=wrong, by=None, at=NOON) == back
        assert left(invoice) == Decimal(10)
        assert [what for _, what in payments.of_invoice(invoice)] == ["taken back", "takes back"]
        with pytest.raises(CannotPay, match="takes back another"):
            payments.take_back(payment=back, by=None, at=NOON)


def credit_all(invoice):
    amounts = {line.pk: line.amount for line in invoice.lines.all()}
    return credit(invoice=invoice, amounts=amounts, reason="a gift", on=date(2026, 11, 18), at=NOON)


def at_once(*deeds):
    """Do these at once, each on a connection of its own. Returns what each came to."""
    start, results = threading.Barrier(len(deeds)), [None] * len(deeds)

    def run(number, deed):
        try:
            start.wait(10)
            results[number] = deed()
        except CannotPay as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def test_an_invoice_is_not_paid_twice(self):
        for _ in range(10):
            invoice = an_invoice("10")
            results = at_once(lambda i=invoice: paid(i, "10"), lambda i=invoice: paid(i, "10"))
            assert sum(isinstance(each, CannotPay) for each in results) == 1
            assert invoice.payments.count() == 1
            assert left(invoice) == 0

    def test_the_same_key_counts_once(self):
        for number in range(10):
            invoice = an_invoice("10")
            paid(invoice, "10")  # so that there is no row to wait for
            more = [lambda i=invoice, n=number: paid(i, "3", key=f"bank-{n}", overpay=True)] * 3
            results = at_once(*more)
            assert len({each.pk for each in results}) == 1
            assert left(invoice) == Decimal(-3)

    def test_a_credit_note_and_a_payment_wait_for_each_other(self):
        for _ in range(10):
            invoice = an_invoice("10")
            at_once(lambda i=invoice: paid(i, "10"), lambda i=invoice: credit_all(i))
            received = sum((each.amount for each in invoice.payments.all()), Decimal(0))
            assert left(invoice) == -received
