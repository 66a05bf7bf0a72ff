"""A line, its periods and its readings as tables for a spreadsheet."""

import csv
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invoicing.models import Line
from invoicing.spreadsheet import as_text
from metering import partitions, units
from metering.models import Collection, Correction, Reading
from metering.providers import base
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    ROWS,
    TRAFFIC,
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
    tenant_says,
)
from tests.invoicing.documents import fee, given_back, issued, usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def service(sara):
    return a_service(a_product(), a_client(users=(sara,)), a_tenant(a_server()))


def rows(client, user, name, invoice, line=1):
    """The rows of a table by the words of its head."""
    arguments = [invoice.pk] if name.endswith("lines_csv") else [invoice.pk, invoice.lines.get(position=line).pk]
    client.force_login(user)
    response = client.get(reverse(name, args=arguments))
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response.streaming
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(StringIO(text)))


def read(service, when, **values):
    return collected(service.tenant.server, when, tenant_says(service.tenant.key, **values))


def test_the_lines_of_an_invoice_have_exact_amounts_units_and_prices(client, sara, service):
    setting = a_setting(service.product, TRAFFIC)
    traffic = usage(service, setting, ("2026-10-01", "13.250001"), title="Bandwidth, October 2026")
    invoice = issued(service.client, fee(service), traffic)
    first, second = rows(client, sara, "portal_lines_csv", invoice)
    assert (first["kind"], first["title"], first["amount"], first["quantity"]) == (
        "recurring",
        "Business Web",
        "24.00",
        "",
    )
    assert second == {
        "invoice": "2026-00001",
        "line": "2",
        "kind": "usage",
        "service": "alice",
        "title": "Bandwidth, October 2026",
        "detail": "as measured",
        "start": "2026-10-01",
        "end": "2026-11-01",
        "quantity": "13.250001",
        "unit": "GB",
        "quantity before": "",
        "charged before": "",
        "exact charge": "13.250001",
        "amount": "13.25",
        "currency": "USD",
        "corrects": "",
        "gives back": "",
    }


def test_amounts_have_the_decimals_of_their_currency(client, sara, service):
    service.client.currency = "JPY"
    invoice = issued(service.client, fee(service, "525"))
    assert rows(client, sara, "portal_lines_csv", invoice)[0]["amount"] == "525"


def test_what_a_credit_note_gives_back_is_negative_and_names_the_line(client, sara, service):
    invoice = issued(service.client, fee(service))
    note = issued(service.client, given_back(invoice.lines.get(), "12"), credits=invoice, reason="an outage")
    [row] = rows(client, sara, "portal_lines_csv", note)
    assert (row["kind"], row["amount"], row["gives back"]) == ("credit", "-12.00", "2026-00001, line 1")


def test_a_line_of_another_clients_invoice_is_not_named_to_a_client(client, sara, service):
    other = a_client("Other")
    theirs = issued(other, fee(service))
    note = issued(service.client, given_back(theirs.lines.get(), "12"), credits=theirs, reason="moved")
    assert rows(client, sara, "portal_lines_csv", note)[0]["gives back"] == ""
    assert rows(client, a_staff_user(), "staff_lines_csv", note)[0]["gives back"] == "2026-00001, line 1"


def test_periods_have_what_was_stored_and_what_was_rated(client, sara, service):
    setting = a_setting(service.product, TRAFFIC)
    read(service, "2026-10-31 18:00", traffic=1_234_567_890)
    written = usage(service, setting, ("2026-10-01", "1.234567"), part=1, revision=2, is_open=True)
    invoice = issued(service.client, written)
    [row] = rows(client, sara, "portal_periods_csv", invoice)
    assert row == {
        "period": "1",
        "start": "2026-10-01",
        "end": "2026-11-01",
        "part": "1",
        "revision": "2",
        "billed before it ended": "yes",
        "measured on": "",
        "value": "1234567000",
        "unit of value": "bytes",
        "quantity": "1.234567",
        "unit": "GB",
        "exact charge": "",
        "currency": "USD",
        "readings": "1",
    }


def test_periods_that_were_rated_by_themselves_have_their_charges(client, sara, service):
    setting = a_setting(service.product, EMAILS)
    invoice = issued(service.client, usage(service, setting, ("2026-10-30", "10"), ("2026-10-31", "0"), each=True))
    found = rows(client, sara, "portal_periods_csv", invoice)
    assert [(row["quantity"], row["exact charge"]) for row in found] == [("10", "10"), ("0", "0")]


