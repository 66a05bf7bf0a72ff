"""Several runs at once bill every service once, with numbers that have no gap."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from django.db import connection

from catalog.models import Client, Service
from invoicing.billing import create_invoices
from invoicing.models import Claim, Invoice, Line
from tests.builders import a_product, a_service, at

pytestmark = pytest.mark.django_db(transaction=True)

RUNS, SERVICES = 4, 120


def bill_alone(_):
    try:
        return create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00")).run.services
    finally:
        connection.close()


def test_four_runs_at_once_bill_each_service_once(monkeypatch):
    monkeypatch.setattr("invoicing.billing.BATCH", 7)
    product = a_product("VPS", provider="")
    for number in range(SERVICES):
        client = Client.objects.create(name=f"client {number}", currency="USD")
        a_service(product, client, name=f"vps {number}")
    with ThreadPoolExecutor(RUNS) as runs:
        billed = list(runs.map(bill_alone, range(RUNS)))
    assert sum(billed) == SERVICES
    assert Claim.objects.count() == Line.objects.count() == Invoice.objects.count() == SERVICES
    numbers = sorted(Invoice.objects.values_list("number", flat=True))
    assert numbers == [f"2026-{number:05}" for number in range(1, SERVICES + 1)]
    assert set(Service.objects.values_list("next_term", flat=True)) == {2}
