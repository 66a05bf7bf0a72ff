"""Django's admin, where it touches what is billed."""

from urllib.parse import quote

import pytest
from django.urls import reverse

from catalog.models import Client, Service
from tests.builders import a_product, a_service, a_staff_user, at

pytestmark = pytest.mark.django_db


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def change(client, service, **values):
    data = {name: getattr(service, name) for name in ("name", "status", "cycle")}
    data |= {"client": service.client_id, "product": service.product_id, "anchor": str(service.anchor)} | values
    return client.post(reverse("admin:catalog_service_change", args=[service.pk]), data).content.decode()


def test_a_product_and_a_service_lead_to_their_own_pages(ines):
    service = a_service(a_product())
    shown = ines.get(reverse("admin:catalog_product_change", args=[service.product_id])).content.decode()
    assert reverse("staff_product", args=[service.product_id]) in shown
    shown = ines.get(reverse("admin:catalog_service_change", args=[service.pk])).content.decode()
    assert reverse("staff_service", args=[service.public_id]) in shown


def test_days_and_moments_are_written_as_on_our_own_pages(ines):
    Client.objects.filter(pk=a_service().client_id).update(created_at=at("2026-09-02 23:50"))
    assert "2 Sep 2026, 23:50" in ines.get(reverse("admin:catalog_client_changelist")).content.decode()


@pytest.mark.parametrize(
    ("records", "asked"),
    [
        ("catalog_service", "status__exact=%00"),
        ("metering_collection", "status__exact=%00"),
        ("catalog_user", "date_joined__year=0"),
    ],
)
def test_what_nothing_can_be_shows_the_whole_list(ines, records, asked):
    address = reverse(f"admin:{records}_changelist")
    page = ines.get(f"{address}?{asked}")
    assert (page.status_code, page.url) == (302, f"{address}?e=1")


def test_what_was_changed_is_looked_up_in_the_audit_log(ines):
    service = a_service()
    shown = ines.get(reverse("admin:catalog_client_change", args=[service.client_id])).content.decode()
    assert f"{reverse('staff_audit')}?q={quote(str(service.client))}" in shown
    assert reverse("admin:catalog_client_history", args=[service.client_id]) not in shown


def test_a_product_is_deleted_only_while_nobody_ever_had_it(ines):
    sold, unsold = a_service(a_product()).product, a_product("Never sold")
    assert ines.get(reverse("admin:catalog_product_delete", args=[sold.pk])).status_code == 403
    assert ines.get(reverse("admin:catalog_product_delete", args=[unsold.pk])).status_code == 200


def test_a_service_that_becomes_active_is_due_on_its_anchor(ines):
    service = a_service(status="pending", anchor="2026-11-19", next_term=0)
    change(ines, service, status="active")
    service.refresh_from_db()
    assert (service.status, service.next_due_on) == ("active", at("2026-11-19 00:00").date())


def test_a_service_is_not_terminated_without_its_last_invoice(ines):
    service = a_service()
    assert "so that its last invoice is made" in change(ines, service, status="terminated")
    assert Service.objects.get().status == "active"


def test_a_terminated_service_is_not_brought_back_to_be_billed_for_the_time_between(ines):
    service = a_service(status="terminated", terminated_on=at("2026-11-19 00:00").date())
    assert "Reactivate it on its own page" in change(ines, service, status="active")
    assert Service.objects.get().status == "terminated"


def test_the_records_of_the_job_queue_are_not_to_be_edited(ines):
    assert "django_q" not in ines.get(reverse("staff_records")).content.decode()
