"""A plan is outgrown by rules that can be worked by hand: terms in a row, a share of the price, a cheaper product."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from catalog.models import OverageTerms, ProductPrice
from catalog.terms import Cycle, term
from invoicing.billing import create_invoices
from invoicing.models import OverageCharge
from reports import fitting, outgrown
from reports.models import Fit, Looked
from reports.outgrown import Rule
from tests.builders import (
    MAILBOXES,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    agreed,
    at,
    collected,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db

ANCHOR = date(2026, 6, 1)
#: 1 June, 1 July, …: the days on which terms close.
CLOSES = [term(ANCHOR, Cycle.MONTHLY, number).start for number in range(6)]
ALL = Rule(terms=1, percent=0)


def sold(product, price, included, each, cycle="monthly", currency="USD"):
    """A product with mailboxes: so many included, and a price for each above."""
    made = a_product(product, currency=currency)
    ProductPrice.objects.filter(product=made, cycle=cycle, currency=currency).update(amount=Decimal(price))
    priced(a_setting(made, MAILBOXES), ("0", each), included=included, currency=currency, notation="above")
    return made


def billed(product, *usage, client=None, name="alice", **values):
    """A service that used so many mailboxes in one term after the other, each billed at its end."""
    server = a_server(f"panel of {name}")
    values = {"anchor": str(ANCHOR), "next_term": 1, **values}
    service = a_service(product, client, a_tenant(server, name), **values)
    for number, mailboxes in enumerate(usage, start=1):
        on = service.term(number).start
        collected(server, f"{on - timedelta(days=1)} 18:00", tenant_says(name, mailboxes=mailboxes))
        collected(server, f"{on} 06:00", tenant_says(name, mailboxes=mailboxes))
        create_invoices(on=on, at=at(f"{on} 07:00"))
    return service


def fit_of(service, when="2026-11-19 08:00"):
    Looked.objects.all().delete()
    fitting.look(at=at(when))
    return Fit.objects.filter(service=service).first()


def reasons(fit, rule=ALL):
    return list(rule.reasons(fit))


def test_terms_above_what_is_included_are_counted_from_the_last_one_back():
    plan = sold("Small", "10", "5", "1")
    assert fit_of(billed(plan, 9, 4, 7, 6, 8, name="a")).above == 3
    assert fit_of(billed(plan, 9, 9, 9, 4, name="b")) is not None  # it was charged for usage
    assert fit_of(billed(plan, 9, 9, 9, 4, name="c")).above == 0


def test_as_much_as_is_included_is_not_above_it():
    assert fit_of(billed(sold("Small", "10", "5", "1"), 5, 5, 5)) is None


def test_the_last_three_terms_are_held_against_the_recurring_price():
    fit = fit_of(billed(sold("Small", "10", "5", "1"), 100, 5, 10, 45))
    assert (fit.terms, fit.usage, fit.recurring, fit.share) == (3, 45, 30, 150)
    assert "usage costs 150% of the recurring price" in reasons(fit)
    assert Rule(percent=149).is_broken != Rule(percent=150).is_broken
    assert outgrown.outgrown(Rule(terms=12, percent=149)).count() == 1
    assert outgrown.outgrown(Rule(terms=12, percent=150)).count() == 0


def test_a_year_is_paid_by_its_part_where_usage_is_billed_every_month():
    plan = sold("Small", "120", "5", "1", cycle="annually")
    fit = fit_of(billed(plan, 10, 10, 10, cycle=Cycle.ANNUALLY, bills_monthly=True))
    assert (fit.terms, fit.usage, fit.recurring) == (3, 15, 30)


def test_without_a_recurring_price_every_charge_is_above_it():
    fit = fit_of(billed(sold("Small", "0", "5", "1"), 6))
    assert fit.share is None
    assert reasons(fit) == [
        "Mailboxes was above what is included for 1 term in a row",
        "usage is charged, and there is no recurring price",
    ]
    assert outgrown.outgrown(Rule(terms=12, percent=1000)).count() == 1


def test_another_product_that_would_have_cost_less_is_named():
    small, big = sold("Small", "10", "5", "1"), sold("Big", "20", "30", "0.50")
    fit = fit_of(billed(small, 25, 35, 25))
    # Small: 3 × 10 + 20 + 30 + 20 = 100. Big: 3 × 20 + 0 + 2.50 + 0 = 62.50
    assert (fit.other, fit.cost, fit.other_cost, fit.saving, fit.compared) == (
        big,
        100,
        Decimal("62.5"),
        Decimal("37.5"),
        3,
    )
    assert reasons(fit, Rule(terms=12, percent=1000)) == ["Big would have cost $37.50 less over the last 3 terms"]
    assert outgrown.outgrown(Rule(terms=12, percent=1000, cheaper=False)).count() == 0


def test_the_cheapest_of_several_products_is_named():
    small = sold("Small", "10", "5", "1")
    sold("Big", "20", "30", "0.50")
    middle = sold("Middle", "12", "25", "1")
    assert fit_of(billed(small, 25, 25, 25)).other == middle


def test_a_product_that_costs_as_much_is_not_named():
    small = sold("Small", "10", "5", "1")
    sold("Same", "10", "5", "1")
    assert fit_of(billed(small, 25, 25, 25)).other is None


def test_a_product_that_does_not_measure_what_was_charged_is_not_named():
    small = sold("Small", "10", "5", "1")
    disks = a_product("Disks", price="1")
    priced(a_setting(disks), ("0", "0.10"))
    assert fit_of(billed(small, 25)).other is None


@pytest.mark.parametrize("why", ["provider", "inactive", "cycle", "currency of usage"])
def test_a_product_that_the_service_cannot_have_is_not_named(why):
    small = sold("Small", "10", "5", "1")
    big = sold("Big", "11", "100", "1")
    if why == "provider":
        big.provider = "another"
    if why == "inactive":
        big.is_active = False
    big.save()
    if why == "cycle":
        ProductPrice.objects.filter(product=big, cycle="monthly").delete()
    if why == "currency of usage":
        big.metric_settings.get().versions.get().prices.update(currency="EUR")
    assert fit_of(billed(small, 25)).other is None


def test_what_was_agreed_for_the_service_is_not_taken_to_another_product():
    small, big = sold("Small", "10", "5", "1"), sold("Big", "11", "30", "1")
    service = billed(small, 5)
    agreed(service, small.metric_settings.get(), discount="90", start="2026-06-01")
    assert big.metric_settings.count() == 1
    on = service.term(2).start
    server = service.tenant.server
    collected(server, f"{on - timedelta(days=1)} 18:00", tenant_says("alice", mailboxes=105))
    collected(server, f"{on} 06:00", tenant_says("alice", mailboxes=105))
    create_invoices(on=on, at=at(f"{on} 07:00"))
    fit = fit_of(service)
    # Small: 20 + 100 × 0.10 = 30. Big: 22 + 75; with the discount it would be 22 + 7.50
    assert (fit.usage, fit.other) == (10, None)


def test_months_above_a_soft_limit_are_counted_up_to_this_or_the_last_month():
    service = a_service(sold("Small", "10", "5", "1"), tenant=a_tenant(a_server(), "alice"))
    terms = OverageTerms.objects.create(
        product=service.product,
        number=1,
        effective_from=date(2026, 1, 1),
        is_on=True,
        unit_code="GiB",
        has_own_invoice=True,
        created_at=at("2026-01-01 00:00"),
    )
    for month, amount in ((6, 1), (8, 5), (9, 5), (10, 5)):
        OverageCharge.objects.create(
            service=service,
            name="disk",
            month=date(2026, month, 1),
            part=0,
            terms=terms,
            currency="USD",
            value=1,
            before=0,
            amount=amount,
            at=at("2026-11-01 00:00"),
        )
    assert fit_of(service).months_over == 3
    assert reasons(fit_of(service)) == ["charged above a limit for 3 months in a row"]
    assert fit_of(service, "2026-12-02 08:00") is None


def test_services_that_are_over_are_not_looked_at_and_forgotten():
    service = billed(sold("Small", "10", "5", "1"), 25)
    assert fit_of(service) is not None
    service.status, service.terminated_on = "terminated", date(2026, 11, 1)
    service.save()
    assert fit_of(service, "2026-11-20 08:00") is None


def test_services_are_looked_at_once_a_day():
    billed(sold("Small", "10", "5", "1"), 25)
    assert fitting.look(at=at("2026-11-19 08:00")) == 1
    assert fitting.look(at=at("2026-11-19 09:00")) is None
    assert fitting.look(at=at("2026-11-20 08:00")) == 1


def test_a_look_that_is_stopped_is_done_again(monkeypatch):
    plan = sold("Small", "10", "5", "1")
    for name in "ab":
        billed(plan, 25, client=a_client(name), name=name)
    monkeypatch.setattr(fitting, "BATCH", 1)
    answers = iter([False, True])
    assert fitting.look(at=at("2026-11-19 08:00"), should_stop=lambda: next(answers)) is None
    assert Fit.objects.count() == 1
    assert fitting.look(at=at("2026-11-19 09:00")) == 2


def test_each_currency_is_compared_within_itself():
    small = sold("Small", "10", "5", "1")
    ProductPrice.objects.create(product=small, cycle="monthly", currency="EUR", amount=10)
    small.metric_settings.get().versions.get().prices.create(currency="EUR", start=0, unit_price=1)
    big = sold("Big", "20", "30", "0.50", currency="EUR")
    euro = billed(small, 25, client=a_client("Brandt", "EUR"), name="brandt")
    dollar = billed(small, 25, name="alice")
    assert fit_of(euro).other == big
    assert fit_of(dollar).other is None
    assert fit_of(euro).currency == "EUR"
