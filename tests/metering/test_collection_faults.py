"""The faults P1 to P35 of servers and providers, as far as no other file holds them. docs/reliability.md says which."""

import csv
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.db import connection, connections
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from metering import asked_collections, collection, collectors, decimals, health, units
from metering.models import Collection, Latest, Reading, Server, Tenant
from metering.providers import base
from metering.providers.base import MetricType, ProviderError, TenantUsage, Usage
from metering.providers.http import Client, HttpError, Limits
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    ROWS,
    TRAFFIC,
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
    says,
    tenant_says,
    usage_of,
)
from tests.invoicing.documents import issued, usage
from tests.metering.test_http import a_certificate

in_the_database = pytest.mark.django_db
beside_others = pytest.mark.django_db(transaction=True)
COMPLETE, PARTIAL, FAILED = Collection.Status.COMPLETE, Collection.Status.PARTIAL, Collection.Status.FAILED
WHEN = "2026-11-19 06:00"


@pytest.mark.parametrize(
    "text",
    ["1_000", "１２", "٣", "0x10", "1,5", " 5 ", "5\n", "+5", "5.", ".5", "1e3", "1e999", "NaN", "inf", "", "-5"],
)
def test_p12_a_number_is_read_in_one_spelling_only(text):
    with pytest.raises(decimals.NotANumber):
        decimals.parse(text)


def test_p11_a_number_of_thousands_of_digits_is_refused_at_once_and_briefly():
    for text in ("9" * 5000, "0." + "1" * 18, "1" + "0" * 30):
        with pytest.raises(decimals.NotANumber) as refused:
            decimals.parse(text)
        assert len(str(refused.value)) < 120


@in_the_database
def test_p17_a_tenant_that_is_missing_keeps_its_values_and_is_said_to_be_missing():
    server = a_server()
    names = ("alice", "bob", "carol", "dave", "erin")
    collected(server, "2026-11-18 06:00", *(tenant_says(name, disk=5 * GB) for name in names))
    record = collected(server, WHEN, *(tenant_says(name, disk=6 * GB) for name in names[1:]))
    assert (record.status, record.missing_tenants) == (COMPLETE, 1)
    alice = Latest.objects.with_collected_at().get(tenant_id=a_tenant(server).pk)
    assert (alice.value, alice.collected_at) == (5 * GB, at("2026-11-18 06:00"))
    assert usage_of(a_tenant(server), DISK) == {"2026-11-18": 5 * GB}
    assert a_tenant(server).missing_since == at(WHEN)


# P20: a total that falls before its day or month is over


@in_the_database
def test_p20_a_total_that_falls_within_its_month_counts_and_is_said(client):
    server = a_server()
    collected(
        server, "2026-11-18 06:00", tenant_says("alice", traffic=13 * GB, emails=7), tenant_says("bob", traffic=1)
    )
    record = collected(server, WHEN, tenant_says("alice", traffic=5 * GB, emails=3), tenant_says("bob", traffic=1))
    assert record.status == COMPLETE
    assert record.error == (
        "Bandwidth fell within its month for 1 tenant (alice). What it is now counts; the readings have both."
    )
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-11-01": 5 * GB}
    kept = Reading.objects.filter(tenant_id=a_tenant(server).pk, start=date(2026, 11, 1)).order_by("read_at")
    assert [reading.value for reading in kept] == [13 * GB, 5 * GB]
    assert [one["error"] for one in health.errors(server, timezone.now())] == [record.error]
    client.force_login(a_staff_user())
    shown = client.get(reverse("staff_collection", args=[record.pk])).content.decode()
    assert "Stored, with something to look at" in shown
    assert record.error in shown


