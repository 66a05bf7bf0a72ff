"""`run`: one command brings up the site with its database and worker, and takes all of it down again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.metering.real_prometheus import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def var(tmp_path_factory):
    """A directory that the system user of the embedded server can reach."""
    path = ROOT / "var" / f"run-{os.getpid()}"
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def answers(address, within=60.0):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            with urlopen(address, timeout=5) as response:
                return response.status
        except OSError:
            time.sleep(0.2)
    return None


def of_site(var):
    """The processes that work in this directory: web, worker and database."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or ())
        if str(var) in command or (process.info["environ"] or {}).get("VAR_DIR") == str(var):
            found.append(command[-80:])
    return found


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_works_and_stops_cleanly(var, stop, tmp_path):
    port = free_port()
    environment = {**os.environ, "VAR_DIR": str(var), "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    command = [sys.executable, "manage.py", "run", "--port", str(port)]
    said = tmp_path / "said"
    with said.open("wb") as out:
        site = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stdout=out)
    try:
        assert answers(f"http://127.0.0.1:{port}/account/login/") == 200
        os.killpg(site.pid, stop)  # as a terminal does
        assert site.wait(timeout=60) == 0
        deadline = time.monotonic() + 20
        while of_site(var) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert of_site(var) == []
        assert "Nobody can sign in yet. manage.py createsuperuser" in said.read_text()
    finally:
        site.kill()
