"""The page that says what a draft would have charged: it carries the draft along, and saves nothing."""

import csv
import json
import re
from html import unescape
from io import StringIO

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import MetricSetting, PricingVersion
from invoicing.simulation import rating
from metering.models import Usage
from tests.builders import (
    DISK,
    EMAILS,
    MAILBOXES,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    panel,
    priced,
)
from tests.invoicing.test_simulation import used

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"), tick=False)
    with panel():
        yield


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def product():
    return a_product()


@pytest.fixture
def metered(product):
    """One client with 25 mailboxes, which cost 31.00 at each renewal of this year."""
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    tenant = a_tenant(a_server())
    a_service(product, tenant=tenant, anchor="2026-01-01")
    days = {f"d2026_{month:02}_28": 25 for month in range(1, 11)}
    used(tenant, MAILBOXES, **days, d2026_11_02=25)
    return tenant


def address(product, declared=MAILBOXES):
    return reverse("staff_pricing_simulate", args=[product.pk, a_metric(declared).pk])


def a_draft(**changes):
    """What the editor sends: one bracket at 1.20. A dash in a name is written as two underscores."""
    form = {"scheme": "per_unit", "unit": "mailboxes", "included": "0", "package_size": "1", "rows": "1"}
    form |= {"notation": "first_unit", "effective_from": "2026-12-01", "after": "1", "quantity": "25"}
    form |= {"aggregation": "latest", "periods": "summed", "price_at": "start", "reason": 'because of "A & B"'}
    form |= {"currency": "USD", "start-1": "0", "price-1-USD": "1.20", "fee-1-USD": "", "simulate": "1"}
    return form | {name.replace("__", "-"): value for name, value in changes.items()}


def text_of(response):
    return " ".join(response.content.decode().split())


