"""Credit notes of the same invoice at the same time do not round the same cent."""

import threading
from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import QuerySet

from invoicing import corrections, taxes
from invoicing.models import Difference, Invoice, InvoicingSpan
from invoicing.verification import verify
from metering.correcting import correct
from metering.decimals import exact_sum
from metering.models import Metric
from tests.builders import (
    GB,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    priced,
    tenant_says,
)
from tests.invoicing.test_tax import a_taxed_client, bill

pytestmark = pytest.mark.django_db(transaction=True)

ON, AT = date(2026, 11, 5), at("2026-11-05 12:00")
NAMES = ("alice", "bob")


@pytest.fixture
def services():
    """Two services on one invoice of 1.00, with 1% of tax: half a cent of each. All of its usage was a mistake."""
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    server, product = a_server(), a_product(price="0")
    priced(a_setting(product, TRAFFIC), ("0", "0.50"), notation="above")
    client = a_taxed_client("1")
    services = [a_service(product, client, a_tenant(server, name)) for name in NAMES]
    collected(server, "2026-10-31 18:00", *(tenant_says(name, traffic=GB) for name in NAMES))
    collected(server, "2026-11-01 06:00", *(tenant_says(name, traffic=0) for name in NAMES))
    bill()
    assert (Invoice.objects.get().net, Invoice.objects.get().tax) == (1, Decimal("0.01"))
    for service in services:
        correct(
            tenant=service.tenant,
            metric=Metric.objects.get(system_name="traffic"),
            start=date(2026, 10, 1),
            value=Decimal(0),
            reason="a test of ours",
            by=None,
            at=at("2026-11-03 12:00"),
        )
    corrections.assess(AT)
    assert Difference.objects.count() == 2
    return services


def settle_at_once(services, monkeypatch):
    """Settle each service in a connection of its own. Each waits a while, once it knows what was given back, for the
    other to know it, too."""
    both, problems, credited = threading.Barrier(len(services)), [], taxes.credited

    def slowly(invoices):
        found = credited(invoices)
        with suppress(threading.BrokenBarrierError):  # the other waits for the lock
            both.wait(2)
        return found

    def work(service):
        try:
            corrections.settle(service=service, on=ON, at=AT)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(taxes, "credited", slowly)
    threads = [threading.Thread(target=work, args=[service]) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    return both.broken


def test_all_of_an_invoice_that_is_given_back_at_once_has_just_its_tax(services, monkeypatch):
    assert settle_at_once(services, monkeypatch)  # one of them waited
    notes = Invoice.objects.filter(kind="credit_note")
    assert sorted(note.tax for note in notes) == [0, Decimal("0.01")]
    assert exact_sum(note.total for note in notes) == Invoice.objects.get(credits=None).total
    assert [str(finding) for finding in verify()] == []


def test_without_the_lock_they_give_back_more_than_the_tax(services, monkeypatch):
    """Or the test above would prove nothing; and it is found."""
    lock = QuerySet.select_for_update

    def unless_it_is_of_invoices(rows, **options):
        return rows if rows.model is Invoice else lock(rows, **options)

    monkeypatch.setattr(QuerySet, "select_for_update", unless_it_is_of_invoices)
    assert not settle_at_once(services, monkeypatch)
    notes = Invoice.objects.filter(kind="credit_note")
    assert exact_sum(note.tax for note in notes) == Decimal("0.02")
    found = [str(finding) for finding in verify()]
    assert "2026-00001: 0.0200 of its tax was given back with 1.0000, of which the tax is 0.01" in found
