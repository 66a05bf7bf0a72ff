"""The page of a collection follows it in a real Chromium, and shows its record when it ended."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from metering import asked_collections, server_lock
from metering.models import Collection
from tests.browser.chromium import complaints, log_in
from tests.builders import a_server, a_staff_user

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def page(browser: Browser, live_server) -> Iterator[Page]:
    a_staff_user(password=PASSWORD)
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    log_in(page, live_server.url, "ines@staff.test", PASSWORD)
    yield page
    context.close()


def test_the_page_follows_a_collection_from_the_worker_to_its_record(page: Page, live_server, monkeypatch):
    monkeypatch.setattr(asked_collections, "hand_over", lambda job, pk: None)
    said, server = complaints(page), a_server()
    page.goto(f"{live_server.url}/admin/servers/")
    page.get_by_role("link", name="panel-01").click()
    record = asked_collections.ask(server=server, at=timezone.now(), by=None)
    page.goto(f"{live_server.url}/admin/collections/{record.pk}/")
    expect(page.get_by_text("The worker begins it as soon as it is free.")).to_be_visible()
    one, now = Collection.objects.filter(pk=record.pk), timezone.now()
    with connection.copy().cursor() as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [server_lock.LOCK, server.pk])
        one.update(status="running", started_at=now, as_of=now, seen_so_far=12_000)
        expect(page.get_by_text("12,000")).to_be_visible()
        other.db.close()
    one.update(status="complete", ended_at=timezone.now(), tenants=12_345, calls=13)
    expect(page.get_by_text("12,345")).to_be_visible()
    expect(page.get_by_role("link", name="Refresh")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []
