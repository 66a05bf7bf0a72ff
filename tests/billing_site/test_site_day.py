"""What day it is, is decided by the site's calendar, wherever who asks is; only instants are shown in their zone."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from catalog.models import Service, User
from invoicing.models import Invoice, Payment, Run
from metering import dates
from tests.builders import a_service, a_staff_user, at
from tests.invoicing.documents import an_invoice

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
