"""`POST /api/v1/services/{public_id}/terminate`: what it does and answers, and whom it refuses."""

import json
import uuid
from datetime import date
from http import HTTPStatus

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from catalog.models import Service
from invoicing.models import Invoice
from metering.providers.base import ProviderError
from tests.builders import (
    MAILBOXES,
    TRAFFIC,
    Panel,
    a_client,
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

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def service():
    server, product = a_server(), a_product()
    for declared in (MAILBOXES, TRAFFIC):
        priced(a_setting(product, declared), ("0", "2"), notation="above")
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-18 06:00", tenant_says("alice", mailboxes=3))
    return service


def down(connection, period):
    raise ProviderError("No answer.")
    yield


def post(client, service, body=None, said=None, **headers):
    address = f"/api/v1/services/{getattr(service, 'public_id', service)}/terminate"
    with panel(said or says(tenant_says("alice", mailboxes=4))):
        return client.post(address, json.dumps(body or {}), content_type="application/json", headers=headers)


def test_it_ends_the_service_and_answers_its_last_invoice(ines, service):
    response = post(ines, service)
    assert response.status_code == HTTPStatus.OK
    assert response.json() == {
        "status": "terminated",
        "terminated_on": "2026-11-19",
        "invoice": {"number": "2026-00001", "total": "8.00", "currency": "USD"},
        "warning": None,
        "waits": False,
    }
    assert Panel.asked == [("tenant_usage", "alice")]


def test_twice_gives_the_same_answer_and_makes_one_invoice(ines, service):
    assert post(ines, service).json() == post(ines, service, {"on": "2026-11-18"}).json()
    assert Invoice.objects.count() == 1


def test_a_last_day_may_be_named(ines, service):
    response = post(ines, service, {"on": "2026-11-18"})
    assert response.json()["terminated_on"] == "2026-11-18"
    assert response.json()["invoice"]["total"] == "6.00"


def test_with_the_server_down_the_last_values_are_billed_and_the_answer_says_so(ines, service):
    answer = post(ines, service, {"when_down": "last_values"}, said=down).json()
    assert answer["invoice"]["total"] == "6.00"
    assert "could not be asked once more (No answer.); the last values known are billed." in answer["warning"]
    assert not answer["waits"]


def test_with_the_server_down_it_waits_where_that_was_chosen(ines, service):
    answer = post(ines, service, {"when_down": "wait"}, said=down).json()
    assert (answer["status"], answer["invoice"], answer["waits"]) == ("terminated", None, True)
    assert "waits until it answers" in answer["warning"]
    again = post(ines, service).json()
    assert (again["invoice"], again["waits"]) == (None, True)


def test_nothing_left_to_charge_is_no_invoice(ines):
    service = a_service(next_term=2)
    answer = post(ines, service).json()
    assert (answer["status"], answer["invoice"], answer["waits"]) == ("terminated", None, False)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"on": "2026-11-20"}, "still to come"),
        ({"on": "2026-09-30"}, "starts on 1 October 2026"),
        ({"on": "soon"}, "on: "),
        ({"on": 1763510400}, "on: "),
        ({"on": "2026-02-30"}, "on: "),
        ({"when_down": "guess"}, "when_down: "),
        ({"force": True}, "force: "),
        ([], "body: "),
    ],
)
def test_what_cannot_be_meant_gets_422_and_the_reason(ines, service, body, why):
    response = post(ines, service, body) if body else post_raw(ines, service, "[]")
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert set(response.json()) == {"error"}
    assert why in response.json()["error"]
    assert Service.objects.get().status == "active"


def post_raw(client, service, text):
    with panel(says()):
        return client.post(f"/api/v1/services/{service.public_id}/terminate", text, content_type="application/json")


def test_no_json_at_all_gets_an_error_in_the_same_shape(ines, service):
    response = post_raw(ines, service, "{")
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert set(response.json()) == {"error"}


def test_a_service_that_there_is_not_gets_404(ines):
    response = post(ines, uuid.uuid4())
    assert response.status_code == HTTPStatus.NOT_FOUND
    assert response.json() == {"error": "There is no such service."}


def test_a_service_that_cannot_end_as_things_are_gets_409_and_runs_on(ines, service):
    Service.objects.update(client=a_client("Euro", "EUR"))
    response = post(ines, service)
    assert response.status_code == HTTPStatus.CONFLICT
    assert "No price in EUR for Mailboxes" in response.json()["error"]
    assert Service.objects.get().status == "active"
    Service.objects.update(status="pending")
    assert post(ines, service).status_code == HTTPStatus.CONFLICT


def test_nobody_else_can(client, service):
    def refused(response):
        assert Service.objects.get().status == "active"
        assert set(response.json()) == {"error"}
        return response.status_code

    assert refused(post(client, service)) == HTTPStatus.UNAUTHORIZED
    owner = a_user()
    service.client.users.add(owner)
    client.force_login(owner)
    assert refused(post(client, service)) == HTTPStatus.FORBIDDEN
    permission = Permission.objects.get(codename="change_service")
    owner.user_permissions.add(permission)  # staff alone are let in, whatever they may
    assert refused(post(client, service)) == HTTPStatus.FORBIDDEN
    clerk = a_user("clerk@staff.test", is_staff=True)
    client.force_login(clerk)
    assert refused(post(client, service)) == HTTPStatus.FORBIDDEN
    assert refused(post(client, uuid.uuid4())) == HTTPStatus.FORBIDDEN
    clerk.user_permissions.add(permission)
    client.force_login(clerk)
    assert post(client, service).status_code == HTTPStatus.OK


def test_a_forged_request_is_refused(service):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(a_staff_user())
    response = post(browser, service)
    assert response.status_code == HTTPStatus.FORBIDDEN
    assert Service.objects.get().status == "active"
    browser.get("/admin/")
    browser.get(f"/admin/services/{service.public_id}/terminate/")
    token = browser.cookies["csrftoken"].value
    assert post(browser, service, **{"X-CSRFToken": token}).status_code == HTTPStatus.OK
    assert Service.objects.get().terminated_on == date(2026, 11, 19)


def test_it_is_described(client):
    described = client.get("/api/v1/openapi.json").json()["paths"]["/api/v1/services/{public_id}/terminate"]["post"]
    assert set(described["responses"]) >= {"200", "401", "403", "404", "409", "422"}
