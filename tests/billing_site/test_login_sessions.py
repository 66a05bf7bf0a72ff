"""S3, S15: a session has a new key after signing in, and ends for everybody else when something changes."""

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from billing_site import sessions
from catalog.models import ClientUser, User
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NEW = "an entirely new horse"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def _signed_in(email: str = "sara@client.test", password: str = PASSWORD, **values: str) -> Client:
    client = Client(HTTP_USER_AGENT=FIREFOX)
    answer = client.post("/account/login/", {"login": email, "password": password, **values})
    assert answer.status_code == 302
    return client


def _is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def _change(client: Client):
    values = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    answer = client.post("/account/password/", values)
    assert answer.status_code == 302, answer.content.decode()
    return answer


def test_a_session_that_was_planted_before_signing_in_is_worth_nothing():
    a_user("sara@client.test", PASSWORD)
    client = Client()
    client.get("/account/login/")
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    client.cookies["sessionid"] = planted
    client.post("/account/login/", {"login": "sara@client.test", "password": PASSWORD})
    assert _is_in(client)
    assert client.session.session_key != planted
    thief = Client()
    thief.cookies["sessionid"] = planted
    assert not _is_in(thief)


def test_a_new_password_ends_every_other_session_and_keeps_this_one():
    sara = a_user("sara@client.test", PASSWORD)
    here, elsewhere = _signed_in(), _signed_in()
    before = here.session.session_key
    _change(here)
    assert _is_in(here)
    assert here.session.session_key != before
    assert [each.session_key for each in sessions.open_sessions(sara, timezone.now())] == [here.session.session_key]
    assert not _is_in(elsewhere)
    assert Session.objects.filter(session_key=before).count() == 0


def test_somebody_else_is_signed_out_by_no_change_of_ours():
    a_user("sara@client.test", PASSWORD)
    a_user("mo@client.test", PASSWORD)
    other = _signed_in("mo@client.test")
    _change(_signed_in())
    assert _is_in(other)


def test_the_old_password_must_be_right():
    a_user("sara@client.test", PASSWORD)
    answer = _signed_in().post("/account/password/", {"oldpassword": "x", "password1": NEW, "password2": NEW})
    assert "This password is not right." in answer.content.decode()
    assert User.objects.get(email="sara@client.test").check_password(PASSWORD)


def test_signing_out_kills_the_session_and_not_only_the_cookie():
    a_user("sara@client.test", PASSWORD)
    client = _signed_in()
    stolen = client.cookies["sessionid"].value
    client.post("/account/logout/")
    thief = Client()
    thief.cookies["sessionid"] = stolen
    assert not _is_in(thief)


def test_a_disabled_user_is_out_at_the_next_request():
    sara = a_user("sara@client.test", PASSWORD)
    client = _signed_in()
    type(sara).objects.filter(pk=sara.pk).update(is_active=False)
    assert not _is_in(client)


def test_enabling_a_user_again_opens_no_old_session():
    sara = a_user("sara@client.test", PASSWORD)
    client = _signed_in()
    a_staff_user("ines@staff.test", PASSWORD)
    staff = _signed_in("ines@staff.test")
    form = {"email": sara.email, "name": "", "language": "", "time_zone": ""}
    answer = staff.post(f"/admin/catalog/user/{sara.pk}/change/", form)
    assert answer.status_code == 302, answer.content.decode()
    sara.refresh_from_db()
    assert not sara.is_active
    staff.post(f"/admin/catalog/user/{sara.pk}/change/", {**form, "is_active": "on"})
    sara.refresh_from_db()
    assert sara.is_active
    assert not _is_in(client)


def test_who_is_no_staff_any_more_sees_no_staff_page_from_the_next_request_on():
    ines = a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test")
    assert client.get("/admin/servers/").status_code == 200
    type(ines).objects.filter(pk=ines.pk).update(is_staff=False, is_superuser=False)
    assert client.get("/admin/servers/").status_code == 403


def test_who_is_removed_from_a_client_sees_nothing_of_it_from_the_next_request_on():
    sara = a_user("sara@client.test", PASSWORD)
    one = a_client("Lindqvist & Moe", users=(sara,))
    client = _signed_in()
    assert list(one.users.all()) == [sara]
    ClientUser.objects.filter(client=one, user=sara).delete()
    assert "Lindqvist" not in client.get("/invoices/", follow=True).content.decode()


def test_log_out_elsewhere_ends_all_sessions_but_this_one():
    a_user("sara@client.test", PASSWORD)
    here, elsewhere, phone = _signed_in(), _signed_in(), _signed_in()
    assert here.get("/account/sessions/end/").status_code == 405
    here.post("/account/sessions/end/")
    assert (_is_in(here), _is_in(elsewhere), _is_in(phone)) == (True, False, False)


def test_one_session_is_ended_and_never_that_of_somebody_else():
    sara, mo = a_user("sara@client.test", PASSWORD), a_user("mo@client.test", PASSWORD)
    here, elsewhere, other = _signed_in(), _signed_in(), _signed_in("mo@client.test")
    at = UserSession.objects.get(session_key=elsewhere.session.session_key)
    theirs = UserSession.objects.get(user=mo)
    for session in (str(theirs.pk), "x", "9" * 30):
        here.post("/account/sessions/end/", {"session": session})
    assert _is_in(other)
    assert _is_in(elsewhere)
    here.post("/account/sessions/end/", {"session": str(at.pk)})
    assert (_is_in(here), _is_in(elsewhere)) == (True, False)
    assert sessions.open_sessions(sara, timezone.now()).count() == 1


def test_the_list_names_browsers_and_networks_and_leaves_out_what_is_over():
    a_user("sara@client.test", PASSWORD)
    here, gone = _signed_in(), _signed_in()
    gone.post("/account/logout/")
    page = here.get("/account/").content.decode()
    assert page.count("Firefox on Linux") == 1
    assert "127.0.0.1" in page


@pytest.mark.parametrize(("ticked", "days"), [("on", 14), ("", 0)])
def test_a_session_lasts_until_the_browser_closes_or_two_weeks_as_one_says(ticked, days):
    a_user("sara@client.test", PASSWORD)
    client = _signed_in(remember=ticked)
    assert client.cookies["sessionid"]["max-age"] == (days * 24 * 3600 or "")
    with time_machine.travel(timezone.now() + timedelta(days=15), tick=False):
        assert not _is_in(client)


def test_the_session_of_staff_lasts_half_a_day_whatever_was_ticked():
    a_staff_user("ines@staff.test", PASSWORD)
    client = _signed_in("ines@staff.test", remember="on")
    assert client.cookies["sessionid"]["max-age"] == 12 * 3600
    with time_machine.travel(timezone.now() + timedelta(hours=13), tick=False):
        assert not _is_in(client)
