"""What counts once: ids, lines that set and lines that add, retries, and two requests at the same time."""

import threading
from contextlib import suppress
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import connection

from metering import push_batch
from metering.models import Pushed, Reading, Usage
from metering.push_ids import KEPT
from metering.pushing import forget
from tests.builders import at
from tests.metering.pushed import NOW, a_key, a_push_server, errors, ndjson, post, pushed, usage

pytestmark = pytest.mark.django_db

SET = {"tenant": "alice", "metric": "bandwidth", "value": "7", "unit": "GB"}
ADD = {**SET, "mode": "add", "id": "web1:10"}
GB = Decimal(10**9)


@pytest.fixture
def server():
    return a_push_server()


def test_to_set_twice_is_to_set_once(server):
    for _ in range(2):
        pushed(server, SET)
    assert usage(server, "bandwidth") == {"2026-11-01": 7 * GB}
    assert Reading.objects.count() == 1


def test_lines_that_add_are_added_to_what_counts_in_their_order(server):
    pushed(server, SET, ADD, {**ADD, "id": "web1:11", "value": "0.5"})
    assert usage(server, "bandwidth") == {"2026-11-01": Decimal("14.5") * GB}
    pushed(server, {**ADD, "id": "web1:12", "value": "1"})
    assert usage(server, "bandwidth") == {"2026-11-01": Decimal("15.5") * GB}
    pushed(server, {**ADD, "id": "web1:13"}, {**SET, "value": "2"})
    assert usage(server, "bandwidth") == {"2026-11-01": 2 * GB}


def test_an_added_line_that_is_sent_again_counts_once_and_says_so(server):
    pushed(server, ADD)
    outcome = pushed(server, ADD, {**ADD, "id": "web1:11"})
    assert (outcome.stored, outcome.duplicates, outcome.refused) == (1, 1, 0)
    assert [result.is_duplicate for result in outcome.results] == [True, False]
    assert usage(server, "bandwidth") == {"2026-11-01": 14 * GB}


def test_the_same_line_written_otherwise_is_the_same(server):
    pushed(server, {**ADD, "time": "2026-11-20T10:00:00Z"})
    again = pushed(server, {**ADD, "value": 7000, "unit": "MB", "time": "2026-11-20T11:00:00+01:00"})
    assert again.duplicates == 1


def test_the_same_id_twice_in_one_request_counts_once(server):
    assert pushed(server, ADD, ADD, ADD).duplicates == 2
    assert usage(server, "bandwidth") == {"2026-11-01": 7 * GB}


@pytest.mark.parametrize(
    "other",
    [{"value": "8"}, {"tenant": "bob"}, {"metric": "emails", "unit": None}, {"mode": "set"}, {"period": "2026-11"}],
)
def test_another_line_with_the_same_id_is_refused(server, other):
    pushed(server, ADD)
    outcome = pushed(server, {**ADD, **other})
    assert [result.status for result in outcome.results] == [409]
    assert "another line was sent with this id" in errors(outcome)[0]
    assert usage(server, "bandwidth") == {"2026-11-01": 7 * GB}


def test_over_http_that_is_409_alone_and_207_among_others(server, time_machine):
    time_machine.move_to(at(NOW))
    key = a_key(server)
    assert post(key, ADD).status_code == 200
    assert post(key, ADD).json()["results"] == [{"line": 1, "status": 200, "duplicate": True}]
    assert post(key, {**ADD, "value": "8"}).status_code == 409
    both = post(key, ndjson({**ADD, "value": "8"}, SET), "application/x-ndjson")
    assert both.status_code == 207
    assert [result["status"] for result in both.json()["results"]] == [409, 200]


def test_an_old_line_that_sets_is_not_set_again_by_a_retry(server):
    pushed(server, {**SET, "id": "1"})
    pushed(server, {**SET, "id": "2", "value": "9"})
    pushed(server, {**SET, "id": "1"})
    assert usage(server, "bandwidth") == {"2026-11-01": 9 * GB}


def test_to_add_needs_an_id_and_a_metric_that_can_be_added_to(server):
    outcome = pushed(
        server,
        {**SET, "mode": "add"},
        {**ADD, "metric": "disk"},
        {**ADD, "metric": "calls", "unit": None},
    )
    words = ["needs an id", "a snapshot", "a counter"]
    assert all(word in said for word, said in zip(words, errors(outcome), strict=True))
    assert outcome.refused == 3


def test_a_refused_line_may_come_again_under_its_id(server):
    most = {**ADD, "value": "999999999", "unit": "GB"}
    outcome = pushed(server, {**most, "id": "1"}, {**most, "id": "2"}, {**most, "id": "2"})
    assert [result.status for result in outcome.results] == [200, 422, 422]
    assert list(Pushed.objects.values_list("key", flat=True)) == ["1"]
    assert pushed(server, {**most, "id": "2", "tenant": "bob"}).stored == 1


def test_the_same_id_on_another_server_is_another(server):
    pushed(server, ADD)
    assert pushed(a_push_server("other"), ADD).stored == 1


def test_an_event_adds_to_a_total_and_sets_a_level(server):
    event = {"specversion": "1.0", "id": "1", "source": "/web1", "subject": "alice", "data": {"value": 2, "unit": "GB"}}
    for id in "123":
        pushed(server, {**event, "id": id, "type": "bandwidth"}, {**event, "id": id, "type": "disk", "source": "/df"})
    assert usage(server, "bandwidth") == {"2026-11-01": 6 * GB}
    assert usage(server, "disk") == {"2026-11-20": 2 * GB}


def test_ids_are_forgotten_when_no_line_that_adds_can_come_again(server):
    pushed(server, ADD)
    forget(at=at(NOW) + KEPT)
    assert Pushed.objects.count() == 1
    late = pushed(server, {**ADD, "period": "2026-11"}, when=at(NOW) + KEPT)
    assert "set its total instead" in errors(late)[0]
    forget(at=at(NOW) + KEPT * 2)
    assert Pushed.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_time_lose_nothing_and_count_nothing_twice():
    server = a_push_server()
    pushed(server, {**ADD, "id": "first"})
    everybody = [{**ADD, "id": f"{number}"} for number in range(40)]
    together, read = threading.Barrier(4), push_batch.Batch._read_usage

    def read_and_wait(batch, keys):
        # All of them would read the same total here, if they were let.
        read(batch, keys)
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.5)

    def send(number):
        try:
            # Each line but the outermost is sent by two of them.
            pushed(server, *everybody[number * 10 : number * 10 + 20])
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[number]) for number in range(4)]
    with patch.object(push_batch.Batch, "_read_usage", read_and_wait):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert usage(server, "bandwidth") == {"2026-11-01": 7 * 41 * GB}
    assert Pushed.objects.count() == 41
    assert Usage.objects.count() == 1
