"""Two workers with four runs each, and a person at the buttons, on the same services: each term is billed once.

RACE_ROUNDS says for how many months (10), RACE_SERVICES over how many services (60).
"""

import logging
import os
import traceback
from collections import Counter
from contextlib import contextmanager
from datetime import date, timedelta
from multiprocessing import get_context

import pytest
import time_machine
from django.db import connection
from django.db.models import QuerySet
from django.test import Client as Browser
from django.urls import reverse

from billing_site import clock
from catalog.models import Client, PricingVersion, Service, User
from catalog.terms import Cycle, term
from invoicing import issuing
from invoicing.billing import create_invoices
from invoicing.models import BilledPeriod, Claim, Deferral, Invoice, InvoicingSpan, Line, Parked, Series
from invoicing.verification import verify
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.catalog.pricing_form import address, typed

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = int(os.environ.get("RACE_ROUNDS", "10"))
SERVICES = int(os.environ.get("RACE_SERVICES", "60"))
WORKERS, PROCESSES = 2, 4
#: In each round, so many services are terminated by a person while they are billed.
ENDING = 2
ANCHOR = date(2026, 10, 1)
#: Connections that must outlive a process.
PARENTS = []


@pytest.fixture
def server(monkeypatch):
    """Services of clients who have two each, all due on the first of the month, in many small batches."""
    monkeypatch.setattr("invoicing.billing.BATCH", 6)
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    server, product = a_server(), a_product()
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    for number in range(SERVICES):
        if number % 2 == 0:
            client = Client.objects.create(name=f"client {number:03}", currency="USD")
        a_service(product, client, a_tenant(server, f"t{number}"))
    a_staff_user()
    return server


def answers(month: int):
    """What the servers say in a month: it differs from month to month, and by tenant."""
    return [tenant_says(f"t{n}", mailboxes=month + n % 9, emails=month, traffic=n % 7 * GB) for n in range(SERVICES)]


def measured(server, month: int) -> date:
    """Let everything be measured for a month that is over. Returns the day on which it is billed."""
    due = term(ANCHOR, Cycle.MONTHLY, month).start
    collected(server, f"{due - timedelta(days=1)} 18:00", *answers(month), accept_changes=True)
    collected(server, f"{due} 06:00", *answers(month + 1), accept_changes=True)
    clock.confirm(at=at(f"{due} 06:59"), by="a person")
    return due


def fork(does, trouble) -> int:
    """Do something in a process of its own, which writes down what goes wrong in it. Returns its number."""
    if child := os.fork():
        return child
    # The parent's connection must be neither used nor closed here.
    PARENTS.append(connection.connection)
    connection.connection = None
    path = trouble / f"{os.getpid()}.txt"
    handler = logging.FileHandler(path, delay=True)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    logging.getLogger("invoicing").addHandler(handler)
    try:
        does()
        os._exit(0)
    except BaseException:
        path.write_text(traceback.format_exc())
    finally:
        os._exit(1)


def ended(children) -> bool:
    """Wait for processes. Returns whether all of them ended well."""
    codes = [os.waitpid(child, 0)[1] for child in children]
    return not any(codes)


def race(on: date, ending: list[Service], trouble, tampers=lambda: None) -> bool:
    """Let two workers with four runs each and a person go at the same services, and wait for all of them.

    Returns whether all of them ended well.
    """
    start = get_context("fork").Barrier(WORKERS * PROCESSES + 1)

    def run():
        tampers()
        start.wait(30)
        create_invoices(on=on, at=at(f"{on} 07:00"))

    def worker():
        if not ended([fork(run, trouble) for _ in range(PROCESSES)]):
            os._exit(1)

    def person():
        tampers()
        with time_machine.travel(at(f"{on} 08:00")), panel(says(*answers(on.month))):
            ines = Browser()
            ines.force_login(User.objects.get(email="ines@staff.test"))
            start.wait(30)
            press_the_buttons(ines, on, ending)

    return ended([*(fork(worker, trouble) for _ in range(WORKERS)), fork(person, trouble)])


