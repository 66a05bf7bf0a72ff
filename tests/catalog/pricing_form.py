"""The pricing editor's form as it is sent, and what its page says, for the tests of the editor."""

import re
from html import unescape

from django.contrib.messages import get_messages
from django.urls import reverse

from tests.builders import MAILBOXES, a_metric


def address(product, declared=MAILBOXES):
    return reverse("staff_pricing", args=[product.pk, a_metric(declared).pk])


def typed(**changes):
    """A valid form of three brackets in dollars. A dash in a name is written as two underscores."""
    form = {
        "scheme": "graduated",
        "unit": "mailboxes",
        "included": "0",
        "package_size": "1",
        "notation": "first_unit",
        "effective_from": "2026-12-01",
        "after": "0",
        "quantity": "25",
        "currency": "USD",
        "rows": "3",
    }
    for number, (start, price) in enumerate([("0", "2.00"), ("10", "1.00"), ("20", "0.50")], start=1):
        form |= {f"start-{number}": start, f"price-{number}-USD": price, f"fee-{number}-USD": ""}
    return form | {name.replace("__", "-"): value for name, value in changes.items()}


def text_of(response):
    return " ".join(response.content.decode().split())


def errors_of(response):
    """What the page says below its fields, by field; each is pointed to by its field and linked from the top."""
    html = text_of(response)
    found = {}
    for name, words in re.findall(r'class="invalid-feedback" id="id_(\S+)_error">.*?<span>(.*?)</span></span>', html):
        assert re.search(rf'aria-describedby="[^"]*id_{name}_error"', html)
        assert f'<a href="#id_{name}">' in html
        found[name] = unescape(words)
    return found


def value_of(response, name):
    match = re.search(rf'<input[^>]*name="{name}"[^>]*>', response.content.decode())
    value = re.search(r' value="([^"]*)"', match[0])
    return unescape(value[1]) if value else ""


def prices_of(version):
    return [(row.currency, row.start, row.unit_price) for row in version.prices.order_by("-currency", "start")]


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]
