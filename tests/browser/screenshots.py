"""`make screenshots`: the pages of the demo in a real Chromium, light and dark, wide and narrow, and a printed invoice.

Writes docs/screenshots. The PDF is drawn by what sets it, as a picture of its first page. Runs the demo in a new
database of its own, in var/screenshots. `make screenshots ONLY=portal` makes those whose names contain that,
and SIZE=dark those of that size.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, FilePayload, Page, TimeoutError  # noqa: E402

from tests.access.rules import PORTAL, PUBLIC, STAFF_PAGES  # noqa: E402
from tests.browser.chromium import chromium, log_in  # noqa: E402
from tests.metering.real_prometheus import free_port  # noqa: E402

OUT, SITE = ROOT / "docs" / "screenshots", ROOT / "var" / "screenshots"
PASSWORD = "only for the screenshots"
SIZES: dict[str, tuple[int, Literal["light", "dark"]]] = {
    "wide": (1440, "light"),
    "dark": (1440, "dark"),
    "narrow": (360, "light"),
    "narrow-dark": (360, "dark"),
}
#: Pages are in the font of the visitor's system; the pictures, wherever they are made, in that of the PDFs.
FONTS = f"""<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{ROOT}/invoicing/typst/fonts</dir>
  <match>
    <test name="family"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
