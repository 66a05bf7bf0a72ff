"""cPanel & WHM over HTTP against a stand-in: what becomes usage, what fails for whom, and what stops a collection."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering.periods import day, month
from metering.providers import whm
from metering.providers.base import BANDWIDTH, DISK, Connection, ProviderError, TenantUsage, Usage, installed
from metering.providers.contract import ProviderContract
from metering.providers.http import Limits
from tests.metering.standin_panels import TENANTS, WHM, WHM_TOKEN, running

FIXTURES = Path(__file__).parent / "fixtures" / "whm"
NOON = datetime(2026, 11, 19, 11, tzinfo=UTC)
MIB = 2**20
FUNCTIONS = ("listaccts", "showbw", "get_disk_usage", "get_domain_info", "list_databases")


class Quick(whm.WHM):
    limits = Limits(connect=2, read=2, total=8, size=10**6, retries=1, pause=0.02)


@pytest.fixture
def panel() -> Iterator[WHM]:
    with running(WHM()) as panel:
        yield panel  # type: ignore[misc]


def a_provider(panel: WHM, as_of: datetime = NOON, token: str = WHM_TOKEN, **settings: Any) -> whm.WHM:
    every = {"url": panel.url, "user": panel.reseller, **settings}
    return Quick(Connection(every, {"token": token}, as_of, ZoneInfo("Europe/Berlin")))


def usage(panel: WHM, **settings: Any) -> dict[str, TenantUsage]:
    found = list(a_provider(panel, **settings).usage())
    assert len(found) == len({said.tenant for said in found}), "each tenant comes once"
    return {said.tenant: said for said in found}


def recorded(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def changed(key: str, user: str, **columns: Any) -> Any:
    """Return a fault that changes the row of one user."""

    def change(answer: Any) -> Any:
        for row in answer["data"][key]:
            if row["user"] == user:
                row |= columns
        return answer

    return change


def test_it_is_installed():
    assert installed()["whm"] is whm.WHM


def test_everything_is_told_of_an_account_with_its_limits(panel):
    alice = usage(panel)["alice"]
    assert alice.failures == {}
    assert alice.values == {
        DISK: Usage(Decimal(14 * MIB), limit=Decimal(500 * MIB)),
        "inodes": Usage(Decimal(340)),
        BANDWIDTH: Usage(Decimal(1263225675), limit=Decimal(10 * 2**30)),
        "databases": Usage(Decimal(2)),
        "subdomains": Usage(Decimal(2), limit=Decimal(5)),
        "addon_domains": Usage(Decimal(3)),
        "parked_domains": Usage(Decimal(1), limit=Decimal(0)),
        "sub_accounts": Usage(Decimal(0)),
        "mailboxes": Usage(Decimal(7), limit=Decimal(100)),
    }


def test_every_value_is_a_declared_metric(panel):
    declared = {metric.system_name for metric in whm.WHM.metrics()}
    assert set(usage(panel)["alice"].values) == declared
    assert "mailboxes" not in {metric.system_name for metric in whm.WHM.metrics({"mailboxes": "no"})}


def test_a_suspended_account_that_uses_nothing_has_zeros(panel):
    bob = usage(panel)["bob"]
    assert {name: said.value for name, said in bob.values.items() if name != "inodes"} == dict.fromkeys(
        [DISK, BANDWIDTH, "databases", "subdomains", "addon_domains", "parked_domains", "sub_accounts", "mailboxes"], 0
    )


def test_values_that_a_float_would_break_are_exact_and_unlimited_is_no_limit(panel):
    carol = usage(panel)["carol"].values
    assert carol[BANDWIDTH] == Usage(Decimal(9007199254740993))
    assert carol[DISK] == Usage(Decimal(2100345 * MIB))


def test_a_reseller_is_told_its_accounts_without_itself(panel):
    assert usage(panel)["carol"].values["sub_accounts"].value == 1


def test_a_deleted_account_keeps_the_bandwidth_of_its_last_month_and_nothing_else(panel):
    assert usage(panel)["dave"] == TenantUsage("dave", {BANDWIDTH: Usage(Decimal(777))})


def test_the_token_of_a_reseller_sees_its_own_accounts(panel):
    panel.reseller = "carol"
    assert set(usage(panel)) == {"alice", "carol"}


def test_a_server_is_asked_in_six_calls(panel):
    usage(panel)
    assert sorted(panel.asked()) == sorted([*FUNCTIONS, "batch"])


def test_mailboxes_come_in_chunks_and_a_refused_account_costs_the_others_nothing(panel, monkeypatch):
    monkeypatch.setattr(whm, "CHUNK", 2)
    panel.tenants |= {f"user{number}": TENANTS["alice"] | {"mailboxes": number} for number in range(3)}
    panel.faults["listaccts"] = lambda answer: (
        answer["data"]["acct"].append({"user": "ghost", "owner": "root"}) or answer
    )
    found = usage(panel)
    assert panel.asked().count("batch") == 4
    assert {name: said.values["mailboxes"].value for name, said in found.items() if "mailboxes" in said.values} == {
        **{"alice": 7, "bob": 0, "carol": 1200},
        **{"user0": 0, "user1": 1, "user2": 2},
    }
    assert found["ghost"].failures["mailboxes"].startswith("WHM refuses list_pops_for: No such user: ghost.")
    assert found["user2"].failures == {}


def test_a_chunk_that_fails_fails_for_its_accounts_only(panel, monkeypatch):
    monkeypatch.setattr(whm, "CHUNK", 1)
    panel.faults["batch"] = lambda answer: b"{" if len(answer["data"]["result"][0]["data"]["pops"]) == 7 else answer
    found = usage(panel)
    assert "not JSON" in found["alice"].failures["mailboxes"]
    assert found["alice"].values[BANDWIDTH].value == 1263225675
    assert found["bob"].values["mailboxes"].value == 0
    assert found["carol"].values["mailboxes"].value == 1200


def test_when_two_chunks_in_a_row_fail_no_more_are_tried(panel, monkeypatch):
    monkeypatch.setattr(whm, "CHUNK", 1)
    panel.faults["batch"] = "403"
    found = usage(panel)
    assert panel.asked().count("batch") == 2
    assert all("refuses the credentials (403)" in found[name].failures["mailboxes"] for name in TENANTS)


def test_a_chunk_that_fails_now_and_then_does_not_stop_the_others(panel, monkeypatch):
    monkeypatch.setattr(whm, "CHUNK", 1)
    panel.tenants |= dict.fromkeys(("dora", "erin"), TENANTS["alice"])
    fails = iter([True, False, True, False, False])
    panel.faults["batch"] = lambda answer: b"{" if next(fails) else answer
    found = usage(panel)
    assert {name for name in panel.tenants if "mailboxes" in found[name].failures} == {"alice", "carol"}


def test_a_batch_with_fewer_results_than_asked_tells_nothing(panel):
    panel.faults["batch"] = lambda answer: answer["data"]["result"].pop() and answer
    found = usage(panel)
    assert all("batch" in found[name].failures["mailboxes"] for name in TENANTS)


def test_mailboxes_can_be_left_out(panel):
    found = usage(panel, mailboxes="no")
    assert "batch" not in panel.asked()
    assert "mailboxes" not in {*found["alice"].values, *found["alice"].failures}


def test_names_with_signs_survive_the_two_encodings(panel):
    panel.tenants = {"a&b=c%41+d ü": TENANTS["alice"]}
    assert usage(panel)["a&b=c%41+d ü"].values["mailboxes"].value == 7


@pytest.mark.parametrize(
    ("function", "metrics"),
    [
        ("get_disk_usage", {DISK, "inodes"}),
        ("showbw", {BANDWIDTH}),
        ("get_domain_info", {"subdomains", "addon_domains", "parked_domains"}),
        ("list_databases", {"databases"}),
        ("batch", {"mailboxes"}),
    ],
)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500. Internal Server Error"),
        ("403", "refuses the credentials (403)"),
        ("html", "looks like a login or error page"),
        ("cut", "The answer is not JSON"),
        ("broken", "broke off its answer"),
        ("silence", "sent nothing for 2 s"),
        (b"", "it is empty"),
        (b"[]", "as its documentation says"),
        (b'{"metadata": {"result": 1}, "data": {"acct": {}, "accounts": 5}}', "as its documentation says"),
        (b'{"metadata": {"result": "0", "reason": "Quotas are off"}, "data": {}}', "Quotas are off. Check the account"),
        (b'{"metadata": {"result": true, "reason": 3}, "data": NaN}', "The answer is not JSON"),
        (recorded("error_unknown_function"), "Unknown function: nope"),
        (recorded("error_403"), "Access denied"),
    ],
)
def test_a_function_that_fails_costs_its_own_metrics_only(panel, function, metrics, fault, reason):
    panel.faults[function] = fault
    found = usage(panel)
    for name in TENANTS:
        assert set(found[name].failures) == metrics
        assert all(reason in failure for failure in found[name].failures.values())
        assert {metric.system_name for metric in whm.WHM.metrics()} - metrics == set(found[name].values)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500"),
        ("403", "refuses the credentials (403)"),
        ("html", "looks like a login or error page"),
        ("cut", "The answer is not JSON"),
        (b'{"metadata": {"result": 0, "reason": "Access denied"}, "data": {}}', "WHM refuses listaccts: Access denied"),
    ],
)
def test_without_the_list_of_accounts_there_is_no_usage(panel, fault, reason):
    panel.faults["listaccts"] = fault
    with pytest.raises(ProviderError) as refused:
        usage(panel)
    assert reason in str(refused.value)
    assert WHM_TOKEN not in str(refused.value)


def test_a_busy_server_is_asked_again(panel):
    panel.faults["showbw"] = "429"
    assert usage(panel)["alice"].failures == {}


def test_a_wrong_token_is_refused_after_one_call_and_not_shown(panel):
    with pytest.raises(ProviderError, match="refuses the credentials") as refused:
        list(a_provider(panel, token="wr0ng").usage())
    assert panel.asked() == ["listaccts"]
    assert "wr0ng" not in str(refused.value)


def test_a_server_that_repeats_the_token_does_not_get_it_into_a_message(panel):
    reason = {"metadata": {"result": 0, "reason": f"bad {WHM_TOKEN} of root:{WHM_TOKEN}"}, "data": {}}
    panel.faults["showbw"] = json.dumps(reason).encode()
    assert WHM_TOKEN not in usage(panel)["alice"].failures[BANDWIDTH]


def test_a_token_that_was_pasted_in_lines_is_joined(panel):
    assert list(a_provider(panel, token=f"\n{WHM_TOKEN[:4]}\r\n{WHM_TOKEN[4:]} ").usage())


def test_no_token_is_an_error_before_any_call(panel):
    with pytest.raises(ProviderError, match="token is missing"):
        list(a_provider(panel, token=" ").usage())
    assert panel.asked() == []


@pytest.mark.parametrize(
    ("written", "value", "limit"),
    [
        ({"totalbytes": "1263225675", "limit": "1048576"}, 1263225675, 1048576),
        ({"totalbytes": "0", "limit": "0"}, 0, None),
        ({"totalbytes": 1, "limit": "unlimited"}, 1, None),
        ({"totalbytes": 1, "limit": None}, 1, None),
        ({"totalbytes": "9007199254740993", "limit": 9007199254740995}, 9007199254740993, 9007199254740995),
    ],
)
def test_numbers_and_limits_may_be_text_as_in_old_versions(panel, written, value, limit):
    panel.faults["showbw"] = changed("acct", "alice", **written)
    assert usage(panel)["alice"].values[BANDWIDTH] == Usage(Decimal(value), limit=limit and Decimal(limit))


def test_the_result_may_be_text_as_in_old_versions(panel):
    for function in ("listaccts", "showbw", "get_disk_usage"):
        panel.faults[function] = lambda answer: answer | {"metadata": {"result": "1"}}
    assert usage(panel)["alice"].failures == {}


@pytest.mark.parametrize(
    "value",
    ["true", "[]", "{}", '"14M"', '"none"', '""', '"1e3"', '"NaN"', '"-1"', "-1", '"1,5"', '" 5 "', '"١"', "1e40"],
)
def test_a_value_that_is_no_number_fails_alone(panel, value):
    row = f'{{"user": "alice", "blocks_used": {value}, "inodes_used": 340}}'
    panel.faults["get_disk_usage"] = f'{{"metadata": {{"result": 1}}, "data": {{"accounts": [{row}]}}}}'.encode()
    alice = usage(panel)["alice"]
    assert set(alice.failures) == {DISK}
    assert alice.values["inodes"].value == 340


def test_a_limit_that_is_no_number_does_not_cost_the_value(panel):
    panel.faults["get_disk_usage"] = changed("accounts", "alice", blocks_limit="much")
    alice = usage(panel)["alice"]
    assert alice.values[DISK] == Usage(Decimal(14 * MIB))
    assert alice.failures[DISK].startswith("its limit: 'much'")


def test_what_is_not_told_is_absent_and_not_zero(panel):
    panel.faults["get_disk_usage"] = changed("accounts", "alice", blocks_used=None)
    panel.faults["showbw"] = lambda answer: {**answer, "data": {**answer["data"], "acct": answer["data"]["acct"][1:]}}
    panel.faults["get_domain_info"] = lambda answer: {**answer, "data": {"domains": []}}
    alice = usage(panel)["alice"]
    assert set(alice.values) == {"inodes", "databases", "sub_accounts", "mailboxes"}
    assert alice.failures == {}


def test_an_account_that_is_listed_twice_is_not_believed(panel):
    panel.faults["listaccts"] = lambda answer: answer["data"]["acct"].append({"user": "bob", "owner": "x"}) or answer
    found = usage(panel)
    assert found["bob"].values == {}
    assert found["bob"].failures[DISK] == "WHM lists it 2 times"
    assert found["alice"].failures == {}


def test_a_name_that_was_deleted_and_given_away_again_has_no_bandwidth_that_could_be_billed(panel):
    panel.faults["showbw"] = lambda answer: (
        answer["data"]["acct"].append({"user": "alice", "deleted": 1, "totalbytes": 5, "limit": 0}) or answer
    )
    alice = usage(panel)["alice"]
    assert alice.failures == {BANDWIDTH: "WHM lists it 2 times, perhaps once as deleted"}
    assert alice.values[DISK].value == 14 * MIB


def test_rows_without_a_user_are_named_and_belong_to_nobody(panel):
    panel.faults["showbw"] = lambda answer: answer["data"]["acct"].extend([None, {"user": 5}, {}]) or answer
    found = usage(panel)
    assert found[""] == TenantUsage("", {}, {"showbw": "3 rows without a user"})
    assert found["alice"].failures == {}


@pytest.mark.parametrize(
    ("as_of", "asked"),
    [
        (datetime(2026, 10, 31, 22, 59, 59, tzinfo=UTC), ("2026", "10")),
        (datetime(2026, 10, 31, 23, 0, 1, tzinfo=UTC), ("2026", "11")),
        (datetime(2026, 12, 31, 23, 0, 1, tzinfo=UTC), ("2027", "1")),
    ],
)
def test_the_month_is_named_and_that_of_the_server(panel, as_of, asked):
    panel.now = tuple(int(part) for part in asked)  # type: ignore[assignment]
    assert usage(panel, as_of=as_of)["alice"].values[BANDWIDTH].value == 1263225675
    query = dict(next(query for function, query in panel.calls if function == "showbw"))
    assert (query["year"], query["month"]) == asked


@pytest.mark.parametrize("told", [{"month": 10}, {"month": "10"}, {"year": 2025}, {"year": None}])
def test_another_month_than_the_one_that_was_asked_for_is_not_believed(panel, told):
    panel.faults["showbw"] = lambda answer: {**answer, "data": {**answer["data"], **told}}
    assert "was asked for the bandwidth of 2026-11" in usage(panel)["alice"].failures[BANDWIDTH]


def test_a_month_that_is_over_is_asked_for_by_its_number(panel):
    panel.months[2026, 10] = {"alice": 5, "bob": 0, "erin": 9007199254740993}
    october = month(date(2026, 10, 5))
    assert list(a_provider(panel).usage(october)) == [
        TenantUsage("alice", {BANDWIDTH: Usage(Decimal(5), None, october.start, october.end, Decimal(10 * 2**30))}),
        TenantUsage("bob", {BANDWIDTH: Usage(Decimal(0), None, october.start, october.end, Decimal(5 * MIB))}),
        TenantUsage("erin", {BANDWIDTH: Usage(Decimal(9007199254740993), None, october.start, october.end)}),
    ]
    assert panel.asked() == ["showbw"]


def test_a_month_that_is_over_and_refused_is_an_error(panel):
    panel.faults["showbw"] = "html"
    with pytest.raises(ProviderError, match="login or error page"):
        list(a_provider(panel).usage(month(date(2026, 10, 1))))


def test_of_a_day_nothing_is_known_and_the_present_month_is_not_over(panel):
    assert list(a_provider(panel).usage(day(date(2026, 11, 18)))) == []
    with pytest.raises(ProviderError, match="not over"):
        list(a_provider(panel).usage(month(date(2026, 11, 1))))
    assert panel.asked() == []


def test_one_account_is_told_as_among_all(panel):
    panel.tenants["alice2"] = TENANTS["bob"]
    every = usage(panel)
    for name in panel.tenants:
        assert a_provider(panel).tenant_usage(name) == every[name]


def test_one_account_is_searched_for_by_its_whole_name_and_no_pattern_of_its_own(panel):
    panel.tenants = {"a.b": TENANTS["alice"], "axb": TENANTS["bob"], "a.bc": TENANTS["bob"]}
    provider = a_provider(panel)
    assert provider.tenant_usage("a.b").values[BANDWIDTH].value == 1263225675
    assert dict(next(query for function, query in panel.calls if function == "showbw"))["search"] == r"^a\.b$"


def test_one_deleted_account_is_told_by_its_bandwidth(panel):
    assert a_provider(panel).tenant_usage("dave") == TenantUsage("dave", {BANDWIDTH: Usage(Decimal(777))})


@pytest.mark.parametrize("name", ["mallory", "", ".*", "alic", "ALICE"])
def test_an_unknown_account_is_an_error(panel, name):
    with pytest.raises(ProviderError, match="There is no account"):
        a_provider(panel).tenant_usage(name)


def test_the_check_says_what_the_server_is(panel):
    assert a_provider(panel).check() == "cPanel & WHM 11.138.0.6, 3 accounts"
    panel.faults["version"] = "403"
    assert a_provider(panel).check() == "cPanel & WHM, 3 accounts"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("html", "login or error page"), ("403", "credentials"), (b"{}", "Check that the URL is that")],
)
def test_the_check_says_what_to_change(panel, fault, reason):
    panel.faults["listaccts"] = fault
    with pytest.raises(ProviderError, match=reason):
        a_provider(panel).check()


def test_the_recorded_answers_are_understood(panel):
    for function in FUNCTIONS:
        panel.faults[function] = recorded(function)
    found = usage(panel, mailboxes="no")
    assert set(found) == {"alice", "bob", "carol", "dave"}
    assert not any(said.failures for said in found.values())
    carol = {name: said.value for name, said in found["carol"].values.items()}
    assert carol == {
        **{DISK: 2150753280 * 1024, "inodes": 340, BANDWIDTH: 9007199254740993, "databases": 40},
        **{"subdomains": 0, "addon_domains": 55, "parked_domains": 0, "sub_accounts": 0},
    }


def test_the_recorded_batch_fails_for_one_account_only(panel):
    panel.tenants = {"alice": TENANTS["alice"], "nobody": TENANTS["bob"]}
    panel.faults["batch"] = recorded("batch_partial_failure")
    found = usage(panel)
    assert found["alice"].values["mailboxes"].value == 7
    assert "No such user: nobody" in found["nobody"].failures["mailboxes"]


class TestContract(ProviderContract):
    provider_class = whm.WHM
    zero = ("alice", "sub_accounts")

    @pytest.fixture(autouse=True)
    def _panel(self, panel: WHM) -> None:
        self.panel = panel

    def connection(self) -> Connection:
        settings = {"url": self.panel.url, "user": self.panel.reseller}
        return Connection(settings, {"token": WHM_TOKEN}, NOON, ZoneInfo("Europe/Berlin"))
