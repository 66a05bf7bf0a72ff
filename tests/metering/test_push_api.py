"""`POST /api/v1/usage`: what it stores and answers."""

from decimal import Decimal
from http import HTTPStatus
from pathlib import Path

import pytest
from django.test import Client

from metering.models import Collection, Latest, Pushed, PushKey, Tenant
from tests.builders import a_staff_user, at
from tests.metering.pushed import NOW, a_key, a_push_server, ndjson, post, usage

pytestmark = pytest.mark.django_db

FIXTURES = Path(__file__).parent / "fixtures" / "push"
LINE = {"tenant": "alice", "metric": "disk", "value": "5.25"}


@pytest.fixture(autouse=True)
def _now(time_machine):
    time_machine.move_to(at(NOW), tick=False)


@pytest.fixture
def server():
    return a_push_server()


@pytest.fixture
def key(server):
    return a_key(server)


def test_one_line_is_stored_in_the_unit_of_its_metric(server, key):
    response = post(key, LINE)
    assert response.status_code == HTTPStatus.OK
    assert response.json() == {
        "lines": 1,
        "stored": 1,
        "duplicates": 0,
        "refused": 0,
        "dry_run": False,
        "results": [{"line": 1, "status": 200}],
    }
    assert usage(server, "disk") == {"2026-11-20": Decimal("5250000000")}
    assert Latest.objects.get().checked_at == at(NOW)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"tenant":"alice","metric":"disk","value":2}]'),
        ("application/x-ndjson", b'{"tenant":"alice","metric":"disk","value":2}'),
        ("application/x-ndjson; charset=utf-8", b'{"tenant":"alice","metric":"disk","value":"2.0"}\n\n'),
        ("text/csv", b"tenant,metric,value\r\nalice,disk,2\r\n"),
        (
            "application/cloudevents+json",
            b'{"specversion":"1.0","id":"1","source":"s","type":"disk","subject":"alice","data":{"value":2}}',
        ),
        (
            "application/cloudevents-batch+json",
            b'[{"specversion":"1.0","id":"1","source":"s","type":"disk","subject":"alice","data":{"value":2}}]',
        ),
    ],
)
def test_every_format_says_the_same(server, key, content_type, body):
    assert post(key, body, content_type).status_code == HTTPStatus.OK
    assert usage(server, "disk") == {"2026-11-20": Decimal(2 * 10**9)}


@pytest.mark.parametrize("name", ["usage.csv", "usage.ndjson", "cloudevents_single.json"])
def test_what_others_send_is_taken(server, key, name):
    types = {"csv": "text/csv", "ndjson": "application/x-ndjson", "json": "application/cloudevents+json"}
    declared = [{"system_name": "disk_used", "display_name": "Disk", "type": "snapshot", "unit": "B"}]
    declared += [
        {"system_name": metric, "display_name": "Traffic", "type": "month", "unit": "B"}
        for metric in ("bandwidth", "bandwidth.bytes")
    ]
    server.settings = {"metrics": declared}
    server.save()
    response = post(key, (FIXTURES / name).read_bytes(), types[name.rpartition(".")[2]])
    assert (response.status_code, response.json()["refused"]) == (HTTPStatus.OK, 0)


def test_a_bad_line_never_loses_the_good_ones(server, key):
    response = post(key, [LINE, {**LINE, "tenant": "bob", "value": "a lot"}, {**LINE, "tenant": "carol", "value": 0}])
    assert response.status_code == HTTPStatus.MULTI_STATUS
    said = response.json()
    assert (said["lines"], said["stored"], said["refused"]) == (3, 2, 1)
    assert [result["status"] for result in said["results"]] == [200, 422, 200]
    assert "'a lot' is not a plain decimal number" in said["results"][1]["error"]
    assert set(Tenant.objects.values_list("key", flat=True)) == {"alice", "carol"}
    assert usage(server, "disk", "carol") == {"2026-11-20": 0}


def test_a_single_line_that_is_refused_is_answered_with_its_own_status(server, key):
    response = post(key, {**LINE, "metric": "dsik"})
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json() == {
        "error": "There is no metric 'dsik' on shop; known are disk, emails, bandwidth, calls.",
    }
    assert Collection.objects.get().rejected == 1


def test_a_dry_run_says_all_and_leaves_nothing(server, key):
    response = post(key, [{**LINE, "id": "1"}, {**LINE, "value": -1}], query="?dry_run=1")
    assert response.status_code == HTTPStatus.MULTI_STATUS
    assert response.json()["dry_run"] is True
    assert response.json()["stored"] == 1
    assert [model.objects.count() for model in (Tenant, Pushed, Collection, Latest)] == [0, 0, 0, 0]
    assert post(key, [{**LINE, "id": "1"}]).json()["stored"] == 1


