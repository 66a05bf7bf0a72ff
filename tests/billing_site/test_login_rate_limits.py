"""S16: guessing is limited for each address and each network, across processes and restarts, and says until when."""

import pytest
import time_machine
from django.core.cache import caches
from django.db import connection
from django.test import Client, override_settings

from billing_site.models import CacheEntry
from tests.builders import a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
TOO_MANY = "Too many tries. Try again in 5 minutes."


def _sign_in(email: str, password: str, ip: str = "192.0.2.1", **headers: str):
    return Client().post("/account/login/", {"login": email, "password": password}, REMOTE_ADDR=ip, **headers)


def test_after_five_wrong_passwords_an_address_is_closed_from_everywhere_for_five_minutes():
    a_user("sara@client.test", PASSWORD)
    for number in range(5):
        assert "is not right" in _sign_in("sara@client.test", "wrong", f"192.0.2.{number}").content.decode()
    refused = _sign_in("sara@client.test", PASSWORD, "192.0.2.99")
    assert TOO_MANY in refused.content.decode()


def test_an_address_that_nobody_has_is_closed_just_so():
    for _ in range(5):
        _sign_in("none@client.test", "wrong")
    assert TOO_MANY in _sign_in("none@client.test", "wrong").content.decode()


def test_five_minutes_later_it_is_open_again():
    a_user("sara@client.test", PASSWORD)
    with time_machine.travel("2026-11-19 06:00", tick=False) as clock:
        for _ in range(6):
            _sign_in("sara@client.test", "wrong")
        clock.shift(301)
        assert _sign_in("sara@client.test", PASSWORD).status_code == 302


def test_ten_wrong_passwords_in_a_minute_close_a_network_for_all_addresses():
    a_user("sara@client.test", PASSWORD)
    for number in range(10):
        _sign_in(f"guess{number}@client.test", "wrong")
    assert TOO_MANY in _sign_in("sara@client.test", PASSWORD).content.decode()
    assert _sign_in("sara@client.test", PASSWORD, "192.0.2.2").status_code == 302


def test_who_signs_in_rightly_uses_up_no_try():
    a_user("sara@client.test", PASSWORD)
    for _ in range(12):
        assert _sign_in("sara@client.test", PASSWORD).status_code == 302


def test_more_than_thirty_forms_in_a_minute_get_a_page_that_says_when_to_try_again():
    a_user("sara@client.test", PASSWORD)
    for _ in range(30):
        _sign_in("sara@client.test", PASSWORD)
    response = _sign_in("sara@client.test", PASSWORD)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "60"
    assert "Try again in a minute." in response.content.decode()


def test_one_address_gets_three_mails_in_ten_minutes(mailoutbox):
    a_user("sara@client.test", PASSWORD)
    answers = [Client().post("/account/password/reset/", {"email": "sara@client.test"}) for _ in range(4)]
    assert [each.status_code for each in answers] == [302, 302, 302, 429]
    assert "Try again in 10 minutes." in answers[3].content.decode()
    assert answers[3].headers["Retry-After"] == "600"
    assert len(mailoutbox) == 3


def test_another_process_and_a_restart_find_the_counts_in_the_database():
    a_user("sara@client.test", PASSWORD)
    for _ in range(5):
        _sign_in("sara@client.test", "wrong")
    assert CacheEntry.objects.count() > 0
    caches.close_all()
    del caches["default"]  # as a process that starts anew has none
    assert TOO_MANY in _sign_in("sara@client.test", PASSWORD).content.decode()


def test_the_table_is_the_one_that_django_would_make():
    with connection.cursor() as cursor:
        columns = {
            each.name: (each.type_code, each.null_ok)
            for each in connection.introspection.get_table_description(cursor, "site_cache")
        }
    assert {name: null for name, (_type, null) in columns.items()} == {
        "cache_key": False,
        "value": False,
        "expires": False,
    }


def test_a_header_moves_nobody_to_another_network_unless_a_proxy_is_trusted():
    a_user("sara@client.test", PASSWORD)
    for number in range(10):
        _sign_in(f"guess{number}@client.test", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    spoofed = _sign_in(
        "sara@client.test", PASSWORD, HTTP_X_FORWARDED_FOR="198.51.100.99", HTTP_X_REAL_IP="198.51.100.9"
    )
    assert TOO_MANY in spoofed.content.decode()


@override_settings(ALLAUTH_TRUSTED_PROXY_COUNT=1)
def test_behind_a_proxy_only_what_the_proxy_added_counts():
    a_user("sara@client.test", PASSWORD)
    for number in range(10):
        _sign_in(f"guess{number}@client.test", "wrong", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}, 198.51.100.1")
    spoofed = _sign_in("sara@client.test", PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.99, 198.51.100.1")
    assert TOO_MANY in spoofed.content.decode()
    other = _sign_in("sara@client.test", PASSWORD, HTTP_X_FORWARDED_FOR="198.51.100.2")
    assert other.status_code == 302
