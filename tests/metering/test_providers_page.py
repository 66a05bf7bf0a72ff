"""What docs/providers.md shows works: its provider, its tests, its links and its list of networks."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from werkzeug import Request, Response

from metering.providers import base, networks
from metering.providers.base import Usage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
TOKEN = "t0ken/with&all"
CUSTOMERS: list[dict[str, Any]] = [
    {"name": "alice", "bytes": 9007199254740993, "quota": 10**16, "objects": 7},
    {"name": "bob", "bytes": 0, "quota": None, "objects": 0},
    {"name": "carol", "objects": "many"},
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def acme(httpserver, monkeypatch):
    """The module of the page, with a server for it."""

    def answer(request: Request) -> Response:
        if (given := request.headers.get("Authorization")) != f"Bearer {TOKEN}":
            return Response(f"not you: {given}", status=401)
        return Response(json.dumps({"customers": CUSTOMERS}))

    httpserver.expect_request("/v1/customers").respond_with_handler(answer)
    module = ModuleType("acme")
    exec(blocks("python")[0], vars(module))
    monkeypatch.setitem(sys.modules, "acme", module)
    monkeypatch.setenv("ACME_URL", httpserver.url_for(""))
    monkeypatch.setenv("ACME_TOKEN", TOKEN)
    return module


def the_tests_of_the_page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)
    return names


def test_a_provider_takes_no_more_than_40_lines():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 40


@pytest.mark.usefixtures("acme")
def test_the_provider_of_the_page_keeps_the_contract():
    contract = the_tests_of_the_page()["TestAcme"]
    ran = [name for name in dir(contract) if name.startswith("test_")]
    for name in ran:
        getattr(contract(), name)()
    assert len(ran) >= 13


def test_the_provider_of_the_page_tells_zero_absent_and_failed_apart(acme):
    found = {answer.tenant: answer for answer in acme.Acme(the_tests_of_the_page()["TestAcme"]().connection()).usage()}
    assert found["alice"].values["disk_used"] == Usage(9007199254740993, limit=10**16)
    assert found["bob"].values["disk_used"] == Usage(0)
    assert found["carol"].values == {}
    assert found["carol"].failures == {"objects": "objects is 'many', which is no quantity"}


def test_the_entry_point_of_the_page_is_the_one_that_is_looked_for():
    assert f'[project.entry-points."{base.GROUP}"]\nacme = "acme:Acme"' in blocks("toml")[0]


def test_every_installed_provider_has_its_page():
    linked = dict(re.findall(r"^\| \[`(\w+)`\]\((providers/\w+\.md)\)", PAGE.read_text(), re.MULTILINE))
    assert set(linked) == set(base.installed())
    missing = [path for path in linked.values() if not (PAGE.parent / path).exists()]
    assert not missing


def test_the_page_lists_the_networks_that_are_blocked():
    (table,) = re.findall(r"\| network \| is \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE.read_text())
    named = [network for row in table.splitlines() for network in row.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(networks.BLOCKED)
