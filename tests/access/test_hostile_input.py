"""What clients, servers and strangers may have named or typed reaches no page, table or query as more than text."""

import csv
import io
import re

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from catalog.models import Client as Customer
from catalog.models import Product, Service, User
from metering.models import Metric, Server, Tenant
from tests.access.rules import PORTAL, STAFF_PAGES
from tests.access.world import world
from tests.builders import panel

pytestmark = pytest.mark.django_db

SCRIPT = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7|add:7 }}%(x)s'
FORMULA = "=HYPERLINK(1)"
PEOPLE = {"owner": PORTAL, "staff administrator": STAFF_PAGES}
ODD = (
    "?q=%27%22%3B--&page=-1&o=1%3BDROP&client=x&show=%00&state=zzz&before=x&after=9999999999999999999999",
    "?q=" + "a%25_" * 2000,
    "?_connector=OR&pk__in=1&month=2026-13&from=x&to=y&currency=%3Cb%3E&product=999999999999999999999",
)


def named(text):
    """Give everything that somebody else names this name."""
    all_of_it = world()
    for model, field in ((Customer, "name"), (User, "name"), (Metric, "display_name")):
        model.objects.update(**{field: text})
    for model, field in ((Product, "name"), (Service, "name"), (Server, "name"), (Tenant, "key")):
        for number, one in enumerate(model.objects.all()):
            model.objects.filter(pk=one.pk).update(**{field: f"{text}{number}"})
    return all_of_it


def pages(all_of_it, kind):
    """Open every page that this person sees: name, address and answer."""
    browser = Client()
    browser.force_login(all_of_it.users[kind])
    for name, rule in PEOPLE[kind].items():
        if rule.see and kind in rule.see:
            path = reverse(name, args=all_of_it.arguments.get(name, []))
            with panel():
                yield name, path, browser.get(path)


@pytest.mark.parametrize("kind", PEOPLE)
@override_settings(STAFF_MFA=False)
def test_no_name_becomes_markup_or_is_run_as_a_template(kind):
    """S7, S10"""
    for name, _path, response in pages(named(SCRIPT), kind):
        if not response.headers["Content-Type"].startswith("text/html"):
            continue
        text = response.content.decode()
        assert "<img src=x" not in text, name
        assert "<script>alert" not in text, name
        assert "onerror=alert(1)>" not in text.replace("onerror=alert(1)&gt;", ""), name


@pytest.mark.parametrize("kind", PEOPLE)
@override_settings(STAFF_MFA=False)
def test_no_name_becomes_a_formula_of_a_table(kind):
    """S8"""
    seen = 0
    for name, _path, response in pages(named(FORMULA), kind):
        if not response.headers["Content-Type"].startswith("text/csv"):
            continue
        seen += 1
        for row in csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"))):
            for cell in row:
                assert not re.match(r"[=@\t\r]|[+-](?![0-9.]+$)", cell), (name, cell)
    assert seen >= 4


@pytest.mark.parametrize("query", ODD)
@override_settings(STAFF_MFA=False)
def test_what_is_typed_into_an_address_breaks_no_page(query):
    """S11, S22"""
    all_of_it = world()
    for kind, rules in PEOPLE.items():
        browser = Client(raise_request_exception=False)
        browser.force_login(all_of_it.users[kind])
        for name, rule in rules.items():
            if rule.see and kind in rule.see:
                path = reverse(name, args=all_of_it.arguments.get(name, []))
                with panel():
                    assert browser.get(path + query).status_code < 500, (name, query[:40])
