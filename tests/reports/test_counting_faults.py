"""No document is counted twice or left out, whoever dies or works beside the count."""

import os
import signal
import threading
import time
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import Sum

from invoicing import issuing
from invoicing.billing import create_invoices
from invoicing.models import Invoice, InvoicingSpan, Line
from reports import counting
from reports.models import Counted, DocumentSum, LineSum
from tests.builders import a_client, a_product, a_service, at

pytestmark = pytest.mark.django_db(transaction=True)

DAY = at("2026-11-19 07:00")
SERVICES = 60


@pytest.fixture(autouse=True)
def _on():
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))


def due_services(count=SERVICES):
    for number in range(count):
        a_service(a_product(), a_client(f"client {number}"), anchor="2026-10-19", name=f"{number}")


def assert_all_is_counted():
    assert DocumentSum.objects.aggregate(all=Sum("documents"))["all"] == Invoice.objects.count()
    assert LineSum.objects.aggregate(all=Sum("lines"))["all"] == Line.objects.count()
    assert list(counting.differences()) == []


def child(does):
    """Do something in a process of its own. Returns its id."""
    pid = os.fork()
    if pid == 0:
        # The parent's connection must be neither used nor closed here.
        connection.connection, kept = None, connection.connection
        try:
            does()
        finally:
            os._exit(0 if kept is not None else 1)
    return pid


def in_a_thread(does):
    def work():
        try:
            does()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_count_that_is_killed_is_finished_by_the_next(moment, monkeypatch):
    due_services(20)
    create_invoices(on=DAY.date(), at=DAY)
    monkeypatch.setattr(counting, "BATCH", 3)
    slowly = counting._next

    def next_slowly(*arguments):
        time.sleep(0.02)
        return slowly(*arguments)

    monkeypatch.setattr(counting, "_next", next_slowly)
    pid = child(lambda: counting.count_documents(at=DAY))
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    counting.count_documents(at=DAY)
    assert_all_is_counted()


def test_a_count_that_dies_between_its_sums_leaves_neither(monkeypatch):
    due_services(3)
    create_invoices(on=DAY.date(), at=DAY)
    monkeypatch.setattr(counting, "_ADD_LINES", "SELECT 1 / 0 WHERE %s::uuid[] IS NOT NULL")
    with pytest.raises(Exception, match="division by zero"):
        counting.count_documents(at=DAY)
    assert not DocumentSum.objects.exists()
    assert not Counted.objects.filter(entry__gt=0).exists()
    monkeypatch.undo()
    counting.count_documents(at=DAY)
    assert_all_is_counted()


def test_two_counts_at_once_count_each_document_once(monkeypatch):
    due_services()
    create_invoices(on=DAY.date(), at=DAY)
    monkeypatch.setattr(counting, "BATCH", 5)
    threads = [in_a_thread(lambda: counting.count_documents(at=DAY)) for _ in range(4)]
    for thread in threads:
        thread.join(30)
    assert_all_is_counted()


def test_documents_that_are_issued_beside_the_count_are_counted_once(monkeypatch):
    due_services()
    monkeypatch.setattr("invoicing.billing.BATCH", 7)
    monkeypatch.setattr(counting, "BATCH", 5)
    run = in_a_thread(lambda: create_invoices(on=DAY.date(), at=DAY))
    while run.is_alive():
        counting.count_documents(at=DAY)
        now = counting.sums()
        assert sum(row.signed for row in now.lines) == sum(row.total for row in now.documents)
    counting.count_documents(at=DAY)
    assert_all_is_counted()
    assert Invoice.objects.count() == SERVICES


def test_a_document_that_is_committed_after_a_later_one_of_another_series_is_not_left_out():
    first, second = a_service(name="first"), a_service(a_product(), a_client("another"), name="second")
    written, seen = threading.Event(), threading.Event()

    def slow_invoice():
        with transaction.atomic():
            issuing.issue([document(first)], on=DAY.date(), at=DAY)
            written.set()
            seen.wait(20)

    slow = in_a_thread(slow_invoice)
    assert written.wait(20)
    # Of the next year, so of another series; its entry is higher, and it is there first.
    with transaction.atomic():
        issuing.issue([document(second)], on=date(2027, 1, 1), at=DAY)
    assert counting.count_documents(at=DAY) == 1
    seen.set()
    slow.join(20)
    entries = dict(Invoice.objects.values_list("client__name", "entry"))
    assert entries["Lindqvist & Moe"] < entries["another"]  # or this would show nothing
    assert counting.count_documents(at=DAY) == 1
    assert_all_is_counted()


def document(service):
    line = issuing.DraftLine(
        kind=Line.Kind.RECURRING,
        service=service,
        title="Business Web",
        detail="",
        start=date(2026, 11, 1),
        end=date(2026, 12, 1),
        exact=Decimal(24),
        amount=Decimal(24),
    )
    return issuing.Document(Invoice.Kind.RENEWAL, service.client, [issuing.Draft(service, [line], [])])
