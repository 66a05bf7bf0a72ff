"""What day it is, is decided by the site's calendar, wherever who asks is; only instants are shown in their zone."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from catalog.models import PricingVersion, Service, User
from invoicing import usage_invoicing
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line, Payment, Run
from metering import dates
from tests.builders import (
    DISK,
    GB,
    MAILBOXES,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.catalog.pricing_form import address as pricing_address
from tests.catalog.pricing_form import errors_of, typed
from tests.invoicing.documents import an_invoice
from tests.people import client_user

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
APPS = ("audit", "billing_site", "catalog", "invoicing", "metering", "reports")
#: In Auckland it is tomorrow then, and in Pago Pago yesterday.
NOON, MORNING = "2026-11-30 12:00", "2026-11-30 06:00"


@pytest.fixture
def someone(settings):
    """A browser of staff who live somewhere."""
    settings.WITHOUT_WORKER = True

    def in_zone(zone):
        user = a_staff_user()
        User.objects.filter(pk=user.pk).update(time_zone=zone)
        browser = Browser()
        browser.force_login(user)
        return browser

    return in_zone


def test_no_code_asks_for_the_day_of_the_zone_that_is_active():
    found = [
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if re.search(r"\blocaldate\b|\bdate\.today\b", path.read_text())
    ]
    assert found == ["metering/dates.py"]


def test_the_day_of_the_site_does_not_move_with_the_active_zone():
    for zone in ("Pacific/Auckland", "Pacific/Pago_Pago"):
        with timezone.override(zone):
            assert dates.site_day(at(NOON)) == date(2026, 11, 30)
            assert dates.site_day(at(MORNING)) == date(2026, 11, 30)


def test_a_term_that_begins_tomorrow_is_not_billed_from_where_it_is_tomorrow_already(someone, time_machine):
    time_machine.move_to(at(NOON), tick=False)
    service = a_service(anchor="2026-12-01", next_term=0)
    browser = someone("Pacific/Auckland")
    browser.post(reverse("staff_runs"))
    browser.post(reverse("staff_service_bill", args=[service.public_id]))
    assert {run.on for run in Run.objects.all()} == {date(2026, 11, 30)}
    assert not Invoice.objects.exists()


def test_a_service_ends_on_the_day_of_the_site(someone, time_machine):
    time_machine.move_to(at(NOON), tick=False)
    service = a_service(next_term=2)
    someone("Pacific/Auckland").post(
        reverse("staff_service_terminate", args=[service.public_id]), {"when_down": "last_values"}
    )
    assert Service.objects.get().terminated_on == date(2026, 11, 30)


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Pago_Pago"])
@pytest.mark.parametrize(("days", "is_taken"), [(0, True), (1, False)])
def test_a_payment_is_of_the_days_of_the_site(someone, time_machine, zone, days, is_taken):
    time_machine.move_to(at(NOON if zone.endswith("land") else MORNING), tick=False)
    invoice = an_invoice("100")
    browser, address = someone(zone), reverse("staff_payment", args=[invoice.pk])
    form = browser.get(address).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields}
    received = date(2026, 11, 30) + timedelta(days=days)
    browser.post(address, sent | {"received_on": str(received), "amount": "10"})
    assert Payment.objects.exists() is is_taken


def test_what_is_used_until_the_day_is_over_is_billed_whoever_pressed_the_button_before(someone, time_machine):
    time_machine.move_to(at(NOON), tick=False)
    service = a_service(tenant=a_tenant(a_server()), anchor="2026-11-01")
    priced(a_setting(service.product, DISK), ("0", "1"), notation="above", unit_code="GB")
    collected(service.tenant.server, "2026-11-30 11:00", tenant_says("alice", disk=4 * GB))
    with panel(says(tenant_says("alice", disk=4 * GB))):
        someone("Pacific/Auckland").post(reverse("staff_service_bill", args=[service.public_id]))
    for when in ("2026-11-30 23:30", "2026-12-01 01:30"):
        collected(service.tenant.server, when, tenant_says("alice", disk=40 * GB))
    with panel(says(tenant_says("alice", disk=40 * GB))):
        create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 08:00"))
    assert [line.amount for line in Line.objects.filter(kind="usage")] == [40]


def test_nobody_backdates_a_price_from_where_it_is_yesterday_still(client, time_machine):
    time_machine.move_to(at(MORNING), tick=False)
    product = a_product()
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    clerk = a_user("clerk@staff.test", is_staff=True, time_zone="Pacific/Pago_Pago")
    may = Permission.objects.filter(content_type__app_label="catalog").exclude(codename="backdate_pricing")
    clerk.user_permissions.set(may)
    client.force_login(clerk)
    response = client.post(pricing_address(product), typed(effective_from="2026-11-29", after="1"))
    assert "effective_from" in errors_of(response)
    assert PricingVersion.objects.count() == 1


def test_usage_invoicing_ends_on_the_day_of_the_site(someone, time_machine):
    time_machine.move_to(at(MORNING), tick=False)
    someone("Pacific/Pago_Pago").post(reverse("staff_usage_invoicing"), {"on": "0"})
    assert usage_invoicing.is_on(date(2026, 11, 29))
    assert not usage_invoicing.is_on(date(2026, 11, 30))


def test_an_invoice_is_overdue_after_its_last_day_at_the_site(client, time_machine):
    time_machine.move_to(at(NOON), tick=False)
    invoice = an_invoice("100", due_on="2026-11-30")
    client.force_login(client_user(invoice.client, time_zone="Pacific/Auckland"))

    def stands():
        return client.get(reverse("portal_invoices")).content.decode().split(invoice.number)[1]

    assert "Overdue" not in stands()
    time_machine.move_to(at("2026-12-01 00:30"), tick=False)
    assert "Overdue" in stands()
