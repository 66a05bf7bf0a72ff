"""Directories below a root as tenants: web spaces, home directories, mail domains.

A tenant is a directory immediately below the root. Symbolic links and names that start with a dot are
none. What tenants can change is not trusted: every directory is opened from the one before it and never
through a symbolic link, so a tree that is rearranged while it is read cannot lead outside, nor be too deep.

What vanishes while a tree is read is not counted. What is moved may be counted twice or not at all, as
with `du`.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar
from unicodedata import category

from metering.periods import Period
from metering.providers.base import Connection, Field, Metric, MetricType, Provider, ProviderError, TenantUsage, Usage
from metering.providers.base import gettext_noop as _
from metering.units import MAILBOXES, MB, Unit

_METRICS = (
    Metric("disk_used", _("Disk used"), MetricType.SNAPSHOT, MB),
    Metric("files", _("Files"), MetricType.SNAPSHOT, Unit("files", _("file"), _("files"))),
    Metric("mailboxes", _("Mailboxes"), MetricType.SNAPSHOT, MAILBOXES),
)
_DIRECTORIES = Unit("directories", _("directory"), _("directories"))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: What opening a directory fails with when there is none, or none any more: a link took its place, for example.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_MAILDIR = frozenset({"cur", "new", "tmp"})


class Filesystem(Provider):
    """Usage of the directories below one root.

    - `disk_used`: the sizes of all regular files, in bytes, as `ls -l` writes them: neither rounded up to
      blocks nor reduced for holes. A file with several names in the tenant's tree counts once.
      Directories themselves, symbolic links, sockets and devices have no size.
    - `files`: those regular files; again, one with several names is one.
    - `mailboxes`: directories that have `cur`, `new` and `tmp`, with or without mail. Folders within a
      mailbox by the rules of Maildir++, whose names start with a dot, belong to it.

    Other file systems that are mounted within a tenant's tree are left out, like `du -x` does; the
    tenant's directory itself may be one.
    """

    title: ClassVar[str] = _("File system")
    tenant_is: ClassVar[str] = _("the name of a directory below the root")
    can_look_back: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = (Field("root", _("Root"), help=_("Absolute path, such as /srv/www.")),)

    def __init__(self, connection: Connection) -> None:
        self._root = str(connection.settings["root"])

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _METRICS

    def check(self) -> str:
        """Return "/srv/www, 12 directories": the root, and how many tenants it has."""
        with self._open() as root:
            return f"{self._root}, {_DIRECTORIES.write(Decimal(len(self._tenants(root))))}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield the current usage of every tenant, in the order of their names; `period` is never given.

        A tenant whose name nobody could write gets its name as Python writes it, and failures only.
        """
        with self._open() as root:
            for name in self._tenants(root):
                if not _is_name(name):
                    reason = f"The name {name!r} is not valid UTF-8 or has control characters: rename the directory."
                    yield _failed(repr(name), reason)
                elif usage := self._measure(root, name):
                    yield usage

    def tenant_usage(self, tenant: str) -> TenantUsage:
        with self._open() as root:
            is_name = not tenant.startswith(".") and "/" not in tenant and _is_name(tenant)
            usage = self._measure(root, tenant) if is_name else None
        if usage is None:
            raise ProviderError(f"{self._root} has no directory called {tenant!r}. Check the name.")
        return usage

    @contextmanager
    def _open(self) -> Iterator[int]:
        if not os.path.isabs(self._root):
            raise ProviderError(f"The root {self._root!r} is not an absolute path: write it from the first / on.")
        try:
            root = os.open(self._root, _DIRECTORY)
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        try:
            yield root
        finally:
            os.close(root)

    def _tenants(self, root: int) -> list[str]:
        try:
            with os.scandir(root) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            return sorted(name for name in names if not name.startswith("."))
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ProviderError:
        """Say what is wrong with the root, and what to do."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return ProviderError(f"{self._root} is not a directory. Correct the root, or mount what should be there.")
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return ProviderError(
            f"The root {self._root!r} could not be read: {reason}. "
            "Let the account that Tallyport runs as read and search it."
        )

    def _measure(self, root: int, tenant: str) -> TenantUsage | None:
        """Return the usage of a tenant, or None when there is no such directory."""
        walk = _Walk(os.dup(root))
        try:
            if not walk.run(tenant):
                return None
        except OSError as error:
            # What could not be opened may hold anything.
            return _failed(tenant, walk.explain(error))
        values = {"disk_used": walk.size, "files": walk.files, "mailboxes": walk.mailboxes}
        failures = dict.fromkeys(["disk_used", "files"], walk.unsized) if walk.unsized else {}
        known = {name: Usage(Decimal(value)) for name, value in values.items() if name not in failures}
        return TenantUsage(tenant, known, failures)


def _is_name(name: str) -> bool:
    """Whether people could write the name: it has no control characters and no bytes that are not UTF-8."""
    return not any(category(character) in {"Cc", "Cs"} for character in name)


def _failed(tenant: str, reason: str) -> TenantUsage:
    return TenantUsage(tenant, {}, {metric.system_name: reason for metric in _METRICS})


def _identity(directory: int) -> tuple[int, int]:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino


@dataclass(slots=True)
class _Level:
    """A directory on the way down, and the directories in it that are still to be visited."""

    name: str
    identity: tuple[int, int]
    below: list[str] = field(default_factory=list)
    is_maildir: bool = False


class _Walk:
    """Adds up one tree, depth first, from the directory open as `root`, which it closes in the end."""

    def __init__(self, root: int) -> None:
        self.size = self.files = self.mailboxes = 0
        #: Why files could not be looked at, although their directory could be listed.
        self.unsized = ""
        self._here = root
        self._levels: list[_Level] = []
        self._linked: set[tuple[int, int]] = set()

    def run(self, name: str) -> bool:
        """Add up the directory called `name`, and return whether there is one.

        Raises OSError when a directory could not be read; `explain` says which.
        """
        try:
            is_there = self._down(name)
            while self._levels:
                if self._levels[-1].below:
                    self._down(self._levels[-1].below.pop())
                else:
                    self._up()
            return is_there
        finally:
            os.close(self._here)

    def explain(self, error: OSError) -> str:
        inside = [error.filename] if isinstance(error.filename, str) else []
        path = "/".join([*(level.name for level in self._levels), *inside])[-200:]
        advice = " Let the account that Tallyport runs as read it." if isinstance(error, PermissionError) else ""
        return f"{path!r} could not be read: {error.strerror}.{advice}"

    def _down(self, name: str) -> bool:
        """Read a directory, unless it is gone, and stay in it when there are others below it."""
        try:
            there = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._here)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        try:
            level = _Level(name, _identity(there))
            self._levels.append(level)
            if level.identity[0] == self._levels[0].identity[0]:
                self._read(there, level)
            if level.below:
                self._here, there = there, self._here
            else:
                self._levels.pop()
        finally:
            os.close(there)
        return True

    def _up(self) -> None:
        name = self._levels.pop().name
        if self._levels:
            there = os.open("..", _DIRECTORY, dir_fd=self._here)
            os.close(self._here)
            self._here = there
            # Whoever moves a directory while we are in it must not lead us to where it is now.
            if _identity(there) != self._levels[-1].identity:
                raise OSError(errno.ESTALE, "it was moved while it was read", name)

    def _read(self, directory: int, level: _Level) -> None:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    level.below.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    self._count(entry)
        level.is_maildir = _MAILDIR.issubset(level.below)
        is_folder = level.name.startswith(".") and len(self._levels) > 1 and self._levels[-2].is_maildir
        if level.is_maildir and not is_folder:
            self.mailboxes += 1

    def _count(self, entry: os.DirEntry[str]) -> None:
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unsized = self.unsized or self.explain(error)
            return
        identity = info.st_dev, info.st_ino
        if identity in self._linked:
            return
        if info.st_nlink > 1:
            self._linked.add(identity)
        self.files += 1
        self.size += info.st_size
