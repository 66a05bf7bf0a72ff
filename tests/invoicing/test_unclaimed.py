"""Usage that nobody is billed for: what it would bring, and what comes along when a tenant is attached."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import EnabledSpan, Service
from catalog.orders import Order
from catalog.terms import Cycle
from invoicing import unclaimed, verification
from invoicing.billing import create_invoices
from invoicing.changing import change
from invoicing.models import BilledPeriod, Deferral, Invoice, Line
from invoicing.termination import WhenDown, terminate
from invoicing.unclaimed import CannotAttach
from metering import units
from metering.models import Tenant, Usage
from metering.periods import Period
from metering.providers.base import Metric, MetricType, ProviderError
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.metering.pushed import a_push_server, pushed

pytestmark = pytest.mark.django_db

OCTOBER = Period(date(2026, 10, 1), date(2026, 11, 1))
NOW = "2026-11-21 12:00"
BANDWIDTH = Metric("bandwidth", "Bandwidth", MetricType.MONTH, units.GB)


@pytest.fixture
def server():
    return a_server()


@pytest.fixture
def web():
    """A product that charges 1 per e-mail, GB of traffic and mailbox."""
    return a_metered("Web", "1")


def a_metered(name, each, metrics=(EMAILS, TRAFFIC, MAILBOXES), included="0"):
    product = a_product(name, price="24")
    for declared in metrics:
        priced(a_setting(product, declared), ("0", each), notation="above", included=included)
    return product


def seen(server, *days):
    """Collect alice's (day, values) at 22:00 of each day."""
    for day, values in days:
        collected(server, f"{day} 22:00", tenant_says("alice", **values))
    return Tenant.objects.select_related("server").get(server=server, key="alice")


def used_since_september(server):
    return seen(
        server,
        ("2026-09-10", {"emails": 1, "traffic": 2 * GB, "mailboxes": 3}),
        ("2026-09-30", {"emails": 2, "traffic": 10 * GB, "mailboxes": 3}),
        ("2026-10-31", {"emails": 4, "traffic": 20 * GB, "mailboxes": 5}),
        ("2026-11-05", {"emails": 8, "traffic": 1 * GB, "mailboxes": 5}),
        ("2026-11-21", {"emails": 16, "traffic": 7 * GB, "mailboxes": 6}),
    )


def an_order(product, start="2026-11-01", cycle=Cycle.MONTHLY, client=None):
    return Order(client or a_client(), product, cycle, date.fromisoformat(start), "alice's web")


def previewed(tenant, to, since, when=NOW):
    return unclaimed.preview(tenant=tenant, to=to, since=date.fromisoformat(since), at=at(when))


def attached(tenant, to, since, when=NOW):
    day = date.fromisoformat(since)
    amount = previewed(tenant, to, since, when).amount
    return unclaimed.attach(tenant=tenant, to=to, since=day, at=at(when), amount=amount).service


def bill(server, on, **values):
    if values:
        collected(server, f"{on} 05:00", tenant_says("alice", **values))
    with panel(says()):
        return create_invoices(on=date.fromisoformat(on), at=at(f"{on} 07:00"))


def lines(**of):
    rows = Line.objects.filter(kind="usage", **of).order_by("invoice__entry", "position")
    return [(row.setting.metric.system_name, row.quantity, row.amount) for row in rows]


def amounts(draft):
    return {line.setting.metric.system_name: line.amount for line in draft.lines}


# ---- which tenants


def test_tenants_of_living_services_and_those_that_are_gone_are_left_out(server):
    collected(server, "2026-11-18 06:00", *[tenant_says(name, disk=1) for name in ("alice", "bob", "carol")])
    a_tenant(server, "only-named")
    a_service(tenant=a_tenant(server, "bob"))
    a_service(tenant=a_tenant(server, "carol"), status="terminated", terminated_on=date(2026, 11, 1))
    assert [one.key for one in unclaimed.tenants().order_by("key")] == ["alice", "carol"]
    collected(server, "2026-11-19 06:00", tenant_says("bob", disk=1), tenant_says("carol", disk=1))
    assert [one.key for one in unclaimed.tenants()] == ["carol"]


# ---- what a month would have brought


