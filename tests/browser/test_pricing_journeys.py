"""What staff do with prices, in a real Chromium: create, edit, version, take back, and with no script at all."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from catalog.models import PricingVersion, User
from invoicing.models import InvoicingSpan
from metering import partitions
from metering.models import Server, Usage
from tests.browser.chromium import complaints, log_in
from tests.builders import (
    MAILBOXES,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    collected,
    panel,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def address(live_server):
    """The editor of a product with a service that has 25 mailboxes."""
    # A test that commits empties the tables behind it, with what the migrations had put there.
    InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
    a_staff_user("ines@staff.test", PASSWORD)
    product, server = a_product(), a_server()
    a_setting(product, MAILBOXES)
    a_service(product, a_client(), a_tenant(server), anchor="2026-01-01")
    collected(server, f"{timezone.localdate()} 00:30", tenant_says("alice", mailboxes=25))
    with panel():
        yield f"{live_server.url}/admin/products/{product.pk}/metrics/{a_metric(MAILBOXES).pk}/pricing/"


def opened(browser: Browser, address: str, **options) -> tuple[Page, list[str]]:
    page = browser.new_context(viewport={"width": 1440, "height": 900}, **options).new_page()
    said = complaints(page)
    log_in(page, address.partition("/admin/")[0], "ines@staff.test", PASSWORD)
    page.goto(address)
    return page, said


def type_brackets(page: Page, *rows: tuple[str, str]) -> None:
    for number, (start, price) in enumerate(rows, start=1):
        if number > 1:
            page.get_by_role("button", name="Add a bracket").click()
        page.get_by_label(f"Bracket {number}, starts with").fill(start)
        page.get_by_label(f"Bracket {number}, price in USD").fill(price)


def test_staff_create_a_pricing_and_see_what_it_does_while_they_type(browser: Browser, address: str):
    page, said = opened(browser, address)
    page.get_by_role("radio", name="Total volume").check()
    type_brackets(page, ("0", "2"), ("10", "1"), ("20", "0.50"))
    preview = page.locator("#preview")
    expect(preview).to_contain_text("More usage would cost less")
    expect(preview).to_contain_text("9 cost $18.00, 10 cost $10.00")
    expect(preview).to_contain_text("19 cost $19.00, 20 cost $10.00")
    page.get_by_role("radio", name="Graduated").check()
    expect(preview).not_to_contain_text("More usage would cost less")
    page.locator("#id_quantity").fill("25")
    expect(preview).to_contain_text("$31.00")
    expect(page.get_by_text("Mailboxes 1 to 9: $2.00 each")).to_be_visible()
    expect(page.locator("#consequences")).to_contain_text("alice")
    expect(page.locator("#consequences")).to_contain_text("+$31.00")
    page.get_by_role("button", name="Save as version 1").click()
    expect(page.get_by_text("Version 1 of the pricing of Mailboxes is saved.")).to_be_visible()
    assert said == []


def test_staff_edit_it_into_a_second_version_and_take_that_back(browser: Browser, address: str):
    priced(a_setting(a_product(), MAILBOXES, enabled_from=None), ("0", "2"), ("10", "1"))
    page, said = opened(browser, address)
    page.get_by_label("Bracket 2, price in USD").fill("0.80")
    page.get_by_label("Why").fill("The list of next year")
    expect(page.locator("#consequences")).to_contain_text("USD, from 10: $0.80 instead of $1.00, 20% less")
    expect(page.locator("#consequences")).to_contain_text("−$3.20")
    page.get_by_text("Add a currency, copy prices").click()
    page.get_by_label("Currency", exact=True).first.fill("EUR")
    page.get_by_role("button", name="Add the currency").click()
    page.get_by_label("times").fill("0.5")
    page.get_by_role("button", name="Copy the prices").click()
    expect(page.get_by_label("Bracket 2, price in EUR")).to_have_value("0.40")
    page.get_by_role("button", name="Save as version 2").click()
    expect(page.get_by_text("Version 2 of the pricing of Mailboxes is saved.")).to_be_visible()
    page.goto(address)
    row = page.get_by_role("row").filter(has_text="Version 2")
    expect(row).to_contain_text("planned")
    expect(row).to_contain_text("The list of next year")
    row.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("Version 2 is withdrawn. It stays in the history.")).to_be_visible()
    assert PricingVersion.objects.get(number=2).withdrawn_by == User.objects.get(email="ines@staff.test")
    assert said == []


@pytest.mark.parametrize("script", [True, False])
def test_staff_try_a_draft_on_past_months_and_come_back_to_it(browser: Browser, address: str, script: bool):
    """25 mailboxes cost 18 + 16 by version 1, and 18 + 8 by the draft."""
    setting = a_setting(a_product(), MAILBOXES, enabled_from=None)
    priced(setting, ("0", "2"), ("10", "1"))
    used_last_month()
    page, said = opened(browser, address, java_script_enabled=script)
    page.get_by_label("Bracket 2, price in USD").fill("0.5")
    page.get_by_role("button", name="What if…").click()
    expect(page.get_by_role("heading", name="What if: Mailboxes")).to_be_visible()
    if not script:
        page.get_by_role("button", name="Simulate").click()
    result = page.locator("#result")
    expect(result).to_contain_text("$34.00")
    expect(result).to_contain_text("$26.00")
    expect(result).to_contain_text("−$8.00")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert len(rows) == 2
    assert "34.00" in rows[1]
    page.get_by_role("button", name="Back to the draft").click()
    expect(page.get_by_label("Bracket 2, price in USD")).to_have_value("0.5")
    assert PricingVersion.objects.count() == 1
    assert said == []


def used_last_month() -> None:
    """The service had 25 mailboxes on the last day of the month before."""
    server, last = Server.objects.get(), timezone.localdate().replace(day=1) - timedelta(days=1)
    partitions.ensure([last])
    Usage.objects.create(
        tenant_id=a_tenant(server).pk, metric_id=a_metric(MAILBOXES).pk, start=last, end=last + timedelta(days=1),
        value=25, collection_id=1,
    )  # fmt: skip


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(browser: Browser, address: str):
    page, said = opened(browser, address)
    page.get_by_role("radio", name="Graduated").check()
    type_brackets(page, ("0", "2"), ("10", "one"))
    page.get_by_role("button", name="Save as version 1").click()
    expect(page.get_by_role("alert").first).to_contain_text("Not saved: 1 field needs a change")
    expect(page.get_by_label("Bracket 2, price in USD")).to_have_value("one")
    page.locator("#problems").get_by_role("link", name="Bracket 2, price in USD").click()
    expect(page.get_by_label("Bracket 2, price in USD")).to_be_focused()
    assert not PricingVersion.objects.exists()
    assert said == []


def test_all_of_it_works_without_a_script(browser: Browser, address: str):
    page, said = opened(browser, address, java_script_enabled=False)
    page.get_by_role("radio", name="Total volume").check()
    type_brackets(page, ("0", "2"), ("10", "1"))
    page.locator("#id_quantity").fill("10")
    page.locator("#preview").get_by_role("button", name="Calculate").click()
    expect(page.locator("#preview")).to_contain_text("$10.00")
    expect(page.locator("#preview")).to_contain_text("9 cost $18.00, 10 cost $10.00")
    page.get_by_role("button", name="Save as version 1").click()
    assert PricingVersion.objects.get().scheme == "volume"
    assert said == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_of_the_editor_is_wider_than_the_screen(browser: Browser, address: str, width: int):
    priced(a_setting(a_product(), MAILBOXES, enabled_from=None), ("0", "2"), ("10", "1"), scheme="volume")
    page, said = opened(browser, address)
    page.set_viewport_size({"width": width, "height": 800})
    for more in page.locator("details").all():
        more.evaluate("element => element.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
