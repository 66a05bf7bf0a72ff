"""A dry run holds locks until it is rolled back: runs wait for it, and leave nothing out because of it."""

import threading

import pytest
from django.db import connection

from invoicing.billing import create_invoices
from invoicing.models import Invoice, Run
from tests.builders import a_client, a_product, a_service, at

pytestmark = pytest.mark.django_db(transaction=True)

DAY = at("2026-11-19 07:00")


def in_a_thread(does):
    def work():
        try:
            does()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_run_that_begins_during_a_dry_run_bills_every_service_after_it():
    for number in range(3):
        a_service(a_product(), a_client(f"client {number}"), anchor="2026-10-19", name=f"{number}")
    runs = []

    def gather(batch):
        runs.append(in_a_thread(lambda: create_invoices(on=DAY.date(), at=DAY)))
        runs[-1].join(1)
        assert runs[-1].is_alive()  # it waits

    create_invoices(on=DAY.date(), at=DAY, dry_run=True, gather=lambda batch: batch.claimed and gather(batch))
    [run] = runs
    run.join(20)
    assert Invoice.objects.count() == 3
    assert Run.objects.get().services == 3


def test_two_dry_runs_at_once_see_the_same():
    a_service(anchor="2026-10-19")
    seen, others = [], []

    def second():
        seen.append(len(create_invoices(on=DAY.date(), at=DAY, dry_run=True).documents))

    def gather(batch):
        if batch.claimed:
            others.append(in_a_thread(second))
            others[0].join(0.5)

    create_invoices(on=DAY.date(), at=DAY, dry_run=True, gather=gather)
    others[0].join(20)
    assert seen == [1]
