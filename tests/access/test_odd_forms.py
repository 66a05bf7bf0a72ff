"""Whatever is typed into whichever form of the site is taken or refused with a reason, and breaks nothing."""

from itertools import product
from typing import NamedTuple
from urllib.parse import urljoin

import pytest
from django.db import transaction
from django.test import Client, override_settings
from django.urls import reverse
from lxml import html

from tests.access.rules import PORTAL, STAFF_PAGES
from tests.access.world import world
from tests.builders import panel

pytestmark = pytest.mark.django_db

ODD = {
    "a null": "a\x00b",
    "letters of four bytes": "\N{GRINNING FACE}\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL A}",
    "ten thousand letters": "x" * 10_000,
    "many digits": "9" * 40,
    "an exponent": "1e400",
    "less than nothing": "-1",
    "a day that is none": "2026-02-30",
    "the first day": "0001-01-01",
    "the last day": "9999-12-31",
}
TYPED = {"text", "number", "date", "datetime-local", "month", "search", "email", "url", "tel", "time", "textarea"}
PEOPLE = {"owner": PORTAL, "staff administrator": STAFF_PAGES}
#: On so many pages at least there is a form.
FORMS = {"owner": 8, "staff administrator": 34}


class Form(NamedTuple):
    """Where a form goes, what it says as it is, and the names of its fields that people type into."""

    method: str
    target: str
    values: dict[str, str]
    typed: tuple[str, ...]


def forms(browser, all_of_it, kind):
    """Yield each form that a person sees once, with the name of its page."""
    seen = set()
    for name, rule in PEOPLE[kind].items():
        if not (rule.see and kind in rule.see):
            continue
        path = reverse(name, args=all_of_it.arguments.get(name, []))
        with panel():
            answer = browser.get(path)
        if answer.status_code != 200 or not answer.headers["Content-Type"].startswith("text/html"):
            continue
        for form in html.fromstring(answer.content).forms:
            target = urljoin(path, form.action or "")
            typed = tuple(each.name for each in form.inputs if each.name and getattr(each, "type", "textarea") in TYPED)
            key = (form.method, target.partition("?")[0], typed)
            if key not in seen:
                seen.add(key)
                yield name, Form(form.method, target, dict(form.form_values()), typed)


@pytest.mark.parametrize("kind", PEOPLE)
@override_settings(STAFF_MFA=False)
def test_no_form_breaks(kind):
    """D17, S22"""
    all_of_it = world()
    browser = Client(raise_request_exception=False)
    browser.force_login(all_of_it.users[kind])
    broken, pages = [], set()
    for page, form in forms(browser, all_of_it, kind):
        pages.add(page)
        for field, (what, odd) in product(form.typed, ODD.items()):
            point = transaction.savepoint()
            with panel():
                send = browser.post if form.method == "POST" else browser.get
                answer = send(form.target, {**form.values, field: odd})
            transaction.savepoint_rollback(point)
            if answer.status_code >= 500:
                broken.append(f"{page}: {form.method} {form.target} with {what} as {field}: {answer.status_code}")
    assert not broken, "\n".join(broken)
    print(len(pages))
    assert len(pages) >= FORMS[kind], pages  # they were found and sent
