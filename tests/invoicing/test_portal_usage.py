"""The client's forecast, history and tables: what the pages say, and that nobody sees another's."""

import re
import uuid
from datetime import date, timedelta
from decimal import Decimal as D
from urllib.parse import urljoin

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from catalog import price_book
from catalog.models import ClientUser, Role, Service
from invoicing import overview, statistics
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line
from metering import prepared
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    Usage,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    agreed,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.pages import unfolded

pytestmark = pytest.mark.django_db

BRIEF = {"X-Brief": "1"}


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def sara():
    return a_user("sara@client.test")


def business_web():
    product = a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="10")
    priced(a_setting(product, EMAILS), ("0", "0.01"), included="1000")
    return product


def measure(server, tenant="alice", since=1, until=19, **more):
    """0.75 GB and 50 emails a day, and 25 mailboxes, each morning of November."""
    for day in range(since, until + 1):
        values = {"mailboxes": 25, "traffic": Usage(D(day) * GB * 3 / 4, limit=50 * GB), "emails": 50, **more}
        collected(server, f"2026-11-{day:02} 06:00", tenant_says(tenant, **values))


@pytest.fixture
def own(sara):
    server = a_server()
    service = a_service(business_web(), a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    measure(server)
    return service


def see(client, user, name, *arguments, **query):
    client.force_login(user)
    with panel(says()):
        response = client.get(reverse(name, args=arguments), query)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_the_panel_says_what_the_term_will_come_to(client, sara, own):
    """14.25 GB in 18.25 days are 23.42 GB in 30, of which 10 are included."""
    shown = see(client, sara, "portal_service", own.public_id)
    assert "Expected on 1 Dec" in shown
    assert "$13.42" in shown
    assert "Included ran out" in shown
    assert "on 14 November" in shown
    assert "day 19 of 30" in shown


def test_the_panel_says_when_the_included_runs_out_and_what_the_next_unit_costs(client, sara, own):
    shown = see(client, sara, "portal_service", own.public_id)
    assert "about 20 November, at this pace" in shown
    assert "nothing, it is included" in shown  # the next email
    assert "The next GB costs" in shown


def test_an_invoice_at_the_end_of_the_term_bills_what_was_expected_if_nothing_changed(client, sara, own):
    [metrics] = statistics.enabled_of_each([own], at=timezone.now()).values()
    expected = statistics.expected(metrics)
    measure(own.tenant.server, since=20, until=30)
    for day in (30, 1):
        when = f"2026-11-{day} 23:59" if day == 30 else "2026-12-01 06:00"
        traffic = D("22.5") if day == 30 else D(0)
        values = tenant_says("alice", mailboxes=25, traffic=traffic * GB, emails=50 if day == 30 else 0)
        collected(own.tenant.server, when, values)
    create_invoices(on=at("2026-12-01 07:00").date(), at=at("2026-12-01 07:00"))
    billed = sum(line.amount for line in Line.objects.filter(kind="usage"))
    assert abs(billed - expected.expected) < 2  # the mornings say a quarter of a day too much


def test_home_and_service_expect_the_same(client, sara, own):
    one = overview.glance(own, statistics.enabled_of(own, at=timezone.now()))
    [glance] = overview.at_a_glance([own], at=timezone.now())
    assert (glance.so_far, glance.expected, glance.metrics, glance.stale) == (
        one.so_far,
        one.expected,
        one.metrics,
        one.stale,
    )
    assert glance.expected.low <= glance.expected.expected <= glance.expected.high


@pytest.mark.parametrize(
    "measured",
    [
        ["2026-10-10 to 2026-10-31", "2026-11-06 to 2026-11-19"],
        ["2026-10-10 to 2026-10-31", "2026-11-16 to 2026-11-19"],
        ["2026-10-10 to 2026-10-31", "2026-11-01 to 2026-11-02", "2026-11-18 to 2026-11-19"],
        ["2026-10-10 to 2026-10-31", "2026-11-19 to 2026-11-19"],
        ["2026-10-10 to 2026-10-31"],
        ["2026-11-06 to 2026-11-19"],
        ["2026-11-01 to 2026-11-02", "2026-11-18 to 2026-11-19"],
    ],
)
def test_home_and_service_expect_the_same_whichever_days_were_measured(sara, measured):
    """Where the term began before its first day that was measured, and where few of its days were."""
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), ("0", "1"))
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    for first, last in (span.split(" to ") for span in measured):
        day, last = at(f"{first} 06:00"), at(f"{last} 06:00")
        while day <= last:
            collected(server, f"{day:%Y-%m-%d %H:%M}", tenant_says("alice", emails=20 + day.day))
            day += timedelta(days=1)
    [one] = statistics.enabled_of(service, at=timezone.now())
    [[same]] = statistics.enabled_of_each([service], at=timezone.now()).values()
    assert (same.amount, same.outlook, same.is_waiting_for_days) == (one.amount, one.outlook, one.is_waiting_for_days)


