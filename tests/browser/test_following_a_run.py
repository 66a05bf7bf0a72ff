"""The page of a run follows it in a real Chromium, and shows its record when it ended."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from invoicing.models import Run
from tests.browser.chromium import complaints, log_in
from tests.builders import a_staff_user

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def page(browser: Browser, live_server) -> Iterator[Page]:
    a_staff_user(password=PASSWORD)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    log_in(page, live_server.url, "ines@staff.test", PASSWORD)
    yield page
    context.close()


def a_run_at_work() -> Run:
    now = timezone.now()
    return Run.objects.create(
        on=timezone.localdate(),
        started_at=now - timedelta(seconds=5),
        beat_at=now,
        working_on=[1],
        due=4000,
        services=1500,
        invoices=1480,
    )


def test_the_page_follows_a_run_and_then_shows_what_it_did(page: Page, live_server):
    said = complaints(page)
    run = a_run_at_work()
    page.goto(f"{live_server.url}/admin/runs/{run.pk}/")
    expect(page.get_by_text("1,500 terms billed, 4,000 services due")).to_be_visible()
    Run.objects.filter(pk=run.pk).update(services=2500, beat_at=timezone.now())
    expect(page.get_by_text("2,500 terms billed, 4,000 services due")).to_be_visible()
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(services=4000, ended_at=now, beat_at=now, amounts={"USD": "96000.0000"})
    expect(page.get_by_text("$96,000.00")).to_be_visible()
    expect(page.get_by_role("link", name="Refresh")).to_have_count(0)
    assert said == []


def test_without_a_script_there_is_a_link_to_look_again(browser: Browser, page: Page, live_server):
    run = a_run_at_work()
    context = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    plain = context.new_page()
    plain.goto(f"{live_server.url}/admin/runs/{run.pk}/")
    Run.objects.filter(pk=run.pk).update(services=2500)
    plain.get_by_role("link", name="Refresh").click()
    expect(plain.get_by_text("2,500 terms billed")).to_be_visible()
    context.close()
