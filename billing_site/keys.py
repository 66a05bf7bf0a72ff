"""Keys that the site makes for itself on first use, for when the environment has none.

They are files in VAR_DIR that only their owner can read. An installation on several machines gives all
of them the same SECRET_KEY and FIELD_KEYS instead; `manage.py check --deploy` says so.
"""

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet
from django.core.management.utils import get_random_secret_key


def secret_key(directory: Path) -> str:
    return _kept(directory / "secret_key", get_random_secret_key)


def field_keys(directory: Path) -> list[str]:
    return _kept(directory / "field_keys", lambda: Fernet.generate_key().decode()).split()


def _kept(path: Path, make: Callable[[], str]) -> str:
    make_private(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        # Two processes may start at once: the link is made once, and both read the winner's key.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


def make_private(directory: Path) -> None:
    """Make a directory that nobody else can list, whatever the umask. One that is there stays as it is.

    The embedded server of root runs as a user of its own, and must get through to its own directory.
    """
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
