"""Starts a Ceph cluster of the system's programs on the loopback interface, in memory, with one object gateway."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from uuid import uuid4

import httpx2
import pytest

from metering.providers.rgw import SigV4
from tests.metering.real_prometheus import free_port

SECONDS = 120
PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = 127.0.0.1:{mon_port}
mon initial members = a
public addr = 127.0.0.1
public network = 127.0.0.0/8
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
paxos propose interval = 0.1
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.$pid.asok
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd0
osd objectstore = memstore
memstore device bytes = 1073741824
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = true
rgw usage log tick interval = 1
rgw usage log flush threshold = 1
rgw override bucket index max shards = 1
"""


@dataclass
class RealGateway:
    """A running gateway whose usage log is on and flushed every second."""

    url: str
    folder: Path

    def admin(self, *arguments: str) -> Any:
        """Run radosgw-admin, and return what it prints."""
        command = ["radosgw-admin", "-c", str(self.folder / "ceph.conf"), "-n", "client.rgw.a", *arguments]
        said = subprocess.run(command, check=True, capture_output=True, env=_environment()).stdout
        return json.loads(said) if said.strip() else None

    def add(self, user: str, secret: str = "secret", caps: str = "") -> None:
        """Let there be a user whose access key is its name in capitals, with letters and digits only."""
        keys = [f"--access-key={access_key(user)}", f"--secret-key={secret}"]
        self.admin("user", "create", f"--uid={user}", f"--display-name={user}", *keys, f"--caps={caps}")

    def client(self, user: str = "", secret: str = "secret") -> httpx2.Client:
        """Return a client of the S3 API, which does not sign its requests if it is nobody's."""
        auth = SigV4(access_key(user), secret) if user else None
        return httpx2.Client(base_url=self.url, auth=auth, trust_env=False, timeout=30)


def access_key(user: str) -> str:
    return "".join(letter for letter in user.upper() if letter.isalnum())


@contextmanager
def real_gateway() -> Iterator[RealGateway]:
    """Run a monitor, a storage daemon and a gateway. Skips the test where they are not installed."""
    path = _environment()["PATH"]
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=path)]:
        needed = "apt-get install ceph-mon ceph-osd ceph-common radosgw"
        pytest.skip(f"{', '.join(missing)} is not installed (Debian: {needed})")
    with tempfile.TemporaryDirectory(prefix="rgw", ignore_cleanup_errors=True) as name, ExitStack() as daemons:
        folder, fsid, port, mon_port = Path(name), str(uuid4()), free_port(), free_port()
        for each in ("mon", "osd0"):
            (folder / each).mkdir()
        text = _CONFIGURATION.format(folder=folder, fsid=fsid, port=port, mon_port=mon_port)
        (folder / "ceph.conf").write_text(text)
        conf = ["-c", str(folder / "ceph.conf")]

        def run(*command: str) -> bool:
            return subprocess.run(command, cwd=folder, capture_output=True, env=_environment()).returncode == 0

        def must(*command: str) -> None:
            if not run(*command):
                raise RuntimeError(f"{' '.join(command)} failed; try it in {folder}")

        def start(*command: str) -> None:
            with (folder / f"{command[0]}.out").open("wb") as said:
                daemon = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=_environment())
            daemons.callback(_stop, daemon)

        ceph = ("timeout", "60", "ceph", *conf)
        must("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        may = [word for daemon in ("mon", "osd", "mgr") for word in ("--cap", daemon, "allow *")]
        must("ceph-authtool", "keyring", "--gen-key", "-n", "client.admin", *may)
        must("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", "monmap")
        must("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        start("ceph-mon", *conf, "-f", "-i", "a")
        # The storage daemon gets its place before it starts: placing itself races with the monitor.
        osd = str(uuid4())
        _eventually("the monitor", lambda: run(*ceph, "osd", "new", osd))
        must(*ceph, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=local")
        must("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", *conf, "-f", "-i", "0")
        start("radosgw", *conf, "-f", "-n", "client.rgw.a")
        _eventually("the gateway", lambda: _answers(f"http://127.0.0.1:{port}/"))
        yield RealGateway(f"http://127.0.0.1:{port}", folder)


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])}


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    # All that they know is in memory, so nothing is lost by not waiting for them to put it in order.
    daemon.kill()
    daemon.wait()


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except HTTPError:
        return True
    except (URLError, ConnectionError, TimeoutError):
        return False
    return True


def _eventually(what: str, is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within {SECONDS} s")
        time.sleep(0.1)
