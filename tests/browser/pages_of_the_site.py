"""Every page of the site that can be opened, with somebody who may see it; and what a browser finds wrong with one.

The pages are the addresses of tests/access/rules.py: a new address is among them without being written here.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request, Response, expect
from playwright.sync_api import Page as Tab

from catalog.models import User
from tests.access.rules import PORTAL, PUBLIC, STAFF_PAGES
from tests.access.world import World

OWNER, ADMINISTRATOR, NOBODY = "owner", "staff administrator", "nobody"
KINDS = (OWNER, ADMINISTRATOR, NOBODY)
#: Not pages: files, and what programs ask for.
FILES = ("_csv", "_pdf")
NO_PAGES = {"healthz", "readyz", "favicon", "robots"}
#: Pages that another leads to: `invitation` with a token in its address.
LED_TO = {"accept_invitation"}
OF_NOBODY = "account_login account_reset_password account_reset_password_done account_reset_password_from_key_done"
OF_OWNER = (
    "account account_change_password account_logout account_reauthenticate mfa_index mfa_reauthenticate"
    " mfa_reauthenticate_webauthn mfa_deactivate_totp mfa_view_recovery_codes mfa_generate_recovery_codes"
    " mfa_add_webauthn"
)
#: Rules of WCAG 2.2 at levels A and AA.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@dataclass(frozen=True)
class Address:
    name: str
    path: str


def addresses(kind: str, all_of_it: World) -> Iterator[Address]:
    """Every page that is swept as somebody of this kind."""
    rules, more = {
        OWNER: (PORTAL, OF_OWNER.split()),
        ADMINISTRATOR: (STAFF_PAGES, ["staff_records", "mfa_activate_totp"]),
        NOBODY: (PUBLIC, OF_NOBODY.split()),
    }[kind]
    names = [name for name, rule in rules.items() if rule.see is not None and kind in rule.see]
    for name in dict.fromkeys([*names, *more]):
        if not name.endswith(FILES) and name not in NO_PAGES | LED_TO:
            yield Address(name, reverse(name, args=all_of_it.arguments.get(name, [])))
    if kind == OWNER:
        passkey = Authenticator.objects.get(user=all_of_it.users[kind], type=Authenticator.Type.WEBAUTHN)
        for name in ("mfa_edit_webauthn", "mfa_remove_webauthn"):
            yield Address(name, reverse(name, args=[passkey.pk]))
    if kind == ADMINISTRATOR:
        yield from _records(all_of_it.users[kind])
    yield Address("nowhere", "/admin/nowhere/" if kind == ADMINISTRATOR else "/nowhere/")


def _records(user: User) -> Iterator[Address]:
    """Django's admin: the list of each model, an empty form, and all that there is of one record."""
    for model in admin.site._registry:
        names = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        if user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"):
            yield Address(f"{names}_changelist", reverse(f"{names}_changelist"))
            if one := model._default_manager.order_by("pk").first():
                for page in ("change", "history"):
                    yield Address(f"{names}_{page}", reverse(f"{names}_{page}", args=[one.pk]))
            if admin.site._registry[model].has_add_permission(SimpleNamespace(user=user)):
                yield Address(f"{names}_add", reverse(f"{names}_add"))


def with_second_steps(user: User) -> None:
    """Give them an authenticator app, recovery codes and a passkey, so that the pages about these are open."""
    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)
    Authenticator.objects.create(
        user=user,
        type=Authenticator.Type.WEBAUTHN,
        data={"name": "Phone", "credential": {"clientExtensionResults": {}}},
    )


def opened(browser: Browser, base: str, user: User | None, *, width: int, **options: Any) -> BrowserContext:
    """A window in which the user is signed in, since just now."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, base_url=base, reduced_motion="reduce", **options
    )
    if user is not None:
        client = Client()
        client.force_login(user)
        session = client.session
        session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time(), "email": user.email}]
        session.save()
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": base}])
    return context


class Visit:
    """One tab that goes from page to page, and what it finds there, in lines that can be read."""

    def __init__(self, tab: Tab, label: str) -> None:
        self.tab, self.label, self.name, self.is_mail = tab, label, "", False
        self.found: list[str] = []
        tab.on("console", self._said)
        tab.on("pageerror", lambda error: self.note(f"script: {error}"))
        tab.on("response", self._answered)
        tab.on("requestfailed", self._failed)

    def note(self, what: str) -> None:
        self.found.append(f"{self.name} [{self.label}] {what}")

    def open(self, address: Address) -> None:
        self.name = address.name
        self.is_mail = address.name.endswith("_html")
        self.tab.goto(address.path)
        if self.is_mail:  # no script runs in it, not even axe
            mail = self.tab.content()
            self.tab.goto("about:blank")
            self.tab.set_content(mail)
        else:
            self._unfold()

    def _unfold(self) -> None:
        """So that all of the page is looked at, what is fetched with it."""
        self.tab.evaluate("document.querySelectorAll('details.tp-more').forEach(each => each.open = true)")
        expect(self.tab.locator("details[open] [data-brief]")).to_have_count(0)

    def fits(self, how: str = "") -> None:
        """Nothing is wider than the window."""
        if (over := self.tab.evaluate("document.scrollingElement.scrollWidth - innerWidth")) > 0:
            self.note(f"{over} px too wide{how}: {self.tab.evaluate(WHAT_STICKS_OUT)}")

    def fits_from_right_to_left(self) -> None:
        self.tab.evaluate("document.documentElement.dir = 'rtl'")
        self.fits(" from right to left")

    def says_its_language(self, language: str) -> None:
        """On the page as a whole; a mail is in its reader's."""
        if not self.is_mail and self.tab.get_attribute("html", "lang") != language:
            self.note(f"is said to be in {self.tab.get_attribute('html', 'lang')}")

    def is_accessible(self, *, only: list[str] | None = None) -> None:
        """axe-core finds nothing. It comes in through the debugger, so that the page's policy stays as it is."""
        self.tab.evaluate(axe())
        chosen = {"type": "rule", "values": only} if only else {"type": "tag", "values": TAGS}
        options = {"runOnly": chosen, "resultTypes": ["violations"], "preload": False}
        for problem in self.tab.evaluate(
            "options => axe.run(document, options).then(found => found.violations)", options
        ):
            for node in problem["nodes"]:
                why = " ".join(node["failureSummary"].split()[:60])
                self.note(f"axe {problem['id']}: {node['target']} {why}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not self._is_of_nowhere(message.location["url"]):
            self.note(f"console: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not self._is_of_nowhere(response.url):
            self.note(f"{response.status}: {response.url}")

    def _failed(self, request: Request) -> None:
        # Chromium asks for the icon once a page is there, and drops the question when the tab goes on
        if not (request.url.endswith("/favicon.svg") and request.failure == "net::ERR_ABORTED"):
            self.note(f"not loaded: {request.url} {request.failure}")

    def _is_of_nowhere(self, url: str) -> bool:
        return self.name == "nowhere" and url.endswith("/nowhere/")


#: The innermost elements that reach out of the window.
WHAT_STICKS_OUT = """() => [...document.querySelectorAll("body *")]
    .filter(each => {
        const box = each.getBoundingClientRect();
        return box.width && (box.right > innerWidth + 1 || box.left < -1);
    })
    .filter((each, _, all) => ![...each.children].some(child => all.includes(child)))
    .slice(0, 4)
    .map(each => `${each.tagName.toLowerCase()}.${each.className} ${each.textContent.trim().slice(0, 30)}`)
    .join(" | ")
"""


@cache
def axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()
