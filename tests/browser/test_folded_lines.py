"""What stands behind a line of an invoice is fetched when it is unfolded, in a real Chromium."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import complaints, log_in
from tests.builders import TRAFFIC, a_client, a_product, a_server, a_service, a_setting, a_tenant, a_user
from tests.invoicing.documents import fee, issued, usage

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def invoice():
    """A fixed price, and 13 GB of October."""
    product = a_product()
    service = a_service(product, a_client(users=(a_user("sara@client.test", PASSWORD),)), a_tenant(a_server()))
    traffic = usage(service, a_setting(product, TRAFFIC), ("2026-10-01", "13"), title="Bandwidth, October 2026")
    return issued(service.client, fee(service), traffic)


def opened(browser, site, invoice, **options):
    context = browser.new_context(viewport={"width": 360, "height": 800}, **options)
    page = context.new_page()
    said = complaints(page)
    log_in(page, site, "sara@client.test", PASSWORD)
    page.goto(f"{site}/invoices/{invoice.pk}/")
    return page, said


def test_a_line_that_is_unfolded_says_how_it_comes_about(browser: Browser, live_server, invoice):
    page, said = opened(browser, live_server.url, invoice)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/lines/" in request.url else None)
    fold = page.locator("details.tp-more")
    for _ in range(3):  # open, closed, and open again
        fold.locator("summary").click()
    expect(fold.get_by_role("heading", name="2. The usage")).to_be_visible()
    expect(fold.get_by_role("row").filter(has_text="1 October 2026")).to_contain_text("13 GB")
    assert len(asked) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []


def test_where_the_connection_breaks_the_way_to_the_lines_own_page_stays_and_it_can_be_tried_again(
    browser: Browser, live_server, invoice
):
    page, _said = opened(browser, live_server.url, invoice)
    page.route("**/lines/**", lambda route: route.abort())
    fold = page.locator("details.tp-more")
    fold.locator("summary").click()
    expect(fold.get_by_text("This could not be fetched.")).to_be_visible()
    expect(fold.get_by_role("link")).to_be_visible()
    page.unroute("**/lines/**")
    fold.locator("summary").click()
    fold.locator("summary").click()
    expect(fold.get_by_role("heading", name="1. The charge")).to_be_visible()


def test_without_scripts_the_fold_leads_to_the_lines_own_page(browser: Browser, live_server, invoice):
    page, said = opened(browser, live_server.url, invoice, java_script_enabled=False)
    page.locator("details.tp-more summary").click()
    page.get_by_role("link", name="All of this line, with every reading").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bandwidth, October 2026")
    expect(page.get_by_text("13 GB").first).to_be_visible()
    assert said == []
