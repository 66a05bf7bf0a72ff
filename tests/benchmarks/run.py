"""`make bench`: the project's own paths beside a raw psycopg floor, measured in the same run.

Prints ratios; nothing here is asserted. Arguments name the parts to run: collecting, rating, simulation; all of
them, if none is named. Sizes come from the environment: TENANTS (100000), METRICS (10) for collecting, SERVICES
(10000), MONTHS (12) for the simulation.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from catalog.aggregation import Aggregation  # noqa: E402
from catalog.models import BracketPrice, Client, EnabledSpan, MetricSetting, PricingVersion, Product, Service  # noqa: E402
from catalog.terms import Cycle, term  # noqa: E402
from invoicing.simulation.rating import rated  # noqa: E402
from invoicing.simulation.summary import Summary  # noqa: E402
from metering import collection, declaring, partitions, units  # noqa: E402
from metering.models import Server, Tenant  # noqa: E402
from metering.periods import Period, day, month  # noqa: E402
from metering.providers import base  # noqa: E402
from metering.providers.base import Connection, Metric, MetricType, TenantUsage, Usage  # noqa: E402

TENANTS = int(os.environ.get("TENANTS", "100000"))
METRICS = int(os.environ.get("METRICS", "10"))
SERVICES = int(os.environ.get("SERVICES", "10000"))
MONTHS = int(os.environ.get("MONTHS", "12"))
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


def empty() -> None:
    """Leave nothing of a part that ran before."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_reading, metering_usage, metering_latest")
        for model in (BracketPrice, PricingVersion, EnabledSpan, MetricSetting, Service, Client, Product, Tenant):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    Server.objects.all().delete()


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
        empty()
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


# ---- simulation: what services used in the terms of some months, before and after a draft

FIRST = date(2025, 1, 1)


def simulation() -> None:
    """A level of every day, by its last value before and by that or its mean after; and a total of every month."""
    months = Period(FIRST, term(FIRST, Cycle.MONTHLY, MONTHS).start)
    partitions.ensure(term(FIRST, Cycle.MONTHLY, number).start for number in range(MONTHS + 1))
    print(f"Simulating {SERVICES:,} services × {MONTHS} months")
    setting = _metered_services(MetricType.SNAPSHOT, months)
    _simulate("last value", setting, months, Aggregation.LATEST)
    _simulate("mean of days", setting, months, Aggregation.MEAN)
    _simulate("month", _metered_services(MetricType.MONTH, months), months, Aggregation.LATEST)


def _simulate(label: str, setting: MetricSetting, months: Period, aggregation: Aggregation) -> None:
    draft = replace(setting.versions.get().sheet, aggregation=aggregation)
    summary = Summary()
    first, begin = 0.0, time.perf_counter()
    for batch in rated(setting=setting, sheet=draft, months=months, today=date(2030, 1, 1)):
        summary.add(batch.lines)
        first = first or time.perf_counter() - begin
    assert summary.outcomes[0].total.before
    seconds = time.perf_counter() - begin
    rows = 0

    def read() -> None:
        nonlocal rows
        rows = _read_raw(setting.metric_id)

    floor_seconds = timed(read)
    print(
        f"  {label:16} {seconds:6.2f} s  {2 * summary.terms / seconds:10,.0f} ratings/s"
        f"   {seconds / floor_seconds:.2f} × floor that reads all {rows:,} rows ({floor_seconds:.2f} s)"
        f"   first progress after {first:.2f} s"
    )


def _metered_services(kind: MetricType, months: Period) -> MetricSetting:
    """Services with anchors on all days of a month, of two to a client, with a usage row for every period."""
    empty()
    server = Server.objects.create(name="bench", provider="bench")
    metric = declaring.declare("bench", [Metric("simulated", "Simulated", kind, units.GB)])["simulated"]
    product = Product.objects.create(name="Bench", slug="bench", provider="bench")
    setting = MetricSetting.objects.create(product=product, metric=metric)
    setting.enabled_spans.create(start=months.start - timedelta(days=100))
    version = setting.versions.create(
        number=1, effective_from=date(2020, 1, 1), unit_code="GB", scheme="graduated", notation="first_unit"
    )
    for start, price in (("0", "2"), ("10", "1"), ("20", "0.50")):
        version.prices.create(currency="USD", start=Decimal(start), unit_price=Decimal(price))
    clients = Client.objects.bulk_create(
        Client(name=f"Client {number}", currency="USD") for number in range(SERVICES // 2 + 1)
    )
    tenants = Tenant.objects.bulk_create(Tenant(server=server, key=f"tenant-{number}") for number in range(SERVICES))
    Service.objects.bulk_create(
        Service(
            client=clients[number // 2],
            product=product,
            tenant=tenant,
            name=tenant.key,
            cycle=Cycle.MONTHLY,
            anchor=months.start - timedelta(days=number % 31),
            next_due_on=months.end,
            status="active",
        )
        for number, tenant in enumerate(tenants)
    )
    period = "month" if kind == MetricType.MONTH else "day"
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value, collection_id)'
            " SELECT t.id, %s, d::date, (d + %s::interval)::date, (t.id * 7 + extract(doy FROM d) * 31) %% 40 * 1e9, 1"
            " FROM generate_series(%s::timestamp, %s::timestamp, %s::interval) d CROSS JOIN metering_tenant t"
            " ORDER BY d",
            [metric.pk, f"1 {period}", months.start, months.end - timedelta(days=1), f"1 {period}"],
        )
        cursor.execute("ANALYZE")
    return MetricSetting.objects.with_pricing().select_related("product").get(pk=setting.pk)


def _read_raw(metric: int) -> int:
    """One plain statement and a server-side cursor that brings every row as it is. Returns how many."""
    params = connection.get_connection_params()
    with (
        psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"]) as raw,
        raw.cursor("floor") as cursor,
    ):
        cursor.itersize = 5000
        cursor.execute("SELECT tenant_id, start, value FROM metering_usage WHERE metric_id = %s", [metric])
        return sum(1 for _ in cursor)


PARTS = {"collecting": collecting, "rating": rating, "simulation": simulation}

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
