"""Limits of `POST /api/v1/usage`: each is a clear answer, and nothing of what is over it is stored."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.test import Client

from metering import push_keys, pushing, server_lock
from metering.models import Collection, PushKey, Server, Tenant
from metering.pushing import MAX_BYTES, MAX_LINES
from tests.builders import at
from tests.metering.pushed import NOW, a_key, a_push_server, ndjson, post

pytestmark = pytest.mark.django_db

LINE = {"tenant": "alice", "metric": "disk", "value": "1"}
NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
def _now(time_machine):
    return time_machine.move_to(at(NOW), tick=False)


@pytest.fixture
def key():
    return a_key(a_push_server())


def refused(response, status, word):
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert word in response.json()["error"]
    assert not Tenant.objects.exists()
    assert not Collection.objects.exists()


def test_a_body_that_is_too_long_is_not_read(key):
    refused(post(key, b" " * (MAX_BYTES + 1), NDJSON), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "5,242,880 bytes")


def test_a_body_of_the_full_length_is_taken(key):
    line = json.dumps(LINE).encode()
    assert post(key, line + b" " * (MAX_BYTES - len(line)), NDJSON).status_code == HTTPStatus.OK


@pytest.mark.parametrize("content_type", ["application/json", NDJSON, "text/csv"])
def test_too_many_lines_are_refused_as_a_whole(key, content_type):
    bodies = {
        "application/json": json.dumps([LINE] * (MAX_LINES + 1)).encode(),
        NDJSON: ndjson(LINE) * (MAX_LINES + 1),
        "text/csv": b"tenant,metric,value\n" + b"alice,disk,1\n" * (MAX_LINES + 1),
    }
    refused(post(key, bodies[content_type], content_type), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "10,000 lines")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/xml", "x"])
def test_another_content_type_is_refused_and_the_known_ones_named(key, content_type):
    refused(post(key, b"{}", content_type), HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "text/csv")


def test_a_compressed_body_is_refused(key):
    response = post(key, b"\x1f\x8b", NDJSON, **{"Content-Encoding": "gzip"})
    refused(response, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed")


def test_a_body_without_a_length_is_refused(key):
    headers = {"Authorization": f"Bearer {key}"}
    response = Client().generic("POST", "/api/v1/usage", b"{}", content_type=NDJSON, headers=headers, CONTENT_LENGTH="")
    refused(response, HTTPStatus.LENGTH_REQUIRED, "Content-Length")


@pytest.mark.parametrize("body", [b" ", b"[]", b"[", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_is_refused(key, body):
    assert post(key, body).status_code == HTTPStatus.UNPROCESSABLE_ENTITY


def test_each_key_may_make_so_many_requests_in_a_minute(key, settings, time_machine):
    settings.PUSHES_PER_MINUTE = 3
    other = a_key(Server.objects.get(), "shop-02")
    assert [post(key, LINE).status_code for _ in range(3)] == [200, 200, 200]
    time_machine.move_to(at("2026-11-20 12:00:41"), tick=False)
    response = post(key, LINE)
    assert (response.status_code, response.headers["Retry-After"]) == (HTTPStatus.TOO_MANY_REQUESTS, "19")
    assert "More than 3 requests in a minute" in response.json()["error"]
    assert post(other, LINE).status_code == HTTPStatus.OK
    time_machine.move_to(at("2026-11-20 12:01"), tick=False)
    assert post(key, LINE).status_code == HTTPStatus.OK


def test_refused_requests_count_for_the_limit_too(key, settings):
    settings.PUSHES_PER_MINUTE = 2
    assert [post(key, b"[").status_code for _ in range(3)] == [422, 422, 429]


def test_a_clock_that_was_set_back_locks_nobody_out(key, settings):
    settings.PUSHES_PER_MINUTE = 1
    PushKey.objects.update(window_started_at=at("2026-12-20 12:00"), window_requests=99)
    assert post(key, LINE).status_code == HTTPStatus.OK


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_once_as_many_are_let_in_as_the_limit_says(key, settings):
    """Each is another one of the minute: the second of two is refused, and the first is not."""
    settings.PUSHES_PER_MINUTE = 1
    for _ in range(10):
        PushKey.objects.update(window_started_at=None)
        start = threading.Barrier(2)

        def push(start=start):
            start.wait(10)
            try:
                return post(key, LINE).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            answers = [each.result() for each in [pool.submit(push), pool.submit(push)]]
        assert sorted(answers) == [200, 429]


def test_a_request_is_counted_and_its_key_read_by_one_statement(key, django_assert_num_queries):
    """And the server, without its credentials, by another."""
    with django_assert_num_queries(2) as captured:
        use = push_keys.use(key, at=at(NOW))
        assert (use.key.server.name, use.requests, use.seconds_left) == ("shop", 1, 60)
    assert "credentials" not in captured[1]["sql"]


def test_a_batch_of_any_size_takes_the_same_number_of_statements(key, django_assert_max_num_queries):
    def queries(number):
        add = {**LINE, "metric": "emails", "mode": "add"}
        lines = [{**add, "tenant": f"t{n}", "id": f"{number}:{n}"} for n in range(number)]
        with django_assert_max_num_queries(60) as captured:
            assert post(key, ndjson(*lines), NDJSON).json()["stored"] == number
        return len(captured)

    queries(2)
    assert queries(1000) == queries(10)


@pytest.mark.django_db(transaction=True)
def test_who_waits_too_long_for_others_is_told_when_to_try_again(key):
    held, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            server_lock.take(Server.objects.get())
            held.set()
            done.wait(20)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        with patch.object(pushing, "WAIT", "50ms"):
            response = post(key, LINE)
    finally:
        done.set()
        thread.join()
    assert (response.status_code, response.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")
    refused(response, 503, "send it again")