@in_the_database
def test_p20_only_totals_of_the_same_period_are_compared_and_few_tenants_named():
    server, names = a_server(), [f"tenant-{number}" for number in range(5)]
    values = {"disk": 9, "mailboxes": 9, "emails": 9, "traffic": 9, "rows": 9}
    collected(server, "2026-10-31 06:00", *(tenant_says(name, **values) for name in names))
    fallen = [tenant_says(name, **dict.fromkeys(values, 8)) for name in names]
    collected(server, "2026-11-01 03:00", *fallen, tenant="tenant-0")
    assert collected(server, "2026-11-01 06:00", *fallen).error == ""
    record = collected(server, "2026-11-01 18:00", *(tenant_says(name, emails=7, traffic=7, disk=7) for name in names))
    first, second = record.error.split(". What")[0], record.error.split("both. ")[1]
    assert "for 5 tenants (" in first
    assert first.endswith(", …)")
    assert {text.split(" for ")[0] for text in (first, second)} == {
        "Bandwidth fell within its month",
        "Emails sent fell within its day",
    }


# P22 and P23: clocks


@in_the_database
def test_p22_the_clock_of_a_server_moves_no_value_to_another_day():
    server = a_server(time_zone="Europe/Berlin")
    for days in (-1, 1):
        measured = Usage(Decimal(4), collected_at=at(WHEN) + timedelta(days=days))
        collected(server, WHEN, tenant_says("alice", emails=measured, traffic=measured))
        assert usage_of(a_tenant(server), EMAILS) == {"2026-11-19": 4}
        assert usage_of(a_tenant(server), TRAFFIC) == {"2026-11-01": 4}
    assert Latest.objects.with_collected_at().first().collected_at == at(WHEN)


@in_the_database
@pytest.mark.parametrize(("start", "end"), [("2026-12-01", "2027-01-01"), ("2019-11-01", "2019-12-01")])
def test_p22_a_period_in_the_future_or_long_ago_is_refused(start, end):
    named = Usage(GB, start=date.fromisoformat(start), end=date.fromisoformat(end))
    server = a_server()
    record = collected(server, WHEN, tenant_says("alice", traffic=named, emails=1))
    assert (record.status, record.rejected) == (PARTIAL, 1)
    assert "is in the future or too far back" in record.problems[0]["reason"]
    assert usage_of(a_tenant(server), TRAFFIC) == {}


@in_the_database
@pytest.mark.parametrize("ahead", [timedelta(minutes=20), timedelta(days=1)])
def test_p22_a_counter_that_began_in_the_future_is_not_counted_twice(ahead):
    """The server's clock is ahead of ours, so that a restart seems to be later than the reading that saw it."""
    server = a_server()
    restarted = Usage(Decimal(60), counting_since=at("2026-11-19 05:50") + ahead)
    collected(server, "2026-11-18 18:00", tenant_says("alice", rows=100))
    record = collected(server, WHEN, tenant_says("alice", rows=restarted))
    assert "is after the collection" in record.problems[0]["reason"]
    for when, count in [("2026-11-20 06:00", 70), ("2026-11-20 18:00", 90)]:
        later = Usage(Decimal(count), counting_since=restarted.counting_since)
        assert collected(server, when, tenant_says("alice", rows=later)).status == COMPLETE
    assert sum(usage_of(a_tenant(server), ROWS).values()) == 90


@in_the_database
def test_p23_a_collection_over_midnight_has_one_instant_for_all_its_values(time_machine):
    server = a_server()
    time_machine.move_to(at("2026-10-31 23:58"))

    def slow(asked, period):
        assert asked.as_of == at("2026-10-31 23:58")
        if period is None:
            yield tenant_says("alice", traffic=5, emails=5, rows=5, disk=5)
            time_machine.move_to(at("2026-11-01 00:04"))
            yield tenant_says("bob", traffic=5, emails=5, rows=5, disk=5)

    with panel(slow):
        record = collection.collect(server=server, as_of=timezone.now())
    assert (record.status, record.ended_at) == (COMPLETE, at("2026-11-01 00:04"))
    for name in ("alice", "bob"):
        tenant = a_tenant(server, name)
        assert list(usage_of(tenant, TRAFFIC)) == ["2026-10-01"]
        assert {*usage_of(tenant, EMAILS), *usage_of(tenant, ROWS), *usage_of(tenant, DISK)} == {"2026-10-31"}
    assert set(Reading.objects.values_list("read_at", flat=True)) == {record.as_of}


