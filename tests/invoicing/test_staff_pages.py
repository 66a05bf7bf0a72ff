"""Staff pages about services, invoices and runs."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.models import Service
from invoicing import review, usage_invoicing
from invoicing.billing import create_invoices
from invoicing.models import Invoice, InvoicingSpan, Parked
from metering.models import Collection, Server
from metering.providers.base import ProviderError
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    Panel,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.pages import words
from tests.metering.pushed import METRICS, a_push_server, pushed

pytestmark = pytest.mark.django_db

MAIL = {"system_name": "relayed", "display_name": "Mails relayed"}
LISTS = [
    "staff_home",
    "staff_runs",
    "staff_preview",
    "staff_differences",
    "staff_invoices",
    "staff_services",
    "staff_missing_prices",
    "staff_unbilled",
]


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def service():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, DISK, enabled_from=None), ("0", "1"), notation="above")
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-19 06:00", tenant_says("alice", mailboxes=25, disk=7 * GB))
    return service


def see(client, name, *arguments, said=()):
    with panel(says(*said)):
        response = client.get(reverse(name, args=arguments))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def post(client, name, *arguments, said=(), **data):
    with panel(said if callable(said) else says(*said)):
        return client.post(reverse(name, args=arguments), data, follow=True).content.decode()


def test_metric_statistics_show_every_metric_enabled_or_not(ines, service):
    """Statement 23, for staff."""
    shown = see(ines, "staff_service", service.public_id)
    for name in ("Mailboxes", "Disk space", "Bandwidth", "Emails sent", "Rows written"):
        assert name in shown
    assert shown.count('#check"></use></svg>Enabled') == 1
    assert "Never collected" in shown
    assert "if it were on" in shown
    assert "$31.00" in shown
    assert "$7.00" in shown


def test_a_metric_that_its_provider_no_longer_declares_keeps_its_history(ines, service, monkeypatch):
    """Statement 20."""
    monkeypatch.setattr(Panel, "metrics", classmethod(lambda cls, settings=None: (EMAILS,)))
    assert "Mailboxes" in see(ines, "staff_service", service.public_id)


def test_metric_statistics_leave_out_what_only_other_servers_declare(ines):
    """Where metrics are part of a server's settings, another server's are not this service's."""
    product = a_product("API", provider="push")
    own, other = a_push_server("shop"), a_push_server("mail", settings={"metrics": [{**METRICS[1], **MAIL}]})
    shown = see(ines, "staff_service", a_service(product, tenant=a_tenant(own)).public_id)
    assert "Bandwidth" in shown
    assert "Mails relayed" not in shown
    assert "Refresh now" not in shown  # a server that is never asked
    shown = see(ines, "staff_service", a_service(product, tenant=a_tenant(other)).public_id)
    assert "Mails relayed" in shown
    assert "Bandwidth" not in shown


def test_metric_statistics_keep_what_is_billed_or_was_brought_and_is_declared_no_more(ines):
    product, server = a_product("API", provider="push"), a_push_server()
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 2}, when="2026-11-19 06:00")
    Server.objects.update(settings={"metrics": METRICS[1:]})
    a_setting(product, EMAILS)  # of no server of its kind
    shown = see(ines, "staff_service", a_service(product, tenant=server.tenants.get()).public_id)
    assert "Disk space" in shown
    assert shown.count("Emails sent") > 0


def test_refresh_now_asks_for_this_tenant_alone(ines, service):
    """Statement 18."""
    shown = post(ines, "staff_service_refresh", service.public_id, said=[tenant_says("alice", mailboxes=26)])
    assert Panel.asked == [("tenant_usage", "alice")]
    assert "1 values read from panel-01." in shown
    assert ">26 mailboxes" in shown


def test_refresh_now_is_a_post(ines, service):
    assert ines.get(reverse("staff_service_refresh", args=[service.public_id])).status_code == 405


def test_refresh_now_says_why_the_server_could_not_be_asked(ines, service):
    def down(connection, period):
        raise ProviderError("No answer within 5 s.")
        yield

    assert "No answer within 5 s." in post(ines, "staff_service_refresh", service.public_id, said=down)


