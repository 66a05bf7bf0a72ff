"""Staff say what a product charges above soft limits; terms are versions that hold from a month on."""

from datetime import date

import pytest
import time_machine
from django.urls import reverse

from catalog.models import OverageTerms
from catalog.overage import in_force
from metering import units
from metering.providers import base
from metering.providers.base import BANDWIDTH, MetricType
from tests.builders import a_client, a_product, a_service, a_setting, a_staff_user, a_user, at, panel, priced

pytestmark = pytest.mark.django_db
TRAFFIC = base.Metric(BANDWIDTH, "Bandwidth", MetricType.MONTH, units.GB)
VALID = {
    "is_on": "on",
    "unit_code": "GiB",
    "disk_limit": "10",
    "bandwidth_limit": "",
    "disk-USD": "0.5",
    "bandwidth-USD": "",
    "has_own_invoice": "next",
    "effective_from": "2026-11-01",
    "after": "0",
}


@pytest.fixture(autouse=True)
def in_november():
    with time_machine.travel(at("2026-11-19 09:00"), tick=False):
        yield


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def post(client, product, **values):
    with panel():
        answer = client.post(reverse("staff_overage", args=[product.pk]), VALID | values, follow=True)
    return answer.content.decode()


def test_terms_are_saved_and_shown(ines):
    product = a_product()
    shown = post(ines, product)
    [terms] = OverageTerms.objects.all()
    assert (terms.number, terms.effective_from, terms.disk_limit, terms.bandwidth_limit) == (
        1,
        date(2026, 11, 1),
        10,
        None,
    )
    assert (str(terms.price("disk_used", "USD")), terms.price(BANDWIDTH, "USD")) == ("0.500000000000", None)
    assert "Saved. It holds from November 2026 on." in shown
    assert "10 GiB" in shown
    assert "$0.50 space" in shown


def test_other_terms_are_a_version_and_leave_the_months_before_as_they_were(ines):
    product = a_product()
    post(ines, product)
    post(ines, product, disk_limit="20", effective_from="2026-12-01", after="1")
    known = list(product.overage_terms.all())
    assert [in_force(known, date(2026, month, 1)) for month in (10, 11, 12)] == [None, *known]


def test_charging_ends_with_a_version_that_is_off(ines):
    product = a_product()
    post(ines, product)
    shown = post(ines, product, is_on="", effective_from="2026-12-01", after="1")
    assert "From December 2026 on, Business Web charges nothing above its limits." in shown
    assert in_force(product.overage_terms.all(), date(2026, 12, 1)) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"disk_limit": ""}, "Enter a limit for space, for traffic or for both. 0 charges all of it"),
        ({"disk-USD": ""}, "Enter the price in USD; 0 charges nothing"),
        ({"bandwidth_limit": "100"}, "Enter the price in USD; 0 charges nothing"),
        ({"disk_limit": "1,000"}, "Not a plain number"),
        ({"disk-USD": "-1"}, "Must be 0 or more"),
        ({"effective_from": "2026-10-01"}, "is not one of the available choices"),
        ({"unit_code": "parsec"}, "is not one of the available choices"),
        ({"after": "7"}, "Somebody saved other terms meanwhile."),
    ],
)
def test_what_cannot_be_is_refused_at_its_field_and_nothing_is_saved(ines, values, says):
    shown = post(ines, a_product(), **values)
    assert says.lower() in shown.lower()
    assert not OverageTerms.objects.exists()


def test_every_currency_that_the_product_is_billed_in_needs_a_price(ines):
    product = a_product()
    a_service(product, a_client("Kaffehaus", "EUR"))
    assert "Enter the price in EUR" in post(ines, product)
    post(ines, product, **{"disk-EUR": "0.45"})
    assert OverageTerms.objects.get().price("disk_used", "EUR") is not None


def test_a_client_whose_other_service_is_over_is_billed_in_its_currency_still(ines):
    product, client = a_product(), a_client("Kaffehaus", "EUR")
    a_service(product, client, name="now")
    a_service(product, client, name="before", status="terminated", terminated_on=at("2026-10-20").date())
    assert "Enter the price in EUR" in post(ines, product)


def test_traffic_that_is_billed_as_a_metric_too_is_warned_of(ines):
    product = a_product()
    priced(a_setting(product, TRAFFIC), ("0", "1"))
    shown = post(ines, product, bandwidth_limit="100", **{"bandwidth-USD": "0.1"})
    assert "so clients pay for it twice" in shown
    assert "Traffic is billed twice" in shown
    assert "billed twice" not in post(ines, product, after="1", effective_from="2026-12-01")


def test_others_may_not_see_it(client):
    address = reverse("staff_overage", args=[a_product().pk])
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert client.get(address).status_code == 403
