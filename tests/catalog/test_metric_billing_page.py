"""Metric billing: switches and prices of a product's metrics, and the list of products."""

import re
from datetime import UTC, date, datetime

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.metric_billing import new_setting, switch
from catalog.models import EnabledSpan, MetricSetting, Product, ProductPrice, Service, User
from tests.builders import (
    DISK,
    EMAILS,
    MAILBOXES,
    METRICS,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    panel,
    priced,
)
from tests.people import staff_with

pytestmark = pytest.mark.django_db

MARCH, LATER = date(2026, 3, 1), date(2026, 4, 2)


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 19, 12, tzinfo=UTC), tick=False), panel():
        yield


@pytest.fixture
def product():
    return a_product()


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


def spans(setting):
    return [(span.start, span.end) for span in EnabledSpan.objects.filter(setting=setting).order_by("start")]


def page_of(product):
    return reverse("staff_product_metrics", args=[product.pk])


def text_of(response):
    return " ".join(response.content.decode().split())


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


# The deed of switching


def test_switching_on_opens_a_span_and_switching_off_closes_it(product):
    setting = a_setting(product, DISK, enabled_from=None)
    assert switch(setting=setting, on=True, day=MARCH)
    assert spans(setting) == [(MARCH, None)]
    assert switch(setting=setting, on=False, day=LATER)
    assert spans(setting) == [(MARCH, LATER)]


def test_switching_to_what_it_is_already_changes_nothing(product):
    setting = a_setting(product, DISK, enabled_from=None)
    assert not switch(setting=setting, on=False, day=MARCH)
    switch(setting=setting, on=True, day=MARCH)
    assert not switch(setting=setting, on=True, day=LATER)
    assert spans(setting) == [(MARCH, None)]


def test_switching_off_on_the_day_it_was_switched_on_leaves_no_trace(product):
    setting = a_setting(product, DISK, enabled_from=None)
    switch(setting=setting, on=True, day=MARCH)
    assert switch(setting=setting, on=False, day=MARCH)
    assert spans(setting) == []


def test_switching_on_again_on_the_day_it_was_switched_off_cuts_no_period_in_two(product):
    setting = a_setting(product, DISK, enabled_from="2026-03-01")
    switch(setting=setting, on=False, day=LATER)
    assert switch(setting=setting, on=True, day=LATER)
    assert spans(setting) == [(MARCH, None)]


def test_switching_on_again_on_a_later_day_opens_another_span(product):
    setting = a_setting(product, DISK, enabled_from="2026-03-01")
    switch(setting=setting, on=False, day=date(2026, 4, 1))
    switch(setting=setting, on=True, day=LATER)
    assert spans(setting) == [(MARCH, date(2026, 4, 1)), (LATER, None)]


def test_the_setting_is_made_when_it_is_first_switched_on(product):
    metric = a_metric(DISK)
    assert not switch(setting=new_setting(product, metric), on=False, day=MARCH)
    assert not MetricSetting.objects.exists()
    switch(setting=new_setting(product, metric), on=True, day=MARCH)
    switch(setting=new_setting(product, metric), on=True, day=MARCH)
    setting = MetricSetting.objects.get()
    assert (setting.product, setting.metric) == (product, metric)
    assert spans(setting) == [(MARCH, None)]


# The page


def test_there_is_a_row_for_every_metric_that_the_provider_knows(staff, product):
    response = staff.get(page_of(product))
    assert [row.metric.system_name for row in response.context["rows"]] == [
        metric.system_name for metric in sorted(METRICS, key=lambda metric: metric.display_name)
    ]
    assert not MetricSetting.objects.exists()


