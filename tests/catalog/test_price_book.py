"""The pricing that is kept in memory is that of the database, whatever was changed, and by whom."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import transaction

from catalog import price_book
from catalog.models import ChargeBounds
from tests.builders import DISK, EMAILS, a_product, a_setting, priced

pytestmark = pytest.mark.django_db


@pytest.fixture
def setting():
    setting = a_setting(a_product(), DISK)
    priced(setting, ("0", "1"), ("10", "0.5"))
    return setting


def known(product):
    return price_book.settings_of([product.pk]).get(product.pk, [])


def said(product):
    """All that is known of a product, written out."""
    return [
        (
            str(setting.metric),
            [(span.start, span.end) for span in setting.enabled_spans.all()],
            [
                (
                    version.number,
                    version.effective_from,
                    version.included,
                    version.withdrawn_at,
                    [(price.currency, price.start, price.unit_price) for price in version.prices.all()],
                    [(bounds.minimum, bounds.maximum) for bounds in version.charge_bounds.all()],
                )
                for version in setting.versions.all()
            ],
        )
        for setting in known(product)
    ]


def test_what_is_known_is_read_once(setting, django_assert_num_queries):
    first = known(setting.product)
    with django_assert_num_queries(1):
        assert known(setting.product) is first


def test_any_number_of_products_takes_the_same_queries(django_assert_num_queries):
    products = [a_product(f"Product {number}") for number in range(5)]
    for product in products:
        priced(a_setting(product, DISK), ("0", "1"))
    with django_assert_num_queries(6):
        found = price_book.settings_of([product.pk for product in products])
    assert set(found) == {product.pk for product in products}
    with django_assert_num_queries(0):
        assert price_book.settings_of([]) == {}


CHANGES = {
    "a metric that is named otherwise": lambda one: type(one.metric).objects.update(display_name="Space"),
    "a setting more": lambda one: a_setting(one.product, EMAILS, enabled_from=None),
    "a setting less": lambda one: (one.versions.all().delete(), one.delete()),
    "a span that ends": lambda one: one.enabled_spans.update(end=date(2026, 1, 1)),
    "a span more": lambda one: one.enabled_spans.create(start=date(2019, 1, 1), end=date(2019, 2, 1)),
    "a version more": lambda one: priced(one, ("0", "2"), effective_from="2027-01-01"),
    "a version that is other": lambda one: one.versions.update(included=Decimal(5)),
    "a bracket more": lambda one: one.versions.get().prices.create(
        currency="USD", start=Decimal(90), unit_price=Decimal("0.1")
    ),
    "a bracket less": lambda one: one.versions.get().prices.filter(start=10).delete(),
    "a bracket that costs more": lambda one: one.versions.get().prices.filter(start=10).update(unit_price=7),
    "a minimum": lambda one: ChargeBounds.objects.create(version=one.versions.get(), currency="USD", minimum=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_at_once(setting, change):
    before = said(setting.product)
    CHANGES[change](setting)
    after = said(setting.product)
    assert after != before
    price_book._known.clear()
    assert said(setting.product) == after


def test_what_was_rolled_back_is_forgotten(setting):
    before = said(setting.product)
    with transaction.atomic():
        setting.versions.get().prices.update(unit_price=9)
        assert said(setting.product) != before
        transaction.set_rollback(True)
    assert said(setting.product) == before


def test_no_more_products_are_kept_than_a_process_may_hold(monkeypatch):
    monkeypatch.setattr(price_book, "MOST", 3)
    for number in range(7):
        product = a_product(f"Product {number}")
        a_setting(product, DISK)
        assert len(known(product)) == 1
        assert len(price_book._known) <= 3
