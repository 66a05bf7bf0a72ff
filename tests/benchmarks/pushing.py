"""Pushed usage over real HTTP: one gunicorn worker, one sender, NDJSON batches, beside a raw floor in the same run.

Prints lines a second; nothing here is asserted. The floor writes as many lines from values at hand: COPY to a staging
table, one insert of the ids and one upsert of the usage, without HTTP, parsing, readings and latest values.
Sizes come from the environment: LINES (10000) in a batch, BATCHES (10).
"""

import http.client
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench-push"))
os.environ.setdefault("DEBUG", "0")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"
os.environ["SECURE_SSL_REDIRECT"] = "0"
os.environ["PUSHES_PER_MINUTE"] = "1000000"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from metering import push_keys  # noqa: E402
from metering.models import Collection, PushKey, Server, Tenant  # noqa: E402

LINES = int(os.environ.get("LINES", "10000"))
BATCHES = int(os.environ.get("BATCHES", "10"))
PORT = int(os.environ.get("BENCH_PORT", "8765"))
METRICS = [
    {"system_name": f"metric_{number}", "display_name": f"Metric {number}", "type": kind, "unit": "MB"}
    for number, kind in enumerate(["snapshot"] * 6 + ["day"] * 2 + ["month", "counter"])
]


def build() -> str:
    """Leave a server without anything on it. Returns a key of it."""
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_reading, metering_usage, metering_latest, metering_pushed, metering_restated")
    for model in (Tenant, PushKey, Collection, Server):
        model._default_manager.all().delete()
    server = Server.objects.create(name="bench", provider="push", settings={"metrics": METRICS})
    return push_keys.make(server=server, name="bench", by=None, at=datetime.now(UTC))[1]


def batch(number: int, kind: str) -> bytes:
    """Lines of LINES / 10 tenants with ten metrics each."""
    lines = []
    for index in range(LINES):
        metric, tenant = METRICS[index % 10], f"tenant-{index // 10:06}"
        line: dict[str, Any] = {"tenant": tenant, "metric": metric["system_name"], "value": str(1000 * number + index)}
        if kind != "set":
            line |= {"id": f"{kind}:{number}:{index}", "unit": "B"}
        if kind == "add" and metric["type"] in ("day", "month"):
            line["mode"] = "add"
        lines.append(json.dumps(line))
    return "\n".join(lines).encode()


class Sender:
    """One connection that is kept open."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.http = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)

    def send(self, body: bytes) -> float:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/x-ndjson"}
        begin = time.perf_counter()
        self.http.request("POST", "/api/v1/usage", body, headers)
        response = self.http.getresponse()
        answer = response.read()
        took = time.perf_counter() - begin
        assert response.status == 200, answer[:500]
        return took


def rate(times: list[float], lines: int = LINES) -> str:
    return f"{lines * len(times) / sum(times):>9,.0f} lines/s (best {lines / min(times):,.0f})"


def floor() -> list[float]:
    """Write as many usage rows and ids from values at hand: COPY, an insert and an upsert."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS floor_usage, floor_id")
        cursor.execute("CREATE TABLE floor_usage (LIKE metering_usage INCLUDING ALL) WITH (fillfactor = 50)")
        cursor.execute("CREATE TABLE floor_id (LIKE metering_pushed INCLUDING ALL)")
    times = []
    for number in range(BATCHES):
        begin = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE raw (key text, tenant int, metric int, value numeric(24, 6)) ON COMMIT DROP"
            )
            with cursor.copy("COPY raw FROM STDIN") as copy:
                copy.write("".join(f"{number}:{n}\t{n // 10}\t{n % 10}\t{n + number}\n" for n in range(LINES)))
            cursor.execute(
                "INSERT INTO floor_id (server_id, key, digest, pushed_at) SELECT 1, key, '\\x00', now() FROM raw"
            )
            cursor.execute(
                'INSERT INTO floor_usage (tenant_id, metric_id, start, "end", value, collection_id)'
                " SELECT tenant, metric, current_date, current_date + 1, value, 1 FROM raw"
                " ON CONFLICT (tenant_id, metric_id, start) DO UPDATE SET value = excluded.value"
            )
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    key = build()
    print(f"Pushing {BATCHES} batches of {LINES:,} lines, one worker, one sender")
    print(f"  floor: COPY, ids and upsert only      {rate(floor())}")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "gunicorn", "billing_site.wsgi", "--workers", "1", "--bind", f"127.0.0.1:{PORT}",
            "--timeout", "120", "--log-level", "warning", "--keep-alive", "60", "--threads", "2",
        ],
        cwd=ROOT,
    )  # fmt: skip
    try:
        sender = _ready(key)
        for title, kind in [
            ("values that are set, without ids", "set"),
            ("values with ids", "ids"),
            ("values with ids, totals added to", "add"),
        ]:
            bodies = [batch(number, kind) for number in range(BATCHES)]
            sender.send(bodies[0])
            print(f"  {title:<36}  {rate([sender.send(body) for body in bodies[1:]])}")
        print(f"  the same again: all known by their ids {rate([sender.send(body) for body in bodies[1:]])}")
        small = [batch(1000 + number, "add").split(b"\n")[8] for number in range(100)]
        print(f"  one line a request                   {rate([sender.send(body) for body in small], 1)}")
    finally:
        server.terminate()
        server.wait()


def _ready(key: str) -> Sender:
    for _ in range(100):
        try:
            sender = Sender(key)
            sender.http.connect()
            return sender
        except OSError:
            time.sleep(0.1)
    raise SystemExit("gunicorn does not listen")


if __name__ == "__main__":
    main()
