"""`manage.py check_provider`: what it says of servers that are right, and of those that are not."""

import json
from datetime import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from metering.models import Collection, Metric, Server, Tenant
from metering.providers import networks
from metering.providers.base import ProviderError, TenantUsage, Usage
from tests.builders import GB, Panel, a_server, panel, says, tenant_says
from tests.metering.real_prometheus import free_port
from tests.metering.test_http import a_certificate, a_fingerprint, a_tls_server, with_colons

pytestmark = pytest.mark.django_db
TOKEN = "t0ken/with&all"


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    """Servers of the panel are on this machine."""
    monkeypatch.setattr(networks, "look_up", lambda host, port: ["127.0.0.1"])


def checked(*arguments: str) -> tuple[int, str]:
    """Return the exit status, and all that was said."""
    out, status = StringIO(), 0
    try:
        call_command("check_provider", *arguments, stdout=out)
    except CommandError as error:
        status = error.returncode
        out.write(str(error))
    return status, out.getvalue()


def a_panel_server(name: str = "panel-01", **values: Any) -> Server:
    return a_server(name, credentials={"token": TOKEN}, **values)


def wrong(said: str) -> list[str]:
    return [line.split(None, 1)[1] for line in said.splitlines() if line.startswith("  wrong")]


def test_a_server_that_is_right_is_told_so_and_nothing_is_stored():
    a_panel_server()
    with panel(says(tenant_says("alice", disk=Usage(5 * GB, limit=9 * GB)), tenant_says("bob", disk=0, mailboxes=3))):
        status, said = checked("panel", "--server", "panel-01")
    assert (status, wrong(said)) == (0, [])
    assert "Panel 1.0. It took 0.0" in said
    assert "2 tenants in 0.0" in said
    assert "disk (snapshot): 2 values, 1 zero, 1 with a limit; 0 GB to 5 GB." in said
    assert "mailboxes (snapshot): 1 value; 3 mailboxes." in said
    assert "traffic (month): no value." in said
    assert [model for model in (Collection, Tenant, Metric) if model.objects.exists()] == []


def test_settings_that_are_missing_are_named_and_nothing_is_asked():
    a_server(settings={})
    with panel():
        status, said = checked("panel")
        assert Panel.asked == []
    assert status == 1
    assert wrong(said) == ["settings     Host (host) is missing.", "settings     Token (token) is missing."]
    assert said.endswith("2 things are wrong.")


def test_failures_are_grouped_by_reason_whatever_the_tenants_are_called():
    a_panel_server()
    refused = [TenantUsage(f"user{n}", {}, {"disk": f"user{n} may not be read"}) for n in range(5)]
    with panel(says(tenant_says("alice", disk=1), *refused)):
        status, said = checked("panel")
    assert status == 1
    assert wrong(said) == ["failed       5 × disk: … may not be read ('user0', 'user1', 'user2', …)."]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            tenant_says("alice", unheard_of=1),
            "undeclared   1 × unheard_of: the provider does not declare it ('alice').",
        ),
        (TenantUsage("alice", {"disk": Usage(1.5)}), "1.5 is of type float, not Decimal"),
        (TenantUsage("alice", {"disk": 5}), "5 is no Usage"),
        (tenant_says("alice", disk=Decimal("NaN")), "NaN is no number"),
        (tenant_says("alice", disk=-1), "is negative"),
        (tenant_says("alice", disk=Usage(Decimal(1), limit=Decimal(-1))), "its limit"),
        (tenant_says("alice", disk=Usage(Decimal(1), collected_at=datetime(2026, 1, 1))), "no time zone"),
    ],
)
def test_what_could_not_be_stored_is_named(answer, reason):
    a_panel_server()
    with panel(says(answer)):
        status, said = checked("panel")
    assert status == 1
    assert reason in wrong(said)[0]


def test_a_tenant_that_comes_twice_and_one_that_does_not_come_at_all_are_named():
    a_panel_server()
    with panel(says(tenant_says("alice", disk=1), tenant_says("alice", disk=2))):
        assert "Named more than once, so nothing is stored: 'alice'." in checked("panel")[1]
    with panel(says()):
        status, said = checked("panel")
    assert status == 1
    assert "0 tenants" in wrong(said)[0]


def test_a_server_that_refuses_is_asked_once_and_its_words_are_shown_without_the_credential(monkeypatch):
    a_panel_server()

    def refuse(self: Panel) -> str:
        raise ProviderError(f"The token {self.connection.credentials['token']} is refused.")

    monkeypatch.setattr(Panel, "check", refuse)
    with panel():
        status, said = checked("panel")
        assert Panel.asked == []
    assert (status, wrong(said)) == (1, ["check        The token ••• is refused."])


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyError])
def test_a_provider_that_stops_is_told_by_place_and_not_by_its_words(error):
    a_panel_server()

    def stop(connection: Any, period: Any = None) -> Any:
        yield tenant_says("alice", disk=1)
        raise error(TOKEN)

    with panel(stop):
        status, said = checked("panel")
    assert status == 1
    assert f"It stopped with {error.__name__} at {__file__}:" in wrong(said)[0]
    assert "disk (snapshot): 1 value" in said
    assert TOKEN not in said