def test_readings_are_exact_with_their_instant_and_collection_oldest_first(client, sara, service):
    setting = a_setting(service.product, TRAFFIC)
    first = read(service, "2026-10-10 06:00", traffic=5 * GB)
    last = read(service, "2026-10-31 18:00", traffic=1_234_567_890_123)
    read(service, "2026-11-01 06:00", traffic=1)
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "1234.56789")))
    found = rows(client, sara, "portal_readings_csv", invoice)
    assert [row["collection"] for row in found] == [str(first.pk), str(last.pk)]
    assert found[1] == {
        "read at": "2026-10-31T18:00:00+00:00",
        "day or month": "2026-10-01",
        "value": "1234567890123",
        "unit of value": "bytes",
        "quantity": "1234.56789",
        "unit": "GB",
        "increase": "",
        "note": "",
        "collection": str(last.pk),
        "collected as of": "2026-10-31T18:00:00+00:00",
        "reason of correction": "",
    }


def test_instants_name_the_zone_of_the_site(client, sara, service, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    setting = a_setting(service.product, TRAFFIC)
    read(service, "2026-10-10 06:00", traffic=GB)
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "1")))
    [row] = rows(client, sara, "portal_readings_csv", invoice)
    assert row["read at"] == "2026-10-10T08:00:00+02:00"


def test_a_count_begins_with_the_reading_before_and_has_its_increases(client, sara, service):
    setting = a_setting(service.product, ROWS)
    for when, count in (
        ("2026-10-29 18:00", 1000),
        ("2026-10-30 06:00", 1040),
        ("2026-10-30 18:00", 7),
        ("2026-10-31 06:00", 9),
    ):
        read(service, when, rows=count)
    invoice = issued(service.client, usage(service, setting, ("2026-10-30", "47"), ("2026-10-31", "2")))
    found = rows(client, sara, "portal_readings_csv", invoice)
    assert [(row["value"], row["increase"], row["note"]) for row in found] == [
        ("1000", "", "before the first period"),
        ("1040", "40", ""),
        ("7", "7", ""),
        ("9", "2", ""),
    ]


def test_days_that_are_not_on_the_line_have_no_readings_in_its_table(client, sara, service):
    setting = a_setting(service.product, ROWS)
    for day, count in (("28", 100), ("29", 110), ("30", 130), ("31", 160)):
        read(service, f"2026-10-{day} 18:00", rows=count)
    invoice = issued(service.client, usage(service, setting, ("2026-10-29", "10"), ("2026-10-31", "30")))
    found = rows(client, sara, "portal_readings_csv", invoice)
    assert [(row["day or month"], row["increase"]) for row in found] == [
        ("2026-10-28", ""),
        ("2026-10-29", "10"),
        ("2026-10-31", "30"),
    ]


def test_a_level_begins_with_the_reading_before_its_term(client, sara, service):
    service.anchor = date(2026, 9, 1)
    service.save()
    setting = a_setting(service.product, DISK)
    read(service, "2026-09-12 06:00", disk=7 * GB)
    read(service, "2026-10-20 06:00", disk=8 * GB)
    written = usage(service, setting, ("2026-10-01", "8"), end="2026-11-01", measured_on="2026-10-31")
    invoice = issued(service.client, written)
    found = rows(client, sara, "portal_readings_csv", invoice)
    assert [(row["quantity"], row["note"]) for row in found] == [("7", "before the first period"), ("8", "")]
    assert rows(client, sara, "portal_periods_csv", invoice)[0]["measured on"] == "2026-10-31"


