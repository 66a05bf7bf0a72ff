"""Dovecot, as a real server and by recorded answers: sums by domain, and who could not be measured."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Request, Response

from metering.providers.base import DISK, Connection, MetricType, ProviderError, TenantUsage
from metering.providers.contract import ProviderContract
from metering.providers.dovecot import Dovecot
from metering.providers.http import Limits
from tests.metering.real_dovecot import KEY, RealDovecot, real_dovecot

FIXTURES = Path(__file__).parent / "fixtures" / "dovecot"
MESSAGE = b"Subject: hello\n\n" + b"x" * 70 * 1024 + b"\n"


class Quick(Dovecot):
    limits = Limits(connect=0.5, read=2, total=3, size=100_000, retries=1, pause=0.02)


def a_provider(url: str, key: str = KEY, **settings: Any) -> Quick:
    return Quick(Connection({"url": url, **settings}, {"key": key}, datetime(2026, 11, 20, tzinfo=UTC), UTC))


def all_of(url: str, **settings: Any) -> dict[str, TenantUsage]:
    return {found.tenant: found for found in a_provider(url, **settings).usage()}


def numbers(usage: TenantUsage) -> dict[str, int]:
    assert all(type(observed.value) is Decimal for observed in usage.values.values())
    return {name: int(observed.value) for name, observed in usage.values.items()}


def limits(usage: TenantUsage) -> dict[str, int | None]:
    return {name: None if said.limit is None else int(said.limit) for name, said in usage.values.items()}


# Against the real server


@pytest.fixture(scope="module")
def server() -> Iterator[RealDovecot]:
    with real_dovecot() as running:
        running.add("info@alice.example", quota_rule="*:storage=100M:messages=1000")
        running.add("sales@alice.example", quota_rule="*:storage=50M:messages=500")
        running.add("root@bob.example", quota_rule="*:storage=10M")
        running.add("nolimit@bob.example")
        running.add("broken@carol.example", mail="bogus:/nowhere")
        running.add("fine@carol.example")
        running.add("empty@dave.example")
        running.add("nodomain")
        running.save("info@alice.example", MESSAGE, MESSAGE)
        running.save("sales@alice.example", MESSAGE)
        running.save("root@bob.example", MESSAGE)
        running.save("fine@carol.example", MESSAGE)
        yield running


def test_a_real_server_is_named_with_its_mailboxes(server):
    assert a_provider(server.url).check() == "Dovecot, 8 mailboxes"


def test_a_domain_has_the_sums_of_its_mailboxes_and_zero_is_a_value(server):
    found = all_of(server.url)
    # A message is a few bytes more than 70 KiB, and Dovecot rounds up what a user has.
    assert numbers(found["alice.example"]) == {DISK: (141 + 71) * 1024, "messages": 3, "mailboxes": 2}
    assert numbers(found["dave.example"]) == {DISK: 0, "messages": 0, "mailboxes": 1}


def test_the_limit_of_a_domain_is_there_only_if_all_of_its_mailboxes_have_one(server):
    found = all_of(server.url)
    assert limits(found["alice.example"]) == {DISK: 150 * 2**20, "messages": 1500, "mailboxes": None}
    assert limits(found["bob.example"])[DISK] is None


def test_a_mailbox_that_the_server_leaves_out_without_a_word_is_missed(server):
    found = all_of(server.url)["carol.example"]
    assert numbers(found) == {"mailboxes": 2}
    assert found.failures[DISK].startswith("1 of 2 cannot be measured (broken@carol.example): Dovecot told no quota")


def test_users_without_a_domain_are_listed_and_not_counted(server):
    found = all_of(server.url)[""]
    assert not found.values
    assert found.failures == {"mailboxes": "1 mailbox without a domain: nodomain"}


def test_users_can_be_tenants(server):
    found = all_of(server.url, tenants="users")
    assert numbers(found["info@alice.example"]) == {DISK: 141 * 1024, "messages": 2}
    assert limits(found["root@bob.example"]) == {DISK: 10 * 2**20, "messages": None}
    assert numbers(found["nodomain"]) == {DISK: 0, "messages": 0}
    assert set(found["broken@carol.example"].failures) == {DISK, "messages"}


def test_one_domain_or_user_is_asked_for_alone(server):
    assert numbers(a_provider(server.url).tenant_usage("bob.example"))["mailboxes"] == 2
    found = a_provider(server.url, tenants="users").tenant_usage("info@alice.example")
    assert (found.tenant, numbers(found)) == ("info@alice.example", {DISK: 141 * 1024, "messages": 2})


@pytest.mark.parametrize("tenant", ["", "*", "nowhere.example", "ob.example", "-A", "?ob.example"])
def test_an_unknown_tenant_is_an_error(server, tenant):
    with pytest.raises(ProviderError, match="Dovecot knows no"):
        a_provider(server.url).tenant_usage(tenant)
    with pytest.raises(ProviderError, match="Dovecot knows no user"):
        a_provider(server.url, tenants="users").tenant_usage(tenant)


def test_a_wrong_key_is_refused_without_a_word_of_it(server):
    with pytest.raises(ProviderError, match=r"refuses the credentials \(401\)") as refused:
        a_provider(server.url, key="wr0ng-key").check()
    assert "wr0ng" not in str(refused.value)


def test_a_quota_root_that_nobody_has_is_a_failure_of_all(server):
    found = all_of(server.url, root="Shared")["alice.example"]
    assert numbers(found) == {"mailboxes": 2}
    assert set(found.failures) == {DISK, "messages"}


def test_without_the_quota_plugin_the_check_says_what_to_do():
    with real_dovecot(plugins="") as plain, pytest.raises(ProviderError, match="Add quota to mail_plugins"):
        a_provider(plain.url).check()


def test_of_two_quota_roots_one_must_be_named():
    with real_dovecot(settings="  quota2 = count:Other\n  quota2_rule = *:storage=1G") as two:
        two.add("info@alice.example")
        assert "has the quota roots Other, User quota" in all_of(two.url)["alice.example"].failures[DISK]
        assert limits(all_of(two.url, root="Other")["alice.example"])[DISK] == 2**30


# By recorded and made answers


@pytest.fixture
def recorded(httpserver):
    """Answers every command with what the test puts in, and keeps what it was sent."""

    class Server:
        url = httpserver.url_for("")
        answer: Any = ""
        sent: list[Any]

    def answer(request: Request) -> Response:
        Server.sent.append((request.headers["Authorization"], request.get_json(silent=True)))
        said = Server.answer
        return said if isinstance(said, Response) else Response(said if isinstance(said, str) else json.dumps(said))

    Server.sent = []
    httpserver.expect_request("/doveadm/v1").respond_with_handler(answer)
    return Server


def answers(users: Any, quota: Any) -> list[Any]:
    return [["doveadmResponse", users, "users"], ["doveadmResponse", quota, "quota"]]


def a_row(user: str, value: Any = "1", limit: Any = "-", kind: str = "STORAGE", root: str = "User quota") -> Any:
    return {"username": user, "root": root, "type": kind, "value": value, "limit": limit, "percent": "0"}


def test_recorded_quotas_are_kib(recorded):
    ((_, rows, _),) = json.loads((FIXTURES / "http_quotaGet_all.json").read_text())
    recorded.answer = answers({"userList": sorted({row["username"] for row in rows})}, rows)
    found = all_of(recorded.url)
    assert numbers(found["alice.example"]) == {DISK: (1954 + 245) * 1024, "messages": 45, "mailboxes": 2}
    assert limits(found["alice.example"])[DISK] == 2 * 102400 * 1024
    assert numbers(found["bob.example"]) == {DISK: 49 * 1024, "messages": 1, "mailboxes": 2}
    assert recorded.sent == [
        (
            "X-Dovecot-API czNjcjp0QC8l",
            [["user", {"userMask": ["*"]}, "users"], ["quotaGet", {"allUsers": True}, "quota"]],
        )
    ]


def test_a_comma_that_is_missing_between_errors_is_put_in(recorded):
    said = (FIXTURES / "http_quotaGet_user_and_errors.json").read_text()
    recorded.answer = said.replace('"c03"', '"users"').replace('"c04"', '"quota"')
    assert ']["error"' in recorded.answer
    with pytest.raises(ProviderError, match="cannot list its users: there is no such user"):
        all_of(recorded.url)


def test_a_command_that_fails_inside_an_answer_with_status_200_stops_the_collection(recorded):
    refused = (FIXTURES / "http_quotaGet_mask.json").read_text().replace("c01", "quota")
    recorded.answer = json.dumps([["doveadmResponse", {"userList": []}, "users"], *json.loads(refused)])
    with pytest.raises(ProviderError, match="could not tell the quotas: invalidRequest, exit code 0"):
        all_of(recorded.url)


@pytest.mark.parametrize(
    "value", ["error", "-", "", "NaN", "-1", "1.5", "1_000", "١", " 5", "1" * 30, 5, True, None, [], {}]
)
def test_what_is_no_quantity_fails_for_its_domain_alone(recorded, value):
    rows = [a_row("a@alice.example", value), a_row("b@alice.example"), a_row("c@bob.example")]
    recorded.answer = answers({"userList": [row["username"] for row in rows]}, rows)
    found = all_of(recorded.url)
    assert DISK not in found["alice.example"].values
    assert "1 of 2 cannot be measured (a@alice.example)" in found["alice.example"].failures[DISK]
    assert found["bob.example"].values[DISK].value == 1024


def test_a_domain_is_one_however_it_is_written(recorded):
    recorded.answer = answers({"userList": ["a@Alice.Example", "b@alice.example"]}, [])
    assert list(all_of(recorded.url)) == ["alice.example"]


def test_no_digit_is_lost(recorded):
    recorded.answer = answers({"userList": ["a@alice.example"]}, [a_row("a@alice.example", "9007199254740993")])
    assert all_of(recorded.url)["alice.example"].values[DISK].value == 9007199254740993 * 1024


def test_rows_that_are_none_and_users_listed_twice_do_no_harm(recorded):
    rows = [None, 5, {}, {"username": 7}, a_row("a@alice.example"), a_row("a@alice.example"), a_row("x@new.example")]
    recorded.answer = answers({"userList": ["a@alice.example", "a@alice.example"]}, rows)
    found = all_of(recorded.url)
    assert found["alice.example"].values[DISK].value == 1024
    assert found["alice.example"].values["mailboxes"].value == 1
    assert found["new.example"].values[DISK].value == 1024


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Response("", status=500), "status 500"),
        (Response("JSON parse error", status=400), "JSON parse error"),
        (Response("<html><title>Sign in</title>"), "looks like a login or error page"),
        ("", "it is empty"),
        ('[["doveadmResponse",[', "not JSON"),
        ("5", "not that of Dovecot"),
        ("{}", "not that of Dovecot"),
        ('[["doveadmResponse",[],"other"]]', "not that of Dovecot"),
        (answers({"userList": [1]}, []), "list of users is damaged"),
        (answers([], []), "cannot list its users"),
        (answers({"userList": []}, {}), "could not tell the quotas"),
        (Response(" " * 100_001), "more than 0.0953"),
    ],
)
def test_an_answer_that_cannot_be_used_stops_the_collection_without_a_word_of_the_key(recorded, answer, reason):
    recorded.answer = answer
    with pytest.raises(ProviderError) as refused:
        all_of(recorded.url)
    assert reason in str(refused.value)
    assert KEY not in str(refused.value)


def test_what_is_not_dovecot_is_told_by_the_check(recorded):
    for recorded.answer in ("5", "{}", "[]", '[{"command": "reload"}]'):
        with pytest.raises(ProviderError, match="not as Dovecot does"):
            a_provider(recorded.url).check()


def test_a_key_is_needed():
    with pytest.raises(ProviderError, match="The API key is missing"):
        a_provider("http://127.0.0.1:9", key="").check()


def test_users_have_no_number_of_mailboxes():
    assert [metric.system_name for metric in Dovecot.metrics()] == [DISK, "messages", "mailboxes"]
    assert [metric.system_name for metric in Dovecot.metrics({"tenants": "users"})] == [DISK, "messages"]
    assert {metric.type for metric in Dovecot.metrics()} == {MetricType.SNAPSHOT}


class TestContract(ProviderContract):
    provider_class = Dovecot
    zero = ("dave.example", DISK)

    @pytest.fixture(autouse=True)
    def _server(self, server: RealDovecot) -> None:
        self.url = server.url

    def connection(self) -> Connection:
        return Connection({"url": self.url}, {"key": KEY}, datetime(2026, 11, 20, tzinfo=UTC), UTC)