def test_a_quote_is_what_an_invoice_of_the_month_bills(server, web):
    tenant = used_since_september(server)
    quote = unclaimed.quotes([tenant], web, "USD", OCTOBER)[tenant.pk]
    found = {line.setting.metric.system_name: (line.quantity, line.amount) for line in quote.lines}
    assert found == {"emails": (4, 4), "traffic": (20, 20), "mailboxes": (5, 5)}
    assert (quote.amount, quote.problem, quote.is_waiting) == (29, "", False)
    a_service(web, tenant=tenant, anchor="2026-10-01", next_term=1)
    bill(server, "2026-11-01")
    assert Invoice.objects.get().total == quote.amount + 24


def test_a_quote_is_in_the_currency_that_was_asked_for(server):
    product = a_product()
    priced(a_setting(product, EMAILS), ("0", "3"), currency="EUR", notation="above")
    tenant = used_since_september(server)
    assert unclaimed.quotes([tenant], product, "EUR", OCTOBER)[tenant.pk].amount == 12
    assert "No price in USD" in unclaimed.quotes([tenant], product, "USD", OCTOBER)[tenant.pk].problem


def test_what_another_service_had_in_the_month_is_not_quoted(server, web):
    tenant = used_since_september(server)
    a_service(web, tenant=tenant, status="terminated", terminated_on=date(2026, 10, 31))
    quote = unclaimed.quotes([tenant], web, "USD", OCTOBER)[tenant.pk]
    assert amounts(quote) == {"emails": 4, "traffic": 20, "mailboxes": 5}
    Service.objects.update(terminated_on=date(2026, 11, 3))
    quote = unclaimed.quotes([tenant], web, "USD", OCTOBER)[tenant.pk]
    assert (quote.amount, quote.problem[:32]) == (0, "billable from 3 November 2026 on")


def test_a_month_that_was_not_read_since_it_ended_waits(server, web):
    tenant = seen(server, ("2026-10-05", {"emails": 4}))
    quote = unclaimed.quotes([tenant], web, "USD", OCTOBER)[tenant.pk]
    assert (quote.lines, quote.is_waiting) == ([], True)


def test_a_tenant_that_the_product_cannot_meter_has_no_quote(server, web):
    tenant = used_since_september(server)
    other = a_product("Other", provider="prometheus")
    assert unclaimed.quotes([tenant], other, "USD", OCTOBER) == {}


def test_quotes_take_the_same_queries_for_any_number_of_tenants(server, web):
    for when in ("2026-10-31 22:00", "2026-11-02 06:00"):
        collected(server, when, *[tenant_says(f"user{number}", emails=number, mailboxes=1) for number in range(20)])
    chosen = list(Tenant.objects.select_related("server").order_by("pk"))
    counts = []
    for some in (chosen[:1], chosen):
        with CaptureQueriesContext(connection) as queries:
            found = unclaimed.quotes(some, web, "USD", OCTOBER)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 14
    assert sum(quote.amount for quote in found.values()) == sum(range(20)) + 20


# ---- a new service


def test_a_new_service_bills_what_came_along_once(server, web):
    tenant = used_since_september(server)
    coming = previewed(tenant, an_order(web), "2026-11-01")
    assert (coming.first, amounts(coming.so_far)) == (None, {"emails": 24, "traffic": 7, "mailboxes": 6})
    assert not Service.objects.exists()
    service = attached(tenant, an_order(web), "2026-11-01")
    assert (service.anchor, service.metered_from, service.next_due_on) == (date(2026, 11, 1), None, date(2026, 11, 1))
    bill(server, "2026-11-21")
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines() == [("traffic", 7, 7), ("emails", 24, 24), ("mailboxes", 6, 6)]
    assert [line.amount for line in Line.objects.filter(kind="recurring")] == [24, 24]
    assert list(verification.verify()) == []


def test_usage_from_before_its_start_is_on_its_first_invoice(server, web):
    tenant = used_since_september(server)
    order = an_order(web)
    coming = previewed(tenant, order, "2026-09-20")
    assert coming.first is not None
    assert amounts(coming.first) == {"emails": 2 + 4, "traffic": 10 + 20}  # levels are charged by the terms
    assert amounts(coming.so_far) == {"emails": 24, "traffic": 7, "mailboxes": 6}
    assert coming.amount == 36 + 37
    service = attached(tenant, order, "2026-09-20")
    assert (service.anchor, service.metered_from) == (date(2026, 11, 1), date(2026, 9, 20))
    bill(server, "2026-11-21")
    assert lines() == [("traffic", 30, 30), ("emails", 6, 6)]
    assert Invoice.objects.get().total == coming.first.total + 24
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines()[2:] == [("traffic", 7, 7), ("emails", 24, 24), ("mailboxes", 6, 6)]
    bill(server, "2027-01-01", emails=0, traffic=0, mailboxes=6)
    assert lines()[5:] == [("traffic", 0, 0), ("emails", 0, 0), ("mailboxes", 6, 6)]
    assert list(verification.verify()) == []