</fontconfig>
"""
Step = str | tuple[str, str]
MANAGED = "tr:has-text('Managed PostgreSQL') >> text=Metric billing"
PRICING: list[Step] = [MANAGED, "tr:has-text('tables') a"]
# The newest that is no credit note is that of the demo's client, today, in the portal; staff look for it.
MINE = "/admin/invoices/?q=Lindqvist"
INVOICE = "tbody th a:text-matches('^[0-9]')"
TABLES: list[Step] = [INVOICE, ".tp-line h3 a:has-text('Tables')"]
PERIOD: list[Step] = [*TABLES, "#periods tbody a"]
EDGE = "tbody th a:has-text('Edge delivery')"
HISTORY = "a:has-text('History by day and month')"
USAGE = "tenant,metric,value\nshop-01,api_calls,1200\nshop-02,api_calls,many\n"
CREDITED = "tbody tr:has-text('credited') th a"
#: Name, who sees it, where it starts, and what to do on the way: click on what a selector finds, or type into it.
PAGES: list[tuple[str, str, str, list[Step]]] = [
    ("login", "", "/account/login/", []),
    ("login-reset-sent", "", "/account/password/reset/sent/", []),
    ("portal-home", "client", "/", []),
    ("portal-services", "client", "/services/", []),
    ("portal-service-year", "client", "/services/", [EDGE]),
    ("portal-metric-year", "client", "/services/", [EDGE, HISTORY, "text=By month"]),
    ("portal-prices", "client", "/services/", ["tbody th a:has-text('Managed')", "text=All prices"]),
    ("portal-budget-new", "client", "{budget}", []),
    ("portal-not-found", "client", "/services/00000000-0000-4000-8000-000000000000/", []),
    ("portal-two-step", "client", "/account/two-step/", []),
    ("portal-two-step-app", "client", "/account/two-step/app/", []),
    ("portal-two-step-passkey", "client", "/account/two-step/passkeys/add/", []),
    ("portal-service", "client", "/services/", ["tbody th a:has-text('Managed')"]),
    ("portal-draft", "client", "/services/", ["tbody th a:has-text('Backup')"]),
    ("portal-invoices", "client", "/invoices/", []),
    ("portal-invoice", "client", "/invoices/", [INVOICE, "details.tp-more summary"]),
    ("portal-invoice-credited", "client", "/invoices/", [CREDITED]),
    ("portal-credit-note", "client", "/invoices/", ["tbody th a:has-text('C')"]),
    ("portal-line", "client", "/invoices/", TABLES),
    ("portal-period", "client", "/invoices/", PERIOD),
    ("portal-invoice-question", "client", "/invoices/", [INVOICE, ".tp-ask"]),
    ("portal-metric", "client", "/services/", ["tbody th a:has-text('Managed')", HISTORY]),
    ("portal-alerts", "client", "/alerts/", []),
    ("portal-alert", "client", "/alerts/", ["main a:has-text('Change')"]),
    ("portal-alert-new", "client", "/services/", ["tbody th a:has-text('Managed')", "text=Set an alert"]),
    ("portal-account", "client", "/account/", []),
    ("portal-password", "client", "/account/password/", []),
    ("portal-users", "client", "/account/users/", []),
    ("portal-keys", "client", "/account/keys/", []),
    ("portal-client-data", "client", "/account/client/", []),
    ("password-reset", "", "/account/password/reset/", []),
    ("invitation", "", "{invitation}", []),
    ("staff-home", "staff", "/admin/", []),
    ("staff-runs", "staff", "/admin/runs/", []),
    ("staff-run", "staff", "/admin/runs/", ["tbody th a"]),
    ("staff-run-preview", "staff", "/admin/runs/", ["button:has-text('Dry run')"]),
    ("staff-differences", "staff", "/admin/differences/", []),
    ("staff-invoices", "staff", "/admin/invoices/", []),
    ("staff-invoice", "staff", MINE, [INVOICE, "details.tp-more summary"]),
    ("staff-invoice-credited", "staff", MINE, [CREDITED]),
    ("staff-line", "staff", MINE, TABLES),
    ("staff-line-corrected", "staff", "/admin/differences/", ["td a", ".tp-line h3 a:has-text('Rows')"]),
    ("staff-period", "staff", MINE, PERIOD),
    ("staff-credit-notes", "staff", "/admin/credit-notes/", []),
    ("staff-credit-note", "staff", "/admin/credit-notes/", ["tbody th a"]),
    ("staff-credit", "staff", MINE, [INVOICE, "text=Credit…"]),
    ("staff-void", "staff", MINE, [INVOICE, "text=Void and bill again…"]),
    ("staff-messages", "staff", "/admin/messages/", []),
    ("staff-message", "staff", "/admin/messages/", ["main tbody a[href^='/admin/messages/']"]),
    ("staff-mails", "staff", "/admin/messages/kinds/", []),
    ("staff-questions", "staff", "/admin/questions/", []),
    ("staff-payment", "staff", "/admin/invoices/?state=overdue", ["tbody th a", "main a:has-text('Record')"]),
    ("staff-search", "staff", "/admin/search/?q=lindqvist", []),
    ("staff-clients", "staff", "/admin/clients/", []),
    ("staff-client", "staff", "/admin/clients/", ["tbody th a:has-text('Lindqvist')"]),
    ("staff-client-new", "staff", "/admin/clients/new/", []),
    ("staff-client-edit", "staff", "/admin/clients/", ["tbody th a:has-text('Lindqvist')", "main a[href$='/edit/']"]),
    ("staff-client-users", "staff", "/admin/clients/", ["tbody th a:has-text('Lindqvist')", "text=Roles, invitations"]),
    ("staff-reports", "staff", "/admin/reports/", []),
    ("staff-report-revenue", "staff", "/admin/reports/revenue/", []),
    ("staff-report-growth", "staff", "/admin/reports/growth/", []),
    ("staff-report-prices", "staff", "/admin/reports/prices/", []),
    ("staff-report-outgrown", "staff", "/admin/reports/outgrown/", []),
    ("staff-team", "staff", "/admin/team/", []),
    ("staff-audit", "staff", "/admin/audit/", []),
    ("staff-audit-entry", "staff", "/admin/audit/", ["main a[href^='/admin/audit/']:has(.visually-hidden)"]),
    ("staff-product", "staff", "/admin/products/", ["tbody th a"]),
    ("staff-product-alerts", "staff", "/admin/products/", ["tbody th a", "main a[href$='/alerts/']"]),
    (
        "staff-metric",
        "staff",
        "/admin/services/?q=lindqvist_shop",
        ["tbody th a", "main a[href^='/admin/services/'][href*='/metrics/']:not([href*=agreement])"],
    ),
    ("staff-records", "staff", "/admin/records/", []),
    ("staff-services", "staff", "/admin/services/", []),
    ("staff-service-add", "staff", "/admin/services/", ["text=Add a service"]),
    ("staff-service-pending", "staff", "/admin/services/?state=pending", ["tbody th a"]),
    ("staff-service-begin", "staff", "/admin/services/?state=pending", ["tbody th a", "text=Activate…"]),
    ("staff-service", "staff", "/admin/services/?q=lindqvist_shop", ["tbody th a"]),
    ("staff-service-draft", "staff", "/admin/services/?q=lindqvist_copies", ["tbody th a"]),
    ("staff-service-held", "staff", "/admin/services/?q=harbour_staging", ["tbody th a"]),
    ("staff-service-parked", "staff", "/admin/services/?q=kestrel_scans", ["tbody th a"]),
    ("staff-service-ended", "staff", "/admin/services/?q=brandt_intranet", ["tbody th a"]),
    ("staff-terminate", "staff", "/admin/services/?q=harbour_events", ["tbody th a", "text=Terminate…"]),
    (
        "staff-change",
        "staff",
        "/admin/services/?q=harbour_events",
        ["tbody th a", "text=Change…", ("#id_tenant", "nobody_knows"), "text=Show what is billed now"],
    ),
    ("staff-reactivate", "staff", "/admin/services/?q=brandt_intranet", ["tbody th a", "text=Reactivate…"]),
    ("staff-left-out", "staff", "/admin/services/?q=lindqvist_shop", ["tbody th a", "text=Left-out usage"]),
    (
        "staff-usage",
        "staff",
        "/admin/services/?q=harbour_events",
        ["tbody th a", "tr:has-text('Rows written') >> text=Correct a value"],
    ),
    (
        "staff-usage-period",
        "staff",
        "/admin/services/?q=harbour_events",
        ["tbody th a", "tr:has-text('Rows written') >> text=Correct a value", "tbody tr:nth-child(2) a"],
    ),
    ("staff-unbilled", "staff", "/admin/unbilled/", []),
    ("staff-unbilled-quote", "staff", "/admin/unbilled/?product=1", []),
    ("staff-unbilled-attach", "staff", "/admin/unbilled/", ["main td a:has-text('Attach')"]),
    ("staff-products", "staff", "/admin/products/", []),
    ("staff-product-form", "staff", "/admin/products/", [MANAGED, "main a[href*='/catalog/product/']"]),
    ("staff-product-metrics", "staff", "/admin/products/", [MANAGED]),
    ("staff-pricing", "staff", "/admin/products/", PRICING),
    ("staff-pricing-cliff", "staff", "/admin/products/", [*PRICING, "[value=volume]", ("[name=price-3-USD]", "0.50")]),
    (
        "staff-pricing-errors",
        "staff",
        "/admin/products/",
        [*PRICING, ("[name=price-3-EUR]", ""), ("[name=start-2]", "25"), "text=Save as version"],
    ),
    (
        "staff-simulation",
        "staff",
        "/admin/products/",
        [*PRICING, ("[name=price-1-USD]", "2.20"), "button:has-text('What if')"],
    ),
    ("staff-agreement", "staff", "/admin/services/?q=lindqvist_shop", ["tbody th a", "text=Agree other terms"]),
    ("staff-missing-prices", "staff", "/admin/missing-prices/", []),
    ("price-lists", "", "/prices/", []),
    ("price-list", "", "/prices/managed-postgresql/", []),
    ("staff-servers", "staff", "/admin/servers/", []),
    ("staff-server", "staff", "/admin/servers/", ["text=pg-demo"]),
    ("staff-server-new", "staff", "/admin/servers/new/prometheus/", []),
    ("staff-server-edit", "staff", "/admin/servers/", ["text=pg-demo", "main a[href$='/edit/']"]),
    ("staff-server-push", "staff", "/admin/servers/", ["text=app-demo"]),
    (
        "staff-import",
        "staff",
        "/admin/servers/",
        ["text=app-demo", ("[type=file]", USAGE), "#import [type=submit]"],
    ),
    ("staff-records-list", "staff", "/admin/catalog/client/", []),
    ("staff-collections", "staff", "/admin/collections/", []),
    ("staff-collection", "staff", "/admin/collections/", ["tbody th a"]),
    ("staff-overage", "staff", "/admin/products/", [MANAGED, "a:has-text('Overage')"]),
]
#: Run inside the site. Draws the first page of an invoice, and says where the link of an open invitation leads.
PLACES = """
from django.urls import reverse
from catalog.invitations import token_of
from catalog.models import Invitation
from invoicing import pdf
from invoicing.models import Invoice
if said:
    mine = Invoice.objects.filter(client__users__email="client@demo.test", kind=Invoice.Kind.RENEWAL)
    invoice = mine.select_related("credits").latest("entry")
    drawn = pdf.compiler(pdf.said_of(invoice)).compile(format="png", ppi=110)
    open(said, "wb").write(drawn[0] if isinstance(drawn, list) else drawn)
