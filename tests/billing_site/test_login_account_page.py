"""A person's own account: in their area, their language and their time zone, and nothing else of a user is taken."""

from datetime import time

import pytest
from django.test import Client
from django.utils import timezone

from billing_site import sessions
from catalog.models import User
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


def _signed_in(email: str) -> Client:
    client = Client()
    client.post("/account/login/", {"login": email, "password": PASSWORD})
    return client


def _sara(**values) -> Client:
    sara = a_user("sara@client.test", PASSWORD, **values)
    a_client(users=(sara,))
    return _signed_in("sara@client.test")


def test_it_stands_in_the_area_that_one_belongs_to():
    portal = _sara().get("/account/")
    assert "portal/base.html" in {each.name for each in portal.templates}
    ines = a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test")
    assert "staff/base.html" in {each.name for each in client.get("/account/").templates}
    a_client("Own", users=(ines,))
    assert "portal/base.html" in {each.name for each in client.get("/account/").templates}


def test_a_person_changes_their_name_language_and_time_zone():
    client = _sara()
    answer = client.post("/account/", {"name": "Sara L", "language": "de", "time_zone": "Europe/Berlin"})
    assert answer.status_code == 302
    sara = User.objects.get(email="sara@client.test")
    assert (sara.name, sara.language, sara.time_zone) == ("Sara L", "de", "Europe/Berlin")
    page = client.get("/account/")
    assert page.headers["Content-Language"] == "de"
    assert client.cookies["django_language"].value == "de"


def test_a_person_says_when_no_alert_is_to_be_mailed():
    client = _sara()
    assert "Set quiet hours for mails" in client.get("/alerts/").content.decode()
    assert client.post("/account/", {"quiet_from": "22:00", "quiet_until": "07:30"}).status_code == 302
    sara = User.objects.get(email="sara@client.test")
    assert (sara.quiet_from, sara.quiet_until) == (time(22), time(7, 30))
    assert 'value="22:00"' in client.get("/account/").content.decode()
    assert "No mails about them from 22:00 to 07:30." in client.get("/alerts/").content.decode()
    assert client.post("/account/", {"quiet_from": "", "quiet_until": ""}).status_code == 302
    assert User.objects.get(email="sara@client.test").quiet_from is None


@pytest.mark.parametrize(
    "values",
    [
        {"quiet_from": "22:00"},
        {"quiet_until": "07:00"},
        {"quiet_from": "25:00", "quiet_until": "07:00"},
        {"quiet_from": "07:00", "quiet_until": "07:00"},
        {"language": "xx"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../../etc/passwd"},
        {"name": "x" * 201},
    ],
)
def test_what_there_is_not_is_refused_on_the_page(values):
    client = _sara()
    answer = client.post("/account/", {"name": "", "language": "", "time_zone": "", **values})
    assert answer.status_code == 200
    assert "invalid-feedback" in answer.content.decode()


def test_no_other_field_of_a_user_is_taken_from_the_form():
    client = _sara()
    before = User.objects.filter(email="sara@client.test").values().get()
    everything = {field.name: "1" for field in User._meta.get_fields()}
    everything |= {"is_staff": "on", "is_superuser": "on", "email": "evil@evil.test", "password": "x", "groups": "1"}
    own = dict.fromkeys(["language", "time_zone", "quiet_from", "quiet_until"], "")
    client.post("/account/", {**everything, **own, "name": "Sara"})
    after = User.objects.filter(email="sara@client.test").values().get()
    assert {key for key in after if after[key] != before[key]} == {"name"}


@pytest.mark.parametrize(
    ("chosen", "asked", "answered"),
    [("fr", "de", "fr"), ("", "de", "de"), ("", "de-AT,de;q=0.9", "de"), ("", "xx", "en"), ("xx", "es", "es")],
)
def test_the_language_is_the_persons_and_else_what_the_browser_asks_for(chosen, asked, answered):
    client = _sara(language=chosen)
    response = client.get("/account/", HTTP_ACCEPT_LANGUAGE=asked)
    assert response.headers["Content-Language"] == answered
    if not chosen:
        assert "Accept-Language" in response.headers["Vary"]


def test_somebody_who_is_not_signed_in_has_the_language_of_the_cookie_or_the_browser():
    client = Client()
    assert client.get("/account/login/", HTTP_ACCEPT_LANGUAGE="es").headers["Content-Language"] == "es"
    client.cookies["django_language"] = "fr"
    assert client.get("/account/login/", HTTP_ACCEPT_LANGUAGE="es").headers["Content-Language"] == "fr"


@pytest.mark.parametrize(("chosen", "used"), [("Asia/Tokyo", "Asia/Tokyo"), ("", "UTC"), ("Mars/Olympus", "UTC")])
def test_times_are_in_the_persons_zone_and_else_in_the_sites(chosen, used):
    response = _sara(time_zone=chosen).get("/account/")
    assert response.context["time_zone"] == used
    assert timezone.get_current_timezone_name() == "UTC"  # and nobody else's after that


def test_it_takes_as_many_queries_for_many_sessions_as_for_one(django_assert_num_queries):
    client = _sara()
    sara = User.objects.get(email="sara@client.test")
    client.get("/account/")
    with django_assert_num_queries(4):
        client.get("/account/")
    for _ in range(12):
        _signed_in("sara@client.test")
    assert sessions.open_sessions(sara, timezone.now()).count() == 13
    with django_assert_num_queries(4):
        client.get("/account/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "password/",
        "two-step/app/",
        "two-step/passkeys/add/",
        "two-step/codes/new/",
        "logout/",
        "confirm/",
    ],
)
def test_every_page_of_it_is_ours(path):
    page = _sara().get(f"/account/{path}")
    assert page.status_code == 200
    text = page.content.decode()
    assert text.count("<h1>") == 1
    assert "tp-" in text
    assert not [each.name for each in page.templates if each.name and each.name.startswith("allauth/")]


@pytest.mark.parametrize("path", ["login/", "password/reset/", "password/reset/sent/", "password/reset/done/"])
def test_every_page_before_it_is_ours(path):
    page = Client().get(f"/account/{path}")
    assert page.status_code == 200
    assert 'class="tp-gate"' in page.content.decode()
    assert not [each.name for each in page.templates if each.name and each.name.startswith("allauth/")]
