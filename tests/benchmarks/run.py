"""`make bench`: the project's own paths beside a raw psycopg floor, measured in the same run.

Prints ratios; nothing here is asserted. Sizes come from the environment: TENANTS (100000), METRICS (10).
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench"))
os.environ.setdefault("DEBUG", "1")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

import psycopg  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from catalog import pricing as engine  # noqa: E402
from metering import collection, units  # noqa: E402
from metering.models import Server  # noqa: E402
from metering.periods import Period, day, month  # noqa: E402
from metering.providers import base  # noqa: E402
from metering.providers.base import Connection, Metric, MetricType, TenantUsage, Usage  # noqa: E402

TENANTS = int(os.environ.get("TENANTS", "100000"))
METRICS = int(os.environ.get("METRICS", "10"))
KINDS = [MetricType.SNAPSHOT] * 6 + [MetricType.DAY] * 2 + [MetricType.MONTH, MetricType.COUNTER]
ROUNDS = 3


class Bench:
    """Yields TENANTS × METRICS values, all of them changed by `step`."""

    title: ClassVar[str] = "Bench"
    tenant_is: ClassVar[str] = "a number"
    fields: ClassVar[tuple[base.Field, ...]] = ()
    can_look_back: ClassVar[bool] = False
    step: ClassVar[int] = 0

    def __init__(self, connection: Connection) -> None:
        self.names = [metric.system_name for metric in self.metrics()]

    @classmethod
    def metrics(cls, settings: Any = None) -> list[Metric]:
        return [
            Metric(f"metric_{number}", f"Metric {number}", KINDS[number % len(KINDS)], units.MB)
            for number in range(METRICS)
        ]

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        for tenant in range(TENANTS):
            values = {name: Usage(Decimal(tenant * 1000 + self.step)) for name in self.names}
            yield TenantUsage(f"tenant-{tenant:06}", values)


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# ---- the floor: the same rows on the project's own schema, with nothing else


def floor_tables(raw: psycopg.Connection[Any]) -> None:
    """Empty twins of the hot tables, partitioned and filled like them."""
    first = date(2026, 11, 1)
    for name, by, fill in (("usage", "start", 50), ("reading", "read_at", 100)):
        raw.execute(f"DROP TABLE IF EXISTS floor_{name}")
        raw.execute(
            f"CREATE TABLE floor_{name} (LIKE metering_{name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            f" PARTITION BY RANGE ({by})"
        )
        key = "tenant_id, metric_id, start" + (", read_at" if name == "reading" else "")
        raw.execute(f"ALTER TABLE floor_{name} ADD PRIMARY KEY ({key})")
        raw.execute(
            f"CREATE TABLE floor_{name}_1 PARTITION OF floor_{name} FOR VALUES FROM ('{first}')"
            f" TO ('{month(first).end}') WITH (fillfactor = {fill})"
        )
    raw.commit()


def floor(raw: psycopg.Connection[Any], step: int, as_of: datetime, evidence: bool) -> None:
    """COPY to a staging table, one upsert of the usage, and if asked one insert of the readings."""
    today, this_month = day(as_of.date()), month(as_of.date())
    periods = [this_month if KINDS[number % len(KINDS)] == MetricType.MONTH else today for number in range(METRICS)]
    with raw.cursor() as cursor:
        cursor.execute(
            'CREATE TEMPORARY TABLE raw (tenant_id bigint, metric_id bigint, start date, "end" date,'
            " value numeric(24, 6)) ON COMMIT DROP"
        )
        with cursor.copy("COPY raw FROM STDIN") as copy:
            for tenant in range(TENANTS):
                value = Decimal(tenant * 1000 + step)
                copy.write(
                    "".join(
                        f"{tenant}\t{number}\t{period.start}\t{period.end}\t{value}\n"
                        for number, period in enumerate(periods)
                    )
                )
        if evidence:
            cursor.execute(
                'INSERT INTO floor_reading (tenant_id, metric_id, read_at, start, "end", value, collection_id)'
                ' SELECT tenant_id, metric_id, %s, start, "end", value, 1 FROM raw',
                [as_of],
            )
        cursor.execute(
            'INSERT INTO floor_usage (tenant_id, metric_id, start, "end", value, collection_id)'
            ' SELECT tenant_id, metric_id, start, "end", value, 1 FROM raw'
            " ON CONFLICT (tenant_id, metric_id, start) DO UPDATE SET value = excluded.value"
        )
    raw.commit()


def collecting() -> None:
    """First collection, second with every value changed, third with none."""
    original = base.installed()
    base.installed = lambda: {**original, "bench": Bench}  # type: ignore[assignment]
    values = TENANTS * METRICS
    print(f"Collecting {TENANTS:,} tenants × {METRICS} metrics ({values:,} values), best of {ROUNDS}")
    params = connection.get_connection_params()
    ours: dict[str, list[float]] = {}
    plain: dict[str, list[float]] = {}
    full: dict[str, list[float]] = {}
    begin = datetime(2026, 11, 10, 6, tzinfo=UTC)
    labels = ["first", "all changed", "nothing changed"]
    for _ in range(ROUNDS):
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE metering_reading, metering_usage, metering_latest, metering_tenant CASCADE")
        Server.objects.all().delete()
        server = Server.objects.create(name="bench", provider="bench")
        for label, step, hours in zip(labels, (0, 1, 1), (0, 6, 12), strict=True):
            Bench.step = step
            server.refresh_from_db()
            as_of = begin + timedelta(hours=hours)
            ours.setdefault(label, []).append(timed(lambda: _collect(server, as_of)))  # noqa: B023
        with psycopg.connect(
            host=params["host"], user=params["user"], dbname=params["dbname"], options="-c timezone=UTC"
        ) as raw:
            for times, evidence in ((plain, False), (full, True)):
                floor_tables(raw)
                for label, step, hours in zip(labels, (0, 1, 1), (0, 6, 12), strict=True):
                    as_of = begin + timedelta(hours=hours)
                    if label == "nothing changed":
                        continue
                    times.setdefault(label, []).append(timed(lambda: floor(raw, step, as_of, evidence)))  # noqa: B023
    for label in labels:
        best = min(ours[label])
        line = f"  {label:16} {best:6.2f} s  {values / best:10,.0f} values/s"
        if label in plain:
            line += f"   {best / min(full[label]):.2f} × floor with readings ({min(full[label]):.2f} s)"
            line += f"   {best / min(plain[label]):.2f} × floor without ({min(plain[label]):.2f} s)"
        else:
            line += f"   {best / min(ours['all changed']):.2f} × all changed"
        print(line)


def _collect(server: Server, as_of: datetime) -> None:
    record = collection.collect(server=server, as_of=as_of, accept_changes=True)
    assert record.status == "complete", (record.status, record.error, record.problems[:3])


def rating() -> None:
    """Graduated pricing with three brackets, on one core."""
    brackets = [("0", "2"), ("10", "1"), ("20", "0.50")]
    one = engine.Pricing(
        engine.Scheme.GRADUATED,
        tuple(engine.Bracket(Decimal(start), Decimal(price)) for start, price in brackets),
        notation=engine.Notation.FIRST_UNIT,
    )
    quantity, count = Decimal(25), 200_000
    print("Rating, graduated with three brackets, one core")

    def repeat(function: Callable[[engine.Pricing, Decimal], Any]) -> None:
        for _ in range(count):
            function(one, quantity)

    for label, function in (("amount only", engine.amount), ("with steps", engine.rate)):
        seconds = min(timed(lambda: repeat(function)) for _ in range(3))  # noqa: B023
        print(f"  {label:16} {count / seconds:10,.0f} ratings/s")


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    collecting()
    rating()
