"""From a line to its usage periods, from there to the readings and the collections that brought them."""

import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invoicing.models import Invoice
from metering import partitions
from metering.models import Collection, Correction, Reading
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
from tests.invoicing.documents import fee, issued, usage
from tests.invoicing.pages import unfolded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def ines():
    return a_staff_user("ines@staff.test")


@pytest.fixture
def service(sara):
    return a_service(a_product(), a_client(users=(sara,)), a_tenant(a_server()))


def read(service, *values, **named):
    """Collect the service's server at instants, each with the values by metric that the tenant has then."""
    key = service.tenant.key
    return [collected(service.tenant.server, when, tenant_says(key, **values)) for when, values in values]


def corrected(service, setting, start, value, *, when, reason="the backup was counted twice", by=None, end=None):
    """Write down a correction as staff make it: a record, and a reading without a collection."""
    first = date.fromisoformat(start)
    last = date.fromisoformat(end) if end else first + timedelta(days=1)
    key = {"tenant_id": service.tenant_id, "metric_id": setting.metric_id, "start": first, "end": last}
    value = setting.metric.unit.to_base(Decimal(value))
    record = Correction.objects.create(**key, before=13 * GB, value=value, reason=reason, at=at(when), by=by)
    partitions.ensure([first, record.at.date()])
    Reading.objects.create(**key, read_at=at(when), value=value, correction_id=record.pk)
    return record


def address(name, invoice, *more):
    return reverse(name, args=[invoice.pk, invoice.lines.get(position=1).pk, *more])


def page(client, user, where):
    client.force_login(user)
    return unfolded(client, where)


def a_month_of_traffic(service):
    """Bandwidth of October: 5 GB on the 10th, 13 after it had ended, and November's after that."""
    read(service, ("2026-10-10 06:00", {"traffic": 5 * GB}), ("2026-10-31 18:00", {"traffic": 13 * GB}))
    read(service, ("2026-11-01 06:00", {"traffic": 1 * GB}))
    setting = a_setting(service.product, TRAFFIC)
    return issued(service.client, usage(service, setting, ("2026-10-01", "13"), title="Bandwidth, October 2026"))


def test_a_line_shows_its_charge_its_period_and_its_readings(client, sara, service):
    invoice = a_month_of_traffic(service)
    shown = page(client, sara, address("portal_line", invoice))
    assert "<h1>Bandwidth, October 2026</h1>" in shown
    assert "Up to 13" in shown  # the step
    assert "$1.00" in shown
    assert "$13.00" in shown
    assert f'<a href="{address("portal_period", invoice, 1)}">October 2026</a>' in shown
    assert "the whole period" in shown
    assert shown.index("31 Oct, 18:00") < shown.index("10 Oct, 06:00")
    assert "1 Nov, 06:00" not in shown  # November's


def test_an_invoice_leads_to_the_page_of_each_line(client, sara, service):
    invoice = a_month_of_traffic(service)
    shown = page(client, sara, reverse("portal_invoice", args=[invoice.pk]))
    assert address("portal_line", invoice) in shown


def test_clients_see_the_number_of_a_collection_and_staff_its_page_and_server(client, sara, ines, service):
    invoice = a_month_of_traffic(service)
    first, last, _ = Collection.objects.order_by("pk")
    for name in ("line", "period"):
        number = (1,) if name == "period" else ()
        shown = page(client, sara, address(f"portal_{name}", invoice, *number))
        assert f"no. {first.pk}" in shown
        assert f"no. {last.pk}" in shown
        assert reverse("staff_collection", args=[first.pk]) not in shown
        assert "panel-01" not in shown
        shown = page(client, ines, address(f"staff_{name}", invoice, *number))
        assert reverse("staff_collection", args=[first.pk]) in shown
        assert "panel-01" in shown


def test_what_was_read_after_the_invoice_does_not_stand_behind_the_line(client, sara, service):
    invoice = a_month_of_traffic(service)
    setting = a_setting(service.product, TRAFFIC, enabled_from=None)
    key = {"tenant_id": service.tenant_id, "metric_id": setting.metric_id}
    Reading.objects.create(
        **key, start=date(2026, 10, 1), end=date(2026, 11, 1), read_at=at("2026-11-02 06:00"), value=14 * GB
    )
    shown = page(client, sara, address("portal_line", invoice))
    assert "2 Nov, 06:00" not in shown
    assert "31 Oct, 18:00" in shown


def test_a_fee_is_the_price_of_the_product(client, sara, service):
    shown = page(client, sara, address("portal_line", issued(service.client, fee(service))))
    assert "The price of the product for this term" in shown
    assert "Readings" not in shown


