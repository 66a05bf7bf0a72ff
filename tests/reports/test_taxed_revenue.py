"""Revenue is before tax: what documents come to without it, which is what their lines come to."""

from decimal import Decimal

import pytest
import time_machine

from reports import counting, revenue
from reports.models import DocumentSum
from tests.builders import DISK, a_setting, a_staff_user, at
from tests.invoicing.documents import fee, given_back, issued, usage
from tests.invoicing.pages import see
from tests.reports.test_revenue_sums import NOVEMBER, OCTOBER, a_metered_service, count, revenue_of, shown
from tests.reports.test_verify_reports import verified

pytestmark = pytest.mark.django_db

TAXED = {"tax_name": "VAT", "tax_percent": 19}


@pytest.fixture
def service():
    """33.00 before tax in October, of which 4.00 was given back in November, and an invoice without tax of 24.00."""
    service = a_metered_service()
    disk = usage(service, a_setting(service.product, DISK), ("2026-10-01", "9"))
    october = {"total": Decimal("39.27"), "tax": Decimal("6.27"), **TAXED}
    invoice = issued(service.client, fee(service), disk, when="2026-10-02 07:00", **october)
    note = {"total": Decimal("4.76"), "tax": Decimal("0.76"), **TAXED}
    issued(service.client, given_back(disk.line, "4"), when="2026-11-05 07:00", credits=invoice, **note)
    issued(service.client, fee(service), when="2026-11-06 07:00")
    return service


def is_before_tax():
    found = revenue_of()
    assert found.by_month == {OCTOBER: 33, NOVEMBER: 20}
    assert shown(found.table)["", "All products"] == ["$33.00", "$20.00", "$53.00"]
    assert (found.documents.charged, found.documents.given_back) == (57, 4)
    assert found.is_equal
    assert list(counting.differences()) == []
    assert revenue.headline(counting.sums(), "USD", at("2026-11-19 08:00").date()).total == 33
    return True


def test_what_is_counted_is_before_tax(service):
    count()
    assert sum(row.total for row in DocumentSum.objects.filter(is_credit=False)) == 57
    assert is_before_tax()


def test_so_is_what_was_issued_since(service):
    assert is_before_tax()
    assert not DocumentSum.objects.exists()


def test_sums_are_held_against_the_documents_before_tax(service):
    count()
    assert verified() == "The sums are what the documents come to.\n"
    DocumentSum.objects.filter(month=OCTOBER).update(total=Decimal("39.27"))
    [said] = counting.differences()
    assert said == "2026-10, USD, False: the sums say 1 documents of 39.2700, the documents 1 of 33.0000"


def test_the_page_says_that_it_is_before_tax(service, client):
    client.force_login(a_staff_user())
    with time_machine.travel(at("2026-11-19 08:00"), tick=False):
        said = see(client, "staff_report_revenue")
    assert "What invoices charged before tax, less what credit notes gave back." in said
    assert "2 invoices of $57.00 less 1 credit note of $4.00 were issued in these months: $53.00." in said
    assert "Equal to the documents" in said