def test_a_row_says_type_unit_and_price_in_one_line(staff, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"), ("10", "1"), ("20", "0.50"))
    words = text_of(staff.get(page_of(product)))
    assert 'from $2.00, then $1.00 and $0.50<span class="tp-sub">graduated, none included</span>' in words
    assert "whole mailboxes" in words
    assert "GB, 1,000³ bytes" in words
    assert "Counter" in words
    assert "No price. Shown only, if switched on." in words
    assert words.count("Configure pricing") == 1
    assert words.count("Add pricing") == 4


def test_a_price_of_a_metric_that_is_off_says_that_it_is_not_billed(staff, product):
    priced(a_setting(product, MAILBOXES, enabled_from=None), ("0", "2"), included="10")
    assert "10 mailboxes included; not billed while off" in text_of(staff.get(page_of(product)))


def test_a_price_that_changes_soon_says_when(staff, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    priced(setting, ("0", "3"), effective_from="2027-01-01")
    words = text_of(staff.get(page_of(product)))
    assert "$2.00 per mailbox" in words
    assert "version 2 from 1 January 2027" in words


def test_a_first_price_that_is_not_in_force_yet_says_from_when(staff, product):
    priced(a_setting(product, MAILBOXES), ("0", "2"), effective_from="2026-12-01")
    assert "none included; from 1 December 2026" in text_of(staff.get(page_of(product)))


def test_saving_switches_metrics_on_and_off_from_today(staff, product):
    on = a_setting(product, MAILBOXES)
    disk = a_metric(DISK)
    response = staff.post(page_of(product), {"was": [on.metric_id], "enabled": [disk.pk]}, follow=True)
    assert said(response) == ["Switches saved. On: Disk space. Off: Mailboxes."]
    assert spans(on) == [(date(2020, 1, 1), date(2026, 11, 19))]
    assert spans(MetricSetting.objects.get(metric=disk)) == [(date(2026, 11, 19), None)]


def test_saving_without_a_change_says_so(staff, product):
    on = a_setting(product, MAILBOXES)
    response = staff.post(page_of(product), {"was": [on.metric_id], "enabled": [on.metric_id]}, follow=True)
    assert said(response) == ["Nothing changed."]
    assert EnabledSpan.objects.count() == 1


def test_saving_leaves_alone_what_somebody_else_switched_meanwhile(staff, product):
    """The page was loaded before the other one saved: only what this person changed is changed."""
    theirs = a_setting(product, MAILBOXES)
    disk = a_metric(DISK)
    staff.post(page_of(product), {"enabled": [disk.pk]})
    assert spans(theirs) == [(date(2020, 1, 1), None)]


@pytest.mark.parametrize("nonsense", ["999999", "abc", "-1", "1" * 30, "１"])
def test_a_metric_that_is_none_switches_nothing(staff, product, nonsense):
    assert staff.post(page_of(product), {"enabled": [nonsense], "was": [nonsense]}).status_code == 302
    assert not MetricSetting.objects.exists()


def test_a_product_that_nothing_meters_says_so(staff):
    response = staff.get(page_of(Product.objects.create(name="Domain")))
    assert "Nothing meters Domain" in text_of(response)


def test_a_provider_that_declares_nothing_says_where_metrics_come_from(staff):
    words = text_of(staff.get(page_of(Product.objects.create(name="API", provider="prometheus"))))
    assert "Prometheus declares no metric yet" in words


def test_a_provider_that_is_gone_is_named_and_its_metrics_are_listed(staff):
    a_metric(DISK, provider="gone")
    words = text_of(staff.get(page_of(Product.objects.create(name="Old", provider="gone"))))
    assert "The provider gone is not installed" in words
    assert "Disk space" in words


def queries(get):
    with CaptureQueriesContext(connection) as caught:
        get()
    return len(caught)


def test_the_page_takes_as_many_queries_for_ten_versions_as_for_one(staff, product):
    priced(a_setting(product, DISK), ("0", "1"))
    staff.get(page_of(product))
    few = queries(lambda: staff.get(page_of(product)))
    for declared in METRICS:
        setting = a_setting(product, declared, enabled_from=None)
        for _ in range(3):
            priced(setting, ("0", "1"), ("10", "2"))
        a_service(product, a_client(declared.display_name), a_tenant(a_server(declared.system_name)))
    # The timeline has names of fewer kinds of things, which are read with a query each.
    assert queries(lambda: staff.get(page_of(product))) <= few


# The list of products


def test_a_product_is_listed_with_its_provider_prices_services_and_enabled_metrics(staff, product):
    a_setting(product, MAILBOXES)
    a_setting(product, DISK)
    a_setting(product, EMAILS, enabled_from=None)
    a_service(product)
    a_service(product, status="terminated", terminated_on=date(2026, 11, 1))
    row = staff.get(reverse("staff_products")).context["rows"][0]
    assert (row.provider, row.prices) == ("Panel", ["$24.00 monthly"])
    assert row.cycles == "quarterly, semiannually, annually, biennially, triennially"
    assert (row.product.living, row.product.enabled) == (1, 2)


def test_a_product_without_provider_and_price_says_so(staff):
    Product.objects.create(name="Domain", is_active=False)
    words = text_of(staff.get(reverse("staff_products")))
    assert "nothing meters it" in words
    assert "no price" in words
    assert "cannot be ordered" in words


def test_the_sites_own_currency_comes_first(staff, product):
    ProductPrice.objects.create(product=product, cycle="monthly", currency="EUR", amount=22)
    assert staff.get(reverse("staff_products")).context["rows"][0].prices == ["$24.00 monthly", "€22.00 monthly"]


def test_before_the_first_product_the_list_says_how_to_begin(staff):
    words = text_of(staff.get(reverse("staff_products")))
    assert "No product yet" in words
    assert reverse("admin:catalog_product_add") in words


def test_the_list_takes_as_many_queries_for_many_products_as_for_one(staff, product):
    few = queries(lambda: staff.get(reverse("staff_products")))
    for number in range(5):
        other = a_product(f"Product {number}")
        a_setting(other, DISK)
        a_service(other)
    assert queries(lambda: staff.get(reverse("staff_products"))) == few


# Who may


PAGES = ["staff_products", "staff_product_metrics", "staff_pricing"]


def address(page, product):
    return reverse(page, args=[product.pk, a_metric(DISK).pk][: PAGES.index(page)])


@pytest.mark.parametrize("page", PAGES)
def test_nobody_is_sent_to_the_login(client, product, page):
    response = client.get(address(page, product))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("page", PAGES)
def test_a_client_is_refused(client, product, page, method):
    user = a_user()
    a_service(product, a_client(users=(user,)))
    client.force_login(user)
    knows = method == "get" or page != "staff_products"
    assert getattr(client, method)(address(page, product)).status_code == (403 if knows else 405)


@pytest.mark.parametrize(
    ("page", "permission"),
    list(zip(PAGES, ["view_product", "view_metricsetting", "view_pricingversion"], strict=True)),
)
def test_staff_need_the_permission_of_the_page(client, product, page, permission):
    user = a_user("omar@staff.test", is_staff=True)
    client.force_login(user)
    assert client.get(address(page, product)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename=permission))
    assert client.get(address(page, product)).status_code == 200


def test_who_only_looks_sees_the_switches_and_saves_none(client, product):
    setting = a_setting(product, MAILBOXES, str(MARCH))
    priced(setting, ("0", "2"))
    client.force_login(staff_with("viewer"))
    shown = text_of(client.get(page_of(product)))
    assert "On" in shown
    assert "Save switches" not in shown
    assert shown.count('role="switch"') == shown.count(" disabled>") > 0
    assert client.post(page_of(product), {"was": setting.metric_id}).status_code == 403
    assert setting.enabled_spans.get().end is None


def test_who_only_looks_sees_prices_asks_what_a_quantity_costs_and_saves_nothing(client, product):
    setting = a_setting(product, MAILBOXES, str(MARCH))
    priced(setting, ("0", "2"), ("10", "1"))
    address = reverse("staff_pricing", args=[product.pk, setting.metric_id])
    client.force_login(staff_with("viewer"))
    shown = text_of(client.get(address, {"quantity": "7", "currency": "USD"}))
    assert "<b>$14.00</b>" in shown
    assert "<fieldset disabled>" in shown
    for of_editors in ("Save as version", "What if…", "Withdraw", "Add a bracket", "In force from</legend>"):
        assert of_editors not in shown
    for data in ({}, {"preview": "1"}, {"effective_from": "2026-12-01"}):
        assert client.post(address, data).status_code == 403
    assert setting.versions.count() == 1


def test_who_only_looks_is_led_to_no_page_that_is_closed_to_them(client, product):
    setting = a_setting(product, MAILBOXES, str(MARCH))
    priced(setting, ("0", "2"))
    client.force_login(staff_with("viewer"))
    for page in (reverse("staff_product", args=[product.pk]), page_of(product), reverse("staff_products")):
        for address in set(re.findall(r"<main.*", text_of(client.get(page)))[0].split('href="')[1:]):
            path = address.partition('"')[0].partition("#")[0]
            if path.startswith("/"):
                assert client.get(path).status_code == 200, path


# Django's admin


@pytest.mark.parametrize("model", ["user", "client", "product", "service"])
def test_the_records_can_be_searched_and_added_in_the_admin(staff, product, model):
    a_service(product)
    assert staff.get(reverse(f"admin:catalog_{model}_changelist"), {"q": "a"}).status_code == 200
    assert staff.get(reverse(f"admin:catalog_{model}_add")).status_code == 200


def test_prices_of_usage_are_not_in_the_admin():
    assert not {"PricingVersion", "BracketPrice"} & {model.__name__ for model in admin.site._registry}


def test_a_user_is_added_with_an_email_in_lower_case_and_a_password(staff):
    staff.post(
        reverse("admin:catalog_user_add"),
        {
            "email": "Omar@Staff.test",
            "name": "Omar",
            "usable_password": "true",
            "password1": "harbour-petrol-9",
            "password2": "harbour-petrol-9",
        },
    )
    user = User.objects.get(email="omar@staff.test")
    assert user.check_password("harbour-petrol-9")
    assert staff.get(reverse("admin:catalog_user_change", args=[user.pk])).status_code == 200
    assert staff.get(reverse("admin:auth_user_password_change", args=[user.pk])).status_code == 200


def test_an_address_that_is_taken_in_another_case_is_refused(staff):
    a_user("omar@staff.test")
    data = {"email": "OMAR@staff.test", "usable_password": "false"}
    assert staff.post(reverse("admin:catalog_user_add"), data).status_code == 200
    assert User.objects.filter(email__iexact="omar@staff.test").count() == 1


def test_a_product_is_added_with_its_prices_and_an_installed_provider(staff):
    data = {
        "name": "Business Web",
        "provider": "panel",
        "is_active": "on",
        "invoice_days_ahead": "0",
        "grace_days": "0",
        "prices-TOTAL_FORMS": "1",
        "prices-INITIAL_FORMS": "0",
        "prices-0-cycle": "monthly",
        "prices-0-currency": "USD",
        "prices-0-amount": "24",
    }
    saved = staff.post(reverse("admin:catalog_product_add"), data)
    product = Product.objects.get(provider="panel")
    assert (saved.status_code, saved["Location"]) == (302, reverse("staff_product", args=[product.pk]))
    assert [str(price) for price in product.prices.all()] == ["24.0000 USD monthly"]


def test_a_product_keeps_a_provider_that_is_no_longer_installed(staff):
    product = Product.objects.create(name="Old", provider="gone")
    words = text_of(staff.get(reverse("admin:catalog_product_change", args=[product.pk])))
    assert '<option value="gone" selected>gone (not installed)</option>' in words


def service_data(product, **changes):
    return {
        "client": a_client().pk,
        "product": product.pk,
        "name": "a.example",
        "status": "active",
        "cycle": "monthly",
        "anchor": "2026-11-15",
        **changes,
    }


def test_a_service_that_is_added_is_due_when_its_first_term_starts(staff, product):
    assert staff.post(reverse("admin:catalog_service_add"), service_data(product)).status_code == 302
    service = Service.objects.get()
    assert (service.next_term, service.next_due_on) == (0, date(2026, 11, 15))


def test_a_service_is_not_terminated_in_the_admin(staff, product):
    response = staff.post(reverse("admin:catalog_service_add"), service_data(product, status="terminated"))
    assert "Terminate a service on its own page" in text_of(response)
    assert not Service.objects.exists()


def test_the_terms_of_a_service_stay_once_one_is_billed(staff, product):
    service = a_service(product, next_term=1)
    data = service_data(product, client=service.client_id, anchor="2026-01-01", cycle="annually", name="b.example")
    assert staff.post(reverse("admin:catalog_service_change", args=[service.pk]), data).status_code == 302
    service.refresh_from_db()
    assert (service.name, service.cycle, service.anchor) == ("b.example", "monthly", date(2026, 10, 1))
    assert service.next_due_on == date(2026, 11, 1)
