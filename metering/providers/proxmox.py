"""Proxmox VE: the guests of a cluster, or its pools or tags, by one call for all of its nodes.

A guest's traffic and uptime count since it was started and fall to nothing when it stops, restarts or
migrates. The ledger sees that for each guest by itself. In a sum over guests the restart of one would look
like the restart of all, and what the others had counted would be billed again: pools and tags therefore have
levels only, and traffic and uptime are metrics of guests.

Templates are no tenants. A stopped guest is one: what it was given is still its own. A guest that its node
does not report fails, and so do the sums that it belongs to; the others are told.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from metering.decimals import EXACT, NotANumber, exact_sum, parse
from metering.periods import Period
from metering.providers import http
from metering.providers.base import (
    BANDWIDTH,
    DISK,
    Connection,
    Field,
    Metric,
    MetricType,
    Provider,
    ProviderError,
    TenantUsage,
    Usage,
)
from metering.providers.base import gettext_noop as _
from metering.providers.http import Client, Limits
from metering.units import GB, GIB, HOURS, PLACES, Unit

#: A node says every ten seconds how its guests are, and answers some seconds after `as_of`: a restart is
#: believed from this long after the collection before. Else what a guest had counted just before that
#: collection could count again.
SLACK = timedelta(minutes=1)
#: An uptime above this is no uptime: 100 years, in seconds.
LONGEST_UPTIME = Decimal(100 * 366 * 24 * 3600)

VCPUS = Unit("vcpus", "vCPU", "vCPUs", places=PLACES)
GUESTS = Unit("guests", _("guest"), _("guests"))

# Levels, and the counters, with what the API calls them.
_LEVELS = {"vcpu": "maxcpu", "memory": "maxmem", "disk": "maxdisk"}
_COUNTERS = {"traffic_in": "netin", "traffic_out": "netout", "uptime": "uptime"}
_ALLOTTED = (
    Metric("vcpu", "vCPUs", MetricType.SNAPSHOT, VCPUS),
    Metric("memory", _("Memory"), MetricType.SNAPSHOT, GIB),
    Metric("disk", _("Disk space allotted"), MetricType.SNAPSHOT, GIB),
)
_OF_GUESTS = (
    Metric(BANDWIDTH, _("Traffic"), MetricType.COUNTER, GB),
    Metric("traffic_in", _("Traffic received"), MetricType.COUNTER, GB),
    Metric("traffic_out", _("Traffic sent"), MetricType.COUNTER, GB),
    Metric("uptime", _("Uptime"), MetricType.COUNTER, HOURS),
    *_ALLOTTED,
    Metric(DISK, _("Disk space used"), MetricType.SNAPSHOT, GIB),
)
_OF_GROUPS = (Metric("guests", _("Guests"), MetricType.SNAPSHOT, GUESTS), *_ALLOTTED)

_TENANTS = (
    ("guests", _("guests, by their number (VMID)")),
    ("pools", _("pools, without traffic and uptime")),
    ("tags", _("tags, without traffic and uptime")),
)
_DISKS = (
    ("boot", _("the boot disk or root file system (one call)")),
    ("all", _("all disks and mount points (one more call for each guest)")),
)
_TOKEN = re.compile(r"[^\s@!=]+@[^\s@!=]+![^\s@!=]+")
_NODE = re.compile(r"[A-Za-z0-9.-]{1,100}", re.ASCII)
_DRIVE = re.compile(r"(?:ide|sata|scsi|virtio|efidisk|tpmstate|mp)[0-9]+|rootfs", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGT]?)", re.ASCII)
_STEPS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class _Guest:
    """A virtual machine or container as the cluster lists it. `fault` says why nothing of it can be told."""

    vmid: str
    kind: str
    row: Mapping[str, Any]
    fault: str = ""

    @property
    def is_running(self) -> bool:
        return self.row.get("status") == "running"

    @property
    def pool(self) -> str:
        return str(self.row.get("pool") or "")

    @property
    def tags(self) -> list[str]:
        return list(dict.fromkeys(tag for tag in re.split(r"[;, ]+", str(self.row.get("tags") or "")) if tag))


@dataclass(slots=True)
class _Told:
    """What is known of a guest, and why the rest is not."""

    values: dict[str, Usage]
    failures: dict[str, str]

    def put(self, metric: str, value: Any, **more: Any) -> None:
        """Keep a value of the API under a metric. A null is no reading, and nothing is kept."""
        try:
            number = _number(value)
        except ValueError as error:
            self.failures[metric] = str(error)
        else:
            if number is not None:
                self.values[metric] = Usage(number, **more)


class Proxmox(Provider):
    """Usage of the guests of one cluster, or of one node without a cluster.

    - `bandwidth`, `traffic_in`, `traffic_out`: bytes that the guest received and sent since it was started.
    - `uptime`: seconds since it was started.
    - `vcpu`, `memory`, `disk`: what it was given, running or stopped. `disk` is the boot disk or root file
      system, or all disks of its configuration.
    - `disk_used`: bytes in the root file system of a running container. Of a virtual machine nobody knows.
    """

    title: ClassVar[str] = "Proxmox VE"
    tenant_is: ClassVar[str] = _("the number of a guest (VMID), a pool or a tag")
    resets: ClassVar[str] = _(
        "Traffic and uptime of a guest count since it was started, and start anew when it stops, restarts or "
        "migrates; what it counted between the last collection and such a moment is lost. They are at most some "
        "seconds late."
    )
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help=_("https://host:8006, of any node of the cluster.")),
        *http.TLS,
        Field("token", _("Token ID"), help=_("user@realm!name, for example tallyport@pve!meter.")),
        Field("secret", _("Token secret"), kind="secret"),
        Field("tenants", _("Tenants are"), "choice", initial="guests", choices=_TENANTS),
        Field("prefix", _("Tag prefix"), required=False, help=_("Only tags that begin with it are tenants.")),
        Field("disks", _("Disk space counts"), "choice", initial="boot", choices=_DISKS),
    )
    can_look_back: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits()

    def __init__(self, connection: Connection) -> None:
        settings = connection.settings
        self._connection = connection
        self._tenants_are = str(settings.get("tenants") or "guests")
        self._prefix = str(settings.get("prefix") or "").strip()
        self._all_disks = settings.get("disks") == "all"
        self._metrics = self.metrics(settings)

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _OF_GROUPS if (settings or {}).get("tenants") in ("pools", "tags") else _OF_GUESTS

    def check(self) -> str:
        """Return "Proxmox VE 8.2.4, 12 guests": its version, and what the token may see."""
        with self._client() as client:
            match self._get(client, "/api2/json/version"):
                case {"version": str(version)}:
                    version = client.quote(version)
                case _:
                    raise ProviderError("The server answers, but not as Proxmox VE does. Check the URL.")
            guests, _ = self._guests(client)
        shown = f"Proxmox VE {version}, {GUESTS.write(Decimal(len(guests)))}"
        if not guests:
            return f"{shown}. If it has some, give the token the role PVEAuditor on /vms: others are not shown to it."
        self._tenants(guests)
        return shown

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield the current usage of every tenant; `period` is never given."""
        with self._client() as client:
            guests, nameless = self._guests(client)
            if nameless:
                reason = f"{nameless} of the guests listed have no usable number; nothing of them can be told"
                yield TenantUsage("", {}, self._all_failed(reason))
            for tenant, members in self._tenants(guests).items():
                yield self._tell(client, tenant, members)

    def tenant_usage(self, tenant: str) -> TenantUsage:
        with self._client() as client:
            guests, _ = self._guests(client)
            if members := self._tenants(guests).get(tenant):
                return self._tell(client, tenant, members)
        kind = self._tenants_are.removesuffix("s")
        raise ProviderError(
            f"Proxmox VE shows no {kind} {tenant!r} that is measured. Check its name, and that the token has the "
            "role PVEAuditor for it."
        )

    def _client(self) -> Client:
        token = str(self._connection.settings.get("token") or "").strip()
        secret = (self._connection.credentials.get("secret") or "").strip()
        if not _TOKEN.fullmatch(token):
            raise ProviderError("The token ID has another form than user@realm!name. Copy it from Proxmox VE.")
        if not secret:
            raise ProviderError("The token secret is missing. Proxmox VE shows it once, when the token is made.")
        headers = {"Authorization": f"PVEAPIToken={token}={secret}"}
        return Client.to(self._connection, headers=headers, secrets=[secret], limits=self.limits)

    def _get(self, client: Client, path: str, params: Mapping[str, str] | None = None) -> Any:
        match client.read_json(client.get(path, params)):
            case {"data": data}:
                return data
        raise ProviderError(f"The answer to {path} is not that of Proxmox VE. Check the URL.")

    def _guests(self, client: Client) -> tuple[list[_Guest], int]:
        """Return the guests of all nodes without templates, and how many of the list could not be told apart."""
        rows = self._get(client, "/api2/json/cluster/resources", {"type": "vm"})
        if not isinstance(rows, list):
            raise ProviderError("Proxmox VE did not answer with a list of guests. Ask again.")
        guests, nameless = [], 0
        for row in rows:
            match row:
                case {"type": "qemu" | "lxc", "template": 1 | "1"}:
                    pass
                case {"type": "qemu" | "lxc" as kind, "vmid": int(vmid)} if not isinstance(vmid, bool) and vmid > 0:
                    guests.append(_Guest(str(vmid), kind, row, _fault(row, client)))
                case {"type": "node" | "storage" | "sdn" | "pool" | "network"}:
                    pass
                case _:
                    nameless += 1
        return guests, nameless

    def _tenants(self, guests: Sequence[_Guest]) -> dict[str, list[_Guest]]:
        """Return the guests of every tenant. Raises ProviderError when the setting fits none of them."""
        tenants: dict[str, list[_Guest]] = defaultdict(list)
        for guest in guests:
            names = self._names(guest)
            if len(names) > 1:
                several = f"guest {guest.vmid} has several such tags ({', '.join(names)}); it may belong to one tenant"
                guest = replace(guest, fault=several)
            for name in names:
                tenants[name].append(guest)
        if guests and not tenants:
            kind = self._tenants_are.removesuffix("s")
            raise ProviderError(
                f"Of {len(guests)} guests none shows a {kind} that is a tenant. Check the settings, and that the "
                "token has the role PVEAuditor on /pool and /vms."
            )
        return tenants

    def _names(self, guest: _Guest) -> list[str]:
        match self._tenants_are:
            case "pools":
                return [guest.pool] if guest.pool else []
            case "tags":
                return [tag for tag in guest.tags if tag.startswith(self._prefix)]
        return [guest.vmid]

    def _tell(self, client: Client, tenant: str, members: Sequence[_Guest]) -> TenantUsage:
        if self._tenants_are in ("pools", "tags"):
            return self._sum(client, tenant, members)
        (guest, *others) = members
        if fault := f"Proxmox VE lists guest {tenant} more than once" if others else guest.fault:
            return TenantUsage(tenant, {}, self._all_failed(fault))
        told = self._told(client, guest)
        self._count(guest, told)
        return TenantUsage(tenant, told.values, told.failures)

    def _sum(self, client: Client, tenant: str, members: Sequence[_Guest]) -> TenantUsage:
        """Add up levels. Without one of the guests a sum would be a number that is too small."""
        if faults := [guest.fault for guest in members if guest.fault]:
            return TenantUsage(tenant, {}, self._all_failed(_some(faults)))
        whole = _Told({"guests": Usage(Decimal(len(members)))}, {})
        parts = {guest.vmid: self._told(client, guest) for guest in members}
        for metric in _LEVELS:
            missing = [
                f"guest {vmid}: {told.failures.get(metric, 'Proxmox VE does not say')}"
                for vmid, told in parts.items()
                if metric not in told.values
            ]
            if missing:
                whole.failures[metric] = _some(missing)
            else:
                whole.values[metric] = Usage(exact_sum(told.values[metric].value for told in parts.values()))
        return TenantUsage(tenant, whole.values, whole.failures)

    def _told(self, client: Client, guest: _Guest) -> _Told:
        """Return the levels of one guest."""
        told = _Told({}, {})
        for metric, name in _LEVELS.items():
            if metric != "disk" or not self._all_disks:
                told.put(metric, guest.row.get(name))
        if self._all_disks:
            try:
                told.values["disk"] = Usage(self._disks(client, guest))
            except (ProviderError, ValueError) as error:
                told.failures["disk"] = str(error)
        return told

    def _count(self, guest: _Guest, told: _Told) -> None:
        """Add what only a guest by itself has: its counters, and the space used in a container."""
        since = _started(guest, self._connection.as_of)
        for metric, name in _COUNTERS.items():
            told.put(metric, guest.row.get(name), counting_since=since)
        if (uptime := told.values.get("uptime")) and uptime.value > LONGEST_UPTIME:
            told.failures["uptime"] = f"{told.values.pop('uptime').value} seconds is no uptime"
        received, sent = told.values.get("traffic_in"), told.values.get("traffic_out")
        if received and sent:
            told.values[BANDWIDTH] = Usage(EXACT.add(received.value, sent.value), counting_since=since)
        elif reasons := [told.failures[name] for name in ("traffic_in", "traffic_out") if name in told.failures]:
            told.failures[BANDWIDTH] = reasons[0]
        if guest.kind == "lxc" and guest.is_running:
            # Of a virtual machine, and of a container that is stopped, the API says 0 and means: not known.
            told.put(DISK, guest.row.get("disk"), limit=_readable(guest.row.get("maxdisk")) or None)

    def _disks(self, client: Client, guest: _Guest) -> Decimal:
        """Return the bytes of all drives in a guest's configuration. Raises ValueError, ProviderError."""
        node = str(guest.row.get("node") or "")
        if not _NODE.fullmatch(node):
            raise ValueError("its node has no usable name")
        config = self._get(client, f"/api2/json/nodes/{node}/{guest.kind}/{guest.vmid}/config")
        if not isinstance(config, Mapping):
            raise ValueError("its configuration is not that of a guest")
        drives = {name: str(drive) for name, drive in config.items() if _DRIVE.fullmatch(name)}
        return exact_sum(_size(name, drive) for name, drive in drives.items())

    def _all_failed(self, reason: str) -> dict[str, str]:
        return {metric.system_name: reason for metric in self._metrics}