def test_what_is_included_is_included_in_each_invoice_and_the_amount_says_so(server):
    product = a_metered("Web", "1", metrics=[EMAILS], included="5")
    tenant = used_since_september(server)
    coming = previewed(tenant, an_order(product), "2026-09-20")
    assert (coming.first.total, coming.so_far.total) == (6 - 5, 24 - 5)


def test_usage_may_be_billed_from_a_day_after_the_start(server, web):
    tenant = used_since_september(server)
    service = attached(tenant, an_order(web), "2026-11-10")
    assert service.metered_from == date(2026, 11, 10)
    bill(server, "2026-11-21")
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines() == [("traffic", 7, 7), ("emails", 16, 16), ("mailboxes", 6, 6)]


def test_a_service_that_starts_later_gets_all_of_it_on_its_first_invoice(server, web):
    tenant = used_since_september(server)
    service = attached(tenant, an_order(web, start="2026-12-01"), "2026-11-01")
    assert service.next_due_on == date(2026, 12, 1)
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines() == [("traffic", 7, 7), ("emails", 24, 24)]


def test_a_longer_cycle_that_is_billed_monthly_has_monthly_terms(server, web):
    web.bills_monthly = True
    web.save()
    tenant = used_since_september(server)
    service = attached(tenant, an_order(web, cycle=Cycle.ANNUALLY), "2026-11-01")
    assert (service.bills_monthly, service.clock) == (True, Cycle.MONTHLY)
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines() == [("traffic", 7, 7), ("emails", 24, 24), ("mailboxes", 6, 6)]


def test_what_was_off_does_not_come_along(server, web):
    EnabledSpan.objects.filter(setting__metric__system_name="emails").update(start=date(2026, 11, 20))
    tenant = used_since_september(server)
    assert amounts(previewed(tenant, an_order(web), "2026-11-01").so_far) == {
        "emails": 16,
        "traffic": 7,
        "mailboxes": 6,
    }


# ---- an existing service


def test_a_service_without_a_tenant_gets_it_and_bills_what_came_along(server, web):
    tenant = used_since_september(server)
    service = a_service(web, next_term=2)
    coming = previewed(tenant, service, "2026-11-01")
    assert amounts(coming.so_far) == {"emails": 24, "traffic": 7, "mailboxes": 6}
    service = attached(tenant, service, "2026-11-01")
    assert (service.tenant, service.metered_from, service.next_term) == (tenant, date(2026, 11, 1), 2)
    bill(server, "2026-12-01", emails=0, traffic=0, mailboxes=6)
    assert lines() == [("traffic", 7, 7), ("emails", 24, 24), ("mailboxes", 6, 6)]
    assert not Deferral.objects.exists()


def test_levels_of_terms_that_are_billed_already_come_along_too(server, web):
    tenant = used_since_september(server)
    service = a_service(web, anchor="2026-08-15", next_term=3)  # due on 15 November
    with panel(says()):
        create_invoices(on=date(2026, 11, 15), at=at("2026-11-15 07:00"))
    coming = previewed(tenant, service, "2026-09-20")
    levels = [(line.start, line.end, line.amount) for line in coming.so_far.lines if "Mailboxes" in line.title]
    assert levels == [
        (date(2026, 9, 20), date(2026, 10, 15), 3),
        (date(2026, 10, 15), date(2026, 11, 15), 5),
        (date(2026, 11, 15), date(2026, 11, 22), 6),
    ]
    assert not Deferral.objects.exists()
    service = attached(tenant, service, "2026-09-20")
    assert Deferral.objects.count() == 2
    assert list(verification.verify()) == []
    bill(server, "2026-12-15", emails=0, traffic=0, mailboxes=6)
    assert [amount for name, _, amount in lines() if name == "mailboxes"] == [3, 5, 6]
    assert sum(amount for name, _, amount in lines() if name == "traffic") == 10 + 20 + 7
    assert sum(amount for name, _, amount in lines() if name == "emails") == 2 + 4 + 24
    assert not Deferral.objects.exists()
    assert list(verification.verify()) == []