def counted_from(sara, how, on, last):
    """50 emails a day since 10 October, of which those of the term from 1 November count that are from a day on: it
    was switched on then, or had its first price."""
    server, product = a_server(), a_product()
    began = {"switch": ("2026-09-01", on), "price": (on, "2026-09-01")}[how]
    priced(a_setting(product, EMAILS, enabled_from=began[1]), ("0", "1"), included="100", effective_from=began[0])
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    day = at("2026-10-10 06:00")
    while day <= at(last):
        collected(server, f"{day:%Y-%m-%d %H:%M}", tenant_says("alice", emails=50))
        day += timedelta(days=1)
    return service


@pytest.mark.parametrize("how", ["switch", "price"])
def test_what_was_used_before_a_metric_counted_says_how_fast_it_is_used(client, sara, how):
    service = counted_from(sara, how, on="2026-11-16", last="2026-11-19 06:00")
    [one] = statistics.enabled_of(service, at=timezone.now())
    assert (one.quantity, one.since, one.amount) == (200, date(2026, 11, 16), 100)
    assert 52 < one.outlook.pace.per_day.expected < D("52.1")  # 950 in 18.25 days
    assert (one.outlook.quantities.expected, one.outlook.amounts.expected) == (812, 712)
    [[same]] = statistics.enabled_of_each([service], at=timezone.now()).values()
    assert (same.quantity, same.amount, same.outlook) == (one.quantity, one.amount, one.outlook)
    shown = see(client, sara, "portal_service", service.public_id)
    assert "Emails sent since 16 November" in shown
    assert "on 18 November" in shown  # the included ran out


@pytest.mark.parametrize("how", ["switch", "price"])
def test_of_a_metric_that_was_just_switched_on_or_priced_nothing_counts_yet(client, sara, how):
    service = counted_from(sara, how, on="2026-11-19", last="2026-11-18 06:00")
    [one] = statistics.enabled_of(service, at=timezone.now())
    assert (one.quantity, one.since, one.amount) == (0, None, None)
    # As 900 in 17.25 days for the 12.75 that are left.
    assert (one.outlook.quantities.expected, one.outlook.amounts.expected) == (665, 565)
    [[same]] = statistics.enabled_of_each([service], at=timezone.now()).values()
    assert (same.quantity, same.amount, same.outlook) == (one.quantity, one.amount, one.outlook)
    shown = see(client, sara, "portal_service", service.public_id)
    assert "Included ran out" not in shown
    assert "Emails sent each day" in shown


@pytest.mark.parametrize(("prices", "reads"), [([("0", "1")], True), ([], False)])
def test_home_reads_no_days_of_what_has_no_prices(sara, prices, reads):
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), *prices) if prices else a_setting(product, EMAILS)
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    collected(server, "2026-11-19 06:00", tenant_says("alice", emails=50))
    with CaptureQueriesContext(connection) as captured:
        statistics.enabled_of_each([service], at=timezone.now())
    assert any("array_agg(day" in each["sql"] for each in captured) == reads


