"""What the file system provider counts, and what it does about trees that are hostile, closed or in motion."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metering.providers.base import Connection, MetricType, ProviderError, TenantUsage
from metering.providers.filesystem import Filesystem
from metering.units import MAILBOXES, MB

NOBODY = 65534
ALL = {"disk_used", "files", "mailboxes"}
MOUNTED_IN_DEV = "/dev/shm"


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that every account can reach, unlike tmp_path; removed by `rm`, which no depth stops."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
    subprocess.run(["rm", "-rf", path], check=True)


def provider(root: Path | str) -> Filesystem:
    return Filesystem(Connection({"root": str(root)}, {}, as_of=datetime(2026, 3, 1, tzinfo=UTC), time_zone=UTC))


def write(path: Path, size: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def maildir(path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    return path


def numbers(usage: TenantUsage) -> dict[str, int]:
    """The values as plain numbers, none of which may ever have been a float."""
    assert all(type(observed.value) is Decimal for observed in usage.values.values())
    return {name: int(observed.value) for name, observed in usage.values.items()}


def everything(root: Path) -> dict[str, TenantUsage]:
    return {usage.tenant: usage for usage in provider(root).usage()}


def ask(root: Path, tenant: str = "alice") -> dict[str, int]:
    usage = provider(root).tenant_usage(tenant)
    assert not usage.failures
    return numbers(usage)


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Run without the rights of root, whom no permission stops."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def once(monkeypatch: pytest.MonkeyPatch, name: str, deed: Callable[[], object]) -> None:
    """Do the deed right after the first directory that has an entry called `name` was listed."""
    real, deeds = os.scandir, [deed]

    @contextmanager
    def scandir(directory: Any) -> Iterator[list[os.DirEntry[str]]]:
        with real(directory) as entries:
            listed = list(entries)
        if deeds and any(entry.name == name for entry in listed):
            deeds.pop()()
        yield listed

    monkeypatch.setattr(os, "scandir", scandir)


def test_metrics_say_their_units_without_a_server() -> None:
    metrics = {metric.system_name: metric for metric in Filesystem.metrics()}
    assert set(metrics) == ALL
    assert {metric.type for metric in metrics.values()} == {MetricType.SNAPSHOT}
    assert metrics["disk_used"].unit == MB
    assert metrics["mailboxes"].unit == MAILBOXES
    assert metrics["files"].unit.write(Decimal(1)) == "1 file"
    assert metrics["files"].unit.is_whole


def test_every_directory_below_the_root_is_a_tenant_in_the_order_of_names(root: Path) -> None:
    write(root / "bob" / "site" / "index.html", 700)
    write(root / "alice" / "a", 1000)
    write(root / "alice" / "deep" / "er" / "b", 234)
    usages = list(provider(root).usage())
    assert [usage.tenant for usage in usages] == ["alice", "bob"]
    assert numbers(usages[0]) == {"disk_used": 1234, "files": 2, "mailboxes": 0}
    assert numbers(usages[1]) == {"disk_used": 700, "files": 1, "mailboxes": 0}
    assert not any(usage.failures for usage in usages)


def test_an_empty_directory_has_zeros(root: Path) -> None:
    (root / "alice").mkdir()
    assert numbers(everything(root)["alice"]) == {"disk_used": 0, "files": 0, "mailboxes": 0}


def test_files_links_and_hidden_names_in_the_root_are_no_tenants(root: Path) -> None:
    (root / "alice").mkdir()
    (root / ".snapshots").mkdir()
    write(root / "notes.txt", 5)
    (root / "link").symlink_to(root / "alice")
    assert list(everything(root)) == ["alice"]


def test_the_root_itself_may_be_reached_through_a_link(root: Path) -> None:
    write(root / "real" / "alice" / "a", 10)
    (root / "link").symlink_to(root / "real")
    assert ask(root / "link") == {"disk_used": 10, "files": 1, "mailboxes": 0}


def test_hidden_files_within_a_tenant_count(root: Path) -> None:
    write(root / "alice" / ".git" / "config", 30)
    write(root / "alice" / ".profile", 4)
    assert ask(root) == {"disk_used": 34, "files": 2, "mailboxes": 0}


def test_a_file_with_two_names_counts_once_for_each_tenant(root: Path) -> None:
    file = write(root / "alice" / "a", 100)
    os.link(file, root / "alice" / "b")
    write(root / "bob" / "own", 1)
    os.link(file, root / "bob" / "c")
    assert ask(root) == {"disk_used": 100, "files": 1, "mailboxes": 0}
    assert ask(root, "bob") == {"disk_used": 101, "files": 2, "mailboxes": 0}


def test_a_sparse_file_has_the_size_that_it_says(root: Path) -> None:
    file = write(root / "alice" / "disk.img")
    os.truncate(file, 5_000_000_000_000)
    assert ask(root)["disk_used"] == 5_000_000_000_000


def test_links_within_a_tenant_are_neither_followed_nor_counted(root: Path) -> None:
    write(root / "bob" / "big", 5000)
    (root / "alice").mkdir()
    (root / "alice" / "directory").symlink_to(root / "bob")
    (root / "alice" / "file").symlink_to(root / "bob" / "big")
    (root / "alice" / "loop").symlink_to(root / "alice")
    assert ask(root) == {"disk_used": 0, "files": 0, "mailboxes": 0}


def test_pipes_are_no_files_and_do_not_make_it_wait(root: Path) -> None:
    write(root / "alice" / "a", 1)
    os.mkfifo(root / "alice" / "pipe")
    assert ask(root) == {"disk_used": 1, "files": 1, "mailboxes": 0}


def test_a_tree_may_be_deeper_than_any_path_or_stack(root: Path) -> None:
    levels, name = 3000, "directory"
    (root / "alice").mkdir()
    here = os.open(root / "alice", os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    treasure = os.open("treasure", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.truncate(treasure, 77)
    os.close(treasure)
    os.close(here)
    assert ask(root) == {"disk_used": 77, "files": 1, "mailboxes": 0}


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.ismount(MOUNTED_IN_DEV),
    reason="needs a file system that is mounted within another one, and the right to read both",
)
def test_other_file_systems_that_are_mounted_within_a_tenant_are_left_out() -> None:
    before = ask(Path("/"), "dev")
    with tempfile.TemporaryDirectory(dir=MOUNTED_IN_DEV) as directory:
        write(Path(directory) / "file", 4321)
        assert ask(Path("/"), "dev") == before
        assert ask(Path(MOUNTED_IN_DEV).parent, "shm")["disk_used"] >= 4321


def test_directories_with_the_layout_of_a_maildir_are_mailboxes(root: Path) -> None:
    write(maildir(root / "alice.example" / "info") / "cur" / "1,S=3:2,S", 3)
    maildir(root / "alice.example" / "office" / "Maildir")
    (root / "alice.example" / "not-quite" / "cur").mkdir(parents=True)
    write(root / "alice.example" / "files" / "cur", 1)
    (root / "alice.example" / "files" / "new").mkdir()
    (root / "alice.example" / "files" / "tmp").mkdir()
    linked = maildir(root / "alice.example" / "linked")
    (linked / "cur").rmdir()
    (linked / "cur").symlink_to("new")
    assert ask(root, "alice.example") == {"disk_used": 4, "files": 2, "mailboxes": 2}


def test_folders_of_a_mailbox_are_no_mailboxes_of_their_own(root: Path) -> None:
    info = maildir(root / "alice" / "info")
    write(maildir(info / ".Sent") / "cur" / "1", 10)
    maildir(info / ".Sent.2026")
    assert ask(root) == {"disk_used": 10, "files": 1, "mailboxes": 1}


def test_mailboxes_below_the_mailbox_of_the_account_count_as_well(root: Path) -> None:
    mail = maildir(root / "alice" / "mail")
    maildir(mail / "alice.example" / "info")
    maildir(mail / "direct")
    assert ask(root)["mailboxes"] == 3


def test_a_hidden_directory_outside_of_a_mailbox_can_be_one(root: Path) -> None:
    maildir(root / "alice" / ".maildir")
    assert ask(root)["mailboxes"] == 1


def test_a_tenant_can_be_a_mailbox_itself(root: Path) -> None:
    maildir(maildir(root / "alice") / ".Trash")
    assert ask(root)["mailboxes"] == 1


def test_a_closed_directory_costs_its_tenant_every_metric_and_the_others_none(root: Path) -> None:
    write(root / "alice" / "a", 100)
    write(root / "alice" / "private" / "b", 100)
    write(root / "bob" / "c", 5)
    (root / "alice" / "private").chmod(0)
    with as_somebody_else():
        usages = everything(root)
    assert numbers(usages["bob"]) == {"disk_used": 5, "files": 1, "mailboxes": 0}
    assert not usages["alice"].values
    assert set(usages["alice"].failures) == ALL
    reason = "'alice/private' could not be read: Permission denied. Let the account that Tallyport runs as read it."
    assert usages["alice"].failures["files"] == reason


def test_a_closed_tenant_is_a_failure_and_not_absent(root: Path) -> None:
    write(root / "alice" / "a", 100)
    (root / "alice").chmod(0)
    with as_somebody_else():
        usage = provider(root).tenant_usage("alice")
    assert not usage.values
    assert set(usage.failures) == ALL


def test_files_that_can_be_listed_but_not_looked_at_leave_the_mailboxes_known(root: Path) -> None:
    maildir(root / "alice" / "info")
    write(root / "alice" / "listed" / "a", 100)
    (root / "alice" / "listed").chmod(0o444)
    with as_somebody_else():
        usage = provider(root).tenant_usage("alice")
    assert numbers(usage) == {"mailboxes": 1}
    assert set(usage.failures) == {"disk_used", "files"}
    assert "'alice/listed/a' could not be read: Permission denied" in usage.failures["disk_used"]


def test_a_file_that_vanishes_meanwhile_is_not_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "alice" / "stays", 1)
    goes = write(root / "alice" / "goes", 10)
    once(monkeypatch, "goes", goes.unlink)
    assert ask(root) == {"disk_used": 1, "files": 1, "mailboxes": 0}


def test_a_directory_that_vanishes_meanwhile_is_not_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "alice" / "stays", 1)
    (root / "alice" / "goes").mkdir()
    once(monkeypatch, "goes", (root / "alice" / "goes").rmdir)
    assert ask(root) == {"disk_used": 1, "files": 1, "mailboxes": 0}


def test_a_directory_that_vanishes_while_it_is_read_does_not_stop_the_walk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "alice" / "stays" / "file", 1)
    (root / "alice" / "goes" / "inner").mkdir(parents=True)
    once(monkeypatch, "inner", lambda: subprocess.run(["rm", "-r", root / "alice" / "goes"], check=True))
    assert ask(root) == {"disk_used": 1, "files": 1, "mailboxes": 0}


def test_a_tenant_that_vanishes_meanwhile_is_absent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "alice").mkdir()
    (root / "bob").mkdir()
    once(monkeypatch, "bob", (root / "bob").rmdir)
    assert list(everything(root)) == ["alice"]


def test_a_directory_that_turns_into_a_link_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "bob" / "secret", 5000)
    trap = root / "alice" / "trap"
    trap.mkdir(parents=True)

    def spring() -> None:
        trap.rmdir()
        trap.symlink_to(root / "bob")

    once(monkeypatch, "trap", spring)
    assert ask(root) == {"disk_used": 0, "files": 0, "mailboxes": 0}


def test_a_directory_that_is_moved_away_while_it_is_read_is_a_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "bob" / "secret", 5000)
    write(root / "alice" / "moves" / "inner" / "file", 1)
    once(monkeypatch, "file", lambda: (root / "alice" / "moves").rename(root / "bob" / "moved"))
    usage = provider(root).tenant_usage("alice")
    assert not usage.values
    assert set(usage.failures) == ALL
    assert "'alice/moves' could not be read: it was moved" in usage.failures["files"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"bell\x07"])
def test_a_name_that_nobody_could_write_is_a_failure_with_a_printable_name(root: Path, name: bytes) -> None:
    (root / "alice").mkdir()
    os.mkdir(os.fsencode(root) + b"/" + name)
    usages = everything(root)
    (odd,) = (usage for tenant, usage in usages.items() if tenant != "alice")
    assert odd.tenant == repr(os.fsdecode(name))
    assert odd.tenant.isprintable()
    assert odd.tenant.encode()
    assert not odd.values
    assert set(odd.failures) == ALL
    assert not usages["alice"].failures


def test_odd_names_within_a_tenant_are_counted(root: Path) -> None:
    (root / "alice").mkdir()
    for name in (b"caf\xe9", b"two\nlines"):
        Path(os.fsdecode(os.fsencode(root) + b"/alice/" + name)).write_bytes(b"12345")
    assert ask(root) == {"disk_used": 10, "files": 2, "mailboxes": 0}


def test_names_in_any_script_are_tenants(root: Path) -> None:
    write(root / "müller & söhne" / "a", 1)
    write(root / "例え.jp" / "a", 2)
    assert {tenant: numbers(usage)["disk_used"] for tenant, usage in everything(root).items()} == {
        "müller & söhne": 1,
        "例え.jp": 2,
    }


@pytest.mark.parametrize(
    "tenant",
    ["", ".", "..", "../outside", "alice/..", "alice/inner", "/etc", "ali\0ce", "\udce9", ".hidden", "no"],
)
def test_a_tenant_is_only_ever_a_directory_of_the_root(root: Path, tenant: str) -> None:
    write(root / "outside" / "a", 1)
    write(root / "root" / "alice" / "inner" / "b", 1)
    write(root / "root" / ".hidden" / "b", 1)
    with pytest.raises(ProviderError, match="has no directory called"):
        provider(root / "root").tenant_usage(tenant)


def test_a_link_a_file_and_a_name_too_long_are_unknown_tenants(root: Path) -> None:
    (root / "alice").mkdir()
    (root / "link").symlink_to("alice")
    write(root / "file", 1)
    for tenant in ("link", "file", "x" * 300):
        with pytest.raises(ProviderError, match="has no directory called"):
            provider(root).tenant_usage(tenant)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("relative", "not an absolute path"),
        ("", "not an absolute path"),
        ("/nowhere/to/be/found", "is not a directory. Correct the root"),
        ("/etc/passwd", "is not a directory. Correct the root"),
        ("/tmp/nul\0", "could not be read: embedded null byte"),
    ],
)
def test_a_root_that_is_none_says_what_to_do(root: str, message: str) -> None:
    deeds: list[Callable[[], object]] = [
        provider(root).check,
        lambda: list(provider(root).usage()),
        lambda: provider(root).tenant_usage("alice"),
    ]
    for deed in deeds:
        with pytest.raises(ProviderError, match=message):
            deed()


def test_a_closed_root_says_what_to_do(root: Path) -> None:
    root.chmod(0)
    with as_somebody_else(), pytest.raises(ProviderError, match=r"Permission denied\. Let the account"):
        provider(root).check()


def test_check_tells_how_many_directories_there_are(root: Path) -> None:
    (root / "alice").mkdir()
    assert provider(root).check() == f"{root}, 1 directory"
    (root / "bob").mkdir()
    (root / "link").symlink_to("bob")
    write(root / "file")
    assert provider(root).check() == f"{root}, 2 directories"


def test_nothing_stays_open(root: Path) -> None:
    write(root / "alice" / "private" / "a", 1)
    write(root / "bob" / "b", 1)
    (root / "alice" / "private").chmod(0)
    before = os.listdir("/proc/self/fd")
    with as_somebody_else():
        everything(root)
        next(provider(root).usage())
    assert os.listdir("/proc/self/fd") == before
