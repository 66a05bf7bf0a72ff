"""The pages of reports: who may see them, what they say, how they are chosen, and that they take few queries."""

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from reports import counting, fitting, measuring
from tests.builders import (
    DISK,
    MAILBOXES,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    priced,
)
from tests.invoicing.documents import fee, given_back, issued, usage
from tests.invoicing.pages import allow, see, words
from tests.reports.test_outgrown_plans import billed, sold
from tests.reports.test_usage_growth import used

pytestmark = pytest.mark.django_db

NOW = "2026-11-19 08:00"
PAGES = ["staff_reports", "staff_report_revenue", "staff_report_growth", "staff_report_prices", "staff_report_outgrown"]
TABLES = [f"{name}_csv" for name in PAGES[1:]]


@pytest.fixture(autouse=True)
def _today():
    with time_machine.travel(at(NOW), tick=False):
        yield


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


def filled(products=1, currencies=("USD",)):
    """Services whose documents and usage are summed: some of each product, in each currency."""
    for number in range(products):
        for currency in currencies:
            name = f"{currency}-{number}"
            product = a_product(f"Web {number}", currency=currency)
            owner = a_client(f"client {name}", currency)
            service = a_service(product, owner, a_tenant(a_server(name), name), anchor="2025-09-10", name=name)
            for declared in (DISK, MAILBOXES):
                setting = a_setting(product, declared, enabled_from=None)
                if not setting.versions.exists():
                    priced(setting, ("0", "1"))
                used(service.tenant, declared, "2026-09-30", 3 * 10**9)
                used(service.tenant, declared, "2026-10-31", 4 * 10**9)
                for when, quantity in (("2026-10-10 07:00", "3"), ("2026-11-10 07:00", "4")):
                    line = usage(service, setting, (f"{when[:8]}01", quantity))
                    invoice = issued(owner, fee(service, title=product.name), line, when=when)
            issued(owner, given_back(line.line, "1.25"), when="2026-11-12 07:00", credits=invoice)


def counted():
    counting.count_documents(at=at(NOW))
    counting.spread_prices()
    measuring.sum_usage(at=at(NOW))
    fitting.look(at=at(NOW))


class TestWhoMaySee:
    @pytest.mark.parametrize("name", [*PAGES, *TABLES])
    def test_nobody_is_sent_to_the_login(self, client, name):
        assert client.get(reverse(name)).status_code == 302

    @pytest.mark.parametrize("name", [*PAGES, *TABLES])
    def test_a_client_is_refused(self, client, name):
        client.force_login(a_user())
        assert client.get(reverse(name)).status_code == 403

    @pytest.mark.parametrize("name", [*PAGES, *TABLES])
    def test_staff_need_the_permission(self, client, name):
        user = a_user("ola@staff.test", is_staff=True)
        client.force_login(user)
        assert client.get(reverse(name)).status_code == 403
        allow(user, "view_report")
        assert client.get(reverse(name)).status_code == 200

    @pytest.mark.parametrize("name", [*PAGES, *TABLES])
    def test_they_only_answer_questions(self, staff, name):
        assert staff.post(reverse(name)).status_code == 405

    def test_the_menu_leads_there_for_those_who_may(self, client):
        user = a_user("ola@staff.test", is_staff=True)
        client.force_login(user)
        allow(user, "view_invoice")
        address = f'href="{reverse("staff_reports")}"'
        assert address not in client.get(reverse("staff_invoices")).content.decode()
        allow(user, "view_report")
        assert address in client.get(reverse("staff_invoices")).content.decode()


class TestWithoutAnything:
    def test_each_page_says_when_its_first_figures_come(self, staff):
        said = {name: see(staff, name) for name in PAGES}
        assert "with the first invoice" in said["staff_reports"]
        assert "The first figures are here with the first invoice" in said["staff_report_revenue"]
        assert "Comparisons begin with the second month that is over" in said["staff_report_growth"]
        assert "The first figures are here with the first invoice" in said["staff_report_prices"]
        assert "looks at all running services once a day" in said["staff_report_outgrown"]

    @pytest.mark.parametrize("name", TABLES)
    def test_each_table_is_only_its_head(self, staff, name):
        text = b"".join(staff.get(reverse(name)).streaming_content).decode()
        assert len(text.splitlines()) <= 1


