"""Networks that may not be asked: judged by the addresses that a name has, before anything is connected."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from metering.providers import networks
from metering.providers.base import ProviderError
from metering.providers.http import Client, Limits

QUICK = Limits(connect=0.5, read=0.5, total=1, retries=2, pause=0.02)


@pytest.fixture(autouse=True)
def _as_before():
    yield
    networks.block(networks.BLOCKED)


def a_name_server(monkeypatch: Any, *answers: list[str]) -> list[str]:
    """Let names have these addresses: the first list when looked up first, and so on. Returns what was looked up."""
    asked: list[str] = []
    real, coming = socket.getaddrinfo, iter(answers)

    def look_up(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if not host.endswith(".test"):
            return real(host, port, *rest, **more)
        asked.append(host)
        return [found for address in next(coming) for found in real(address, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def why_not(url: str) -> str:
    with pytest.raises(ProviderError) as refused:
        Client(url, limits=QUICK).get("/")
    return str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "0.0.0.0",
        "0",
        "[::]",
        "[::ffff:0.0.0.0]",
        "[fe80::1]",
        "[ff02::1]",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
    ],
)
def test_metadata_link_local_multicast_unspecified_and_reserved_addresses_are_not_asked(host, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was asked"))
    assert "a network that may not be asked. Correct the URL" in why_not(f"http://{host}/latest/meta-data")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "8.8.8.8", "2600::1"])
def test_private_networks_and_this_machine_may_be_asked(address):
    assert networks.blocking(ip_address(address)) is None


def test_the_operator_decides_which_networks_may_not_be_asked(httpserver):
    httpserver.expect_request("/").respond_with_data("fine")
    networks.block(["127.0.0.0/8"])
    assert "127.0.0.0/8" in why_not(httpserver.url_for(""))
    assert "127.0.0.0/8" in why_not(f"http://[::ffff:127.0.0.1]:{httpserver.port}")
    networks.block([])
    assert Client(httpserver.url_for("")).get("/") == b"fine"
    assert len(httpserver.log) == 1


def test_a_name_is_refused_when_any_of_its_addresses_may_not_be_asked(httpserver, monkeypatch):
    asked = a_name_server(monkeypatch, ["127.0.0.1", "169.254.169.254"])
    message = why_not(f"http://panel.test:{httpserver.port}")
    assert "panel.test, which is 169.254.169.254, lies in 169.254.0.0/16" in message
    assert (asked, httpserver.log) == (["panel.test"], [])


def test_a_name_that_changes_its_address_after_it_was_judged_gains_nothing(httpserver, monkeypatch):
    httpserver.expect_request("/").respond_with_data("fine")
    asked = a_name_server(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    with Client(f"http://panel.test:{httpserver.port}", limits=QUICK) as client:
        assert client.get("/") == b"fine"
    assert asked == ["panel.test"]


def test_a_name_that_changes_its_address_before_a_retry_is_judged_again(httpserver, monkeypatch):
    httpserver.expect_request("/").respond_with_data("no", status=503, headers={"Connection": "close"})
    a_name_server(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    assert "169.254.0.0/16" in why_not(f"http://panel.test:{httpserver.port}")
    assert len(httpserver.log) == 1


def test_every_address_of_a_name_is_tried_until_one_answers(httpserver, monkeypatch):
    httpserver.expect_request("/").respond_with_data("fine")
    a_name_server(monkeypatch, ["::1", "127.0.0.2", "127.0.0.1"])
    with Client(f"http://panel.test:{httpserver.port}", limits=QUICK) as client:
        assert client.get("/") == b"fine"


def test_the_host_is_still_asked_by_its_name(httpserver, monkeypatch):
    httpserver.expect_request("/", headers={"Host": f"panel.test:{httpserver.port}"}).respond_with_data("fine")
    a_name_server(monkeypatch, ["127.0.0.1"])
    assert Client(f"http://panel.test:{httpserver.port}", limits=QUICK).get("/") == b"fine"


def test_the_setting_of_the_site_counts_from_its_start(settings):
    settings.BLOCKED_NETWORKS = ["198.51.100.0/24"]
    apps.get_app_config("metering").ready()
    assert networks.blocking(ip_address("198.51.100.7"))
    assert not networks.blocking(ip_address("169.254.169.254"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "metadata", ""])
def test_a_setting_that_is_no_network_stops_the_site(settings, text):
    settings.BLOCKED_NETWORKS = [text]
    with pytest.raises(ImproperlyConfigured, match="BLOCKED_NETWORKS: "):
        apps.get_app_config("metering").ready()
