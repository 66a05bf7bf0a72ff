"""Signing in as people do, in a real Chromium: password, code, passkey; and signing out elsewhere."""

import time

import pytest
from allauth.mfa.totp.internal import auth as totp
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.chromium import complaints, log_in
from tests.builders import a_client, a_staff_user, a_user

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
EMAIL = "sara@client.test"


@pytest.fixture
def site(live_server):
    a_client(users=(a_user(EMAIL, PASSWORD),))
    return live_server.url


def _page(browser: Browser, width: int = 1440) -> tuple[Page, list[str]]:
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    return page, complaints(page)


def _code(secret: str, later: int = 0) -> str:
    return totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30 + later))


def _authenticator(page: Page) -> CDPSession:
    """Give the browser a phone that agrees to everything."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return cdp


def test_somebody_adds_an_authenticator_app_and_signs_in_with_its_code(browser: Browser, site: str):
    page, said = _page(browser)
    log_in(page, site, EMAIL, PASSWORD)
    page.goto(f"{site}/account/")
    page.get_by_role("link", name="Add an app").click()
    expect(page.locator("svg.tp-qr")).to_be_visible()
    secret = page.locator("#totp-key").inner_text()
    page.get_by_label("Code").fill(_code(secret, -1))
    page.get_by_role("button", name="Add this app").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    expect(page.locator(".tp-codes li")).to_have_count(10)
    recovery = page.locator(".tp-codes li").first.inner_text()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("in two steps")).to_be_visible()

    phone, said_too = _page(browser, 360)
    log_in(phone, site, EMAIL, PASSWORD)
    expect(phone.get_by_role("heading", name="Second step")).to_be_visible()
    phone.get_by_label("Code").fill("000000")
    phone.get_by_role("button", name="Sign in", exact=True).click()
    expect(phone.get_by_text("This code is not right")).to_be_visible()
    phone.get_by_label("Code").fill(_code(secret))
    phone.get_by_role("button", name="Sign in", exact=True).click()
    phone.wait_for_url(f"{site}/")
    phone.context.close()

    other, _ = _page(browser)
    log_in(other, site, EMAIL, PASSWORD)
    other.get_by_label("Code").fill(recovery)
    other.get_by_role("button", name="Sign in", exact=True).click()
    other.wait_for_url(f"{site}/")
    other.context.close()
    page.context.close()
    assert said + said_too == []


def test_somebody_adds_a_passkey_and_signs_in_with_it_alone(browser: Browser, site: str):
    page, said = _page(browser)
    _authenticator(page)
    log_in(page, site, EMAIL, PASSWORD)
    page.goto(f"{site}/account/")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto(f"{site}/account/")
    expect(page.get_by_role("heading", name="Laptop")).to_be_visible()
    expect(page.get_by_text("Passkey: signs you in without a password.")).to_be_visible()
    page.get_by_role("button", name="Sign out").first.click()
    page.wait_for_url(f"{site}/account/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{site}/")

    # As a second step after the password, and to confirm before it is removed
    page.goto(f"{site}/account/")
    page.get_by_role("button", name="Sign out").first.click()
    page.wait_for_url(f"{site}/account/login/")
    log_in(page, site, EMAIL, PASSWORD)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{site}/")
    page.goto(f"{site}/account/confirm/passkey/?next=/account/")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{site}/account/")
    page.get_by_role("link", name="Remove Laptop").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("by password alone")).to_be_visible()
    page.context.close()
    assert said == []


def test_a_passkey_that_is_not_used_is_said_on_the_page(browser: Browser, site: str):
    page, said = _page(browser)
    page.add_init_script("navigator.credentials.get = () => Promise.reject(new DOMException('no', 'NotAllowedError'))")
    page.goto(f"{site}/account/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("The passkey was not used")
    page.context.close()
    assert said == []


def test_somebody_signs_out_everywhere_else(browser: Browser, site: str):
    here, said = _page(browser)
    elsewhere, _ = _page(browser, 360)
    for page in (here, elsewhere):
        log_in(page, site, EMAIL, PASSWORD)
    here.goto(f"{site}/account/#sessions")
    expect(here.get_by_text("this one")).to_be_visible()
    here.get_by_role("button", name="Sign out everywhere else").click()
    expect(here.get_by_text("All other sessions are signed out.")).to_be_visible()
    elsewhere.goto(f"{site}/account/")
    expect(elsewhere.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    here.goto(f"{site}/account/")
    expect(here.get_by_role("heading", name="Your account")).to_be_visible()
    here.context.close()
    elsewhere.context.close()
    assert said == []


@pytest.mark.parametrize("width", [1440, 360])
@pytest.mark.parametrize("address", ["", "admin/"])
def test_signing_out_takes_one_click(browser: Browser, site: str, address: str, width: int):
    a_staff_user("ines@staff.test", PASSWORD)
    page, said = _page(browser, width)
    log_in(page, site, "ines@staff.test" if address else EMAIL, PASSWORD)
    page.goto(f"{site}/{address}")
    if width == 360:
        page.locator("summary", has_text="Menu").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site}/account/login/")
    page.goto(f"{site}/{address}")
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    page.context.close()
    assert said == []


@pytest.mark.parametrize("fault", ["without JavaScript", "not fetched"])
def test_signing_out_asks_first_where_it_cannot_be_done_at_once(browser: Browser, site: str, fault: str):
    page = browser.new_context(java_script_enabled=fault != "without JavaScript").new_page()
    log_in(page, site, EMAIL, PASSWORD)
    if fault == "not fetched":
        page.route("**/account/logout/", lambda route: route.abort(), times=1)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site}/account/logout/*")
    expect(page.get_by_text(f"You are signed in as {EMAIL}.")).to_be_visible()
    page.locator("main").get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site}/account/login/")
    page.goto(f"{site}/")
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    page.context.close()


def test_without_javascript_a_password_lets_in_and_no_button_is_dead(browser: Browser, site: str):
    page = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800}).new_page()
    page.goto(f"{site}/account/login/")
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)
    page.fill("[name=login]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.goto(f"{site}/account/")
    page.get_by_label("Name").fill("Sara L")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your preferences are saved.")).to_be_visible()
    page.context.close()


def test_staff_are_led_to_add_a_second_step_and_then_go_where_they_wanted(browser: Browser, site: str, settings):
    settings.STAFF_MFA = True
    a_staff_user("ines@staff.test", PASSWORD)
    page, said = _page(browser)
    page.goto(f"{site}/admin/servers/")
    page.fill("[name=login]", "ines@staff.test")
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    expect(page.get_by_role("heading", name="Add a second step first")).to_be_visible()
    page.get_by_role("link", name="Use an authenticator app").click()
    page.get_by_label("Code").fill(_code(page.locator("#totp-key").inner_text()))
    page.get_by_role("button", name="Add this app").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto(f"{site}/admin/servers/")
    expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()
    page.context.close()
    assert said == []
