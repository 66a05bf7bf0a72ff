"""Versions of a pricing: from when, by whom and why, what they changed, and what may be taken back."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.db.models import ProtectedError
from django.urls import reverse

from catalog import metric_billing
from catalog.metric_billing import CannotBackdate, CannotWithdraw, add_version
from catalog.models import MetricSetting, PricingVersion
from catalog.pricing import Bracket, Pricing, Scheme
from catalog.sheet import Sheet
from tests.builders import (
    MAILBOXES,
    a_metric,
    a_product,
    a_setting,
    a_staff_user,
    a_user,
    at,
    panel,
    priced,
)
from tests.catalog.pricing_form import address, errors_of, said, text_of, typed

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 19)


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


def a_pricing_manager(email="ola@staff.test"):
    """Staff who may write prices, but not for days that are over."""
    user = a_user(email, is_staff=True)
    names = ["add_pricingversion", "change_metricsetting", "view_product"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def sheet(price="1"):
    return Sheet(MAILBOXES.unit, {"USD": Pricing(Scheme.PER_UNIT, (Bracket(Decimal(0), Decimal(price)),))})


# Back-dating


def test_a_day_before_today_needs_the_permission(client, product):
    client.force_login(a_pricing_manager())
    response = client.post(address(product), typed(effective_from="2026-11-18", reason="agreed in October"))
    assert errors_of(response) == {"effective_from": "Choose 19 November 2026 or a later day"}
    assert not PricingVersion.objects.exists()
    client.post(address(product), typed(effective_from="2026-11-19"))
    assert PricingVersion.objects.get().effective_from == TODAY


def test_a_day_before_today_needs_a_reason(staff, product):
    response = staff.post(address(product), typed(effective_from="2026-11-18"))
    assert errors_of(response) == {"reason": "Say why prices change for days that are over"}
    staff.post(address(product), typed(effective_from="2026-11-01", reason="agreed in October"))
    version = PricingVersion.objects.get()
    assert (version.effective_from, version.reason) == (date(2026, 11, 1), "agreed in October")
    assert version.created_by.email == "ines@staff.test"


@pytest.mark.parametrize(("may", "reason"), [(False, "because"), (True, "")])
def test_the_deed_refuses_a_day_that_is_over_without_both(product, may, reason):
    by = a_staff_user() if may else a_pricing_manager()
    setting = metric_billing.new_setting(product, a_metric(MAILBOXES))
    day = date(2026, 11, 18)
    with pytest.raises(CannotBackdate):
        add_version(setting=setting, sheet=sheet(), effective_from=day, today=TODAY, by=by, reason=reason)
    assert not MetricSetting.objects.exists()


# The history


def test_the_history_says_in_words_what_each_version_changed_who_saved_it_and_why(staff, product):
    staff.post(address(product), typed())
    change = {"price__2__USD": "0.80", "price__3__USD": "0.40", "start__3": "30", "minimum__USD": "5"}
    staff.post(address(product), typed(after="1", included="3", reason="The list of 2027", **change))
    response = staff.get(address(product))
    newest, first = response.context["history"]
    assert first.changes is None
    assert newest.changes == [
        "Included: 3 mailboxes instead of 0 mailboxes",
        "USD, from 10: $0.80 instead of $1.00, 20% less",
        "USD, from 30: a new bracket at $0.40 per mailbox",
        "USD: no bracket from 20 any more",
        "USD: minimum charge $5.00 instead of none",
    ]
    words = text_of(response)
    assert "The list of 2027" in words
    assert "by ines@staff.test" in words


def test_a_version_is_compared_with_the_one_it_takes_over_from_on_its_day(staff, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"), effective_from="2026-01-01")
    priced(setting, ("0", "3"), effective_from="2027-06-01")
    priced(setting, ("0", "2"), effective_from="2027-01-01")
    past = {each.version.number: each.changes for each in staff.get(address(product)).context["history"]}
    assert past == {
        1: None,
        2: ["USD: $3.00 instead of $1.00, 200% more"],
        3: ["USD: $2.00 instead of $1.00, 100% more"],
    }


def test_the_draft_says_what_it_changes_before_it_is_saved(staff, product):
    staff.post(address(product), typed())
    response = staff.post(address(product), typed(after="1", preview="", price__1__USD="3"))
    assert "<li>USD, from 0: $3.00 instead of $2.00, 50% more</li>" in text_of(response)
    response = staff.post(address(product), typed(after="1", preview=""))
    assert "Nothing yet: these are the prices in force on that day." in text_of(response)


# Taking back


def withdrawn(staff, product, number):
    place = [product.pk, a_metric(MAILBOXES).pk, number]
    return staff.post(reverse("staff_pricing_withdraw", args=place), follow=True)


def test_a_planned_version_can_be_withdrawn_and_stays_in_the_history(staff, product):
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "1"))
    priced(setting, ("0", "9"), effective_from="2026-12-01")
    response = withdrawn(staff, product, 2)
    assert said(response) == ["Version 2 is withdrawn. It stays in the history."]
    assert [(each.version.number, each.state) for each in response.context["history"]] == [(2, "withdrawn"), (1, "now")]
    assert "withdrawn today, 12:00 by ines@staff.test" in text_of(response)
    setting = MetricSetting.objects.with_pricing().get()
    assert setting.version_on(date(2027, 1, 1)).number == 1


def test_the_number_of_a_withdrawn_version_stays_taken(staff, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"), effective_from="2026-12-01")
    withdrawn(staff, product, 1)
    staff.post(address(product), typed(after="1"))
    assert [version.number for version in PricingVersion.objects.all()] == [1, 2]


@pytest.mark.parametrize("day", ["2026-11-19", "2020-01-01"])
def test_a_version_that_is_in_force_stays(staff, product, day):
    priced(a_setting(product, MAILBOXES), ("0", "1"), effective_from=day)
    response = withdrawn(staff, product, 1)
    assert said(response)[0].startswith("Version 1 stays: it has been in force since")
    assert not PricingVersion.objects.get().is_withdrawn


def test_withdrawing_again_keeps_the_first_day_and_person(product):
    version = priced(a_setting(product, MAILBOXES), ("0", "1"), effective_from="2026-12-01")
    ines, ola = a_staff_user(), a_pricing_manager()
    metric_billing.withdraw(version=version, by=ines, today=TODAY, at=at("2026-11-19 12:00"))
    metric_billing.withdraw(version=version, by=ola, today=TODAY, at=at("2026-11-20 12:00"))
    version.refresh_from_db()
    assert (version.withdrawn_by, version.withdrawn_at) == (ines, at("2026-11-19 12:00"))
    with pytest.raises(CannotWithdraw):
        metric_billing.withdraw(version=version, by=ola, today=date(2026, 12, 1), at=at("2026-12-01 12:00"))


def test_withdrawing_is_no_link_and_for_nobody_else(client, product):
    priced(a_setting(product, MAILBOXES), ("0", "1"), effective_from="2026-12-01")
    place = reverse("staff_pricing_withdraw", args=[product.pk, a_metric(MAILBOXES).pk, 1])
    client.force_login(a_user())
    assert client.post(place).status_code == 403
    client.force_login(a_staff_user())
    assert client.get(place).status_code == 405
    assert not PricingVersion.objects.get().is_withdrawn


def test_what_has_versions_cannot_be_deleted(product):
    setting = priced(a_setting(product, MAILBOXES), ("0", "1")).setting
    for record in (setting, product):
        with pytest.raises(ProtectedError):
            record.delete()
