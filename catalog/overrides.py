"""Deeds on overrides: agree other terms with one service, let them end, and take back what has not begun.

An agreement is never changed, save for its end. What began on its days keeps its terms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.db.models import ProtectedError, Q
from django.utils.translation import gettext as _

from catalog.in_force import Agreed, agreed_pricing
from catalog.models import OVER, MetricSetting, Override, OverridePrice, PricingVersion, Service, User
from catalog.pricing import ONE, ZERO, Pricing, PricingError
from catalog.wording import agreed_days
from metering import dates
from metering.units import Unit

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Agreement:
    """What is to be agreed for one metric of one service, before it is an override.

    Quantities are in the unit, and prices in the currency. `own_prices` include nothing by themselves.
    """

    unit: Unit
    currency: str
    included: Decimal | None = None
    discount: Decimal = ZERO
    own_prices: Pricing | None = None

    @property
    def has_own_prices(self) -> bool:
        return self.own_prices is not None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of its own, so that all stays as for everybody."""
        return self.included is None and not self.discount and self.own_prices is None


class CannotAgree(Exception):
    """Terms that cannot be agreed. The message says why, `field` which part of them is in the way."""

    field: ClassVar[str] = "starts_on"


class NothingAgreed(CannotAgree):
    field = "included"

    def __init__(self) -> None:
        super().__init__(_("Agree a quantity included, a discount or prices: without one of them nothing changes"))


class NoReason(CannotAgree):
    field = "reason"

    def __init__(self) -> None:
        super().__init__(_("Say why; the client reads it"))


class EndsBeforeItStarts(CannotAgree):
    field = "last_day"

    def __init__(self) -> None:
        super().__init__(_("Must not be before the first day"))


class CannotBackdate(CannotAgree):
    """Days that are over need the permission to back-date."""

    def __init__(self, today: date) -> None:
        super().__init__(_("Choose %(day)s or a later day") % {"day": dates.full_day(today)})


class Overlaps(CannotAgree):
    """A metric of a service has one agreement at a time."""

    def __init__(self, other: Override) -> None:
        words = _("Other terms are agreed %(days)s already. End or withdraw them first, or choose other days")
        super().__init__(words % {"days": agreed_days(other.start, other.end)})
        self.other = other


class ServiceIsOver(CannotAgree):
    def __init__(self) -> None:
        super().__init__(_("The service is over, nothing of it is billed again"))


class NoPrice(CannotAgree):
    """Without a price there is nothing to include, to discount or to replace."""

    def __init__(self, currency: str) -> None:
        words = _("The product has no price in %(currency)s for this metric on these days")
        super().__init__(words % {"currency": currency})


class DoesNotFit(CannotAgree):
    """What is agreed cannot be put upon a version of the product's prices."""

    field = "included"

    def __init__(self, version: PricingVersion, error: PricingError) -> None:
        words = _("Does not fit version %(number)s of the prices: %(reason)s")
        super().__init__(words % {"number": version.number, "reason": error.reason})


class CannotEnd(Exception):
    """An agreement cannot end on that day. The message says why."""


class CannotWithdraw(Exception):
    """An agreement that has begun, or that is on an invoice, stays. It can be ended."""


@transaction.atomic
def agree(
    *,
    service: Service,
    setting: MetricSetting,
    agreement: Agreement,
    start: date,
    end: date | None,
    reason: str,
    by: User,
    today: date,
) -> Override:
    """Write what was agreed for a metric of a service, for periods that begin on the days `[start, end)`.

    Raises CannotAgree, by one of its kinds, and writes nothing then.
    """
    service = Service.objects.select_for_update(of=("self",)).select_related("client").get(pk=service.pk)
    setting = MetricSetting.objects.with_pricing().get(pk=setting.pk, product=service.product_id)
    reason = reason.strip()
    _check_terms(agreement, start, end, reason)
    if start < today and not by.has_perm("catalog.backdate_pricing"):
        raise CannotBackdate(today)
    if service.status in OVER:
        raise ServiceIsOver
    if other := _overlapping(service, setting, start, end):
        raise Overlaps(other)
    _check_fit(agreement, setting, service.currency, start, end)
    return _written(agreement, service=service, setting=setting, start=start, end=end, reason=reason, created_by=by)


