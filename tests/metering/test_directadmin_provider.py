"""DirectAdmin over HTTP against a stand-in: what becomes usage, of which month, what fails, and what stops it all."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering.periods import month
from metering.providers import directadmin
from metering.providers.base import BANDWIDTH, DISK, Connection, ProviderError, TenantUsage, Usage, installed
from metering.providers.contract import ProviderContract
from metering.providers.http import Limits
from tests.metering.standin_panels import LOGIN_KEY, TENANTS, DirectAdmin, running

FIXTURES = Path(__file__).parent / "fixtures" / "directadmin"
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 19, 12, tzinfo=BERLIN)
MIB = 2**20
ALL, USAGE, CONFIG = "CMD_API_ALL_USER_USAGE", "CMD_API_SHOW_USER_USAGE", "CMD_API_SHOW_USER_CONFIG"
USERS, MINE, RESELLERS = "CMD_API_SHOW_ALL_USERS", "CMD_API_SHOW_USERS", "CMD_API_SHOW_RESELLERS"
LINE = b"alice=default=alice.example&bandwidth=1204.7059%20%2F%2010240&quota=14.0000%20%2F%20500&vdomains=4"
OCTOBER = month(date(2026, 10, 1))


class Quick(directadmin.DirectAdmin):
    limits = Limits(connect=2, read=2, total=8, size=10**6, retries=1, pause=0.02)


@pytest.fixture
def panel() -> Iterator[DirectAdmin]:
    with running(DirectAdmin()) as panel:
        yield panel  # type: ignore[misc]


def a_provider(
    panel: DirectAdmin, as_of: datetime = NOON, key: str = LOGIN_KEY, **settings: Any
) -> directadmin.DirectAdmin:
    every = {"url": panel.url, "user": "admin", "reset": "01:40", **settings}
    return Quick(Connection(every, {"key": key}, as_of, BERLIN))


def usage(panel: DirectAdmin, **settings: Any) -> dict[str, TenantUsage]:
    found = list(a_provider(panel, **settings).usage())
    assert len(found) == len({said.tenant for said in found}), "each tenant comes once"
    return {said.tenant: said for said in found}


def numbers(said: TenantUsage) -> dict[str, Decimal]:
    return {name: value.value for name, value in said.values.items()}


def test_it_is_installed():
    assert installed()["directadmin"] is directadmin.DirectAdmin


def test_one_call_tells_disk_bandwidth_domains_and_the_users_of_resellers(panel):
    found = usage(panel, counts="no")
    assert panel.asked() == [ALL]
    assert found["alice"] == TenantUsage(
        "alice",
        {
            DISK: Usage(Decimal(14 * MIB), limit=Decimal(500 * MIB)),
            BANDWIDTH: Usage(Decimal(1263225694), limit=Decimal(10240 * MIB)),
            "domains": Usage(Decimal(4)),
            "users": Usage(Decimal(0)),
        },
    )
    assert found["carol"].values["users"].value == 2


def test_counts_cost_a_call_per_user(panel):
    found = usage(panel)
    assert panel.asked() == [ALL, USAGE, USAGE, USAGE]
    assert numbers(found["alice"]) == {
        **{DISK: 14 * MIB, BANDWIDTH: 1263225694, "domains": 4, "users": 0},
        **{"mailboxes": 7, "databases": 2, "subdomains": 2, "ftp_accounts": 1},
    }
    assert found["alice"].values[DISK].limit == 500 * MIB
    assert not any(said.failures for said in found.values())


def test_every_value_is_a_declared_metric(panel):
    declared = {metric.system_name for metric in directadmin.DirectAdmin.metrics()}
    assert set(usage(panel)["alice"].values) == declared
    few = {metric.system_name for metric in directadmin.DirectAdmin.metrics({"counts": "no"})}
    assert set(usage(panel, counts="no")["alice"].values) == few


def test_counts_that_the_one_call_tells_are_not_asked_for(panel):
    counts = b"&nemails=7%20%2F%20unlimited&mysql=2+%2F+5&nsubdomains=0&ftp=1\n"
    panel.faults[ALL] = LINE + counts
    alice = usage(panel)["alice"]
    assert panel.asked() == [ALL, RESELLERS, MINE]
    assert (alice.values["mailboxes"], alice.values["databases"]) == (
        Usage(Decimal(7)),
        Usage(Decimal(2), limit=Decimal(5)),
    )


def test_a_suspended_user_that_uses_nothing_has_zeros(panel):
    bob = usage(panel)["bob"]
    assert numbers(bob) | {"domains": 0, "ftp_accounts": 0} == dict.fromkeys(bob.values, 0)


def test_unlimited_is_no_limit_and_a_value_that_a_float_would_break_is_exact(panel):
    panel.tenants["carol"]["bandwidth"] = "8589934592.0000009536743164"  # 2**53 + 1 bytes
    carol = usage(panel)["carol"].values
    assert carol[BANDWIDTH] == Usage(Decimal(9007199254740993))
    assert carol[DISK].limit is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("0.0000", 0),
        ("0.0001", 105),
        ("1", MIB),
        ("1204.7059", 1263225694),
        ("0.00000047683715820312", 0),
        ("0.00000047683715820313", 1),
        ("8589934592.00000095367431640625", 9007199254740993),
    ],
)
def test_mib_are_multiplied_exactly_and_rounded_half_up_to_bytes(panel, text, value):
    panel.tenants["alice"]["bandwidth"] = text
    assert usage(panel, counts="no")["alice"].values[BANDWIDTH].value == value


@pytest.mark.parametrize("text", ["NaN", "inf", "-1", "1e3", "1,5", "", "unlimited", "1_0", "١", "9" * 30])
def test_a_value_that_is_no_number_fails_alone(panel, text):
    panel.tenants["alice"]["bandwidth"] = text
    found = usage(panel, counts="no")
    assert set(found["alice"].failures) == {BANDWIDTH}
    assert found["alice"].values[DISK].value == 14 * MIB
    assert found["bob"].failures == {}


def test_a_limit_that_is_no_number_does_not_cost_the_value(panel):
    panel.faults[ALL] = LINE.replace(b"500", b"much") + b"\n"
    alice = usage(panel, counts="no")["alice"]
    assert alice.values[DISK] == Usage(Decimal(14 * MIB))
    assert alice.failures[DISK].startswith("its limit: 'much'")


def test_a_count_that_is_not_whole_fails(panel):
    panel.faults[ALL] = LINE + b".5&creator=admin\n"
    assert usage(panel, counts="no")["alice"].failures == {"domains": "4.5 is not a whole number"}


@pytest.mark.parametrize(
    "line",
    [
        b"bandwidth=3 / unlimited&quota=1+%2F+2&vdomains=2&suspended=Yes:a=b&creator=x",
        b"bandwidth=3&#32&#47&#32unlimited&quota=1&#37;2F2&vdomains=2&creator=x",
        b"quota=1%2F2&bandwidth=3&creator=x&list=a.example<br>b.example",
        b"quota=1%2F2&bandwidth=3&creator=x&list=a.example%3Cbr%3Eb.example%3Cbr%3E",
    ],
)
def test_the_ways_in_which_versions_write_a_line_are_understood(panel, line):
    panel.faults[ALL] = b"alice=default=alice.example&" + line + b"\r\n"
    alice = usage(panel, counts="no")["alice"]
    assert (alice.values[DISK], alice.failures) == (Usage(Decimal(MIB), limit=Decimal(2 * MIB)), {})
    assert (alice.values[BANDWIDTH].value, alice.values["domains"].value) == (3 * MIB, 2)


def test_what_is_not_told_is_absent_and_not_zero(panel):
    panel.faults[ALL] = b"alice=default=alice.example&quota=1%2F2&creator=x\n"
    assert set(usage(panel, counts="no")["alice"].values) == {DISK, "users"}


def test_a_user_named_error_is_a_user(panel):
    panel.tenants = {"error": TENANTS["alice"]}
    assert usage(panel)["error"].failures == {}
    assert panel.asked() == [ALL, USAGE]


def test_a_user_that_comes_twice_is_not_believed(panel):
    panel.faults[ALL] = LINE + b"&creator=x\n" + LINE + b"&creator=x\n" + LINE.replace(b"alice", b"bob") + b"\n"
    found = usage(panel, counts="no")
    assert set(found["alice"].failures) == {DISK, BANDWIDTH, "domains"}
    assert BANDWIDTH in found["bob"].values


def test_lines_without_a_user_are_named_and_belong_to_nobody(panel):
    panel.faults[ALL] = b"\nwhat?\n" + LINE + b"&creator=x\n\n"
    found = usage(panel, counts="no")
    assert found[""] == TenantUsage("", {}, {"": "1 lines without a user"})
    assert found["alice"].failures == {}


def test_an_answer_that_ends_in_a_line_keeps_the_users_before_it_and_says_so(panel):
    panel.faults[ALL] = LINE + b"&creator=root\n" + LINE.replace(b"alice", b"bob")[:-20]
    told = a_provider(panel, counts="no").usage()
    assert next(told).tenant == "alice"
    with pytest.raises(ProviderError, match="ends in the middle of a line"):
        next(told)


def test_an_answer_without_a_last_line_break_is_whole(panel):
    panel.faults[ALL] = LINE + b"&creator=x\n" + LINE.replace(b"alice", b"bob") + b"&creator=x"
    assert set(usage(panel, counts="no")) == {"alice", "bob", "x"}


# The reset of the month


@pytest.mark.parametrize("at", ["2026-11-01T00:00:00", "2026-11-01T00:31:00", "2026-11-01T01:39:59"])
def test_what_is_seen_on_the_first_before_the_reset_goes_to_the_month_before(panel, at):
    found = usage(panel, as_of=datetime.fromisoformat(at).replace(tzinfo=BERLIN))
    alice = found["alice"].values
    assert alice[BANDWIDTH] == Usage(Decimal(1263225694), None, OCTOBER.start, OCTOBER.end, Decimal(10240 * MIB))
    assert alice[DISK].start is None
    assert found["alice"].failures == {}


def test_a_zero_before_the_reset_does_not_touch_the_month_before(panel):
    found = usage(panel, as_of=datetime(2026, 11, 1, 0, 31, tzinfo=BERLIN))
    assert found["bob"].values[BANDWIDTH] == Usage(Decimal(0), limit=Decimal(5 * MIB))


@pytest.mark.parametrize("at", ["2026-11-01T01:40:00", "2026-11-01T11:59:59"])
def test_what_is_seen_after_the_reset_was_due_is_taken_if_it_is_zero(panel, at):
    found = usage(panel, as_of=datetime.fromisoformat(at).replace(tzinfo=BERLIN))
    assert "may still be the month before's" in found["alice"].failures[BANDWIDTH]
    assert BANDWIDTH not in found["alice"].values
    assert found["alice"].values[DISK].value == 14 * MIB
    assert found["bob"].values[BANDWIDTH].value == 0
    assert found["bob"].failures == {}


@pytest.mark.parametrize("at", ["2026-11-01T12:00:00", "2026-11-02T00:00:00", "2026-11-30T23:59:59"])
def test_from_noon_of_the_first_on_it_is_the_present_month(panel, at):
    found = usage(panel, as_of=datetime.fromisoformat(at).replace(tzinfo=BERLIN))
    assert found["alice"].values[BANDWIDTH] == Usage(Decimal(1263225694), limit=Decimal(10240 * MIB))


def test_the_first_is_that_of_the_server_and_not_of_utc(panel):
    found = usage(panel, as_of=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))  # 0:30 on the 1st in Berlin
    assert found["alice"].values[BANDWIDTH].start == OCTOBER.start
    found = usage(panel, as_of=datetime(2026, 12, 31, 23, 30, tzinfo=UTC))
    assert found["alice"].values[BANDWIDTH].start == date(2026, 12, 1)


def test_a_server_whose_reset_is_not_known_is_never_asked_for_the_month_before(panel):
    found = usage(panel, as_of=datetime(2026, 11, 1, 0, 31, tzinfo=BERLIN), reset="")
    assert "may still be" in found["alice"].failures[BANDWIDTH]
    assert found["bob"].values[BANDWIDTH].start is None


def test_the_time_of_the_reset_is_what_staff_says(panel):
    at = datetime(2026, 11, 1, 4, 29, tzinfo=BERLIN)
    assert usage(panel, as_of=at, reset="04:30")["alice"].values[BANDWIDTH].start == OCTOBER.start
    assert BANDWIDTH in usage(panel, as_of=at, reset="04:29")["alice"].failures


@pytest.mark.parametrize("reset", ["1:40", "24:00", "01:60", "soon", "٠١:٤٠"])
def test_a_time_of_the_reset_that_is_none_is_an_error(panel, reset):
    with pytest.raises(ProviderError, match="Write it as 01:40"):
        usage(panel, reset=reset)
    with pytest.raises(ProviderError, match="Write it as 01:40"):
        a_provider(panel, reset=reset).check()
    assert panel.asked() == []


# A key that may not use the one call


@pytest.mark.parametrize("fault", ["html", "403", b"error=1&text=You%20cannot%20execute%20that%20command&details="])
def test_a_key_that_may_not_use_the_one_call_asks_user_by_user(panel, fault):
    bulk = usage(panel)
    panel.calls.clear()
    panel.faults[ALL] = fault
    assert usage(panel) == bulk
    assert panel.asked() == [ALL, USERS, RESELLERS, MINE, *[USAGE, CONFIG] * 3]


def test_a_reseller_that_may_not_list_all_users_lists_its_own(panel):
    panel.forbidden = {ALL, USERS, RESELLERS}
    found = usage(panel)
    assert set(found) == {"alice", "carol", ""}
    assert "CMD_API_SHOW_RESELLERS" in found[""].failures["users"]
    assert set(found["alice"].values) == {metric.system_name for metric in directadmin.DirectAdmin.metrics()} - {
        "users"
    }
    assert found["alice"].failures == {}


def test_without_the_limits_the_values_still_come(panel):
    panel.forbidden = {ALL, CONFIG}
    assert usage(panel)["alice"].values[DISK] == Usage(Decimal(14 * MIB))


def test_a_key_that_may_use_nothing_is_told_so(panel):
    panel.forbidden = {ALL, USERS, MINE}
    with pytest.raises(ProviderError, match="that CMD_API_ALL_USER_USAGE is among the commands that it allows"):
        usage(panel)


def test_a_user_that_is_refused_fails_alone(panel):
    panel.tenants |= {"erin": TENANTS["alice"]}
    del panel.tenants["bob"]
    panel.faults[ALL] = "html"
    panel.faults[USERS] = b"list[]=alice&list%5B%5D=bob&list[]=carol&list[]=erin"
    found = usage(panel)
    assert all("No such user" in reason for reason in found["bob"].failures.values())
    assert {DISK, BANDWIDTH, "mailboxes"} < set(found["bob"].failures)
    assert not found["alice"].failures
    assert not found["erin"].failures


def test_counts_that_are_refused_cost_neither_the_one_call_nor_many_more(panel):
    panel.tenants |= {f"user{number}": TENANTS["alice"] for number in range(20)}
    panel.forbidden = {USAGE}
    found = usage(panel)
    assert panel.asked().count(USAGE) == directadmin.PATIENCE
    for name in panel.tenants:
        assert set(found[name].failures) == {"mailboxes", "databases", "subdomains", "ftp_accounts"}
        assert "CMD_API_SHOW_USER_USAGE is among" in found[name].failures["mailboxes"]
        assert set(found[name].values) == {DISK, BANDWIDTH, "domains", "users"}


def test_without_creators_in_the_one_call_resellers_are_asked_for(panel):
    panel.tells_creators = False
    assert usage(panel, counts="no")["carol"].values["users"].value == 2
    assert panel.asked() == [ALL, RESELLERS, MINE]


def test_a_reseller_that_is_not_among_the_users_is_told_with_its_users_only(panel):
    panel.tenants["bob"]["owner"] = "rex"
    assert usage(panel)["rex"] == TenantUsage("rex", {"users": Usage(Decimal(1))})


# Servers that fail


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500"),
        ("broken", "broke off its answer"),
        ("silence", "sent nothing for 2 s"),
        (b"", "names no user"),
        (b"\n", "names no user"),
        (b"{}", "names no user"),
    ],
)
def test_a_server_that_fails_stops_the_collection(panel, fault, reason):
    panel.faults[ALL] = fault
    with pytest.raises(ProviderError) as refused:
        usage(panel)
    assert reason in str(refused.value)
    assert LOGIN_KEY not in str(refused.value)


def test_a_busy_server_is_asked_again(panel):
    panel.faults[ALL] = "429"
    assert usage(panel)["alice"].failures == {}


def test_a_wrong_key_is_refused_after_one_call_and_not_shown(panel):
    with pytest.raises(ProviderError, match="refuses the credentials") as refused:
        usage(panel, key="wr0ng")
    assert panel.asked() == [ALL]
    assert "wr0ng" not in str(refused.value)


def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(panel):
    panel.faults[USAGE] = b"error=1&text=bad&details=" + LOGIN_KEY.replace("%", "%25").encode()
    assert usage(panel)["alice"].failures["mailboxes"] == f"DirectAdmin refuses {USAGE}: bad. •••."


def test_no_key_is_an_error_before_any_call(panel):
    with pytest.raises(ProviderError, match="login key is missing"):
        usage(panel, key="")
    assert panel.asked() == []


# One user, and the check


@pytest.mark.parametrize("forbidden", [set(), {ALL}])
def test_one_user_is_told_as_among_all(panel, forbidden):
    panel.forbidden = forbidden
    every = usage(panel)
    for name in panel.tenants:
        panel.calls.clear()
        assert a_provider(panel).tenant_usage(name) == every[name]
        assert [query for function, query in panel.calls if function == USAGE] == [[("user", name)]]


@pytest.mark.parametrize("name", ["mallory", "", "alic", "list[]"])
def test_an_unknown_user_is_an_error(panel, name):
    with pytest.raises(ProviderError, match="There is no user"):
        a_provider(panel).tenant_usage(name)


def test_the_check_says_how_many_users_there_are_and_what_they_cost(panel):
    assert a_provider(panel, counts="no").check() == "DirectAdmin, 3 users, all in one call"
    assert a_provider(panel).check() == "DirectAdmin, 3 users, and a call for each"
    panel.forbidden = {ALL}
    assert a_provider(panel).check().endswith("since the key may not use CMD_API_ALL_USER_USAGE")


def test_the_check_names_the_command_that_the_key_lacks(panel):
    panel.forbidden = {USAGE}
    with pytest.raises(ProviderError, match=f"that {USAGE} is among the commands"):
        a_provider(panel).check()


@pytest.mark.parametrize("name", ["show_user_usage", "all_user_usage"])
def test_the_recorded_answers_are_understood(panel, name):
    panel.faults[ALL] = (FIXTURES / "all_user_usage.txt").read_bytes()
    if name == "show_user_usage":
        panel.faults[ALL] = "html"
        panel.faults[USAGE] = (FIXTURES / "show_user_usage.txt").read_bytes()
    alice = usage(panel)["alice"]
    assert (alice.values[BANDWIDTH].value, alice.values["mailboxes"].value) == (1263225694, 7)
    assert alice.failures == {}


class TestContract(ProviderContract):
    provider_class = directadmin.DirectAdmin
    zero = ("alice", "users")

    @pytest.fixture(autouse=True)
    def _panel(self, panel: DirectAdmin) -> None:
        self.panel = panel

    def connection(self) -> Connection:
        settings = {"url": self.panel.url, "user": "admin", "reset": "01:40"}
        return Connection(settings, {"key": LOGIN_KEY}, NOON, BERLIN)
