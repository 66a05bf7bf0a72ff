"""The pages by keyboard alone: one sees where one is, gets to everything in order, and out again."""

import pytest
from django.urls import reverse

from tests.access.world import world
from tests.browser.pages_of_the_site import ADMINISTRATOR, NOBODY, OWNER, opened
from tests.builders import panel

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = [
    (NOBODY, "account_login"),
    (OWNER, "home"),
    (OWNER, "portal_service"),
    (OWNER, "portal_invoice"),
    (OWNER, "portal_alert_new"),
    (ADMINISTRATOR, "staff_service_change"),
]
#: What the focus is on: whether it can be seen there, and a name for it in the report. What shows it is an outline or
#: a ring, which for what has its own look is drawn as a shadow.
WHERE = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const looks = getComputedStyle(one), box = one.getBoundingClientRect();
    window.seen ??= new Map();
    if (!window.seen.has(one)) window.seen.set(one, window.seen.size);
    return {
        number: window.seen.get(one),
        name: `${one.tagName.toLowerCase()} ${(one.textContent || one.name || "").trim().slice(0, 40)}`,
        is_marked: looks.outlineStyle !== "none" || looks.boxShadow !== "none",
        is_on_screen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
    };
}"""


@pytest.fixture
def site(live_server):
    with panel():
        yield world()


@pytest.mark.parametrize(("kind", "name"), PAGES)
@pytest.mark.parametrize("width", [1440, 360])
def test_every_stop_is_seen_and_none_holds_the_focus(browser, live_server, site, kind, name, width):
    with opened(browser, live_server.url, site.users[kind], width=width) as window:
        page = window.new_page()
        page.goto(reverse(name, args=site.arguments.get(name, [])))
        page.evaluate("document.activeElement.blur()")
        stops = []
        for _ in range(200):
            page.keyboard.press("Tab")
            stop = page.evaluate(WHERE)
            if stop is None or (stops and stop["number"] == 0):
                break
            stops.append(stop)
    assert len(stops) > 3
    assert [stop["number"] for stop in stops] == list(range(len(stops))), "the focus came back before the end"
    assert [stop["name"] for stop in stops if not stop["is_marked"]] == []
    assert [stop["name"] for stop in stops if not stop["is_on_screen"]] == []


@pytest.mark.parametrize(("kind", "name"), [page for page in PAGES if page[0] != NOBODY])
def test_the_first_stop_leads_to_the_content(browser, live_server, site, kind, name):
    with opened(browser, live_server.url, site.users[kind], width=1440) as window:
        page = window.new_page()
        page.goto(reverse(name, args=site.arguments.get(name, [])))
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "tp-skip"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("!!document.activeElement.closest('main')")


@pytest.mark.parametrize(("kind", "name"), [(OWNER, "home"), (ADMINISTRATOR, "staff_home")])
def test_the_menu_opens_and_closes_with_enter(browser, live_server, site, kind, name):
    with opened(browser, live_server.url, site.users[kind], width=360) as window:
        page = window.new_page()
        page.goto(reverse(name))
        menu = page.locator("details.tp-menu > summary")
        menu.focus()
        page.keyboard.press("Enter")
        assert page.locator("details.tp-menu > nav").is_visible()
        page.keyboard.press("Tab")
        assert page.evaluate("!!document.activeElement.closest('details.tp-menu > nav')")
        menu.focus()
        page.keyboard.press("Enter")
        assert page.locator("details.tp-menu > nav").is_hidden()


def test_the_cursor_is_in_the_first_field_that_was_filled_in_wrongly(browser, live_server, site):
    address = reverse("staff_client_edit", args=site.arguments["staff_client"])
    with opened(browser, live_server.url, site.users[ADMINISTRATOR], width=360) as window:
        page = window.new_page()
        page.goto(address)
        page.locator("[name=name]").fill("  ")
        page.locator("[name=currency]").fill("QQQ")
        page.locator("main form [type=submit]").first.click()
        page.locator("[name=currency][aria-invalid=true]").wait_for()
        assert page.evaluate("document.activeElement.name") == "name"
        assert page.evaluate(WHERE)["is_on_screen"]
        assert page.locator("[autofocus]").count() == 1
