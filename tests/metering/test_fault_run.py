"""Hundreds of polls of servers that fail in every way: bounded, nothing counts that no record accounts for, no secret.

FAULT_ROUNDS says how often each of the twenty servers is asked (25, which makes 500 polls).
"""

import json
import os
import random
import resource
import socketserver
import threading
import time
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import pytest
from django.db import connection

from metering import collectors
from metering.models import Collection, Latest, Reading, Server, Usage
from metering.providers.http import Limits
from metering.providers.prometheus import Prometheus
from metering.vault import Credentials
from tests.builders import at

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "25"))
SERVERS = 20
CANARY = "cAnArY-0f-the-fault-run"
TENANTS = [f"tenant-{number}" for number in range(30)]
METRICS = ("disk_used", "files")
QUICK = (
    *("500", "429", "401", "redirect", "html", "truncated", "closed", "not_json", "empty", "error", "warnings"),
    *("matrix", "nan", "negative", "huge", "twice", "no_label", "wrong_types", "most_missing"),
)
FAULTS = (*["none"] * 16, *QUICK * 2, "silent", "drip")


def vector(number: int, fault: str) -> list:
    rows = [{"metric": {"tenant": tenant}, "value": [0, str(1000 + number)]} for tenant in TENANTS]
    first = rows[0]
    match fault:
        case "nan":
            first["value"][1] = "NaN"
        case "negative":
            first["value"][1] = "-5"
        case "huge":
            first["value"][1] = "1e400"
        case "twice":
            rows.append(dict(first))
        case "no_label":
            first["metric"] = {}
        case "wrong_types":
            first["value"] = {"is": ["not", None]}
        case "most_missing":
            rows = rows[:2]
    return rows


class Handler(BaseHTTPRequestHandler):
    """Answers each query of a poll as its server was told to fail."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        number = int(self.path.split("/")[1])
        metric = METRICS.index(form["query"][0])
        fault, value = self.server.told[number]
        if metric != value % 2 and fault in ("500", "error", "html", "truncated", "closed"):
            fault = "none"  # only one of the two metrics fails
        self.answer(fault, {"resultType": "vector", "result": vector(value * 10 + metric, fault)})

    def answer(self, fault, data):
        body = json.dumps({"status": "success", "data": data, **({"warnings": ["cut"]} if fault == "warnings" else {})})
        status, headers, text = 200, {}, body
        match fault:
            case "500" | "401":
                status, text = int(fault), f"Authorization was {self.headers['Authorization']}"
            case "429":
                status, headers, text = 429, {"Retry-After": "1"}, "slower"
            case "redirect":
                status, headers, text = 302, {"Location": "http://169.254.169.254/"}, ""
            case "html":
                text = f"<!DOCTYPE html><title>Log in</title><p>{CANARY}"
            case "truncated":
                headers, text = {"Content-Length": str(len(body))}, body[: len(body) // 2]
            case "closed":
                self.close_connection = True
                return
            case "silent":
                time.sleep(3.5)
            case "drip":
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for letter in body.encode()[:25]:
                    self.wfile.write(bytes([letter]))
                    self.wfile.flush()
                    time.sleep(0.2)
                self.close_connection = True
                return
            case "not_json":
                text = "{'status': success}"
            case "empty":
                text = ""
            case "error":
                status, text = 422, json.dumps({"status": "error", "error": f"many-to-many {CANARY}"})
            case "matrix":
                text = body.replace("vector", "matrix")
        self.send_response(status)
        for name, content in ({"Content-Length": str(len(text.encode()))} | headers).items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(text.encode())
        if fault == "truncated":
            self.close_connection = True


class Standin(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass  # whoever asked has had enough


@pytest.fixture
def standin():
    with Standin(("127.0.0.1", 0), Handler) as server:
        server.told = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def row(name):
    return {"system_name": name, "display_name": name, "type": "snapshot", "unit": "whole", "expression": name}


def values() -> dict:
    """What counts, by server: the newest values and the usage of all days."""
    found = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.server_id, t.key, l.metric_id, l.value FROM metering_latest l"
            " JOIN metering_tenant t ON t.id = l.tenant_id"
        )
        for server, *key, value in cursor.fetchall():
            found[server][tuple(key)] = value
    return found


def test_whatever_servers_do_nothing_counts_that_is_not_accounted_for(standin, monkeypatch, caplog):
    monkeypatch.setattr(Prometheus, "limits", Limits(connect=5, read=3, total=4, retries=1, pause=0.05))
    port, chances = standin.server_address[1], random.Random(20261121)
    servers = [
        Server.objects.create(
            name=f"server-{number:02}",
            provider="prometheus",
            settings={
                "url": f"http://127.0.0.1:{port}/{number}",
                "auth": "bearer",
                "metrics": [row(name) for name in METRICS],
            },
            credentials=Credentials({"password": CANARY}),
        )
        for number in range(SERVERS)
    ]
    begin, memory, statuses = time.monotonic(), 0, defaultdict(int)
    when = at("2026-11-01 06:00")
    for round_ in range(ROUNDS):
        before = values()
        standin.told = {number: (chances.choice(FAULTS), round_) for number in range(SERVERS)}
        records = {record.server_id: record for record in collectors.collect_all(as_of=when)}
        after = values()
        assert len(records) == SERVERS
        for number, server in enumerate(servers):
            record, (fault, _) = records[server.pk], standin.told[number]
            statuses[record.status] += 1
            changed = {key for key, value in after[server.pk].items() if before[server.pk].get(key) != value}
            said = f"{fault} in round {round_}: {record.status}, {record.error}"
            if record.status in ("failed", "held"):
                assert not changed, said
            assert len(changed) <= record.readings_stored, said
            # What was stored is what was served, and nothing else.
            expected = {Decimal(1000 + round_ * 10 + metric) for metric in range(2)}
            assert {after[server.pk][key] for key in changed} <= expected, said
            if record.status == "complete":
                assert fault in ("none", "most_missing"), said
            if fault == "none":
                assert record.status == "complete", said
            if fault == "most_missing" and len(before[server.pk]) == len(TENANTS) * len(METRICS):
                assert record.status == "held", said
        when += timedelta(hours=12)
        if round_ == 4:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.monotonic() - begin
    assert set(statuses) == {"complete", "partial", "failed", "held"}
    assert sum(statuses.values()) == ROUNDS * SERVERS
    # Eight at once, each bounded by two requests of four seconds.
    assert seconds < ROUNDS * (SERVERS / 8 + 1) * 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50 * 1024
    assert not Collection.objects.filter(status="running").exists()
    stored = Collection.objects.stored().values("pk")
    assert not Reading.objects.exclude(collection_id__in=stored).exists()
    assert not Usage.objects.exclude(collection_id__in=stored).exists()
    assert Latest.objects.count() <= SERVERS * len(TENANTS) * len(METRICS)
    texts = [caplog.text, *map(str, Collection.objects.values_list("error", "problems"))]
    assert not any(CANARY in text for text in texts)