def test_home_says_what_the_next_invoice_is_made_of(client, sara, own):
    shown = see(client, sara, "home")
    assert "Next invoice" in shown
    assert "1 Dec 2026" in shown
    assert "Its usage, expected" in shown
    assert "$24.00" in shown
    assert "before tax" in shown.lower()


def test_too_few_days_are_no_forecast(client, sara):
    server = a_server()
    service = a_service(business_web(), a_client(users=(sara,)), a_tenant(server), anchor="2026-11-17", next_term=1)
    measure(server, since=17)
    shown = see(client, sara, "portal_service", service.public_id)
    assert "not enough days yet" in shown
    assert "not enough days yet" in see(client, sara, "home")


def test_what_a_service_with_too_few_days_costs_so_far_is_in_both_sums(client, sara, own):
    """10 boxes at 2.00, 9 at 1.00 and 6 at 0.50 are known at once; 3 days of emails and traffic are too few."""
    young = a_service(own.product, own.client, a_tenant(own.tenant.server, "bob"), anchor="2026-11-17", next_term=1)
    measure(own.tenant.server, "bob", since=17)
    glances = overview.at_a_glance([own, young], at=timezone.now())
    [total] = overview.totals(glances)
    [known, new] = glances
    assert new.is_expected_later
    assert total.open == 1
    assert total.so_far == known.so_far + new.so_far
    assert total.expected == known.expected.plus(new.so_far)
    shown = see(client, sara, "home")
    assert f"${total.expected.expected:.2f}" in shown
    assert "at least: 1 service has too few days and counts with its charge so far" in shown


@pytest.mark.parametrize("until", ["2026-11-25", "2026-12-05"])
@pytest.mark.parametrize("periods", ["summed", "each"])
def test_the_next_invoice_has_only_months_that_are_over_when_it_is_made(client, sara, time_machine, until, periods):
    """48 GB a day; of a term from 10 November to 10 December, the invoice has November, of which 300 are included."""
    server, product = a_server(), a_product()
    priced(a_setting(product, TRAFFIC), ("0", "1"), notation="above", included="300", periods=periods)
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-10", next_term=2)
    service.metered_from = date(2026, 11, 1)
    service.save()

    def measured(first, last):
        while first <= last:
            collected(server, f"{first} 23:45", tenant_says("alice", traffic=48 * first.day * GB))
            first += timedelta(days=1)

    measured(date(2026, 10, 10), date.fromisoformat(until))
    time_machine.move_to(at(f"{until} 23:50"))
    [glance] = overview.at_a_glance([service], at=timezone.now())
    assert glance == overview.glance(service, statistics.enabled_of(service, at=timezone.now()))
    [following] = overview.next_invoices([glance], today=timezone.localdate())
    assert glance.expected.expected > following.about.expected
    shown = see(client, sara, "portal_service", service.public_id)
    assert f"about ${following.about.expected:,.2f} for this service, without the month that is open then" in shown
    measured(date.fromisoformat(until) + timedelta(days=1), date(2026, 12, 9))
    time_machine.move_to(at("2026-12-10 07:00"))
    with panel(says()):
        create_invoices(on=date(2026, 12, 10), at=timezone.now())
    billed = Invoice.objects.get().total
    assert billed == 24 + 48 * 30 - 300
    assert abs(following.about.expected - billed) < 3  # the pace is of days that ended a quarter of an hour early


def test_the_next_invoice_is_at_least_what_a_service_with_too_few_days_costs_so_far(client, sara):
    server = a_server()
    service = a_service(business_web(), a_client(users=(sara,)), a_tenant(server), anchor="2026-11-17", next_term=1)
    measure(server, since=17)
    [glance] = overview.at_a_glance([service], at=timezone.now())
    [invoice] = overview.next_invoices([glance], today=timezone.localdate())
    assert invoice.is_open
    assert invoice.about.low == 24 + glance.so_far
    shown = see(client, sara, "home")
    assert "Its usage so far" in shown
    assert f"at least ${invoice.about.low:.2f}" in shown
    assert f"at least ${invoice.about.low:.2f}" in see(client, sara, "portal_service", service.public_id)


