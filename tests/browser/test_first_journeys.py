"""What staff do and what a client does, in a real Chromium, with a real PostgreSQL as the metered server."""

from datetime import date, timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from billing_site.demo import backdated
from catalog.models import EnabledSpan, PricingVersion
from invoicing.models import InvoicingSpan
from metering.models import Server
from tests.browser.chromium import complaints, log_in
from tests.builders import a_client, a_product, a_service, a_staff_user, a_tenant, a_user

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
TENANT = "browser_alice"


@pytest.fixture
def tenant_database():
    """A real database with 25 tables, on the server that the tests run on."""
    params = connection.get_connection_params()
    where = {"host": params["host"], "user": params["user"]}
    with psycopg.connect(**where, dbname="postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {TENANT}")
        server.execute(f"CREATE DATABASE {TENANT}")
        with psycopg.connect(**where, dbname=TENANT) as tenant:
            for number in range(25):
                tenant.execute(f"CREATE TABLE t{number} (id int)")
        yield where
        server.execute(f"DROP DATABASE {TENANT} WITH (FORCE)")


@pytest.fixture
def site(live_server, tenant_database):
    """A product without any enabled metric, and a client's service that renews today."""
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    a_staff_user("ines@staff.test", PASSWORD)
    sara = a_user("sara@client.test", PASSWORD)
    server = Server.objects.create(
        name="pg-01",
        provider="postgresql",
        settings={**tenant_database, "port": 5432, "database": "postgres", "sslmode": "prefer", "tenants": "databases"},
    )
    product = a_product("Managed PostgreSQL", provider="postgresql")
    anchor, number = backdated(timezone.localdate())
    a_service(
        product,
        a_client(users=(sara,)),
        a_tenant(server, TENANT),
        anchor=str(anchor),
        next_term=number,
        name="alice's databases",
    )
    return live_server.url


def staff_price_and_refresh(page: Page, base: str) -> None:
    log_in(page, base, "ines@staff.test", PASSWORD)
    page.goto(f"{base}/admin/products/")
    page.get_by_role("link", name="Metric billing").first.click()
    page.get_by_role("switch", name="Tables").check()
    page.get_by_role("button", name="Save switches").click()
    expect(page.get_by_role("switch", name="Tables")).to_be_checked()
    row = page.get_by_role("row").filter(has_text="Tables")
    row.get_by_role("link", name="Add pricing").click()
    page.get_by_role("radio", name="Graduated").check()
    for start, price in (("0", "2"), ("10", "1"), ("20", "0.50")):
        number = int(start) // 10
        if number:
            page.get_by_role("button", name="Add a bracket").click()
        page.get_by_label(f"Bracket {number + 1}, starts with").fill(start)
        page.get_by_label(f"Bracket {number + 1}, price in USD").fill(price)


def test_staff_enable_price_and_refresh_and_the_client_sees_the_metric_and_the_invoice(browser: Browser, site: str):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    said = complaints(page)
    staff_price_and_refresh(page, site)
    page.locator("#id_quantity").fill("25")
    expect(page.locator("#preview")).to_contain_text("$31.00")
    page.get_by_role("button", name="Save as version 1").click()
    expect(page.get_by_role("row").filter(has_text="Tables")).to_contain_text("from $2.00, then $1.00 and $0.50")
    page.goto(f"{site}/admin/services/")
    page.get_by_role("link", name="alice's databases").click()
    page.get_by_role("button", name="Refresh now").click()
    row = page.get_by_role("row").filter(has_text="Tables")
    expect(row).to_contain_text("25 tables")
    expect(row).to_contain_text("$31.00")
    backdate()
    page.goto(f"{site}/admin/runs/")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_text("As it stands, $")).to_be_visible()
    page.get_by_role("button", name="issue now").click()
    expect(page.get_by_text("for 1 term")).to_be_visible()
    expect(page.get_by_text("Done", exact=True)).to_be_visible()
    context.close()
    client_sees(browser, site)
    assert said == []


def client_sees(browser: Browser, base: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    said = complaints(page)
    log_in(page, base, "sara@client.test", PASSWORD)
    page.get_by_role("link", name="Managed PostgreSQL").click()
    expect(page.get_by_role("region", name="Tables", exact=True)).to_be_visible()
    for hidden in ("Disk used", "Connections", "Rows written"):
        expect(page.get_by_text(hidden)).to_have_count(0)
    page.goto(f"{base}/invoices/")
    page.get_by_role("row").get_by_role("link").first.click()
    expect(page.get_by_text("25 tables: 9 at $2.00, 10 at $1.00, 6 at $0.50")).to_be_visible()
    page.get_by_text("How this comes about").click()
    expect(page.get_by_role("row").filter(has_text="20 to 25")).to_contain_text("$3.00")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
    assert said == []


def backdate() -> None:
    """Let the switch and the price have been there for the whole term, so that it is billed."""
    long_ago = timezone.localdate() - timedelta(days=1000)
    EnabledSpan.objects.update(start=long_ago)
    PricingVersion.objects.update(effective_from=long_ago)
