"""A collection over HTTP, from a stand-in in a process of its own into PostgreSQL: end to end and by stage.

Prints the time to fetch alone, to fetch and parse, and of whole collections: the first, one in which every value
changed, one in which none did; beside the raw floor of benchmarks/run.py. Sizes come from the environment: TENANTS
(100000), METRICS (10), HISTORY (0), the months of usage rows that lie behind it. Peak memory is that of the process
that collects; whether it is flat is seen by two sizes: TENANTS=1000 and TENANTS=100000.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import Process, Value
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench"))

TENANTS = int(os.environ.setdefault("TENANTS", "100000"))
METRICS = int(os.environ.setdefault("METRICS", "10"))
HISTORY = int(os.environ.get("HISTORY", "0"))
#: What all values are raised by, shared with the stand-in.
STEP = Value("i", 0)


class Standin(BaseHTTPRequestHandler):
    """A line for each tenant: its name and a value for each metric."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for first in range(0, TENANTS, 1000):
            lines = (
                f"tenant-{tenant:06}\t" + "\t".join([str(tenant * 1000 + STEP.value)] * METRICS)
                for tenant in range(first, min(first + 1000, TENANTS))
            )
            self.wfile.write("".join(f"{line}\n" for line in lines).encode())

    def log_message(self, *_: Any) -> None:
        pass


def serve(server: HTTPServer) -> None:
    server.serve_forever()


if __name__ == "__main__":
    httpd = HTTPServer(("127.0.0.1", 0), Standin)
    standin = Process(target=serve, args=(httpd,), daemon=True)
    standin.start()  # before the database, whose connections are not its business

import run as floors  # noqa: E402  # sets Django up
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from metering import partitions  # noqa: E402
from metering.models import Server  # noqa: E402
from metering.periods import month  # noqa: E402
from metering.providers import base  # noqa: E402
from metering.providers.base import Connection, TenantUsage, Usage  # noqa: E402
from metering.providers.http import Client, Limits  # noqa: E402


class Lines:
    """Asks the stand-in by one call, streaming."""

    title: ClassVar[str] = "Lines"
    tenant_is: ClassVar[str] = "a number"
    fields: ClassVar[tuple[base.Field, ...]] = ()
    can_look_back: ClassVar[bool] = False
    asks: ClassVar[bool] = True
    resets: ClassVar[str] = ""

    def __init__(self, asked: Connection) -> None:
        self.asked, self.names = asked, [metric.system_name for metric in self.metrics()]

    @classmethod
    def metrics(cls, settings: Any = None) -> list[base.Metric]:
        return floors.Bench.metrics()

    def lines(self) -> Iterator[str]:
        with Client.to(self.asked, limits=Limits(total=600)) as http:
            yield from http.lines("/")

    def usage(self, period: Any = None) -> Iterator[TenantUsage]:
        for line in self.lines():
            tenant, *values = line.split("\t")
            yield TenantUsage(
                tenant, {name: Usage(Decimal(value)) for name, value in zip(self.names, values, strict=True)}
            )


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def history(months: int, until: date) -> None:
    """Usage rows of months that are over, of as many tenants and metrics as will be collected."""
    first = until.replace(day=1)
    for _ in range(months):
        first = month(first - timedelta(days=1)).start
        partitions.ensure([first])
        with connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value, collection_id)'
                " SELECT t.id, m.id, %s, %s, t.id, 1 FROM metering_tenant t, metering_metric m"
                " WHERE m.provider = 'lines'",
                [first, month(first).end],
            )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def panel() -> None:
    """What a service's panel asks: one tenant's metrics, over all months that there are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_usage")
        (rows,) = cursor.fetchone()
        cursor.execute("SELECT min(id) FROM metering_tenant")
        (tenant,) = cursor.fetchone()
        times = []
        for number in range(200):
            begin = time.perf_counter()
            cursor.execute(
                "SELECT metric_id, start, value FROM metering_usage WHERE tenant_id = %s AND metric_id ="
                " (SELECT min(id) FROM metering_metric WHERE provider = 'lines') ORDER BY start",
                [tenant + number % TENANTS],
            )
            cursor.fetchall()
            times.append(time.perf_counter() - begin)
    print(f"  one tenant's metric over all months: {sorted(times)[100] * 1000:.2f} ms among {rows:,} usage rows")


def main() -> None:
    original = base.installed()
    base.installed = lambda: {**original, "lines": Lines}  # type: ignore[assignment]
    floors.empty()
    url = f"http://127.0.0.1:{httpd.server_address[1]}"
    server = Server.objects.create(name="lines", provider="lines", settings={"url": url})
    values, before = TENANTS * METRICS, memory()
    as_of = datetime(2026, 11, 10, 6, tzinfo=UTC)
    print(f"Collecting {TENANTS:,} tenants × {METRICS} metrics over HTTP, {HISTORY} months behind it")
    provider = Lines(server.connection(as_of))
    fetched = floors.timed(lambda: sum(1 for _ in provider.lines()))
    parsed = floors.timed(lambda: sum(1 for _ in provider.usage()))
    print(f"  fetch                {fetched:6.2f} s  {values / fetched:10,.0f} values/s")
    print(f"  fetch and parse      {parsed:6.2f} s  {values / parsed:10,.0f} values/s")
    ours = {}
    for label, step, hours in (("first", 0, 0), ("all changed", 1, 6), ("nothing changed", 1, 12)):
        STEP.value = step
        server.refresh_from_db()
        ours[label] = floors.timed(lambda: floors._collect(server, as_of + timedelta(hours=hours)))  # noqa: B023
        if label == "first" and HISTORY:
            history(HISTORY, as_of.date())
    plain = {}
    with floors.psycopg.connect(**floor_params()) as raw:
        floors.floor_tables(raw)
        for label, step, hours in (("first", 0, 0), ("all changed", 1, 6)):
            plain[label] = floors.timed(
                lambda: floors.floor(raw, step, as_of + timedelta(hours=hours), evidence=True)  # noqa: B023
            )
    for label, seconds in ours.items():
        line = f"  {label:20} {seconds:6.2f} s  {values / seconds:10,.0f} values/s"
        if label in plain:
            written = seconds - parsed
            line += f"   written in {written:.2f} s, {written / plain[label]:.2f} × floor ({plain[label]:.2f} s)"
        else:
            line += f"   {seconds / ours['all changed']:.2f} × all changed"
        print(line)
    print(f"  peak memory {memory():,.0f} MB ({before:,.0f} before)")
    panel()


def floor_params() -> dict[str, Any]:
    params = connection.get_connection_params()
    return {"host": params["host"], "user": params["user"], "dbname": params["dbname"], "options": "-c timezone=UTC"}


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    main()