def test_no_change_is_said_only_where_the_charge_stays_as_it_is(client, sara):
    """A package of 1,000 is charged in whole: sure what it will be, and not what it is."""
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), ("0", "0.50"), scheme="package", package_size=D(1000), included="100")
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-11-01", next_term=1)
    for day in range(1, 20):
        collected(server, f"2026-11-{day:02} 06:00", tenant_says("alice", emails=50))
    [emails] = statistics.enabled_of(service, at=timezone.now())
    assert emails.outlook.amounts.is_certain
    assert emails.outlook.amounts.expected > emails.amount
    shown = see(client, sara, "portal_service", service.public_id)
    assert "no change expected" not in shown
    assert "$0.50 per started 1,000 emails" in shown


def test_numbers_below_each_other_have_as_many_decimals(client, sara, own):
    """0.75 GB a day: 1.5 GB after two days stand above 2.25 GB after three."""
    client.force_login(sara)
    shown = unfolded(client, reverse("portal_service", args=[own.public_id]))
    assert ">1.50<" in shown.replace("> ", ">").replace(" <", "<")
    assert ">2.25<" in shown.replace("> ", ">").replace(" <", "<")


def test_a_new_term_goes_on_as_the_last_one_did(client, sara):
    server = a_server()
    service = a_service(business_web(), a_client(users=(sara,)), a_tenant(server), anchor="2026-10-19", next_term=1)
    measure(server)
    service.next_term, service.next_due_on = 2, at("2026-12-19 00:00").date()
    service.save()
    assert "at the pace of the last term" in see(client, sara, "portal_service", service.public_id)


@pytest.mark.parametrize("aggregation", ["mean", "peak", "p95", "time_weighted", "days"])
def test_an_aggregated_level_is_expected_as_it_is_billed(sara, aggregation):
    server, product = a_server(), a_product()
    priced(a_setting(product, DISK), ("0", "1"), notation="above", aggregation=aggregation)
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-11-01", next_term=1)
    for day in range(1, 20):
        collected(server, f"2026-11-{day:02} 06:00", tenant_says("alice", disk=20 * GB))
    [disk] = statistics.enabled_of(service, at=timezone.now())
    assert disk.outlook.amounts.expected == 20
    assert disk.outlook.amounts.is_certain


def test_what_was_agreed_prices_the_forecast(sara, own):
    setting = own.product.metric_settings.get(metric=a_metric(TRAFFIC))
    agreed(own, setting, start="2026-10-01", included="20", discount="50")
    traffic = next(one for one in statistics.enabled_of(own, at=timezone.now()) if one.metric.system_name == "traffic")
    assert traffic.amount == 0
    assert traffic.outlook.amounts.expected == D("1.71")  # half of 3.42 above 20 GB


def test_levels_lie_between_their_least_and_their_most(sara):
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    for day, count in ((10, 24), (11, 27), (19, 25)):
        collected(server, f"2026-11-{day} 06:00", tenant_says("alice", mailboxes=count))
    [boxes] = statistics.enabled_of(service, at=timezone.now())
    amounts = boxes.outlook.amounts
    assert (amounts.low, amounts.expected, amounts.high) == (48, 50, 54)


def test_what_the_tenant_was_before_the_service_is_nobodys_business(client, sara):
    """A tenant that was another's: neither its days nor how high its levels went are shown."""
    server, product = a_server(), business_web()
    collected(server, "2026-11-05 06:00", tenant_says("alice", mailboxes=98765, traffic=1, emails=31337))
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-11-10", next_term=1)
    measure(server, since=10)
    pages = [see(client, sara, "portal_service", service.public_id)]
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        for by in ("day", "month"):
            asked = {"by": by, "until": "2026-11-30"}
            pages.append(see(client, sara, "portal_metric", service.public_id, a_metric(declared).pk, **asked))
    for shown in pages:
        assert "98,765" not in shown
        assert "31,337" not in shown
    [metrics] = statistics.enabled_of_each([service], at=timezone.now()).values()
    boxes = next(one for one in metrics if one.metric.system_name == "mailboxes")
    assert boxes.outlook.amounts.is_certain


