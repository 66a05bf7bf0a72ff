"""What a client reads with an API key: its own, in pages, with numbers as text; and what a key is worth."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.models import Entry
from catalog import api_keys
from catalog.models import ApiKey
from invoicing import pdf
from invoicing.billing import create_invoices
from invoicing.models import Invoice
from metering import keys
from metering.models import Usage
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.people import api_key, bearer, client_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"), tick=False)


@pytest.fixture
def own():
    """A service of a client with mailboxes billed, emails shown, and disk space off; and its invoice."""
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"))
    a_setting(product, EMAILS)
    a_setting(product, DISK, enabled_from=None)
    service = a_service(product, a_client("Northwind"), a_tenant(server), anchor="2026-10-01", next_term=1)
    collected(server, "2026-10-31 06:00", tenant_says("alice", mailboxes=25, disk=7, emails=3))
    with panel(says(tenant_says("alice", mailboxes=25))):
        create_invoices(on=date(2026, 11, 1), at=timezone.now())
    return service


def get(client, token, name, /, *arguments, **query):
    return client.get(reverse(f"api:{name}", args=arguments), query, headers=bearer(token))


def test_a_key_reads_services_usage_invoices_and_lines(client, own):
    token = api_key(own.client)
    [service] = get(client, token, "list_services").json()["items"]
    assert service["id"] == str(own.public_id)
    metrics = get(client, token, "read_service", own.public_id).json()["metrics"]
    assert [metric["system_name"] for metric in metrics] == ["emails", "mailboxes"]
    used = get(client, token, "list_usage", own.public_id, metric="emails").json()
    assert used["items"] == [{"start": "2026-10-31", "end": "2026-11-01", "quantity": "3"}]
    [invoice] = get(client, token, "list_invoices").json()["items"]
    assert invoice["total"] == "58.00"
    assert invoice["left"] == "58.00"
    assert invoice["state"]
    assert get(client, token, "read_invoice", invoice["id"]).json() == invoice
    lines = get(client, token, "list_lines", invoice["id"]).json()["items"]
    assert sum(Decimal(line["amount"]) for line in lines) == Decimal(invoice["total"])
    usage = next(line for line in lines if line["kind"] == "usage")
    assert usage["quantity"] == "25"
    assert sum(Decimal(step["amount"]) for step in usage["steps"]) == Decimal(usage["exact"])
    assert all(isinstance(line["amount"], str) for line in lines)


def test_a_key_reads_the_pdf_that_the_portal_gives(client, own):
    invoice = Invoice.objects.get()
    answer = get(client, api_key(own.client), "read_pdf", invoice.pk)
    assert answer["Content-Type"] == "application/pdf"
    assert answer["Content-Disposition"] == f'attachment; filename="{invoice.number}.pdf"'
    client.force_login(client_user(own.client, "reader"))
    assert answer.content == client.get(reverse("portal_invoice_pdf", args=[invoice.pk])).content


def test_a_pdf_that_cannot_be_made_is_said_in_words(client, own, monkeypatch):
    def cannot(*_arguments):
        raise pdf.CannotPrint("out of ink")

    monkeypatch.setattr(pdf, "render", cannot)
    answer = get(client, api_key(own.client), "read_pdf", Invoice.objects.get().pk)
    assert answer.status_code == 503
    assert "ink" not in answer.content.decode()


def test_what_is_another_clients_is_like_what_does_not_exist(client, own):
    """S1, S21."""
    token = api_key(a_client("Other"))
    invoice = Invoice.objects.get()
    for name, arguments, query in [
        ("read_service", [own.public_id], {}),
        ("list_usage", [own.public_id], {"metric": "mailboxes"}),
        ("read_invoice", [invoice.pk], {}),
        ("list_lines", [invoice.pk], {}),
        ("read_pdf", [invoice.pk], {}),
    ]:
        theirs = get(client, token, name, *arguments, **query)
        nobodys = get(client, token, name, "00000000-0000-4000-8000-000000000000", **query)
        assert (theirs.status_code, theirs.json()) == (nobodys.status_code, nobodys.json())
        assert theirs.status_code == 404
    assert get(client, token, "list_services", client=own.client_id).json()["items"] == []
    assert get(client, token, "list_invoices", client_id=own.client_id).json()["items"] == []


@pytest.mark.parametrize("metric", ["disk", "nothing", "' OR 1=1 --", "\x00"])
def test_a_metric_that_is_not_shown_does_not_exist(client, own, metric):
    assert get(client, api_key(own.client), "list_usage", own.public_id, metric=metric).status_code == 404


def test_what_the_tenant_used_before_it_was_this_clients_is_not_told(client, own):
    metric = a_metric(EMAILS)
    own.anchor = date(2026, 10, 20)
    own.save()
    for day in (date(2026, 10, 18), date(2026, 10, 19), date(2026, 10, 20)):
        Usage.objects.create(
            tenant_id=own.tenant_id, metric_id=metric.pk, start=day, end=day + timedelta(days=1), value=1
        )
    token = api_key(own.client)
    days = [each["start"] for each in get(client, token, "list_usage", own.public_id, metric="emails").json()["items"]]
    assert days == ["2026-10-20", "2026-10-31"]
    own.metered_from = date(2026, 10, 25)
    own.save()
    days = [each["start"] for each in get(client, token, "list_usage", own.public_id, metric="emails").json()["items"]]
    assert days == ["2026-10-31"]


def days_of(client, token, service, metric):
    rows = get(client, token, "list_usage", service.public_id, metric=metric).json()["items"]
    return [row["start"] for row in rows]


def test_what_the_tenant_used_after_it_was_this_clients_is_not_told(client, own):
    """The month in which the service ended is left out of what is totalled by the month, as in the portal."""
    a_setting(own.product, TRAFFIC)
    server = own.tenant.server
    for when in ("2026-10-05 06:00", "2026-11-10 06:00"):
        collected(server, when, tenant_says("alice", emails=3, traffic=6 * GB), accept_changes=True)
    own.status, own.terminated_on = "terminated", date(2026, 11, 10)
    own.save()
    a_service(own.product, a_client("Next"), own.tenant, anchor="2026-11-11")
    collected(server, "2026-11-18 06:00", tenant_says("alice", emails=777, traffic=900 * GB), accept_changes=True)
    token = api_key(own.client)
    assert days_of(client, token, own, "emails") == ["2026-10-05", "2026-10-31", "2026-11-10"]
    assert days_of(client, token, own, "traffic") == ["2026-10-01"]
    own.terminated_on = date(2026, 11, 30)
    own.save()
    assert days_of(client, token, own, "traffic") == ["2026-10-01", "2026-11-01"]


def test_a_service_that_was_cancelled_reads_nothing_of_the_next_client(client, own):
    a_setting(own.product, TRAFFIC)
    own.status = "cancelled"
    own.save()
    a_service(own.product, a_client("Next"), own.tenant, anchor="2026-11-01")
    collected(own.tenant.server, "2026-11-18 06:00", tenant_says("alice", emails=777, traffic=900 * GB))
    token = api_key(own.client)
    assert [days_of(client, token, own, metric) for metric in ("emails", "traffic", "mailboxes")] == [[], [], []]


def test_a_metric_that_was_switched_off_and_on_again_is_named_once(client, own):
    setting = own.product.metric_settings.get(metric__system_name="emails")
    setting.enabled_spans.update(end=date(2026, 3, 1))
    setting.enabled_spans.create(start=date(2026, 4, 1))
    metrics = get(client, api_key(own.client), "read_service", own.public_id).json()["metrics"]
    assert [metric["system_name"] for metric in metrics] == ["emails", "mailboxes"]


def test_usage_is_chosen_by_day(client, own):
    token = api_key(own.client)

    def days(**query):
        rows = get(client, token, "list_usage", own.public_id, metric="emails", **query).json()["items"]
        return [row["start"] for row in rows]

    assert days(**{"from": "2026-10-31", "to": "2026-10-31"}) == ["2026-10-31"]
    assert days(**{"from": "2026-11-01"}) == []
    assert days(to="2026-10-30") == []


def test_lists_come_in_pages_that_follow_each_other(client):
    own = a_client()
    made = [a_service(client=own, name=f"{number}.example") for number in range(5)]
    token, seen, cursor = api_key(own), [], ""
    for _ in range(4):
        page = get(client, token, "list_services", limit=2, cursor=cursor).json()
        assert len(page["items"]) <= 2
        seen += [each["name"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [service.name for service in made]


def test_pages_of_invoices_neither_repeat_nor_leave_out(client):
    product = a_product()
    own = a_client()
    for number in range(3):
        a_service(product, own, name=f"{number}", anchor="2026-07-01", next_term=0)
    for month in (7, 8, 9):
        create_invoices(on=date(2026, month, 1), at=timezone.now())
    token, seen, cursor = api_key(own), [], ""
    while cursor is not None:
        page = get(client, token, "list_invoices", limit=2, cursor=cursor).json()
        seen += [each["number"] for each in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == Invoice.objects.count()
    assert seen == list(Invoice.objects.order_by("-issued_on", "-number").values_list("number", flat=True))


@pytest.mark.parametrize(
    "cursor", ["x", "====", "MjAyNi0xMy0wMXwx", "w6k", "AAAA", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"]
)
def test_a_cursor_that_was_not_given_is_refused_or_finds_nothing(client, own, cursor):
    token = api_key(own.client)
    for name, arguments, query in [
        ("list_services", [], {}),
        ("list_invoices", [], {}),
        ("list_lines", [Invoice.objects.get().pk], {}),
        ("list_usage", [own.public_id], {"metric": "emails"}),
    ]:
        assert get(client, token, name, *arguments, cursor=cursor, **query).status_code in (200, 422)


@pytest.mark.parametrize("limit", ["0", "201", "x", "-1"])
def test_a_page_has_a_bound(client, own, limit):
    assert get(client, api_key(own.client), "list_services", limit=limit).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer x"}, {"authorization": "Bearer "}, {"authorization": "Basic dDp0"},
     {"authorization": "Bearer tpc_é"}],
)  # fmt: skip
def test_without_a_key_there_is_no_answer(client, own, headers):
    """S21."""
    response = client.get(reverse("api:list_invoices"), headers=headers)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert "tpc_" in response.json()["error"]


def test_a_key_counts_in_the_header_only_and_a_login_is_no_key(client, own):
    """S21: nothing that a browser sends by itself, and nothing that stands in logs of addresses."""
    token = api_key(own.client)
    client.force_login(client_user(own.client, "owner"))
    address = reverse("api:list_invoices")
    assert client.get(address).status_code == 401
    for name in ("token", "key", "api_key", "access_token", "Authorization"):
        assert client.get(address, {name: token}).status_code == 401
    client.cookies["Authorization"] = f"Bearer {token}"
    assert client.get(address).status_code == 401


def test_a_key_opens_no_page_and_changes_nothing(client, own):
    token = api_key(own.client)
    assert client.get(reverse("home"), headers=bearer(token)).status_code == 302
    for method in ("post", "put", "patch", "delete"):
        assert getattr(client, method)(reverse("api:list_invoices"), headers=bearer(token)).status_code in (401, 405)
    assert client.post(f"/api/v1/services/{own.public_id}/terminate", headers=bearer(token)).status_code in (401, 403)
    assert client.post("/api/v1/usage", headers=bearer(token)).status_code == 401


def test_a_key_is_shown_once_and_its_digest_is_kept(client, own):
    """S21."""
    client.force_login(client_user(own.client, "owner"))
    made = client.post(
        reverse("portal_client_make_key", args=[own.client_id]), {"name": "accounting", "days": "30"}
    ).content.decode()
    key = ApiKey.objects.get()
    token = next(word for word in made.replace("<", " ").replace(">", " ").split() if word.startswith("tpc_"))
    assert keys.digest_of(token) == key.digest
    assert token not in str(key.__dict__)
    assert key.expires_at == timezone.now() + timedelta(days=30)
    assert token not in client.get(reverse("portal_client_keys")).content.decode()
    assert get(client, token, "list_invoices").status_code == 200


def test_the_name_of_a_key_that_opens_something_is_not_given_twice(client, own):
    token = api_key(own.client, "accounting")
    client.force_login(client_user(own.client, "owner"))
    address = reverse("portal_client_make_key", args=[own.client_id])
    shown = client.post(address, {"name": "accounting", "days": "0"}).content.decode()
    assert "A key has this name" in shown
    assert ApiKey.objects.count() == 1
    assert token not in shown


def test_a_revoked_key_opens_nothing_from_the_next_request_on(client, own):
    """S21."""
    token = api_key(own.client)
    assert get(client, token, "list_invoices").status_code == 200
    client.force_login(client_user(own.client, "owner"))
    client.post(reverse("portal_client_revoke_key", args=[own.client_id, ApiKey.objects.get().pk]))
    assert get(client, token, "list_invoices").status_code == 401


def test_a_key_whose_time_is_over_opens_nothing(client, own, time_machine):
    _, token = api_keys.make(
        client=own.client, name="x", by=None, at=timezone.now(), expires_at=timezone.now() + timedelta(hours=1)
    )
    assert get(client, token, "list_invoices").status_code == 200
    time_machine.move_to(at("2026-11-19 10:00"), tick=False)
    assert get(client, token, "list_invoices").status_code == 401


def test_a_key_of_another_client_is_not_revoked(client, own):
    token = api_key(a_client("Other"))
    client.force_login(client_user(own.client, "owner"))
    key = ApiKey.objects.get()
    for owner in (own.client_id, key.client_id):
        assert client.post(reverse("portal_client_revoke_key", args=[owner, key.pk])).status_code == 404
    assert get(client, token, "list_invoices").status_code == 200


def test_when_it_was_used_last_is_written_down(client, own, time_machine):
    token = api_key(own.client)
    get(client, token, "list_invoices")
    time_machine.move_to(at("2026-11-19 09:00:59"), tick=False)
    get(client, token, "list_invoices")
    assert ApiKey.objects.get().last_used_at == at("2026-11-19 09:00:59")


def test_a_key_makes_so_many_requests_in_a_minute(client, own, settings, time_machine):
    settings.API_REQUESTS_PER_MINUTE = 3
    token, other = api_key(own.client), api_key(own.client, "second")
    for _ in range(3):
        assert get(client, token, "list_services").status_code == 200
    time_machine.move_to(at("2026-11-19 09:00:41"), tick=False)
    refused = get(client, token, "list_services")
    assert (refused.status_code, refused["Retry-After"]) == (429, "19")
    assert get(client, other, "list_services").status_code == 200
    time_machine.move_to(at("2026-11-19 09:01"), tick=False)
    assert get(client, token, "list_services").status_code == 200


def test_a_clock_that_was_set_back_locks_no_key_out(client, own, settings):
    settings.API_REQUESTS_PER_MINUTE = 1
    token = api_key(own.client)
    ApiKey.objects.update(window_started_at=at("2026-12-20 12:00"), window_requests=99)
    assert get(client, token, "list_services").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_once_as_many_are_let_in_as_the_limit_says(own, settings):
    """Each is another one of the minute: the second of two is refused, and the first is not."""
    settings.API_REQUESTS_PER_MINUTE = 1
    token = api_key(own.client)
    for _ in range(10):
        ApiKey.objects.update(window_started_at=None)
        start = threading.Barrier(2)

        def ask(start=start):
            start.wait(10)
            try:
                return get(Browser(), token, "list_services").status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            answers = [each.result() for each in [pool.submit(ask), pool.submit(ask)]]
        assert sorted(answers) == [200, 429]


def test_a_request_is_let_in_and_counted_by_one_statement(client, own, django_assert_num_queries):
    """And nothing of it is in the audit log."""
    token = api_key(own.client)
    get(client, token, "list_services")
    written = Entry.objects.count()
    with django_assert_num_queries(2):
        assert get(client, token, "list_services").status_code == 200
    assert ApiKey.objects.get().window_requests == 2
    assert Entry.objects.count() == written


def test_answers_ask_as_often_for_many_rows_as_for_few(client, own):
    token = api_key(own.client)
    invoice = Invoice.objects.get()

    def queries(name, *arguments, **query):
        with CaptureQueriesContext(connection) as captured:
            assert get(client, token, name, *arguments, **query).status_code == 200
        return len(captured)

    asked = [("list_services",), ("list_invoices",), ("list_lines", invoice.pk)]
    get(client, token, "list_services")
    get(client, token, "list_services")
    few = [queries(*each) for each in asked]
    for number in range(5):
        a_service(own.product, own.client, name=f"{number}", anchor="2026-10-01", next_term=1)
    create_invoices(on=date(2026, 11, 1), at=timezone.now())
    assert [queries(*each) for each in asked] == few
    assert max(few) <= 5
