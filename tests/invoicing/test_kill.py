"""A run that is killed at any moment leaves nothing half done, and the next one finishes the rest.

KILLS says how many times runs are killed at random moments (200), KILL_SERVICES over how many services (300).
"""

import os
import random
import signal
import time
from datetime import date

import pytest
from django.db import connection
from django.db.models import Sum

from catalog.models import Client, Service
from catalog.terms import Cycle, term
from invoicing import batch, billing, issuing
from invoicing.billing import create_invoices
from invoicing.models import BilledPeriod, Claim, Deferral, Invoice, InvoicingSpan, Line, Parked
from invoicing.verification import verify
from tests.builders import (
    GB,
    MAILBOXES,
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

pytestmark = pytest.mark.django_db(transaction=True)

KILLS = int(os.environ.get("KILLS", "200"))
SERVICES = int(os.environ.get("KILL_SERVICES", "300"))
ANCHOR = date(2026, 10, 1)


@pytest.fixture
def server(monkeypatch):
    """Services of clients who have three each, all due on the first of the month."""
    monkeypatch.setattr("invoicing.billing.BATCH", 40)
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, TRAFFIC), ("0", "1"), included="1", notation="above")
    for number in range(SERVICES):
        if number % 3 == 0:
            client = Client.objects.create(name=f"client {number}", currency="USD")
        a_service(product, client, a_tenant(server, f"t{number}"))
    return server


def measured(server, month: int) -> date:
    """Let everything be measured for a month that is over. Returns the day on which it is billed."""
    due = term(ANCHOR, Cycle.MONTHLY, month).start
    for day, hour in ((date.fromordinal(due.toordinal() - 1), 18), (due, 6)):
        answers = (tenant_says(f"t{n}", mailboxes=n % 30, traffic=(n % 7) * GB) for n in range(SERVICES))
        collected(server, f"{day} {hour:02}:00", *answers, accept_changes=True)
    return due


def killed(on: date, after: float | None = None, crash=lambda: None) -> bool:
    """Run the billing in a process of its own and kill it after some seconds, unless it was done by then."""
    child = os.fork()
    if child == 0:
        # The parent's connection must be neither used nor closed here.
        connection.connection, kept = None, connection.connection
        try:
            crash()
            create_invoices(on=on, at=at(f"{on} 07:00"))
        finally:
            os._exit(0 if kept is not None else 1)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def finish(on: date) -> None:
    """Run until nothing is due; what a killed process held is free once the database has noticed."""
    deadline = time.monotonic() + 30
    while Service.objects.due(on).exists():
        assert time.monotonic() < deadline, "services stay due"
        create_invoices(on=on, at=at(f"{on} 07:00"))


def check(months: int) -> None:
    assert [str(finding) for finding in verify()] == []
    numbers = list(
        Invoice.objects.filter(number__startswith="2026").order_by("number").values_list("number", flat=True)
    )
    assert numbers == [f"2026-{number:05}" for number in range(1, len(numbers) + 1)]
    assert Claim.objects.count() == SERVICES * months
    assert Line.objects.filter(kind="recurring").count() == SERVICES * months
    assert BilledPeriod.objects.count() == SERVICES * months * 2
    assert not Parked.objects.exists()
    assert not Deferral.objects.exists()
    traffic = sum((n % 7) * GB for n in range(SERVICES)) * months
    assert BilledPeriod.objects.filter(value__gte=GB).aggregate(used=Sum("value"))["used"] == traffic
    sums = Line.objects.aggregate(total=Sum("amount"))["total"]
    assert sums == Invoice.objects.aggregate(total=Sum("total"))["total"]


def test_runs_killed_at_random_moments_bill_everything_once(server):
    chance, kills, months = random.Random(20261121), 0, 0
    while kills < KILLS:
        months += 1
        on = measured(server, months)
        for _ in range(KILLS):
            if not Service.objects.due(on).exists() or kills >= KILLS:
                break
            kills += killed(on, after=chance.uniform(0.005, 0.12))
        finish(on)
    check(months)


def die(*_args, **_values):
    os.kill(os.getpid(), signal.SIGKILL)


def after_doing(function):
    """Let a function do its work, and die."""

    def does_and_dies(*args, **values):
        function(*args, **values)
        die()

    return does_and_dies


#: Where a process may die: before or after each part of a batch, and between two batches.
POINTS = [
    (module, name, when)
    for module, name in [
        (issuing, "claim"),
        (issuing, "_number"),
        (issuing, "_copy"),
        (issuing, "_state"),
        (issuing, "_chain_on"),
        (issuing, "issue"),
        (batch, "_move_on"),
        (batch, "park"),
        (batch, "_defer"),
        (billing, "_count"),
        (billing, "_finish"),
    ]
    for when in ("before", "after")
]


def test_a_run_that_dies_at_any_point_of_a_batch_is_finished_by_the_next(server):
    on = measured(server, 1)
    for module, name, when in POINTS:
        whole = getattr(module, name)

        def crash(module=module, name=name, when=when, whole=whole):
            setattr(module, name, die if when == "before" else after_doing(whole))

        assert killed(on, crash=crash), (name, when)
    finish(on)
    check(1)