def test_terminating_says_first_what_would_be_billed_and_then_does_it(ines, service):
    assert "25 mailboxes: 9 at $2.00" in see(ines, "staff_service_terminate", service.public_id)
    assert Service.objects.get().status == "active"
    said = [tenant_says("alice", mailboxes=20)]
    shown = post(ines, "staff_service_terminate", service.public_id, said=said, when_down="last_values")
    assert "is terminated. Its last invoice is 2026-00001, $28.50." in shown
    assert str(Invoice.objects.get().total) == "28.5000"


def test_a_dry_run_shows_what_would_be_billed_and_the_run_does_just_that(ines):
    a_service(a_product(), a_client(), anchor="2026-10-19")
    shown = post(ines, "staff_preview")
    assert "Nothing has been issued." in shown
    assert "$24.00" in shown
    assert not Invoice.objects.exists()
    assert "for 1 term" in post(ines, "staff_runs", bill="")
    assert Invoice.objects.get().total == 24


def test_usage_invoicing_is_switched_off_and_on_again(ines):
    post(ines, "staff_usage_invoicing", on="0")
    assert not usage_invoicing.is_on(timezone.localdate())
    assert "Usage is not billed any more." in post(ines, "staff_usage_invoicing", on="0")
    post(ines, "staff_usage_invoicing", on="1")
    assert usage_invoicing.is_on(timezone.localdate())
    assert InvoicingSpan.objects.count() == 1


def test_what_needs_a_person_is_on_the_first_page(ines, service):
    server = service.tenant.server
    collected(server, "2026-11-19 07:00", tenant_says("alice", mailboxes=1), tenant_says("stranger", mailboxes=1))
    Collection.objects.create(
        server=a_server("dead"),
        as_of=timezone.now(),
        started_at=timezone.now(),
        ended_at=timezone.now(),
        status="failed",
        error="No answer.",
    )
    a_service(a_product(), a_client("Euro", "EUR"), anchor="2026-10-19", name="euro")
    post(ines, "staff_runs", bill="")
    shown = see(ines, "staff_home")
    assert "4 things need a person today" in shown
    assert "Server dead has never brought anything" in shown
    assert "1 service cannot be billed" in shown
    assert "2 prices are missing" in shown
    assert "1 tenant uses resources that nobody is billed for" in shown


def test_unbilled_usage_lists_tenants_that_no_running_service_claims(ines, service):
    collected(service.tenant.server, "2026-11-19 07:00", tenant_says("stranger", mailboxes=3), tenant_says("alice"))
    shown = see(ines, "staff_unbilled")
    assert "stranger" in shown
    assert "3 mailboxes" in shown
    assert "alice" not in shown


def test_services_are_found_by_name_client_and_tenant(ines, service):
    for query in ("ali", "LINDQ"):
        assert "alice" in see_query(ines, "staff_services", query)
    assert "Nothing is called" in see_query(ines, "staff_services", "zzz")


@pytest.mark.parametrize("name", ["staff_services", "staff_search"])
@pytest.mark.parametrize(
    ("verdicts", "parked", "said"),
    [
        ([], None, ""),
        ([], {"needs_approval": False}, "Parked"),
        (["hold", "release"], {"needs_approval": True}, "Waits for approval"),
        (["approve", "hold"], {"needs_approval": False}, "Held"),
        (["hold", "release"], None, ""),
    ],
)
def test_lists_of_services_say_in_words_that_one_is_not_billed(ines, name, verdicts, parked, said):
    one = a_service(a_product(provider=""), name="shop")
    if parked is not None:
        Parked.objects.create(service=one, reason="No price.", since=timezone.now(), **parked)
    for verdict in verdicts:
        review.decide(service=one, verdict=verdict, through=timezone.localdate(), at=timezone.now())
    shown = words(ines.get(reverse(name), {"q": "shop"}))
    assert f"Active {said}".strip() in shown
    assert {each for each in ("Parked", "Waits for approval", "Held") if each in shown} == {said} - {""}


