"""Databases of a PostgreSQL server, or the roles that own them, as tenants.

One query answers for the whole server. Only the tables of a database can be counted from nowhere but
inside it, so each database is visited once, a few at a time. Needs PostgreSQL 10 or later.

Databases that are templates, closed to connections or left half-dropped are no tenants. As roles count
those that may log in and are not superusers; what belongs to any other role is nobody's usage.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar, LiteralString, NamedTuple, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import TupleRow
from psycopg.sql import Identifier

from metering.periods import Period
from metering.providers.base import Connection, Field, Metric, MetricType, Provider, ProviderError, TenantUsage, Usage
from metering.providers.base import gettext_noop as _
from metering.units import DATABASES, MB, Unit

APPLICATION = "tallyport"
#: Databases that are visited at the same time: enough to hide the way to the server, few enough to be no load.
VISITORS = 4

# A server that vanishes while we wait for its answer is noticed after a minute.
_SESSION = f"application_name={APPLICATION} client_encoding=UTF8 connect_timeout=5 \
keepalives_idle=30 keepalives_interval=10 keepalives_count=3"

# Set in the transaction and not at the start: poolers refuse start-up options. And SET, unlike set_config(),
# reads no catalog, so that it cannot itself wait for the lock that it is to be a limit for.
_LIMIT = "SET LOCAL statement_timeout = '60s'"

_VERSION = """
SELECT split_part(current_setting('server_version'), ' ', 1), count(*)
FROM pg_database WHERE NOT datistemplate AND datallowconn AND datconnlimit <> -2
"""

# pg_database_size() raises for a database that the role may not connect to, and would take the answers for
# all others with it: the CASE asks first what the function is going to ask. For one that is dropped meanwhile
# it is null. A connection limit of -2 marks a database whose DROP was interrupted. Autovacuum has no user and
# is nobody's connection, and neither is ours.
_USAGE = """
WITH live AS (
    SELECT oid, datname, datdba FROM pg_database WHERE NOT datistemplate AND datallowconn AND datconnlimit <> -2
), tenants AS (
    SELECT datname AS tenant, oid FROM live WHERE NOT %(roles)s
    UNION ALL
    SELECT r.rolname, live.oid FROM pg_roles r LEFT JOIN live ON live.datdba = r.oid
    WHERE %(roles)s AND r.rolcanlogin AND NOT r.rolsuper
), clients AS (
    SELECT datid, count(*) AS connections FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
      AND NOT (usename = session_user AND application_name = %(application)s)
    GROUP BY datid
)
SELECT tenant, live.datname, has_database_privilege(live.oid, 'CONNECT'),
       CASE WHEN live.oid IS NULL THEN 0
            WHEN has_database_privilege(live.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
            THEN pg_database_size(live.oid) END,
       coalesce(connections, 0), coalesce(tup_inserted + tup_updated + tup_deleted, 0), s.stats_reset
FROM tenants
LEFT JOIN live ON live.oid = tenants.oid
LEFT JOIN pg_stat_database s ON s.datid = live.oid
LEFT JOIN clients ON clients.datid = live.oid
WHERE (%(only)s::text IS NULL OR tenant::text = %(only)s::text) AND tenant::text <> ALL (%(left_out)s::text[])
ORDER BY tenant, live.datname
"""

# A partitioned table is as many tables as it has partitions that hold rows: its parents (relkind 'p')
# hold none. Temporary tables belong to a session and come and go with it.
_COUNT_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""

_TLS = (
    ("disable", _("never")),
    ("prefer", _("if the server offers it")),
    ("require", _("always, without checking the certificate")),
    ("verify-full", _("always, and check host name and certificate")),
)
_TENANTS = (("databases", _("databases")), ("roles", _("login roles, with the databases they own")))


class _Row(NamedTuple):
    """A database and the tenant it counts for; a role that owns none has one row without a database."""

    tenant: str
    database: str | None
    may_connect: bool | None
    disk_used: int | None
    connections: int
    rows_written: int
    stats_reset: datetime | None = None


class _Name(Loader):
    """Reads names that are not valid UTF-8, which a server accepts, as text with escapes.

    psycopg would raise, and one such database would cost the answers of all others.
    """

    def load(self, data: Buffer) -> str:
        return bytes(data).decode(errors="backslashreplace")


class PostgreSQL(Provider):
    """Usage of the databases of one server.

    - `disk_used`: pg_database_size(), bytes: tables, indexes, TOAST and the room that dead rows still
      take, in all tablespaces; without the write-ahead log. An empty database has some 7 million.
    - `tables`: tables that hold rows, of users and of extensions; a partition is a table, its parent is not.
    - `connections`: clients that are connected at the moment, without Tallyport's own.
    - `rows_written`: rows inserted, updated and deleted since the server's statistics were last reset,
      even if rolled back, in catalogs too (CREATE TABLE writes some). May lag some seconds behind.

    A role's values are the sums over the databases that it owns; a role that owns none has zeros. There is
    no `rows_written` of roles.
    """

    title: ClassVar[str] = "PostgreSQL"
    tenant_is: ClassVar[str] = _("a database name, or a role name")
    resets: ClassVar[str] = _(
        "Sizes, tables and connections are as of now. Rows written count up until the statistics of the server are "
        "reset, also by a crash, and may lag some seconds behind."
    )
    can_look_back: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = (
        Field("host", _("Host"), help=_("Name or address, or the directory of a Unix socket.")),
        Field("port", _("Port"), kind="number", initial=5432),
        Field("user", _("User"), help=_("A plain role will do. Where it may not CONNECT, GRANT it pg_read_all_stats.")),
        Field("password", _("Password"), kind="secret", required=False),
        Field("database", _("Database to connect to"), initial="postgres"),
        Field("sslmode", "TLS", "choice", initial="prefer", choices=_TLS),
        Field(
            "ca", _("CA certificate"), "lines", required=False, help=_("PEM text, else that of ~/.postgresql/root.crt.")
        ),
        Field("tenants", _("Tenants are"), "choice", initial="databases", choices=_TENANTS),
        Field("left_out", _("Left out"), required=False, help=_("Tenants to skip, separated by commas.")),
    )

    def __init__(self, connection: Connection) -> None:
        settings, self._cost = connection.settings, connection.cost
        self._roles = settings.get("tenants") == "roles"
        self._left_out = [name.strip() for name in str(settings.get("left_out") or "").split(",")]
        self._home = str(settings.get("database") or "postgres")
        self._user = str(settings["user"])
        # Never None: libpq would then send the PGPASSWORD of this process to whatever host is configured.
        self._password = connection.credentials.get("password") or ""
        self._server: dict[str, Any] = {name: settings.get(name) for name in ("host", "port", "user", "sslmode")}
        self._server["password"] = self._password
        self._ca = str(settings.get("ca") or "").strip()
        self._where = f"{settings['host']}, port {settings.get('port') or 5432},"

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        levels = (
            Metric("disk_used", _("Disk used"), MetricType.SNAPSHOT, MB),
            Metric("tables", _("Tables"), MetricType.SNAPSHOT, Unit("tables", _("table"), _("tables"))),
            Metric(
                "connections",
                _("Connections"),
                MetricType.SNAPSHOT,
                Unit("connections", _("connection"), _("connections")),
            ),
        )
        if (settings or {}).get("tenants") == "roles":
            return levels
        return (
            *levels,
            Metric("rows_written", _("Rows written"), MetricType.COUNTER, Unit("rows", _("row"), _("rows"))),
        )

    def check(self) -> str:
        """Return "PostgreSQL 18.1, 4 databases": the version, and the databases that could be tenants."""
        ((version, databases),) = self._query(self._home, _VERSION)
        return f"PostgreSQL {version}, {DATABASES.write(Decimal(databases))}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield the current usage of every tenant, in the order of their names; `period` is never given."""
        return self._visit(self._rows())

    def tenant_usage(self, tenant: str) -> TenantUsage:
        usage = next(self._visit(self._rows(tenant)), None)
        if usage is None:
            kind, never = ("role", "a superuser") if self._roles else ("database", "a template")
            raise ProviderError(
                f"{self._where} has no {kind} {tenant!r} that is measured. "
                f"Check the name, and that it is neither left out nor {never}."
            )
        return usage

    def _rows(self, only: str | None = None) -> list[_Row]:
        """Return what one query tells, of all tenants or of the one called `only`."""
        arguments = {"roles": self._roles, "only": only, "left_out": self._left_out, "application": APPLICATION}
        return [_Row(*row) for row in self._query(self._home, _USAGE, arguments)]

    def _visit(self, rows: Sequence[_Row]) -> Iterator[TenantUsage]:
        """Count the tables, some databases ahead of the tenant that is yielded."""
        visitors = ThreadPoolExecutor(VISITORS, thread_name_prefix="postgresql")
        try:
            visits = zip(rows, visitors.map(self._tables, rows), strict=True)
            for tenant, databases in groupby(visits, key=lambda visit: visit[0].tenant):
                yield self._total(tenant, list(databases))
        finally:
            visitors.shutdown(cancel_futures=True)

    def _total(self, tenant: str, databases: Sequence[tuple[_Row, int | str]]) -> TenantUsage:
        """Add up the databases of a tenant; without one of them a sum would be a number that is too small."""
        readings: dict[str, list[int | str]] = {
            "disk_used": [self._disk_used(row) for row, _ in databases],
            "tables": [tables for _, tables in databases],
            "connections": [row.connections for row, _ in databases],
        }
        if not self._roles:
            # A sum of counters falls when a role loses a database, and that would look like a reset.
            readings["rows_written"] = [row.rows_written for row, _ in databases]
        values, failures = dict[str, Usage](), dict[str, str]()
        for metric, parts in readings.items():
            if reasons := [part for part in parts if isinstance(part, str)]:
                failures[metric] = " ".join(reasons)
            else:
                # A level has no beginning, and a counter is that of one database.
                since = databases[0][0].stats_reset if metric == "rows_written" else None
                value = Decimal(sum(part for part in parts if isinstance(part, int)))
                values[metric] = Usage(value, counting_since=since)
        return TenantUsage(tenant, values, failures)

    def _disk_used(self, row: _Row) -> int | str:
        """Return the bytes of a database, or the reason why they are not known."""
        if row.disk_used is None and row.may_connect is False:
            return f"{self._user} may not see the size of {row.database}: {self._grant('pg_read_all_stats')}."
        return f"{row.database} was dropped while it was measured." if row.disk_used is None else row.disk_used

    def _tables(self, row: _Row) -> int | str:
        """Return the number of tables of a database, or the reason why it is not known."""
        if row.database is None:
            return 0
        if row.may_connect is False:
            connect = f"CONNECT ON DATABASE {Identifier(row.database).as_string()}"
            return f"{self._user} may not count the tables of {row.database}: {self._grant(connect)}."
        try:
            return cast(int, self._query(row.database, _COUNT_TABLES)[0][0])
        except ProviderError as error:
            return str(error)

    def _grant(self, what: str) -> str:
        return f"GRANT {what} TO {Identifier(self._user).as_string()}"

    def _query(self, database: str, query: LiteralString, arguments: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the rows of the one query that a connection is made for. Raises ProviderError."""
        self._cost.calls += 1
        try:
            with self._connect(database) as connection:
                connection.execute(_LIMIT)
                return connection.execute(query, arguments).fetchall()
        except (psycopg.Error, UnicodeError) as error:
            # A server may repeat in its error what it was sent.
            reason = str(error).replace(self._password, "***") if self._password else str(error)
            lines = [" ".join(line.split()).rstrip(".") for line in reason.splitlines() if line.strip()]
            said = ". ".join(lines)
            raise ProviderError(
                f"Could not ask {database} at {self._where} as {self._user}: {said}{'' if said[-1:] == '?' else '.'} "
                "Check that it is running and lets this user in, and the settings of this server."
            ) from None

    def _connect(self, database: str) -> psycopg.Connection[TupleRow]:
        if not self._ca:
            connection = psycopg.connect(_SESSION, dbname=database, **self._server)
        else:
            with NamedTemporaryFile("w", prefix="ca") as ca:
                ca.write(self._ca)
                ca.flush()
                connection = psycopg.connect(_SESSION, dbname=database, sslrootcert=ca.name, **self._server)
        connection.read_only = True
        connection.adapters.register_loader("name", _Name)
        return connection
