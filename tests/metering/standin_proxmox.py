"""A stand-in for a Proxmox VE cluster: its API as documentation and source describe it, over real HTTP.

It is no Proxmox VE: what works against it has still to be tried against the real thing. Guests and numbers are our own.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN, SECRET = "billing@pve!meter", "0f5a2d1c-7b1e-4a55-9a3e-000000000001"
GIB = 2**30


@dataclass
class Guest:
    """A virtual machine or container. Its counters are of now; `restart` lets them begin anew."""

    vmid: int
    kind: str = "qemu"
    node: str = "pve1"
    status: str = "running"
    pool: str = ""
    tags: str = ""
    template: int = 0
    cpus: Any = 2
    memory: Any = 4 * GIB
    disk: Any = 32 * GIB
    used: Any = 0
    received: Any = 0
    sent: Any = 0
    uptime: Any = 0
    config: dict[str, str] = field(default_factory=dict)

    def restart(self, *, uptime: int, received: int = 0, sent: int = 0) -> None:
        self.status, self.uptime, self.received, self.sent = "running", uptime, received, sent

    def stop(self) -> None:
        self.status, self.uptime, self.received, self.sent = "stopped", 0, 0, 0

    def listed(self, offline: set[str]) -> dict[str, Any]:
        row = {"id": f"{self.kind}/{self.vmid}", "type": self.kind, "vmid": self.vmid, "node": self.node}
        row |= {"pool": self.pool} if self.pool else {}
        row |= {"tags": self.tags} if self.tags else {}
        if self.node in offline:
            # Known from the cluster's configuration only: the status that nodes send is forgotten.
            return row | {"status": "unknown"}
        row |= {"name": f"guest{self.vmid}", "status": self.status, "template": self.template, "uptime": self.uptime}
        row |= {"cpu": 0.01, "maxcpu": self.cpus, "mem": 1, "maxmem": self.memory}
        row |= {"disk": self.used, "maxdisk": self.disk, "diskread": 0, "diskwrite": 0}
        return row | {"netin": self.received, "netout": self.sent}


@dataclass
class Proxmox:
    """The cluster: its guests, the nodes that are off, what it was asked, and how it fails."""

    guests: list[Guest] = field(default_factory=list)
    offline: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    #: 500, 429, slow, or a function that damages the body of an answer.
    fault: str | Callable[[bytes], bytes] = ""
    url: str = ""

    def answer(self, path: str) -> tuple[int, Any]:
        match path.removeprefix("/api2/json/").split("/"):
            case ["version"]:
                return 200, {"version": "8.2.4", "release": "8.2", "repoid": "faa83925c9641325"}
            case ["cluster", "resources"]:
                return 200, [guest.listed(self.offline) for guest in self.guests]
            case ["nodes", node, kind, vmid, "config"]:
                if node in self.offline:
                    return 595, None
                found = [one for one in self.guests if (one.node, one.kind, str(one.vmid)) == (node, kind, vmid)]
                return (200, found[0].config) if found else (500, None)
        return 501, None


@contextmanager
def running(cluster: Proxmox) -> Iterator[Proxmox]:
    """Let a cluster be asked at its `url`, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            cluster.asked.append(self.path)
            if self.headers["Authorization"] != f"PVEAPIToken={TOKEN}={SECRET}":
                return self.say(401, b"")
            if cluster.fault in ("500", "429"):
                return self.say(int(cluster.fault), b'{"data":null}')
            if cluster.fault == "slow":
                time.sleep(3)
            address = urlsplit(self.path)
            if address.path.endswith("resources"):
                assert parse_qs(address.query) == {"type": ["vm"]}
            status, data = cluster.answer(address.path)
            body = json.dumps({"data": data}).encode()
            self.say(status, cluster.fault(body) if callable(cluster.fault) else body)

        def say(self, status: int, body: bytes) -> None:
            self.send_response(status, "No route to host" if status == 595 else None)
            self.send_header("Content-Type", "application/json;charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # whoever asked may have gone
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
