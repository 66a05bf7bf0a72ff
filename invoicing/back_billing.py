"""Billing what was used while a metric or usage invoicing was off: only when a person says so, having seen it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from catalog.models import MetricSetting, Service, User
from catalog.terms import number_at
from invoicing import drafts, unbilled
from invoicing.billable import Billable, Item, Unbilled
from invoicing.cuts import Cut
from invoicing.drafts import DraftLine
from invoicing.models import BackBilling, BilledPeriod, Deferral
from invoicing.prices import Catalog
from metering.decimals import exact_sum
from metering.language import in_digits
from metering.periods import Period
from metering.units import Unit

#: When the rows began to wait that are rolled back at once.
NEVER_KEPT = datetime.min.replace(tzinfo=UTC)


class NothingToBill(Exception):
    """There is no usage that was left out, or another amount of it than was shown. The message says which."""


@dataclass(frozen=True)
class Excluded:
    """What a metric of a service used while it was off, in periods that are over, and what it would bring."""

    setting: MetricSetting
    period: Period
    lines: list[DraftLine]

    @property
    def amount(self) -> Decimal:
        return exact_sum(line.amount for line in self.lines)

    @property
    def last_day(self) -> date:
        return self.period.end - timedelta(days=1)

    @property
    def unit(self) -> Unit:
        return self.setting.metric.unit

    @property
    def items(self) -> list[tuple[Item, Decimal]]:
        """Its periods, each with its quantity in the metric's unit."""
        return [(item, self.unit.from_base(item.value)) for line in self.lines for item in line.items]


def excluded(service: Service, on: date) -> list[Excluded]:
    """Return what would be billed besides, by metric, if nothing had ever been off. Raises drafts.CannotBill."""
    if service.tenant_id is None:
        return []
    catalog = Catalog.read([service.product_id])
    settings = catalog.settings.get(service.product_id, [])
    cut = Cut(service, None, 0, on)
    ever = [Period(date.min, date.max)]
    with transaction.atomic():
        # A level of a term that is over is billed only if the term waits; so let all of them, for a moment.
        Deferral.objects.bulk_create(_past_levels(service, settings, on), ignore_conflicts=True)
        everything = unbilled.find([cut], catalog.settings, granted={(service.pk, each.pk): ever for each in settings})
        as_it_is = unbilled.find([cut], catalog.settings)[service.pk].billable
        transaction.set_rollback(True)
    known = {(one.setting.metric_id, item.start, item.part) for one in as_it_is for item in one.items}
    billed = BilledPeriod.objects.filter(tenant_id=service.tenant_id)
    known.update(billed.values_list("metric_id", "start", "part"))
    found: dict[int, list[Billable]] = {}
    for one in everything[service.pk].billable:
        if items := [item for item in one.items if (one.setting.metric_id, item.start, item.part) not in known]:
            found.setdefault(one.setting.pk, []).append(Billable(one.setting, one.in_force, items))
    return [
        Excluded(
            setting=group[0].setting,
            period=Period(
                min(item.start for one in group for item in one.items),
                max(item.end for one in group for item in one.items),
            ),
            lines=drafts.usage_lines(service, Unbilled(group)),
        )
        for group in found.values()
    ]


@transaction.atomic
def grant(
    *, service: Service, setting: MetricSetting, amount: Decimal, reason: str, on: date, at: datetime, by: User | None
) -> BackBilling:
    """Let what was left out go on the next invoice. `amount` is what the person was shown that it comes to.

    Raises NothingToBill when that is not what it comes to now, and drafts.CannotBill.
    """
    service = (
        Service.objects.select_for_update(of=("self",))
        .select_related("client", "product", "tenant__server")
        .get(pk=service.pk)
    )
    if not service.is_billable:
        told = {"service": service, "status": service.get_status_display().lower()}
        raise NothingToBill(_("%(service)s is %(status)s and has no next invoice.") % told)
    one = next((each for each in excluded(service, on) if each.setting.pk == setting.pk), None)
    if one is None:
        raise NothingToBill(
            _("No usage of %(metric)s was left out, or it is billed by now.") % {"metric": setting.metric}
        )
    if one.amount != amount:
        told = {"amount": in_digits(f"{one.amount:f}")}
        raise NothingToBill(_("It comes to another amount by now: %(amount)s. Look at it again.") % told)
    if not setting.metric.adds_up:
        # A level is billed with the term that closes, or with one that waits.
        common = {
            "service": service,
            "setting": setting,
            "reason": "it was left out, and is billed after all",
            "since": at,
        }
        waits = [Deferral(start=item.start, end=item.end, **common) for item, _quantity in one.items]
        Deferral.objects.bulk_create(waits, ignore_conflicts=True)
    return BackBilling.objects.create(
        service=service,
        setting=setting,
        start=one.period.start,
        end=one.period.end,
        reason=reason,
        at=at,
        by=by,
    )


def _past_levels(service: Service, settings: Iterable[MetricSetting], on: date) -> Iterator[Deferral]:
    """The levels of the terms before the one that closes next, as if they waited."""
    begins = max(service.begins, service.anchor)  # what was used before the first term has no levels
    first = number_at(service.anchor, service.clock, begins)
    terms = [service.term(number) for number in range(first, service.next_term - 1)]
    for setting in settings:
        for term in terms if not setting.metric.adds_up else ():
            if term.end <= on:
                yield Deferral(
                    service=service, setting=setting, start=max(term.start, begins), end=term.end, since=NEVER_KEPT
                )