class TestWhatTheySay:
    def test_the_index_has_a_figure_of_each(self, staff):
        filled()
        counted()
        said = see(staff, "staff_reports")
        assert "$54.00 in October 2026" in said
        assert "2 of 2 metrics grew in October 2026" in said
        assert "$1.00 per GB of Disk space" in said or "$1.00 per mailbox of Mailboxes" in said
        assert "0 services, as of today, 08:00" in said

    def test_revenue_is_held_against_the_documents(self, staff):
        filled()
        counted()
        said = see(staff, "staff_report_revenue")
        assert "Equal to the documents" in said
        assert "4 invoices of $110.00 less 1 credit note of $1.25 were issued in these months: $108.75." in said

    def test_revenue_that_is_not_the_documents_is_an_alarm(self, staff):
        filled()
        counted()
        counting.LineSum.objects.filter(kind="recurring").update(amount=1)
        assert "This is not what the documents come to" in see(staff, "staff_report_revenue")

    def test_revenue_by_use(self, staff):
        filled()
        counted()
        said = words(staff.get(reverse("staff_report_revenue"), {"by": "use"}))
        assert "By the month in which the period of a line begins" in said
        assert "Equal to the documents" not in said

    def test_one_currency_alone(self, staff):
        filled(currencies=("USD", "EUR"))
        counted()
        every = see(staff, "staff_report_revenue")
        assert "$108.75" in every
        assert "€108.75" in every
        assert "$" not in words(staff.get(reverse("staff_report_revenue"), {"currency": "EUR"}))

    def test_months_that_cannot_be_are_said(self, staff):
        filled()
        counted()
        asked = {"first": "2026-11", "last": "2026-10"}
        said = words(staff.get(reverse("staff_report_revenue"), asked))
        assert "First month: Choose a month that is not after the last one." in said
        for odd in ("2026-13", "1", "'", "2026-10'--"):
            said = words(staff.get(reverse("staff_report_revenue"), {"first": odd, "product": odd, "currency": odd}))
            assert "This cannot be shown. What is below is the usual." in said

    @pytest.mark.parametrize("name", PAGES[1:])
    def test_what_is_typed_into_an_address_breaks_no_page(self, staff, name):
        filled(products=2, currencies=("USD", "EUR"))
        counted()
        for odd in ("", "0", "-1", "9" * 30, "٣", "x", "\x00", "<script>"):
            names = ("first", "last", "product", "currency", "metric", "setting", "terms", "percent", "page", "by")
            assert staff.get(reverse(name), dict.fromkeys(names, odd)).status_code == 200
            for each in names:
                assert staff.get(reverse(name), {each: odd}).status_code == 200

    def test_one_product_alone(self, staff):
        filled(products=2)
        counted()
        product = a_product("Web 1").pk
        for name in ("staff_report_revenue", "staff_report_growth", "staff_report_prices"):
            page = staff.get(reverse(name), {"product": product})
            shown = page.context["revenues"][0].table if "revenues" in page.context else page.context["table"]
            assert {row.group for row in shown.rows} == {"", "Web 1"}
            assert "This cannot be shown" not in words(page)

    def test_growth_leads_to_the_months_of_a_metric(self, staff):
        filled(products=2)
        counted()
        page = staff.get(reverse("staff_report_growth"))
        assert "4 of 4 metrics were used more in October 2026" in words(page)
        link = next(cell.head.link for cell in page.context["table"].rows if cell.head.link)
        said = words(staff.get(reverse("staff_report_growth") + link))
        assert "Disk space of Web 0" in said
        assert "4 GB" in said
        assert "+33.3%" in said

    def test_prices_lead_to_the_months_of_a_metric(self, staff):
        filled()
        counted()
        page = staff.get(reverse("staff_report_prices"))
        assert "October 2026, USD" in words(page)
        link = next(cell.head.link for cell in page.context["table"].rows if cell.head.link)
        said = words(staff.get(reverse("staff_report_prices") + link))
        assert "Disk space of Web 0" in said
        assert "Prices are per GB" in said

    def test_outgrown_plans_have_a_reason_and_a_way_to_the_service(self, staff):
        small = sold("Small", "10", "5", "1")
        sold("Big", "20", "30", "0.50")
        service = billed(small, 25, 25, 25)
        fitting.look(at=at(NOW))
        page = staff.get(reverse("staff_report_outgrown"))
        said = words(page)
        assert "Mailboxes was above what is included for 3 terms in a row" in said
        assert "usage costs 200% of the recurring price" in said
        assert "Big would have cost $30.00 less over the last 3 terms" in said
        assert reverse("staff_service", args=[service.public_id]) in page.content.decode()
        said = words(staff.get(reverse("staff_report_outgrown"), {"terms": "6", "percent": "300", "cheaper": "no"}))
        assert "By this rule every service fits its plan." in said