# P27: old TLS


@contextmanager
def a_server_of_old_tls(folder):
    """A port that speaks nothing newer than TLS 1.1."""
    certificate, key = a_certificate()
    (folder / "pem").write_text(certificate + key)
    context = old_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(folder / "pem")
    received: list[bytes] = []

    def answer(listening):
        with suppress(OSError):
            while True:
                with closing(listening.accept()[0]) as accepted, suppress(OSError):
                    received.append(context.wrap_socket(accepted, server_side=True).recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], certificate, received
        listening.shutdown(socket.SHUT_RDWR)


def old_tls(context):
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_p27_old_tls_is_refused_whatever_is_trusted(tmp_path):
    with a_server_of_old_tls(tmp_path) as (port, certificate, received):
        willing = old_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        willing.check_hostname, willing.verify_mode = False, ssl.CERT_NONE
        with willing.wrap_socket(socket.create_connection(("127.0.0.1", port))) as spoken:
            assert spoken.version() == "TLSv1.1"
            spoken.sendall(b"it can")
        for trust in ({"ca": certificate}, {"fingerprint": "0" * 64}):
            with (
                Client(f"https://127.0.0.1:{port}", limits=Limits(retries=0), **trust) as client,
                pytest.raises(HttpError, match=r"(?i)protocol|version"),
            ):
                client.get("/")
    assert [text for text in received if text] == [b"it can"]


# P31: names that are more than names

MARKUP = "<img src=x onerror=alert(1)>{{7*7}}"


@in_the_database
@pytest.mark.parametrize("name", ["\u202etenant", "a\u2066b", "a\x00b", "a\u200bb", "\x1b[31m"])
def test_p31_a_name_that_turns_or_hides_text_is_refused(name):
    record = collected(a_server(), WHEN, tenant_says(name, disk=1), tenant_says("bob", disk=1))
    assert list(Tenant.objects.values_list("key", flat=True)) == ["bob"]
    assert record.problems[0]["tenant"].isprintable()


@in_the_database
@pytest.mark.parametrize("odd", ["a\x00b", "a\ud800b", "\x1b[31m"])
def test_p31_a_reason_is_kept_with_what_can_be_written_of_it(odd):
    failing = TenantUsage("bob", {odd: Usage(Decimal(1))}, {"disk": f"It said\n{odd}"})
    record = collected(a_server(), WHEN, tenant_says("alice", disk=1), failing, TenantUsage("", {}, {"disk": odd}))
    record.refresh_from_db()
    assert (record.status, record.tenants, record.rejected) == (PARTIAL, 2, 3)
    reasons = [problem["reason"] for problem in record.problems]
    assert any(reason.startswith("It said\n") for reason in reasons)
    assert all(reason.replace("\n", "").isprintable() for reason in reasons)


@in_the_database
@pytest.mark.parametrize("odd", ["a\x00b", "a\ud800b", "\x1b[31m"])
@pytest.mark.parametrize(("came", "status"), [([], FAILED), ([tenant_says("alice", disk=1)], PARTIAL)])
def test_p31_a_collection_that_fails_with_odd_text_ends_and_says_the_rest(came, status, odd):
    def failing(asked, period):
        yield from came
        raise ProviderError(f"It said {odd}.")

    with panel(failing):
        record = collection.collect(server=a_server(), as_of=at(WHEN))
    record.refresh_from_db()
    assert (record.status, record.ended_at is None) == (status, False)
    assert record.error.startswith("It said ")
    assert record.error.isprintable()


@in_the_database
@pytest.mark.parametrize("odd", ["a\x00b", "a\ud800b"])
def test_p31_a_connection_that_fails_with_odd_text_is_shown_on_the_page_of_its_server(client, monkeypatch, odd):
    def failing(provider):
        raise ProviderError(f"It said {odd}.")

    monkeypatch.setattr(Panel, "check", failing)
    client.force_login(a_staff_user())
    with panel():
        page = client.post(reverse("staff_server_test", args=[a_server().pk]), follow=True)
    assert "It said a\N{REPLACEMENT CHARACTER}b." in page.content.decode()


