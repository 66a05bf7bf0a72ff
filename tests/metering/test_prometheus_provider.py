"""Prometheus by its recorded answers: what becomes usage, what fails for whom, and what stops a collection."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from werkzeug import Request, Response

from metering.periods import day, month
from metering.providers.base import Connection, MetricType, ProviderError, TenantUsage, Usage
from metering.providers.http import Limits
from metering.providers.prometheus import Prometheus
from metering.units import BUILT_IN

FIXTURES = Path(__file__).parent / "fixtures" / "prometheus"
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 19, 11, 0, 0, 700_000, tzinfo=UTC)  # 12:00 in Berlin
SECRET = "s3cr:t@/%"

Answer = Callable[[Request], Response] | Response | str | dict[str, Any]


def recorded(name: str) -> str:
    return (FIXTURES / f"{name}.json").read_text()


def a_vector(*series: tuple[dict[str, str], Any], **more: Any) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1795202505.5, value]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


def of(tenant: str, value: Any) -> tuple[dict[str, str], Any]:
    return {"tenant": tenant}, value


def a_row(name: str = "disk", **columns: Any) -> dict[str, Any]:
    row = {"system_name": name, "display_name": name.title(), "type": "snapshot", "unit": "B", "expression": name}
    return row | {"label": "tenant", "scale": "1"} | columns


def a_drip() -> Iterator[bytes]:
    for _ in range(100):
        yield b" "
        time.sleep(0.05)


class Quick(Prometheus):
    limits = Limits(connect=2, read=3, total=4, size=100_000, retries=1, pause=0.02)


def a_provider(
    url: Any = "http://127.0.0.1:9", *rows: dict[str, Any], as_of: datetime = NOON, **settings: Any
) -> Quick:
    password = settings.pop("password", "")
    every = {"url": url, "auth": "none", "metrics": list(rows) or [a_row()], **settings}
    return Quick(Connection(every, {"password": password} if password else {}, as_of, BERLIN))


@pytest.fixture
def server(httpserver):
    """Answers queries by the first word of their expression, and keeps the forms it was sent."""

    class Server:
        url = httpserver.url_for("/base")
        answers: dict[str, Answer]
        forms: list[dict[str, str]]

    def answer(request: Request) -> Response:
        Server.forms.append(request.form.to_dict())
        found = Server.answers[request.form["query"].split()[0]]
        if callable(found) and not isinstance(found, Response):
            return found(request)
        return (
            found if isinstance(found, Response) else Response(found if isinstance(found, str) else json.dumps(found))
        )

    Server.answers, Server.forms = {}, []
    httpserver.expect_request("/base/api/v1/query", method="POST").respond_with_handler(answer)
    httpserver.expect_request("/base/api/v1/status/buildinfo").respond_with_data(recorded("buildinfo"))
    return Server


def usage(server: Any, *rows: dict[str, Any], **settings: Any) -> dict[str, TenantUsage]:
    return {found.tenant: found for found in a_provider(server.url, *rows, **settings).usage()}


def test_one_query_answers_for_all_tenants_and_zero_is_a_value(server):
    server.answers = {"disk": recorded("snapshot_disk")}
    assert usage(server) == {
        "alice": TenantUsage("alice", {"disk": Usage(Decimal(524288000))}),
        "bob": TenantUsage("bob", {"disk": Usage(Decimal(1048576))}),
        "carol": TenantUsage("carol", {"disk": Usage(Decimal(0))}),
    }
    assert len(server.forms) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("increase_by_tenant", [7330458, 2261970, 0]),
        ("last_over_time_prometheus", [5759000000, 1439500000, 7001439000]),
        ("month_increase_prometheus", [5472000000, 2735499909, 1440500]),
        ("month_increase_victoriametrics", [5471000000, 2735000000, 1439000]),
    ],
)
def test_recorded_answers_become_whole_bytes(server, name, values):
    server.answers = {"disk": recorded(name)}
    assert [said.values["disk"].value for said in usage(server).values()] == values


def test_metrics_are_merged_by_tenant(server):
    server.answers = {"disk": a_vector(of("alice", "1")), "sent": a_vector(of("alice", "2"), of("bob", "3"))}
    found = usage(server, a_row("disk"), a_row("sent", type="counter"))
    assert {metric: said.value for metric, said in found["alice"].values.items()} == {"disk": 1, "sent": 2}
    assert set(found["bob"].values) == {"sent"}
    assert not found["bob"].failures


def test_no_series_is_no_tenant(server):
    server.answers = {"disk": recorded("empty_vector")}
    assert usage(server) == {}


@pytest.mark.parametrize(
    ("text", "unit", "scale", "value"),
    [
        ("7330458.333333333", "B", "1", "7330458"),
        ("7330458.5", "GB", "1", "7330459"),
        ("2735499908.6090293", "GB", "1", "2735499909"),
        ("0.5", "accounts", "1", "1"),
        ("5.24288e+08", "B", "1", "524288000"),
        ("1e-07", "B", "1", "0"),
        ("512000", "GB", "1024", "524288000"),
        ("9007199254740993", "B", "1024", "9223372036854776832"),
        ("0.1234565", "decimal", "1", "0.123457"),
        ("3", "decimal", "0.000000333333", "0.000001"),
        ("-0", "B", "1", "0"),
        ("99999999999999999999", "B", "1", "99999999999999999999"),
    ],
)
def test_values_are_read_and_scaled_exactly_and_rounded_half_up(server, text, unit, scale, value):
    server.answers = {"disk": a_vector(of("alice", text))}
    found = usage(server, a_row(unit=unit, scale=scale))["alice"].values["disk"].value
    assert (str(found), isinstance(found, Decimal)) == (value, True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "'NaN'"),
        ("+Inf", "'+Inf'"),
        ("-Inf", "'-Inf'"),
        ("-1", "negative: -1"),
        ("-0.0000001", "negative"),
        ("1e+20", "more than 20 digits"),
        ("1e999", "more than 20 digits"),
        ("1" * 401, "not a number"),
        ("1_000", "not a number"),
        ("١", "not a number"),
        ("0x10", "not a number"),
        ("1,5", "not a number"),
        (" 5 ", "not a number"),
        ("5\n", "not a number"),
        ("", "not a number"),
        (5, "no plain value"),
        (True, "no plain value"),
        (None, "no plain value"),
        ([], "no plain value"),
    ],
)
def test_what_is_no_quantity_fails_for_its_tenant_alone(server, value, reason):
    server.answers = {"disk": a_vector(of("alice", value), of("bob", "5"))}
    found = usage(server)
    assert not found["alice"].values
    assert reason in found["alice"].failures["disk"]
    assert found["bob"] == TenantUsage("bob", {"disk": Usage(Decimal(5))})


@pytest.mark.parametrize(("name", "tenant"), [("nan", "carol"), ("inf", "alice")])
def test_recorded_values_that_are_no_quantity_fail(server, name, tenant):
    server.answers = {"disk": recorded(name), "sent": recorded("snapshot_disk")}
    found = usage(server, a_row("disk"), a_row("sent"))[tenant]
    assert "disk" in found.failures
    assert "sent" in found.values


def test_a_histogram_fails(server):
    result = [{"metric": {"tenant": "alice"}, "histogram": [1795202505, {"count": "1"}]}]
    server.answers = {"disk": {"status": "success", "data": {"resultType": "vector", "result": result}}}
    assert "histogram" in usage(server)["alice"].failures["disk"]


def test_a_tenant_with_two_series_fails_for_that_metric(server):
    twice = a_vector(({"tenant": "alice", "node": "a"}, "1"), ({"tenant": "alice", "node": "b"}, "1"), of("bob", "3"))
    server.answers = {"disk": twice, "sent": a_vector(of("alice", "7"))}
    found = usage(server, a_row("disk"), a_row("sent"))
    assert found["alice"].failures == {"disk": "2 series; sum by (tenant) in the expression"}
    assert found["alice"].values == {"sent": Usage(Decimal(7))}
    assert found["bob"].values == {"disk": Usage(Decimal(3))}


def test_series_without_the_label_are_a_tenant_without_name_or_values(server):
    server.answers = {"disk": a_vector(({"node": "a"}, "1"), ({"tenant": ""}, "2"), of("bob", "3"))}
    found = usage(server)
    assert not found[""].values
    assert found[""].failures["disk"].startswith("2 series without the label tenant")
    assert found["bob"].values["disk"].value == 3


def test_the_label_is_a_choice(server):
    server.answers = {"disk": a_vector(({"customer": "alice", "tenant": "x"}, "1"))}
    assert set(usage(server, a_row(label="customer"))) == {"alice"}


def test_strange_tenant_names_come_through_untouched(server):
    names = ["<img onerror=x>", "{{7*7}}", "=cmd", "a\u202eb", "ünï", " x "]
    server.answers = {"disk": a_vector(*(of(name, "1") for name in names))}
    assert list(usage(server)) == names


def test_a_partial_answer_is_not_used(server):
    server.answers = {
        "disk": a_vector(of("alice", "1"), warnings=["store 2 was not reached"]),
        "sent": a_vector(of("alice", "2"), of("bob", "3"), infos=["the name ends in nothing usual"]),
    }
    found = usage(server, a_row("disk"), a_row("sent"))
    assert {tenant: set(said.values) for tenant, said in found.items()} == {"alice": {"sent"}, "bob": {"sent"}}
    for said in found.values():
        assert "partial: ['store 2 was not reached']" in said.failures["disk"]


def test_a_partial_answer_still_names_its_tenants(server):
    server.answers = {"disk": a_vector(of("alice", "1"), warnings=["store 2 was not reached"])}
    found = usage(server)["alice"]
    assert not found.values
    assert "partial" in found.failures["disk"]


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("parse_error_400", 400, "unclosed left parenthesis"),
        ("exec_error_422", 422, "found duplicate series"),
        ("expanding_series_422", 422, "context deadline exceeded"),
        ("expanding_series_422", 503, "context deadline exceeded"),
        ("scalar", 200, "gives a scalar, not a vector"),
        ("raw_matrix_samples", 200, "gives a matrix, not a vector"),
        ("buildinfo", 200, "not that of Prometheus' query API"),
    ],
)
def test_a_metric_that_fails_does_so_for_every_tenant_of_the_others(server, name, status, reason):
    server.answers = {"bad": Response(recorded(name), status=status), "disk": recorded("snapshot_disk")}
    found = usage(server, a_row("bad"), a_row("disk"))
    assert list(found) == ["alice", "bob", "carol"]
    for said in found.values():
        assert set(said.values) == {"disk"}
        assert reason in said.failures["bad"]


def test_metrics_that_all_fail_stop_the_collection_with_their_reasons(server):
    server.answers = {"bad": Response(recorded("parse_error_400"), status=400), "one": recorded("scalar")}
    with pytest.raises(ProviderError) as refused:
        usage(server, a_row("bad"), a_row("one"))
    assert "Metric bad: Prometheus says: invalid parameter" in str(refused.value)
    assert "Metric one: the expression gives a scalar" in str(refused.value)


def test_a_failure_without_any_tenant_to_carry_it_is_not_lost(server):
    server.answers = {"bad": Response(recorded("parse_error_400"), status=400), "disk": recorded("empty_vector")}
    with pytest.raises(ProviderError, match="Metric bad"):
        usage(server, a_row("bad"), a_row("disk"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Response("out of memory", status=500), "status 500. out of memory"),
        (Response("", status=502), "status 502"),
        (Response('{"message": "the gateway has no upstream"}', status=502), "no upstream"),
        (Response("", status=429, headers={"Retry-After": "60"}), "status 429 and asks to wait 60 s"),
        (Response("no", status=401), "refuses the credentials (401)"),
        (Response('{"status":"error","error":"no"}', status=403), "refuses the credentials (403)"),
        (Response("404 page not found", status=404), "Check the URL"),
        (Response("", status=302, headers={"Location": "http://169.254.169.254/"}), "169.254.169.254/ (302)"),
        (Response("<html><title>Sign in</title>"), "looks like a login or error page"),
        (Response(""), "it is empty"),
        (Response(recorded("snapshot_disk")[:-5]), "The answer is not JSON"),
        (lambda _: Response(iter([b"{"]), headers={"Content-Length": "100"}), "broke off its answer"),
        (lambda _: Response(a_drip()), "did not finish its answer within 4 s"),
        (Response('{"status": NaN}'), "The answer is not JSON"),
        (Response("[" * 50_000), "nested too deeply"),
        (Response(" " * 100_001), "more than 0.0953"),
        (Response(gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"}), "more than 0.0953"),
        (Response(b"plain", headers={"Content-Encoding": "gzip"}), "header check"),
    ],
)
def test_a_server_that_fails_stops_the_collection_without_a_word_of_the_secret(server, answer, reason):
    server.answers = {"disk": a_vector(of("alice", "1")), "bad": answer}
    with pytest.raises(ProviderError) as refused:
        usage(server, a_row("disk"), a_row("bad"), auth="basic", username="tally", password=SECRET)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_server_that_is_down_stops_the_collection():
    with pytest.raises(ProviderError, match="cannot be reached"):
        list(a_provider("http://127.0.0.1:9").usage())


def test_a_busy_server_is_asked_again(server):
    answers = iter([Response("", status=429), Response(recorded("snapshot_disk"))])
    server.answers = {"disk": lambda _: next(answers)}
    assert len(usage(server)) == 3


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("month", datetime(2026, 10, 31, 23, tzinfo=UTC)),
        ("day", datetime(2026, 11, 18, 23, tzinfo=UTC)),
        ("snapshot", datetime(2026, 11, 19, 10, tzinfo=UTC)),
        ("counter", datetime(2026, 11, 19, 10, tzinfo=UTC)),
    ],
)
def test_current_values_are_asked_at_the_whole_second_of_the_collection(server, kind, start):
    server.answers = {"disk": recorded("snapshot_disk")}
    usage(server, a_row(type=kind, expression='disk $start $end $range {x=~"$ranger|a$"}'))
    begin, end = int(start.timestamp()), int(NOON.timestamp())
    form = server.forms[0]
    assert form["query"] == f'disk {begin} {end} {end - begin}s {{x=~"$ranger|a$"}}'
    assert form["time"] == str(end)


@pytest.mark.parametrize("kind", ["day", "month"])
def test_the_day_and_the_month_are_those_of_the_server_and_not_of_utc(server, kind):
    server.answers = {"disk": recorded("snapshot_disk")}
    new_month_in_berlin = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    usage(server, a_row(type=kind, expression="disk $range"), as_of=new_month_in_berlin)
    assert server.forms[0]["query"] == "disk 1800s"


def test_the_first_instant_of_a_month_is_a_range_that_promql_knows(server):
    server.answers = {"disk": recorded("snapshot_disk")}
    first = datetime(2026, 11, 1, tzinfo=BERLIN)
    usage(server, a_row(type="month", expression="disk $range"), as_of=first)
    assert server.forms[0]["query"] == "disk 1s"


@pytest.mark.parametrize(
    ("period", "kind", "end", "hours"),
    [
        (month(date(2026, 10, 1)), "month", datetime(2026, 10, 31, 23, tzinfo=UTC), 31 * 24 + 1),
        (month(date(2026, 3, 1)), "month", datetime(2026, 3, 31, 22, tzinfo=UTC), 31 * 24 - 1),
        (month(date(2026, 2, 1)), "month", datetime(2026, 2, 28, 23, tzinfo=UTC), 28 * 24),
        (day(date(2026, 10, 25)), "day", datetime(2026, 10, 25, 23, tzinfo=UTC), 25),
        (day(date(2026, 3, 29)), "day", datetime(2026, 3, 29, 22, tzinfo=UTC), 23),
        (day(date(2026, 11, 18)), "day", datetime(2026, 11, 18, 23, tzinfo=UTC), 24),
    ],
)
def test_a_closed_period_is_asked_at_its_end_with_its_exact_length(server, period, kind, end, hours):
    server.answers = {"disk": recorded("month_increase_prometheus")}
    rows = [a_row(other.value, type=other.value, expression="never") for other in MetricType if other != kind]
    provider = a_provider(server.url, *rows, a_row(type=kind, expression="disk $range"))
    found = {said.tenant: said.values["disk"] for said in provider.usage(period)}
    assert found["bob"] == Usage(Decimal(2735499909), start=period.start, end=period.end)
    assert [(form["query"], form["time"]) for form in server.forms] == [
        (f"disk {hours * 3600}s", str(int(end.timestamp())))
    ]


def test_a_period_that_is_not_over_is_not_asked_for(server):
    with pytest.raises(ProviderError, match="not over"):
        list(a_provider(server.url, a_row(type="month")).usage(month(date(2026, 11, 1))))
    assert not server.forms


def test_a_period_for_which_no_metric_is_has_no_values(server):
    assert list(a_provider(server.url, a_row(type="day")).usage(month(date(2026, 10, 1)))) == []


def test_one_tenant_is_picked_out_of_all(server):
    server.answers = {"disk": recorded("snapshot_disk")}
    assert a_provider(server.url).tenant_usage("bob").values["disk"].value == 1048576


@pytest.mark.parametrize("tenant", ["mallory", ""])
def test_an_unknown_tenant_is_an_error(server, tenant):
    server.answers = {"disk": a_vector(of("bob", "1"), ({}, "2"))}
    with pytest.raises(ProviderError, match="No expression gives a series"):
        a_provider(server.url).tenant_usage(tenant)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"auth": "none", "username": "tally", "password": SECRET}, None),
        ({"auth": "basic", "username": "tally", "password": SECRET}, "Basic dGFsbHk6czNjcjp0QC8l"),
        ({"auth": "bearer", "username": "tally", "password": SECRET}, f"Bearer {SECRET}"),
    ],
)
def test_it_authenticates_as_configured(server, settings, header):
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response(recorded("snapshot_disk"))

    server.answers = {"disk": answer}
    usage(server, **settings)
    assert seen == [header]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_authentication_without_a_secret_is_refused(server, auth):
    with pytest.raises(ProviderError, match="token is missing"):
        usage(server, auth=auth)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "http://u:p@host", "http://a\r\nX: y", None])
def test_a_url_that_cannot_be_used_is_an_error_and_not_an_exception_of_the_constructor(url):
    provider = a_provider(url)
    with pytest.raises(ProviderError, match="The URL"):
        provider.check()


def test_the_check_names_the_version_and_counts_the_metrics(server):
    server.answers = {"disk": recorded("snapshot_disk"), "sent": recorded("empty_vector")}
    assert a_provider(server.url, a_row("disk"), a_row("sent")).check() == "Prometheus 2.42.0+ds, 2 metrics configured"
    assert a_provider(server.url).check() == "Prometheus 2.42.0+ds, 1 metric configured"


def test_the_check_shows_a_strange_version_on_one_clean_line(server, httpserver):
    httpserver.clear()
    httpserver.expect_request("/base/api/v1/status/buildinfo").respond_with_json({"data": {"version": "\x1b[31m3\n"}})
    httpserver.expect_request("/base/api/v1/query").respond_with_data(recorded("snapshot_disk"))
    assert a_provider(server.url).check() == "Prometheus [31m3, 1 metric configured"


def test_the_check_tells_another_server_from_prometheus(server, httpserver):
    httpserver.clear()
    httpserver.expect_request("/base/api/v1/status/buildinfo").respond_with_json({"status": "ok"})
    with pytest.raises(ProviderError, match="not as Prometheus does"):
        a_provider(server.url).check()


def test_the_check_names_the_metric_with_a_mistake(server):
    server.answers = {"disk": recorded("snapshot_disk"), "bad": Response(recorded("parse_error_400"), status=400)}
    with pytest.raises(ProviderError, match=r"^Metric bad: Prometheus says: .* unclosed left parenthesis\.$"):
        a_provider(server.url, a_row("disk"), a_row("bad")).check()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (a_row("Disk"), "Metric Disk: the system name"),
        (a_row(""), "Metric row 2: the system name"),
        (a_row(type="rate"), "the type or the unit"),
        (a_row(unit="furlong"), "the type or the unit"),
        (a_row(expression=" "), "the expression is empty"),
        (a_row(label="a b"), "the label"),
        (a_row(scale="0"), "the scale is 0"),
        (a_row(scale="-1"), "negative"),
        (a_row(scale="1e3"), "not a plain decimal"),
        (a_row("good"), "that of another row"),
        ("disk", "it is not a row"),
        (None, "it is not a row"),
    ],
)
def test_a_row_that_cannot_be_used_is_no_metric_and_the_check_says_why(server, row, reason):
    rows = [a_row("good"), row]
    assert [metric.system_name for metric in Prometheus.metrics({"metrics": rows})] == ["good"]
    with pytest.raises(ProviderError) as refused:
        a_provider(server.url, *rows).check()
    assert reason in str(refused.value)


def test_a_row_that_cannot_be_used_fails_for_every_tenant(server):
    server.answers = {"disk": a_vector(of("alice", "1"))}
    found = usage(server, a_row("disk"), a_row("sent", scale="x"))["alice"]
    assert found.values == {"disk": Usage(Decimal(1))}
    assert "not a plain decimal" in found.failures["sent"]


@pytest.mark.parametrize("settings", [None, {}, {"metrics": None}, {"metrics": "x"}, {"metrics": {"a": 1}}])
def test_without_rows_there_are_no_metrics(settings):
    assert list(Prometheus.metrics(settings)) == []


def test_a_server_without_metrics_is_an_error():
    with pytest.raises(ProviderError, match="No metric is configured"):
        list(a_provider("http://127.0.0.1:9", metrics=[]).usage())


def test_metrics_are_what_the_rows_say():
    (metric,) = Prometheus.metrics({"metrics": [a_row("traffic", type="month", unit="GB")]})
    assert (metric.system_name, metric.display_name, metric.type) == ("traffic", "Traffic", MetricType.MONTH)
    assert metric.unit == BUILT_IN["GB"]


def a_preset(name: str, kind: str, unit: str = "GB", **columns: str) -> dict[str, str]:
    return {"system_name": "sent", "type": kind, "unit": unit, "preset": name, **columns}


@pytest.mark.parametrize(
    ("row", "query"),
    [
        (
            a_preset("kubernetes_sent", "month"),
            "sum by (namespace) (increase(container_network_transmit_bytes_total[43200s]))",
        ),
        (
            a_preset("kubernetes_cpu", "day", "decimal", label="team"),
            'sum by (team) (increase(container_cpu_usage_seconds_total{container!=""}[43200s])) / 3600',
        ),
        (a_preset("minio_storage", "snapshot"), "sum by (bucket) (minio_bucket_usage_total_bytes)"),
        (a_preset("minio_sent", "counter"), "last_over_time(minio_bucket_traffic_sent_bytes[3600s])"),
    ],
)
def test_a_preset_is_asked_as_its_type_needs_it(server, row, query):
    label = row.get("label") or ("bucket" if "minio" in row["preset"] else "namespace")
    server.answers = {query.split()[0]: a_vector(({label: "alice"}, "5"))}
    found = usage(server, row, as_of=datetime(2026, 11, 1, 11, tzinfo=UTC))
    assert server.forms[0]["query"] == query
    assert found["alice"].values["sent"].value == 5


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (a_preset("kubernetes_sent", "snapshot"), "has the type month, day or counter"),
        (a_preset("minio_storage", "month"), "has the type snapshot"),
        (a_preset("minio_storage", "snapshot", "decimal"), "is bytes: choose a unit of bytes"),
        (a_preset("kubernetes_cpu", "month", "GB"), "is a plain number: choose decimal"),
        (a_preset("nothing", "month"), "the preset is unknown"),
        (a_preset("minio_storage", "snapshot", expression="up"), "there is PromQL beside it"),
        (a_preset("minio_storage", "snapshot", label="a b"), "the label is not the name of one"),
    ],
)
def test_a_preset_that_does_not_fit_is_no_metric_and_the_check_says_why(server, row, reason):
    assert list(Prometheus.metrics({"metrics": [row]})) == []
    with pytest.raises(ProviderError, match=reason):
        a_provider(server.url, row).check()


def test_a_counter_of_several_series_is_refused_since_their_sum_would_fall(server):
    twice = a_vector(({"tenant": "alice", "node": "a"}, "1"), ({"tenant": "alice", "node": "b"}, "1"))
    server.answers = {"sent": twice}
    assert "a counter must be one" in usage(server, a_row("sent", type="counter"))["alice"].failures["sent"]


def test_what_people_may_leave_out_has_a_default():
    rows = [{"system_name": "disk", "type": "day", "unit": "GB", "expression": "disk"}]
    (metric,) = Prometheus.metrics({"metrics": rows})
    assert metric.display_name == "disk"
