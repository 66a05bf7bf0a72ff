"""Staff must have a second step of signing in, at every address of the site; and a code counts once."""

import os
import re
import subprocess
import sys
import time

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

from billing_site import second_factor
from billing_site.accounts import SecondFactors
from tests.billing_site.addresses import addresses
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
required = override_settings(STAFF_MFA=True)


def _signed_in(email: str, password: str = PASSWORD) -> Client:
    client = Client()
    client.post("/account/login/", {"login": email, "password": password})
    return client


def _code(secret: str) -> str:
    return totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time())) + 1))


def _add_app(client: Client) -> str:
    """Add an authenticator app as a person would, and return its secret."""
    page = client.get("/account/two-step/app/").content.decode()
    secret = re.search(r'id="totp-key">(\w+)<', page)[1]
    answer = client.post("/account/two-step/app/", {"code": _code(secret)})
    assert answer.status_code == 302, answer.content.decode()
    return secret


def test_production_asks_for_it_and_a_developers_machine_does_not(settings):
    assert settings.STAFF_MFA is False  # the tests' settings come from DEBUG=1
    assert _signed_in(a_staff_user("ines@staff.test", PASSWORD).email).get("/admin/servers/").status_code == 200
    said = subprocess.run(
        [sys.executable, "-c", "from billing_site import settings; print(settings.STAFF_MFA, settings.DEBUG)"],
        env={key: value for key, value in os.environ.items() if key not in ("DEBUG", "STAFF_MFA")},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["True", "False"]


@required
def test_staff_without_one_reach_nothing_at_any_address():
    a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test")
    closed = 0
    for address in addresses():
        if address.name in second_factor.OPEN:
            continue
        page, post = client.get(address.path), client.post(address.path)
        if address.name.startswith("api:"):
            assert (page.status_code, post.status_code) == (403, 403), address
        else:
            assert page.status_code == 302, address
            assert page["Location"].startswith("/account/two-step/?next="), address
            assert post.status_code == 403, address
        closed += 1
    assert closed > 100


@required
def test_what_is_open_to_them_shows_nothing_of_the_site():
    """No name of a staff page or of the portal may get onto the list by mistake."""
    names = {each.name for each in addresses()}
    assert names >= second_factor.OPEN
    own = {each.path for each in addresses() if each.name in second_factor.OPEN}
    assert {path for path in own if not path.startswith("/account/")} == {"/favicon.ico", "/healthz", "/robots.txt"}


@required
@pytest.mark.parametrize("rights", ["viewer", "superuser only"])
def test_whoever_has_any_right_of_staff_is_asked(rights):
    user = a_user("vera@staff.test", PASSWORD, is_staff=rights == "viewer", is_superuser=rights == "superuser only")
    user.user_permissions.add(Permission.objects.get(codename="view_server", content_type__app_label="metering"))
    assert _signed_in("vera@staff.test").get("/admin/servers/")["Location"].startswith("/account/two-step/")


@required
def test_a_client_is_not_asked():
    sara = a_user("sara@client.test", PASSWORD)
    a_client(users=(sara,))
    assert _signed_in("sara@client.test").get("/account/").status_code == 200


@required
def test_they_add_an_app_and_go_on():
    a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test")
    assert "Add a second step first" in client.get("/account/two-step/").content.decode()
    _add_app(client)
    assert client.get("/account/two-step/codes/").status_code == 200
    assert client.get("/admin/servers/").status_code == 200


@required
def test_a_link_to_reset_that_anybody_asked_for_keeps_them_from_no_second_step():
    a_staff_user("ines@staff.test", PASSWORD)
    Client().post("/account/password/reset/", {"email": "ines@staff.test"})
    assert mail.outbox
    client = _signed_in("ines@staff.test")
    _add_app(client)
    assert client.get("/account/two-step/passkeys/add/").status_code == 200


def test_a_passkey_is_offered_to_nobody_who_has_none():
    a_user("sara@client.test", PASSWORD)
    _add_app(_signed_in("sara@client.test"))
    page = _signed_in("sara@client.test").get("/account/second-step/").content.decode()
    assert "authenticator app" in page
    assert "Use a passkey" not in page


@required
def test_a_session_that_is_older_than_the_second_step_takes_it_first():
    ines = a_staff_user("ines@staff.test", PASSWORD)
    older = _signed_in("ines@staff.test")
    secret = _add_app(_signed_in("ines@staff.test"))
    answer = older.get("/admin/servers/")
    assert answer["Location"].startswith("/account/confirm/code/?next=")
    with time_machine.travel(time.time() + 60, tick=False):
        older.post(answer["Location"], {"code": _code(secret)})
        assert older.get("/admin/servers/").status_code == 200
    assert second_factor.has_one(ines)


@required
def test_without_its_last_second_step_a_session_is_closed_again():
    ines = a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test")
    _add_app(client)
    Authenticator.objects.filter(user=ines).delete()
    assert client.get("/admin/servers/")["Location"].startswith("/account/two-step/")


@required
def test_recovery_codes_alone_are_no_second_step():
    ines = a_staff_user("ines@staff.test", PASSWORD)
    Authenticator.objects.create(user=ines, type="recovery_codes", data={"seed": "x", "used_mask": 0})
    assert _signed_in("ines@staff.test").get("/admin/servers/")["Location"].startswith("/account/two-step/")


def test_signing_in_asks_for_the_code_and_for_nothing_less():
    a_user("sara@client.test", PASSWORD)
    secret = _add_app(_signed_in("sara@client.test"))
    client = _signed_in("sara@client.test")
    assert client.get("/account/")["Location"].startswith("/account/login/")
    with time_machine.travel(time.time() + 60, tick=False):
        wrong = client.post("/account/second-step/", {"code": "000000"})
        assert "This code is not right" in wrong.content.decode()
        assert client.get("/account/").status_code == 302
        assert client.post("/account/second-step/", {"code": _code(secret)}).status_code == 302
        assert client.get("/account/").status_code == 200


def test_a_code_counts_once_for_as_long_as_it_would_count():
    a_user("sara@client.test", PASSWORD)
    secret = _add_app(_signed_in("sara@client.test"))
    with time_machine.travel((time.time() // 30 + 10) * 30, tick=False) as clock:
        code = _code(secret)
        assert _signed_in("sara@client.test").post("/account/second-step/", {"code": code}).status_code == 302
        clock.shift(31)  # allauth remembers a code for 30 seconds, and takes it for 90
        again = _signed_in("sara@client.test").post("/account/second-step/", {"code": code})
        assert "was used already" in again.content.decode()


def test_five_wrong_codes_close_the_second_step_of_this_person():
    a_user("sara@client.test", PASSWORD)
    secret = _add_app(_signed_in("sara@client.test"))
    with time_machine.travel(time.time() + 300, tick=False):
        for _ in range(5):
            _signed_in("sara@client.test").post("/account/second-step/", {"code": "000000"})
        right = _signed_in("sara@client.test").post("/account/second-step/", {"code": _code(secret)})
        assert "Too many tries. Try again in 5 minutes." in right.content.decode()


def test_a_recovery_code_lets_in_once():
    sara = a_user("sara@client.test", PASSWORD)
    _add_app(_signed_in("sara@client.test"))
    codes = RecoveryCodes(Authenticator.objects.get(user=sara, type="recovery_codes")).get_unused_codes()
    assert len(codes) == 10
    assert _signed_in("sara@client.test").post("/account/second-step/", {"code": codes[0]}).status_code == 302
    assert _signed_in("sara@client.test").post("/account/second-step/", {"code": codes[0]}).status_code == 200


def test_secrets_are_stored_encrypted():
    sara = a_user("sara@client.test", PASSWORD)
    secret = _add_app(_signed_in("sara@client.test"))
    for each in Authenticator.objects.filter(user=sara):
        assert secret not in str(each.data)
        stored = each.data.get("secret") or each.data["seed"]
        assert stored.startswith("gAAAA")  # a Fernet token
        assert SecondFactors().decrypt(stored)


def test_the_code_to_read_is_markup_and_no_picture_from_elsewhere():
    a_user("sara@client.test", PASSWORD)
    page = _signed_in("sara@client.test").get("/account/two-step/app/").content.decode()
    assert '<svg class="tp-qr"' in page
    assert "data:image" not in page


def test_changing_how_one_signs_in_asks_for_the_password_again_after_five_minutes():
    a_user("sara@client.test", PASSWORD)
    with time_machine.travel("2026-11-19 06:00", tick=False) as clock:
        client = _signed_in("sara@client.test")
        assert client.get("/account/two-step/app/").status_code == 200
        clock.shift(301)
        for path in ("two-step/app/", "two-step/passkeys/add/", "two-step/codes/new/"):
            answer = client.get(f"/account/{path}")
            assert answer["Location"].startswith("/account/confirm/?next="), path
        client.post("/account/confirm/?next=/account/two-step/app/", {"password": PASSWORD})
        assert client.get("/account/two-step/app/").status_code == 200


def test_the_owner_is_told_by_mail_what_became_of_their_sign_in(django_capture_on_commit_callbacks):
    a_user("sara@client.test", PASSWORD, language="en")
    with django_capture_on_commit_callbacks(execute=True):
        _add_app(_signed_in("sara@client.test"))
    assert [(each.to, "An authenticator app was added" in each.body) for each in mail.outbox] == [
        (["sara@client.test"], True)
    ]


def test_the_operator_removes_a_lost_second_step_and_ends_the_sessions():
    sara = a_user("sara@client.test", PASSWORD)
    client = _signed_in("sara@client.test")
    _add_app(client)
    mail.outbox.clear()
    call_command("reset_mfa", "Sara@client.test")
    assert not Authenticator.objects.filter(user=sara).exists()
    assert client.get("/account/").status_code == 302
    assert _signed_in("sara@client.test").get("/account/").status_code == 200
    assert "The operator removed all second steps" in mail.outbox[0].body


def test_the_operator_is_told_when_there_is_nobody_of_that_address():
    with pytest.raises(CommandError, match=r"Nobody has the address none@client\.test"):
        call_command("reset_mfa", "none@client.test")


def test_an_administrator_removes_it_on_the_page_of_users_and_nobody_else_does():
    sara = a_user("sara@client.test", PASSWORD)
    action = {"action": "reset_second_steps", "_selected_action": [sara.pk]}
    _add_app(_signed_in("sara@client.test"))
    vera = a_user("vera@staff.test", PASSWORD, is_staff=True)
    vera.user_permissions.add(*Permission.objects.filter(codename__in=["view_user", "change_user"]))
    _signed_in("vera@staff.test").post("/admin/catalog/user/", action)
    assert second_factor.has_one(sara)
    a_staff_user("ines@staff.test", PASSWORD)
    _signed_in("ines@staff.test").post("/admin/catalog/user/", action)
    assert not second_factor.has_one(sara)