def test_what_the_tenant_is_after_the_service_is_nobodys_business(client, sara, own):
    own.status, own.terminated_on = "terminated", timezone.localdate() - timedelta(days=3)
    own.save()
    a_service(own.product, a_client("Next", users=(a_user("next@other.test"),)), own.tenant, anchor="2026-11-17")
    values = {"mailboxes": 98765, "traffic": 77777 * GB, "emails": 31337}
    collected(own.tenant.server, "2026-11-19 08:00", tenant_says("alice", **values))
    pages = [see(client, sara, name, *key) for name, key in (("portal_service", [own.public_id]), ("home", []))]
    for declared in (MAILBOXES, EMAILS, TRAFFIC):
        for by in ("day", "month"):
            pages.append(see(client, sara, "portal_metric", own.public_id, a_metric(declared).pk, by=by))
    tables = client.get(reverse("portal_usage_csv", args=[own.public_id]))
    pages.append(b"".join(tables.streaming_content).decode())
    for shown in pages:
        assert not any(word in shown for word in ("98,765", "98765", "31,337", "31337", "77,777", "77777"))
    assert "The service has ended" in pages[0]
    assert "charged from the next term on" not in pages[0]


@pytest.mark.parametrize("by", ["day", "month"])
@pytest.mark.parametrize("declared", [MAILBOXES, TRAFFIC, EMAILS])
def test_the_history_of_a_metric_is_a_chart_with_its_table(client, sara, own, declared, by):
    shown = see(client, sara, "portal_metric", own.public_id, a_metric(declared).pk, by=by)
    assert 'class="tp-chart"' in shown
    assert "The same as a table" in shown
    assert ("November 2026" if by == "month" else "19 Nov") in shown


def test_the_history_goes_back_to_the_first_day_and_not_further(client, sara, own):
    address = [own.public_id, a_metric(EMAILS).pk]
    now = see(client, sara, "portal_metric", *address)
    assert 'rel="prev" href="?by=day&amp;until=2026-10-20"' in now
    assert 'rel="next"' not in now
    first = see(client, sara, "portal_metric", *address, until="2026-10-20")
    assert 'rel="prev"' not in first
    assert 'rel="next"' in first
    for odd in ("", "yesterday", "2026-02-31", "9999-12-31", "0001-01-01", "2026-11-19T00:00", "١٢"):
        assert "Emails sent" in see(client, sara, "portal_metric", *address, until=odd)


