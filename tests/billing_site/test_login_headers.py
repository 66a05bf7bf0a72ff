"""S7, S15, S19: what every answer of the site tells a browser to keep to."""

import re

import pytest
from csp.utils import build_policy
from django.conf import settings
from django.test import Client, override_settings

from tests.billing_site.addresses import Address, addresses
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db


def _clients() -> list[Client]:
    sara = a_user()
    a_client(users=(sara,))
    staff, portal = Client(), Client()
    staff.force_login(a_staff_user())
    portal.force_login(sara)
    return [Client(), portal, staff]


def test_the_policy_that_is_written_once_is_that_of_the_settings(client):
    assert client.get("/account/login/").headers["Content-Security-Policy"] == build_policy()


def _has_the_headers(address: Address, response) -> None:
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy, address
    assert "unsafe" not in policy, address
    assert "data:" not in policy, address
    assert "frame-ancestors 'none'" in policy, address
    assert response.headers["X-Frame-Options"] == "DENY", address
    assert response.headers["X-Content-Type-Options"] == "nosniff", address
    assert response.headers["Referrer-Policy"] in ("same-origin", "no-referrer"), address
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin", address
    assert "camera=()" in response.headers["Permissions-Policy"], address


def _is_kept_by_nobody(address: Address, response) -> None:
    kept = response.headers.get("Cache-Control", "")
    assert "no-store" in kept, (address, response.status_code)
    assert "private" in kept, address
    assert "public" not in kept, address


def _has_no_script_or_style_of_its_own(address: Address, response) -> None:
    if response.streaming or not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    text = response.content.decode()
    assert not re.search(r"<[a-z][^>]*\s(style|on[a-z]+)=", text), address
    assert "<style" not in text, address
    for tag, inside in re.findall(r"(<script[^>]*>)(.*?)</script>", text, re.S):
        assert 'type="application/json"' in tag or not inside.strip(), (address, tag)


def test_every_address_answers_everybody_with_the_headers_and_is_kept_by_nobody_for_a_user():
    people, seen = _clients(), 0
    for address in addresses():
        for client in people:
            response = client.get(address.path)
            _has_the_headers(address, response)
            _has_no_script_or_style_of_its_own(address, response)
            if response.wsgi_request.user.is_authenticated:
                _is_kept_by_nobody(address, response)
                seen += 1
    assert seen > 200


@override_settings(SECURE_SSL_REDIRECT=True, SECURE_HSTS_SECONDS=31_536_000, SECURE_HSTS_INCLUDE_SUBDOMAINS=True)
def test_in_production_only_tls_is_spoken():
    plain = Client().get("/account/login/")
    assert plain.status_code == 301
    assert plain["Location"].startswith("https://")
    secure = Client().get("/account/login/", secure=True)
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


def test_cookies_are_for_the_server_alone():
    assert settings.SESSION_COOKIE_HTTPONLY
    assert settings.CSRF_COOKIE_HTTPONLY
    client = Client()
    client.get("/account/login/")
    cookie = client.cookies["csrftoken"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
