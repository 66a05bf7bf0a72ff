"""Deeds on overrides: what may be agreed with one client, how it ends, and what may be taken back."""

import threading
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection, transaction

from catalog import overrides
from catalog.models import Override, Service
from catalog.overrides import (
    Agreement,
    CannotBackdate,
    CannotEnd,
    CannotWithdraw,
    DoesNotFit,
    EndsBeforeItStarts,
    NoPrice,
    NoReason,
    NothingAgreed,
    Overlaps,
    ServiceIsOver,
)
from catalog.pricing import ZERO, Bracket, Notation, Pricing, Scheme
from metering import units
from tests.builders import (
    DISK,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    agreed,
    priced,
)

pytestmark = pytest.mark.django_db

TODAY = date(2026, 11, 19)
TOMORROW = date(2026, 11, 20)


@pytest.fixture
def setting():
    setting = a_setting(a_product(), TRAFFIC)
    priced(setting, ("0", "1"), included="10", notation="above")
    return setting


@pytest.fixture
def service(setting):
    return a_service(setting.product, tenant=a_tenant(a_server()), next_term=2)


@pytest.fixture
def clerk():
    """May agree, but not for days that are over."""
    user = a_user("clerk@staff.test", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_override"))
    return user


@pytest.fixture
def ines():
    return a_staff_user()


@pytest.fixture
def agree(service, setting, clerk):
    """Agree 20 GB included from 1 December on, save for what the test says."""

    def do(start="2026-12-01", end=None, reason="a trial", by=clerk, service=service, setting=setting, **terms):
        terms = terms or {"included": Decimal(20)}
        return overrides.agree(
            service=service,
            setting=setting,
            agreement=Agreement(**{"unit": units.GB, "currency": "USD", **terms}),
            start=date.fromisoformat(start),
            end=date.fromisoformat(end) if end else None,
            reason=reason,
            by=by,
            today=TODAY,
        )

    return do


def own(*prices, scheme=Scheme.GRADUATED, **values):
    return Pricing(scheme, tuple(Bracket(Decimal(start), Decimal(price)) for start, price in prices), **values)


def test_what_is_agreed_is_written_with_its_days_its_reason_and_who_agreed_it(agree, service, setting, clerk):
    override = agree(end="2027-01-01", reason="  a trial ")
    assert (override.service, override.setting, override.created_by) == (service, setting, clerk)
    assert (override.included, override.unit, override.currency) == (20, units.GB, "USD")
    assert (override.start, override.end, override.reason) == (date(2026, 12, 1), date(2027, 1, 1), "a trial")
    assert (override.discount, override.own_prices) == (0, None)


def test_own_prices_are_written_with_their_scheme_in_the_clients_currency(agree):
    brackets = (Bracket(ZERO, Decimal("0.8"), Decimal(3)), Bracket(Decimal(100), Decimal("0.5")))
    prices = Pricing(Scheme.VOLUME, brackets, notation=Notation.FIRST_UNIT)
    override = Override.objects.get(pk=agree(own_prices=prices, discount=Decimal("2.5")).pk)
    assert override.own_prices == prices
    assert (override.discount, override.included) == (Decimal("2.5"), None)


def test_a_package_keeps_its_size(agree):
    prices = own(("0", "4"), scheme=Scheme.PACKAGE, package_size=Decimal(50))
    assert Override.objects.get(pk=agree(own_prices=prices).pk).own_prices == prices


def test_nothing_of_its_own_is_no_agreement(agree):
    with pytest.raises(NothingAgreed):
        agree(included=None, discount=ZERO)
    assert agree(included=ZERO)


@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_nothing_is_agreed(agree, reason):
    with pytest.raises(NoReason):
        agree(reason=reason)


@pytest.mark.parametrize("end", ["2026-12-01", "2026-11-30"])
def test_an_agreement_holds_one_day_at_least(agree, end):
    with pytest.raises(EndsBeforeItStarts):
        agree(end=end)
    assert agree(end="2026-12-02")


def test_days_that_are_over_need_the_permission_to_back_date(agree, ines):
    with pytest.raises(CannotBackdate, match="Choose 19 November 2026 or a later day"):
        agree(start="2026-11-18")
    assert agree(start="2026-11-19", end="2026-11-20")
    assert agree(start="2026-11-18", end="2026-11-19", by=ines)


@pytest.mark.parametrize(
    ("start", "end", "is_free"),
    [
        ("2026-12-01", "2027-01-01", True),
        ("2026-12-01", "2027-01-02", False),
        ("2026-12-01", None, False),
        ("2027-01-31", None, False),
        ("2027-01-10", "2027-01-11", False),
        ("2027-02-01", None, True),
    ],
)
def test_two_agreements_on_a_metric_never_share_a_day(agree, start, end, is_free):
    """One holds from 1 to 31 January 2027."""
    agree(start="2027-01-01", end="2027-02-01")
    if is_free:
        assert agree(start=start, end=end)
        return
    with pytest.raises(Overlaps, match="from 1 January 2027 until 31 January 2027"):
        agree(start=start, end=end)
    assert Override.objects.count() == 1


def test_without_an_end_every_later_day_is_taken(agree):
    agree()
    with pytest.raises(Overlaps, match="from 1 December 2026 already"):
        agree(start="2030-01-01")
    assert agree(start="2026-11-20", end="2026-12-01")


def test_other_metrics_and_other_services_are_free(agree, service, setting):
    disk = a_setting(service.product, DISK)
    priced(disk, ("0", "1"), notation="above")
    agree()
    assert agree(setting=disk)
    assert agree(service=a_service(service.product, a_client("Other")))


def test_a_metric_without_a_price_has_nothing_to_agree_on(agree, service):
    disk = a_setting(service.product, DISK)
    with pytest.raises(NoPrice, match="no price in USD"):
        agree(setting=disk)
    priced(disk, ("0", "1"), currency="EUR", notation="above")
    with pytest.raises(NoPrice):
        agree(setting=disk)
    assert agree(setting=disk, own_prices=own(("0", "1")))


def test_a_price_that_is_planned_for_these_days_is_enough(agree, service):
    disk = a_setting(service.product, DISK)
    priced(disk, ("0", "1"), notation="above", effective_from="2027-01-01")
    with pytest.raises(NoPrice):
        agree(setting=disk, end="2027-01-01")
    assert agree(setting=disk)


def test_what_the_engine_refuses_upon_the_version_in_force_is_refused(agree):
    with pytest.raises(DoesNotFit, match="version 1 of the prices: 101 is above 100"):
        agree(discount=Decimal(101))
    with pytest.raises(DoesNotFit, match="is negative"):
        agree(included=Decimal(-1))
    assert not Override.objects.exists()


def test_what_the_engine_refuses_upon_a_planned_version_is_refused_too(agree, setting):
    """10 TB are fine in GB, but more bytes than any quantity may have when the version of January counts in kB."""
    huge = {"unit": units.TB, "included": Decimal(10) ** 12}
    priced(setting, ("0", "1"), unit_code="TB", notation="above", effective_from="2026-11-01")
    priced(setting, ("0", "1"), unit_code="kB", notation="above", effective_from="2027-01-01")
    with pytest.raises(DoesNotFit, match="version 3 of the prices"):
        agree(**huge)
    assert agree(end="2027-01-01", **huge)


def test_own_prices_in_another_currency_than_the_clients_are_refused(agree):
    with pytest.raises(DoesNotFit, match="in EUR, not USD"):
        agree(own_prices=own(("0", "1")), currency="EUR")


def test_a_service_that_is_over_agrees_nothing(agree, service):
    Service.objects.update(status="terminated", terminated_on=TODAY)
    with pytest.raises(ServiceIsOver):
        agree()


def test_an_end_is_set_and_moves_to_an_earlier_day_only(service, setting, ines):
    override = agreed(service, setting, start="2026-06-01", included="20")
    overrides.end(override=override, on=date(2027, 3, 1), by=ines, today=TODAY)
    ended = overrides.end(override=override, on=date(2027, 1, 1), by=ines, today=TODAY)
    assert (ended.end, ended.last_day, ended.ended_by) == (date(2027, 1, 1), date(2026, 12, 31), ines)
    for later in (date(2027, 1, 1), date(2027, 2, 1)):
        with pytest.raises(CannotEnd, match="It ends on 31 December 2026 already"):
            overrides.end(override=override, on=later, by=ines, today=TODAY)
    assert Override.objects.get().end == date(2027, 1, 1)


def test_an_end_never_reaches_back(service, setting, ines):
    override = agreed(service, setting, start="2026-06-01", included="20")
    with pytest.raises(CannotEnd, match="before 18 November 2026"):
        overrides.end(override=override, on=date(2026, 11, 18), by=ines, today=TODAY)
    assert overrides.end(override=override, on=TODAY, by=ines, today=TODAY).last_day == date(2026, 11, 18)


def test_what_is_planned_can_end_after_one_day_of_its_own(service, setting, ines):
    override = agreed(service, setting, start="2027-01-01", included="20")
    with pytest.raises(CannotEnd, match="before 1 January 2027"):
        overrides.end(override=override, on=date(2027, 1, 1), by=ines, today=TODAY)
    assert overrides.end(override=override, on=date(2027, 1, 2), by=ines, today=TODAY)


def test_what_is_over_stays_over(service, setting, ines):
    override = agreed(service, setting, start="2026-06-01", end="2026-07-01", included="20")
    with pytest.raises(CannotEnd, match="30 June 2026 already"):
        overrides.end(override=override, on=TOMORROW, by=ines, today=TODAY)


def test_what_has_not_begun_is_withdrawn_and_the_log_says_who_did(service, setting, ines):
    override = agreed(service, setting, ("0", "1"), start="2026-11-20")
    overrides.withdraw(override=override, by=ines, today=TODAY)
    assert not Override.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.user, entry.is_deletion()) == (ines, True)
    assert "from 20 November 2026: $1.00 per GB" in entry.change_message


@pytest.mark.parametrize("start", ["2026-11-19", "2026-06-01"])
def test_what_has_begun_stays(service, setting, ines, start):
    override = agreed(service, setting, start=start, included="20")
    with pytest.raises(CannotWithdraw):
        overrides.withdraw(override=override, by=ines, today=TODAY)
    assert Override.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_agree_at_once_the_second_sees_what_the_first_agreed(agree, service):
    """The second waits for the service's row, and then finds the days taken."""
    refused, has_started = [], threading.Event()

    def second():
        has_started.set()
        try:
            agree()
        except Overlaps as error:
            refused.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        Service.objects.select_for_update().get(pk=service.pk)
        other = threading.Thread(target=second)
        other.start()
        has_started.wait(5)
        agree()
        other.join(0.3)
        assert other.is_alive()
    other.join(10)
    assert len(refused) == 1
    assert Override.objects.count() == 1


def test_the_state_of_an_agreement_is_that_of_the_day(service, setting):
    override = agreed(service, setting, start="2026-11-19", end="2026-11-21", included="20")
    days = [TODAY + timedelta(days=number) for number in (-1, 0, 1, 2)]
    assert [override.state(day) for day in days] == ["planned", "now", "now", "over"]
