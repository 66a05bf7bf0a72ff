"""Every address, every kind of person, every method: who is let in, who is refused, and who finds nothing there.

The addresses come from the URL configuration: a new one without a rule fails here.
"""

import pytest
from django.db import transaction
from django.test import Client, override_settings
from django.urls import get_resolver, reverse

from metering import vault
from tests.access.rules import PORTAL, PUBLIC, STAFF_PAGES, Rule
from tests.access.world import world
from tests.builders import panel

pytestmark = pytest.mark.django_db

RULES = PORTAL | PUBLIC | STAFF_PAGES
KINDS = (
    *("nobody", "owner", "billing of client", "reader", "other owner", "staff of nothing"),
    *("staff viewer", "staff support", "staff billing", "staff pricing", "staff administrator"),
)
#: Addresses whose names are made by others have rules of their own, in this folder: by the begin of their names.
ELSEWHERE = ("admin:", "api:", "account", "mfa_", "end_sessions", "staff_records", "None")


def names(patterns, namespace=""):
    for each in patterns:
        if hasattr(each, "url_patterns"):
            yield from names(each.url_patterns, f"{namespace}{each.namespace}:" if each.namespace else namespace)
        else:
            yield f"{namespace}{each.name}"


def answer(kind, user, method, path):
    """Ask once, and take back what that did."""
    browser, before = Client(), transaction.savepoint()
    if user is not None:
        browser.force_login(user)
    with panel():
        response = browser.generic(method, path)
    transaction.savepoint_rollback(before)
    return response


def wanted(rule: Rule, kind: str, may: frozenset[str] | None) -> str:
    if may is None:
        return "405"
    if rule.is_hidden:
        return "404"
    if kind in may:
        return "in"
    if kind == "nobody":
        return "login"
    if rule.is_own and kind not in ("owner", "billing of client", "reader"):
        return "404"
    return "403"


def what_came(response) -> str:
    if response.status_code == 302 and "/account/login/" in response.headers["Location"]:
        return "login"
    if response.status_code in (403, 404, 405):
        return str(response.status_code)
    return "in" if response.status_code < 500 else f"{response.status_code}!"


def test_every_address_has_a_rule():
    known = {name for name in names(get_resolver().url_patterns) if not name.startswith(ELSEWHERE)}
    assert known - RULES.keys() == set(), "add a rule to tests/access/rules.py"
    assert RULES.keys() - known == set(), "these are no addresses any more"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", KINDS)
@override_settings(STAFF_MFA=False)
def test_who_is_let_in(kind, method):
    all_of_it = world()
    wrong = []
    for name, rule in RULES.items():
        path = reverse(name, args=all_of_it.arguments.get(name, []))
        came = what_came(answer(kind, all_of_it.users[kind], method, path))
        expected = wanted(rule, kind, rule.see if method == "GET" else rule.do)
        if came != expected:
            wrong.append(f"{method} {path} ({name}) as {kind}: {came} instead of {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["owner", "staff administrator", "nobody"])
@override_settings(STAFF_MFA=False)
def test_nothing_knows_another_method(kind):
    all_of_it = world()
    for method in ("PUT", "PATCH", "DELETE"):
        for name in RULES:
            path = reverse(name, args=all_of_it.arguments.get(name, []))
            assert answer(kind, all_of_it.users[kind], method, path).status_code in (302, 403, 404, 405), (method, name)


def test_no_page_of_a_client_reads_what_servers_are_asked_with(monkeypatch):
    """Their credentials are for collections. A page that reads them takes longer, and fails where the keys do."""
    all_of_it = world()
    monkeypatch.setattr(vault, "decrypt", refuse)
    for name, rule in PORTAL.items():
        path = reverse(name, args=all_of_it.arguments.get(name, []))
        came = what_came(answer("owner", all_of_it.users["owner"], "GET", path))
        assert came == wanted(rule, "owner", rule.see), name


def refuse(token):
    raise AssertionError("credentials were read")


@override_settings(STAFF_MFA=False)
def test_what_is_anothers_looks_like_what_is_not_there(client):
    """The pages of both are the same, so that nobody finds out what there is."""
    all_of_it = world()
    client.force_login(all_of_it.users["other owner"])
    gone = "00000000-0000-4000-8000-000000000000"
    for name in ("portal_service", "portal_invoice", "portal_invoice_pdf", "portal_lines_csv"):
        theirs = client.get(reverse(name, args=all_of_it.arguments[name]))
        nothing = client.get(reverse(name, args=[gone]))
        assert (theirs.status_code, theirs.content) == (404, nothing.content)
