"""Of what django-allauth brings, only what is offered can be reached; browsers and crawlers find what they ask for."""

import pytest
from django.contrib import admin
from django.test import Client

from tests.billing_site.addresses import addresses
from tests.builders import a_staff_user

pytestmark = pytest.mark.django_db

OFFERED = {
    "account",
    "account_change_password",
    "account_login",
    "account_logout",
    "account_reauthenticate",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_set_password",
    "end_sessions",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_authenticate",
    "mfa_deactivate_totp",
    "mfa_download_recovery_codes",
    "mfa_edit_webauthn",
    "mfa_generate_recovery_codes",
    "mfa_index",
    "mfa_list_webauthn",
    "mfa_login_webauthn",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "mfa_view_recovery_codes",
}


def test_only_what_is_offered_has_an_address():
    known = {each.name for each in addresses() if each.path.startswith("/account/")}
    assert known >= OFFERED
    assert not {name for name in known - OFFERED if name.startswith(("account_", "mfa_", "usersessions_"))}


@pytest.mark.parametrize(
    "path", ["signup/", "email/", "confirm-email/", "inactive/", "social/connections/", "phone/change/"]
)
def test_there_is_no_signup_and_no_change_of_address(path):
    assert Client().get(f"/account/{path}").status_code == 404


def test_no_secret_of_a_sign_in_and_no_session_is_among_the_records():
    names = {model._meta.label for model in admin.site._registry}
    assert "catalog.User" in names
    assert not {
        name for name in names if name.split(".")[0] in {"account", "mfa", "usersessions", "django_q", "sessions"}
    }


def test_djangos_own_change_of_a_password_leads_to_ours():
    client = Client()
    client.force_login(a_staff_user())
    assert client.get("/admin/password_change/")["Location"] == "/account/password/"


def test_a_browser_finds_the_icon_and_a_crawler_that_nothing_is_for_it():
    assert Client().get("/favicon.ico")["Location"].endswith("favicon.svg")
    robots = Client().get("/robots.txt")
    assert robots.headers["Content-Type"].startswith("text/plain")
    assert robots.content == b"User-agent: *\nDisallow: /\n"