def days(service, count, declared=EMAILS, **values):
    """An invoice over so many days from 1 January 2026, of 10 emails each, collected twice a day."""
    setting = a_setting(service.product, declared, enabled_from=None)
    first = date(2026, 1, 1)
    starts = [first + timedelta(days=number) for number in range(count)]
    partitions.ensure(starts)
    key = {"tenant_id": service.tenant_id, "metric_id": setting.metric_id}
    collection = Collection.objects.create(
        server=service.tenant.server, as_of=at("2026-01-01 06:00"), started_at=at("2026-01-01 06:00")
    )
    Reading.objects.bulk_create(
        Reading(
            **key,
            start=day,
            end=day + timedelta(days=1),
            read_at=at(f"{day} {hour}:00"),
            value=value,
            collection_id=collection.pk,
        )
        for day in starts
        for hour, value in (("06", 4), ("18", 10))
    )
    written = usage(service, setting, *[(str(day), "10") for day in starts], **values)
    return issued(service.client, written, when="2026-11-01 07:00")


def test_the_days_of_a_quarter_stand_on_one_page_and_each_leads_to_its_readings(client, sara, service):
    invoice = days(service, 92)
    shown = page(client, sara, address("portal_line", invoice))
    assert "920 emails" in shown
    assert "184" in shown  # readings
    assert shown.count('data-label="Usage"') == 92
    assert "<h2>Readings</h2>" not in shown
    shown = page(client, sara, address("portal_period", invoice, 31))
    assert "<h1>31 January 2026</h1>" in shown
    assert shown.count('data-label="Value"') == 2
    assert "Before: 30 January 2026" in shown
    assert "After: 1 February 2026" in shown


def test_more_periods_come_on_further_pages(client, sara, service):
    invoice = days(service, 205)
    shown = page(client, sara, f"{address('portal_line', invoice)}?page=3")
    assert shown.count('data-label="Usage"') == 5
    assert "201 to 205 of 205 periods" in shown


def test_on_the_invoice_many_periods_are_summed_up(client, sara, service):
    invoice = days(service, 92)
    shown = page(client, sara, reverse("portal_invoice", args=[invoice.pk]))
    assert "92 periods, 1 January 2026 to 3 April 2026, 920 emails together" in shown
    assert "All 92 periods and their readings" in shown
    assert 'data-label="Usage"' not in shown


@pytest.mark.parametrize("area", ["portal", "staff"])
def test_a_line_in_short_takes_the_same_number_of_queries_for_more_periods(client, sara, ines, service, area):
    few, many = days(service, 2), days(a_service(service.product, service.client, other(service)), 92)
    client.force_login(sara if area == "portal" else ines)
    brief = {"X-Brief": "1"}
    queries(client, address(f"{area}_line", few), brief)
    few, many = (queries(client, address(f"{area}_line", one), brief) for one in (few, many))
    assert few == many


def test_a_line_of_another_client_does_not_exist_in_short_either(client, service):
    invoice = days(service, 2)
    eve = a_user("eve@other.test")
    a_client("Other", users=(eve,))
    client.force_login(eve)
    assert client.get(address("portal_line", invoice), headers={"X-Brief": "1"}).status_code == 404


def test_each_period_that_was_rated_by_itself_has_its_amount(client, sara, service):
    invoice = days(service, 20, each=True)
    shown = page(client, sara, address("portal_line", invoice))
    assert "20 periods </th>" in shown
    assert "each rated by itself" in shown
    assert shown.count('data-label="Amount"') >= 20
    shown = page(client, sara, address("portal_period", invoice, 20))
    assert "What it costs by itself" in shown
    assert "$10.00" in shown


def test_a_page_takes_the_same_number_of_queries_for_more_periods_and_readings(client, sara, ines, service):
    few, many = days(service, 2), days(a_service(service.product, service.client, other(service)), 92)
    for name, user, number in [
        ("portal_line", sara, ()),
        ("staff_line", ines, ()),
        ("portal_period", sara, (1,)),
        ("staff_period", ines, (1,)),
    ]:
        client.force_login(user)
        queries(client, address(name, few, *number))
        assert queries(client, address(name, few, *number)) == queries(client, address(name, many, *number))


def other(service):
    return a_tenant(service.tenant.server, "bob")


def queries(client, where, headers=None):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(where, headers=headers or {}).status_code == 200
    return len(captured)