def press_the_buttons(ines, on: date, ending: list[Service]) -> None:
    """Bill, look first, refresh, terminate, and change a price: every page must answer."""

    def press(address, **data):
        response = ines.post(address, data)
        assert response.status_code in (200, 302), (address, response.status_code)

    runs, product = reverse("staff_runs"), ending[0].product
    versions = PricingVersion.objects.filter(setting__product=product, setting__metric=a_metric(MAILBOXES))
    for number, service in enumerate(ending):
        press(reverse("staff_service_refresh", args=[service.public_id]))
        press(runs, bill="1")
        press(reverse("staff_service_terminate", args=[service.public_id]))
        press(reverse("staff_preview"))
        day = on + timedelta(days=40 + number)
        press(address(product), **typed(effective_from=str(day), after=str(versions.count()), price__1__USD="2.50"))
    assert ines.get(runs).status_code == 200


def take_out_lock_and_claim() -> None:
    QuerySet.select_for_update = lambda self, **options: self
    issuing.claim = lambda kind, drafts, starts, at: list(drafts)


@contextmanager
def nothing_unique():
    """Let the database accept that a usage period is billed twice, for a while."""
    [only_once] = [each for each in BilledPeriod._meta.constraints if each.name == "each_period_is_billed_once"]
    with connection.schema_editor() as editor:
        editor.remove_constraint(BilledPeriod, only_once)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(f"TRUNCATE {BilledPeriod._meta.db_table}")
            cursor.execute("RESET session_replication_role")
        with connection.schema_editor() as editor:
            editor.add_constraint(BilledPeriod, only_once)


def billed_twice() -> list:
    """Terms and usage periods that are on more than one invoice."""
    terms = Counter(Line.objects.filter(kind="recurring").values_list("service", "start"))
    periods = Counter(BilledPeriod.objects.values_list("tenant_id", "metric_id", "start"))
    return [each for counts in (terms, periods) for each, count in counts.items() if count > 1]


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def test_two_workers_and_a_person_bill_each_term_once(server, tmp_path):
    living = list(Service.objects.select_related("product").order_by("pk"))
    before = deadlocks()
    for month in range(1, ROUNDS + 1):
        on = measured(server, month)
        ending = [living.pop() for _ in range(ENDING)]
        well = race(on, ending, tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == []
        assert well
        assert billed_twice() == []
        assert set(Line.objects.filter(kind="recurring", start=on).values_list("service", flat=True)) >= {
            service.pk for service in living
        }
        assert not Service.objects.due(on).exists()
        assert set(Service.objects.filter(pk__in=[each.pk for each in ending]).values_list("status", flat=True)) == {
            "terminated"
        }
    assert Claim.objects.filter(kind="termination").count() == ENDING * ROUNDS
    assert PricingVersion.objects.filter(setting__metric=a_metric(MAILBOXES)).count() == 1 + ENDING * ROUNDS
    assert not Parked.objects.exists()
    assert not Deferral.objects.exists()
    for code in Series.objects.values_list("code", flat=True):
        numbers = list(Invoice.objects.filter(series=code).order_by("number").values_list("number", flat=True))
        assert numbers == [f"{code}-{number:05}" for number in range(1, len(numbers) + 1)]
    traffic = BilledPeriod.objects.filter(metric_id=a_metric(TRAFFIC).pk, tenant_id=living[-1].tenant_id)
    assert traffic.count() == ROUNDS
    assert [str(finding) for finding in verify()] == []
    assert deadlocks() == before


def test_without_the_lock_and_the_claim_the_same_race_bills_twice(server, tmp_path):
    """Or the test above would prove nothing."""
    on = measured(server, 1)
    ending = list(Service.objects.select_related("product").order_by("-pk")[:ENDING])
    with nothing_unique():
        race(on, ending, tmp_path, tampers=take_out_lock_and_claim)
        assert billed_twice()