def test_days_and_months_come_as_csv(client, sara, own):
    client.force_login(sara)
    address = reverse("portal_metric_csv", args=[own.public_id, a_metric(TRAFFIC).pk])
    by_day = client.get(address)
    rows = b"".join(by_day.streaming_content).decode().splitlines()
    assert by_day["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="alice-traffic-by-day.csv"' in by_day["Content-Disposition"]
    assert rows[:2] == ["metric,day,quantity,unit", "Bandwidth,2026-11-01,0.75,GB"]
    by_month = b"".join(client.get(address, {"by": "month"}).streaming_content).decode().splitlines()
    assert by_month[1:] == ["Bandwidth,2026-11,14.25,GB,,"]


def test_all_days_of_a_service_come_as_one_csv(client, sara, own):
    client.force_login(sara)
    response = client.get(reverse("portal_usage_csv", args=[own.public_id]))
    rows = b"".join(response.streaming_content).decode().splitlines()
    assert len(rows) == 1 + 3 * 19
    assert "Mailboxes,2026-11-19,25,mailboxes" in rows


def test_a_name_from_outside_is_no_formula(client, sara, own):
    metric = a_metric(EMAILS)
    metric.display_name = "=HYPERLINK(1)"
    metric.save()
    client.force_login(sara)
    for name, arguments in (("portal_usage_csv", []), ("portal_metric_csv", [metric.pk])):
        text = b"".join(client.get(reverse(name, args=[own.public_id, *arguments])).streaming_content).decode()
        assert "'=HYPERLINK(1)" in text
        assert ",=HYPERLINK" not in f",{text}"


def test_the_page_of_a_metric_says_in_short_what_its_panel_unfolds(client, sara, own):
    client.force_login(sara)
    for declared, parts in ((MAILBOXES, ["table", "prices"]), (EMAILS, ["table"])):  # those have one price
        answer = client.get(reverse("portal_metric", args=[own.public_id, a_metric(declared).pk]), headers=BRIEF)
        shown = answer.content.decode()
        assert re.findall(r'id="(\w+)"', shown) == parts
        assert "<html" not in shown
        assert "19 Nov" in shown


def test_the_page_of_a_service_carries_no_token_of_forms(client, sara):
    own = a_service(business_web(), a_client(users=(sara,)), a_tenant(a_server()), anchor="2026-11-01", next_term=1)
    client.force_login(sara)
    response = client.get(reverse("portal_service", args=[own.public_id]))
    assert "csrfmiddlewaretoken" not in response.content.decode()
    assert list(response.cookies) == []


def test_every_page_that_lies_below_a_service_is_there(client, own, sara):
    ClientUser.objects.update(role=Role.OWNER)
    client.force_login(sara)
    where = reverse("portal_service", args=[own.public_id])
    links = set(re.findall(r'href="([^"/#][^"#]*)', client.get(where).content.decode()))
    assert {"alerts/new/", "prices/", "usage.csv"} < links
    assert any(link.startswith("metrics/") for link in links)
    assert {link: client.get(urljoin(where, link)).status_code for link in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize("status", Service.Status)
def test_the_state_of_a_service_is_said_by_its_name(status):
    with translation.override("de"):
        shown = render_to_string("_partials/_state.html", {"service": Service(status=status)})
        assert str(status.label) in shown


def test_a_panel_unfolds_only_what_it_has(client, sara):
    own = a_service(business_web(), a_client(users=(sara,)), a_tenant(a_server()), anchor="2026-11-01", next_term=1)
    client.force_login(sara)
    shown = unfolded(client, reverse("portal_service", args=[own.public_id]))
    assert "A history starts with the first value." in shown
    assert 'id="table"' not in shown
    assert 'id="prices"' in shown


def test_the_table_of_a_service_without_a_tenant_has_only_its_head(client, sara, own):
    own.tenant = None
    own.save()
    client.force_login(sara)
    answer = client.get(reverse("portal_usage_csv", args=[own.public_id]))
    assert b"".join(answer.streaming_content).decode().split() == ["metric,day,quantity,unit"]


def test_a_service_without_a_tenant_has_its_price_tables_on_its_page(client, sara):
    own = a_service(business_web(), a_client(users=(sara,)), None, anchor="2026-11-01", status="pending")
    shown = see(client, sara, "portal_service", own.public_id)
    assert "data-brief" not in shown
    assert "The price, in force since" in shown


@pytest.mark.parametrize("anchor", ["2026-11-01", "2026-11-18"])
def test_days_without_values_stand_together(client, sara, anchor):
    """In the table of a term, and in that of the last thirty days."""
    server = a_server()
    own = a_service(
        business_web(), a_client(users=(sara,)), a_tenant(server), metered_from="2026-11-01", anchor=anchor, next_term=0
    )
    for day in (9, 13, 14, 18, 19):
        collected(server, f"2026-11-{day:02} 06:00", tenant_says("alice", emails=day))
    client.force_login(sara)
    answer = client.get(reverse("portal_metric", args=[own.public_id, a_metric(EMAILS).pk]), headers=BRIEF)
    rows = [
        re.findall(r">([^<>]+)<", row) for row in re.findall(r"<tr.*?</tr>", answer.content.decode(), flags=re.DOTALL)
    ]
    assert [row[:2] for row in rows if row[0].startswith(("9 Nov", "10 Nov", "13", "14", "15"))] == [
        ["9 Nov", "9"],
        ["10 Nov to 12 Nov", "no values"],
        ["13 Nov", "13"],
        ["14 Nov", "14"],
        ["15 Nov to 17 Nov", "no values"],
    ]


def test_nobody_unfolds_the_usage_of_another(client, own):
    other = a_user("next@other.test")
    a_client("Next", users=(other,))
    client.force_login(other)
    address = reverse("portal_metric", args=[own.public_id, a_metric(EMAILS).pk])
    assert client.get(address, headers=BRIEF).status_code == 404


NAMES = ["portal_metric", "portal_metric_csv"]


def test_what_is_anothers_or_off_or_unknown_does_not_exist(client, sara, own):
    mallory = a_user("mallory@other.test")
    a_client("Other", users=(mallory,))
    metric, off = a_metric(EMAILS).pk, a_metric(DISK).pk
    client.force_login(mallory)
    for name in NAMES:
        assert client.get(reverse(name, args=[own.public_id, metric])).status_code == 404
    assert client.get(reverse("portal_usage_csv", args=[own.public_id])).status_code == 404
    assert client.get(reverse("portal_service_prices", args=[own.public_id])).status_code == 404
    client.force_login(sara)
    for name in NAMES:
        assert client.get(reverse(name, args=[own.public_id, off])).status_code == 404
        assert client.get(reverse(name, args=[own.public_id, 10**9])).status_code == 404
        assert client.get(reverse(name, args=[uuid.uuid4(), metric])).status_code == 404
        assert client.post(reverse(name, args=[own.public_id, metric])).status_code == 405


def test_nobody_is_sent_to_the_login_and_staff_see_every_metric(client, own):
    address = reverse("portal_metric", args=[own.public_id, a_metric(EMAILS).pk])
    assert client.get(address).url.startswith(reverse("account_login"))
    collected(own.tenant.server, "2026-11-19 07:00", tenant_says("alice", disk=3 * GB))
    shown = see(client, a_staff_user(), "staff_metric", own.public_id, a_metric(DISK).pk)
    assert "Disk space" in shown
    assert "Off" in shown


@pytest.mark.parametrize(
    ("included", "used", "written"),
    [
        ("5000000", 2_700_000, ["5M included", "6M", "5.4M"]),
        ("5000000", 700_000, ["5M included", "1.4M"]),
        ("5000001", 2_700_000, ["5,000,001 included", "5.4M", "6M"]),
        ("2000000", 1_200_000, ["2,000,000 included", "2,400,000", "1,000,000", "3,000,000"]),
    ],
)
def test_an_axis_writes_all_its_words_in_full_or_all_in_short(client, sara, included, used, written):
    server, product = a_server(), a_product()
    priced(a_setting(product, EMAILS), ("0", "0.01"), included=included)
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-01", next_term=2)
    for day in ("2026-11-17 06:00", "2026-11-18 06:00"):
        collected(server, day, tenant_says("alice", emails=used))
    shown = see(client, sara, "portal_service", service.public_id)
    drawn = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", shown))
    for words in written:
        assert words in drawn, drawn


def queries(client, address):
    with panel(says()), CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


@pytest.mark.parametrize("name", ["portal_metric", "staff_metric"])
def test_a_metric_takes_the_same_number_of_queries_for_more_days(client, sara, own, name):
    client.force_login(sara if name == "portal_metric" else a_staff_user())
    address = reverse(name, args=[own.public_id, a_metric(EMAILS).pk])
    queries(client, address)
    before = queries(client, address)
    measure(own.tenant.server, tenant="bob")
    assert queries(client, address) == before


def test_home_takes_the_same_number_of_queries_for_many_services(client, sara, own):
    client.force_login(sara)
    queries(client, reverse("home"))
    before = queries(client, reverse("home"))
    for number in range(40):
        a_service(own.product, own.client, a_tenant(own.tenant.server, f"more-{number}"), next_term=2)
    assert queries(client, reverse("home")) == before
    assert "All 41 services" in see(client, sara, "home")


STATES = ["active", "suspended", "pending", "terminated", "cancelled"]


@pytest.mark.parametrize("status", STATES)
def test_a_service_in_every_state_has_its_pages(client, sara, own, status):
    own.status = status
    own.terminated_on = timezone.localdate() - timedelta(days=2) if status == "terminated" else None
    own.save()
    see(client, sara, "portal_service", own.public_id)
    see(client, sara, "home")
    see(client, sara, "portal_services")
    see(client, sara, "portal_metric", own.public_id, a_metric(TRAFFIC).pk)


def test_a_term_that_is_over_and_not_billed_yet_has_its_page(client, sara):
    """What was measured on the day of the renewal lies behind the term."""
    server, product = a_server(), business_web()
    priced(a_setting(product, DISK), ("0", "1"), notation="above")
    own = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-10-19", next_term=1)
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=3, mailboxes=5, emails=2, traffic=GB))
    see(client, sara, "portal_service", own.public_id)
    see(client, sara, "portal_metric", own.public_id, a_metric(DISK).pk)


