"""The sums of the reports beside a raw floor measured in the same run: one plain SUM over all lines by month.

A month is billed as it is by a run; the others are copies of it. Sizes come from the environment: SERVICES (10000),
METRICS (10) and MONTHS (24). Issue 6 speaks of SERVICES=50000: 1.2 million invoices, 13 million lines.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench-reports"))
os.environ.setdefault("SERVICES", "10000")
os.environ.setdefault("STAFF_MFA", "0")
sys.path.insert(0, str(ROOT))

from tests.benchmarks import billing  # noqa: E402  # sets Django up

from django.core.management import call_command  # noqa: E402  # isort: skip
from django.db import connection  # noqa: E402  # isort: skip
from django.test import Client  # noqa: E402  # isort: skip
from django.urls import reverse  # noqa: E402  # isort: skip

from catalog.models import User  # noqa: E402  # isort: skip
from invoicing.billing import create_invoices  # noqa: E402  # isort: skip
from invoicing.models import Claim, Invoice, Line  # noqa: E402  # isort: skip
from reports import counting, fitting, measuring  # noqa: E402  # isort: skip
from reports.models import Fit, Looked, MeasuredMonth, UsageSum  # noqa: E402  # isort: skip

MONTHS = int(os.environ.get("MONTHS", "24"))
LOOKS = 10
#: Entries between a month and the next one.
APART = 10_000_000
FLOOR = """
    SELECT date_trunc('month', i.issued_on), i.currency, sum(l.amount)
    FROM invoicing_line l JOIN invoicing_invoice i ON i.id = l.invoice_id GROUP BY 1, 2
"""
PAGES = ["staff_reports", "staff_report_revenue", "staff_report_growth", "staff_report_prices", "staff_report_outgrown"]


def build() -> None:
    """Bill a month, and copy it into those before."""
    billing.build()
    counting.forget()
    for model in (Fit, Looked, MeasuredMonth, UsageSum):
        model._default_manager.all().delete()
    run = create_invoices(on=billing.DUE, at=billing.AT).run
    assert run.invoices == billing.SERVICES
    with connection.cursor() as cursor:
        # As they are copies, nothing about them has to be checked.
        cursor.execute("SET session_replication_role = replica")
        # The order of documents is that of their days.
        cursor.execute("UPDATE invoicing_invoice SET entry = entry + %s", [MONTHS * APART])
        for month in range(1, MONTHS):
            other = f"md5({{}}::text || {month})::uuid"
            before = f"({{}} - interval '{month} months')::date"
            days = {name: before.format(f'"{name}"') for name in ("start", "end", "issued_on", "due_on", "term_start")}
            invoice = {"id": other.format("id"), "number": f"number || '-{month}'", **days}
            line = {"id": "gen_random_uuid()", "invoice_id": other.format("invoice_id"), **days}
            claim = {"id": None, "invoice_id": other.format("invoice_id"), **days}
            of_month = f"number ~ '^{billing.DUE.year}-[0-9]+$'"
            copy(cursor, Line, line, f"invoice_id IN (SELECT id FROM invoicing_invoice WHERE {of_month})")
            copy(cursor, Invoice, {"entry": f"entry - {month} * {APART}", **invoice}, of_month)
            copy(cursor, Claim, claim, f"term_start = '{billing.DUE}'")
        cursor.execute("RESET session_replication_role")
        cursor.execute("VACUUM ANALYZE")


def copy(cursor: Any, model: Any, changed: dict[str, str | None], where: str) -> None:
    """Copy rows with some of their columns changed; a column that becomes None is left to the database."""
    columns = [field.column for field in model._meta.concrete_fields if changed.get(field.column, "") is not None]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changed.get(column) or f'"{column}"' for column in columns)
    table = model._meta.db_table
    cursor.execute(f'INSERT INTO "{table}" ({names}) SELECT {values} FROM "{table}" WHERE {where}')


def floor() -> float:
    with connection.cursor() as cursor:
        return took(lambda: (cursor.execute(FLOOR), cursor.fetchall()))[0]


def took(does: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = does()
    return time.perf_counter() - begin, result


def say(what: str, seconds: float, raw: float, more: str = "") -> None:
    print(f"  {what:32} {seconds:8.2f} s  {seconds / raw:6.2f} × floor   {more}")


def look() -> None:
    call_command("collectstatic", interactive=False, verbosity=0)
    user, _ = User.objects.get_or_create(email="bench@staff.test", defaults={"is_staff": True, "is_superuser": True})
    client = Client(HTTP_HOST="localhost")
    client.force_login(user)
    client.get(reverse(PAGES[0]), secure=True)  # the first of a process reads templates and addresses
    for name in PAGES:
        times = []
        for _ in range(LOOKS):
            seconds, response = took(lambda name=name: client.get(reverse(name), secure=True))
            assert response.status_code == 200, (name, response.status_code)
            times.append(seconds * 1000)
        print(f"  {reverse(name):32} {statistics.median(times):8.0f} ms median, {max(times):.0f} ms at most")


def main() -> None:
    if sys.argv[1:] == ["build"]:
        return build()
    connection.ensure_connection()  # so that an embedded server is not stopped in between
    subprocess.run([sys.executable, __file__, "build"], check=True)
    lines, documents = Line.objects.count(), Invoice.objects.count()
    print(f"Reports of {documents:,} documents with {lines:,} lines, {MONTHS} months")
    raw = min(floor(), floor())
    print(f"  {'floor: one SUM over all lines':32} {raw:8.2f} s")
    seconds, count = took(lambda: counting.count_documents(at=billing.AT))
    say("count all documents, once", seconds, raw, f"{count / seconds:,.0f} documents a second")
    seconds, _ = took(lambda: counting.count_documents(at=billing.AT))
    say("count again, nothing new", seconds, raw)
    seconds, months = took(counting.spread_prices)
    say("prices of services, once", seconds, raw, f"{months} months, {seconds / months:.2f} s each")
    seconds, months = took(lambda: measuring.sum_usage(at=billing.AT))
    say("usage, once", seconds, raw, f"{months} months")
    seconds, services = took(lambda: fitting.look(at=billing.AT))
    say("look at all plans, daily", seconds, raw, f"{services:,} services")
    look()
    # What was issued since the last count is added by the pages themselves.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reports_counted SET entry = entry - 500")
    print("  with 500 documents that are not counted yet (their sums are doubled; it is the time that counts)")
    look()


if __name__ == "__main__":
    main()