@in_the_database
def test_p31_names_from_outside_are_text_in_both_areas_and_in_tables(client):
    odd = base.Metric(f"={MARKUP}"[:100], f"={MARKUP}", MetricType.DAY, units.Unit("odd", "=1+1", MARKUP))
    server, sara = a_server(), a_user()
    tenant = a_tenant(server, f"={MARKUP}")
    service = a_service(a_product(), a_client(users=(sara,)), tenant)
    setting = a_setting(service.product, odd)
    with panel(says(tenant_says(tenant.key, disk=1))):
        collection.collect(server=server, as_of=timezone.now())
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "1")))
    line = invoice.lines.get()
    for user, area in ((a_staff_user(), "staff"), (sara, "portal")):
        client.force_login(user)
        for view, arguments in (
            ("service", [service.public_id]),
            ("invoice", [invoice.pk]),
            ("line", [invoice.pk, line.pk]),
        ):
            shown = client.get(reverse(f"{area}_{view}", args=arguments)).content.decode()
            assert "<img src=x" not in shown
            assert "&lt;img src=x onerror=alert(1)&gt;{{7*7}}" in shown
        table = client.get(reverse(f"{area}_lines_csv", args=[invoice.pk])).getvalue().decode()
        cells = [cell for row in csv.reader(StringIO(table)) for cell in row]
        assert any(cell.startswith("'=") for cell in cells)
        assert not any(cell.startswith("=") for cell in cells)


# P32: a provider that is broken


@in_the_database
@pytest.mark.parametrize(
    "answer",
    [
        None,
        "alice",
        ("alice", {"disk": 1}),
        TenantUsage(5, {}),
        TenantUsage("alice", None),
        TenantUsage("alice", {"disk": 5}),
        TenantUsage("alice", {"disk": Usage(Decimal(1), start="2026-11-01", end="2026-12-01")}),
        TenantUsage("alice", {"disk": Usage(Decimal(1), counting_since="yesterday")}),
        TenantUsage("alice", {}, {"disk": 5}),
        TenantUsage("alice", {5: Usage(Decimal(1))}),
    ],
)
def test_p32_an_answer_of_another_type_fails_alone_and_stores_nothing_of_it(answer):
    server, other = a_server(), a_server("panel-02")
    record = collected(server, WHEN, tenant_says("bob", disk=1), answer)
    assert record.status in (FAILED, PARTIAL)
    if record.status == FAILED:
        assert record.error.startswith("The provider stopped with ")
        assert not Latest.objects.exists()
    assert not Latest.objects.filter(tenant_id__in=Tenant.objects.exclude(key="bob").values("pk"))
    assert collected(other, WHEN, tenant_says("bob", disk=1)).status == COMPLETE


@in_the_database
@pytest.mark.parametrize("returned", [None, 5, "alice", {"alice": 5}])
def test_p32_what_is_no_series_of_answers_is_a_failure(returned):
    server = a_server()
    with panel(lambda asked, period=None: returned):
        record = collection.collect(server=server, as_of=at(WHEN))
    assert record.status == FAILED
    assert record.error.startswith("The provider stopped with ")


@in_the_database
@override_settings(COLLECTION_SECONDS=0.2)
def test_p32_a_provider_that_answers_for_ever_is_cut_when_the_time_of_a_collection_is_over():
    server, begin = a_server(), time.monotonic()

    def endless(asked, period):
        yield tenant_says("alice", disk=1)
        while time.monotonic() < begin + 3:  # for ever, if it were not for this test
            yield tenant_says("bob", disk=1)

    with panel(endless):
        record = collection.collect(server=server, as_of=at(WHEN))
    assert record.status == PARTIAL
    assert record.error == "It had not answered in full when the time for a collection, 0.2 s, was over."
    assert time.monotonic() < begin + 3
    assert usage_of(a_tenant(server), DISK) == {"2026-11-19": 1}