def test_a_server_that_takes_long_is_left_when_the_time_is_over():
    a_panel_server()

    def go_on(connection: Any, period: Any = None) -> Any:
        number = 0
        while True:
            number += 1
            yield tenant_says(f"user{number}", disk=1)

    with panel(go_on):
        status, said = checked("panel", "--seconds", "0")
    assert (status, "That is not all: the time was over." in said) == (0, True)


def test_all_servers_of_a_provider_are_asked_and_only_those():
    a_panel_server("panel-01")
    a_panel_server("panel-02")
    a_server("files", provider="filesystem", settings={"root": "/nowhere"})
    with panel(says(tenant_says("alice", disk=1))):
        _, said = checked("panel")
    assert [line for line in said.splitlines() if line in ("panel-01", "panel-02", "files")] == ["panel-01", "panel-02"]
    status, said = checked("filesystem")
    assert (status, "/nowhere is not a directory" in said) == (1, True)


def test_a_wrong_call_says_what_there_is():
    a_panel_server()
    with panel():
        status, said = checked("acme")
        assert status == 2
        assert said.startswith("No provider called 'acme' is installed. Installed are: ")
        assert checked("panel", "--server", "nope")[1].endswith("There are: panel-01.")
        assert checked("filesystem", "--server", "panel-01")[0] == 2
        assert "There is no server of this provider yet" in checked("filesystem")[1]


def test_credentials_that_cannot_be_read_are_said_and_do_not_hide_the_others(settings):
    from cryptography.fernet import Fernet

    broken = a_panel_server("broken")
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    a_panel_server("fine")
    with panel(says(tenant_says("alice", disk=1))):
        status, said = checked("panel")
    assert status == 1
    assert "cannot be read with the keys of FIELD_KEYS" in wrong(said)[0]
    assert "1 tenant in" in said
    assert broken.name in said


def test_a_name_without_an_address_and_one_that_may_not_be_asked_are_wrong(monkeypatch):
    monkeypatch.undo()
    a_server("nowhere", provider="whm", settings=whm("https://nowhere.invalid:2087"), credentials={"token": TOKEN})
    a_server("metadata", provider="whm", settings=whm("http://169.254.169.254"), credentials={"token": TOKEN})
    a_server("none", provider="whm", settings=whm("no address"), credentials={"token": TOKEN})
    for name, reason in (
        ("nowhere", "nowhere.invalid has no address"),
        ("metadata", "169.254.169.254 lies in 169.254.0.0/16, a network that may not be asked"),
        ("none", "The URL cannot be used"),
    ):
        status, said = checked("whm", "--server", name)
        assert status == 1
        assert reason in wrong(said)[0]


def whm(url: str, **more: str) -> dict[str, str]:
    return {"url": url, "user": "root", "mailboxes": "no", "tls": "system", **more}


def test_the_certificate_is_shown_to_be_compared(tmp_path):
    certificate, key = a_certificate()
    digest = with_colons(a_fingerprint(certificate)).upper()
    with a_tls_server(certificate, key, tmp_path) as url:
        a_server("self-signed", provider="whm", settings=whm(url), credentials={"token": TOKEN})
        said = checked("whm")[1]
        assert f"ok     certificate  TLSv1.3; the fingerprint of its certificate is {digest}." in said
        assert "has a certificate that is not trusted" in wrong(said)[0]
        Server.objects.update(settings=whm(url, tls="fingerprint", fingerprint=digest))
        assert "certificate that is not trusted" not in checked("whm")[1]


def test_no_tls_where_https_is_configured_is_wrong(httpserver):
    a_server(
        "plain", provider="whm", settings=whm(f"https://127.0.0.1:{httpserver.port}"), credentials={"token": TOKEN}
    )
    assert "There is no TLS at 127.0.0.1" in wrong(checked("whm")[1])[0]


def test_calls_and_bytes_are_counted(httpserver):
    vector = {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {"t": "a"}, "value": [0, "1"]}]},
    }
    httpserver.expect_request("/api/v1/status/buildinfo").respond_with_json({"data": {"version": "2.42.0"}})
    httpserver.expect_request("/api/v1/query").respond_with_json(vector)
    row = {"system_name": "disk", "type": "snapshot", "unit": "B", "expression": "disk", "label": "t"}
    a_server(provider="prometheus", settings={"url": httpserver.url_for(""), "auth": "none", "metrics": [row]})
    status, said = checked("prometheus")
    assert (status, wrong(said)) == (0, [])
    assert f", 1 call, {len(json.dumps(vector, indent=4))} bytes." in said


def test_nobody_listening_is_wrong():
    a_server(
        provider="postgresql", settings={"host": "127.0.0.1", "port": free_port(), "user": "tally", "database": "d"}
    )
    status, said = checked("postgresql")
    assert status == 1
    assert "Could not ask d at 127.0.0.1" in wrong(said)[0]
