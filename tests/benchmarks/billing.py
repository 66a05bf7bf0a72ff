"""A billing run beside a raw floor measured in the same run: read, rate in Python, COPY, and nothing else.

The floor takes no locks and no numbers, claims nothing, explains nothing and writes down no billed periods.
Sizes come from the environment: SERVICES (20000), METRICS (10), and QUANTITIES (400), how many different quantities
of a metric there are: lines that say the same are rated once in a batch, so a million of them is the worst. Peak
memory is that of the process that bills; whether it is flat is seen by two sizes: SERVICES=10000 and SERVICES=100000.
COPY is not among the statements.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench-billing"))
os.environ.setdefault("DEBUG", "0")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

import psycopg  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from catalog.models import Client, MetricSetting, PricingVersion, Product, ProductPrice, Service  # noqa: E402
from catalog.pricing import Pricing, amount  # noqa: E402
from catalog.terms import Cycle  # noqa: E402
from invoicing.billing import BATCH, create_invoices  # noqa: E402
from invoicing.verification import verify  # noqa: E402
from metering import declaring, partitions, units  # noqa: E402
from metering.models import Server, Tenant  # noqa: E402
from metering.providers.base import Metric, MetricType, installed  # noqa: E402

SERVICES = int(os.environ.get("SERVICES", "20000"))
METRICS = int(os.environ.get("METRICS", "10"))
QUANTITIES = int(os.environ.get("QUANTITIES", "400"))
TERM, DUE = date(2026, 10, 1), date(2026, 11, 1)
AT = datetime(2026, 11, 1, 7, tzinfo=UTC)
SCHEMES = ["graduated", "graduated", "volume", "per_unit", "package"]


def build() -> None:
    """Make services that are all due, half of their metrics levels and half months."""
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        # Issued documents refuse this, but for the superuser of the benchmark.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "TRUNCATE catalog_client, catalog_product, metering_server, metering_metric, metering_usage,"
            " metering_latest, invoicing_series, invoicing_run, invoicing_line, invoicing_billedperiod,"
            " invoicing_receivable CASCADE"
        )
        cursor.execute("RESET session_replication_role")
    partitions.ensure([TERM, DUE])
    server = Server.objects.create(name="bench", provider="bench", collected_at=AT - timedelta(hours=1))
    product = Product.objects.create(name="Bench", slug="bench", provider="bench")
    ProductPrice.objects.create(product=product, cycle="monthly", currency="USD", amount=Decimal(24))
    kinds = [MetricType.SNAPSHOT, MetricType.MONTH]
    declared = [Metric(f"metric_{n}", f"Metric {n}", kinds[n % 2], units.GB) for n in range(METRICS)]
    for number, metric in enumerate(declaring.declare("bench", declared).values()):
        setting = MetricSetting.objects.create(product=product, metric=metric)
        setting.enabled_spans.create(start=date(2020, 1, 1))
        scheme = SCHEMES[number % len(SCHEMES)]
        version = setting.versions.create(
            number=1,
            effective_from=date(2020, 1, 1),
            unit_code="GB",
            scheme=scheme,
            notation="above",
            included=Decimal(1),
        )
        brackets = [("0", "2"), ("10", "1"), ("20", "0.50")][: 3 if scheme in ("graduated", "volume") else 1]
        for start, price in brackets:
            version.prices.create(currency="USD", start=Decimal(start), unit_price=Decimal(price))
    clients = Client.objects.bulk_create(Client(name=f"Client {n}", currency="USD") for n in range(SERVICES))
    tenants = Tenant.objects.bulk_create(Tenant(server=server, key=f"tenant-{n}") for n in range(SERVICES))
    Service.objects.bulk_create(
        (
            Service(
                client=client, product=product, tenant=tenant, name=tenant.key, cycle=Cycle.MONTHLY,
                anchor=TERM, next_term=1, next_due_on=DUE, status="active",
            )
            for client, tenant in zip(clients, tenants, strict=True)
        ),
        batch_size=5000,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value, collection_id)'
            " SELECT t.id, m.id, p.start, p.start + p.days, (t.id * 7 + m.id * 13 + p.days) %% %s * %s::numeric, 1"
            " FROM metering_tenant t CROSS JOIN metering_metric m JOIN (VALUES ('month', %s::date, 31),"
            " ('snapshot', %s::date, 1), ('snapshot', %s::date, 1)) p (type, start, days) ON p.type = m.type",
            [QUANTITIES, Decimal(40 * 10**9) / QUANTITIES, TERM, DUE - timedelta(days=1), DUE],
        )
        cursor.execute(
            "INSERT INTO metering_latest (tenant_id, metric_id, value, start, read_at, collection_id)"
            " SELECT t.id, m.id, 1, %s, %s, 1 FROM metering_tenant t CROSS JOIN metering_metric m",
            [DUE, AT - timedelta(hours=1)],
        )
        cursor.execute("ANALYZE")


def read_prices() -> dict[int, Pricing]:
    """Return the prices of each metric."""
    found = {one.setting.metric_id: one.pricing("USD") for one in PricingVersion.objects.select_related("setting")}
    return {metric: pricing for metric, pricing in found.items() if pricing}


def floor(prices: dict[int, Pricing]) -> float:
    """Read the usage, rate it, and write as many invoices and lines of the same width."""
    params = connection.get_connection_params()
    with psycopg.connect(
        host=params["host"], user=params["user"], dbname=params["dbname"], options="-c timezone=UTC"
    ) as raw:
        raw.execute("DROP TABLE IF EXISTS floor_invoice, floor_line")
        raw.execute("CREATE TABLE floor_invoice (id uuid PRIMARY KEY, client int, total numeric, issued_on date)")
        raw.execute(
            "CREATE TABLE floor_line (id uuid PRIMARY KEY, invoice uuid, metric int, quantity numeric, amount numeric)"
        )
        raw.commit()
        begin = time.perf_counter()
        services = raw.execute("SELECT tenant_id, client_id FROM catalog_service ORDER BY id").fetchall()
        for first in range(0, len(services), 2000):
            batch = services[first : first + 2000]
            rows = raw.execute(
                "SELECT DISTINCT ON (tenant_id, metric_id) tenant_id, metric_id, value FROM metering_usage"
                " WHERE tenant_id = ANY(%s) ORDER BY tenant_id, metric_id, start DESC",
                [[tenant for tenant, _ in batch]],
            ).fetchall()
            found: dict[int, list[tuple[int, Decimal, Decimal]]] = {}
            for tenant, metric, value in rows:
                quantity = value / 10**9
                found.setdefault(tenant, []).append((metric, quantity, amount(prices[metric], quantity)))
            invoices = [(uuid4(), client, found[tenant]) for tenant, client in batch]
            with raw.cursor() as cursor:
                with cursor.copy("COPY floor_invoice FROM STDIN") as copy:
                    for key, client, lines in invoices:
                        copy.write_row((key, client, 24 + sum(cost for _, _, cost in lines), DUE))
                with cursor.copy("COPY floor_line FROM STDIN") as copy:
                    for key, _, lines in invoices:
                        copy.write_row((uuid4(), key, 0, 1, 24))
                        for metric, quantity, cost in lines:
                            copy.write_row((uuid4(), key, metric, quantity, cost))
            raw.commit()
        return time.perf_counter() - begin


class Statements:
    """Counts what is sent to the database."""

    count = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    if sys.argv[1:] == ["build"]:
        return build()
    connection.ensure_connection()  # so that an embedded server is not stopped in between
    # By another process: what it takes to make so many services is not the memory of a run.
    subprocess.run([sys.executable, __file__, "build"], check=True)
    prices = read_prices()
    installed()  # a process loads its providers once
    print(f"Billing {SERVICES:,} due services × {METRICS} metrics, half levels and half months")
    raw = floor(prices)
    print(f"  floor   {raw:6.2f} s  {SERVICES / raw:8,.0f} invoices/s")
    before, statements = memory(), Statements()
    with connection.execute_wrapper(statements):
        begin = time.perf_counter()
        run = create_invoices(on=DUE, at=AT).run
        ours = time.perf_counter() - begin
    assert (run.invoices, run.parked, run.deferred) == (SERVICES, 0, 0), (run.invoices, run.parked, run.deferred)
    per_batch = statements.count / -(-SERVICES // BATCH)
    print(
        f"  run     {ours:6.2f} s  {SERVICES / ours:8,.0f} invoices/s   {ours / raw:.2f} × floor"
        f"   {per_batch:.1f} statements per batch of {BATCH:,}   peak memory {memory():,.0f} MB ({before:,.0f} before)"
    )
    begin = time.perf_counter()
    findings = list(_first(verify(), 5))
    seconds = time.perf_counter() - begin
    print(
        f"  verify  {seconds:6.2f} s  {SERVICES / seconds:8,.0f} invoices/s   {seconds / raw:.2f} × floor"
        f"   peak memory {memory():,.0f} MB   {len(findings)} findings {findings[:3]}"
    )


def _first(findings: Iterator[Any], count: int) -> Iterator[Any]:
    for _, finding in zip(range(count), findings, strict=False):
        yield finding


if __name__ == "__main__":
    main()
