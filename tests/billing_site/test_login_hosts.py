"""S18: what a request says of its host, its scheme and its way here is believed of a trusted proxy only."""

import pytest
from django.test import Client, override_settings

from tests.billing_site.addresses import addresses
from tests.builders import a_staff_user

pytestmark = pytest.mark.django_db


def test_a_host_that_is_not_the_sites_is_refused_at_every_address():
    staff = Client(raise_request_exception=False)
    staff.force_login(a_staff_user())
    for address in addresses():
        if address.name == "healthz":  # for load balancers, that ask by address
            continue
        assert staff.get(address.path, HTTP_HOST="evil.test").status_code == 400, address


@pytest.mark.parametrize("host", ["evil.test", "localhost:80@evil.test", "localhost/evil", "local host", "[::1]evil"])
def test_strange_hosts_are_refused(host):
    client = Client(raise_request_exception=False)
    assert client.get("/account/login/", HTTP_HOST=host).status_code == 400


def test_a_forwarded_host_is_not_looked_at():
    answer = Client().get("/account/", HTTP_X_FORWARDED_HOST="evil.test")
    assert answer["Location"] == "/account/login/?next=/account/"
    page = Client().get("/account/login/", HTTP_X_FORWARDED_HOST="evil.test", HTTP_FORWARDED="host=evil.test")
    assert "evil" not in page.content.decode()


@override_settings(SECURE_SSL_REDIRECT=True)
def test_nobody_says_for_themselves_that_they_came_over_tls():
    answer = Client().get("/account/login/", HTTP_X_FORWARDED_PROTO="https")
    assert answer.status_code == 301


@override_settings(SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
def test_a_trusted_proxy_does():
    assert Client().get("/account/login/", HTTP_X_FORWARDED_PROTO="https").status_code == 200
