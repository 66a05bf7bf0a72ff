"""What a unit cost is what was billed over the quantity that was billed; who used nothing has no price."""

from datetime import date
from decimal import Decimal

import pytest

from catalog.pricing import Bracket, Notation, Pricing, Scheme
from invoicing.models import Line
from metering.units import GIB
from reports import counting, prices
from tests.builders import DISK, a_client, a_product, a_server, a_service, a_setting, a_tenant, at, priced
from tests.invoicing.documents import given_back, issued, usage

pytestmark = pytest.mark.django_db

NOVEMBER = date(2026, 11, 1)
TODAY = date(2026, 11, 19)


def setting_of_disk(included="0"):
    setting = a_setting(a_product(), DISK)
    priced(setting, ("0", "2"), included=included, notation="above")
    return setting


def billed(setting, *quantities, currency="USD", when="2026-11-01 07:00", included="0"):
    """Bill some services for these quantities at $2.00. Returns their lines."""
    pricing = Pricing(
        Scheme.GRADUATED, (Bracket(Decimal(0), Decimal(2)),), included=Decimal(included), notation=Notation.ABOVE
    )
    lines = []
    for quantity in quantities:
        name = f"{currency} {when} {len(lines)}"
        client = a_client(name, currency)
        service = a_service(setting.product, client, a_tenant(a_server(name), "t"))
        built = usage(service, setting, ("2026-10-01", quantity), end="2026-11-01", pricing=pricing)
        issued(client, built, when=when)
        lines.append(built.line)
    return lines


def found(**options):
    counting.count_documents(at=at("2026-11-19 08:00"))
    counting.spread_prices()
    return prices.prices(counting.sums(), **{"months": [NOVEMBER], **options})


def test_a_unit_costs_what_was_billed_over_the_quantity():
    billed(setting_of_disk(), "3", "10", "20", included="5")
    [one] = found()
    assert (one.amount, one.quantity) == (40, 33)
    assert one.each.quantize(Decimal("0.0001")) == Decimal("1.2121")
    assert (one.spread.services, one.spread.low, one.spread.median, one.spread.high) == (3, 0, 1, Decimal("1.5"))


def test_the_list_price_of_the_beginning_of_the_month_stands_beside_it():
    setting = setting_of_disk()
    priced(setting, ("0", "3"), effective_from="2026-11-02")
    billed(setting, "3")
    assert found()[0].list_price == "$2.00 per GB"


def test_nothing_used_has_no_price_and_is_no_error():
    billed(setting_of_disk(), "0", "0")
    [one] = found()
    assert (one.each, one.spread) == (None, None)
    row = prices.history([one], [NOVEMBER], TODAY).rows[0]
    assert [cell.text for cell in row.cells] == ["$0.00", "0 GB", "—", "—", "—", "—", "$2.00 per GB"]


def test_who_used_nothing_is_left_out_of_the_median():
    billed(setting_of_disk(), "0", "4")
    assert found()[0].spread.services == 1


def test_currencies_and_months_stand_apart():
    setting = setting_of_disk()
    billed(setting, "3")
    billed(setting, "5", currency="EUR")
    billed(setting, "7", when="2026-10-01 07:00")
    both = found(months=[date(2026, 10, 1), NOVEMBER])
    assert [(one.currency, one.month.month, one.quantity) for one in both] == [
        ("EUR", 11, 5),
        ("USD", 10, 7),
        ("USD", 11, 3),
    ]
    assert [one.currency for one in found(currency="EUR")] == ["EUR"]


def test_what_is_given_back_later_changes_no_price():
    [line] = billed(setting_of_disk(), "4")
    issued(line.invoice.client, given_back(line, "8"), when="2026-11-05 07:00", credits=line.invoice)
    assert found()[0].each == 2


def test_quantities_in_another_unit_are_converted_before_they_are_added():
    setting = setting_of_disk()
    billed(setting, "1")
    [line] = billed(setting, "1", when="2026-11-01 08:00")
    stated = line.statement
    other = type(stated).of(GIB.as_json(), stated.pricing)
    other.save()
    with_gib = Line(**{name: getattr(line, name) for name in ("service", "setting", "kind", "title", "start", "end")})
    with_gib.invoice = issued(line.invoice.client, when="2026-11-02 07:00", total=Decimal(2))
    with_gib.position, with_gib.quantity, with_gib.statement = 1, Decimal(1), other
    with_gib.exact = with_gib.amount = Decimal(2)
    with_gib.save(force_insert=True)
    assert found()[0].quantity == Decimal("2") + Decimal(2**30) / 10**9


def test_spreads_are_worked_out_again_only_where_something_was_counted():
    setting = setting_of_disk()
    billed(setting, "3", when="2026-10-01 07:00")
    billed(setting, "3")
    counting.count_documents(at=at("2026-11-19 08:00"))
    assert counting.spread_prices() == 2
    assert counting.spread_prices() == 0
    billed(setting, "3", when="2026-11-03 07:00")
    counting.count_documents(at=at("2026-11-19 09:00"))
    assert counting.spread_prices() == 1


def test_small_prices_keep_the_digits_that_count():
    shown = {price: prices.shortened(Decimal(price), "USD") for price in ("1.2349", "0.12345", "0.000123456", "0")}
    assert shown == {
        "1.2349": Decimal("1.23"),
        "0.12345": Decimal("0.123"),
        "0.000123456": Decimal("0.000123"),
        "0": 0,
    }
