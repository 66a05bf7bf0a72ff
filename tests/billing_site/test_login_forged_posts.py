"""S6: no POST of another site changes anything, and no GET does."""

import pytest
from django.apps import apps
from django.test import Client

from tests.billing_site.addresses import addresses
from tests.builders import a_client, a_product, a_staff_user, a_user

pytestmark = pytest.mark.django_db


def test_every_post_without_a_token_is_refused_at_every_address():
    client = Client(enforce_csrf_checks=True)
    client.force_login(a_staff_user())
    passed = []
    for address in addresses():
        response = client.post(address.path, {"name": "x"})
        if address.name.startswith("api:"):
            assert response.status_code in (401, 403, 404, 405, 415, 422), address
            continue
        if response.status_code != 403:
            passed.append((address, response.status_code))
    assert passed == []


def test_a_refused_form_says_why_in_words():
    response = Client(enforce_csrf_checks=True).post("/account/login/", {"login": "a@b.test", "password": "x"})
    assert response.status_code == 403
    assert "This form is out of date" in response.content.decode()


#: What reading a page may write: whom it remembers, and whom it refused.
MAY_CHANGE = {"sessions.Session", "usersessions.UserSession", "billing_site.CacheEntry", "audit.Entry"}


def _rows() -> dict[str, list]:
    models = [each for each in apps.get_models() if each._meta.managed and not each._meta.proxy]
    rows = {}
    for model in models:
        if model._meta.label not in MAY_CHANGE:
            rows[model._meta.label] = sorted(map(str, model._default_manager.values_list()))
    return rows


def test_reading_every_address_changes_nothing():
    sara = a_user()
    a_client(users=(sara,))
    a_product()
    staff, portal = Client(), Client()
    staff.force_login(a_staff_user())
    portal.force_login(sara)
    before = _rows()
    for address in addresses():
        for client in (staff, portal):
            client.get(address.path)
    after = _rows()
    assert {label for label in after if after[label] != before[label]} == set()


def test_signing_out_is_a_post():
    client = Client()
    client.force_login(a_user())
    assert client.get("/account/logout/").status_code == 200
    assert client.get("/account/").wsgi_request.user.is_authenticated
    client.post("/account/logout/")
    assert not client.get("/account/login/").wsgi_request.user.is_authenticated
