"""The embedded server starts once, however many processes come for it at the same moment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONNECT = """
import django
django.setup()
from django.db import connection
connection.ensure_connection()
"""


@pytest.fixture
def var():
    path = ROOT / "var" / f"embedded-{os.getpid()}"
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def test_processes_that_start_it_for_the_first_time_at_once_all_get_in(var):
    environment = {**os.environ, "VAR_DIR": str(var), "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    command = [sys.executable, "-c", CONNECT]
    many = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [each.communicate(timeout=120)[1] for each in many]
    assert [each.returncode for each in many] == [0, 0, 0], said
