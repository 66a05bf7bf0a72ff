"""`manage.py import_usage`: what it stores, says and exits with."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from metering import formats, pushing
from metering.models import Collection, Tenant
from tests.builders import GB, a_server, at
from tests.metering.pushed import NOW, a_push_server, ndjson, pushed, usage

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


def imported(server, path, **options):
    with path.open("rb") as source:
        lines = formats.read(source, formats.Format.NDJSON, 1000)
        return pushing.push(server=server, lines=lines, at=at(NOW), file=pushing.File(path.name, ""), **options)


def sums(total):
    return total.new, total.changed, total.same, total.before, total.after


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


def test_a_period_that_comes_in_many_batches_is_one_period(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pushing, "BATCH", 3)
    path = tmp_path / "usage.ndjson"
    traffic = {"tenant": "alice", "metric": "bandwidth", "value": 1, "mode": "add"}
    lines = [{**traffic, "id": str(number)} for number in range(7)]
    # What becomes something else and then what it was is the same in the end.
    disk = [{"tenant": "alice", "metric": "disk", "value": value} for value in (5, 5, 7, 7, 7, 5, 5)]
    pushed(server, {**traffic, "id": "a", "value": 3}, {**traffic, "tenant": "bob", "id": "b"}, disk[0])
    path.write_bytes(ndjson(*lines, {**traffic, "tenant": "carol", "id": "c"}, *disk))
    for is_dry in (True, False):
        outcome = imported(server, path, is_dry=is_dry)
        assert sums(outcome.totals["bandwidth"]) == (1, 1, 0, 3 * GB, 11 * GB)
        assert sums(outcome.totals["disk"]) == (0, 0, 1, 5 * GB, 5 * GB)
        assert (outcome.totals["bandwidth"].lines, outcome.totals["disk"].lines) == (8, 7)
    assert usage(server, "bandwidth") == {"2026-11-01": 10 * GB}


def test_a_new_count_that_comes_in_many_batches_is_one_new_count(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pushing, "BATCH", 2)
    path = tmp_path / "usage.ndjson"
    path.write_bytes(ndjson(*[{"tenant": "alice", "metric": "calls", "value": value} for value in (10, 15, 3, 9, 20)]))
    total = imported(server, path).totals["calls"]
    assert (total.new, total.changed, total.same, total.lines) == (1, 0, 0, 5)
    assert usage(server, "calls") == {"2026-11-20": 5 + 3 + 6 + 11}


@pytest.mark.parametrize("value", ["x", 5])
def test_a_file_of_nothing_new_changes_nothing(server, tmp_path, value):
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 5})
    path = tmp_path / "usage.ndjson"
    path.write_bytes(ndjson({"tenant": "alice", "metric": "disk", "value": value}))
    totals = imported(server, path).totals.values()
    assert sum(total.new + total.changed for total in totals) == 0