def words_of(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def hidden(response):
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', text_of(response))
    return {unescape(name): unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


def chosen(response):
    """The months that are chosen, and those that can be."""
    selects = re.findall(r"<select.*?</select>", text_of(response))
    options = [re.findall(r'<option value="([^"]*)"( selected)?>', select) for select in selects]
    return [value for each in options for value, is_chosen in each if is_chosen], [value for value, _ in options[0]]


def events(response):
    return [json.loads(line) for line in b"".join(response.streaming_content).decode().splitlines()]


# The draft goes along


def test_the_first_page_shows_the_draft_and_what_it_changes_and_waits_for_nothing(ines, product, metered):
    response = ines.post(address(product), a_draft())
    words = words_of(text_of(response))
    assert "USD: $1.20 per mailbox" in words
    assert "Scheme: per unit instead of graduated" in words
    assert "data-run" in text_of(response)
    assert "Difference" not in words
    assert hidden(response) == {name: value for name, value in a_draft().items() if name != "simulate"}


def test_the_last_twelve_complete_months_with_usage_are_chosen(ines, product, metered):
    used(metered, MAILBOXES, d2025_10_31=25, d2025_12_31=25)
    MetricSetting.objects.get().product.services.update(anchor="2025-01-01")
    response = ines.post(address(product), a_draft())
    offered = ["2026-11", *(f"2026-{month:02}" for month in range(10, 0, -1)), "2025-12", "2025-10"]
    assert chosen(response) == (["2025-10", "2026-10"], offered)
    used(metered, MAILBOXES, d2025_09_30=25)
    assert chosen(ines.post(address(product), a_draft()))[0] == ["2025-10", "2026-10"]


def test_the_open_month_is_chosen_while_there_is_no_other(ines, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    tenant = a_tenant(a_server())
    a_service(product, tenant=tenant, anchor="2026-11-01", next_term=0)
    used(tenant, MAILBOXES, d2026_11_02=25)
    assert chosen(ines.post(address(product), a_draft())) == (["2026-11", "2026-11"], ["2026-11"])


def test_the_editor_shows_the_draft_as_it_was_typed_when_one_goes_back(ines, product, metered):
    page = ines.post(address(product), a_draft(price__1__USD="1.2345"))
    back = reverse("staff_pricing", args=[product.pk, a_metric(MAILBOXES).pk])
    assert re.search(rf'name="preview" value="1" formaction="{back}"', text_of(page))
    editor = ines.post(back, {**hidden(page), "preview": "1"})
    assert re.search(r'name="price-1-USD" value="1.2345"', text_of(editor))
    assert "because of &quot;A &amp; B&quot;" in text_of(editor)
    assert PricingVersion.objects.count() == 1


def test_without_a_draft_one_is_sent_to_the_editor(ines, product, metered):
    response = ines.get(address(product))
    assert response["Location"] == reverse("staff_pricing", args=[product.pk, a_metric(MAILBOXES).pk])


def test_a_draft_that_is_wrong_is_not_rated_and_says_why(ines, product, metered):
    for headers in ({}, {"X-Progress": "1"}):
        response = ines.post(address(product), a_draft(price__1__USD="1,20", run="1"), headers=headers)
        words = words_of(text_of(response))
        assert "This draft cannot be rated: 1 field needs a change" in words
        assert "Bracket 1, price in USD: Not a plain number. Write it like 1234.5" in words
        assert "Back to the draft" in words
        assert 'name="run"' not in text_of(response)
        assert hidden(response)["price-1-USD"] == "1,20"


# The result


def test_the_result_says_before_and_after_by_client_and_month(ines, product, metered):
    """Ten months of 25 mailboxes: 31.00 each before, 30.00 by the draft."""
    response = ines.post(address(product), a_draft(run="1"))
    words = words_of(text_of(response))
    assert "Difference −$10.00 −3.2%, January 2026 to October 2026 Before $310.00" in words
    assert "By the draft $300.00 1 service of 1 client Clients 0 pay more 1 pays less, 0 the same" in words
    assert "Lindqvist & Moe 1 service $310.00 $300.00 −$10.00 −3.2%" in words
    assert "Mar 2026 $31.00 $30.00 −$1.00" in words
    assert "Less by up to 5% 1 −$10.00" in words
    assert "10 terms with usage" in words
    assert "/admin/services/?q=Lindqvist%20%26%20Moe" in text_of(response)
    assert "data-run" not in text_of(response)


def test_the_chosen_months_are_rated(ines, product, metered):
    response = ines.post(address(product), a_draft(run="1", first_month="2026-03", last_month="2026-04"))
    assert "−$2.00 −3.2%, March 2026 to April 2026 Before $62.00" in words_of(text_of(response))
    assert chosen(response)[0] == ["2026-03", "2026-04"]


@pytest.mark.parametrize("asked", [{"run": "1"}, {"csv": "1"}, {}])
@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2026-05", "2026-04", "First month: Choose a month that is not after the last one."),
        ("2026-05", "1999-12", "Last month: Choose one of the months with usage."),
    ],
)
def test_months_that_cannot_be_are_refused_in_words(ines, product, metered, asked, first, last, said):
    draft = a_draft(**asked, first_month=first, last_month=last)
    assert said in words_of(text_of(ines.post(address(product), draft)))
    (event,) = events(ines.post(address(product), draft, headers={"X-Progress": "1"}))
    assert said in words_of(event["html"])


def test_it_says_how_far_it_is_and_sends_the_result_last(ines, product, metered, monkeypatch):
    monkeypatch.setattr(rating, "BATCH", 1)
    for name in ("bob", "carol"):
        a_service(product, a_client(name), a_tenant(a_server(name), name), anchor="2026-01-01")
    response = ines.post(address(product), a_draft(), headers={"X-Progress": "1"})
    assert response["Content-Type"] == "application/x-ndjson"
    *progress, last = events(response)
    assert progress == [{"done": done, "of": 3} for done in (1, 2, 3)]
    assert "Difference −$10.00" in words_of(last["html"])
    assert "<html" not in last["html"]


def test_a_client_that_cannot_be_priced_is_named_with_what_it_paid(ines, product, metered):
    PricingVersion.objects.get().prices.create(currency="GBP", start=0, unit_price=3)
    tenant = a_tenant(a_server("old"), "old")
    over = {"status": "terminated", "terminated_on": "2026-03-01", "next_term": 2}
    a_service(product, a_client("Old & Sons", "GBP"), tenant, anchor="2026-01-01", **over)
    used(tenant, MAILBOXES, d2026_02_01=2)
    words = words_of(text_of(ines.post(address(product), a_draft(run="1"))))
    assert "1 client cannot be priced: the draft has no price in GBP that fits them Old & Sons. Before, £12.00" in words
    assert "£0.00" not in words


def test_two_currencies_are_never_added_up(ines, product, metered):
    PricingVersion.objects.get().prices.create(currency="EUR", start=0, unit_price=1)
    tenant = a_tenant(a_server("euro"), "euro")
    a_service(product, a_client("Kaffehaus", "EUR"), tenant, anchor="2026-10-01")
    used(tenant, MAILBOXES, d2026_10_31=10)
    words = words_of(text_of(ines.post(address(product), a_draft(run="1", price__1__EUR="2", fee__1__EUR=""))))
    assert "In USD Difference −$10.00" in words
    assert "In EUR Difference +€10.00 +100%" in words


def test_nothing_measured_yet_is_said_in_words(ines, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"))
    response = ines.post(address(product), a_draft(run="1"))
    assert "Mailboxes was not measured for any service of this product yet" in words_of(text_of(response))
    assert "$0.00" not in text_of(response)
    assert 'name="run"' not in text_of(response)


def test_no_term_that_is_over_is_said_in_words(ines, product, metered):
    draft = a_draft(run="1", first_month="2026-11", last_month="2026-11")
    words = words_of(text_of(ines.post(address(product), draft)))
    assert "No term that ended in November 2026 has usage of Mailboxes." in words


def test_a_metric_that_was_never_priced_is_simulated_too(ines, product):
    tenant = a_tenant(a_server())
    a_service(product, tenant=tenant, anchor="2026-01-01")
    used(tenant, MAILBOXES, d2026_10_31=25)
    words = words_of(text_of(ines.post(address(product), a_draft(run="1", after="0"))))
    assert "Difference +$30.00 October 2026 Before $0.00" in words.replace(" , ", " ")
    assert "+$30.00 nothing before" in words
    assert not MetricSetting.objects.exists()


# The table for a spreadsheet


def test_the_csv_has_a_row_for_each_term_and_no_formula(ines, product, metered):
    service = product.services.get()
    service.client.name, service.name = "=HYPERLINK(1)", "@alice"
    service.client.save()
    service.save()
    response = ines.post(address(product), a_draft(csv="1", first_month="2026-02", last_month="2026-03"))
    assert response["Content-Disposition"] == (
        'attachment; filename="what-if-business-web-mailboxes-2026-02-2026-03.csv"'
    )
    rows = list(csv.DictReader(StringIO(b"".join(response.streaming_content).decode(), newline="")))
    assert [(row["client"], row["service"], row["term end"], row["difference"]) for row in rows] == [
        ("'=HYPERLINK(1)", "'@alice", "2026-03-01", "-1.00"),
        ("'=HYPERLINK(1)", "'@alice", "2026-04-01", "-1.00"),
    ]


# Who may, and what it costs


def test_only_staff_who_may_price_get_in(client, product, metered):
    assert client.post(address(product), a_draft())["Location"].startswith(reverse("account_login"))
    client.force_login(a_user())
    assert client.post(address(product), a_draft()).status_code == 403
    client.force_login(a_user("viewer@staff.test", is_staff=True))
    assert client.post(address(product), a_draft()).status_code == 403
    assert client.get(address(product)).status_code == 403


def test_a_metric_of_another_provider_is_not_found(ines, product, metered):
    other = a_metric(EMAILS, provider="postgresql")
    there = reverse("staff_pricing_simulate", args=[product.pk, other.pk])
    assert ines.post(there, a_draft()).status_code == 404
    assert ines.post(reverse("staff_pricing_simulate", args=[10**12, other.pk]), a_draft()).status_code == 404


def test_no_way_of_asking_writes_anything(ines, product, metered):
    """Neither what is simulated, nor the buttons of the editor beside it."""
    before = Usage.objects.count(), PricingVersion.objects.count(), MetricSetting.objects.count()
    for asked in ({}, {"run": "1"}, {"csv": "1"}, {"add": "1"}, {"save": "1"}):
        with CaptureQueriesContext(connection) as captured:
            response = ines.post(address(product), a_draft(**asked))
            b"".join(response)
        assert not [query["sql"] for query in captured if re.match(r"\s*(INSERT|UPDATE|DELETE)", query["sql"])]
    assert (Usage.objects.count(), PricingVersion.objects.count(), MetricSetting.objects.count()) == before


def test_the_queries_of_the_page_do_not_grow_with_services_and_usage(ines, product, metered):
    counts = []
    for more in (1, 12):
        for number in range(more):
            tenant = a_tenant(metered.server, f"{more}-{number}")
            a_service(product, a_client(f"{more}-{number}"), tenant, anchor="2026-01-01")
            used(tenant, MAILBOXES, d2026_02_28=3, d2026_03_31=4)
        with CaptureQueriesContext(connection) as captured:
            response = ines.post(address(product), a_draft(run="1"))
        counts.append(len(captured))
        assert response.status_code == 200
    assert counts[0] == counts[1]


def test_every_type_of_metric_can_be_simulated(ines, product):
    tenant = a_tenant(a_server())
    a_service(product, tenant=tenant, anchor="2026-09-01")
    for declared in (DISK, EMAILS):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
        used(tenant, declared, d2026_10_01=3 * 10**9)
        words = words_of(text_of(ines.post(address(product, declared), a_draft(run="1", unit=declared.unit.code))))
        assert "Difference +" in words
        assert ("Quantity of a term: last value" in words) is (declared is DISK)