open_one = Invitation.objects.filter(client__isnull=False, accepted_at=None, revoked_at=None).latest("created_at")
answer = {
    "invitation": reverse("invitation", args=[token_of(open_one)]),
    "budget": reverse("portal_budget_new", args=[open_one.client_id]),
}
"""
#: Says which addresses were opened, by their names in the URL configuration.
NAMES = """
from django.urls import resolve
answer = sorted({resolve(path).view_name for path in said if path.startswith("/")})
"""


def within(settings: dict[str, str], code: str, said: Any) -> Any:
    """Run `code` inside the site, with what is `said` to it, and return its `answer`."""
    code = f"import json, sys\nsaid = json.loads(sys.stdin.read())\n{code}\nprint('answer:', json.dumps(answer))"
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    environment = {**os.environ, **settings}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=json.dumps(said), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.partition("answer:")[2])


def shoot(browser: Browser, base: str, places: dict[str, str], only: str = "") -> list[str]:
    """Take the pictures. Returns the paths that were opened."""
    pages = [page for page in PAGES if only in page[0]]
    opened = []
    for who in dict.fromkeys(owner for _, owner, _, _ in pages):
        for size in [size for size in SIZES if os.environ.get("SIZE", "") in ("", size)]:
            width, scheme = SIZES[size]
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            context.set_default_timeout(10_000)
            page = context.new_page()
            if who:
                log_in(page, base, f"{who}@demo.test", PASSWORD)
            for name, owner, start, clicks in pages:
                if owner == who:
                    try:
                        visit(page, base + start.format(**places), clicks)
                    except TimeoutError as error:
                        print(f"{name}-{size}: {error.message.splitlines()[-1]}", flush=True)
                        continue
                    opened.append(urlsplit(page.url).path)
                    picture = OUT / f"{name}-{size}.png"
                    page.screenshot(path=picture, full_page=True)
                    shrink(picture)
            context.close()
    return opened


def shrink(picture: Path) -> None:
    """Keep 256 colours, which is all that pages have: a third of the size."""
    with Image.open(picture) as full:
        few = full.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def visit(page: Page, address: str, steps: list[Step]) -> None:
    page.goto(address)
    for step in steps:
        if isinstance(step, tuple) and "file" in step[0]:
            file: FilePayload = {"name": "usage.csv", "mimeType": "text/csv", "buffer": step[1].encode()}
            page.locator(step[0]).first.set_input_files(file)
        elif isinstance(step, tuple):
            page.locator(step[0]).first.fill(step[1])
        else:
            page.locator(step).first.click()
        page.wait_for_load_state()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(600 if steps else 0)  # what is typed is drawn anew after a pause


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"{address} did not answer")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    fonts = SITE / "fonts.conf"
    fonts.write_text(FONTS)
    os.environ["FONTCONFIG_FILE"] = str(fonts)
    port = str(free_port())
    # as in production, where a page that is not there is the site's own, but without TLS and second steps
    settings = {"DEBUG": "0", "SECURE_SSL_REDIRECT": "0", "SECURE_COOKIES": "0", "SECURE_HSTS_SECONDS": "0"}
    settings |= {"STAFF_MFA": "0", "DEMO_PASSWORD": PASSWORD, "VAR_DIR": str(SITE)}
    settings |= {"SITE_NAME": "Northquay Hosting", "SELLER_ADDRESS": "14 Wharf Street\nPortland, ME 04101"}
    settings |= {"SELLER_PAYMENT": "By transfer to Wharf Bank, Portland, account 004 512 7781"}
    command = [sys.executable, "manage.py", "run", "--demo", "--port", port]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}) as site, chromium() as browser:
        try:
            wait_for(f"http://127.0.0.1:{port}/account/login/")
            only, printed = os.environ.get("ONLY", ""), OUT / "invoice-pdf.png"
            places = within(settings, PLACES, str(printed) if only in printed.stem else "")
            opened = shoot(browser, f"http://127.0.0.1:{port}", places, only)
            if not only:
                shrink(printed)
                pages = {name for rules in (PORTAL, PUBLIC, STAFF_PAGES) for name, rule in rules.items() if rule.see}
                print("Without a picture:", *sorted(pages - set(within(settings, NAMES, opened))))
        finally:
            site.terminate()


if __name__ == "__main__":
    main()
