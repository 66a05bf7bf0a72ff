"""What staff see of a simulation, in a real Chromium: it begins by itself, says how far it is, and can be repeated."""

from datetime import date, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from catalog.models import PricingVersion
from invoicing.models import InvoicingSpan
from metering.models import Usage
from tests.browser.chromium import complaints, log_in
from tests.builders import (
    MAILBOXES,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    panel,
    partitions,
    priced,
)

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def address(live_server):
    """The editor of a product with a service that had 25 mailboxes at the end of the last two months."""
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    a_staff_user("ines@staff.test", PASSWORD)
    product, tenant = a_product(), a_tenant(a_server())
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    a_service(product, tenant=tenant, anchor="2026-01-01")
    day = timezone.localdate()
    for _ in range(2):
        day = day.replace(day=1) - timedelta(days=1)
        partitions.ensure([day])
        end, key = day + timedelta(days=1), {"tenant_id": tenant.pk, "metric_id": a_metric(MAILBOXES).pk}
        Usage.objects.create(**key, start=day, end=end, value=25, collection_id=1)
    with panel():
        yield f"{live_server.url}/admin/products/{product.pk}/metrics/{a_metric(MAILBOXES).pk}/pricing/"


def asked_what_if(browser: Browser, address: str, **options) -> tuple[Page, list[str]]:
    """The simulation of a draft whose first bracket costs 1.90."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}, **options).new_page()
    said = complaints(page)
    log_in(page, address.partition("/admin/")[0], "ines@staff.test", PASSWORD)
    page.goto(address)
    page.get_by_label("Bracket 1, price in USD").fill("1.90")
    page.get_by_role("button", name="What if…").click()
    expect(page.get_by_role("heading", name="What if: Mailboxes")).to_be_visible()
    return page, said


def test_it_begins_by_itself_and_one_comes_back_to_the_draft(browser: Browser, address: str):
    page, said = asked_what_if(browser, address)
    result = page.locator("#result")
    expect(result).to_contain_text("−$1.80")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#unreachable")).to_be_hidden()
    page.get_by_label("First month").select_option(index=0)
    page.get_by_role("button", name="Simulate again").click()
    expect(result).to_contain_text("−$0.90")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert "31.00,25,mailboxes,30.10,-0.90" in download.value.path().read_text()
    page.get_by_role("button", name="Back to the draft").click()
    expect(page.get_by_label("Bracket 1, price in USD")).to_have_value("1.90")
    assert said == []
    assert PricingVersion.objects.count() == 1


def test_the_progress_is_shown_in_words(browser: Browser, address: str):
    page, _ = asked_what_if(browser, address)
    expect(page.locator("#result")).to_contain_text("−$1.80")
    page.route("**/simulate/", lambda route: route.fulfill(body='{"done": 250, "of": 10000}\n'))
    page.evaluate("new MutationObserver(() => window.seen = document.getElementById('progress-words').textContent)"
                  ".observe(document.getElementById('progress-words'), {childList: true})")  # fmt: skip
    page.get_by_role("button", name="Simulate again").click()
    # An answer that breaks off says so, and keeps no old result.
    expect(page.locator("#unreachable")).to_be_visible()
    assert page.evaluate("window.seen") == "250 of 10,000 services"
    expect(page.locator("#result")).to_be_empty()
    page.unroute("**/simulate/")
    page.get_by_role("button", name="Simulate again").click()
    expect(page.locator("#result")).to_contain_text("−$1.80")
    expect(page.locator("#unreachable")).to_be_hidden()


def test_without_script_a_button_does_it(browser: Browser, address: str):
    page, _ = asked_what_if(browser, address, java_script_enabled=False)
    expect(page.locator("#result")).to_be_empty()
    page.get_by_role("button", name="Simulate").click()
    expect(page.locator("#result")).to_contain_text("−$1.80")
    page.get_by_role("button", name="Back to the draft").click()
    expect(page.get_by_label("Bracket 1, price in USD")).to_have_value("1.90")


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_the_screen(browser: Browser, address: str, width: int):
    page, _ = asked_what_if(browser, address)
    page.set_viewport_size({"width": width, "height": 800})
    expect(page.locator("#result")).to_contain_text("−$1.80")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
