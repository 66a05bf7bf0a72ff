"""The list of usage that changed after it was billed, and what it comes to."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from invoicing import corrections
from invoicing.billing import create_invoices
from invoicing.models import Difference, Invoice
from metering.correcting import correct
from metering.models import Metric
from tests.builders import (
    EMAILS,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-10-25 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def billed(*names):
    """Services that sent 30 emails at $1 each, on their invoices."""
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), ("0", "1"))
    for name in names:
        a_service(product, a_client(name), a_tenant(server, name), anchor="2026-09-19")
    for day, emails in (("2026-10-10", 30), ("2026-10-11", 0), ("2026-10-19", 0)):
        collected(server, f"{day} 12:00", *[tenant_says(name, emails=emails) for name in names])
    create_invoices(on=at("2026-10-19").date(), at=at("2026-10-19 13:00"))
    return server


def corrected(server, name, value):
    correct(
        tenant=server.tenants.get(key=name),
        metric=Metric.objects.get(system_name="emails"),
        start=at("2026-10-10").date(),
        value=Decimal(value),
        reason="counted twice",
        by=None,
        at=timezone.now(),
    )
    corrections.assess(timezone.now())


def text(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_every_difference_says_what_was_billed_what_it_costs_now_and_on_which_invoice(ines):
    server = billed("less", "more")
    corrected(server, "less", "10")
    corrected(server, "more", "34")
    shown = text(ines.get(reverse("staff_differences")))
    assert "2 lines have usage that changed" in shown
    assert "30 emails" in shown
    assert "10 emails" in shown
    assert "−$20.00" in shown
    assert "+$4.00" in shown
    assert "2026-00001</a>" in shown


def test_settling_now_makes_the_document_and_strikes_the_difference(ines):
    server = billed("less")
    corrected(server, "less", "10")
    service = Difference.objects.get().service
    shown = text(ines.post(reverse("staff_service_settle", args=[service.public_id]), follow=True))
    assert "Settled for less: C2026-00001 over $20.00." in shown
    assert "No usage changed after it was billed." in shown
    assert Invoice.objects.filter(kind="credit_note").count() == 1
    shown = text(ines.post(reverse("staff_service_settle", args=[service.public_id]), follow=True))
    assert "Nothing of less differs any more" in shown


def test_usage_that_was_put_back_differs_no_more(ines):
    server = billed("same")
    corrected(server, "same", "10")
    corrected(server, "same", "30")
    assert "none any more" in text(ines.get(reverse("staff_differences")))


def test_what_cannot_be_rated_says_why_and_waits(ines):
    server = billed("huge", "other")
    corrected(server, "huge", Decimal(10) ** 16)
    corrected(server, "other", "34")
    shown = text(ines.get(reverse("staff_differences")))
    assert "Emails sent of Business Web cannot be rated" in shown
    assert "+$4.00" in shown
    service = Difference.objects.get(service__name="huge").service
    shown = text(ines.post(reverse("staff_service_settle", args=[service.public_id]), follow=True))
    assert "Nothing is to be charged to huge or given back now. What differs waits for its next invoice." in shown
    assert Difference.objects.filter(service=service).exists()


def test_differences_need_a_person_on_the_first_page(ines):
    server = billed("less")
    corrected(server, "less", "10")
    assert "1 line has usage that changed after it was billed" in text(ines.get(reverse("staff_home")))


def test_the_page_takes_the_same_number_of_queries_for_many(ines):
    names = [f"tenant{number}" for number in range(8)]
    server = billed(*names)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            ines.get(reverse("staff_differences"))
        return len(captured)

    corrected(server, names[0], "10")
    queries()
    before = queries()
    for name in names[1:]:
        corrected(server, name, "10")
    assert queries() == before
