"""Every address of the site, from its URL configuration, with arguments that could be."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from django.urls import get_resolver

SAMPLES = {
    "int": "1",
    "str": "x",
    "slug": "x",
    "path": "1",
    "day": "2026-11-01",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
#: Addresses that are written as regular expressions, by how they begin.
PATTERNS = {
    "^password/reset/": "password/reset/1-abc-def/",
    "(?P<url>.*)$": "nothing/here",
}


class Address(NamedTuple):
    name: str
    path: str


def addresses() -> list[Address]:
    return list(_below(get_resolver().url_patterns, "/", ""))


def _below(patterns, prefix: str, namespace: str) -> Iterator[Address]:
    for each in patterns:
        path = prefix + _sample(str(each.pattern))
        if hasattr(each, "url_patterns"):
            inner = f"{namespace}{each.namespace}:" if each.namespace else namespace
            yield from _below(each.url_patterns, path, inner)
        else:
            yield Address(f"{namespace}{each.name}", path)


def _sample(route: str) -> str:
    for begin, path in PATTERNS.items():
        if route.startswith(begin):
            return path
    # Django's admin writes which apps it has as a regular expression
    if match := re.match(r"\^\(\?P<app_label>(\w+)", route):
        return f"{match[1]}/"
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES[found[1] or "str"], route)
