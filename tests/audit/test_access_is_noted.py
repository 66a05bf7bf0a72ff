"""Signing in and out, failing to, and being refused a page are noted, though they change no row."""

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client as Browser
from django.urls import reverse

from audit import log
from audit.models import Entry, reference
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    cache.clear()


def noted(what):
    return list(Entry.objects.filter(what=what).order_by("id"))


def test_signing_in_and_out_is_noted():
    user = a_user(password="a good long secret")
    browser = Browser()
    browser.post("/account/login/", {"login": user.email, "password": "a good long secret"})
    browser.post("/account/logout/")
    (came,), (left,) = noted("login"), noted("logout")
    assert (came.actor_id, came.actor, came.source, came.about) == (user.pk, str(user), "page", [reference(user)])
    assert left.actor_id == user.pk
    # When somebody was here last is moved by every login, and is no entry of its own.
    assert not Entry.objects.filter(table="catalog_user", what="update").exists()


def test_a_wrong_password_is_noted_with_whose_address_it_was():
    user = a_user(password="a good long secret")
    Browser().post("/account/login/", {"login": user.email.upper(), "password": "wrong"})
    (entry,) = noted("login_failed")
    assert (entry.actor_id, entry.about) == (None, [reference(user)])


def test_an_address_that_nobody_has_is_noted_without_it():
    Browser().post("/account/login/", {"login": "nobody@nowhere.test", "password": "wrong"})
    (entry,) = noted("login_failed")
    assert (entry.about, entry.changes, entry.actor) == ([], {}, "")


def test_a_thousand_wrong_passwords_are_not_a_thousand_entries():
    user = a_user(password="a good long secret")
    for number in range(60):
        Browser().post("/account/login/", {"login": user.email, "password": f"wrong {number}"})
    assert len(noted("login_failed")) < 30


def test_being_refused_a_staff_page_is_noted_once_in_a_while():
    user = a_staff_user()
    user.is_superuser = False
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_service"))
    browser = Browser()
    browser.force_login(user)
    for _ in range(3):
        assert browser.get(reverse("staff_audit")).status_code == 403
    (entry,) = noted("refused")
    assert (entry.actor_id, entry.path, entry.source) == (user.pk, reverse("staff_audit"), "page")
    assert browser.get(reverse("staff_messages")).status_code == 403
    assert len(noted("refused")) == 2


def test_being_refused_an_address_with_a_null_character_is_noted():
    browser = Browser()
    browser.force_login(a_user("kim@staff.test", is_staff=True))
    assert browser.get("/admin/auth/group/%00/change/").status_code == 403
    (entry,) = noted("refused")
    assert entry.path == "/admin/auth/group/%00/change/"


def test_who_is_not_signed_in_is_sent_to_the_login_and_not_noted():
    Browser().get(reverse("staff_audit"))
    assert not noted("refused")


def test_viewing_as_a_client_is_noted_about_that_client():
    user, client = a_staff_user(), a_client()
    log.note(Entry.What.VIEW_AS_BEGAN, by=user, about=[client])
    (entry,) = noted("view_as_began")
    assert entry.about == sorted([reference(user), reference(client)])
    assert entry.actor_id == user.pk
