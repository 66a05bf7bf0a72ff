"""Starts the `dovecot` of the system in a temporary directory, with its doveadm HTTP API on a port of its own."""

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.metering.real_prometheus import free_port

SECONDS = 30
KEY = "s3cr:t@/%"

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols =
listen = 127.0.0.1
ssl = no
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {internal}
mail_location = maildir:{folder}/mail/%d/%n
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mail_plugins = {plugins}
doveadm_api_key = {key}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
{settings}
}}
service doveadm {{
  chroot =
  inet_listener http {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


@dataclass
class RealDovecot:
    """A running server."""

    url: str
    folder: Path
    binary: str

    def add(self, user: str, **fields: str) -> None:
        """Let there be a user, with fields of the userdb such as `quota_rule`."""
        extra = " ".join(f"userdb_{name}={value}" for name, value in fields.items())
        with (self.folder / "users").open("a") as users:
            users.write(f"{user}:{{PLAIN}}x::::::{extra}\n")

    def save(self, user: str, *messages: bytes) -> None:
        """Put messages into the inbox of a user, without the code under test."""
        for message in messages:
            command = [self.binary, "-c", str(self.folder / "dovecot.conf"), "save", "-u", user]
            subprocess.run(command, input=message, check=True, capture_output=True)


@contextmanager
def real_dovecot(plugins: str = "quota", settings: str = "") -> Iterator[RealDovecot]:
    """Run Dovecot with the quota plugin and no users. Skips the test where it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    server, doveadm = shutil.which("dovecot", path=path), shutil.which("doveadm", path=path)
    if not server or not doveadm:
        pytest.skip("dovecot is not installed (Debian: apt-get install dovecot-core)")
    with tempfile.TemporaryDirectory(prefix="dovecot") as name:
        folder, port, is_root = Path(name), free_port(), os.geteuid() == 0
        folder.chmod(0o755)
        (folder / "run").mkdir()
        (folder / "mail").mkdir()
        me = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.geteuid())
        internal = "dovecot" if is_root else me.pw_name
        (folder / "users").touch()
        if is_root:
            os.chown(folder / "mail", me.pw_uid, me.pw_gid)
        text = _CONFIGURATION.format(
            folder=folder,
            internal=internal,
            internal_group=grp.getgrgid(pwd.getpwnam(internal).pw_gid).gr_name,
            uid=me.pw_uid,
            gid=me.pw_gid,
            plugins=plugins,
            key=KEY,
            settings=settings,
            port=port,
        )
        (folder / "dovecot.conf").write_text(text)
        with subprocess.Popen([server, "-F", "-c", str(folder / "dovecot.conf")], stderr=subprocess.PIPE) as process:
            try:
                running = RealDovecot(f"http://127.0.0.1:{port}", folder, doveadm)
                _wait(running, process)
                yield running
            finally:
                process.terminate()


def _wait(server: RealDovecot, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
            raise RuntimeError(f"dovecot stopped with status {process.returncode}: {said}")
        try:
            urlopen(f"{server.url}/doveadm/v1", timeout=1).close()
        except HTTPError:
            return  # it asks for the key
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise TimeoutError(f"dovecot did not answer within {SECONDS} s")
