"""The API keeps to its own description, whatever is sent, over real HTTP: schemathesis over /api/v1/openapi.json.

What it sends is made from the description, and part of it breaks that on purpose. No answer may be a 5xx, and each
must have a status, a content type, headers and a body that the description promises. Whether what keeps to the
description is accepted is not asked: it does not say which metrics, services and prices there are.
"""

import json
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.test import Client
from django.utils import timezone
from ninja.responses import NinjaJSONEncoder
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from billing_site.api import api
from metering import push_keys
from tests.builders import a_client, a_service, a_staff_user
from tests.metering.pushed import a_push_server, post
from tests.people import api_key

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
DESCRIPTION = json.loads(json.dumps(api.get_openapi_schema(), cls=NinjaJSONEncoder))
schema = schemathesis.openapi.from_dict(DESCRIPTION)
BUDGET = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(hypothesis.HealthCheck),
}


@schemathesis.serializer("application/x-ndjson", "text/csv")
def as_it_is(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@pytest.fixture
def headers(transactional_db, settings) -> dict[str, Any]:
    """Whoever may do everything: a push key, a login, and its token against forged requests."""
    settings.PUSHES_PER_MINUTE = settings.API_REQUESTS_PER_MINUTE = 10**6
    _, token = push_keys.make(server=a_push_server(), name="schemathesis", by=None, at=timezone.now())
    browser = Client()
    browser.force_login(a_staff_user())
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    forged = "a" * 32
    return {
        "Authorization": f"Bearer {token}",
        "Cookie": f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={forged}",
        "X-CSRFToken": forged,
    }


@pytest.fixture
def headers_of_a_client(transactional_db) -> dict[str, Any]:
    """A key of a client that has something."""
    client = a_client()
    a_service(client=client)
    return {"Authorization": f"Bearer {api_key(client)}"}


@schema.parametrize()
@hypothesis.settings(max_examples=12, **BUDGET)
def test_the_api_keeps_to_its_description(case, headers, headers_of_a_client, live_server):
    shown = headers_of_a_client if case.operation.definition.raw["tags"] == ["client"] else headers
    case.call_and_validate(base_url=live_server.url, headers=shown, checks=CHECKS, timeout=20)


@schema.parametrize()
@hypothesis.settings(max_examples=5, **BUDGET)
def test_so_it_does_for_whoever_shows_nothing(case, live_server):
    case.call_and_validate(base_url=live_server.url, checks=CHECKS, timeout=20)


def test_every_operation_is_described():
    operations = {(method, path) for path, methods in DESCRIPTION["paths"].items() for method in methods}
    assert ("post", "/api/v1/usage") in operations
    assert ("get", "/api/v1/invoices/{id}/lines") in operations
    assert len(operations) >= 9


@pytest.mark.parametrize(
    "content_type",
    list(DESCRIPTION["paths"]["/api/v1/usage"]["post"]["requestBody"]["content"]),
)
@pytest.mark.django_db
def test_every_content_type_that_is_described_is_taken(content_type):
    _, token = push_keys.make(server=a_push_server(), name="x", by=None, at=timezone.now())
    assert post(token, b" ", content_type).status_code == 422
