"""`make screenshots`: the pages of the demo in a real Chromium, light and dark, wide and narrow.

Writes docs/screenshots. Runs the demo in a database of its own, in var/screenshots.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page  # noqa: E402

from tests.browser.chromium import chromium, log_in  # noqa: E402
from tests.metering.real_prometheus import free_port  # noqa: E402

OUT = ROOT / "docs" / "screenshots"
PASSWORD = "only for the screenshots"
SIZES = {"wide": (1440, "light"), "dark": (1440, "dark"), "narrow": (360, "light")}
MANAGED = "tr:has-text('Managed PostgreSQL') >> text=Metric billing"
PRICING = [MANAGED, "tr:has-text('tables') a"]
#: Name, who sees it, where it starts, and what to do on the way: click on what a selector finds, or type into it.
PAGES = [
    ("login", "", "/account/login/", []),
    ("portal-home", "client", "/", []),
    ("portal-service", "client", "/services/", ["tbody th a"]),
    ("portal-invoices", "client", "/invoices/", []),
    ("portal-invoice", "client", "/invoices/", ["tbody th a", "details.tp-more summary"]),
    ("staff-home", "staff", "/admin/", []),
    ("staff-runs", "staff", "/admin/runs/", []),
    ("staff-services", "staff", "/admin/services/", []),
    ("staff-service", "staff", "/admin/services/?q=lindqvist_shop", ["tbody th a"]),
    ("staff-unbilled", "staff", "/admin/unbilled/", []),
    ("staff-products", "staff", "/admin/products/", []),
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
    ("staff-collections", "staff", "/admin/collections/", []),
]


def shoot(browser: Browser, base: str) -> None:
    for who in ("", "client", "staff"):
        for size, (width, scheme) in SIZES.items():
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            if who:
                log_in(page, base, f"{who}@demo.test", PASSWORD)
            for name, owner, start, clicks in PAGES:
                if owner == who:
                    visit(page, base + start, clicks)
                    page.screenshot(path=OUT / f"{name}-{size}.png", full_page=True)
            context.close()


def visit(page: Page, address: str, steps: list[str | tuple[str, str]]) -> None:
    page.goto(address)
    for step in steps:
        if isinstance(step, tuple):
            page.locator(step[0]).first.fill(step[1])
        else:
            page.locator(step).first.click()
        page.wait_for_load_state()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(600 if steps else 0)  # what is typed is drawn anew after a pause


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"{address} did not answer")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    port = str(free_port())
    settings = {"DEBUG": "1", "DEMO_PASSWORD": PASSWORD, "VAR_DIR": str(ROOT / "var" / "screenshots")}
    settings |= {"SITE_NAME": "Northquay Hosting", "SELLER_ADDRESS": "14 Wharf Street\nPortland, ME 04101"}
    command = [sys.executable, "manage.py", "run", "--demo", "--port", port]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}) as site, chromium() as browser:
        try:
            wait_for(f"http://127.0.0.1:{port}/account/login/")
            shoot(browser, f"http://127.0.0.1:{port}")
        finally:
            site.terminate()


if __name__ == "__main__":
    main()
