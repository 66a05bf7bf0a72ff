"""An owner invites a colleague, who accepts and sees invoices but no keys; and staff who see what a client sees."""

from datetime import date

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Browser, expect

from catalog.invitations import invitation_link
from catalog.models import Invitation
from invoicing.billing import create_invoices
from tests.browser.chromium import complaints, log_in
from tests.builders import a_client, a_product, a_service
from tests.people import client_user, staff_with

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def northwind(live_server):
    client = a_client("Northwind")
    client_user(client, "owner", "sara@client.test", password=PASSWORD, name="Sara")
    a_service(a_product(), client, name="north.example", anchor="2026-10-01", next_term=0)
    create_invoices(on=date(2026, 10, 1), at=timezone.now())
    return client


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without JavaScript"])
@pytest.mark.parametrize("width", [1440, 360])
def test_an_owner_invites_a_colleague_who_sees_invoices_but_no_keys(
    browser, live_server, northwind, has_scripts, width
):
    owner = browser.new_context(java_script_enabled=has_scripts, viewport={"width": width, "height": 900}).new_page()
    said = complaints(owner)
    log_in(owner, live_server.url, "sara@client.test", PASSWORD)
    owner.goto(f"{live_server.url}/account/users/")
    owner.get_by_label("Email address").fill("nina@client.test")
    owner.locator("#invite").get_by_label("Role").select_option("billing")
    owner.get_by_role("button", name="Invite").click()
    expect(owner.get_by_text("nina@client.test gets a mail")).to_be_visible()
    expect(owner.locator("#invitations")).to_contain_text("nina@client.test")

    link = invitation_link(Invitation.objects.get()).replace(settings.SITE_ADDRESS, live_server.url)
    colleague = browser.new_context(
        java_script_enabled=has_scripts, viewport={"width": width, "height": 900}
    ).new_page()
    said_there = complaints(colleague)
    colleague.goto(link)
    expect(colleague.get_by_role("heading", name="Join Northwind")).to_be_visible()
    assert link not in colleague.url
    colleague.get_by_label("Your name").fill("Nina")
    colleague.get_by_label("Password").fill(PASSWORD)
    colleague.get_by_role("button", name="Accept the invitation").click()
    expect(colleague.get_by_text("You see what Northwind has now")).to_be_visible()
    colleague.goto(f"{live_server.url}/invoices/")
    expect(colleague.locator("main")).to_contain_text("2026-00001")
    colleague.goto(f"{live_server.url}/account/")
    assert colleague.get_by_role("link", name="API keys").count() == 0
    assert said == said_there == []
    assert colleague.goto(f"{live_server.url}/account/keys/").status == 403

    owner.reload()
    expect(owner.locator("#users")).to_contain_text("Nina")
    assert owner.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_staff_see_what_a_client_sees_and_leave(browser: Browser, live_server, northwind):
    staff_with("support", "ines@staff.test", password=PASSWORD)
    page = browser.new_page()
    log_in(page, live_server.url, "ines@staff.test", PASSWORD)
    said = complaints(page)
    page.goto(f"{live_server.url}/admin/clients/{northwind.pk}/")
    page.get_by_role("button", name="View as client").click()
    expect(page.get_by_text("You see what Northwind sees")).to_be_visible()
    page.goto(f"{live_server.url}/services/")
    expect(page.locator("main")).to_contain_text("north.example")
    page.goto(f"{live_server.url}/admin/catalog/client/")
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_role("heading", name="Northwind", exact=True)).to_be_visible()
    assert page.get_by_text("You see what").count() == 0
    assert said == []
