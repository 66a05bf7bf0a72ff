"""Every page in a real Chromium, wide and narrow: it fits, says nothing on the console, and axe-core finds nothing."""

from unittest.mock import patch

import pytest

from tests.access.world import world
from tests.browser.pages_of_the_site import KINDS, OWNER, Visit, addresses, opened, with_second_steps
from tests.builders import panel

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server):
    all_of_it = world()
    with_second_steps(all_of_it.users[OWNER])
    # The passkey is nobody's: a page that asks for one asks for any.
    with panel(), patch("allauth.mfa.webauthn.internal.auth.get_credentials", return_value=[]):
        yield all_of_it


@pytest.mark.parametrize("kind", KINDS)
def test_wide_and_accessible_in_light_and_dark(browser, live_server, site, kind):
    with opened(browser, live_server.url, site.users[kind], width=1440) as window:
        visit = Visit(window.new_page(), "1440")
        for address in addresses(kind, site):
            visit.open(address)
            visit.fits()
            visit.is_accessible()
            visit.tab.emulate_media(color_scheme="dark")
            visit.is_accessible(only=["color-contrast"])
            visit.tab.emulate_media(color_scheme="light")
    assert not visit.found, "\n" + "\n".join(visit.found)


@pytest.mark.parametrize("kind", KINDS)
def test_narrow_and_from_right_to_left(browser, live_server, site, kind):
    with opened(browser, live_server.url, site.users[kind], width=360) as window:
        visit = Visit(window.new_page(), "360")
        for address in addresses(kind, site):
            visit.open(address)
            visit.fits()
            visit.is_accessible()
            visit.tab.emulate_media(color_scheme="dark")
            visit.is_accessible(only=["color-contrast"])
            visit.tab.emulate_media(color_scheme="light")
            visit.fits_from_right_to_left()
    assert not visit.found, "\n" + "\n".join(visit.found)


@pytest.mark.parametrize("kind", KINDS)
def test_narrow_and_in_between_in_german(browser, live_server, site, kind):
    if user := site.users[kind]:
        user.language = "de"
        user.save(update_fields=["language"])
    with opened(browser, live_server.url, user, width=360, locale="de-DE") as window:
        visit = Visit(window.new_page(), "360, German")
        for address in addresses(kind, site):
            visit.open(address)
            visit.fits()
            visit.says_its_language("de")
            for width in (800, 1100):  # above what is stacked, and beside staff's menu
                visit.tab.set_viewport_size({"width": width, "height": 900})
                visit.fits(f" at {width} px")
            visit.tab.set_viewport_size({"width": 360, "height": 900})
    assert not visit.found, "\n" + "\n".join(visit.found)
