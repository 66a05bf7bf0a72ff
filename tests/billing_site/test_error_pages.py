"""When there is no page: what stands in for it says what to do next, to everybody, and needs no database for it."""

from unittest.mock import patch

import pytest
from django.test import Client
from django.urls import reverse

from tests.builders import a_client, a_server, a_staff_user
from tests.invoicing.pages import words
from tests.people import client_user, staff_with

KINDS = ["nobody", "client", "staff"]
NOWHERE = "/nowhere/"


def opened_by(kind):
    browser = Client(raise_request_exception=False)
    if kind == "client":
        browser.force_login(client_user(a_client()))
    if kind == "staff":
        browser.force_login(a_staff_user())
    return browser


def test_a_failure_has_a_page_that_asks_the_database_nothing():
    """The database is what fails here: this test may not use it, and not even who somebody is can be known."""
    browser = Client(raise_request_exception=False, headers={"accept-language": "en"})
    browser.cookies["sessionid"] = "somebody"
    response = browser.get(reverse("portal_services"))
    assert response.status_code == 500
    page = words(response)
    assert "Something failed on our side" in page
    assert "Go back and try again in a minute." in page
    assert 'href="/"' in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_meets_a_failure_reads_what_to_do(kind):
    browser = opened_by(kind)
    with patch("billing_site.browsers.HttpResponse", side_effect=RuntimeError):
        response = browser.get(reverse("robots"))
    assert response.status_code == 500
    assert "nothing was half done" in words(response)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "way_out"), [("nobody", "Sign in"), ("client", "overview"), ("staff", "overview")])
def test_nothing_at_an_address_is_said_with_a_way_out(kind, way_out):
    response = opened_by(kind).get(NOWHERE)
    assert response.status_code == 404
    assert "There is nothing here" in words(response)
    assert way_out in words(response)


@pytest.mark.django_db
def test_a_page_that_is_refused_says_who_opens_it():
    address = reverse("staff_team")
    asked = opened_by("client").get(address)
    assert (asked.status_code, "This page is for staff" in words(asked)) == (403, True)
    support = Client()
    support.force_login(staff_with("support"))
    asked = support.get(address)
    assert (asked.status_code, "Your role does not open this page." in words(asked)) == (403, True)


@pytest.mark.django_db
def test_who_had_to_sign_in_after_pressing_a_button_is_told_to_press_it_again():
    ines = a_staff_user("ines@staff.test", "correct horse battery")
    address = reverse("staff_server_test", args=[a_server().pk])
    browser = Client()
    login = browser.post(address)["Location"]
    response = browser.post(login, {"login": ines.email, "password": "correct horse battery"}, follow=True)
    assert response.request["PATH_INFO"] == address
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert "go back to the page with the button and press it again" in words(response)
    assert browser.get("/api/v1/usage").content.startswith(b"Method")


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_cannot_be_read_is_answered_with_a_page(kind):
    response = opened_by(kind).get("/account/login/", headers={"host": "evil.test"})
    assert response.status_code == 400
    assert "This request could not be read" in words(response)
    assert "Nothing was changed." in words(response)