@pytest.mark.parametrize("name", ["staff_services", "staff_search"])
def test_lists_of_services_ask_no_more_for_many(ines, name):
    product = a_product(provider="")
    asked = []
    for number in range(3):
        one = a_service(product, a_client(f"Client {number}"), name=f"shop {number}")
        Parked.objects.create(service=one, reason="No price.", since=timezone.now())
        with CaptureQueriesContext(connection) as captured:
            assert f"shop {number}" in see_query(ines, name, "shop")
        asked.append(len(captured))
    assert asked[1] == asked[2] <= asked[0]


def see_query(client, name, query):
    return client.get(reverse(name), {"q": query}).content.decode()


@pytest.mark.parametrize("name", LISTS)
def test_empty_lists_answer(ines, name):
    see(ines, name)


def addresses(service):
    invoice = uuid.uuid4()
    return [
        *(reverse(name) for name in [*LISTS, "staff_usage_invoicing"]),
        *(
            reverse(name, args=[service.public_id])
            for name in ("staff_service", "staff_service_refresh", "staff_service_terminate")
        ),
        reverse("staff_invoice", args=[invoice]),
    ]


def test_staff_pages_send_nobody_to_the_login_and_refuse_clients(client, service):
    for address in addresses(service):
        assert client.post(address).status_code in (302, 405), address
        assert client.get(address).status_code in (302, 405), address
    client.force_login(a_user())
    for address in addresses(service):
        assert client.post(address).status_code in (403, 405), address
        assert client.get(address).status_code in (403, 405), address


def queries(client, address):
    with panel(says()), CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


@pytest.mark.parametrize("name", LISTS)
def test_lists_take_the_same_number_of_queries_however_long(ines, service, name):
    def grow(prefix, count):
        names = [f"{prefix}-{number}" for number in range(count)]
        server = a_server(f"server-{prefix}")
        collected(server, "2026-11-19 06:00", *[tenant_says(each, mailboxes=1) for each in (*names, f"{prefix}-free")])
        for each in names:
            a_service(service.product, a_client(each), a_tenant(server, each), anchor="2026-10-19")
            a_service(service.product, a_client(each, "EUR"), anchor="2026-10-19", name=f"{each}-euro")
        post(ines, "staff_runs", bill="")

    grow("one", 1)
    queries(ines, reverse(name))
    before = queries(ines, reverse(name))
    grow("many", 6)
    assert queries(ines, reverse(name)) == before


def test_the_service_page_takes_the_same_number_of_queries_for_more_history(ines, service):
    address = reverse("staff_service", args=[service.public_id])
    queries(ines, address)
    before = queries(ines, address)
    for day in range(2, 15):
        collected(service.tenant.server, f"2026-11-{day:02} 06:00", tenant_says("alice", emails=day, mailboxes=day))
    assert queries(ines, address) == before


def test_usage_that_waits_is_shown_with_its_reason(ines, service):
    collected(service.tenant.server, "2026-11-19 06:30", tenant_says("alice", emails=1))
    create_invoices(on=at("2026-12-01 07:00").date(), at=at("2026-12-01 07:00"))
    for address in (reverse("staff_runs"), reverse("staff_service", args=[service.public_id])):
        shown = " ".join(ines.get(address).content.decode().split())
        assert "Mailboxes, 1 Nov 2026 to 1 Dec 2026" in shown
        assert "Not measured since 19 November 2026." in shown


def test_a_service_says_whether_its_next_invoice_is_due(ines):
    due, ahead = (
        a_service(anchor="2026-10-19", next_term=1),
        a_service(a_product("Ahead"), anchor="2026-11-20", next_term=0),
    )
    said = "it is due, and the next run makes it"
    assert said in words(ines.get(reverse("staff_service", args=[due.public_id])))
    shown = words(ines.get(reverse("staff_service", args=[ahead.public_id])))
    assert said not in shown
    assert "its first term begins then" in shown
    Parked.objects.create(service=due, reason="No price.", since=timezone.now())
    assert said not in words(ines.get(reverse("staff_service", args=[due.public_id])))
