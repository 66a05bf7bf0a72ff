"""What the MariaDB provider measures on a real server, and what it does when a part of it is closed."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pymysql
import pytest

from metering.providers import mariadb
from metering.providers.base import BANDWIDTH, DISK, Connection, Cost, MetricType, ProviderError, TenantUsage
from metering.providers.contract import ProviderContract
from metering.providers.mariadb import MariaDB
from tests.metering.real_mariadb import RealMariaDB, real_mariadb
from tests.metering.test_http import a_certificate
from tests.metering.test_postgresql_provider import server_that_answers

PASSWORD = "correct horse  b@ttery"
LEVELS = {DISK, "tables"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[RealMariaDB]:
    with real_mariadb() as running:
        furnish(running)
        yield running


def furnish(server: RealMariaDB) -> None:
    for schema in ("alice_wp", "alice_empty", "bob_wp", "Bob_wp", 'odd "name" - `x`', "nobodys"):
        server.run(f"CREATE DATABASE `{schema.replace('`', '``')}`")
    rows = "SELECT repeat('x', 1000) FROM seq_1_to_3000"
    server.run("CREATE TABLE t (b text)", f"INSERT INTO t {rows}", "ANALYZE TABLE t", database="alice_wp")
    statements = [
        "CREATE TABLE plain (id int PRIMARY KEY) ENGINE = Aria",
        "CREATE TABLE parts (id int) PARTITION BY HASH (id) PARTITIONS 3",
        "CREATE TABLE versions (id int) WITH SYSTEM VERSIONING",
        "CREATE VIEW shown AS SELECT * FROM plain",
        "CREATE SEQUENCE numbers",
        "CREATE TABLE one (id int) ENGINE = MyISAM",
        "INSERT INTO one SELECT seq FROM seq_1_to_1000",
        "CREATE TABLE all_ones (id int) ENGINE = MRG_MyISAM UNION = (one)",
    ]
    server.run(*statements, database="bob_wp")
    server.run("CREATE TABLE t (id int)", database="Bob_wp")
    for user in ("alice", "bob", "carol", "watcher", "limited"):
        server.run(f"CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'")
    server.run(
        f"CREATE USER alice@localhost IDENTIFIED BY '{PASSWORD}'",
        r"GRANT ALL ON `alice\_%`.* TO alice@'%'",
        r"GRANT ALL ON `alice\_%`.* TO alice@localhost",
        "GRANT SELECT ON `bob_wp`.* TO bob@'%'",
        "GRANT SELECT ON `bob_wp`.* TO carol@'%'",
        r"GRANT ALL ON `carols\_%`.* TO carol@'%'",
        "GRANT SHOW VIEW, PROCESS ON *.* TO watcher@'%'",
        "GRANT SELECT ON mysql.db TO watcher@'%'",
        "GRANT SHOW DATABASES ON *.* TO limited@'%'",
        r"GRANT SHOW VIEW ON `alice\_%`.* TO limited@'%'",
        "GRANT SELECT ON bob_wp.plain TO limited@'%'",
    )


def provider(server: RealMariaDB, *, user: str = "watcher", password: str = PASSWORD, **settings: Any) -> MariaDB:
    every = {"host": server.socket, "port": server.port, "user": user, **settings}
    return MariaDB(Connection(every, {"password": password} if password else {}, as_of=NOON, time_zone=UTC))


def everything(server: RealMariaDB, **settings: Any) -> dict[str, TenantUsage]:
    return {usage.tenant: usage for usage in provider(server, **settings).usage()}


def numbers(usage: TenantUsage) -> dict[str, int]:
    """The values as plain numbers, none of which may ever have been a float."""
    assert all(type(observed.value) is Decimal for observed in usage.values.values())
    return {name: int(observed.value) for name, observed in usage.values.items()}


def size(server: RealMariaDB, schema: str, engine: str = "%") -> int:
    lengths = "SELECT SUM(data_length + index_length) FROM information_schema.tables"
    return int(server.run(f"{lengths} WHERE BINARY table_schema = '{schema}' AND engine LIKE '{engine}'")[0][0])


def test_every_database_is_a_tenant_and_empty_ones_are_real_zeros(server):
    found = everything(server)
    assert set(found) == {"alice_wp", "alice_empty", "bob_wp", "Bob_wp", 'odd "name" - `x`', "nobodys"}
    assert all(set(usage.values) == LEVELS and not usage.failures for usage in found.values())
    assert numbers(found["alice_empty"]) == {DISK: 0, "tables": 0}


def test_the_size_is_the_one_of_the_servers_statistics_and_its_files_are_larger(server):
    told = numbers(everything(server)["alice_wp"])[DISK]
    assert told == size(server, "alice_wp")
    on_disk = sum(file.stat().st_size for file in (server.folder / "alice_wp").iterdir())
    assert 3_000_000 < told < on_disk


def test_tables_are_those_that_hold_rows_of_their_own(server):
    found = numbers(everything(server)["bob_wp"])
    # A merge table is one, and the rows that it shows are counted where they are.
    assert found["tables"] == 5
    assert found[DISK] == size(server, "bob_wp") - size(server, "bob_wp", "MRG_MyISAM")
    assert size(server, "bob_wp", "MRG_MyISAM") > 0


def test_names_that_differ_by_case_alone_are_two_databases(server):
    found = everything(server)
    own = {DISK: size(server, "Bob_wp"), "tables": 1}
    assert numbers(found["Bob_wp"]) == numbers(provider(server).tenant_usage("Bob_wp")) == own
    assert numbers(found["bob_wp"])["tables"] == 5
    assert numbers(provider(server).tenant_usage("bob_wp"))["tables"] == 5


def test_the_rights_that_are_asked_for_show_no_data(server):
    with pytest.raises(pymysql.Error, match="denied"):
        server.run("SELECT * FROM alice_wp.t", user="watcher", password=PASSWORD)


def test_a_database_that_may_not_be_looked_into_is_not_empty_and_costs_the_others_nothing(server):
    found = everything(server, user="limited")
    assert numbers(found["alice_wp"])[DISK] == size(server, "alice_wp")
    assert not found["bob_wp"].values
    # One of its tables may be seen, and would pass for all of it.
    assert r"GRANT SHOW VIEW ON `bob\_wp`.* TO limited" in found["bob_wp"].failures[DISK]
    assert set(found["bob_wp"].failures) == LEVELS
    with pytest.raises(ProviderError, match="may not look into"):
        provider(server, user="limited").check()


def test_the_grant_that_a_failure_asks_for_mends_it(server):
    advice = everything(server, user="limited")['odd "name" - `x`'].failures[DISK]
    grant = advice[advice.index("GRANT") : advice.index(", or on")]
    server.run(grant)
    try:
        assert numbers(everything(server, user="limited")['odd "name" - `x`']) == {DISK: 0, "tables": 0}
    finally:
        server.run(grant.replace("GRANT", "REVOKE", 1).replace(" TO ", " FROM "))


def test_the_rights_of_a_role_count(server):
    server.run("CREATE ROLE meter", "GRANT SHOW VIEW ON *.* TO meter", "GRANT meter TO limited")
    server.run("SET DEFAULT ROLE meter FOR limited")
    try:
        assert not any(usage.failures for usage in everything(server, user="limited").values())
    finally:
        server.run("DROP ROLE meter")


def test_a_table_that_cannot_be_opened_costs_only_its_database(server):
    server.run("CREATE DATABASE broken", "CREATE TABLE broken.t (id int) ENGINE = MyISAM", "FLUSH TABLES")
    (server.folder / "broken" / "t.MYI").unlink()
    try:
        found = everything(server)
    finally:
        server.run("DROP DATABASE broken")
    assert "A table of broken cannot be opened: t:" in found["broken"].failures[DISK]
    assert set(found["alice_wp"].values) == LEVELS


def test_a_database_that_is_locked_costs_the_others_nothing(server, monkeypatch):
    monkeypatch.setattr(mariadb, "STATEMENT", 1)
    monkeypatch.setattr(mariadb, "ONE_DATABASE", 1)
    lock = threading.Thread(target=lambda: server.run("CREATE TABLE slow AS SELECT SLEEP(6)", database="nobodys"))
    lock.start()
    try:
        time.sleep(0.5)
        found = everything(server)
    finally:
        lock.join()
        server.run("DROP TABLE nobodys.slow")
    assert "Is a table of nobodys locked?" in found["nobodys"].failures[DISK]
    assert set(found["alice_wp"].values) == set(found["bob_wp"].values) == LEVELS


def test_prefixes_have_the_sums_of_their_databases(server):
    found = everything(server, tenants="prefixes", left_out="nobodys, Bob")
    assert set(found) == {"alice", "bob", 'odd "name" - `x`'}
    assert numbers(found["alice"]) == {DISK: size(server, "alice_wp"), "tables": 1, "databases": 2}


def test_the_sum_of_a_prefix_is_not_told_without_a_database_that_refuses(server):
    server.run(r"GRANT SHOW VIEW ON `Bob\_wp`.* TO limited@'%'", "CREATE DATABASE Bob_app")
    try:
        found = everything(server, user="limited", tenants="prefixes")["Bob"]
    finally:
        server.run(r"REVOKE SHOW VIEW ON `Bob\_wp`.* FROM limited@'%'", "DROP DATABASE Bob_app")
    assert numbers(found) == {"databases": 2}
    assert "Bob_app" in found.failures[DISK]
    assert "Bob_wp" not in found.failures[DISK]


def test_users_have_the_databases_that_are_granted_to_them(server):
    found = everything(server, tenants="users")
    # Not the watcher, whoever is granted one table, or PUBLIC.
    assert set(found) == {"alice", "bob", "carol", "limited"} or set(found) == {"alice", "bob", "carol"}
    assert numbers(found["bob"])["tables"] == 5
    assert {name: numbers(found["carol"])[name] for name in (*LEVELS, "databases")} == {
        DISK: 0,
        "tables": 0,
        "databases": 0,
    }


def test_a_database_of_several_users_of_whom_none_has_its_name_is_nobodys(server):
    server.run("CREATE DATABASE shop")
    for user in ("bob", "carol"):
        server.run(f"GRANT ALL ON shop.* TO {user}@'%'")
    try:
        found = everything(server, tenants="users")
    finally:
        server.run("DROP DATABASE shop")
        for user in ("bob", "carol"):
            server.run(f"REVOKE ALL ON shop.* FROM {user}@'%'")
    for user in ("bob", "carol"):
        assert "shop is granted to bob, carol" in found[user].failures[DISK]
        assert not found[user].values.keys() & {*LEVELS, "databases"}
    assert "databases" in found["alice"].values


def test_grants_are_read_only_where_they_are_needed(server):
    assert everything(server, user="limited", tenants="prefixes")
    with pytest.raises(ProviderError, match=r"GRANT SELECT ON mysql\.db"):
        everything(server, user="limited", tenants="users")


def test_traffic_is_what_a_user_was_sent_and_sent(server):
    before = numbers(everything(server, tenants="users")["alice"])
    for _ in range(3):
        rows = server.run("SELECT b FROM t LIMIT 100", database="alice_wp", user="alice", password=PASSWORD)
        assert len(rows) == 100
    after = numbers(everything(server, tenants="users")["alice"])
    assert 300_000 < after[BANDWIDTH] - before[BANDWIDTH] < 330_000
    assert 0 < after["ingress"] - before["ingress"] < 1_000


def test_a_user_who_has_not_connected_has_no_traffic_and_counters_know_since_when(server):
    carol = everything(server, tenants="users")["carol"].values
    assert carol[BANDWIDTH].value == 0
    ((_, uptime),) = server.run("SHOW GLOBAL STATUS LIKE 'Uptime'")
    since = carol[BANDWIDTH].counting_since
    assert since is not None
    assert abs((NOON - since).total_seconds() - int(uptime)) <= 2


def test_user_statistics_that_may_not_be_seen_are_no_zero(server):
    server.run("REVOKE PROCESS ON *.* FROM watcher@'%'")
    try:
        found = everything(server, tenants="users")["alice"]
        with pytest.raises(ProviderError, match="GRANT PROCESS"):
            provider(server, tenants="users").check()
    finally:
        server.run("GRANT PROCESS ON *.* TO watcher@'%'")
    assert not found.values.keys() & {BANDWIDTH, "ingress"}
    assert r"GRANT PROCESS ON *.* TO watcher" in found.failures[BANDWIDTH]


def test_without_userstat_traffic_is_absent_and_the_check_says_so(server):
    server.run("SET GLOBAL userstat = 0")
    try:
        found = everything(server, tenants="users")["alice"]
        assert provider(server, tenants="users").check().endswith("userstat is off, so there is no traffic")
    finally:
        server.run("SET GLOBAL userstat = 1")
    assert set(found.values) == {*LEVELS, "databases"}
    assert not found.failures


def test_one_tenant_can_be_asked_for(server):
    assert provider(server).tenant_usage('odd "name" - `x`').tenant == 'odd "name" - `x`'
    assert numbers(provider(server, tenants="prefixes").tenant_usage("alice"))["databases"] == 2
    assert provider(server, tenants="users").tenant_usage("bob").tenant == "bob"


@pytest.mark.parametrize("tenant", ["", "nobody", "ALICE_WP", "mysql", "alice_%", "alice", "x' OR '1", "\udce9", "a\0"])
def test_an_unknown_tenant_is_an_error(server, tenant):
    with pytest.raises(ProviderError, match=r"has no database .* that is measured"):
        provider(server).tenant_usage(tenant)


def test_what_is_left_out_is_unknown(server):
    with pytest.raises(ProviderError, match="has no prefix 'alice' that is measured"):
        provider(server, tenants="prefixes", left_out="alice").tenant_usage("alice")


def test_check_tells_the_version_and_the_number_of_databases(server):
    ((version,),) = server.run("SELECT VERSION()")
    assert provider(server).check() == f"{version}, 6 databases"


def test_nothing_can_be_written(server, monkeypatch):
    monkeypatch.setattr(mariadb, "_SCHEMAS", "CREATE TABLE alice_wp.trap (id int)")
    with pytest.raises(ProviderError, match="READ ONLY transaction"):
        everything(server, user="root", password="")


def test_what_is_asked_is_counted(server):
    cost = Cost()
    settings = {"host": server.socket, "user": "watcher"}
    list(MariaDB(Connection(settings, {"password": PASSWORD}, NOON, UTC, cost)).usage())
    assert cost.calls == 5


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"user": "stranger"}, "Access denied"),
        ({"password": "wr0ng"}, "Access denied"),
        ({"host": "/nowhere/socket"}, "No such file"),
        ({"host": "127.0.0.1", "port": 1, "sslmode": "disable"}, "Connection refused"),
        ({"host": "127.0.0.1"}, "the server doesn't support it. Where the server has no TLS, choose never"),
        ({"port": "many", "host": "127.0.0.1"}, "invalid literal"),
        ({"host": "127.0.0.1", "ca": "no certificate"}, "not in PEM form"),
    ],
)
def test_a_server_that_cannot_be_asked_says_why(server, settings, reason):
    asked = provider(server, **settings)
    deeds: list[Callable[[], object]] = [asked.check, lambda: list(asked.usage()), lambda: asked.tenant_usage("alice")]
    for deed in deeds:
        with pytest.raises(ProviderError) as caught:
            deed()
        assert reason in str(caught.value)
        assert PASSWORD not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x00\x00\x00\x00", b"\x05\x00\x00\x00\x0a\xff"]
)
def test_what_speaks_something_else_is_an_error_like_any_other(server, said):
    answering = server_that_answers(lambda client: client.sendall(said))
    with answering as port, pytest.raises(ProviderError, match="Could not ask"):
        provider(server, host="127.0.0.1", port=port, sslmode="disable").check()


def test_over_the_network_the_certificate_is_checked_by_its_ca():
    pem, key = a_certificate()
    with real_mariadb((pem, key)) as safe:
        safe.run(f"CREATE USER watcher@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL")
        ask: dict[str, Any] = {"host": "127.0.0.1"}
        assert provider(safe, **ask, ca=pem).check().endswith("0 databases")
        assert provider(safe, **ask, sslmode="require").check().endswith("0 databases")
        with pytest.raises(ProviderError, match="CERTIFICATE_VERIFY_FAILED"):
            provider(safe, **ask).check()
        with pytest.raises(ProviderError, match="Access denied"):
            provider(safe, **ask, sslmode="disable").check()


def test_metrics_are_those_of_the_kind_of_tenant():
    assert [metric.system_name for metric in MariaDB.metrics()] == [DISK, "tables"]
    assert [metric.system_name for metric in MariaDB.metrics({"tenants": "prefixes"})] == [DISK, "tables", "databases"]
    users = {metric.system_name: metric.type for metric in MariaDB.metrics({"tenants": "users"})}
    assert {name for name, kind in users.items() if kind is MetricType.COUNTER} == {BANDWIDTH, "ingress"}


class TestContract(ProviderContract):
    provider_class = MariaDB
    zero = ("alice_empty", DISK)
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _server(self, server: RealMariaDB) -> None:
        self.server = server

    def connection(self) -> Connection:
        settings = {"host": self.server.socket, "port": self.server.port, "user": "watcher", **self.settings}
        return Connection(settings, {"password": PASSWORD}, NOON, UTC)


class TestContractOfUsers(TestContract):
    zero = ("carol", DISK)
    # Asking is traffic of the user that asks, and no other, but its own grants make it none of the tenants.
    settings: ClassVar[dict[str, Any]] = {"tenants": "users"}
