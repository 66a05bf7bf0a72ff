"""S14: no address of the site sends anybody elsewhere, whatever it was told to come back to."""

from urllib.parse import quote, urljoin, urlsplit

import pytest
from django.test import Client

from tests.billing_site.addresses import addresses
from tests.builders import a_staff_user, a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
ELSEWHERE = [
    "//evil.test",
    "https://evil.test",
    "https:evil.test",
    "http:///evil.test",
    "///evil.test",
    "\\evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "javascript:alert(1)",
    "/\t/evil.test",
    " //evil.test",
    "https://localhost@evil.test",
    "https://localhost.evil.test",
    "data:text/html,x",
]


def _stays(response) -> bool:
    """Whether a browser that follows it is on this site still. Browsers read a backslash as a slash."""
    location = response.headers.get("Location", "/")
    where = urlsplit(urljoin("http://testserver/account/login/", location.replace("\\", "/").strip()))
    return (where.scheme, where.netloc) == ("http", "testserver")


@pytest.mark.parametrize("target", ELSEWHERE)
def test_signing_in_and_out_and_confirming_lead_back_here(target):
    a_user("sara@client.test", PASSWORD)
    client = Client()
    values = {"login": "sara@client.test", "password": PASSWORD, "next": target}
    assert _stays(client.post(f"/account/login/?next={quote(target)}", values))
    assert _stays(client.get(f"/account/login/?next={quote(target)}"))
    assert _stays(client.post(f"/account/confirm/?next={quote(target)}", {"password": PASSWORD, "next": target}))
    changed = {"oldpassword": PASSWORD, "password1": "a new horse here", "password2": "a new horse here"}
    assert _stays(client.post(f"/account/password/?next={quote(target)}", {**changed, "next": target}))
    assert _stays(client.post("/account/logout/", {"next": target}))


def test_no_address_leads_elsewhere_for_anybody():
    a_staff_user("ines@staff.test", PASSWORD)
    nobody, staff = Client(raise_request_exception=False), Client(raise_request_exception=False)
    staff.post("/account/login/", {"login": "ines@staff.test", "password": PASSWORD})
    for address in addresses():
        for target in ELSEWHERE[:2]:
            values = {"next": target, "url": target, "return": target, "_popup": "1"}
            for client in (nobody, staff):
                response = client.get(address.path, values)
                assert _stays(response), (address, target, response.headers.get("Location"))


def test_a_page_that_asks_to_sign_in_is_found_again():
    a_user("sara@client.test", PASSWORD)
    client = Client()
    asked = client.get("/account/")
    assert asked["Location"] == "/account/login/?next=/account/"
    values = {"login": "sara@client.test", "password": PASSWORD, "next": "/account/"}
    assert client.post(asked["Location"], values)["Location"] == "/account/"
