"""Revenue is what the documents come to: every document counts once, to the cent, in the month of its issue."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from invoicing import credits
from invoicing.models import Invoice, Line
from reports import counting, months, revenue
from reports.models import DocumentSum, LineSum
from reports.tables import written
from tests.builders import DISK, MAILBOXES, a_client, a_product, a_server, a_service, a_setting, a_tenant, at
from tests.invoicing.documents import Written, fee, given_back, issued, usage

AT = at("2026-11-19 08:00")
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def a_metered_service(name="alice", product="Business Web", currency="USD"):
    server_of_all = a_server(f"panel of {name}")
    client = a_client(f"client of {name}", currency)
    return a_service(a_product(product, currency=currency), client, a_tenant(server_of_all, name))


def count():
    return counting.count_documents(at=AT)


def revenue_of(currency="USD", span=(OCTOBER, NOVEMBER), **options):
    names = revenue.Names.read()
    return revenue.revenue(counting.sums(), names, currency=currency, months=months.between(*span), **options)


def shown(table):
    """The rows of a table: what they are about, below what, and the amounts."""
    rows = [*table.rows, table.total]
    return {(row.group, row.head.text): [cell.text for cell in row.cells] for row in rows}


@pytest.mark.django_db
class TestRevenue:
    def test_products_metrics_and_months_are_told_apart(self):
        service = a_metered_service()
        disk, mail = (a_setting(service.product, each) for each in (DISK, MAILBOXES))
        for when, quantity in (("2026-10-01 07:00", "3"), ("2026-11-01 07:00", "5")):
            issued(service.client, fee(service), usage(service, disk, (when[:10], quantity)), when=when)
        issued(service.client, usage(service, mail, ("2026-11-02", "2")), when="2026-11-03 07:00")
        count()
        assert shown(revenue_of().table) == {
            ("", "Business Web"): ["$27.00", "$31.00", "$58.00"],
            ("Business Web", "Recurring"): ["$24.00", "$24.00", "$48.00"],
            ("Business Web", "Disk space"): ["$3.00", "$5.00", "$8.00"],
            ("Business Web", "Mailboxes"): ["—", "$2.00", "$2.00"],
            ("", "All products"): ["$27.00", "$31.00", "$58.00"],
        }

    def test_a_credit_note_is_subtracted_in_the_month_of_its_own_issue(self):
        service = a_metered_service()
        disk = a_setting(service.product, DISK)
        october = usage(service, disk, ("2026-10-01", "9"))
        invoice = issued(service.client, fee(service), october, when="2026-10-02 07:00")
        issued(service.client, given_back(october.line, "4"), when="2026-11-05 07:00", credits=invoice)
        count()
        found = revenue_of()
        assert found.by_month == {OCTOBER: Decimal(33), NOVEMBER: Decimal(-4)}
        assert shown(found.table)["Business Web", "Given back by credit notes"] == ["—", "−$4.00", "−$4.00"]
        assert found.given_back == 4
        assert found.documents_words == (
            "1 invoice of $33.00 less 1 credit note of $4.00 were issued in these months: $29.00."
        )
        assert found.is_equal

    def test_by_the_period_of_use_a_line_counts_in_the_month_in_which_its_period_begins(self):
        service = a_metered_service()
        disk = a_setting(service.product, DISK)
        october = usage(service, disk, ("2026-10-01", "9"), end="2026-11-01")
        invoice = issued(service.client, october, when="2026-11-01 07:00")
        issued(service.client, given_back(october.line, "4"), when="2026-11-05 07:00", credits=invoice)
        count()
        assert revenue_of(by_use=True).by_month == {OCTOBER: Decimal(5)}
        assert revenue_of().by_month == {NOVEMBER: Decimal(5)}

    def test_currencies_are_never_added(self):
        for name, currency in (("alice", "USD"), ("bert", "EUR"), ("chie", "JPY")):
            service = a_metered_service(name, currency=currency)
            issued(service.client, fee(service, "20"))
        count()
        assert revenue.currencies(counting.sums()) == {"USD", "EUR", "JPY"}
        totals = {currency: revenue_of(currency).total for currency in ("USD", "EUR", "JPY")}
        assert totals == {"USD": 20, "EUR": 20, "JPY": 20}
        assert shown(revenue_of("JPY").table)["", "All products"] == ["—", "¥20", "¥20"]

    def test_what_is_given_back_of_one_kind_is_taken_from_the_product_that_charged_it(self):
        service = a_metered_service()
        disk = a_setting(service.product, DISK)
        line = usage(service, disk, ("2026-11-01", "9"))
        invoice = issued(service.client, line)
        issued(service.client, given_back(line.line, "9"), when="2026-11-05 07:00", credits=invoice)
        count()
        rows = LineSum.objects.filter(setting=disk).values_list("kind", "is_credit", "amount", "quantity")
        assert sorted(rows) == [("usage", False, 9, 9 * 10**9), ("usage", True, 9, 0)]

    def test_a_recurring_line_stays_with_the_product_that_it_names_after_a_change(self):
        service = a_metered_service()
        issued(service.client, fee(service, "24", title="Business Web"))
        service.product = a_product("Business Plus")
        service.save()
        count()
        assert {row.product.name for row in LineSum.objects.all()} == {"Business Web"}

    def test_one_product_alone_is_not_compared_with_all_documents(self):
        alice, bert = a_metered_service(), a_metered_service("bert", "Storage")
        issued(alice.client, fee(alice))
        issued(bert.client, fee(bert, "7", title="Storage"))
        count()
        alone = revenue_of(product=bert.product_id)
        assert (alone.total, alone.documents) == (7, None)
        assert revenue_of().is_equal

    def test_sums_that_are_not_what_the_documents_say_are_seen(self):
        service = a_metered_service()
        issued(service.client, fee(service))
        count()
        assert list(counting.differences()) == []
        LineSum.objects.update(amount=25)
        assert not revenue_of().is_equal
        [sentence] = counting.differences()
        assert "the sums say 1 lines of 25.0000, the documents 1 of 24.0000" in sentence

    def test_counting_anew_comes_to_the_same(self):
        service = a_metered_service()
        disk = a_setting(service.product, DISK)
        issued(service.client, fee(service), usage(service, disk, ("2026-11-01", "9")))
        count()
        before = list(LineSum.objects.values_list("month", "kind", "amount", "quantity"))
        counting.forget()
        assert not LineSum.objects.exists()
        assert count() == 1
        assert list(LineSum.objects.values_list("month", "kind", "amount", "quantity")) == before

    def test_the_csv_has_what_the_table_shows(self):
        service = a_metered_service(product="=Web")
        issued(service.client, fee(service, "24.50", title="=Web"))
        count()
        text = "".join(written([(["USD"], revenue_of().table)], ["currency"]))
        assert text.splitlines() == [
            "currency,product,part,2026-10,2026-11,Total",
            "USD,'=Web,,,24.5,24.5",
            "USD,'=Web,Recurring,,24.5,24.5",
            "USD,All products,,,24.5,24.5",
        ]


@pytest.mark.django_db
class TestCountingOnce:
    def test_counting_twice_changes_nothing(self):
        service = a_metered_service()
        issued(service.client, fee(service))
        assert (count(), count()) == (1, 0)
        assert revenue_of().total == 24

    def test_a_page_adds_what_was_issued_since(self):
        service = a_metered_service()
        issued(service.client, fee(service))
        count()
        issued(service.client, fee(service, "6"), when="2026-11-02 07:00")
        assert revenue_of().total == 30
        assert DocumentSum.objects.get().total == 24  # nothing is written by looking
        assert revenue_of().is_equal
        count()
        assert revenue_of().total == 30

    def test_a_page_leaves_a_great_rest_to_the_job_and_says_so(self, monkeypatch):
        monkeypatch.setattr(counting, "LIVE", 2)
        service = a_metered_service()
        for day in (1, 2, 3):
            issued(service.client, fee(service), when=f"2026-11-0{day} 07:00")
        found = counting.sums()
        assert (found.is_behind, found.documents) == (True, [])

    def test_many_documents_are_counted_in_parts(self, monkeypatch):
        monkeypatch.setattr(counting, "BATCH", 2)
        service = a_metered_service()
        for day in range(1, 8):
            issued(service.client, fee(service), when=f"2026-11-0{day} 07:00")
        assert count() == 7
        assert revenue_of().total == 7 * 24

    def test_it_stops_between_parts_when_it_is_asked_to(self, monkeypatch):
        monkeypatch.setattr(counting, "BATCH", 2)
        service = a_metered_service()
        for day in range(1, 6):
            issued(service.client, fee(service), when=f"2026-11-0{day} 07:00")
        answers = iter([False, True, True, True])
        assert counting.count_documents(at=AT, should_stop=lambda: next(answers)) == 2
        assert count() == 3


LINES = st.lists(st.tuples(st.sampled_from(["fee", "disk", "mail"]), st.integers(0, 99_99)), min_size=1, max_size=4)
DOCUMENTS = st.lists(
    st.tuples(
        st.integers(0, 2),  # whose
        st.integers(0, 70),  # days after 1 September
        LINES,
        st.integers(0, 100),  # percent that is given back
        st.booleans(),  # whether they are counted then
    ),
    max_size=8,
)


class TestAnyDocuments(TestCase):
    @settings(max_examples=40)
    @given(DOCUMENTS)
    def test_revenue_of_every_month_is_the_sum_of_its_documents(self, documents):
        services = [
            a_metered_service("alice"),
            a_metered_service("bert", "Storage"),
            a_metered_service("carl", currency="EUR"),
        ]
        # The day of issue never goes back in a series.
        for whose, after, lines, percent, then in sorted(documents, key=lambda document: document[1]):
            self.issue(services[whose], date.fromordinal(date(2026, 9, 1).toordinal() + after), lines, percent)
            if then:
                count()
        for _ in range(2):  # with a rest that is not counted, and without one
            for month in months.between(date(2026, 9, 1), date(2026, 12, 1)):
                for currency in ("USD", "EUR"):
                    raw = Invoice.objects.filter(
                        currency=currency, issued_on__year=month.year, issued_on__month=month.month
                    )
                    total = sum((-each.total if each.is_credit_note else each.total for each in raw), Decimal(0))
                    found = revenue_of(currency, (month, month))
                    assert found.total == total
                    assert found.is_equal
            assert list(counting.differences()) == []
            count()

    def issue(self, service, day, lines, percent):
        built = [self.line(service, what, Decimal(cents) / 100) for what, cents in lines]
        invoice = issued(service.client, *built, when=f"{day} 07:00")
        if percent:
            back = [(each.line, (each.line.amount * percent / 100).quantize(Decimal("0.01"))) for each in built]
            amounts = {line.pk: amount for line, amount in back if amount}
            if amounts:
                credits.credit(
                    invoice=invoice,
                    amounts=amounts,
                    reason="as we talked",
                    on=date.fromordinal(day.toordinal() + percent),
                    at=at(f"{day} 08:00"),
                )

    def line(self, service, what, amount) -> Written:
        if what == "fee":
            return fee(service, str(amount), title=service.product.name)
        setting = a_setting(service.product, {"disk": DISK, "mail": MAILBOXES}[what], enabled_from=None)
        built = usage(service, setting, ("2026-09-01", "1"))
        built.periods.clear()
        built.line.amount = built.line.exact = amount
        assert built.line.kind == Line.Kind.USAGE
        return built
