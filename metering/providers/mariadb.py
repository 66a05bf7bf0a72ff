"""Databases of a MariaDB server as tenants, alone, by the prefix of their names, or by the user they are granted to.

Sizes are those of `information_schema.tables`, which names only what the asking user has some right in. So rights are
read too: a database that may not be looked into is refused, and never counted as empty.
"""

import re
import ssl
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

import pymysql

from metering.periods import Period
from metering.providers import trust
from metering.providers.base import (
    BANDWIDTH,
    DISK,
    Connection,
    Field,
    Metric,
    MetricType,
    Provider,
    ProviderError,
    TenantUsage,
    Usage,
)
from metering.providers.base import gettext_noop as _
from metering.units import BYTES, DATABASES, MB, Unit

#: Seconds that one statement may take; and that one may which looks into a single database, when all took too long.
STATEMENT, ONE_DATABASE = 45, 5

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")

# Compared by their bytes: by the collation of these columns `Shop` and `shop`, two databases, are one.
_SCHEMAS = "SELECT CAST(schema_name AS BINARY) FROM information_schema.schemata ORDER BY 1"

# A table that cannot be opened has no engine, and its comment says why. Tables that show rows of other tables, here or
# on other servers, would count those twice.
_SIZES = """
SELECT CAST(table_schema AS BINARY),
       COUNT(CASE WHEN table_type NOT LIKE '%%VIEW' AND table_type <> 'SEQUENCE' THEN 1 END),
       SUM(CASE WHEN engine NOT IN ('MRG_MyISAM', 'FEDERATED', 'SPIDER', 'CONNECT')
           THEN COALESCE(data_length, 0) + COALESCE(index_length, 0) ELSE 0 END),
       MIN(CASE WHEN table_type NOT LIKE '%%VIEW' AND engine IS NULL THEN CONCAT(table_name, ': ', table_comment) END)
FROM information_schema.tables
WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') AND {which}
GROUP BY 1
"""

# Roles, which have no host, and everybody (PUBLIC) own nothing; neither does whoever asks.
_GRANTS = """
SELECT DISTINCT user, db FROM mysql.db
WHERE user <> '' AND host <> '' AND user <> 'PUBLIC' AND user <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)
"""
_USERS = "SELECT user, bytes_sent, bytes_received FROM information_schema.user_statistics"

