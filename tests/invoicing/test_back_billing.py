"""What was used while something was off is billed only when a person says so, having seen the amount."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.models import EnabledSpan, Service
from invoicing.back_billing import NothingToBill, excluded, grant
from invoicing.billing import create_invoices
from invoicing.models import BackBilling, Deferral, InvoicingSpan, Line
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def product():
    product = a_product()
    for declared in (EMAILS, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"), notation="above")
    return product


@pytest.fixture
def service(server, product):
    """Emails of six days in October."""
    service = a_service(product, tenant=a_tenant(server))
    for day, sent in ((5, 1), (11, 2), (12, 4), (15, 8), (20, 16), (25, 32)):
        collected(server, f"2026-10-{day:02} 20:00", tenant_says("alice", emails=sent))
    collected(server, "2026-10-31 20:00", tenant_says("alice", traffic=7 * GB))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0, traffic=0))
    return service


def off(product, start, end, metric="emails"):
    """Let a metric be off on the days from a first to before another one."""
    setting = product.metric_settings.get(metric__system_name=metric)
    setting.enabled_spans.update(end=date.fromisoformat(start))
    EnabledSpan.objects.create(setting=setting, start=date.fromisoformat(end))
    return setting


def left_out(service, on="2026-11-01"):
    found = excluded(Service.objects.get(pk=service.pk), date.fromisoformat(on))
    return [
        (each.setting.metric.system_name, str(each.period.start), str(each.period.end), each.amount) for each in found
    ]


def granted(service, setting, amount, on="2026-11-01", reason="The switch was off by mistake."):
    return grant(
        service=service,
        setting=setting,
        amount=Decimal(amount),
        reason=reason,
        on=date.fromisoformat(on),
        at=at(f"{on} 06:30"),
        by=a_staff_user(),
    )


def bill(on):
    with panel(says()):
        create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def billed(on, metric="emails"):
    lines = Line.objects.filter(invoice__issued_on=on, setting__metric__system_name=metric)
    return [line.amount for line in lines]


def test_what_was_used_while_a_metric_was_off_is_listed_with_its_amount(service, product):
    off(product, "2026-10-10", "2026-10-16")
    assert left_out(service) == [("emails", "2026-10-11", "2026-10-16", 2 + 4 + 8)]


def test_it_is_not_billed_by_itself_and_stays_listed(service, product):
    off(product, "2026-10-10", "2026-10-16")
    bill("2026-11-01")
    assert billed("2026-11-01") == [1 + 16 + 32]
    assert left_out(service, "2026-11-02") == [("emails", "2026-10-11", "2026-10-16", 14)]


def test_once_granted_it_is_on_the_next_invoice_and_on_no_other(service, product):
    setting = off(product, "2026-10-10", "2026-10-16")
    bill("2026-11-01")
    made = granted(service, setting, "14", on="2026-11-02")
    assert (made.start, made.end, made.by.email) == (date(2026, 10, 11), date(2026, 10, 16), "ines@staff.test")
    assert left_out(service, "2026-11-02") == []
    bill("2026-12-01")
    assert sum(billed("2026-12-01")) == 14
    bill("2027-01-01")
    assert sum(billed("2027-01-01")) == 0
    assert left_out(service, "2027-01-02") == []


def test_what_was_used_while_usage_invoicing_was_off_is_listed_for_every_metric(service):
    InvoicingSpan.objects.update(end=date(2026, 10, 12))
    InvoicingSpan.objects.create(start=date(2026, 10, 16))
    assert left_out(service) == [
        ("traffic", "2026-10-01", "2026-11-01", 7),
        ("emails", "2026-10-12", "2026-10-16", 4 + 8),
    ]


def test_it_is_billed_although_usage_invoicing_is_off_as_a_whole(service, product):
    InvoicingSpan.objects.update(end=date(2026, 10, 1))
    granted(service, product.metric_settings.get(metric__system_name="traffic"), "7")
    bill("2026-11-01")
    assert billed("2026-11-01", "traffic") == [7]
    assert billed("2026-11-01") == []


def test_another_amount_than_was_shown_is_refused(server, service, product):
    setting = off(product, "2026-10-10", "2026-10-16")
    with pytest.raises(NothingToBill, match="comes to another amount by now: 14"):
        granted(service, setting, "13.99")
    assert not BackBilling.objects.exists()


def test_what_is_granted_already_cannot_be_granted_twice(service, product):
    setting = off(product, "2026-10-10", "2026-10-16")
    granted(service, setting, "14")
    with pytest.raises(NothingToBill, match="No usage of Emails sent was left out"):
        grant(
            service=service, setting=setting, amount=Decimal(14), reason="again",
            on=date(2026, 11, 1), at=at("2026-11-01 06:40"), by=None,
        )  # fmt: skip
    assert BackBilling.objects.count() == 1


def test_nothing_is_left_out_where_nothing_was_off(service):
    assert left_out(service) == []


def test_while_a_metric_is_off_all_that_is_over_is_left_out_and_nothing_of_another_tenant(server, service, product):
    off(product, "2026-10-10", "2026-11-02")
    collected(server, "2026-11-01 06:10", tenant_says("alice", emails=3), tenant_says("bob", emails=9))
    assert left_out(service) == [("emails", "2026-10-05", "2026-10-26", 1 + 2 + 4 + 8 + 16 + 32)]


def test_what_was_used_before_a_metric_had_a_price_is_not_left_out(server):
    product = a_product("New")
    setting = a_setting(product, EMAILS, enabled_from="2026-10-20")
    priced(setting, ("0", "1"), notation="above", effective_from="2026-10-15")
    service = a_service(product, tenant=a_tenant(server))
    for day, sent in ((12, 4), (16, 8), (25, 32)):
        collected(server, f"2026-10-{day:02} 20:00", tenant_says("alice", emails=sent))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=0))
    assert left_out(service) == [("emails", "2026-10-16", "2026-10-17", 8)]


def test_it_is_a_line_by_itself_that_comes_to_what_was_shown(server, service, product):
    setting = product.metric_settings.get(metric__system_name="emails")
    priced(setting, ("0", "1"), notation="above", included="10", effective_from="2020-01-02")
    off(product, "2026-10-10", "2026-10-16")
    bill("2026-11-01")
    granted(service, setting, "4", on="2026-11-02")
    collected(server, "2026-11-10 20:00", tenant_says("alice", emails=9))
    collected(server, "2026-12-01 06:00", tenant_says("alice", emails=0))
    bill("2026-12-01")
    assert sorted(billed("2026-12-01")) == [0, 4]


def a_level(server, off_from, on_from, **values):
    """A service with mailboxes at 2: 5 at the end of October, 6 of November, 7 of December."""
    product = a_product("Levels")
    setting = a_setting(product, MAILBOXES)
    priced(setting, ("0", "2"))
    off(product, off_from, on_from, "mailboxes")
    service = a_service(product, tenant=a_tenant(server), **values)
    for day, mailboxes in (("2026-11-01", 5), ("2026-12-01", 6), ("2027-01-01", 7)):
        collected(server, f"{day} 06:00", tenant_says("alice", mailboxes=mailboxes))
        bill(day)
    return setting, service


def test_what_came_along_from_before_the_first_term_is_left_out_and_billed_when_it_is_granted(service, product):
    setting = off(product, "2026-10-10", "2026-10-22")
    Service.objects.update(
        anchor=date(2026, 11, 1), next_term=0, next_due_on=date(2026, 11, 1), metered_from="2026-10-08"
    )
    assert left_out(service) == [("emails", "2026-10-11", "2026-10-21", 2 + 4 + 8 + 16)]
    granted(service, setting, "30")
    bill("2026-11-01")
    assert sorted(billed("2026-11-01")) == [30, 32]
    assert left_out(service) == []


def test_a_level_of_a_term_in_which_it_was_off_is_left_out_and_billed_once_when_it_is_granted(server):
    setting, service = a_level(server, "2026-10-20", "2026-11-20")
    assert (billed("2026-11-01", "mailboxes"), billed("2026-12-01", "mailboxes")) == ([], [])
    assert billed("2027-01-01", "mailboxes") == [14]
    assert left_out(service, "2027-01-02") == [("mailboxes", "2026-10-01", "2026-12-01", 10 + 12)]
    assert not Deferral.objects.exists()
    granted(service, setting, "22", on="2027-01-02")
    assert left_out(service, "2027-01-02") == []
    collected(server, "2027-02-01 06:00", tenant_says("alice", mailboxes=8))
    bill("2027-02-01")
    assert sorted(billed("2027-02-01", "mailboxes")) == [10, 12, 16]
    assert not Deferral.objects.exists()
    collected(server, "2027-03-01 06:00", tenant_says("alice", mailboxes=9))
    bill("2027-03-01")
    assert billed("2027-03-01", "mailboxes") == [18]
    assert left_out(service, "2027-03-02") == []


def test_a_level_that_was_billed_is_not_left_out_while_its_metric_is_off_now(server):
    _, service = a_level(server, "2026-12-10", "2027-06-01")
    assert billed("2026-11-01", "mailboxes") == [10]
    assert left_out(service, "2027-01-02") == [("mailboxes", "2026-12-01", "2027-01-01", 14)]


def test_a_service_that_is_over_has_no_next_invoice_to_put_it_on(service, product):
    setting = off(product, "2026-10-10", "2026-10-16")
    Service.objects.filter(pk=service.pk).update(status="cancelled", next_due_on=None)
    with pytest.raises(NothingToBill, match="has no next invoice"):
        granted(service, setting, "14")