def many_readings(service, count):
    """A month that was read every so often, each time a little more."""
    setting = a_setting(service.product, TRAFFIC, enabled_from=None)
    partitions.ensure([date(2026, 10, 1)])
    first = at("2026-10-01 00:10")
    Reading.objects.bulk_create(
        Reading(
            tenant_id=service.tenant_id,
            metric_id=setting.metric_id,
            start=date(2026, 10, 1),
            end=date(2026, 11, 1),
            read_at=first + timedelta(minutes=5 * number),
            value=number * GB,
            collection_id=number,
        )
        for number in range(1, count + 1)
    )
    return issued(service.client, usage(service, setting, ("2026-10-01", str(count))))


def test_the_readings_of_a_period_come_a_page_at_a_time_newest_first(client, sara, service):
    invoice = many_readings(service, 230)
    shown = page(client, sara, address("portal_line", invoice))
    assert "All 230 readings" in shown
    assert shown.count('data-label="Value"') == 12
    shown = page(client, sara, address("portal_period", invoice, 1))
    assert shown.count('data-label="Value"') == 100
    assert "230 GB" in shown
    assert ">130 GB<" not in shown
    shown = page(client, sara, f"{address('portal_period', invoice, 1)}?page=3")
    assert shown.count('data-label="Value"') == 30
    assert "201 to 230 of 230" in shown


def test_the_count_of_queries_does_not_grow_with_readings(client, ines, service):
    few = many_readings(service, 3)
    many = many_readings(a_service(service.product, service.client, other(service)), 90)
    client.force_login(ines)
    for name, number in [("staff_line", ()), ("staff_period", (1,))]:
        queries(client, address(name, few, *number))
        assert queries(client, address(name, few, *number)) == queries(client, address(name, many, *number))


def test_a_count_says_how_much_it_rose_from_the_reading_before(client, sara, service):
    for when, count in (
        ("2026-10-29 18:00", 1000),
        ("2026-10-30 06:00", 1040),
        ("2026-10-30 12:00", 7),
        ("2026-10-30 18:00", 10),
    ):
        read(service, (when, {"rows": count}))
    setting = a_setting(service.product, ROWS)
    invoice = issued(service.client, usage(service, setting, ("2026-10-30", "50")))
    shown = page(client, sara, address("portal_period", invoice, 1))
    assert "1,000 rows" in shown
    assert "the last one before the period" in shown
    risen = [part.split("<")[0].strip() for part in shown.split('data-label="Rose by" class="tp-r">')[1:]]
    assert risen == ["3 rows", "7 rows", "40 rows", "—"]


def test_a_level_that_did_not_change_is_the_last_reading_before_its_term(client, sara, service):
    read(service, ("2026-09-12 06:00", {"disk": 7 * GB}))
    setting = a_setting(service.product, DISK)
    written = usage(service, setting, ("2026-10-01", "7"), end="2026-11-01", measured_on="2026-10-31")
    shown = page(client, sara, address("portal_line", issued(service.client, written)))
    assert "12 Sept, 06:00" in shown
    assert "the last one before the period" in shown
    assert "31 October 2026" in shown


def the_next(service):
    """Another client's service that has the tenant from 11 October on, and somebody of that client."""
    service.status, service.terminated_on = "terminated", date(2026, 10, 10)
    service.save()
    user = a_user("next@client.test")
    return a_service(service.product, a_client("Next", users=(user,)), service.tenant, anchor="2026-10-11"), user


def every_page(client, user, invoice):
    """The texts of a line: in short, its page, its only period, and its readings as a table."""
    client.force_login(user)
    brief = client.get(address("portal_line", invoice), headers={"X-Brief": "1"}).content.decode()
    pages = [client.get(address("portal_line", invoice)), client.get(address("portal_period", invoice, 1))]
    table = b"".join(client.get(address("portal_readings_csv", invoice)).streaming_content).decode()
    return [brief, *(each.content.decode() for each in pages), table]


def test_totals_of_the_client_before_do_not_stand_behind_the_line(client, service):
    setting = a_setting(service.product, EMAILS)
    for number in range(4, 10):
        read(service, (f"2026-10-{number:02d} 06:00", {"emails": 4000 + number}))
    own, user = the_next(service)
    read(own, ("2026-10-11 06:00", {"emails": 7}), ("2026-10-12 06:00", {"emails": 8}))
    invoice = issued(own.client, usage(own, setting, ("2026-10-11", "7"), ("2026-10-12", "8")))
    for shown in every_page(client, user, invoice):
        assert "4,009" not in shown
        assert "4009" not in shown
    brief = every_page(client, user, invoice)[0]
    assert "7 emails" in brief
    assert "8 emails" in brief


