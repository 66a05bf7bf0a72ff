"""S16: whoever tries addresses and passwords learns nothing of who is known here, from words or from work."""

import re
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from django.core import mail
from django.test import Client

from tests.builders import a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


def _tries(path: str, **values: str) -> tuple[str, int]:
    """Return the page that a form answers with, without what differs each time, and how often a password is hashed."""
    client, encodes = Client(), []
    hasher = hashers.get_hasher()
    encode = type(hasher).encode

    def counted(self, password, salt, *rest):
        encodes.append(password)
        return encode(self, password, salt, *rest)

    with patch.object(type(hasher), "encode", counted):
        response = client.post(path, values, follow=True)
    text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())
    return text.replace(values.get("login", values.get("email", "")), "ADDRESS"), len(encodes)


def test_an_unknown_address_a_wrong_password_and_a_disabled_user_are_answered_alike_after_the_same_work():
    a_user("sara@client.test", PASSWORD)
    a_user("left@client.test", PASSWORD, is_active=False)
    a_user("invited@client.test", None)
    unknown = _tries("/account/login/", login="none@client.test", password=PASSWORD)
    assert "The email address or the password is not right." in unknown[0]
    assert unknown[1] == 1
    assert _tries("/account/login/", login="sara@client.test", password="wrong") == unknown
    assert _tries("/account/login/", login="left@client.test", password=PASSWORD) == unknown
    assert _tries("/account/login/", login="left@client.test", password="wrong") == unknown
    assert _tries("/account/login/", login="invited@client.test", password="wrong") == unknown


def test_the_right_password_is_let_in_whatever_the_case_of_the_address():
    a_user("sara@client.test", PASSWORD)
    client = Client()
    assert client.post("/account/login/", {"login": "Sara@Client.test", "password": PASSWORD}).status_code == 302
    assert client.get("/account/").status_code == 200


def test_an_address_that_was_somebodys_is_as_one_that_is_not_known():
    user = a_user("sara@client.test", PASSWORD)
    Client().post("/account/password/reset/", {"email": "sara@client.test"})  # allauth remembers the address
    user.email = "sara@moved.test"
    user.save()
    assert _tries("/account/login/", login="sara@client.test", password=PASSWORD) == _tries(
        "/account/login/", login="none@client.test", password=PASSWORD
    )
    moved = Client().post("/account/login/", {"login": "sara@moved.test", "password": PASSWORD})
    assert moved.headers["Location"] == "/"


def test_who_asks_for_a_new_password_learns_nothing_and_one_mail_is_sent():
    a_user("sara@client.test", PASSWORD)
    a_user("left@client.test", PASSWORD, is_active=False)
    seen = {_tries("/account/password/reset/", email=f"{name}@client.test")[0] for name in ("sara", "left", "none")}
    assert len(seen) == 1
    assert "Look into your mail" in seen.pop()
    assert [each.to for each in mail.outbox] == [["sara@client.test"]]


def test_what_is_asked_of_the_worker_is_the_same_for_any_address(settings):
    settings.WITHOUT_WORKER = False
    a_user("sara@client.test", PASSWORD)
    asked = []
    with patch("billing_site.account_forms.hand_over", lambda *call: asked.append(call)):
        for name in ("sara", "none"):
            _tries("/account/password/reset/", email=f"{name}@client.test")
    assert asked == [("billing_site.jobs.mail_reset", f"{name}@client.test") for name in ("sara", "none")]
    assert mail.outbox == []


def test_the_worker_may_be_asked_for_these_mails():
    from billing_site import broker, jobs

    for name in ("mail_reset", "tell_user"):
        assert f"billing_site.jobs.{name}" in broker.ALLOWED
        assert callable(getattr(jobs, name))
