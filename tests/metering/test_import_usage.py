"""`manage.py import_usage`: what it stores, says and exits with."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from metering import pushing
from metering.models import Collection, Tenant
from tests.builders import GB, a_server, at
from tests.metering.pushed import NOW, a_push_server, ndjson, usage

pytestmark = pytest.mark.django_db

LINES = ndjson(*[{"tenant": f"t{number}", "metric": "disk", "value": number} for number in range(25)])


@pytest.fixture(autouse=True)
def _now(time_machine):
    time_machine.move_to(at(NOW), tick=False)


@pytest.fixture
def server():
    return a_push_server()


def run(path, *options, server="shop"):
    out, err = StringIO(), StringIO()
    code = 0
    try:
        call_command("import_usage", str(path), "--server", server, *options, stdout=out, stderr=err)
    except SystemExit as error:
        code = error.code
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "usage.ndjson"
    path.write_bytes(LINES)
    return path


def test_a_file_is_stored_and_its_record_says_whose_it_was(server, file):
    code, out, err = run(file)
    assert (code, err) == (0, "")
    assert "25 lines: 25 stored, 0 known already, 0 refused" in out
    assert "Disk space: 25 lines; periods 25 new, 0 changed, 0 the same" in out
    record = Collection.objects.get()
    assert (record.source, record.file_name, record.tenants, record.bytes) == ("import", "usage.ndjson", 25, len(LINES))
    assert usage(server, "disk", "t7") == {"2026-11-20": 7 * GB}


def test_a_dry_run_says_the_same_and_stores_nothing(server, file):
    assert "25 would be stored" in run(file, "--dry-run")[1]
    assert not Tenant.objects.exists()
    assert not Collection.objects.exists()


def test_the_same_file_again_is_recognised(server, file, tmp_path):
    run(file)
    renamed = file.rename(tmp_path / "again.ndjson")
    _code, out, err = run(renamed)
    assert "This very file was imported before, on 2026-11-20 12:00 UTC." in err
    assert "0 new, 0 changed, 25 the same" in out


def test_refused_lines_are_named_and_the_others_stored(server, tmp_path):
    path = tmp_path / "usage"
    path.write_text("tenant;metric;value\nalice;disk;1,5\nbob;disk;1.5\n")
    code, _out, err = run(path)
    assert code == 1
    assert err.startswith("line 2: '1,5' is not a plain decimal number")
    assert usage(server, "disk", "bob") == {"2026-11-20": Decimal("1.5") * GB}


def test_a_large_file_is_stored_in_batches_and_all_or_nothing(server, file, monkeypatch):
    monkeypatch.setattr(pushing, "BATCH", 10)
    assert "25 lines: 25 stored" in run(file)[1]
    file.write_bytes(b"tenant,metric,value\n" + b"x,disk,1\n" * 30)
    assert "30 lines: 30 stored" in run(file, "--format", "csv")[1]
    assert usage(server, "disk", "x") == {"2026-11-20": GB}


@pytest.mark.parametrize(
    ("content", "server_name", "word"),
    [
        (b"{", "panel", "no server called panel that usage is pushed to. There are: shop"),
        (b"", "shop", "There is no line in it"),
        (None, "shop", "cannot be read: No such file"),
    ],
)
def test_a_wrong_call_says_what_to_do(server, tmp_path, content, server_name, word):
    a_server("panel")
    path = tmp_path / "usage.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=word) as raised:
        run(path, server=server_name)
    assert raised.value.returncode == 2


def test_adding_goes_on_from_one_batch_to_the_next(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pushing, "BATCH", 10)
    path = tmp_path / "usage.ndjson"
    line = {"tenant": "alice", "metric": "emails", "value": 2, "mode": "add"}
    path.write_bytes(ndjson(*[{**line, "id": str(number % 30)} for number in range(45)]))
    assert "45 lines: 30 stored, 15 known already, 0 refused" in run(path)[1]
    assert usage(server, "emails") == {"2026-11-20": 60}
