"""The deed of correcting: staff say what the usage of a closed period was, and why.

What was read stays as it is; the correction is a reading of its own. No collection overwrites it, and a
note of it is left for whoever built on what the usage was before.
"""

from datetime import UTC, date, datetime
from decimal import Decimal

from django.contrib.auth.base_user import AbstractBaseUser
from django.utils.translation import gettext as _

from metering import dates, partitions, server_lock
from metering.acceptable import MAX_YEARS, checked
from metering.models import Correction, Metric, Reading, Restated, Server, Tenant, Usage
from metering.periods import Period, local_day

#: How long a correction waits for a collection of the same server, as PostgreSQL writes it.
WAIT = "3s"


class CannotCorrect(ValueError):
    """The correction was refused. The message says why, for the person who made it."""


def in_words(period: Period) -> str:
    """`30 October 2026` for a day, `October 2026` for a month."""
    return dates.full_day(period.start) if period.days == 1 else dates.month(period.start)


def is_over(period: Period, server: Server, at: datetime) -> bool:
    """Whether a period has ended by an instant, in the server's time zone."""
    return local_day(at, server.zone) >= period.end


def correct(
    *,
    tenant: Tenant,
    metric: Metric,
    start: date,
    value: Decimal,
    reason: str,
    by: AbstractBaseUser | None,
    at: datetime,
) -> Correction:
    """Let `value`, in the base of the metric's unit, count for the period that begins on `start`.

    The tenant's latest value stays: it is what the server says now. A corrected period may be corrected
    again.

    Raises CannotCorrect when the period is none of the metric, has not ended or lies more than MAX_YEARS
    back, when the value is no quantity or is what counts already, and when there is no reason. Raises Busy
    when a collection of the server goes on for longer than WAIT.
    """
    server, reason = tenant.server, reason.strip()
    period = metric.period_of(start)
    _check(metric, server, start, period, at)
    _check_value(value)
    if not reason:
        raise CannotCorrect(_("A correction needs a reason."))
    correction = Correction(tenant=tenant, metric=metric, value=value, reason=reason, at=at)
    if by is not None:
        correction.by_id = by.pk
    busy = _("A collection of %(server)s is running. Nothing was corrected; try again when it has ended.")
    with server_lock.alone(server, wait=WAIT, busy=busy % {"server": server}):
        return _correct(correction, period)


def _check(metric: Metric, server: Server, start: date, period: Period, at: datetime) -> None:
    if metric.provider != server.provider:
        raise CannotCorrect(_("%(metric)s is not measured on %(server)s.") % {"metric": metric, "server": server})
    if start != period.start:
        words = _("%(metric)s counts by calendar month, and %(day)s is not the first day of one.")
        raise CannotCorrect(words % {"metric": metric, "day": dates.full_day(start)})
    if not is_over(period, server, at):
        words = _(
            "%(period)s is not over in %(zone)s, the time zone of %(server)s. What is read until its end would replace "
            "the correction."
        )
        raise CannotCorrect(words % {"period": in_words(period), "zone": server.time_zone, "server": server})
    if start.year < local_day(at, server.zone).year - MAX_YEARS:
        words = _("%(period)s lies more than %(years)s years back.")
        raise CannotCorrect(words % {"period": in_words(period), "years": MAX_YEARS})


def _check_value(value: Decimal) -> None:
    try:
        checked(value)
    except ValueError as error:
        raise CannotCorrect(f"{error}.") from None


def _correct(correction: Correction, period: Period) -> Correction:
    partitions.ensure([period.start, correction.at.astimezone(UTC).date()])
    row = {"tenant_id": correction.tenant_id, "metric_id": correction.metric_id, "start": period.start}
    usage = Usage.objects.filter(**row).first()
    if usage is not None and usage.value == correction.value:
        unit = correction.metric.unit
        told = {"period": in_words(period), "quantity": unit.write(unit.from_base(usage.value))}
        raise CannotCorrect(_("%(period)s counts %(quantity)s already.") % told)
    correction.start, correction.end = period.start, period.end
    correction.before = usage.value if usage else None
    correction.save(force_insert=True)
    value, key = {"end": period.end, "value": correction.value, "correction_id": correction.pk}, [*row]
    Reading.objects.bulk_create([Reading(**row, **value, read_at=correction.at)])
    Usage.objects.bulk_create(
        [Usage(**row, **value)],
        update_conflicts=True,
        unique_fields=key,
        update_fields=["value", "collection_id", "correction_id"],
    )
    Restated.objects.bulk_create(
        [Restated(**row, noted_at=correction.at)],
        update_conflicts=True,
        unique_fields=key,
        update_fields=["noted_at"],
    )
    return correction