def test_the_level_of_the_client_before_does_not_stand_behind_the_line(client, service):
    setting = a_setting(service.product, DISK)
    read(service, ("2026-10-05 06:00", {"disk": 555 * GB}), ("2026-10-07 06:00", {"disk": 777 * GB}))
    own, user = the_next(service)
    read(own, ("2026-10-12 06:00", {"disk": 2 * GB}))
    written = usage(own, setting, ("2026-10-11", "2"), end="2026-11-11", measured_on="2026-10-31")
    for shown in every_page(client, user, issued(own.client, written, when="2026-11-11 07:00")):
        assert "777" not in shown
        assert "555" not in shown
        assert "2000000000" in shown or "2 GB" in shown


def test_a_level_that_the_client_before_left_stands_behind_the_line_while_it_lasts(client, service):
    setting = a_setting(service.product, DISK)
    read(service, ("2026-10-05 06:00", {"disk": 555 * GB}), ("2026-10-07 06:00", {"disk": 777 * GB}))
    own, user = the_next(service)
    read(own, ("2026-10-11 06:00", {"disk": 777 * GB}))
    written = usage(own, setting, ("2026-10-11", "777"), end="2026-11-11", measured_on="2026-10-31")
    invoice = issued(own.client, written, when="2026-11-11 07:00")
    for shown in every_page(client, user, invoice):
        assert "777" in shown
        assert "555" not in shown
    read(own, ("2026-10-12 06:00", {"disk": 2 * GB}))
    _brief, line, period, table = every_page(client, user, invoice)
    for shown in (line, period, table):
        assert "777" in shown


def test_a_line_keeps_its_readings_when_its_service_gets_another_tenant(client, sara, service):
    setting = a_setting(service.product, DISK)
    read(service, ("2026-10-05 06:00", {"disk": 5 * GB}), ("2026-10-07 06:00", {"disk": 7 * GB}))
    written = usage(service, setting, ("2026-10-01", "7"), end="2026-11-01", measured_on="2026-10-31")
    invoice = issued(service.client, written)
    service.tenant, service.metered_from = other(service), date(2026, 11, 5)
    service.save()
    for shown in every_page(client, sara, invoice):
        assert "7 GB" in shown or "7000000000" in shown


def test_an_aggregated_level_shows_the_days_that_were_measured(client, sara, service):
    read(service, ("2026-10-01 06:00", {"disk": 10 * GB}), ("2026-10-11 06:00", {"disk": 40 * GB}))
    setting = a_setting(service.product, DISK)
    levels = [["2026-10-01", str(10 * GB)], ["2026-10-11", str(40 * GB)]]
    written = usage(
        service,
        setting,
        ("2026-10-01", "40"),
        end="2026-11-01",
        measured_on="2026-10-11",
        aggregation="peak",
        levels=levels,
    )
    shown = page(client, sara, address("portal_line", issued(service.client, written)))
    assert "The days of the term" in shown
    assert "The highest of the 2 days that were measured." in shown
    assert "1 October 2026</th>" in shown
    assert "11 October 2026</th>" in shown


@pytest.mark.parametrize(
    ("part", "is_open", "words"),
    [
        (0, True, "billed up to here before it ended"),
        (1, False, "the rest of a period that was billed in part before"),
    ],
)
def test_a_period_that_was_billed_in_parts_says_so(client, sara, service, part, is_open, words):
    setting = a_setting(service.product, TRAFFIC)
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "5"), part=part, is_open=is_open))
    assert words in page(client, sara, address("portal_line", invoice))
    assert words in page(client, sara, address("portal_period", invoice, 1))


def test_a_correction_says_when_before_after_and_why_and_to_staff_by_whom(client, sara, ines, service):
    read(service, ("2026-10-31 18:00", {"traffic": 13 * GB}))
    setting = a_setting(service.product, TRAFFIC)
    corrected(service, setting, "2026-10-01", "9", when="2026-11-01 05:00", end="2026-11-01", by=ines)
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "9"), revision=1))
    for where in (("line",), ("period", 1)):
        shown = page(client, sara, address(f"portal_{where[0]}", invoice, *where[1:]))
        assert "the backup was counted twice" in shown
        assert "1 Nov, 05:00" in shown
        assert "13 GB" in shown
        assert "9 GB" in shown
        assert "ines@staff.test" not in shown
        assert "ines@staff.test" in page(client, ines, address(f"staff_{where[0]}", invoice, *where[1:]))


