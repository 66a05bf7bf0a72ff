"""Ceph's object gateway, as a real cluster and by recorded answers: storage, traffic by month, and its silences."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from werkzeug import Request, Response

from metering.periods import day, month
from metering.providers.base import BANDWIDTH, DISK, Connection, MetricType, ProviderError, TenantUsage, Usage
from metering.providers.contract import ProviderContract
from metering.providers.http import Limits
from metering.providers.rgw import RGW, SigV4
from tests.metering.real_ceph import RealGateway, access_key, real_gateway

FIXTURES = Path(__file__).parent / "fixtures" / "rgw"
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
SECRET = "sec/ret+key="
TRAFFIC = {BANDWIDTH, "ingress", "operations"}
ALL = TRAFFIC | {DISK, "objects"}


class Quick(RGW):
    limits = Limits(connect=0.5, read=5, total=10, size=100_000, retries=1, pause=0.02)


def a_provider(url: str, user: str = "billing", secret: str = SECRET, **settings: Any) -> Quick:
    as_of, zone = settings.pop("as_of", NOON), settings.pop("zone", BERLIN)
    settings = {"url": url, "access_key": access_key(user), **settings}
    return Quick(Connection(settings, {"secret_key": secret}, as_of, zone))


def all_of(url: str, user: str = "billing", **settings: Any) -> dict[str, TenantUsage]:
    return {found.tenant: found for found in a_provider(url, user, **settings).usage()}


def numbers(usage: TenantUsage) -> dict[str, int]:
    assert all(type(observed.value) is Decimal for observed in usage.values.values())
    return {name: int(observed.value) for name, observed in usage.values.items()}


def limits(usage: TenantUsage) -> dict[str, int | None]:
    return {name: None if said.limit is None else int(said.limit) for name, said in usage.values.items()}


# Against the real gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[RealGateway]:
    with real_gateway() as running:
        running.add("billing", SECRET, caps="usage=read;buckets=read")
        running.add("manager", SECRET, caps="usage=read;buckets=read;users=read")
        running.add("half", SECRET, caps="buckets=read")
        running.add("other", SECRET, caps="usage=read")
        for user in ("nobody", "alice", "acme$carol", "dave"):
            running.add(user, SECRET)
        furnish(running)
        yield running


def furnish(gateway: RealGateway) -> None:
    with gateway.client() as anybody:
        for user, bucket in (("alice", "alice-data"), ("acme$carol", "carol-data")):
            with gateway.client(user, SECRET) as client:
                assert client.put(f"/{bucket}").is_success
                assert client.put(f"/{bucket}/one", content=b"x" * 100_000).is_success
                assert len(client.get(f"/{bucket}/one").content) == 100_000
        with gateway.client("alice", SECRET) as client:
            assert client.get("/alice-data/missing").status_code == 404
            started = client.post("/alice-data/big?uploads=").text
            upload = started.partition("<UploadId>")[2].partition("<")[0]
            part = {"partNumber": "1", "uploadId": upload}
            assert client.put("/alice-data/big", params=part, content=b"y" * 5_000).is_success
            assert client.put("/alice-public", headers={"x-amz-acl": "public-read"}).is_success
            shared = {"x-amz-acl": "public-read"}
            assert client.put("/alice-public/page", content=b"z" * 700, headers=shared).is_success
        assert len(anybody.get("/alice-public/page").content) == 700
        with gateway.client("dave", SECRET) as client:
            assert client.put("/dave-gone").is_success
            assert client.delete("/dave-gone").is_success
    gateway.admin("quota", "set", "--quota-scope=user", "--uid=alice", "--max-size=1G", "--max-objects=10")
    gateway.admin("quota", "enable", "--quota-scope=user", "--uid=alice")
    bucket = ("--quota-scope=bucket", "--bucket=acme/carol-data")
    gateway.admin("quota", "set", *bucket, "--max-size=5M", "--max-objects=-1")
    gateway.admin("quota", "enable", *bucket)


def real(gateway: RealGateway, user: str = "billing", **settings: Any) -> dict[str, TenantUsage]:
    """What the provider says when the usage log has been flushed."""
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while True:
        found = all_of(gateway.url, user, as_of=datetime.now(UTC), zone=UTC, **settings)
        alice = found["alice"].values
        if BANDWIDTH not in alice or (alice["operations"].value >= 8 and "dave" in found):
            return found
        assert datetime.now(UTC) < deadline


def test_a_real_gateway_is_named_with_what_it_has(gateway):
    real(gateway)
    said = a_provider(gateway.url, as_of=datetime.now(UTC)).check()
    assert said == "Ceph object gateway, buckets: 3, users in the log of 31 days: 3"


def test_storage_is_that_of_all_buckets_with_parts_of_uploads_that_go_on(gateway):
    found = real(gateway)
    assert numbers(found["alice"])[DISK] == 100_000 + 5_000 + 700
    assert numbers(found["alice"])["objects"] == 3
    assert numbers(found["acme$carol"])[DISK] == 100_000


def test_traffic_is_the_owners_whoever_asked_and_failed_requests_are_no_operations(gateway):
    found = real(gateway)
    alice = numbers(found["alice"])
    assert alice["ingress"] == 100_000 + 5_000 + 700
    # Two downloads, and the few bytes that say what is missing and what was begun.
    assert 100_700 < alice[BANDWIDTH] < 102_000
    # put bucket, put, get, begin, part, put bucket, put, get by nobody; the one that was missing failed.
    assert alice["operations"] == 8


def test_unsigned_requests_for_no_bucket_are_nobodys(gateway):
    with gateway.client() as anybody:
        assert anybody.get("/").is_success
    assert set(real(gateway)) == {"alice", "acme$carol", "dave"}


def test_a_user_whose_last_bucket_is_gone_has_real_zeros(gateway):
    dave = numbers(real(gateway)["dave"])
    assert (dave[DISK], dave["objects"]) == (0, 0)
    assert dave["operations"] == 2


def test_the_quotas_of_buckets_need_no_further_right(gateway):
    found = real(gateway)
    assert limits(found["acme$carol"])[DISK] == 5 * 2**20
    assert limits(found["acme$carol"])["objects"] is None
    assert limits(found["alice"])[DISK] is None
    assert limits(real(gateway, quotas="none")["acme$carol"])[DISK] is None


def test_the_quotas_of_users_need_one(gateway):
    found = real(gateway, "manager", quotas="users")
    assert limits(found["alice"])[DISK] == 2**30
    assert limits(found["alice"])["objects"] == 10
    assert limits(found["dave"])[DISK] is None
    refused = real(gateway, quotas="users")["alice"]
    assert set(refused.values) == ALL
    assert "--caps='users=read'" in refused.failures["quota"]


def test_a_month_without_traffic_has_no_tenants_and_the_next_has_none_of_this(gateway):
    asked = a_provider(gateway.url, as_of=datetime.now(UTC) + timedelta(days=70), zone=UTC)
    today = datetime.now(UTC).date()
    last = month(today.replace(day=1) - timedelta(days=1))
    assert list(asked.usage(last)) == []
    assert list(asked.usage(month(last.end + timedelta(days=40)))) == []
    (alice,) = [said for said in asked.usage(month(today)) if said.tenant == "alice"]
    assert set(alice.values) == TRAFFIC
    assert {(said.start, said.end) for said in alice.values.values()} == {(month(today).start, month(today).end)}


def test_one_user_is_asked_for_alone(gateway):
    real(gateway)
    found = a_provider(gateway.url, as_of=datetime.now(UTC), zone=UTC).tenant_usage("acme$carol")
    assert (found.tenant, numbers(found)[DISK], set(found.values)) == ("acme$carol", 100_000, ALL)


@pytest.mark.parametrize("tenant", ["", "carol", "mallory", "acme$", "x&uid=alice"])
def test_an_unknown_user_is_an_error(gateway, tenant):
    with pytest.raises(ProviderError, match="neither buckets nor traffic"):
        a_provider(gateway.url).tenant_usage(tenant)


def test_one_right_that_is_missing_costs_only_what_it_is_for(gateway):
    half, other = real(gateway, "half"), real(gateway, "other")
    assert set(half["alice"].values) == {DISK, "objects"}
    assert "--caps='usage=read'" in half["alice"].failures[BANDWIDTH]
    assert set(other["alice"].values) == TRAFFIC
    assert "--caps='buckets=read'" in other["alice"].failures[DISK]


@pytest.mark.parametrize(
    ("user", "secret", "reason"),
    [
        ("nobody", SECRET, "(AccessDenied). The user may not ask this"),
        ("stranger", SECRET, "(InvalidAccessKeyId). No user has this access key"),
        ("billing", "wr0ng", "(SignatureDoesNotMatch). The secret key is not"),
    ],
)
def test_a_gateway_that_refuses_says_why_without_a_word_of_the_keys(gateway, user, secret, reason):
    asked = a_provider(gateway.url, user, secret)
    for deed in (asked.check, lambda: list(asked.usage())):
        with pytest.raises(ProviderError) as refused:
            deed()
        assert reason in str(refused.value)
        assert secret not in str(refused.value)
        assert access_key(user) not in str(refused.value)


def test_a_signature_of_another_hour_is_refused_as_such(gateway):
    request = httpx2.Request("GET", f"{gateway.url}/admin/usage")
    SigV4(access_key("billing"), SECRET).sign(request, datetime.now(UTC) - timedelta(hours=1))
    with gateway.client() as client:
        assert client.send(request).json()["Code"] == "RequestTimeTooSkewed"


# By recorded and made answers


@pytest.fixture
def recorded(httpserver):
    """Answers each path of the admin API with what the test puts in, and keeps what it was asked."""

    class Server:
        url = httpserver.url_for("")
        answers: dict[str, Any]
        asked: list[tuple[str, dict[str, str]]]

    def answer(request: Request) -> Response:
        Server.asked.append((request.path, request.args.to_dict()))
        said = Server.answers[request.path]
        said = said(request) if callable(said) and not isinstance(said, Response) else said
        return said if isinstance(said, Response) else Response(said if isinstance(said, str) else json.dumps(said))

    Server.answers, Server.asked = {}, []
    for path in ("/admin/bucket", "/admin/usage", "/admin/user"):
        httpserver.expect_request(path).respond_with_handler(answer)
    return Server


def text(name: str) -> str:
    return (FIXTURES / f"{name}.json").read_text()


def a_bucket(owner: Any = "alice", size: Any = 10, objects: Any = 1, **more: Any) -> dict[str, Any]:
    usage = {"rgw.main": {"size": size, "num_objects": objects}}
    quota = {"enabled": False, "max_size": -1, "max_objects": -1}
    return {"bucket": "data", "owner": owner, "usage": usage, "bucket_quota": quota, **more}


def a_quota(size: Any, objects: Any = -1) -> dict[str, Any]:
    return {"enabled": True, "max_size": size, "max_objects": objects}


def a_log(*users: str, sent: Any = 1, **more: Any) -> dict[str, Any]:
    total = {"bytes_sent": sent, "bytes_received": 2, "ops": 9, "successful_ops": 3, **more}
    return {"summary": [{"user": user, "categories": [], "total": dict(total)} for user in users]}


def test_two_calls_answer_for_all_users(recorded):
    recorded.answers = {"/admin/bucket": text("bucket_all_stats"), "/admin/usage": text("usage_all_summary")}
    found = all_of(recorded.url)
    assert numbers(found["alice"]) == {
        DISK: 3_000_000,
        "objects": 3,
        BANDWIDTH: 3_000_476,
        "ingress": 3_000_000,
        "operations": 7,
    }
    assert numbers(found["bob"])[BANDWIDTH] == 500_000
    assert [path for path, _ in recorded.asked] == ["/admin/bucket", "/admin/usage"]


@pytest.mark.parametrize(
    ("zone", "as_of", "start", "end"),
    [
        (UTC, NOON, "2026-11-01 00:00:00", "2026-11-20 12:00:00"),
        (BERLIN, NOON, "2026-10-31 23:00:00", "2026-11-20 12:00:00"),
        # Midnight is at half past 18: the hour that began before it is of the month before.
        (KOLKATA, NOON, "2026-10-31 19:00:00", "2026-11-20 12:00:00"),
        (KOLKATA, datetime(2026, 10, 31, 18, 40, tzinfo=UTC), "2026-10-31 19:00:00", "2026-10-31 19:00:00"),
        (BERLIN, datetime(2026, 10, 31, 22, 59, tzinfo=UTC), "2026-09-30 22:00:00", "2026-10-31 23:00:00"),
    ],
)
def test_the_month_is_asked_in_whole_hours_of_utc(recorded, zone, as_of, start, end):
    recorded.answers = {"/admin/bucket": [], "/admin/usage": a_log("alice")}
    all_of(recorded.url, zone=zone, as_of=as_of)
    (_, asked) = recorded.asked[1]
    assert (asked["start"], asked["end"], asked["show-entries"]) == (start, end, "False")


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        (UTC, "2026-10-01 00:00:00", "2026-11-01 00:00:00"),
        (BERLIN, "2026-09-30 22:00:00", "2026-10-31 23:00:00"),
        (KOLKATA, "2026-09-30 19:00:00", "2026-10-31 19:00:00"),
    ],
)
def test_a_closed_month_ends_where_the_next_begins(recorded, zone, start, end):
    recorded.answers = {"/admin/usage": a_log("alice", "anonymous")}
    october = month(date(2026, 10, 1))
    (alice,) = a_provider(recorded.url, zone=zone).usage(october)
    assert alice.values[BANDWIDTH] == Usage(Decimal(1), start=october.start, end=october.end)
    assert [(asked["start"], asked["end"]) for _, asked in recorded.asked] == [(start, end)]


def test_a_month_that_is_not_over_and_a_day_are_not_asked_for(recorded):
    with pytest.raises(ProviderError, match="is not over"):
        list(a_provider(recorded.url).usage(month(date(2026, 11, 1))))
    assert list(a_provider(recorded.url).usage(day(date(2026, 11, 1)))) == []
    assert not recorded.asked


def test_a_user_without_a_line_in_a_log_that_is_kept_had_no_traffic(recorded):
    recorded.answers = {"/admin/bucket": [a_bucket("bob")], "/admin/usage": a_log("anonymous")}
    assert numbers(all_of(recorded.url)["bob"]) == {DISK: 10, "objects": 1, **dict.fromkeys(TRAFFIC, 0)}


def test_at_the_start_of_a_month_the_log_of_the_month_before_shows_that_it_is_kept(recorded):
    def log(request: Request) -> Response:
        return Response(json.dumps(a_log("alice") if request.args["start"] < "2026-11" else a_log()))

    recorded.answers = {"/admin/bucket": [a_bucket("bob")], "/admin/usage": log}
    found = all_of(recorded.url, zone=UTC, as_of=datetime(2026, 11, 1, 0, 5, tzinfo=UTC))
    assert numbers(found["bob"])[BANDWIDTH] == 0
    assert [asked["start"] for path, asked in recorded.asked if path == "/admin/usage"] == [
        "2026-11-01 00:00:00",
        "2026-10-01 00:00:00",
    ]


def test_a_log_that_may_be_off_is_no_zero(recorded):
    recorded.answers = {"/admin/bucket": [a_bucket("bob")], "/admin/usage": text("usage_nobody")}
    found = all_of(recorded.url)["bob"]
    assert numbers(found) == {DISK: 10, "objects": 1}
    assert set(found.failures) == TRAFFIC
    assert "rgw_enable_usage_log = true" in found.failures[BANDWIDTH]
    assert "rgw_enable_usage_log = true" in a_provider(recorded.url).check()


@pytest.mark.parametrize("size", ["10", 1.5, -1, True, None, [], 10**18, 18446744073709551615])
def test_what_is_no_quantity_costs_its_owner_and_nobody_else(recorded, size):
    buckets = [a_bucket("alice"), a_bucket("alice", size), a_bucket("bob")]
    log = a_log("alice", "bob")
    log["summary"][1]["total"]["bytes_sent"] = size
    recorded.answers = {"/admin/bucket": buckets, "/admin/usage": log}
    found = all_of(recorded.url)
    assert set(found["alice"].values) == TRAFFIC
    assert "The bucket 'data' cannot be counted: size is" in found["alice"].failures[DISK]
    assert set(found["bob"].values) == {DISK, "objects"}
    assert "bytes_sent is" in found["bob"].failures[BANDWIDTH]


def test_no_digit_is_lost(recorded):
    big = 9007199254740993
    recorded.answers = {"/admin/bucket": [a_bucket(size=big), a_bucket()], "/admin/usage": a_log("alice", sent=big)}
    assert numbers(all_of(recorded.url)["alice"])[DISK] == big + 10
    assert numbers(all_of(recorded.url)["alice"])[BANDWIDTH] == big


def test_empty_buckets_are_zero_and_what_the_index_has_not_sorted_is_not_counted(recorded):
    none = {"rgw.none": {"size": 7, "num_objects": 18446744073709551615}}
    parts = {"rgw.multimeta": {"size": 3, "num_objects": 1}}
    recorded.answers = {
        "/admin/bucket": [a_bucket("bob", usage={}), a_bucket("carol", usage={**none, **parts})],
        "/admin/usage": a_log("bob"),
    }
    found = all_of(recorded.url)
    assert (numbers(found["bob"])[DISK], numbers(found["bob"])["objects"]) == (0, 0)
    assert (numbers(found["carol"])[DISK], numbers(found["carol"])["objects"]) == (3, 0)


@pytest.mark.parametrize("bucket", [None, 5, {}, a_bucket(None), a_bucket(""), a_bucket(7)])
def test_a_bucket_without_an_owner_is_listed_and_whoever_has_no_other_is_not_zero(recorded, bucket):
    recorded.answers = {"/admin/bucket": [bucket, a_bucket("bob")], "/admin/usage": a_log("bob", "carol")}
    found = all_of(recorded.url)
    assert not found[""].values
    assert "cannot be counted: it has no owner" in found[""].failures[DISK]
    assert set(found["bob"].values) == ALL
    assert set(found["carol"].values) == TRAFFIC


@pytest.mark.parametrize("row", [None, {}, {"user": 5}, {"user": "bob"}, {"user": "bob", "total": []}])
def test_a_line_of_the_log_that_cannot_be_used_costs_nobody_else(recorded, row):
    log = a_log("alice")
    log["summary"].append(row)
    recorded.answers = {"/admin/bucket": [a_bucket("bob")], "/admin/usage": log}
    found = all_of(recorded.url)
    assert set(found["alice"].values) == ALL
    broken = found["bob"] if isinstance(row, dict) and row.get("user") == "bob" else found[""]
    assert "cannot be used" in broken.failures[BANDWIDTH]
    assert BANDWIDTH not in broken.values


def test_a_user_who_is_in_the_log_twice_is_not_believed(recorded):
    recorded.answers = {"/admin/bucket": [], "/admin/usage": a_log("bob", "bob", "alice")}
    found = all_of(recorded.url)
    assert "it is there twice" in found["bob"].failures[BANDWIDTH]
    assert set(found["alice"].values) == ALL


@pytest.mark.parametrize(
    ("quotas", "limit"),
    [
        ([a_quota(7), a_quota(5)], 12),
        ([a_quota(0)], 0),
        ([a_quota(7), a_quota(-1)], None),
        ([a_quota(7), {"enabled": False, "max_size": 5}], None),
        ([a_quota(7), None], None),
        ([a_quota("7")], None),
    ],
)
def test_the_limit_is_the_sum_of_the_quotas_if_every_bucket_has_one(recorded, quotas, limit):
    buckets = [a_bucket(bucket_quota=quota) for quota in quotas]
    recorded.answers = {"/admin/bucket": buckets, "/admin/usage": a_log("alice")}
    assert limits(all_of(recorded.url)["alice"])[DISK] == limit


def test_a_user_whose_quota_cannot_be_asked_for_costs_nobody_else(recorded):
    def quota(request: Request) -> Response:
        return Response(status=404) if request.args["uid"] == "bob" else Response(json.dumps(a_quota(50)))

    recorded.answers = {
        "/admin/bucket": [a_bucket("bob"), a_bucket("carol")],
        "/admin/usage": a_log("bob"),
        "/admin/user": quota,
    }
    found = all_of(recorded.url, quotas="users")
    assert set(found["bob"].failures) == {"quota"}
    assert numbers(found["bob"])[DISK] == 10
    assert limits(found["carol"])[DISK] == 50


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Response("", status=500), "status 500"),
        (Response("", status=429, headers={"Retry-After": "60"}), "asks to wait 60 s"),
        (Response(text("usage_403_nocaps"), status=403), "(AccessDenied)"),
        (Response('{"Code":"RequestTimeTooSkewed"}', status=403), "more than 15 minutes apart"),
        (Response('{"Code":"NoSuchBucket"}', status=404), "The admin API is off"),
        (Response("<Error><Code>AccessDenied</Code></Error>", status=403), "refuses the credentials (403)"),
        (Response("[]", status=403), "refuses the credentials (403)"),
        (Response("", status=302, headers={"Location": "http://169.254.169.254/"}), "not followed"),
        (Response("<html><title>Sign in</title>"), "looks like a login or error page"),
        (Response(""), "it is empty"),
        (Response(text("bucket_all_stats")[:-5]), "not JSON"),
        (Response('{"summary": NaN}'), "not JSON"),
        (Response("5"), "Check the URL"),
        (Response(" " * 100_001), "more than 0.0953"),
    ],
)
def test_an_answer_that_cannot_be_used_costs_only_what_it_was_for(recorded, answer, reason):
    recorded.answers = {"/admin/bucket": answer, "/admin/usage": a_log("alice")}
    found = all_of(recorded.url)["alice"]
    assert set(found.values) == TRAFFIC
    assert reason in found.failures[DISK]
    recorded.answers = {"/admin/bucket": [a_bucket("alice")], "/admin/usage": answer}
    found = all_of(recorded.url)["alice"]
    assert set(found.values) == {DISK, "objects"}
    assert reason in found.failures[BANDWIDTH]
    recorded.answers = {"/admin/bucket": answer, "/admin/usage": answer}
    with pytest.raises(ProviderError) as refused:
        all_of(recorded.url)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_gateway_that_is_down_stops_the_collection():
    with pytest.raises(ProviderError, match="cannot be reached"):
        all_of("http://127.0.0.1:9")


@pytest.mark.parametrize(("user", "secret"), [("", SECRET), ("billing", ""), ("", "")])
def test_both_keys_are_needed(user, secret):
    with pytest.raises(ProviderError, match="is missing"):
        a_provider("http://127.0.0.1:9", user, secret).check()


def test_a_request_is_signed_as_amazons_example_is():
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, GET Bucket (List Objects)."""
    request = httpx2.Request("GET", "https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2")
    auth = SigV4("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    auth.sign(request, datetime(2013, 5, 24, tzinfo=UTC))
    assert request.headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_metrics_say_when_they_reset():
    types = {metric.system_name: metric.type for metric in RGW.metrics()}
    assert {name for name, kind in types.items() if kind is MetricType.MONTH} == TRAFFIC
    assert types.keys() == ALL
    assert "UTC" in RGW.resets


class TestContract(ProviderContract):
    provider_class = RGW
    zero = ("dave", DISK)

    @pytest.fixture(autouse=True)
    def _server(self, gateway: RealGateway) -> None:
        real(gateway)
        self.url = gateway.url

    def connection(self) -> Connection:
        settings = {"url": self.url, "access_key": access_key("billing")}
        return Connection(settings, {"secret_key": SECRET}, datetime.now(UTC), UTC)