# P34 and P35: what people do meanwhile


@in_the_database
def test_p34_pressed_twenty_times_it_is_collected_once(client, monkeypatch):
    handed = []
    monkeypatch.setattr(asked_collections, "hand_over", lambda job, pk: handed.append(pk))
    server = a_server()
    client.force_login(a_staff_user())
    with panel(says(tenant_says("alice", disk=5))):
        pages = {client.post(reverse("staff_server_collect", args=[server.pk])).url for _ in range(20)}
        [record] = Collection.objects.all()
        assert (pages, handed) == ({reverse("staff_collection", args=[record.pk])}, [record.pk])
        for _ in range(20):
            asked_collections.carry_out(pk=record.pk, at=timezone.now())
    assert [asked for asked in Panel.asked if asked == ("usage", None)] == [("usage", None)]
    assert Reading.objects.count() == 1


@beside_others
def test_p34_a_tenant_that_is_refreshed_while_its_server_is_collected_is_not_asked_for(client):
    server = a_server()
    service = a_service(tenant=a_tenant(server))
    client.force_login(a_staff_user())
    said = []

    def press():
        answer = client.post(reverse("staff_service_refresh", args=[service.public_id]), follow=True)
        said.append(answer.content.decode())
        connections.close_all()

    def pressed_meanwhile(asked, period):
        if period is None:
            meanwhile(press)
            yield tenant_says("alice", disk=5)

    with panel(pressed_meanwhile):
        record = collection.collect(server=server, as_of=timezone.now())
    assert record.status == COMPLETE
    assert "panel-01 is being collected just now" in said[0]
    assert Panel.asked == [("usage", None)]


def meanwhile(deed):
    """Do something in another thread, and so on another connection, and wait for it."""
    thread = threading.Thread(target=deed)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def alone(statement, *parameters):
    """Run a statement on a connection of its own, and commit it."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(statement, parameters)
    other.close()


@beside_others
def test_p35_a_server_that_is_deactivated_meanwhile_is_collected_to_the_end_and_stays_inactive():
    server = a_server()

    def deactivated(asked, period):
        if period is None:
            yield tenant_says("alice", disk=5)
            alone("UPDATE metering_server SET is_active = false WHERE id = %s", server.pk)
            yield tenant_says("bob", disk=5)

    with panel(deactivated):
        record = collection.collect(server=server, as_of=at(WHEN))
        assert (record.status, record.tenants) == (COMPLETE, 2)
        server.refresh_from_db()
        assert (server.is_active, server.collected_at) == (False, at(WHEN))
        assert collectors.collect_all(as_of=at("2026-11-19 18:00")) == []


@beside_others
def test_p35_a_server_that_is_deleted_meanwhile_fails_and_the_others_are_collected():
    doomed, other = a_server("a-doomed"), a_server("b-other")
    ended = {}

    def deleted(asked, period):
        if period is None:
            yield tenant_says("alice", disk=5)
            meanwhile(lambda: (Server.objects.filter(pk=doomed.pk).delete(), connections.close_all()))

    with panel(deleted):
        collectors.collect_all(as_of=at(WHEN), done=lambda server, record: ended.update({server.name: record}))
    assert ended["a-doomed"].status == FAILED
    assert ended["b-other"].status == COMPLETE
    assert not Collection.objects.exclude(server=other).exists()
    assert set(Tenant.objects.values_list("server", flat=True)) == {other.pk}


@in_the_database
def test_p35_a_server_that_is_deleted_while_its_collection_waits_leaves_nothing_to_do(monkeypatch):
    monkeypatch.setattr(asked_collections, "hand_over", lambda job, pk: None)
    server = a_server()
    record = asked_collections.ask(server=server, at=timezone.now(), by=None)
    server.delete()
    with panel(says()):
        asked_collections.carry_out(pk=record.pk, at=timezone.now())
    assert (Panel.asked, Collection.objects.count()) == ([], 0)