def test_a_correction_after_the_invoice_is_said_to_be_later(client, sara, service):
    invoice = a_month_of_traffic(service)
    setting = a_setting(service.product, TRAFFIC, enabled_from=None)
    corrected(service, setting, "2026-10-01", "9", when="2026-11-05 05:00", end="2026-11-01")
    shown = page(client, sara, address("portal_line", invoice))
    assert "after this line was issued" in shown
    assert "corrected since" in shown
    assert shown.count("the backup was counted twice") == 1  # among the corrections, not among the readings


def test_the_count_of_queries_does_not_grow_with_corrections(client, ines, service):
    setting = a_setting(service.product, EMAILS)
    invoice = issued(service.client, usage(service, setting, *[(f"2026-10-{day}", "9") for day in range(10, 20)]))
    client.force_login(ines)
    counts = []
    for day in range(10, 20):
        corrected(
            service, setting, f"2026-10-{day}", "9", when=f"2026-11-01 05:{day}", by=a_staff_user(f"s{day}@s.test")
        )
        places = [address("staff_line", invoice), address("staff_period", invoice, 1)]
        counts.append([queries(client, where) for where in places])
    assert counts[1] == counts[-1]


def test_what_a_person_typed_is_text(client, sara, service):
    setting = a_setting(service.product, TRAFFIC)
    corrected(
        service,
        setting,
        "2026-10-01",
        "9",
        when="2026-11-01 05:00",
        end="2026-11-01",
        reason="<script>alert(1)</script>",
    )
    invoice = issued(service.client, usage(service, setting, ("2026-10-01", "9")))
    assert "<script>alert" not in page(client, sara, address("portal_line", invoice))


EACH = ["line", "period", "lines_csv", "periods_csv", "readings_csv"]


def where(area, name, invoice, line):
    arguments = [invoice] if name == "lines_csv" else [invoice, line, 1] if name == "period" else [invoice, line]
    return reverse(f"{area}_{name}", args=arguments)


@pytest.mark.parametrize("name", EACH)
def test_another_clients_line_does_not_exist(client, service, name):
    invoice = a_month_of_traffic(service)
    line = invoice.lines.get()
    mallory = a_user("mallory@other.test")
    own_client = a_client("Other", users=(mallory,))
    own = issued(own_client, fee(a_service(service.product, own_client)))
    client.force_login(mallory)
    assert client.get(where("portal", name, invoice.pk, line.pk)).status_code == 404
    assert client.get(where("portal", name, uuid.uuid4(), uuid.uuid4())).status_code == 404
    if name != "lines_csv":
        # Nor below an invoice of one's own.
        assert client.get(where("portal", name, own.pk, line.pk)).status_code == 404


@pytest.mark.parametrize("name", [name for name in EACH if name != "lines_csv"])
def test_a_line_does_not_exist_below_another_invoice(client, sara, service, name):
    invoice, other = a_month_of_traffic(service), issued(service.client, fee(service))
    client.force_login(sara)
    assert client.get(where("portal", name, invoice.pk, invoice.lines.get().pk)).status_code == 200
    assert client.get(where("portal", name, other.pk, invoice.lines.get().pk)).status_code == 404


@pytest.mark.parametrize("number", [0, 2, 10**12])
def test_a_period_that_the_line_does_not_have_does_not_exist(client, sara, service, number):
    invoice = a_month_of_traffic(service)
    client.force_login(sara)
    assert client.get(address("portal_period", invoice, number)).status_code == 404


@pytest.mark.parametrize("name", EACH)
def test_staff_pages_need_the_right_to_view_invoices(client, sara, service, name):
    invoice = a_month_of_traffic(service)
    address = where("staff", name, invoice.pk, invoice.lines.get().pk)
    assert "/login/" in client.get(address).url
    client.force_login(sara)
    assert client.get(address).status_code == 403
    clerk = a_user("clerk@staff.test", is_staff=True)
    client.force_login(clerk)
    assert client.get(address).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_invoice"))
    assert client.get(address).status_code == 200


def test_staff_who_may_not_view_collections_get_no_link_to_them(client, service):
    invoice = a_month_of_traffic(service)
    clerk = a_user("clerk@staff.test", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_invoice"))
    shown = page(client, clerk, address("staff_line", invoice))
    assert f"no. {Collection.objects.last().pk}" in shown
    assert reverse("staff_collection", args=[Collection.objects.last().pk]) not in shown


@pytest.mark.parametrize("name", EACH)
def test_nobody_is_sent_to_the_login(client, service, name):
    invoice = a_month_of_traffic(service)
    response = client.get(where("portal", name, invoice.pk, invoice.lines.get().pk))
    assert response.url.startswith(reverse("account_login"))
    assert Invoice.objects.exists()
