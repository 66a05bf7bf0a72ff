"""Starts the `mariadbd` of the system in a temporary directory, on a port of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.metering.real_prometheus import free_port

SECONDS = 30


@dataclass
class RealMariaDB:
    """A running server. Its `root` may come without a password, on the socket; its data is in `folder`."""

    socket: str
    port: int
    folder: Path

    def run(self, *statements: str, database: str | None = None, user: str = "root", password: str = "") -> list[Any]:
        """Execute statements without the code under test, and return the rows of the last."""
        connection = pymysql.connect(
            unix_socket=self.socket, user=user, password=password, database=database, autocommit=True
        )
        with closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@contextmanager
def real_mariadb(certificate: tuple[str, str] | None = None) -> Iterator[RealMariaDB]:
    """Run MariaDB, with user statistics on, and with TLS by a certificate and its key, if any.

    Skips the test where it is not installed.
    """
    installer, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path=_path())
    if not installer or not server:
        pytest.skip("mariadbd is not installed (Debian: apt-get install mariadb-server)")
    with tempfile.TemporaryDirectory(prefix="mariadb") as name:
        folder, port = Path(name), free_port()
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        data, socket = folder / "data", str(folder / "socket")
        as_user = [f"--user={user}"]
        install = [f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([installer, "--no-defaults", *install, *as_user], check=True, capture_output=True)
        places = [f"--datadir={data}", f"--socket={socket}", f"--port={port}", f"--pid-file={folder}/pid"]
        fast = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--skip-name-resolve"]
        command = [server, "--no-defaults", *as_user, *places, *fast, "--bind-address=127.0.0.1", "--userstat=1"]
        for kind, text in zip(("cert", "key"), certificate or (), strict=False):
            (folder / kind).write_text(text)
            command.append(f"--ssl-{kind}={folder / kind}")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                running = RealMariaDB(socket, port, data)
                _wait(running, process)
                yield running
            finally:
                process.terminate()


def _path() -> str:
    """Return where programs are, with the directories of those for administrators."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _wait(server: RealMariaDB, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"mariadbd stopped with status {process.returncode}")
        try:
            server.run("SELECT 1")
            return
        except pymysql.Error:
            time.sleep(0.05)
    raise TimeoutError(f"mariadbd did not answer within {SECONDS} s")
