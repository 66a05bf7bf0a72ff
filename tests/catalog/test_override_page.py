"""The page on which staff agree other terms with one client, and its entries on the page of the service."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Override, Service
from catalog.overrides import Agreement, agree
from catalog.pricing import Notation, Scheme
from metering.units import GB as GIGABYTES
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    TRAFFIC,
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
    collected,
    panel,
    priced,
    tenant_says,
)
from tests.catalog.pricing_form import errors_of, said, text_of, value_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 19, 12, tzinfo=UTC), tick=False), panel():
        yield


@pytest.fixture
def product():
    return a_product()


@pytest.fixture
def disk(product):
    """Disk space: 10 GB included, then $1.00 per GB."""
    setting = a_setting(product, DISK)
    priced(setting, ("0", "1"), included="10", notation="above")
    return setting


@pytest.fixture
def service(product, disk):
    """A service that holds 37 GB, so that it pays $27.00; its next term begins on 1 December."""
    server = a_server()
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=37 * GB))
    return service


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


def clerk(*rights):
    user = a_user("clerk@staff.test", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_service", *rights]))
    browser = Browser()
    browser.force_login(user)
    return browser


def address(service, declared=DISK):
    return reverse("staff_override", args=[service.public_id, a_metric(declared).pk])


def typed(**changes):
    """A valid form: 20 GB included from 1 December on. A dash in a name is written as two underscores."""
    form = {
        "unit": "GB",
        "included": "20",
        "discount": "",
        "scheme": "",
        "notation": "above",
        "package_size": "1",
        "rows": "1",
        "start-1": "0",
        "price-1": "",
        "fee-1": "",
        "starts_on": "2026-12-01",
        "last_day": "",
        "reason": "A trial until they know what they need.",
    }
    return form | {name.replace("__", "-"): value for name, value in changes.items()}


OWN = {
    "included": "",
    "scheme": "graduated",
    "rows": "2",
    "start-1": "0",
    "price-1": "0.80",
    "start-2": "100",
    "price-2": "0.50",
    "fee-2": "3",
}


def shown(response):
    return re.sub(r"<[^>]+>", " ", text_of(response)).replace("&nbsp;", " ")


def example_of(response):
    """The words of the worked example."""
    page = text_of(response)
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index('id="example"') :].split("</aside>")[0]).split())


# Agreeing


def test_other_terms_are_agreed_and_their_words_are_said(staff, service):
    response = staff.post(address(service), typed())
    assert response["Location"] == reverse("staff_service", args=[service.public_id])
    assert said(response) == [
        "Agreed on Disk space from 1 December 2026: 20 GB included. The client can read it.",
    ]
    override = Override.objects.get()
    assert (override.included, override.unit_code, override.discount) == (20, "GB", 0)
    assert (override.start, override.end) == (date(2026, 12, 1), None)
    assert override.reason == "A trial until they know what they need."
    assert (override.scheme, str(override.created_by)) == ("", "ines@staff.test")


def test_the_last_day_is_counted_in(staff, service):
    staff.post(address(service), typed(last_day="2027-02-28"))
    assert Override.objects.get().end == date(2027, 3, 1)


def test_own_prices_are_agreed_with_brackets_and_fees(staff, service):
    staff.post(address(service), typed(**OWN, discount="2.5"))
    own = Override.objects.get().own_prices
    assert (own.scheme, own.notation) == (Scheme.GRADUATED, Notation.ABOVE)
    assert [(each.start, each.unit_price, each.flat_fee) for each in own.brackets] == [
        (0, Decimal("0.8"), 0),
        (100, Decimal("0.5"), 3),
    ]
    assert Override.objects.get().discount == Decimal("2.5")


def test_the_first_bracket_may_be_written_right_after_the_included(staff, service):
    staff.post(address(service), typed(**OWN | {"included": "20", "start-1": "20"}))
    assert [row.start for row in Override.objects.get().prices.all()] == [0, 100]


def test_quantities_may_be_in_another_unit_than_that_of_the_product(staff, service):
    staff.post(address(service), typed(unit="GiB", included="18.5"))
    override = Override.objects.get()
    assert (override.unit_code, override.included) == ("GiB", Decimal("18.5"))


def test_prices_that_were_typed_for_another_choice_are_not_kept(staff, service):
    staff.post(address(service), typed(price__1="not a price", package_size="0"))
    assert Override.objects.get().own_prices is None


# Mistakes


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"included": ""}, "included", "Agree a quantity included, a discount or prices: without one of them nothing"),
        ({"included": "", "discount": "0"}, "included", "Agree a quantity included"),
        ({"included": "20 GB"}, "included", "Not a plain number"),
        ({"included": "-1"}, "included", "Must be 0 or more"),
        ({"discount": "100.01"}, "discount", "At most 100"),
        ({"discount": "ten"}, "discount", "Not a plain number"),
        ({"reason": " "}, "reason", "Say why; the client reads it"),
        ({"starts_on": ""}, "starts_on", "Choose a date"),
        ({"starts_on": "2026-02-30"}, "starts_on", "Choose a date that exists"),
        ({"starts_on": "1999-12-31"}, "starts_on", "Choose a day between 2000 and 2999"),
        ({"last_day": "9999-12-31"}, "last_day", "Choose a day between 2000 and 2999"),
        ({"last_day": "2026-11-30"}, "last_day", "Must not be before the first day"),
        (OWN | {"price-2": ""}, "price-2", "Enter a price"),
        (OWN | {"start-2": "0"}, "start-2", "Must be above 0"),
        (OWN | {"included": "150"}, "start-2", "Lies within the 150 included"),
        (OWN | {"start-1": "7"}, "start-1", "Start with 0"),
        (OWN | {"scheme": "per_unit"}, "scheme", "Takes one bracket. Remove the others, or choose another scheme"),
        ({"scheme": "package", "price-1": "4", "package_size": "0"}, "package_size", "Must be above 0"),
    ],
)
def test_a_mistake_is_said_at_its_field_and_on_top_and_nothing_is_agreed(staff, service, changes, field, words):
    response = staff.post(address(service), typed(**changes))
    errors = errors_of(response)
    assert list(errors) == [field]
    assert errors[field].startswith(words)
    assert "Not agreed: 1 field needs a change" in text_of(response)
    assert not Override.objects.exists()


def test_what_was_typed_stays_after_a_mistake(staff, service):
    response = staff.post(address(service), typed(reason="", included="007.50", discount="5"))
    assert [value_of(response, name) for name in ("included", "discount")] == ["007.50", "5"]


def test_days_that_are_taken_are_refused_at_the_first_day(staff, service, disk):
    agreed(service, disk, start="2026-12-15", included="15")
    errors = errors_of(staff.post(address(service), typed()))
    assert errors["starts_on"].startswith("Other terms are agreed from 15 December 2026 already.")


def test_a_day_before_today_needs_the_permission_to_back_date(staff, service):
    past = typed(starts_on="2026-11-01")
    refused = clerk("add_override").post(address(service), past)
    assert errors_of(refused) == {"starts_on": "Choose 19 November 2026 or a later day"}
    assert staff.post(address(service), past).status_code == 302


def test_staff_without_the_permission_agree_nothing(service):
    for browser in (clerk(), clerk_of_clients()):
        assert browser.get(address(service)).status_code == 403
        assert browser.post(address(service), typed()).status_code == 403
    assert not Override.objects.exists()


def clerk_of_clients():
    browser = Browser()
    browser.force_login(a_user("sara@client.test"))
    return browser


def test_a_metric_without_a_price_and_a_service_that_is_over_have_no_such_page(staff, service, product):
    a_setting(product, TRAFFIC)
    assert staff.get(address(service, TRAFFIC)).status_code == 404
    assert staff.get(address(service, EMAILS)).status_code == 404
    Service.objects.update(status="cancelled")
    assert staff.get(address(service)).status_code == 404


def test_a_form_that_another_site_sends_agrees_nothing(service):
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(a_staff_user())
    assert browser.post(address(service), typed()).status_code == 403


# Without a script every button shows the page anew, and saves nothing


def test_the_form_begins_with_the_next_period_and_nothing_agreed(staff, service):
    response = staff.get(address(service))
    assert value_of(response, "starts_on") == "2026-12-01"
    assert value_of(response, "included") == ""
    assert "The product's price: 10 GB included, then $1.00 per GB." in text_of(response)
    assert errors_of(response) == {}


def test_brackets_are_added_and_removed_with_what_was_typed(staff, service):
    more = staff.post(address(service), typed(**OWN, add="1"))
    assert value_of(more, "rows") == "3"
    assert value_of(more, "price-2") == "0.50"
    less = staff.post(address(service), typed(**OWN, remove="1"))
    assert (value_of(less, "rows"), value_of(less, "price-1"), value_of(less, "fee-1")) == ("1", "0.50", "3")
    assert not Override.objects.exists()


def test_each_bracket_says_what_it_comes_to(staff, service):
    words = re.findall(
        r'id="words-\d" data-live>([^<]*)<', text_of(staff.post(address(service), typed(**OWN, preview="")))
    )
    assert words == ["Up to 100 GB: $0.80 per GB", "Above 100 GB: $0.50 per GB, and $3.00 once"]


# The worked example


def test_the_example_rates_the_usage_of_today_by_both(staff, service):
    """37 GB: 27 above 10 now; 17 above 20, less 10%, by these terms."""
    words = example_of(staff.post(address(service), typed(discount="10", preview="")))
    assert "37 GB now" in words
    assert "Price of today 10 GB included, then $1.00 per GB $27.00" in words
    assert "These terms 20 GB included, then $1.00 per GB, less 10% $15.30" in words
    assert "Difference −$11.70" in words
    assert "Included 20 $0.00 Above 20 to 37 17 $1.00 $17.00 10% discount −$1.70" in words


def test_the_example_of_own_prices_keeps_the_included_of_the_product(staff, service):
    """37 GB: 10 included, 27 at 0.80."""
    words = example_of(staff.post(address(service), typed(**OWN, preview="")))
    assert "$21.60" in words


def test_the_example_needs_no_reason_and_no_day(staff, service):
    words = example_of(staff.post(address(service), typed(reason="", starts_on="", preview="")))
    assert "$17.00" in words


def test_the_example_says_what_is_in_its_way(staff, service):
    response = staff.post(address(service), typed(included="many", preview=""))
    assert "Quantity included : Not a plain number." in example_of(response)
    assert errors_of(response) == {}


def test_the_example_takes_last_month_of_what_adds_up(staff, service, product):
    priced(a_setting(product, TRAFFIC), ("0", "1"), included="10", notation="above")
    collected(service.tenant.server, "2026-10-31 18:00", tenant_says("alice", traffic=16 * GB, disk=37 * GB))
    words = example_of(staff.post(address(service, TRAFFIC), typed(included="12", preview="")))
    assert "16 GB in October 2026" in words
    assert "$6.00" in words
    assert "$4.00" in words


def test_the_example_is_upon_the_version_of_the_first_day(staff, service, disk):
    """From January a GB costs 2: 17 above 20 are 34."""
    priced(disk, ("0", "2"), included="10", notation="above", effective_from="2027-01-01")
    words = example_of(staff.post(address(service), typed(starts_on="2027-01-01", preview="")))
    assert "$34.00" in words


def test_nothing_measured_is_said_in_words(staff, service, product):
    priced(a_setting(product, EMAILS), ("0", "1"))
    words = example_of(staff.get(address(service, EMAILS)))
    assert "Nothing of Emails sent was measured for this service last month" in words


def test_while_typing_only_the_form_is_drawn(staff, service):
    response = staff.post(address(service), typed(preview=""), headers={"X-Partial": "1"})
    assert "<html" not in text_of(response)
    assert 'id="example"' in text_of(response)


# The page of the service


def see(browser, service):
    return browser.get(reverse("staff_service", args=[service.public_id]))


def test_each_metric_with_a_price_leads_to_the_page(staff, service, product):
    a_setting(product, TRAFFIC)
    page = text_of(see(staff, service))
    assert f'href="{address(service)}"' in page
    assert page.count("Agree other terms") == 1
    assert "Agree other terms" not in text_of(see(clerk(), service))


def test_agreements_are_listed_with_their_days_reason_author_and_state(staff, service, disk):
    by = a_user("mo@staff.test")
    agreed(service, disk, start="2026-01-01", end="2026-06-01", included="15", reason="A start.")
    agreed(service, disk, start="2026-10-01", end="2027-01-01", discount="10", reason="An outage.", created_by=by)
    agreed(service, disk, ("0", "0.8"), start="2027-01-01", reason="A long contract.")
    words = " ".join(shown(see(staff, service)).split())
    assert (
        "Over Disk space: 15 GB included From 1 January 2026 until 31 May 2026, that day counted in. A start." in words
    )
    assert "In force Disk space: 10% discount From 1 October 2026 until 31 December 2026" in words
    assert "An outage. Agreed today, 12:00 by mo@staff.test" in words
    assert "Planned Disk space: $0.80 per GB From 1 January 2027 until somebody ends it. A long contract." in words
    assert words.count("Withdraw it") == 1
    assert words.count("End it after this day") == 2
    assert "Withdraw it" not in shown(see(clerk(), service))


def test_an_agreement_is_ended_from_the_page(staff, service, disk):
    override = agreed(service, disk, start="2026-10-01", included="15")
    where = reverse("staff_override_end", args=[service.public_id, override.pk])
    response = staff.post(where, {"last_day": "2026-12-31"})
    assert said(response) == [
        "What is agreed on Disk space ends: 31 December 2026 is its last day. What begins later has the prices of the "
        "product."
    ]
    assert Override.objects.get().end == date(2027, 1, 1)
    again = staff.post(where, {"last_day": "2027-01-31"})
    assert said(again)[-1].startswith("What is agreed on Disk space stays as it is. It ends on 31 December 2026")


@pytest.mark.parametrize("day", ["", "soon", "9999-12-31", "2026-11-17"])
def test_an_end_that_is_none_changes_nothing(staff, service, disk, day):
    override = agreed(service, disk, start="2026-10-01", included="15")
    staff.post(reverse("staff_override_end", args=[service.public_id, override.pk]), {"last_day": day})
    assert Override.objects.get().end is None


def test_what_is_planned_is_withdrawn_from_the_page(staff, service, disk):
    override = agreed(service, disk, start="2027-01-01", included="15")
    where = reverse("staff_override_withdraw", args=[service.public_id, override.pk])
    assert said(staff.post(where)) == ["What was agreed on Disk space from 1 January 2027 is withdrawn."]
    assert not Override.objects.exists()
    assert staff.post(where).status_code == 404


def test_what_has_begun_is_not_withdrawn(staff, service, disk):
    override = agreed(service, disk, start="2026-10-01", included="15")
    response = staff.post(reverse("staff_override_withdraw", args=[service.public_id, override.pk]))
    assert said(response) == [
        "What is agreed on Disk space stays: it has begun or is on an invoice. It can be ended.",
    ]
    assert Override.objects.exists()


@pytest.mark.parametrize("deed", ["staff_override_end", "staff_override_withdraw"])
def test_ending_and_withdrawing_are_posts_of_staff_who_may_about_this_service(staff, service, disk, deed):
    override = agreed(service, disk, start="2027-01-01", included="15")
    where, data = reverse(deed, args=[service.public_id, override.pk]), {"last_day": "2027-02-01"}
    assert staff.get(where).status_code == 405
    assert clerk("add_override").post(where, data).status_code == 403
    other = a_service(service.product, a_client("Other"))
    assert staff.post(reverse(deed, args=[other.public_id, override.pk]), data).status_code == 404
    assert Override.objects.get().end is None


def test_the_queries_of_the_pages_do_not_grow_with_the_agreements(staff, service, disk):
    """Once for one, once for a dozen."""
    by, counts = a_staff_user("mo@staff.test"), []
    for first, last in ((0, 1), (1, 12)):
        for number in range(first, last):
            terms = Agreement(GIGABYTES, "USD", included=Decimal(number))
            day = date(2027, 1, 1 + number)
            agree(
                service=service,
                setting=disk,
                agreement=terms,
                start=day,
                end=date(2027, 1, 2 + number),
                reason="a day",
                by=by,
                today=date(2026, 11, 19),
            )
        for where in (reverse("staff_service", args=[service.public_id]), address(service)):
            staff.get(where)
            with CaptureQueriesContext(connection) as captured:
                assert staff.get(where).status_code == 200
            counts.append(len(captured))
    assert all(after <= before for before, after in zip(counts[:2], counts[2:], strict=True))