def test_a_pending_service_may_get_a_tenant(server, web):
    tenant = used_since_september(server)
    service = a_service(web, anchor="2026-11-10", next_term=0, status="pending")
    assert attached(tenant, service, "2026-11-10").status == "pending"


# ---- what another service had


def test_what_was_billed_to_another_service_never_comes_along(server, web):
    tenant = used_since_september(server)
    old = a_service(web, tenant=tenant, anchor="2026-09-01", next_term=3)
    with panel(says(tenant_says("alice", emails=16, traffic=7 * GB, mailboxes=6))):
        terminate(service=old, on=date(2026, 11, 21), at=at("2026-11-21 23:00"))
    billed = set(BilledPeriod.objects.values_list("metric_id", "start", "part"))
    assert unclaimed.earliest([tenant])[tenant.pk].day == date(2026, 11, 21)
    collected(server, "2026-11-25 22:00", tenant_says("alice", emails=3, traffic=9 * GB, mailboxes=8))
    new = an_order(web, start="2026-11-25", client=a_client("Another"))
    with pytest.raises(CannotAttach, match="from 21 November 2026 on, not before: alice had it until then"):
        previewed(tenant, new, "2026-11-01", "2026-11-25 23:00")
    service = attached(tenant, new, "2026-11-21", "2026-11-25 23:00")
    bill(server, "2026-12-25", emails=0, traffic=0, mailboxes=8)
    mine = [(row.setting.metric.system_name, row.amount) for row in Line.objects.filter(service=service, kind="usage")]
    assert sorted(mine) == [("emails", 3), ("mailboxes", 8), ("traffic", 2)]
    assert list(verification.verify()) == []
    assert billed.isdisjoint(BilledPeriod.objects.filter(service=service).values_list("metric_id", "start", "part"))


def test_a_tenant_that_a_service_gave_up_for_another_is_free_from_that_day_on(server, web):
    tenant = used_since_september(server)
    collected(
        server, "2026-11-21 22:30", tenant_says("alice", emails=16, traffic=7 * GB, mailboxes=6), tenant_says("b")
    )
    old = a_service(web, tenant=tenant, anchor="2026-09-01", next_term=3)
    other = a_tenant(server, "b")
    with panel(says(tenant_says("alice", emails=16, traffic=7 * GB, mailboxes=6))):
        change(service=old, at=at("2026-11-21 23:00"), tenant=other)
    assert unclaimed.earliest([tenant])[tenant.pk].day == date(2026, 11, 21)
    collected(server, "2026-11-22 22:00", tenant_says("alice", emails=5, traffic=8 * GB, mailboxes=7))
    coming = previewed(tenant, an_order(web, start="2026-11-22"), "2026-11-21", "2026-11-22 23:00")
    assert coming.first is not None
    assert coming.first.total + coming.so_far.total == 5 + 1 + 7


def test_a_tenant_whose_last_invoice_waits_is_not_attached(server, web):
    tenant = used_since_september(server)
    old = a_service(web, tenant=tenant, anchor="2026-09-01", next_term=3)

    def fails(*_):
        raise ProviderError("No answer.")

    with panel(fails):
        terminate(service=old, on=date(2026, 11, 21), at=at("2026-11-21 23:00"), when_down=WhenDown.WAIT)
    with pytest.raises(CannotAttach, match="still waits for its server"):
        previewed(tenant, an_order(web, start="2026-11-21"), "2026-11-21", "2026-11-21 23:30")


# ---- what was pushed or imported of days before it was seen


def pushed_later(*values, metric="emails"):
    """Have alice seen on 20 November, with (day, value) of before. Returns her and a product, 1 for each."""
    server, of_alice = a_push_server(), {"tenant": "alice", "metric": metric}
    pushed(server, *({**of_alice, "value": str(value), "time": f"{day}T09:00:00Z"} for day, value in values))
    product = a_product("API", provider="push")
    priced(a_setting(product, EMAILS if metric == "emails" else BANDWIDTH), ("0", "1"), notation="above")
    return Tenant.objects.select_related("server").get(server=server, key="alice"), product


def test_days_that_were_pushed_later_come_along():
    tenant, product = pushed_later(("2026-10-20", 3), ("2026-11-02", 4))
    earliest = unclaimed.earliest([tenant])[tenant.pk]
    assert (earliest.day, earliest.why) == (date(2026, 10, 20), "nothing that it used before is known")
    with pytest.raises(CannotAttach, match="from 20 October 2026 on, not before: nothing that it used"):
        previewed(tenant, an_order(product), "2026-10-19")
    service = attached(tenant, an_order(product), "2026-10-20")
    bill(tenant.server, "2026-11-21")
    bill(tenant.server, "2026-12-01")
    assert lines() == [("emails", 3, 3), ("emails", 4, 4)]
    assert service.metered_from == date(2026, 10, 20)
    assert list(verification.verify()) == []