def _fault(row: Mapping[str, Any], client: Client) -> str:
    """Say why a listed guest has no values: what its node has not reported for five minutes is forgotten."""
    status = row.get("status")
    if status in ("running", "stopped"):
        return ""
    shown, node = client.quote(str(status)), client.quote(str(row.get("node")))
    return f"guest {row['vmid']} is not reported by node {node} (status {shown}). Is the node online?"


def _started(guest: _Guest, as_of: datetime) -> datetime | None:
    """Return the earliest instant at which the guest may have been started."""
    uptime = _readable(guest.row.get("uptime"))
    return as_of - timedelta(seconds=int(uptime)) - SLACK if uptime and uptime <= LONGEST_UPTIME else None


def _number(value: Any) -> Decimal | None:
    """Read a number of the API, which may write it as text. Raises ValueError with the reason."""
    match value:
        case None:
            return None
        case bool() | list() | dict():
            raise NotANumber(f"the value is a {type(value).__name__}, not a number")
        case str():
            return parse(value)
    return parse(f"{value:f}" if isinstance(value, Decimal) else str(value))


def _readable(value: Any) -> Decimal | None:
    try:
        return _number(value)
    except ValueError:
        return None


def _size(name: str, drive: str) -> Decimal:
    """Return the bytes of a drive as a configuration writes it: `local-lvm:vm-100-disk-0,iothread=1,size=32G`.

    What is mounted from elsewhere (CD-ROM, a directory or device of the node) is nobody's space. Raises ValueError.
    """
    volume, *options = drive.split(",")
    known = dict(option.split("=", 1) for option in options if "=" in option)
    volume = volume.removeprefix("file=").removeprefix("volume=")
    if volume in ("none", "cdrom") or volume.startswith("/") or known.get("media") == "cdrom":
        return Decimal(0)
    if not (size := _SIZE.fullmatch(known.get("size", ""))):
        raise ValueError(f"its drive {name} has no size in the configuration")
    return Decimal(int(EXACT.multiply(Decimal(size[1]), Decimal(_STEPS[size[2]]))))


def _some(reasons: Sequence[str]) -> str:
    """Join reasons, the first of many."""
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return "; ".join(reasons[:3]) + more
