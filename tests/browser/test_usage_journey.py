"""A client looks what a service will cost and why, from the overview to the days, in a real Chromium."""

from datetime import date, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from catalog.models import Service
from invoicing.models import InvoicingSpan
from tests.browser.chromium import complaints, log_in
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    Usage,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    a_user,
    collected,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def service() -> Service:
    """Measured each morning for three weeks, in a term that began then."""
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    priced(a_setting(product, EMAILS), ("0", "0.01"), included="1000")
    today = timezone.localdate()
    for back in range(21, -1, -1):
        day = today - timedelta(days=back)
        values = {"mailboxes": 25, "traffic": Usage(day.day * GB, limit=50 * GB), "emails": 50}
        collected(server, f"{day} 00:00", tenant_says("alice", **values))
    client = a_client(users=(a_user("sara@client.test", PASSWORD),))
    anchor = str(today - timedelta(days=21))
    return a_service(product, client, a_tenant(server), anchor=anchor, next_term=1)


def follow(page: Page, base: str, script: bool) -> None:
    log_in(page, base, "sara@client.test", PASSWORD)
    page.goto(f"{base}/")
    expect(page.get_by_text("Expected by the end of the term")).to_be_visible()
    page.get_by_role("link", name="Business Web").first.click()
    emails = page.get_by_role("region", name="Emails sent")
    expect(emails).to_contain_text("Included r")  # out, or ran out, as the month is long
    expect(emails.locator("svg.tp-chart").first).to_be_visible()
    emails.get_by_text("The same as a table").click()
    boxes = page.get_by_role("region", name="Mailboxes")
    if script:
        expect(emails.get_by_role("table").first).to_contain_text("50")
    else:  # the fold has the way to the page that has the table
        emails.get_by_role("link", name="This metric, with its history").click()
        term = page.get_by_role("region", name="Emails sent")
        term.get_by_text("The same as a table").click()
        expect(term.get_by_role("table").first).to_contain_text("50")
        page.go_back()
    boxes.get_by_text("Price table, and how $31.00 comes about").click()
    if not script:
        boxes.get_by_role("link", name="This metric, with its history").last.click()
        boxes.get_by_text("Price table, and how $31.00 comes about").click()
    expect(boxes.get_by_role("row").filter(has_text="10 to 19").first).to_contain_text("$1.00")
    if not script:
        page.go_back()
    emails.get_by_role("link", name="History by day and month").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Emails sent")
    page.get_by_role("link", name="By month").click()
    expect(page.get_by_role("link", name="By month")).to_have_attribute("aria-current", "page")
    page.get_by_text("The same as a table").first.click()
    with page.expect_download() as begun:
        page.get_by_role("link", name="Months as CSV").click()
    assert begun.value.suggested_filename == "alice-emails-by-month.csv"


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_a_client_follows_the_money_to_the_days(browser: Browser, live_server, service, script, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    page = context.new_page()
    said = complaints(page)
    follow(page, live_server.url, script)
    assert said == []
    if script:
        for address in ("/", f"/services/{service.public_id}/"):
            page.goto(f"{live_server.url}{address}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
