"""Providers are found by their entry point, and say what they measure without a server."""

import socket
from importlib.metadata import EntryPoint

import pytest

from metering.providers import base
from metering.providers.base import MetricType, ProviderError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_built_in_providers_come_in_by_the_same_door_as_others():
    assert {"filesystem", "postgresql", "prometheus"} <= set(base.installed())


@pytest.mark.parametrize("name", sorted(base.installed()))
def test_metrics_are_listed_without_a_server_and_without_the_network(name, no_network):
    """Statement 2."""
    provider = base.provider(name)
    for metric in (*provider.metrics(), *provider.metrics({})):
        assert metric.system_name
        assert metric.display_name
        assert metric.type in MetricType
    assert provider.title
    assert provider.tenant_is


def test_a_package_that_cannot_be_imported_is_left_out_and_the_others_work(monkeypatch):
    entries = [
        EntryPoint("broken", "no_such_package:Provider", base.GROUP),
        EntryPoint("filesystem", "metering.providers.filesystem:Filesystem", base.GROUP),
    ]
    monkeypatch.setattr(base, "entry_points", lambda group: entries)
    assert list(base.installed.__wrapped__()) == ["filesystem"]


def test_a_provider_that_is_not_installed_is_named_with_those_that_are():
    with pytest.raises(ProviderError, match=r"No provider called 'acme' is installed\. Installed are: .*postgresql"):
        base.provider("acme")
