"""Every call of the API, with every kind of key and person."""

import json

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from metering import vault
from tests.access.test_matrix import names, refuse
from tests.access.world import world

pytestmark = pytest.mark.django_db

#: Method, and what comes of it: nobody, key of the client, of another, push key, owner, staff viewer, billing staff.
CALLS = {
    "api:openapi-json": ("GET", 200, 200, 200, 200, 200, 200, 200),
    "api:quote": ("POST", "in", "in", "in", "in", "in", "in", "in"),
    "api:terminate_service": ("POST", 401, 401, 401, 401, 403, 403, "in"),
    "api:push_usage": ("POST", 401, 401, 401, "in", 401, 401, 401),
    "api:list_services": ("GET", 401, 200, 200, 401, 401, 401, 401),
    "api:read_service": ("GET", 401, 200, 404, 401, 401, 401, 401),
    "api:list_usage": ("GET", 401, 200, 404, 401, 401, 401, 401),
    "api:list_invoices": ("GET", 401, 200, 200, 401, 401, 401, 401),
    "api:read_invoice": ("GET", 401, 200, 404, 401, 401, 401, 401),
    "api:read_pdf": ("GET", 401, 200, 404, 401, 401, 401, 401),
    "api:list_lines": ("GET", 401, 200, 404, 401, 401, 401, 401),
    "api:record_payment": ("POST", 401, 401, 401, 401, 403, 403, "in"),
}


def test_every_call_has_a_rule():
    known = {name for name in names(get_resolver().url_patterns) if name.startswith("api:")}
    assert known - CALLS.keys() == {"api:api-root"}


@pytest.mark.parametrize("name", CALLS)
def test_who_may_call(name):
    all_of_it = world()
    method, *wanted = CALLS[name]
    path = reverse(name, args=all_of_it.arguments.get(name, []))
    if name == "api:list_usage":
        path += "?metric=traffic"
    people = [
        *(None, "key", "other key", "push key"),
        *(all_of_it.users[kind] for kind in ("owner", "staff viewer", "staff billing")),
    ]
    came = []
    for who in people:
        browser, headers = Client(), {}
        if isinstance(who, str):
            headers = {"authorization": f"Bearer {all_of_it.tokens[who]}"}
        elif who is not None:
            browser.force_login(who)
        response = browser.generic(method, path, json.dumps({}), content_type="application/json", headers=headers)
        came.append(response.status_code)
    shown = [
        "in" if each == "in" and code not in (401, 403, 404, 405, 500) else code
        for each, code in zip(wanted, came, strict=True)
    ]
    assert shown == wanted


def test_no_call_of_a_client_reads_what_servers_are_asked_with(monkeypatch, client):
    all_of_it = world()
    monkeypatch.setattr(vault, "decrypt", refuse)
    headers = {"authorization": f"Bearer {all_of_it.tokens['key']}"}
    for name in [name for name, (method, _nobody, wanted, *_) in CALLS.items() if (method, wanted) == ("GET", 200)]:
        path = reverse(name, args=all_of_it.arguments.get(name, []))
        asked = {"metric": "traffic"} if name == "api:list_usage" else {}
        assert client.get(path, asked, headers=headers).status_code == 200, name
