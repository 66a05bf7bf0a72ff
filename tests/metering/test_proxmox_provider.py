"""Proxmox VE, against a stand-in: what becomes usage, how restarts stay countable, what fails for whom."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from traceback import format_exception
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering import collection
from metering.models import Metric, Server, Tenant
from metering.models import Usage as UsageRow
from metering.providers import base
from metering.providers.base import Connection, MetricType, ProviderError, TenantUsage, Usage
from metering.providers.contract import ProviderContract
from metering.providers.http import Limits
from metering.providers.proxmox import SLACK, Proxmox
from tests.builders import at
from tests.metering import standin_proxmox
from tests.metering.standin_proxmox import GIB, SECRET, TOKEN, Guest

FIXTURES = Path(__file__).parent / "fixtures" / "proxmox"
NOON = datetime(2026, 11, 19, 11, tzinfo=UTC)
OF_GUESTS = ["bandwidth", "traffic_in", "traffic_out", "uptime", "vcpu", "memory", "disk", "disk_used"]
OF_GROUPS = ["guests", "vcpu", "memory", "disk"]
COUNTERS = {"bandwidth", "traffic_in", "traffic_out", "uptime"}


class Quick(Proxmox):
    limits = Limits(connect=10, read=10, total=30, size=2_000_000, retries=1, pause=0.02)


def settings_for(cluster: standin_proxmox.Proxmox, **settings: Any) -> dict[str, Any]:
    return {"url": cluster.url, "tls": "system", "token": TOKEN, "tenants": "guests", "disks": "boot", **settings}


def a_provider(cluster: standin_proxmox.Proxmox, secret: str = SECRET, **settings: Any) -> Quick:
    return Quick(Connection(settings_for(cluster, **settings), {"secret": secret}, NOON, ZoneInfo("Europe/Berlin")))


def usage(cluster: standin_proxmox.Proxmox, **settings: Any) -> dict[str, TenantUsage]:
    return {said.tenant: said for said in a_provider(cluster, **settings).usage()}


def values(said: TenantUsage) -> dict[str, Any]:
    return {name: value.value for name, value in said.values.items()}


def why(ask: Any) -> str:
    """Return the message with which something is refused, and make sure that it and its traceback hold no secret."""
    with pytest.raises(ProviderError) as refused:
        ask()
    assert SECRET not in "".join(format_exception(refused.value))
    return str(refused.value)


def the_guests() -> list[Guest]:
    return [
        Guest(100, pool="alice", tags="prod;c-alice", received=595_500, sent=1_786_500, uptime=5955),
        Guest(101, "lxc", "pve2", pool="alice", tags="c-alice", cpus=1, memory=GIB, disk=8 * GIB, used=GIB, uptime=60),
        Guest(102, status="stopped", pool="bob", tags="c-bob", cpus=4, memory=8 * GIB, disk=100 * GIB),
        Guest(103, "lxc", status="stopped", tags="prod", disk=4 * GIB),
        Guest(900, status="stopped", pool="alice", tags="c-alice", template=1),
    ]


@pytest.fixture
def cluster() -> Iterator[standin_proxmox.Proxmox]:
    with standin_proxmox.running(standin_proxmox.Proxmox(the_guests())) as proxmox:
        yield proxmox


def test_it_comes_in_by_the_door_of_all_providers():
    assert base.installed()["proxmox"] is Proxmox


def test_one_call_tells_of_all_guests_but_templates(cluster):
    found = usage(cluster)
    assert list(found) == ["100", "101", "102", "103"]
    assert cluster.asked == ["/api2/json/cluster/resources?type=vm"]
    since = NOON - timedelta(seconds=5955) - SLACK
    assert found["100"] == TenantUsage(
        "100",
        {
            "vcpu": Usage(Decimal(2)),
            "memory": Usage(Decimal(4 * GIB)),
            "disk": Usage(Decimal(32 * GIB)),
            "traffic_in": Usage(Decimal(595_500), counting_since=since),
            "traffic_out": Usage(Decimal(1_786_500), counting_since=since),
            "uptime": Usage(Decimal(5955), counting_since=since),
            "bandwidth": Usage(Decimal(2_382_000), counting_since=since),
        },
    )


def test_a_stopped_guest_has_what_it_was_given_and_counts_from_zero(cluster):
    said = usage(cluster)["102"]
    assert values(said) == {**dict.fromkeys(COUNTERS, 0), "vcpu": 4, "memory": 8 * GIB, "disk": 100 * GIB}
    assert all(value.counting_since is None for value in said.values.values())
    assert not said.failures


def test_space_used_is_known_of_running_containers_only(cluster):
    found = usage(cluster)
    assert found["101"].values["disk_used"] == Usage(Decimal(GIB), limit=Decimal(8 * GIB))
    assert all("disk_used" not in found[vmid].values | found[vmid].failures for vmid in ("100", "102", "103"))


def test_uptime_is_sold_by_the_hour():
    (uptime,) = (metric for metric in Proxmox.metrics() if metric.system_name == "uptime")
    assert uptime.unit.write(uptime.unit.from_base(Decimal(5400))) == "1.5 h"


def test_numbers_are_exact(cluster):
    cluster.guests[0].sent, cluster.guests[0].received, cluster.guests[0].cpus = 9007199254740993, "2", 0.5
    said = values(usage(cluster)["100"])
    assert (said["traffic_out"], said["bandwidth"]) == (9007199254740993, 9007199254740995)
    assert said["vcpu"] == Decimal("0.5")


def test_only_guests_have_counters():
    """A sum of counters would look reset as a whole when one of them is."""
    assert [metric.system_name for metric in Proxmox.metrics()] == OF_GUESTS
    assert {metric.system_name for metric in Proxmox.metrics() if metric.type is MetricType.COUNTER} == COUNTERS
    for choice in ("pools", "tags"):
        metrics = Proxmox.metrics({"tenants": choice})
        assert [metric.system_name for metric in metrics] == OF_GROUPS
        assert {metric.type for metric in metrics} == {MetricType.SNAPSHOT}


def test_a_pool_is_the_sum_of_its_guests(cluster):
    found = usage(cluster, tenants="pools")
    assert {tenant: values(said) for tenant, said in found.items()} == {
        "alice": {"guests": 2, "vcpu": 3, "memory": 5 * GIB, "disk": 40 * GIB},
        "bob": {"guests": 1, "vcpu": 4, "memory": 8 * GIB, "disk": 100 * GIB},
    }
    assert len(cluster.asked) == 1


def test_a_restart_changes_nothing_in_the_sum_of_a_pool(cluster):
    before = usage(cluster, tenants="pools")
    cluster.guests[0].restart(uptime=1)
    assert usage(cluster, tenants="pools") == before


def test_a_tag_is_the_sum_of_its_guests(cluster):
    found = usage(cluster, tenants="tags", prefix="c-")
    assert {tenant: values(said)["vcpu"] for tenant, said in found.items()} == {"c-alice": 3, "c-bob": 4}


def test_a_guest_with_the_tags_of_two_tenants_is_neither_s(cluster):
    cluster.guests[1].tags = "c-alice, c-carol c-alice"
    found = usage(cluster, tenants="tags", prefix="c-")
    assert list(found) == ["c-alice", "c-carol", "c-bob"]
    for tenant in ("c-alice", "c-carol"):
        assert not found[tenant].values
        assert "guest 101 has several such tags (c-alice, c-carol)" in found[tenant].failures["vcpu"]
    assert set(found["c-bob"].values) == set(OF_GROUPS)


@pytest.mark.parametrize("choice", ["pools", "tags"])
def test_a_choice_that_fits_no_guest_is_said_so(cluster, choice):
    for guest in cluster.guests:
        guest.pool = guest.tags = ""
    assert f"none shows a {choice[:-1]}" in why(lambda: usage(cluster, tenants=choice))
    assert "PVEAuditor on /pool" in why(a_provider(cluster, tenants=choice).check)


def test_guests_of_a_node_that_is_off_fail_and_the_others_are_told(cluster):
    cluster.offline = {"pve2"}
    found = usage(cluster)
    assert list(found) == ["100", "101", "102", "103"]
    said = "guest 101 is not reported by node pve2 (status unknown). Is the node online?"
    assert found["101"] == TenantUsage("101", {}, dict.fromkeys(OF_GUESTS, said))
    assert set(found["100"].values) == {*OF_GUESTS} - {"disk_used"}


def test_a_sum_without_one_of_its_guests_fails(cluster):
    cluster.offline = {"pve2"}
    found = usage(cluster, tenants="pools")
    assert not found["alice"].values
    assert "guest 101 is not reported" in found["alice"].failures["disk"]
    assert values(found["bob"])["guests"] == 1


def test_all_disks_are_those_of_the_configuration(cluster):
    cluster.guests = [
        Guest(
            100,
            config={
                "scsi0": "local-lvm:vm-100-disk-0,iothread=1,size=32G",
                "virtio1": "ceph:vm-100-disk-1,size=1.5T",
                "efidisk0": "local-lvm:vm-100-disk-2,efitype=4m,size=528K",
                "ide2": "local:iso/debian.iso,media=cdrom,size=600M",
                "sata0": "none,media=cdrom",
                "scsi9": "/dev/disk/by-id/x,size=1T",
                "unused0": "local-lvm:vm-100-disk-3",
                "scsihw": "virtio-scsi-single",
                "memory": "4096",
            },
        ),
        Guest(
            101,
            "lxc",
            "pve2",
            config={
                "rootfs": "zfs:subvol-101-disk-0,size=8G",
                "mp0": "zfs:subvol-101-disk-1,mp=/srv,size=2G",
                "mp1": "/h",
            },
        ),
        Guest(102, config={"scsi0": "nfs:102/vm-102-disk-0.qcow2"}),
        Guest(103, config={}),
    ]
    found = usage(cluster, disks="all")
    assert values(found["100"])["disk"] == 32 * GIB + 1536 * GIB + 528 * 1024
    assert values(found["101"])["disk"] == 10 * GIB
    assert found["102"].failures == {"disk": "its drive scsi0 has no size in the configuration"}
    assert values(found["103"])["disk"] == 0
    assert cluster.asked[2] == "/api2/json/nodes/pve2/lxc/101/config"
    assert len(cluster.asked) == 5


def test_a_configuration_that_is_refused_costs_only_the_disk(cluster):
    cluster.guests[0].config = {"scsi0": "a:b,size=1G"}
    whole, cluster.fault = cluster.answer, ""
    cluster.answer = lambda path: (403, None) if path.endswith("/qemu/100/config") else whole(path)
    found = usage(cluster, disks="all")
    assert "403" in found["100"].failures["disk"]
    assert set(found["100"].values) == {*OF_GUESTS} - {"disk", "disk_used"}
    said = usage(cluster, disks="all", tenants="pools")["alice"]
    assert "guest 100: " in said.failures["disk"]
    assert values(said) == {"guests": 2, "vcpu": 3, "memory": 5 * GIB}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (True, "is a bool"),
        ([], "is a list"),
        (-1, "negative"),
        ("NaN", "'NaN'"),
        ("unlimited", "'unlimited'"),
        ("1_000", "not a plain"),
        (10**21, "20 digits"),
        ("9" * 5000, "20 digits"),
    ],
)
def test_what_is_no_quantity_fails_for_its_metric_alone(cluster, number, reason):
    cluster.guests[0].sent = cluster.guests[0].memory = number
    said = usage(cluster)["100"]
    assert set(said.failures) == {"traffic_out", "bandwidth", "memory"}
    assert reason in said.failures["bandwidth"]
    assert set(said.values) == {"traffic_in", "uptime", "vcpu", "disk"}
    pool = usage(cluster, tenants="pools")["alice"]
    assert "guest 100: " in pool.failures["memory"]
    assert set(pool.values) == {"guests", "vcpu", "disk"}


def test_null_is_no_reading(cluster):
    cluster.guests[0].sent = cluster.guests[0].cpus = cluster.guests[0].uptime = None
    said = usage(cluster)["100"]
    assert values(said) == {"traffic_in": 595_500, "memory": 4 * GIB, "disk": 32 * GIB}
    assert said.values["traffic_in"].counting_since is None
    assert not said.failures
    assert "guest 100: Proxmox VE does not say" in usage(cluster, tenants="pools")["alice"].failures["vcpu"]


@pytest.mark.parametrize("uptime", [10**10, 10**19, -5, "x"])
def test_an_uptime_that_is_none_dates_nothing(cluster, uptime):
    cluster.guests[0].uptime = uptime
    said = usage(cluster)["100"]
    assert "uptime" in said.failures
    assert said.values["bandwidth"] == Usage(Decimal(2_382_000))


def test_a_guest_that_is_listed_twice_is_neither(cluster):
    cluster.guests[1].vmid = 100
    said = usage(cluster)
    assert list(said) == ["100", "102", "103"]
    assert said["100"].failures["vcpu"] == "Proxmox VE lists guest 100 more than once"


@pytest.mark.parametrize(
    "row", ["{}", "5", "null", '{"type":"qemu"}', '{"type":"qemu","vmid":true}', '{"type":"lxc","vmid":"../x"}']
)
def test_a_guest_without_a_number_is_listed_as_a_failure(cluster, row):
    cluster.fault = lambda body: body.replace(b'{"data": [', b'{"data": [' + row.encode() + b",")
    found = usage(cluster)
    assert list(found) == ["", "100", "101", "102", "103"]
    assert "1 of the guests" in found[""].failures["vcpu"]


def test_other_things_in_the_list_are_no_guests(cluster):
    cluster.fault = lambda body: body.replace(b'{"data": [', b'{"data": [{"type":"node","node":"pve1"},')
    assert list(usage(cluster)) == ["100", "101", "102", "103"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is empty"),
        (b"<html><body>Login</body></html>", "login or error page"),
        (b'{"data": [{"type": "qemu", "vmid": 100', "not JSON"),
        (b'{"data": null}', "did not answer with a list"),
        (b'{"data": {}}', "did not answer with a list"),
        (b"[]", "not that of Proxmox VE"),
        (b'{"success": 1}', "not that of Proxmox VE"),
        (b'{"data": [{"type": "qemu", "vmid": 100, "netin": NaN}]}', "no usable number"),
        (b'{"data": [{"vmid": 100, "vmid": 101}]}', "a key twice"),
    ],
)
def test_what_is_no_answer_stops_the_collection(cluster, body, reason):
    cluster.fault = lambda _: body
    assert reason in why(lambda: usage(cluster))


@pytest.mark.parametrize(
    ("fault", "reason", "calls"), [("500", "status 500", 2), ("429", "status 429", 2), ("slow", "sent nothing", 1)]
)
def test_a_cluster_in_trouble_is_asked_again_within_bounds(cluster, monkeypatch, fault, reason, calls):
    monkeypatch.setattr(Quick, "limits", replace(Quick.limits, read=1, total=2))
    cluster.fault = fault
    assert reason in why(lambda: usage(cluster))
    assert len(cluster.asked) == calls


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"secret": "wrong"}, "refuses the credentials (401)"),
        ({"secret": ""}, "secret is missing"),
        ({"secret": "a\r\nb"}, "header"),
        ({"token": "billing@pve"}, "user@realm!name"),
        ({"token": f"{TOKEN}={SECRET}"}, "user@realm!name"),
    ],
)
def test_wrong_credentials_are_tried_once_and_said_so(cluster, settings, reason):
    assert reason in why(lambda: usage(cluster, **settings))
    assert len(cluster.asked) <= 1


def test_a_secret_that_a_server_repeats_is_blotted_out(cluster):
    cluster.guests[0].status = f"lost PVEAPIToken={TOKEN}={SECRET} and {SECRET}"
    said = usage(cluster)["100"].failures["vcpu"]
    assert SECRET not in said
    assert "•••" in said


def test_one_tenant_is_picked_from_the_list(cluster):
    assert a_provider(cluster).tenant_usage("101") == usage(cluster)["101"]
    assert a_provider(cluster, tenants="pools").tenant_usage("bob") == usage(cluster, tenants="pools")["bob"]


@pytest.mark.parametrize(("tenants", "name"), [("guests", "999"), ("guests", "900"), ("pools", "carol"), ("tags", "x")])
def test_an_unknown_tenant_is_said_so(cluster, tenants, name):
    cluster.guests[0].tags = "c-alice"
    assert f"no {tenants[:-1]} '{name}'" in why(lambda: a_provider(cluster, tenants=tenants).tenant_usage(name))


def test_check_says_what_it_is_and_what_the_token_sees(cluster):
    assert a_provider(cluster).check() == "Proxmox VE 8.2.4, 4 guests"
    cluster.guests = []
    assert "0 guests. If it has some, give the token the role PVEAuditor" in a_provider(cluster).check()


def test_a_recorded_answer_is_understood(cluster):
    recorded = (FIXTURES / "cluster_resources_vm.json").read_bytes()
    cluster.fault = lambda _: recorded
    found = usage(cluster)
    assert values(found["100"])["bandwidth"] == 2_382_000
    assert values(found["102"])["uptime"] == 0
    assert values(usage(cluster, tenants="pools")["alice"])["disk"] == 40 * GIB
    assert list(usage(cluster, tenants="tags", prefix="a")) == ["alice"]


class TestContractOfGuests(ProviderContract):
    provider_class = Proxmox
    zero = ("102", "bandwidth")

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: standin_proxmox.Proxmox) -> None:
        self.cluster = cluster

    def connection(self) -> Connection:
        return Connection(settings_for(self.cluster), {"secret": SECRET}, NOON, UTC)


class TestContractOfPools(TestContractOfGuests):
    zero = ("bob", "disk")

    def connection(self) -> Connection:
        # A machine without a disk
        self.cluster.guests[2].disk = 0
        return Connection(settings_for(self.cluster, tenants="pools"), {"secret": SECRET}, NOON, UTC)


# What the ledger makes of it.


def a_server(cluster: standin_proxmox.Proxmox, **settings: Any) -> Server:
    return Server.objects.create(
        name="pve", provider="proxmox", settings=settings_for(cluster, **settings), credentials={"secret": SECRET}
    )


def collected(server: Server, when: str) -> None:
    server.refresh_from_db()
    record = collection.collect(server=server, as_of=at(when))
    assert record.is_stored, record.error


def billed(metric: str, vmid: str) -> Decimal:
    """Return the increases that the ledger has counted so far."""
    counted = Metric.objects.get(provider="proxmox", system_name=metric)
    rows = UsageRow.objects.filter(tenant_id=Tenant.objects.get(key=vmid).pk, metric_id=counted.pk)
    return sum(rows.values_list("value", flat=True), Decimal(0))


@pytest.mark.django_db
def test_a_restart_of_one_guest_counts_nothing_of_the_others_again(cluster):
    server = a_server(cluster)
    first, second = cluster.guests[:2]
    first.restart(uptime=86_400, received=10**12)
    second.restart(uptime=86_400, received=500)
    collected(server, "2026-11-18 06:00")
    first.restart(uptime=86_400 + 43_200, received=10**12 + 7)
    second.restart(uptime=3_600, received=40)
    collected(server, "2026-11-18 18:00")
    assert (billed("traffic_in", "100"), billed("traffic_in", "101")) == (7, 40)
    assert (billed("uptime", "100"), billed("uptime", "101")) == (43_200, 3_600)


@pytest.mark.django_db
def test_a_restart_is_seen_although_the_count_has_passed_its_old_value(cluster):
    server = a_server(cluster)
    guest = cluster.guests[0]
    guest.restart(uptime=3_600, received=500)
    collected(server, "2026-11-18 06:00")
    guest.restart(uptime=7_200, received=800)
    collected(server, "2026-11-18 18:00")
    assert (billed("traffic_in", "100"), billed("uptime", "100")) == (800, 7_200)


@pytest.mark.django_db
def test_a_stop_and_a_start_count_from_zero(cluster):
    server = a_server(cluster)
    guest = cluster.guests[0]
    guest.restart(uptime=3_600, received=500)
    collected(server, "2026-11-18 06:00")
    guest.stop()
    collected(server, "2026-11-18 12:00")
    assert billed("traffic_in", "100") == 0
    guest.restart(uptime=60, received=30)
    collected(server, "2026-11-18 18:00")
    assert (billed("traffic_in", "100"), billed("uptime", "100")) == (30, 60)


@pytest.mark.django_db
def test_a_node_that_was_off_in_between_loses_nothing_that_its_guests_counted(cluster):
    server = a_server(cluster)
    guest = cluster.guests[1]
    guest.restart(uptime=86_400, received=500)
    collected(server, "2026-11-18 06:00")
    cluster.offline = {"pve2"}
    collected(server, "2026-11-18 12:00")
    cluster.offline = set()
    guest.restart(uptime=86_400 + 43_200, received=700)
    collected(server, "2026-11-18 18:00")
    assert billed("traffic_in", "101") == 200


@pytest.mark.django_db
@pytest.mark.parametrize("late", [0, 5, 30])
def test_an_uptime_that_lags_counts_nothing_again(cluster, late):
    """A guest that was started just before a collection: what that saw of it is not counted once more."""
    server = a_server(cluster)
    guest = cluster.guests[0]
    guest.restart(uptime=86_400, received=500)
    collected(server, "2026-11-18 00:00")
    guest.restart(uptime=10, received=40)
    collected(server, "2026-11-18 06:00")
    guest.restart(uptime=10 + 6 * 3600 - late, received=90)
    collected(server, "2026-11-18 12:00")
    assert billed("traffic_in", "100") == 90