def test_a_metric_without_a_price_in_the_currency_is_shown_and_expected_as_a_quantity(client, sara):
    server, product = a_server(), a_product()
    priced(a_setting(product, ROWS), ("0", "1"), currency="EUR")
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-11-01", next_term=1)
    for day in range(1, 20):
        collected(server, f"2026-11-{day:02} 06:00", tenant_says("alice", rows=day * 1000))
    assert "no price in USD yet" in see(client, sara, "portal_service", service.public_id)
    [rows] = statistics.enabled_of(service, at=timezone.now())
    assert rows.outlook.amounts is None
    assert rows.outlook.quantities.expected > 18_000


@pytest.mark.parametrize("declared", [EMAILS, MAILBOXES])
def test_a_price_of_all_units_that_falls_on_the_way_widens_the_range(sara, declared):
    """19 cost $19.00 and 20 cost $10.00: who may reach 20 may pay less than for what is expected."""
    server, product = a_server(), a_product()
    priced(a_setting(product, declared), ("0", "1"), ("20", "0.50"), scheme="volume")
    service = a_service(product, a_client(users=(sara,)), a_tenant(server), anchor="2026-11-01", next_term=1)
    for day in range(1, 20):
        few = 1 if day % 2 else 0
        value = few if declared is EMAILS else 18 + few * 4
        collected(server, f"2026-11-{day:02} 06:00", tenant_says("alice", **{declared.system_name: value}))
    [one] = statistics.enabled_of(service, at=timezone.now())
    quantities, amounts = one.outlook.quantities, one.outlook.amounts
    assert quantities.low < 19 < 20 < quantities.high
    assert amounts.low == 10
    assert amounts.high == 19