class TestCSV:
    def table(self, staff, name, **asked):
        response = staff.get(reverse(name), asked)
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        return b"".join(response.streaming_content).decode().splitlines()

    def test_revenue(self, staff):
        filled()
        counted()
        rows = self.table(staff, "staff_report_revenue_csv", first="2026-10", last="2026-11")
        assert rows == [
            "currency,product,part,2026-10,2026-11,Total",
            "USD,Web 0,,54,54.75,108.75",
            "USD,Web 0,Recurring,48,48,96",
            "USD,Web 0,Disk space,3,4,7",
            "USD,Web 0,Mailboxes,3,4,7",
            "USD,Web 0,Given back by credit notes,,-1.25,-1.25",
            "USD,All products,,54,54.75,108.75",
        ]

    def test_growth(self, staff):
        filled()
        counted()
        head, first, *_ = self.table(staff, "staff_report_growth_csv")
        assert head.startswith("product,Metric,2026-10,2026-09,")
        assert first == 'Web 0,"Disk space, GB",4,3,33.3,,,1'

    def test_prices(self, staff):
        filled()
        counted()
        head, first, *_ = self.table(staff, "staff_report_prices_csv")
        assert head.startswith("currency,product,Metric,Billed,Quantity,Price per unit,")
        assert first == 'USD,Web 0,"Disk space, GB",3,3,1,1,1,1,$1.00 per GB'

    def test_outgrown_has_all_of_them_and_no_formula(self, staff):
        billed(sold("@Small", "10", "5", "1"), 25, client=a_client("=1+1"), name="+alice")
        fitting.look(at=at(NOW))
        head, row = self.table(staff, "staff_report_outgrown_csv", terms="1")
        assert head == "currency,client,terms,Service,Product,Why,Usage,Recurring,Would cost,As,Less by"
        assert row.startswith("USD,'=1+1,1,'+alice,'@Small,Mailboxes was above")


@pytest.mark.parametrize("name", [*PAGES, *TABLES])
def test_more_products_currencies_and_months_take_no_more_queries(staff, name):
    filled()
    counted()
    few = queries(staff, name)
    filled_more()
    counted()
    assert queries(staff, name) == few
    assert few <= 20


def filled_more():
    for number in range(1, 5):
        for currency in ("USD", "EUR"):
            name = f"{currency}+{number}"
            product = a_product(f"More {number}", currency=currency)
            owner = a_client(f"client {name}", currency)
            service = a_service(product, owner, a_tenant(a_server(name), name), anchor="2025-09-10", name=name)
            setting = a_setting(product, DISK, enabled_from=None)
            if not setting.versions.exists():
                priced(setting, ("0", "1"))
            used(service.tenant, DISK, "2026-10-31", 4 * 10**9)
            line = usage(service, setting, ("2026-10-01", "4"))
            issued(owner, fee(service, title=product.name), line, when="2026-10-10 07:00")


def queries(staff, name):
    with CaptureQueriesContext(
        connection,
    ) as seen:
        response = staff.get(reverse(name))
        if response.streaming:
            b"".join(response.streaming_content)
    return len(seen)
