"""Staff's lists, first pages and searches among a million rows, beside a one-query page of Django in the same run.

Prints p50 and p95 of each in milliseconds, how often the one-query page fits into it, how many queries it made, and
whether its p95 is below SLOW (300) milliseconds; at the end how many are not. Nothing is asserted; the slowest
statement of a page that is not is explained. Sizes come from the environment: ROWS (1000000) of services, invoices,
mails, users and collections each, TENANTS (a tenth more), clients a fifth; TIMES (20) each page is opened. The rows are
made once and kept for the next run, in VAR_DIR.

What others do on the machine is in the figures, too: the load is printed beside them.
"""

import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench-lists"))
os.environ.setdefault("DEBUG", "1")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import Group  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.signals import request_started  # noqa: E402
from django.db import connection, reset_queries, transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import Client as Browser  # noqa: E402
from django.urls import include, path  # noqa: E402

from catalog.models import Client, Service, User  # noqa: E402

ROWS = int(os.environ.get("ROWS", "1000000"))
TENANTS = int(os.environ.get("TENANTS", str(ROWS * 11 // 10)))
TIMES = int(os.environ.get("TIMES", "20"))
SLOW = float(os.environ.get("SLOW", "300"))
#: Pages whose name has this, beside the one-query page.
ONLY = os.environ.get("ONLY", "")
#: So much of a statement, and of a line of its plan, is printed.
WIDTH = 400


def one_query(request: HttpRequest) -> HttpResponse:
    """What Django itself takes: one query of fifty rows, written out."""
    names = "".join(f"<li>{client.name}</li>" for client in Client.objects.order_by("pk")[:50])
    return HttpResponse(f"<ul>{names}</ul>")


urlpatterns = [path("one-query/", one_query), path("", include("billing_site.urls"))]


def fill() -> None:
    """Make the rows in bulk, as no trigger and no check slows them: they are not billed."""
    if Service.objects.count() >= ROWS:
        return
    begin = time.perf_counter()
    with connection.cursor() as cursor:
        with transaction.atomic():  # so that one that is stopped leaves nothing half made
            cursor.execute("SET LOCAL session_replication_role = replica")
            for statement in FILL:
                cursor.execute(statement.format(rows=ROWS, clients=max(ROWS // 5, 1), tenants=TENANTS))
        cursor.execute("VACUUM ANALYZE")
    print(f"Made {ROWS:,} rows of each in {time.perf_counter() - begin:.0f} s")


FILL = [
    """INSERT INTO metering_server (name, provider, settings, credentials, time_zone, is_active, created_at,
        collected_at)
        SELECT 'bench-' || g, 'whm', '{{}}', '', 'UTC', true, now(), now() FROM generate_series(1, 40) g""",
    """INSERT INTO catalog_product (name, slug, description, provider, is_active, bills_monthly, bills_suspended,
        invoice_days_ahead, grace_days)
        SELECT 'Product ' || g, 'product-' || g, '', 'whm', true, false, true, 0, 0 FROM generate_series(1, 20) g""",
    """INSERT INTO catalog_client (name, email, address, tax_number, language, currency, created_at)
        SELECT (ARRAY['Harbour', 'Lindqvist', 'Kestrel', 'Bright', 'Osprey', 'Fjell', 'Brandt', 'North'])[1 + g % 8]
            || ' ' || left(md5(g::text), 6) || ' ' || (ARRAY['GmbH', 'Ltd', 'AB', 'SARL'])[1 + g % 4],
            'billing' || g || '@client' || g || '.example', '', '', '', (ARRAY['USD', 'EUR'])[1 + g % 2], now()
        FROM generate_series(1, {clients}) g""",
    """INSERT INTO metering_tenant (server_id, key, first_seen_at)
        SELECT s.id, 'user_' || g || '_' || left(md5(g::text), 5), now()
        FROM generate_series(1, {tenants}) g
        JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM metering_server) s ON s.place = g % 40""",
    """INSERT INTO catalog_service (public_id, client_id, product_id, tenant_id, name, status, cycle, anchor, next_term,
        next_due_on, bills_monthly, created_at)
        SELECT gen_random_uuid(), 1 + g % {clients}, 1 + g % 20, CASE WHEN g % 5000 = 11 THEN NULL ELSE g END,
            'site-' || left(md5(g::text), 8) || '.example',
            CASE WHEN g % 1000 = 7 THEN 'suspended' ELSE 'active' END, 'monthly', '2026-01-01', 1,
            current_date + g % 28, false, now()
        FROM generate_series(1, {rows}) g""",
    """INSERT INTO invoicing_parked (service_id, reason, needs_approval, since)
        SELECT id, 'No price.', false, now() FROM catalog_service WHERE id % 2000 = 3""",
    "UPDATE metering_tenant SET is_claimed = true WHERE id <= {rows}",
    """INSERT INTO catalog_productprice (product_id, cycle, currency, amount)
        SELECT id, 'monthly', currency, 9 FROM catalog_product, unnest(ARRAY['USD', 'EUR']) AS currency""",
    """INSERT INTO catalog_user (password, is_superuser, email, name, language, time_zone, is_staff, is_active,
        date_joined)
        SELECT '!', false, 'user' || g || '@client.example', 'Person ' || left(md5(g::text), 6), '', '', g % 50000 = 0,
            true, now()
        FROM generate_series(1, {rows}) g""",
    """INSERT INTO invoicing_series (code, next_number, last_issued_on, last_digest)
        VALUES ('2026', {rows} + 1, current_date, ''), ('C2026', {rows} + 1, current_date, '')""",
    """INSERT INTO invoicing_invoice (id, series_id, number, kind, client_id, currency, issued_on, due_on, total,
        seller, buyer, created_at, digest, reason)
        SELECT gen_random_uuid(), '2026', '2026-' || lpad(g::text, greatest(5, length(g::text)), '0'), 'renewal',
            1 + g % {clients}, (ARRAY['USD', 'EUR'])[1 + g % 2], date '2026-01-01' + (g * 300 / {rows})::int,
            date '2026-01-15' + (g * 300 / {rows})::int, 24, '{{}}', '{{}}', now(), md5(g::text), ''
        FROM generate_series(1, {rows}::bigint) g""",
    """INSERT INTO invoicing_invoice (id, series_id, number, kind, client_id, currency, issued_on, due_on, total,
        seller, buyer, created_at, digest, reason, credits_id)
        SELECT gen_random_uuid(), 'C2026', 'C' || number, 'credit_note', client_id, currency, issued_on, issued_on, 1,
            '{{}}', '{{}}', now(), digest, 'agreed', id
        FROM invoicing_invoice WHERE kind = 'renewal' AND number LIKE '%5'""",
    """INSERT INTO invoicing_receivable (invoice_id, client_id, due_on, "left")
        SELECT id, client_id, due_on, total FROM invoicing_invoice WHERE kind = 'renewal' AND number LIKE '%7'""",
    """INSERT INTO invoicing_message (id, kind, client_id, invoice_id, "to", created_at, sent_at, attempts, error)
        SELECT gen_random_uuid(), 'issued', client_id, id, 'billing' || client_id || '@client.example', created_at,
            created_at - random() * interval '300 days', 1, ''
        FROM invoicing_invoice WHERE kind = 'renewal'""",
    """INSERT INTO metering_collection (server_id, tenant_key, as_of, started_at, ended_at, status, metrics, tenants,
        new_tenants, missing_tenants, values_seen, readings_stored, unchanged, rejected, problems, error, calls, bytes,
        seen_so_far, source, file_name, file_digest)
        SELECT s.id, '', at, at, at, 'complete', '{{}}', 10, 0, 0, 10, 1, 1, 0, '[]', '', 1, 1, 1, 'collection', '', ''
        FROM generate_series(1, {rows}) g
        CROSS JOIN LATERAL (SELECT now() - ({rows} - g) * interval '1 minute' AS at) AS moment
        JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM metering_server) s ON s.place = g % 40""",
]

PAGES = [
    ("one-query page", "/one-query/"),
    ("home", "/admin/"),
    ("missing prices", "/admin/missing-prices/"),
    ("services", "/admin/services/"),
    ("services, page 90", "/admin/services/?page=90"),
    ("services, rare word", "/admin/services/?q=a1b2c"),
    ("services, word of all", "/admin/services/?q=example"),
    ("services, no hit", "/admin/services/?q=zqxjkv"),
    ("services, suspended", "/admin/services/?state=suspended"),
    ("services that wait", "/admin/services/?state=waits"),
    ("services, no tenant", "/admin/services/?state=unmetered"),
    ("services of a product", "/admin/services/?product={product}"),
    ("services, client's name", "/admin/services/?q=lindqvist"),
    ("clients", "/admin/clients/"),
    ("clients, rare word", "/admin/clients/?q=a1b2"),
    ("clients, no hit", "/admin/clients/?q=zqxjkv"),
    ("clients, frequent word", "/admin/clients/?q=lindqvist"),
    ("clients in EUR", "/admin/clients/?currency=EUR"),
    ("clients without service", "/admin/clients/?state=none"),
    ("clients overdue", "/admin/clients/?state=overdue"),
    ("a client", "/admin/clients/{client}/"),
    ("invoices", "/admin/invoices/"),
    ("invoices, page 90", "/admin/invoices/?page=90"),
    ("invoices, number", "/admin/invoices/?q=2026-77777"),
    ("invoices, no hit", "/admin/invoices/?q=zqxjkv"),
    ("invoices, word of all", "/admin/invoices/?q=client"),
    ("invoices, frequent client", "/admin/invoices/?q=lindqvist"),
    ("credit notes", "/admin/credit-notes/"),
    ("credit notes, word", "/admin/credit-notes/?q=lindqvist"),
    ("mails", "/admin/messages/"),
    ("mails, address", "/admin/messages/?q=billing77777@"),
    ("collections", "/admin/collections/"),
    ("unbilled usage", "/admin/unbilled/"),
    ("unbilled, word", "/admin/unbilled/?q=user_109"),
    ("products", "/admin/products/"),
    ("a product", "/admin/products/{product}/"),
    ("billing runs", "/admin/runs/"),
    ("search, rare word", "/admin/search/?q=a1b2c"),
    ("search, word of all", "/admin/search/?q=example"),
    ("search, nothing", "/admin/search/?q=zqxjkv"),
    ("search, frequent client", "/admin/search/?q=lindqvist"),
    ("search, frequent parts", "/admin/search/?q=clientxample"),
    ("search, two letters", "/admin/search/?q=us"),
    ("search, number", "/admin/search/?q=77777"),
    ("search, 100 KB", "/admin/search/?q=" + "a" * 100_000),
    ("records: clients", "/admin/catalog/client/"),
    ("records: clients, word", "/admin/catalog/client/?q=lindqvist"),
    ("records: services", "/admin/catalog/service/"),
    ("records: services, word", "/admin/catalog/service/?q=a1b2c"),
    ("records: tenants", "/admin/metering/tenant/"),
    ("records: tenants, no hit", "/admin/metering/tenant/?q=zqxjkv"),
    ("records: tenants, word of all", "/admin/metering/tenant/?q=user_"),
    ("records: tenants, word", "/admin/metering/tenant/?q=user_77"),
    ("records: collections", "/admin/metering/collection/"),
    ("records: users", "/admin/catalog/user/"),
    ("records: users, word", "/admin/catalog/user/?q=user777"),
    ("records: users of staff", "/admin/catalog/user/?is_staff__exact=1"),
    ("records: users not of staff", "/admin/catalog/user/?is_staff__exact=0"),
    ("records: users in a group", "/admin/catalog/user/?groups__id__exact={group}"),
    ("records: services of one", "/admin/catalog/service/?product__id__exact={product}"),
    ("records: products", "/admin/catalog/product/"),
    ("records: servers", "/admin/metering/server/"),
    ("records: metrics", "/admin/metering/metric/"),
    ("records: groups", "/admin/auth/group/"),
]


def measure() -> None:
    settings.ROOT_URLCONF = __name__
    settings.DEBUG = False
    connection.force_debug_cursor = True
    request_started.disconnect(reset_queries)
    browser = Browser(SERVER_NAME="localhost", raise_request_exception=False)
    staff = User.objects.filter(email="bench@staff.test").first()
    browser.force_login(staff or User.objects.create_superuser("bench@staff.test", "only for the benchmark"))
    known = {
        "client": Client.objects.order_by("pk")[0].pk,
        "product": Service.objects.order_by("pk")[0].product_id,
        "group": Group.objects.order_by("pk")[0].pk,
    }
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    print(f"{'page':30}{'p50 ms':>9}{'p95 ms':>9}{'× one query':>13}{'queries':>9}  below {SLOW:.0f} ms")
    pages = [page for page in PAGES if page is PAGES[0] or re.search(ONLY, page[0])]
    floor, slow = 0.0, []
    for name, address in pages:
        at = address.format(**known) if "{" in address else address
        browser.get(at)
        connection.queries_log.clear()
        response = browser.get(at)
        queries = list(connection.queries_log)
        took = sorted(_timed(browser, at) for _ in range(TIMES))
        p50, p95 = took[len(took) // 2], took[int(len(took) * 0.95) - (len(took) >= 20)]
        floor = floor or p50
        verdict = "yes" if p95 < SLOW else "NO"
        odd = "" if response.status_code == 200 else f"  answered {response.status_code}"
        print(f"{name:30}{p50:9.1f}{p95:9.1f}{p50 / floor:13.1f}{len(queries):9}  {verdict}{odd}", flush=True)
        if p95 >= SLOW:
            slow.append(name)
            _explain(max(queries, key=lambda query: float(query["time"])))
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}")
    print(
        f"{len(pages) - len(slow)} of {len(pages)} below {SLOW:.0f} ms p95"
        + (f"; not: {', '.join(slow)}" if slow else "")
    )


def _explain(query: dict[str, str]) -> None:
    print(f"    {query['time']} s: {query['sql'][:WIDTH]}")
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {query['sql']}")
        print("\n".join(f"        {line[:WIDTH]}" for (line,) in cursor.fetchall()))


def _timed(browser: Browser, address: str) -> float:
    begin = time.perf_counter()
    browser.get(address)
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    call_command("migrate", verbosity=0, skip_checks=True)
    fill()
    measure()