#: The rights of which any shows the tables of a database.
_SHOWING = {"ALL PRIVILEGES", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER"}
_SHOWING |= {"CREATE VIEW", "SHOW VIEW", "TRIGGER"}
_GRANT = re.compile(r"GRANT (?P<rights>[A-Z ,]+) ON (?:\*\.\*|`(?P<schema>(?:[^`]|``)+)`\.\*) TO ")

_TOO_LONG = (1969, 3024)  # what MariaDB and MySQL say when a statement took too long

_TLS = (
    ("verify", _("always, and check host name and certificate")),
    ("require", _("always, without checking the certificate")),
    ("disable", _("never")),
)
_TENANTS = (
    ("databases", _("databases")),
    ("prefixes", _("what the names of databases begin with, up to the first _")),
    ("users", _("users, with the databases that are granted to them")),
)
_LEVELS = (
    Metric(DISK, _("Disk used"), MetricType.SNAPSHOT, MB),
    Metric("tables", _("Tables"), MetricType.SNAPSHOT, Unit("tables", _("table"), _("tables"))),
)
_COUNT = Metric("databases", _("Databases"), MetricType.SNAPSHOT, DATABASES)
_COUNTERS = (
    Metric(BANDWIDTH, _("Traffic out"), MetricType.COUNTER, BYTES),
    Metric("ingress", _("Traffic in"), MetricType.COUNTER, BYTES),
)


class _Size(NamedTuple):
    """What a database holds, or why that is not known; `is_shared` if it is not even known whose it is."""

    tables: int = 0
    bytes: int = 0
    reason: str = ""
    is_shared: bool = False


_Traffic = Mapping[str, tuple[int, int]]


class MariaDB(Provider):
    """Usage of the databases of one server.

    - `disk_used`: data_length plus index_length of all tables, in bytes, as the server's statistics have them. Files
      are larger: InnoDB keeps what was freed (data_free) in them, and undo and redo logs belong to nobody.
    - `tables`: tables of all engines; views and sequences are none. A table in partitions is one.
    - `databases`: how many there are, of a prefix or user.
    - `bandwidth`, `ingress`: bytes sent to and received from a user since the server was started or its statistics
      were flushed, if the server counts them (userstat = 1). Of users only: the statistics know no databases.

    A user has the databases that are granted to it; one that is granted to several has the user of them whose name is
    its prefix. One that is granted to nobody is nobody's usage.
    """

    title: ClassVar[str] = "MariaDB"
    tenant_is: ClassVar[str] = _("a database name, the prefix of one, or a user name")
    resets: ClassVar[str] = _(
        "Sizes are as of now, by statistics that the server refreshes when a tenth of a table has changed. Traffic "
        "counts up until the server is restarted or its user statistics are flushed, in no time zone."
    )
    can_look_back: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = (
        Field("host", _("Host"), help=_("Name or address, or the path of a Unix socket.")),
        Field("port", _("Port"), kind="number", initial=3306),
        Field("user", _("User"), help=_("Of its own: GRANT SHOW VIEW ON *.* shows sizes, and no data.")),
        Field("password", _("Password"), kind="secret", required=False),
        Field("sslmode", "TLS", "choice", _("On a Unix socket there is none."), initial="verify", choices=_TLS),
        Field(
            "ca", _("CA certificate"), "lines", required=False, help=_("PEM text, if the system does not know the CA.")
        ),
        Field("tenants", _("Tenants are"), "choice", initial="databases", choices=_TENANTS),
        Field("left_out", _("Left out"), required=False, help=_("Tenants to skip, separated by commas.")),
    )

    def __init__(self, connection: Connection) -> None:
        settings, self._connection = connection.settings, connection
        self._tenants = str(settings.get("tenants") or "databases")
        self._left_out = {name.strip() for name in str(settings.get("left_out") or "").split(",")}
        self._host, self._port = str(settings.get("host") or ""), settings.get("port") or 3306
        self._user, self._password = str(settings.get("user") or ""), connection.credentials.get("password", "")
        self._where = self._host if self._host.startswith("/") else f"{self._host}, port {self._port},"

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        match (settings or {}).get("tenants"):
            case "users":
                return (*_LEVELS, _COUNT, *_COUNTERS)
            case "prefixes":
                return (*_LEVELS, _COUNT)
        return _LEVELS

    def check(self) -> str:
        """Return "10.11.6-MariaDB, 4 databases", and what cannot be seen of them."""
        with self._open() as server:
            ((version,),) = self._rows(server, "SELECT VERSION()")
            schemas, may_see = self._schemas(server), self._rights(server)
            answer = f"{version}, {DATABASES.write(Decimal(len(schemas)))}"
            if hidden := [schema for schema in schemas if not may_see(schema)]:
                raise ProviderError(f"{answer}, but {_grant(hidden[0], self._user)}")
            if self._tenants == "users":
                self._rows(server, _GRANTS)
                traffic, _ = self._traffic(server)
                if isinstance(traffic, str):
                    raise ProviderError(f"{answer}, but {traffic}")
                if traffic is None:
                    return f"{answer}; userstat is off, so there is no traffic"
        return answer

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield the current usage of every tenant, in the order of their names; `period` is never given."""
        return self._measure()

    def tenant_usage(self, tenant: str) -> TenantUsage:
        only = tenant if self._tenants == "databases" else None
        found = next((usage for usage in self._measure(only) if usage.tenant == tenant), None)
        if found is None:
            raise ProviderError(
                f"{self._where} has no {self._tenants[:-1].replace('xe', 'x')} {tenant!r} that is measured. "
                "Check the name, and that it is not left out."
            )
        return found

    def _measure(self, only: str | None = None) -> Iterator[TenantUsage]:
        with self._open() as server:
            schemas, may_see = self._schemas(server), self._rights(server)
            if only is not None:
                schemas = [schema for schema in schemas if schema == only]
            sizes = self._sizes(server, schemas)
            for schema in schemas:
                if not may_see(schema):
                    sizes[schema] = _Size(reason=_grant(schema, self._user))
            owned = self._owned(server, schemas, sizes)
            traffic, since = self._traffic(server) if self._tenants == "users" else (None, None)
        for tenant in sorted(owned.keys() - self._left_out):
            yield self._total(tenant, [sizes.get(schema, _Size()) for schema in owned[tenant]], traffic, since)

    def _total(
        self, tenant: str, sizes: Sequence[_Size], traffic: _Traffic | str | None, since: datetime | None
    ) -> TenantUsage:
        """Add up the databases of a tenant; without one of them a sum would be a number that is too small."""
        values, failures = dict[str, Usage](), dict[str, str]()
        if reason := " ".join(size.reason for size in sizes if size.reason):
            failures |= dict.fromkeys([DISK, "tables"], reason)
        else:
            values[DISK] = Usage(Decimal(sum(size.bytes for size in sizes)))
            values["tables"] = Usage(Decimal(sum(size.tables for size in sizes)))
        if any(size.is_shared for size in sizes):
            failures["databases"] = reason
        elif self._tenants != "databases":
            values["databases"] = Usage(Decimal(len(sizes)))
        if isinstance(traffic, str):
            failures |= dict.fromkeys([BANDWIDTH, "ingress"], traffic)
        elif traffic is not None:
            # A user that the server does not name has not connected since it counts.
            sent, received = traffic.get(tenant, (0, 0))
            values[BANDWIDTH] = Usage(Decimal(sent), counting_since=since)
            values["ingress"] = Usage(Decimal(received), counting_since=since)
        return TenantUsage(tenant, values, failures)

    def _owned(self, server: Any, schemas: Sequence[str], sizes: dict[str, _Size]) -> dict[str, list[str]]:
        """Return the databases of each tenant. What has no one owner loses its size, and is everybody's failure."""
        if self._tenants == "databases":
            return {schema: [schema] for schema in schemas}
        owned: dict[str, list[str]] = defaultdict(list)
        if self._tenants == "prefixes":
            for schema in schemas:
                owned[_prefix(schema)].append(schema)
            return owned
        grants = [(str(user), _like(str(pattern))) for user, pattern in self._rows(server, _GRANTS)]
        owned |= {user: [] for user, _ in grants}
        for schema in schemas:
            users = sorted({user for user, pattern in grants if pattern.fullmatch(schema)})
            if _prefix(schema) in users:
                users = [_prefix(schema)]
            if len(users) > 1:
                reason = f"{schema} is granted to {', '.join(users)}: rename it after its owner, or revoke a grant."
                sizes[schema] = _Size(reason=reason, is_shared=True)
            for user in users:
                owned[user].append(schema)
        return owned

    def _sizes(self, server: Any, schemas: Sequence[str]) -> dict[str, _Size]:
        """Ask for all databases at once, and for each alone where one of them keeps the server busy too long."""
        sizes: dict[str, _Size] = {}
        if len(schemas) != 1:
            try:
                return _read(self._rows(server, _SIZES.format(which="TRUE")))
            except _TookTooLong:
                self._rows(server, f"SET SESSION {_limit(server)} = %s", ONE_DATABASE * _scale(server))
        for schema in schemas:
            try:
                sizes |= _read(self._rows(server, _SIZES.format(which="table_schema = %s"), schema))
            except _TookTooLong as error:
                sizes[schema] = _Size(reason=f"{error} Is a table of {schema} locked?")
        return sizes

    def _schemas(self, server: Any) -> list[str]:
        names = [bytes(name).decode(errors="backslashreplace") for (name,) in self._rows(server, _SCHEMAS)]
        return [name for name in names if name not in _SYSTEM]

    def _rights(self, server: Any) -> Any:
        """Return a function that says whether the tables of a database can be seen.

        Its rights, its roles' too, are in SHOW GRANTS, which needs none.
        """
        patterns = []
        for (line,) in self._rows(server, "SHOW GRANTS"):
            if (grant := _GRANT.match(str(line))) and _SHOWING.intersection(grant["rights"].split(", ")):
                if grant["schema"] is None:
                    return lambda schema: True
                patterns.append(_like(grant["schema"].replace("``", "`")))
        return lambda schema: any(pattern.fullmatch(schema) for pattern in patterns)

    def _traffic(self, server: Any) -> tuple[_Traffic | str | None, datetime | None]:
        """Return bytes sent and received by user and since when, or why they are not known; None if not counted."""
        is_on = self._rows(server, "SHOW GLOBAL VARIABLES LIKE 'userstat'")
        if not is_on or str(is_on[0][1]).upper() not in ("ON", "1"):
            return None, None
        ((_, uptime),) = self._rows(server, "SHOW GLOBAL STATUS LIKE 'Uptime'")
        rows = self._rows(server, _USERS)
        if not rows:
            # At least this connection would be there.
            return f"{self._user} may not see user statistics: GRANT PROCESS ON *.* TO {self._user}.", None
        since = self._connection.as_of - timedelta(seconds=int(uptime))
        return {str(user): (int(sent), int(received)) for user, sent, received in rows}, since

    @contextmanager
    def _open(self) -> Iterator[Any]:
        is_socket, mode = self._host.startswith("/"), str(self._connection.settings.get("sslmode") or "verify")
        with (
            self._failing(),
            closing(
                pymysql.connect(
                    host=None if is_socket else self._host,
                    unix_socket=self._host if is_socket else None,
                    port=int(self._port),
                    user=self._user,
                    password=self._password,
                    charset="utf8mb4",
                    connect_timeout=5,
                    read_timeout=STATEMENT + 15,
                    write_timeout=15,
                    autocommit=True,
                    program_name="tallyport",
                    local_infile=False,
                    ssl=None if is_socket or mode == "disable" else _tls(mode, self._connection.settings.get("ca")),
                    ssl_disabled=is_socket or mode == "disable",
                )
            ) as server,
        ):
            self._rows(server, f"SET SESSION {_limit(server)} = %s", STATEMENT * _scale(server))
            self._rows(server, "SET SESSION TRANSACTION READ ONLY")
            yield server

    def _rows(self, server: Any, query: str, *arguments: Any) -> list[Any]:
        self._connection.cost.calls += 1
        with self._failing(), server.cursor() as cursor:
            cursor.execute(query, arguments)
            return list(cursor.fetchall())

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn whatever goes wrong between us and the server into a ProviderError."""
        try:
            yield
        except (pymysql.Error, OSError, ValueError, LookupError, AssertionError, TypeError, struct.error) as error:
            code = error.args[0] if error.args else 0
            reason = str(error.args[1] if len(error.args) > 1 else error)
            # A server may repeat in its error what it was sent.
            reason = reason.replace(self._password, "***") if self._password else reason
            said = "".join(letter if letter.isprintable() else " " for letter in reason)[:300]
            if code in _TOO_LONG:
                raise _TookTooLong(f"The server took too long to answer: {said}.") from None
            raise ProviderError(
                f"Could not ask {self._where} as {self._user}: {' '.join(said.split()).rstrip('.')}. "
                f"{_ADVICE.get(code, _ELSE)}"
            ) from None


class _TookTooLong(ProviderError):
    pass


_ELSE = "Check that it is running and lets this user in, and the settings of this server."
#: What to do about what the server says by number.
_ADVICE: Mapping[Any, str] = {
    1045: "Check user and password, and from which hosts that user may come.",
    1142: "GRANT SELECT ON mysql.db TO it: only there is written what is granted to whom.",
    2026: "Where the server has no TLS, choose never; where its CA is not known, enter it.",
}


def _read(rows: Sequence[Any]) -> dict[str, _Size]:
    sizes = {}
    for name, tables, size, broken in rows:
        schema = bytes(name).decode(errors="backslashreplace")
        reason = f"A table of {schema} cannot be opened: {str(broken)[:200]}." if broken else ""
        sizes[schema] = _Size(int(tables), int(size), reason)
    return sizes


def _tls(mode: str, ca: Any) -> ssl.SSLContext:
    trusted = trust.authority(str(ca or ""))
    return trust.whoever() if mode == "require" else trusted


def _limit(server: Any) -> str:
    return "max_statement_time" if _scale(server) == 1 else "max_execution_time"


def _scale(server: Any) -> int:
    """Return the parts of a second in which the server is told its limit: MySQL counts milliseconds."""
    return 1 if "mariadb" in str(server.server_version).lower() else 1000


def _prefix(schema: str) -> str:
    return schema.split("_")[0] or schema


def _like(pattern: str) -> re.Pattern[str]:
    r"""Return what a pattern of a grant stands for: `%` anything, `_` one letter, `\_` an underscore."""
    words = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return re.compile(
        "".join(words.get(part) or re.escape(part.removeprefix("\\") or part) for part in parts), re.DOTALL
    )


def _grant(schema: str, user: str) -> str:
    quoted = schema.replace("`", "``").replace("_", "\\_").replace("%", "\\%")
    return f"{user} may not look into {schema}: GRANT SHOW VIEW ON `{quoted}`.* TO {user}, or on *.* for all."
