"""Plesk, against a stand-in and recorded packets: what becomes usage, what fails for whom, what stops a collection."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from traceback import format_exception
from typing import Any
from xml.etree.ElementTree import tostring
from zoneinfo import ZoneInfo

import pytest

from metering.periods import day, month
from metering.providers import base
from metering.providers.base import Connection, MetricType, ProviderError, TenantUsage, Usage
from metering.providers.contract import ProviderContract
from metering.providers.http import Limits
from metering.providers.plesk import BATCH, Plesk, _Reader
from tests.metering import standin_plesk
from tests.metering.standin_plesk import KEY, LOGIN, PASSWORD, Subscription

FIXTURES = Path(__file__).parent / "fixtures" / "plesk"
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 19, 11, tzinfo=UTC)  # 12:00 in Berlin
NOVEMBER = month(date(2026, 11, 1))
METRICS = ["disk_used", "bandwidth", "traffic_daily", "mailboxes", "databases", "domains"]
GIB = 2**30


class Quick(Plesk):
    limits = Limits(connect=10, read=10, total=30, size=2_000_000, retries=1, pause=0.02)


def a_provider(
    server: standin_plesk.Plesk,
    as_of: datetime = NOON,
    password: str = KEY,
    kind: type[Plesk] = Quick,
    **settings: Any,
) -> Plesk:
    every = {"url": server.url, "tls": "system", "auth": "key", "traffic": "both", **settings}
    return kind(Connection(every, {"password": password}, as_of, BERLIN))


def usage(server: standin_plesk.Plesk, period: Any = None, **options: Any) -> dict[str, TenantUsage]:
    return {said.tenant: said for said in a_provider(server, **options).usage(period)}


def values(said: TenantUsage) -> dict[str, Any]:
    return {name: value.value for name, value in said.values.items()}


def why(ask: Any) -> str:
    """Return the message with which something is refused, and make sure that it and its traceback hold no secret."""
    with pytest.raises(ProviderError) as refused:
        ask()
    for secret in (KEY, PASSWORD):
        assert secret not in "".join(format_exception(refused.value))
    return str(refused.value)


def alice(**changes: Any) -> Subscription:
    days = {
        "2026-10-30": {"http_out": 7},
        "2026-10-31": {"http_out": 70, "smtp_in": 700},
        "2026-11-01": {"http_out": 1_000_000, "http_in": 5, "ftp_in": 6, "ftp_out": 7},
        "2026-11-18": {"smtp_in": 1, "smtp_out": 2, "pop3_imap_in": 3, "pop3_imap_out": 4},
        "2026-11-19": {"http_out": 20},
        "2026-11-20": {"http_out": 999},
    }
    limits = {"disk_space": 5 * GIB, "max_traffic": 10 * GIB, "max_box": 50, "max_db": -1, "max_site": 10}
    sites = ("shop.alice.example", "alice.test", "www.shop.alice.example")
    own = {"size": 14680064, "boxes": 7, "databases": 2, "limits": limits, "sites": sites, "days": days}
    return Subscription("alice.example", **{**own, **changes})


@pytest.fixture
def server() -> Iterator[standin_plesk.Plesk]:
    bob = Subscription("bob.example", status=16, limits={"disk_space": -1, "max_traffic": "Unlimited"})
    carol = Subscription(
        "carol.example",
        size=9007199254740993,
        boxes="",
        databases=40,
        days={"2026-11-02": {"http_out": 9007199254740993}, "2026-11-03": {"http_in": 2}},
    )
    with standin_plesk.running(standin_plesk.Plesk({1: alice(), 2: bob, 30: carol})) as plesk:
        yield plesk


def damaged(server: standin_plesk.Plesk, *replacements: tuple[bytes, bytes], only: str = "") -> None:
    def damage(body: bytes) -> bytes:
        for before, after in replacements:
            assert before in body
            body = body.replace(before, after)
        return body

    server.fault, server.fault_in = damage, (only,) if only else ()


def test_it_comes_in_by_the_door_of_all_providers():
    assert base.installed()["plesk"] is Plesk


def test_three_calls_tell_of_all_subscriptions(server):
    found = usage(server)
    assert list(found) == ["alice.example", "bob.example", "carol.example"]
    assert server.operations() == ["webspace get", "site get", "webspace get_traffic"]
    assert found["alice.example"] == TenantUsage(
        "alice.example",
        {
            "disk_used": Usage(Decimal(14680064), limit=Decimal(5 * GIB)),
            "mailboxes": Usage(Decimal(7), limit=Decimal(50)),
            "databases": Usage(Decimal(2)),
            "domains": Usage(Decimal(2), limit=Decimal(10)),
            "bandwidth": Usage(Decimal(1_000_048), limit=Decimal(10 * GIB)),
            "traffic_daily": Usage(Decimal(20)),
        },
    )


def test_zero_is_a_value_also_of_a_suspended_subscription_without_limits(server):
    said = usage(server)["bob.example"]
    assert values(said) == {**dict.fromkeys(METRICS, 0), "domains": 1}
    assert {value.limit for value in said.values.values()} == {None}
    assert not said.failures


def test_numbers_are_exact_and_an_empty_element_is_zero(server):
    said = values(usage(server)["carol.example"])
    assert (said["disk_used"], said["bandwidth"], said["mailboxes"]) == (9007199254740993, 9007199254740995, 0)
    assert all(isinstance(value, Decimal) for value in said.values())


@pytest.mark.parametrize(("traffic", "sum_of_days"), [("both", 1_000_048), ("in", 15), ("out", 1_000_033)])
def test_traffic_is_what_the_setting_counts(server, traffic, sum_of_days):
    assert values(usage(server, traffic=traffic)["alice.example"])["bandwidth"] == sum_of_days


def test_sites_below_another_site_are_no_domains_of_their_own(server):
    server.subscriptions[1].sites = ("sub.alice.example", "ALICE.test", "a.b.alice.TEST", "alice.example.test", "x.org")
    assert values(usage(server)["alice.example"])["domains"] == 4


def test_the_month_and_the_day_are_those_of_the_servers_time_zone(server):
    late = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)  # 1 November in Berlin
    said = values(usage(server, as_of=late)["alice.example"])
    assert (said["bandwidth"], said["traffic_daily"]) == (1_000_018, 1_000_018)
    assert server.asked[-1].findtext(".//since_date") == "2026-11-01"
    assert server.asked[-1].findtext(".//to_date") == "2026-11-01"


def test_a_closed_month_is_told_exactly(server):
    october = month(date(2026, 10, 1))
    said = usage(server, october)
    assert said["alice.example"] == TenantUsage(
        "alice.example", {"bandwidth": Usage(Decimal(777), start=date(2026, 10, 1), end=date(2026, 11, 1))}
    )
    assert values(said["bob.example"]) == {"bandwidth": 0}
    assert server.operations() == ["webspace get", "webspace get_traffic"]


def test_a_closed_day_is_told_exactly(server):
    said = usage(server, day(date(2026, 11, 18)))
    expected = Usage(Decimal(10), start=date(2026, 11, 18), end=date(2026, 11, 19))
    assert said["alice.example"].values == {"traffic_daily": expected}


@pytest.mark.parametrize("period", [NOVEMBER, day(date(2026, 11, 19))])
def test_a_period_that_is_not_over_is_refused(server, period):
    assert "is not over" in why(lambda: usage(server, period))
    assert not server.asked


def test_a_server_that_leaves_out_the_last_day_asked_for_tells_a_closed_month_the_same(server):
    october = month(date(2026, 10, 1))
    before = usage(server, october)
    damaged(server, (b"<date>2026-11-01</date>", b"<date>2026-11-02</date>"), only="webspace get_traffic")
    assert usage(server, october) == before


def test_traffic_is_asked_for_in_batches(server):
    server.subscriptions = {
        n: Subscription(f"s{n}.example", days={"2026-11-02": {"http_in": n}}) for n in range(1, 1202)
    }
    found = usage(server, kind=Plesk)  # the stand-in is no faster than it is
    assert len(found) == 1201
    assert all(values(found[f"s{n}.example"])["bandwidth"] == n for n in (1, 500, 501, 1201))
    assert server.operations().count("webspace get_traffic") == -(-1201 // BATCH) == 3


def test_a_batch_that_fails_costs_the_others_nothing(server):
    server.subscriptions = {n: Subscription(f"s{n}.example") for n in range(1, BATCH + 2)}
    damaged(server, (b"</packet>", b""), only="webspace get_traffic")
    whole, server.fault = server.fault, lambda body: whole(body) if b"<id>1</id>" in body else body
    found = usage(server)
    assert "no packet of Plesk" in found["s1.example"].failures["bandwidth"]
    assert set(found["s1.example"].values) == {"disk_used", "mailboxes", "databases", "domains"}
    assert set(found[f"s{BATCH + 1}.example"].values) == set(METRICS)


def test_a_refused_subscription_is_named_and_the_others_are_kept(server):
    server.subscriptions[2].refuses = ("webspace get",)
    found = usage(server)
    assert list(found) == ["", "alice.example", "carol.example"]
    assert found[""] == TenantUsage("", {}, dict.fromkeys(METRICS, "Object not found (1013)"))
    assert set(found["alice.example"].values) == set(METRICS)


def test_traffic_that_is_refused_fails_for_its_subscription_alone(server):
    server.subscriptions[2].refuses = ("webspace get_traffic",)
    found = usage(server)
    assert found["bob.example"].failures == dict.fromkeys(["bandwidth", "traffic_daily"], "Object not found (1013)")
    assert set(found["bob.example"].values) == {"disk_used", "mailboxes", "databases", "domains"}
    assert set(found["alice.example"].values) == set(METRICS)


def test_a_site_that_is_refused_could_be_anybodys_so_no_domains_are_counted(server):
    server.subscriptions[2].refuses = ("site get",)
    for said in usage(server).values():
        assert said.failures == {"domains": "Object not found (1013)"}
        assert set(said.values) == {*METRICS} - {"domains"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "'NaN' is not a plain"),
        ("-1", "negative"),
        ("1e3", "not a plain"),
        ("unlimited", "not a plain"),
        (" 5 ", "not a plain"),
        ("1,5", "not a plain"),
        ("١", "not a plain"),
        ("9" * 21, "20 digits"),
        ("9" * 5000, "20 digits"),
    ],
)
def test_what_is_no_quantity_fails_for_its_metric_alone(server, text, reason):
    server.subscriptions[1].size = text
    server.subscriptions[30].days["2026-11-02"]["ftp_in"] = text
    found = usage(server)
    assert reason in found["alice.example"].failures["disk_used"]
    assert set(found["alice.example"].values) == {*METRICS} - {"disk_used"}
    assert reason in found["carol.example"].failures["bandwidth"]
    assert set(found["carol.example"].values) == {*METRICS} - {"bandwidth", "traffic_daily"}
    assert len(found["carol.example"].failures["bandwidth"]) < 200


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"<date>2026-11-18</date>", b"<date>2026-11-01</date>", "2026-11-01 is told more than once"),
        (b"<date>2026-11-18</date>", b"<date>18.11.2026</date>", "has no date"),
        (b"<date>2026-11-18</date>", b"", "has no date"),
        (b"<date>2026-11-18</date>", b"<date>2026-02-30</date>", "day is out of range"),
        (b"<id>1</id>", b"<id>2</id>", "was not told"),
        (b"<http_in>5</http_in>", b"", "no http_in"),
    ],
)
def test_rows_that_cannot_be_relied_on_fail(server, before, after, reason):
    damaged(server, (before, after), only="webspace get_traffic")
    found = usage(server)
    assert reason in found["alice.example"].failures["bandwidth"]
    assert set(found["carol.example"].values) == set(METRICS)


def test_traffic_that_is_told_twice_fails(server):
    damaged(server, (b"<id>1</id>", b"<id>2</id>"), only="webspace get_traffic")
    assert "more than once" in usage(server)["bob.example"].failures["bandwidth"]


def test_a_name_that_is_listed_twice_is_nobodys(server):
    server.subscriptions[2].name = "alice.example"
    found = usage(server)
    assert list(found) == ["", "carol.example"]
    assert "alice.example is listed 2 times" in found[""].failures["disk_used"]


def test_a_subscription_without_a_name_is_refused(server):
    damaged(server, (b"<name>bob.example</name>", b"<name/>"), only="webspace get")
    assert "without a name" in usage(server)[""].failures["disk_used"]


def test_a_server_without_subscriptions_has_no_tenants(server):
    server.subscriptions = {}
    assert usage(server) == {}


def test_one_subscription_is_filtered_by_the_server(server):
    said = a_provider(server).tenant_usage("alice.example")
    assert said == usage(server)["alice.example"]
    assert b"<filter><name>alice.example</name></filter>" in tostring(server.asked[0])
    assert b"<filter><parent-name>alice.example</parent-name></filter>" in tostring(server.asked[1])
    assert b"<filter><id>1</id></filter>" in tostring(server.asked[2])


def test_an_unknown_subscription_is_said_so(server):
    assert "no subscription 'nobody.example'" in why(lambda: a_provider(server).tenant_usage("nobody.example"))


def test_a_tenants_name_cannot_become_part_of_the_question(server):
    name = "x</name><name>alice.example & co"
    why(lambda: a_provider(server).tenant_usage(name))
    assert server.asked[0].findtext(".//name") == name


def test_recorded_packets_are_understood(server):
    server.fault = lambda body: (FIXTURES / "webspace_get_stat_all.xml").read_bytes()
    server.fault_in = ("webspace get",)
    found = usage(server)
    assert values(found["carol.example"])["disk_used"] == 2202371358720
    assert values(found["bob.example"])["mailboxes"] == 0
    assert "no GUID" in found["alice.example"].failures["domains"]

    server.fault = lambda body: (FIXTURES / "partial.xml").read_bytes()
    assert list(usage(server)) == ["", "alice.example", "carol.example"]

    server.fault = lambda body: (FIXTURES / "error_auth.xml").read_bytes()
    assert "Authentication failed (1001)" in why(lambda: usage(server))


def test_check_says_what_it_is_in_one_call(server):
    assert a_provider(server).check() == "Plesk, XML API 1.6.9.1, 3 subscriptions"
    assert server.operations() == ["webspace get"]
    assert "stat" not in tostring(server.asked[0]).decode()


def test_a_user_name_and_password_do_too(server):
    said = a_provider(server, auth="password", username=LOGIN, password=PASSWORD).check()
    assert said.endswith("3 subscriptions")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"password": "a-wrong-key"}, "Secret key ••• validation failed (11003). Check the secret key"),
        ({"auth": "password", "username": LOGIN, "password": "wrong"}, "(1001). Check the user name and the password"),
        ({"password": ""}, "missing"),
        ({"password": "a\r\nKEY: b"}, "header"),
    ],
)
def test_wrong_credentials_are_tried_once_and_said_so(server, settings, reason):
    assert reason in why(lambda: usage(server, **settings))
    assert len(server.asked) <= 1


BOMB = b'<!DOCTYPE packet [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><packet><x>&b;</x></packet>'
FILE = b'<!DOCTYPE packet [<!ENTITY f SYSTEM "file:///etc/hostname">]><packet><x>&f;</x></packet>'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"<html><body>Login</body></html>", "login or error page"),
        (b"<!DOCTYPE html><html></html>", "login or error page"),
        (b'{"status": "ok"}', "not well-formed"),
        (BOMB, "document type"),
        (FILE, "document type"),
        (b'<!DOCTYPE packet SYSTEM "http://127.0.0.1:1/x.dtd"><packet/>', "document type"),
        (b"<packet><webspace><get><result>&f;</result></get></webspace></packet>", "undefined entity"),
        (BOMB.decode().encode("utf-16"), "document type"),
        (b"<packet>\xff</packet>", "not well-formed"),
        (b"<packet/>", "no result"),
        (b"<methodResponse/>", "another document"),
        (b"<packet>" + b"<a>" * 50, "nested too deeply"),
        (b"<packet><result>" + b"<a/>" * 30_000 + b"</result></packet>", "too large"),
        (b"<packet>" + b" " * 3_000_000 + b"</packet>", "more than"),
        (b"<packet><system><status>error</status></system></packet>", "(no code)"),
        (b"<packet><system/></packet>", "(no code)"),
    ],
)
def test_what_is_no_packet_stops_the_collection(server, body, reason):
    server.fault = lambda _: body
    said = why(lambda: usage(server))
    assert reason in said
    assert len(said) < 400


@pytest.mark.parametrize("cut", [1, 100, 900, 2000])
def test_an_answer_that_breaks_off_is_none(server, cut):
    server.fault = lambda body: body[:-cut]
    assert "no packet of Plesk" in why(lambda: usage(server))
    assert len(server.asked) == 1


def test_a_long_answer_is_read_result_by_result():
    row = b"<traffic><date>2026-11-01</date>" + b"".join(b"<x>%d</x>" % n for n in range(8)) + b"</traffic>"
    body = b"<packet><webspace><get_traffic>" + (b"<result>" + row * 30 + b"</result>") * 1000 + b"</get_traffic>"
    tracemalloc.start()
    results = sum(1 for _ in _Reader().read(body + b"</webspace></packet>"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert results == 1000
    assert peak < 3 * len(body)  # as one tree it takes ten times as much


@pytest.mark.parametrize(
    ("fault", "reason", "calls"), [("500", "status 500", 2), ("429", "status 429", 2), ("slow", "sent nothing", 1)]
)
def test_a_server_in_trouble_is_asked_again_within_bounds(server, monkeypatch, fault, reason, calls):
    monkeypatch.setattr(Quick, "limits", replace(Quick.limits, read=1, total=2))
    server.fault = fault
    assert reason in why(lambda: usage(server))
    assert len(server.asked) == calls


def test_trouble_with_the_sites_costs_only_the_domains(server):
    server.fault, server.fault_in = "500", ("site get",)
    for said in usage(server).values():
        assert set(said.values) == {*METRICS} - {"domains"}
        assert "status 500" in said.failures["domains"]


def test_metrics_are_listed_without_a_server():
    kinds = {metric.system_name: metric.type for metric in Plesk.metrics()}
    assert list(kinds) == METRICS
    assert (kinds["bandwidth"], kinds["traffic_daily"]) == (MetricType.MONTH, MetricType.DAY)


class TestContract(ProviderContract):
    provider_class = Plesk
    zero = ("bob.example", "bandwidth")

    @pytest.fixture(autouse=True)
    def _server(self, server: standin_plesk.Plesk) -> None:
        self.server = server

    def connection(self) -> Connection:
        return Connection({"url": self.server.url, "auth": "key", "traffic": "both"}, {"password": KEY}, NOON, BERLIN)