def test_staff_see_servers_and_who_corrected_and_clients_only_why(client, sara, service):
    ines = a_staff_user("ines@staff.test")
    setting = a_setting(service.product, TRAFFIC)
    read(service, "2026-10-31 18:00", traffic=13 * GB)
    key = {"tenant_id": service.tenant_id, "metric_id": setting.metric_id}
    key |= {"start": date(2026, 10, 1), "end": date(2026, 11, 1), "value": 9 * GB}
    record = Correction.objects.create(**key, reason="=counted twice", at=at("2026-11-01 05:00"), by=ines)
    partitions.ensure([date(2026, 11, 1)])
    Reading.objects.create(**key, read_at=record.at, correction_id=record.pk)
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "9")))
    _, own = rows(client, sara, "portal_readings_csv", invoice)
    assert (own["note"], own["reason of correction"], own["collection"]) == ("correction", "'=counted twice", "")
    assert not {"server", "corrected by"} & set(own)
    first, second = rows(client, ines, "staff_readings_csv", invoice)
    assert (first["server"], first["corrected by"]) == ("panel-01", "")
    assert (second["server"], second["corrected by"]) == ("", "ines@staff.test")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@A1", "\tx", "\r=1", " =1", "＝1"])
def test_a_name_that_looks_like_a_formula_is_text(client, sara, service, name):
    assert as_text(name) == f"'{name}"
    service.name = name[:100]
    service.save()
    invoice = issued(service.client, fee(service, title=name))
    [row] = rows(client, sara, "portal_lines_csv", invoice)
    assert row["service"].startswith("'")
    assert row["title"].startswith("'")


def test_a_unit_that_looks_like_a_formula_is_text(client, sara, service):
    odd = base.Metric("odd", "Odd", base.MetricType.DAY, units.Unit("odd", "=1+1", "=1+1"))
    invoice = issued(service.client, usage(service, a_setting(service.product, odd), ("2026-10-01", "1")))
    assert rows(client, sara, "portal_lines_csv", invoice)[0]["unit"] == "'=1+1"
    [row] = rows(client, sara, "portal_periods_csv", invoice)
    assert (row["unit"], row["unit of value"]) == ("'=1+1", "'=1+1")


def test_names_with_commas_quotes_and_lines_stay_one_cell(client, sara, service):
    title = 'a "b", c\nd'
    invoice = issued(service.client, fee(service, title=title))
    assert rows(client, sara, "portal_lines_csv", invoice)[0]["title"] == title


@pytest.mark.parametrize("name", ["portal_periods_csv", "portal_readings_csv"])
def test_a_line_without_usage_has_the_head_alone(client, sara, service, name):
    assert rows(client, sara, name, issued(service.client, fee(service))) == []


def test_a_file_is_named_after_its_line(client, sara, service):
    invoice = issued(service.client, fee(service))
    client.force_login(sara)
    line = invoice.lines.get()
    for name, arguments, file in (
        ("portal_lines_csv", [invoice.pk], "2026-00001-lines.csv"),
        ("portal_periods_csv", [invoice.pk, line.pk], "2026-00001-line-1-periods.csv"),
        ("portal_readings_csv", [invoice.pk, line.pk], "2026-00001-line-1-readings.csv"),
    ):
        disposition = client.get(reverse(name, args=arguments))["Content-Disposition"]
        assert disposition == f'attachment; filename="{file}"'


def test_tables_take_the_same_number_of_queries_however_long(client, sara, service):
    counts = {name: [] for name in ("portal_lines_csv", "portal_periods_csv", "portal_readings_csv")}
    setting = a_setting(service.product, EMAILS)
    for number, length in ((1, 2), (2, 60)):
        first = date(2026, 1, 1)
        starts = [first + timedelta(days=each) for each in range(length)]
        partitions.ensure(starts)
        one = a_service(service.product, service.client, a_tenant(service.tenant.server, f"t{number}"))
        collection = Collection.objects.create(
            server=one.tenant.server, as_of=at("2026-01-01 06:00"), started_at=at("2026-01-01 06:00")
        )
        Reading.objects.bulk_create(
            Reading(
                tenant_id=one.tenant_id,
                metric_id=setting.metric_id,
                start=day,
                end=day + timedelta(days=1),
                read_at=at(f"{day} 06:00"),
                value=Decimal("10"),
                collection_id=collection.pk,
            )
            for day in starts
        )
        written = usage(one, setting, *[(str(day), "10") for day in starts])
        invoice = issued(service.client, written, *[fee(one) for _ in range(length)])
        for name, found in counts.items():
            rows(client, sara, name, invoice)
            with CaptureQueriesContext(connection) as captured:
                assert len(rows(client, sara, name, invoice)) >= length
            found.append(len(captured))
    for few, many in counts.values():
        assert few == many
    assert Line.objects.count() == 2 + 2 + 60
