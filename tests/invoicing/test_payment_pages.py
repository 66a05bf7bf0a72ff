"""How invoices stand and what was paid, in the portal and for staff, over the API and from a file."""

import json
import re
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invoicing import payments, portal
from invoicing.credits import credit
from invoicing.models import Payment, Receivable
from tests.builders import a_client, a_staff_user, a_user, at
from tests.invoicing.documents import an_invoice

pytestmark = pytest.mark.django_db

NOON, TODAY = at("2026-11-19 12:00"), date(2026, 11, 19)


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(NOON)


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def lindqvist(client):
    """The client of Sara, who is logged in."""
    sara = a_user()
    client.force_login(sara)
    return a_client(users=(sara,))


def pay(invoice, amount, **values):
    values = {"received_on": TODAY, "by": None, "at": NOON, **values}
    return payments.record(invoice=invoice, amount=Decimal(amount), overpay=True, **values)


def credit_all(invoice):
    amounts = {line.pk: line.amount for line in invoice.lines.all()}
    return credit(invoice=invoice, amounts=amounts, reason="a gift", on=TODAY, at=NOON)


def shown(response):
    assert response.status_code == 200
    return " ".join(re.sub(r"<svg.*?</svg>", "", response.content.decode()).split())


def left(invoice):
    row = Receivable.objects.filter(pk=invoice.pk).first()
    return row.left if row else Decimal(0)


class TestPortal:
    def rows(self, client, **query):
        page = shown(client.get(reverse("portal_invoices"), query))
        return re.findall(r'rowheader"[^>]*><a href="[^"]+">([^<]+)</a>', page)

    def test_a_list_says_how_each_stands(self, client, lindqvist):
        an_invoice("24", client=lindqvist, due_on="2026-11-15")
        an_invoice("24", client=lindqvist, due_on="2026-11-30")
        pay(an_invoice("24", client=lindqvist, due_on="2026-11-30"), "20")
        pay(an_invoice("24", client=lindqvist), "24")
        pay(an_invoice("24", client=lindqvist), "25")
        credit_all(an_invoice("24", client=lindqvist))
        an_invoice("0", client=lindqvist)
        page = shown(client.get(reverse("portal_invoices")))
        for words in (
            "Overdue",
            "Unpaid",
            "Partly paid",
            "$4.00 left",
            "Paid too much",
            "Credited in full",
            "Nothing to pay",
        ):
            assert words in page

    def test_it_can_be_narrowed_to_a_state_a_year_and_a_number(self, client, lindqvist):
        late = an_invoice("24", client=lindqvist, due_on="2026-11-15")
        soon = an_invoice("24", client=lindqvist, due_on="2026-11-30")
        paid = an_invoice("24", client=lindqvist, issued_on="2025-03-01", due_on="2025-03-15")
        pay(paid, "24")
        note = credit_all(an_invoice("24", client=lindqvist))
        an_invoice("99", client=a_client("Brandt"), due_on="2026-11-15")
        assert self.rows(client, state="unpaid") == [late.number, soon.number]
        assert self.rows(client, state="overdue") == [late.number]
        assert self.rows(client, state="paid")[-1] == paid.number
        assert self.rows(client, state="credit_notes") == [note.number]
        assert self.rows(client, year="2025") == [paid.number]
        assert self.rows(client, q="c2026") == [note.number]
        assert len(self.rows(client, state="nonsense", year="20x5")) == 5

    def test_all_of_more_than_a_page_are_listed_newest_first(self, client, lindqvist):
        numbers = [an_invoice("24", client=lindqvist).number for _ in range(portal.PAGE)]
        assert self.rows(client) == self.rows(client, page="2") == numbers[::-1]
        numbers.append(an_invoice("24", client=lindqvist).number)
        assert self.rows(client) == numbers[:0:-1]
        assert self.rows(client, page="2") == numbers[:1]
        assert "Page 1 of 2" in shown(client.get(reverse("portal_invoices")))

    def test_of_several_years_one_can_be_chosen(self, client, lindqvist):
        assert "<select" not in shown(client.get(reverse("portal_invoices")))
        for day in ("2026-11-19", "2024-03-01"):
            an_invoice("24", client=lindqvist, issued_on=day, due_on="2026-11-30")
        an_invoice("24", client=a_client("Brandt"), issued_on="2020-01-01", due_on="2026-11-30")
        page = shown(client.get(reverse("portal_invoices")))
        assert re.findall(r"<option>(\d+)</option>", page) == ["2026", "2025", "2024"]

    def test_credit_notes_say_what_they_credit_in_as_many_queries(self, client, lindqvist):
        def queries():
            with CaptureQueriesContext(connection) as captured:
                page = shown(client.get(reverse("portal_invoices")))
            assert all(f"for {note.credits.number} " in page for note in notes)
            return len(captured)

        notes = [credit_all(an_invoice("24", client=lindqvist))]
        queries()
        one = queries()
        notes += [credit_all(an_invoice("24", client=lindqvist)) for _ in range(3)]
        assert queries() == one

    def test_nothing_open_is_good_news(self, client, lindqvist):
        pay(an_invoice("24", client=lindqvist), "24")
        assert "Everything is paid." in shown(client.get(reverse("portal_invoices"), {"state": "unpaid"}))
        assert "Nothing is overdue." in shown(client.get(reverse("portal_invoices"), {"state": "overdue"}))

    def test_its_page_says_what_was_paid_and_what_is_left(self, client, lindqvist):
        invoice = an_invoice("76.33", client=lindqvist, due_on="2026-11-15")
        address = reverse("portal_invoice", args=[invoice.pk])
        page = shown(client.get(address))
        assert "Overdue by 4 days" in page
        assert "nothing yet" in page
        pay(invoice, "6.33", method="bank transfer", reference="<PO 7731>")
        page = shown(client.get(address))
        assert "bank transfer, &lt;PO 7731&gt;" in page
        assert "−$6.33" in page
        assert "$70.00" in page
        assert "Take back" not in page
        pay(invoice, "70")
        assert "Overdue" not in shown(client.get(address))

    def test_what_was_paid_too_much_is_owed_to_them(self, client, lindqvist):
        invoice = an_invoice("24", client=lindqvist)
        pay(invoice, "24")
        credit_all(invoice)
        page = shown(client.get(reverse("portal_invoice", args=[invoice.pk])))
        assert "Owed to you" in page
        assert "$24.00" in page

    def test_pages_take_as_many_queries_for_many_as_for_one(self, client, lindqvist, django_assert_max_num_queries):
        for _ in range(12):
            pay(an_invoice("24", client=lindqvist), "4")
        invoice = an_invoice("24", client=lindqvist)
        for _ in range(10):
            pay(invoice, "1")
        with django_assert_max_num_queries(8):
            client.get(reverse("portal_invoices"), {"state": "unpaid"})
        with django_assert_max_num_queries(16):
            client.get(reverse("portal_invoice", args=[invoice.pk]))


