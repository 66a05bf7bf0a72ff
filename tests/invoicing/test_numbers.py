"""Numbers of documents: without a gap, by year, and never dated before the one before."""

from datetime import date

import pytest

from invoicing.billing import create_invoices
from invoicing.models import Invoice
from tests.builders import a_client, a_product, a_service, at

pytestmark = pytest.mark.django_db


def bill(on):
    return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def a_vps(name, anchor):
    return a_service(a_product("VPS", provider=""), a_client(name), name=name, anchor=anchor, next_term=0)


def issued():
    return [(one.number, str(one.issued_on)) for one in Invoice.objects.order_by("created_at", "number")]


def test_each_year_has_a_series_of_its_own():
    a_vps("one", "2026-12-31")
    bill("2026-12-31")
    a_vps("two", "2027-01-01")
    bill("2027-01-01")
    assert issued() == [("2026-00001", "2026-12-31"), ("2027-00001", "2027-01-01")]


def test_no_document_is_dated_before_the_one_before_it():
    a_vps("one", "2026-12-10")
    bill("2026-12-10")
    a_vps("two", "2026-12-09")
    bill("2026-12-09")
    assert sorted(issued()) == [("2026-00001", "2026-12-10"), ("2026-00002", "2026-12-10")]


def test_what_is_issued_keeps_the_names_that_it_was_issued_with():
    """I27."""
    service = a_vps("one", "2026-12-10")
    bill("2026-12-10")
    service.product.name, service.client.name = "Renamed", "Renamed"
    service.product.save()
    service.client.save()
    invoice = Invoice.objects.get()
    assert (invoice.lines.get().title, invoice.buyer["name"]) == ("VPS", "one")