@pytest.mark.parametrize(
    "change",
    [
        lambda own: own.product.metric_settings.get(metric=a_metric(TRAFFIC)).versions.update(included=0),
        lambda own: own.product.metric_settings.get(metric=a_metric(TRAFFIC)).enabled_spans.all().delete(),
        lambda own: priced(a_setting(own.product, DISK), ("0", "1")),
    ],
    ids=["a price", "a metric switched off", "a metric more"],
)
def test_what_changed_since_prices_were_remembered_is_shown_at_once(own, change):
    collected(own.tenant.server, "2026-11-19 07:00", tenant_says("alice", disk=5 * GB, traffic=14 * GB))

    def shown():
        return [
            (one.metric.system_name, one.quantity, one.amount, one.days)
            for one in statistics.enabled_of(own, at=timezone.now())
        ]

    before = shown()
    change(own)
    after = shown()
    assert after != before
    price_book._known.clear()
    assert after == shown()


def test_all_usage_of_a_service_is_asked_for_in_one_round_trip(own, monkeypatch):
    statistics.enabled_of(own, at=timezone.now())
    trips = []
    for name in ("ask", "ask_ahead"):
        asked = getattr(prepared._Preparing, name)
        monkeypatch.setattr(
            prepared._Preparing,
            name,
            lambda self, *questions, asked=asked, name=name: (trips.append(name), asked(self, *questions))[1],
        )
    assert statistics.enabled_of(own, at=timezone.now())
    assert trips == ["ask_ahead"]