@transaction.atomic
def end(*, override: Override, on: date, by: User, today: date) -> Override:
    """Let an agreement end, so that nothing that begins on a day or later has its terms. Raises CannotEnd.

    The day is today or later, and leaves the agreement one day at least. An end that is set already only
    moves to an earlier day: for later days something else may be agreed.
    """
    override = _locked(override)
    if override.end is not None and override.end <= on:
        last = dates.full_day(override.end - ONE_DAY)
        raise CannotEnd(_("It ends on %(day)s already, and only an earlier day can be set.") % {"day": last})
    if on < (earliest := earliest_end(override, today)):
        first = dates.full_day(earliest - ONE_DAY)
        raise CannotEnd(_("Its last day cannot be before %(day)s.") % {"day": first})
    override.end, override.ended_by = on, by
    override.save(update_fields=["end", "ended_by"])
    return override


@transaction.atomic
def withdraw(*, override: Override, by: User, today: date) -> None:
    """Take back what has not begun, as if it had never been agreed; the log of the admin area keeps who did.

    Raises CannotWithdraw for an agreement that has begun, and for one that a line of an invoice refers to.
    """
    override = _locked(override)
    if override.start <= today:
        raise CannotWithdraw
    LogEntry.objects.log_actions(
        by.pk, Override.objects.filter(pk=override.pk), DELETION, change_message=override.sentence, single_object=True
    )
    try:
        override.delete()
    except ProtectedError:
        raise CannotWithdraw from None


def earliest_end(override: Override, today: date) -> date:
    """Return the first day on which an agreement can have ended: what it held for is over, or it held one day."""
    return max(today, override.start + ONE_DAY)


def versions_between(setting: MetricSetting, start: date, end: date | None) -> list[PricingVersion]:
    """Return the versions in force on the days `[start, end)`, the planned ones too. Needs `with_pricing`."""
    days = {version.effective_from for version in setting.all_versions}
    later = sorted(day for day in days if day > start and (end is None or day < end))
    found = [setting.version_on(day) for day in (start, *later)]
    return list(dict.fromkeys(version for version in found if version is not None))


def _check_terms(agreement: Agreement, start: date, end: date | None, reason: str) -> None:
    if agreement.is_empty:
        raise NothingAgreed
    if end is not None and end <= start:
        raise EndsBeforeItStarts
    if not reason:
        raise NoReason


def _overlapping(service: Service, setting: MetricSetting, start: date, end: date | None) -> Override | None:
    others = Override.objects.filter(service=service, setting=setting).filter(Q(end=None) | Q(end__gt=start))
    return (others if end is None else others.filter(start__lt=end)).first()


def _check_fit(agreement: Agreed, setting: MetricSetting, currency: str, start: date, end: date | None) -> None:
    """Let the engine judge it upon every version that it meets."""
    pricings = list(_agreed_pricings(agreement, setting, currency, start, end))
    if not any(pricings):
        raise NoPrice(currency)


def _agreed_pricings(
    agreement: Agreed, setting: MetricSetting, currency: str, start: date, end: date | None
) -> Iterator[Pricing | None]:
    for version in versions_between(setting, start, end):
        try:
            yield agreed_pricing(version, agreement, currency)
        except PricingError as error:
            raise DoesNotFit(version, error) from error


def _written(agreement: Agreement, **values: object) -> Override:
    own = agreement.own_prices
    override = Override.objects.create(
        unit_code=agreement.unit.code,
        currency=agreement.currency,
        included=agreement.included,
        discount=agreement.discount,
        scheme=own.scheme if own else "",
        notation=own.notation if own else "",
        package_size=own.package_size if own else ONE,
        **values,
    )
    OverridePrice.objects.bulk_create(
        OverridePrice(override=override, start=bracket.start, unit_price=bracket.unit_price, flat_fee=bracket.flat_fee)
        for bracket in (own.brackets if own else ())
    )
    return override


def _locked(override: Override) -> Override:
    """Return an override as it is now; its service is locked until the end of the deed."""
    Service.objects.select_for_update(of=("self",)).get(pk=override.service_id)
    return Override.objects.select_related("service", "setting__metric", "setting__product").get(pk=override.pk)
