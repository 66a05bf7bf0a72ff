"""What an error of the database means for a run: try again, find the service that is to blame, or stop."""

from django.db import DatabaseError, InterfaceError, OperationalError

#: How often something is tried that lost its connection, waited too long for a lock or met another transaction.
TRIES = 5
CONFLICTS = {"40001", "40P01"}  # serialization failure, deadlock
TIMEOUTS = {"55P03", "57014"}  # of a lock, of a statement


def sqlstate(error: DatabaseError) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def is_lost(error: DatabaseError) -> bool:
    """Whether the connection is gone, and not only the transaction."""
    is_broken = isinstance(error, OperationalError | InterfaceError) and not sqlstate(error)
    return is_broken or sqlstate(error).startswith(("08", "57P"))


def is_away(error: DatabaseError) -> bool:
    """Whether it is out of disk, memory or connections, or a standby: no fault of any service."""
    return sqlstate(error).startswith("53") or sqlstate(error) == "25006"


def passes(error: DatabaseError, tries: int) -> bool:
    """Whether it may be otherwise in a moment."""
    if sqlstate(error) in TIMEOUTS:
        return tries < 2
    return tries < TRIES and (is_lost(error) or sqlstate(error) in CONFLICTS)