def test_a_thousand_small_requests_leave_one_record_an_hour(server, key, time_machine, settings):
    settings.PUSHES_PER_MINUTE = 100
    for number in range(5):
        post(key, ndjson(LINE, {**LINE, "tenant": f"t{number}", "value": "x"}), "application/x-ndjson")
    record = Collection.objects.get()
    assert (record.source, record.status, record.calls) == ("push", "partial", 5)
    assert (record.values_seen, record.rejected, record.readings_stored, record.new_tenants) == (5, 5, 1, 1)
    assert record.problems[0]["tenant"] == "t0"
    assert record.problems[0]["reason"].startswith("line 2: 'x' is not a plain decimal number")
    time_machine.move_to(at("2026-11-20 13:00"))
    post(key, LINE)
    assert Collection.objects.count() == 2


# ---- who may


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer tp_wrong"}, {"Authorization": "Basic dTpw"}])
def test_without_a_usable_key_nothing_is_taken(server, headers):
    response = post("", LINE, **headers)
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in response.json()["error"]
    assert not Tenant.objects.exists()


def test_a_login_opens_nothing_here_so_no_browser_can_be_made_to_push(server):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(a_staff_user())
    response = browser.post("/api/v1/usage", "{}", content_type="application/json")
    assert response.status_code == HTTPStatus.UNAUTHORIZED


def test_a_key_needs_no_token_against_forged_requests(server, key):
    client = Client(enforce_csrf_checks=True)
    headers = {"Authorization": f"Bearer {key}"}
    response = client.post("/api/v1/usage", LINE, content_type="application/json", headers=headers)
    assert response.status_code == HTTPStatus.OK


def test_elsewhere_in_the_api_a_login_still_needs_that_token(db):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(a_staff_user())
    address = "/api/v1/services/00000000-0000-4000-8000-000000000000/terminate"
    assert browser.post(address, "{}", content_type="application/json").status_code == HTTPStatus.FORBIDDEN


def test_a_key_opens_its_own_server_only(server, key):
    other = a_push_server("other")
    post(key, LINE)
    assert usage(other, "disk") == {}
    assert usage(server, "disk") != {}


def test_a_key_for_some_metrics_pushes_no_other(server):
    key = a_key(server, metrics=("bandwidth",))
    response = post(key, [LINE, {**LINE, "metric": "bandwidth"}])
    assert [result["status"] for result in response.json()["results"]] == [403, 200]
    assert post(key, LINE).status_code == HTTPStatus.FORBIDDEN


def test_a_revoked_key_opens_nothing(server, key):
    PushKey.objects.update(revoked_at=at(NOW))
    assert post(key, LINE).status_code == HTTPStatus.UNAUTHORIZED


def test_a_server_that_is_not_active_takes_nothing(server, key):
    server.is_active = False
    server.save()
    response = post(key, LINE)
    assert (response.status_code, response.json()) == (403, {"error": "shop is not active."})


def test_the_key_is_in_no_answer_and_its_digest_is_all_that_is_kept(server, key):
    assert key not in post(key, {**LINE, "metric": "x"}).content.decode()
    stored = PushKey.objects.get()
    assert key not in str(vars(stored))
    assert key.startswith(stored.begins_with)
    assert len(key) > 40
    assert stored.last_used_at == at(NOW)


def test_a_key_opens_nothing_in_an_address_or_a_body_and_is_in_no_log(server, key, caplog):
    caplog.set_level("DEBUG")
    for query in (f"?key={key}", f"?access_token={key}", f"?Authorization=Bearer%20{key}"):
        assert post("", LINE, query=query).status_code == HTTPStatus.UNAUTHORIZED
    post(key, LINE)
    post(key, {**LINE, "metric": "x"})
    post(f"{key}x", LINE)
    assert caplog.records
    assert key not in caplog.text


@pytest.mark.parametrize("field", ["id", "tenant", "metric", "value", "unit", "time", "period", "mode"])
def test_long_and_odd_text_in_any_field_is_refused_at_once(server, key, field):
    for text in ("1" * 100_000, "2026-11-20T10:00:00" + "0" * 100_000, "\n\x1b[31m", "\ud800", "\x00"):
        response = post(key, [{**LINE, field: text}, LINE])
        assert (response.status_code, response.json()["stored"]) == (HTTPStatus.MULTI_STATUS, 1)
        assert len(response.content) < 2000


@pytest.mark.parametrize("field", ["id", "source", "type", "subject"])
def test_odd_text_in_an_event_is_refused_and_the_other_events_are_stored(server, key, field):
    event = {"specversion": "1.0", "id": "1", "source": "/web1", "type": "disk", "subject": "alice"}
    for text in ("a\x00b", "a\ud800b", "a\x85b", "a" * 100_000):
        events = [{**event, field: text, "data": {"value": 7}}, {**event, "data": {"value": 5}}]
        response = post(key, events, "application/cloudevents-batch+json")
        assert (response.status_code, response.json()["refused"]) == (HTTPStatus.MULTI_STATUS, 1)
    assert usage(server, "disk") == {"2026-11-20": 5 * 10**9}