def test_a_month_that_was_over_comes_along_and_one_that_was_open_is_theirs_since_they_were_seen():
    months = [("2026-10-20", 3), ("2026-11-02", 4)]
    tenant, product = pushed_later(*months, metric="bandwidth")
    assert unclaimed.earliest([tenant])[tenant.pk].day == date(2026, 10, 1)
    assert unclaimed.quotes([tenant], product, "USD", OCTOBER)[tenant.pk].amount == 3
    Usage.objects.filter(start=date(2026, 10, 1)).delete()
    earliest = unclaimed.earliest([tenant])[tenant.pk]
    assert (earliest.day, earliest.why) == (date(2026, 11, 20), "it was first seen then")


def test_what_was_pushed_later_of_days_that_another_service_had_does_not_come_along():
    tenant, product = pushed_later(("2026-10-20", 3), ("2026-11-02", 4))
    old = a_service(product, tenant=tenant, anchor="2026-10-01", next_term=1, name="shop")
    terminate(service=old, on=date(2026, 10, 31), at=at("2026-11-20 13:00"))
    with pytest.raises(CannotAttach, match="from 31 October 2026 on, not before: shop had it until then"):
        previewed(tenant, an_order(product), "2026-10-20")


# ---- refused


def test_usage_from_before_it_was_seen_does_not_come_along(server, web):
    tenant = seen(server, ("2026-11-05", {"emails": 8}))
    with pytest.raises(CannotAttach, match="from 5 November 2026 on, not before: it was first seen then"):
        previewed(tenant, an_order(web), "2026-11-04")
    with pytest.raises(CannotAttach, match="is still to come"):
        previewed(tenant, an_order(web), "2026-11-22")


def test_a_tenant_that_a_living_service_has_is_refused(server, web):
    tenant = used_since_september(server)
    a_service(web, tenant=tenant, name="shop")
    with pytest.raises(CannotAttach, match="is the tenant of shop"):
        previewed(tenant, an_order(web), "2026-11-01")


def test_a_service_that_cannot_have_it_is_refused(server, web):
    tenant = used_since_september(server)
    with pytest.raises(CannotAttach, match="has the tenant bob already"):
        previewed(tenant, a_service(web, tenant=a_tenant(server, "bob")), "2026-11-01")
    with pytest.raises(CannotAttach, match="Other is metered by prometheus"):
        previewed(tenant, a_service(a_product("Other", provider="prometheus")), "2026-11-01")
    over = a_service(web, status="terminated", terminated_on=date(2026, 11, 1))
    with pytest.raises(CannotAttach, match="is terminated"):
        previewed(tenant, over, "2026-11-01")
    with pytest.raises(CannotAttach, match="is not billed yet"):
        previewed(tenant, a_service(web, anchor="2026-08-15", next_term=3), "2026-11-01")


def test_a_new_service_that_could_not_be_billed_is_refused(server, web):
    tenant = used_since_september(server)
    with pytest.raises(CannotAttach, match="has no price per month in EUR"):
        previewed(tenant, an_order(web, client=a_client("Euro", currency="EUR")), "2026-11-01")
    with pytest.raises(CannotAttach, match="Let it start later"):
        previewed(tenant, an_order(web, start="2026-10-01"), "2026-11-01")
    with pytest.raises(CannotAttach, match="or before"):
        previewed(tenant, an_order(web, start="2028-10-01"), "2026-11-01")


def test_another_amount_than_was_shown_attaches_nothing(server, web):
    tenant = used_since_september(server)
    day = date(2026, 11, 1)
    with pytest.raises(CannotAttach, match="another amount by now"):
        unclaimed.attach(tenant=tenant, to=an_order(web), since=day, at=at(NOW), amount=Decimal(1))
    assert not Service.objects.exists()


def test_the_disk_of_a_tenant_is_priced_in_its_unit(server):
    product = a_metered("Space", "0.10", metrics=[DISK])
    tenant = seen(server, ("2026-11-20", {"disk": 25 * GB}))
    assert previewed(tenant, an_order(product, start="2026-11-20"), "2026-11-20").amount == Decimal("2.50")
