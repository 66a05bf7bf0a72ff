"""S17: a link that sets a new password works once, for an hour, for its owner, and leads to the site's own address."""

import re

import pytest
import time_machine
from django.core import mail
from django.test import Client, override_settings
from django.utils import timezone

from tests.builders import a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NEW = "an entirely new horse"


def _link(email: str = "sara@client.test", **headers: str) -> str:
    """Ask for a link as somebody who forgot, and return it as mailed."""
    Client().post("/account/password/reset/", {"email": email}, **headers)
    return re.search(r"https?://\S+", mail.outbox[-1].body)[0]


def _path(link: str) -> str:
    return re.sub(r"^https?://[^/]+", "", link)


def _set(client: Client, link: str, password: str = NEW):
    form = client.get(_path(link))
    if form.status_code == 200:
        return form
    return client.post(form["Location"], {"password1": password, "password2": password})


def _is_let_in(email: str, password: str) -> bool:
    return Client().post("/account/login/", {"login": email, "password": password}).status_code == 302


def test_the_link_sets_a_new_password_and_ends_every_session():
    a_user("sara@client.test", PASSWORD)
    elsewhere = Client()
    elsewhere.post("/account/login/", {"login": "sara@client.test", "password": PASSWORD})
    assert _set(Client(), _link())["Location"] == "/account/password/reset/done/"
    assert elsewhere.get("/account/").status_code == 302
    assert _is_let_in("sara@client.test", NEW)
    assert not _is_let_in("sara@client.test", PASSWORD)


def test_setting_it_signs_nobody_in():
    """The second step of signing in is not gone around by a mail."""
    a_user("sara@client.test", PASSWORD)
    client = Client()
    _set(client, _link())
    assert client.get("/account/").status_code == 302


def test_it_works_once():
    a_user("sara@client.test", PASSWORD)
    link = _link()
    _set(Client(), link)
    again = _set(Client(), link, "yet another horse")
    assert "This link does not work any more" in again.content.decode()
    assert _is_let_in("sara@client.test", NEW)


def test_it_works_for_an_hour():
    a_user("sara@client.test", PASSWORD)
    link = _link()
    with time_machine.travel(timezone.now().timestamp() + 3602, tick=False):
        assert "This link does not work any more" in _set(Client(), link).content.decode()


def test_a_newer_password_makes_older_links_useless():
    sara = a_user("sara@client.test", PASSWORD)
    link = _link()
    sara.set_password("changed meanwhile")
    sara.save()
    assert "This link does not work any more" in _set(Client(), link).content.decode()


def test_a_link_of_somebody_who_was_disabled_since_does_not_work():
    sara = a_user("sara@client.test", PASSWORD)
    link = _link()
    type(sara).objects.filter(pk=sara.pk).update(is_active=False)
    assert "This link does not work any more" in _set(Client(), link).content.decode()


@override_settings(SITE_ADDRESS="https://billing.example.com", ALLOWED_HOSTS=["*"])
def test_no_header_of_a_request_gets_into_the_link():
    a_user("sara@client.test", PASSWORD)
    link = _link(HTTP_HOST="evil.test", HTTP_X_FORWARDED_HOST="evil.test", HTTP_X_FORWARDED_PROTO="ftp")
    assert link.startswith("https://billing.example.com/account/password/reset/")
    message = mail.outbox[-1]
    assert "evil" not in message.body + message.subject


def test_the_page_with_the_form_has_no_token_in_its_address():
    a_user("sara@client.test", PASSWORD)
    link = _link()
    token = link.rstrip("/").partition("-")[2]
    client = Client()
    answer = client.get(_path(link))
    assert answer.status_code == 302
    assert token not in answer["Location"]
    page = client.get(answer["Location"])
    assert page.status_code == 200
    assert token not in page.content.decode()
    assert page.headers["Referrer-Policy"] == "same-origin"


def test_a_link_that_was_guessed_says_the_same_as_one_that_is_over():
    sara = a_user("sara@client.test", PASSWORD)
    for link in (f"/account/password/reset/{sara.pk}-cabc12-deadbeef/", "/account/password/reset/zzzz-x-y/"):
        assert "This link does not work any more" in Client().get(link).content.decode()


def test_the_mail_is_in_the_language_of_its_reader_and_says_nothing_of_the_request():
    a_user("sara@client.test", PASSWORD, language="en")
    Client(HTTP_USER_AGENT="<script>").post("/account/password/reset/", {"email": "SARA@client.test"})
    message = mail.outbox[-1]
    assert message.subject == "Set a new password for Tallyport"
    assert "within 60 minutes; it works once" in message.body
    assert "script" not in message.body