class TestStaff:
    def test_the_list_can_be_narrowed_to_what_is_open(self, ines, django_assert_max_num_queries):
        late = an_invoice("24", due_on="2026-11-15")
        soon = an_invoice("24", due_on="2026-11-30")
        paid = an_invoice("24")
        pay(paid, "24")
        for state, expected in (("overdue", [late]), ("unpaid", [late, soon]), ("paid", [paid])):
            with django_assert_max_num_queries(8):
                page = shown(ines.get(reverse("staff_invoices"), {"state": state}))
            found = re.findall(r'rowheader"[^>]*><a href="[^"]+">([^<]+)</a>', page)
            assert found == [invoice.number for invoice in expected]

    def form(self, client, invoice, **values):
        address = reverse("staff_payment", args=[invoice.pk])
        page = client.get(address).content.decode()
        hidden = {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("token", "direction")}
        return address, {"amount": "24", "received_on": "2026-11-18", **hidden, **values}

    def test_a_payment_is_written_down_once_however_often_the_form_is_sent(self, ines):
        invoice = an_invoice("24")
        address, data = self.form(ines, invoice, method="cash", reference="7731")
        assert "Record a payment…" in shown(ines.get(reverse("staff_invoice", args=[invoice.pk])))
        page = shown(ines.post(address, data, follow=True))
        assert f"$24.00 for {invoice.number} is written down." in page
        assert "cash, 7731" in page
        assert "by ines@staff.test" in page
        assert "Record a payment…" not in page
        ines.post(address, data)
        payment = Payment.objects.get()
        assert (payment.amount, payment.by.email, payment.received_on) == (
            Decimal(24),
            "ines@staff.test",
            date(2026, 11, 18),
        )

    @pytest.mark.parametrize("paid", ["", "30"])
    def test_a_form_that_is_sent_twice_is_the_same_whatever_is_left_after_the_first(self, ines, paid):
        invoice = an_invoice("24")
        if paid:
            pay(invoice, paid)
        address, data = self.form(ines, invoice, **({"amount": "6"} if paid else {"amount": "30", "overpay": "on"}))
        for _ in range(2):
            assert ines.post(address, data).status_code == HTTPStatus.FOUND
        assert left(invoice) == (0 if paid else -6)

    @pytest.mark.parametrize("was_refund", [False, True])
    def test_a_form_whose_direction_turned_meanwhile_writes_nothing(self, ines, was_refund):
        invoice = an_invoice("24")
        payment = pay(invoice, "30") if was_refund else None
        address, data = self.form(ines, invoice, amount="6")
        if payment is not None:
            payments.take_back(payment=payment, by=None, at=NOON)
        else:
            pay(invoice, "30")
        page = ines.post(address, data)
        assert "What is left of it changed meanwhile. Look at it again, then write it down." in shown(page)
        assert left(invoice) == (24 if was_refund else -6)
        again = re.search(r'name="direction" value="([^"]+)"', page.content.decode())[1]
        assert again == ("payment" if was_refund else "refund")
        ines.post(address, data | {"direction": again})
        assert left(invoice) == (18 if was_refund else 0)

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"amount": "24.01"}, "More than is left: $24.00"),
            ({"amount": "0"}, "Enter an amount"),
            ({"amount": ""}, "Enter"),
            ({"amount": "1,5"}, "Not a plain number"),
            ({"amount": "1.005"}, "At most 2 decimals"),
            ({"amount": "-5"}, "Must be 0 or more"),
            ({"received_on": "2026-11-31"}, "Choose a date that exists"),
            ({"received_on": "2026-11-20"}, "yet to come"),
            ({"token": "taken back 1"}, "Open the page again"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_written_down(self, ines, values, why):
        address, data = self.form(ines, an_invoice("24"), **values)
        assert why in shown(ines.post(address, data))
        assert not Payment.objects.exists()

    def test_more_than_is_left_counts_if_it_is_ticked_and_can_be_given_back(self, ines):
        invoice = an_invoice("24")
        address, data = self.form(ines, invoice, amount="30", overpay="on")
        ines.post(address, data)
        assert left(invoice) == Decimal(-6)
        page = shown(ines.get(address))
        assert f"Money given back of {invoice.number}" in page
        address, data = self.form(ines, invoice, amount="6")
        assert "$6.00 given back" in shown(ines.post(address, data, follow=True))
        assert left(invoice) == 0

    def test_a_mistake_is_taken_back(self, ines):
        invoice = an_invoice("24")
        payment = pay(invoice, "24")
        address = reverse("staff_payment_take_back", args=[invoice.pk, payment.pk])
        assert ines.get(address).status_code == HTTPStatus.METHOD_NOT_ALLOWED
        page = shown(ines.post(address, follow=True))
        assert "The payment of $24.00 is taken back." in page
        assert "Payment taken back" in page
        assert f'action="{address}"' not in page
        ines.post(address)
        assert left(invoice) == Decimal(24)
        other = an_invoice("24")
        wrong = reverse("staff_payment_take_back", args=[other.pk, payment.pk])
        assert ines.post(wrong).status_code == HTTPStatus.NOT_FOUND

    def test_a_credit_note_has_no_payments(self, ines):
        note = credit_all(an_invoice("24"))
        assert ines.get(reverse("staff_payment", args=[note.pk])).status_code == HTTPStatus.NOT_FOUND
        assert "Payment" not in re.sub(r"<nav.*?</nav>", "", shown(ines.get(reverse("staff_invoice", args=[note.pk]))))

    def test_only_staff_with_the_right_may_record(self, client):
        invoice = an_invoice("24")
        payment = pay(invoice, "4")
        address, back = (
            reverse("staff_payment", args=[invoice.pk]),
            reverse("staff_payment_take_back", args=[invoice.pk, payment.pk]),
        )
        assert client.get(address).status_code == HTTPStatus.FOUND
        client.force_login(a_user())
        assert {client.get(address).status_code, client.post(address).status_code, client.post(back).status_code} == {
            403
        }
        helper = a_user("helper@staff.test", is_staff=True)
        helper.user_permissions.add(Permission.objects.get(codename="view_invoice"))
        client.force_login(helper)
        assert {client.get(address).status_code, client.post(address).status_code, client.post(back).status_code} == {
            403
        }
        page = shown(client.get(reverse("staff_invoice", args=[invoice.pk])))
        assert "Record a payment" not in page
        assert "Take back" not in page
        assert left(invoice) == Decimal(20)


class TestApi:
    def send(self, client, invoice, **values):
        body = {"amount": "10", "received_on": "2026-11-18", "key": "bank-1", **values}
        address = f"/api/v1/invoices/{getattr(invoice, 'pk', invoice)}/payments"
        return client.post(address, json.dumps(body), content_type="application/json")

    def test_a_payment_is_recorded_once_by_its_key(self, ines):
        invoice = an_invoice("24", due_on="2026-11-30")
        first = self.send(ines, invoice)
        assert first.status_code == HTTPStatus.OK
        assert first.json() == {
            "payment": Payment.objects.get().pk,
            "invoice": invoice.number,
            "currency": "USD",
            "amount": "10.00",
            "left": "14.00",
            "state": "part_paid",
        }
        assert self.send(ines, invoice).json() == first.json()
        assert self.send(ines, invoice, amount="11").status_code == HTTPStatus.CONFLICT
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize(
        ("values", "status"),
        [
            ({"amount": "24.01"}, 409),
            ({"amount": "1e3"}, 422),
            ({"amount": 10}, 422),
            ({"key": ""}, 422),
            ({"key": "taken back 1"}, 422),
            ({"received_on": 0}, 422),
            ({"received_on": "2027-01-01"}, 409),
            ({"currency": "EUR"}, 422),
            ({"method": "a\x00"}, 422),
        ],
    )
    def test_what_cannot_be_is_refused(self, ines, values, status):
        response = self.send(ines, an_invoice("24"), **values)
        assert (response.status_code, list(response.json())) == (status, ["error"])
        assert not Payment.objects.exists()

    def test_nobody_else_may(self, client):
        invoice = an_invoice("24")
        assert self.send(client, invoice).status_code == HTTPStatus.UNAUTHORIZED
        client.force_login(a_user())
        assert self.send(client, invoice).status_code == HTTPStatus.FORBIDDEN
        helper = a_user("helper@staff.test", is_staff=True)
        client.force_login(helper)
        assert self.send(client, invoice).status_code == HTTPStatus.FORBIDDEN
        helper.user_permissions.add(Permission.objects.get(codename="add_payment"))
        assert self.send(client, invoice).status_code == HTTPStatus.OK
        assert self.send(client, "0192d7d8-0000-7000-8000-000000000000").status_code == HTTPStatus.NOT_FOUND


class TestFile:
    def run(self, tmp_path, text, *options):
        path = tmp_path / "bank.csv"
        path.write_text(text)
        out, err = StringIO(), StringIO()
        try:
            call_command("record_payments", str(path), *options, stdout=out, stderr=err)
        except CommandError as error:
            return str(error), err.getvalue(), error.returncode
        return out.getvalue(), err.getvalue(), 0

    def test_a_file_is_recorded_once_however_often_it_is_read(self, tmp_path):
        one, two = an_invoice("24"), an_invoice("10")
        text = (
            f"\ufeffnumber,amount,date,reference\n{one.number},24.00,2026-11-18,PO 1\n{two.number},4,2026-11-18,PO 2\n"
        )
        said, _, code = self.run(tmp_path, text, "--dry-run")
        assert (code, said.splitlines()[-1]) == (0, "2 payments would be recorded, 0 were recorded before.")
        assert not Payment.objects.exists()
        assert "2 payments recorded, 0 were" in self.run(tmp_path, text)[0]
        assert "0 payments recorded, 2 were" in self.run(tmp_path, text)[0]
        assert (left(one), left(two)) == (0, 6)

    def test_one_wrong_row_keeps_all_from_being_recorded_and_each_is_named(self, tmp_path):
        one = an_invoice("24")
        rows = [
            f"{one.number},4,2026-11-18,PO 1",
            "2026-99999,4,2026-11-18,PO 2",
            f"{one.number},four,2026-11-18,PO 3",
            f"{one.number},4,18.11.2026,PO 4",
            f"{one.number},4,2026-11-18,",
            f"{one.number},99,2026-11-18,PO 6",
        ]
        said, problems, code = self.run(tmp_path, "number,amount,date,reference\n" + "\n".join(rows))
        assert (said, code) == ("5 rows cannot be recorded, so none is.", 1)
        assert [line.partition(":")[0] for line in problems.splitlines()] == [f"line {n}" for n in range(3, 8)]
        assert "Only $20.00 is left to pay" in problems
        assert left(one) == Decimal(24)

    def test_what_is_no_such_file_is_said(self, tmp_path):
        assert self.run(tmp_path, "number,amount\n")[2] == 2
        assert "no column date, reference" in self.run(tmp_path, "number,amount\n")[0]
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("record_payments", str(tmp_path / "none.csv"))
