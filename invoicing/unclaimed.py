"""Usage that nobody is billed for: tenants that no living service claims, what they would bring, and attaching them.

A tenant is attached from a day on. What it used since comes along; what it used before, or while another service had
it, never does.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.utils.translation import gettext as _

from catalog import orders
from catalog.models import OVER, Client, Product, Service
from catalog.orders import CannotOrder, Order
from catalog.terms import Cycle, number_at
from invoicing import cuts, drafts, unbilled
from invoicing.billable import PeriodKey
from invoicing.cuts import Cut
from invoicing.drafts import CannotBill, Draft, DraftLine
from invoicing.models import BilledPeriod, Claim, Deferral
from invoicing.prices import Catalog
from invoicing.reasons import retold
from invoicing.termination import is_waiting
from metering import dates
from metering.decimals import exact_sum
from metering.models import Tenant
from metering.periods import Period, local_day
from metering.prepared import execute

#: The first day of usage of tenants, of periods that were over when they were first seen: a month that was open then is
#: theirs from the day on which they were seen.
_BEFORE = """
SELECT u.tenant_id, min(u.start) FROM unnest(%s::integer[], %s::date[]) AS seen (tenant_id, day)
JOIN metering_usage u ON u.tenant_id = seen.tenant_id AND u.start < seen.day AND u."end" <= seen.day
GROUP BY u.tenant_id"""


class CannotAttach(Exception):
    """A tenant cannot be attached so. The message says why and what to do."""


def tenants() -> QuerySet[Tenant]:
    """Return the tenants that servers report and that no living service has."""
    return Tenant.objects.filter(is_claimed=False, first_seen_at__isnull=False, missing_since=None)


# ---- from which day on


@dataclass(frozen=True, slots=True)
class Earliest:
    """The first day from which a tenant's usage may be billed, and why not before."""

    day: date
    why: str


def earliest(chosen: Sequence[Tenant]) -> dict[int, Earliest]:
    """Return by id from which day on each tenant may be billed, in five queries: since it was first seen, or from its
    first day that was pushed or imported later, and since no other service has it any more. Needs their servers."""
    found = {one.pk: Earliest(_first_seen(one), _("it was first seen then")) for one in chosen}
    for tenant, day in execute(_BEFORE, [list(found), [each.day for each in found.values()]], about=len(found)):
        found[tenant] = Earliest(day, _("nothing that it used before is known"))

    def not_before(tenant: int, day: date, why: str) -> None:
        if day > found[tenant].day:
            found[tenant] = Earliest(day, why)

    over = Service.objects.filter(tenant__in=chosen, status__in=OVER, terminated_on__isnull=False)
    for tenant, day, name in over.values_list("tenant_id", "terminated_on", "name"):
        assert day is not None  # as filtered
        not_before(tenant, day, _("%(service)s had it until then") % {"service": name})
    had = _("another service had it until then")
    billed = BilledPeriod.objects.filter(tenant_id__in=found).order_by()
    for tenant, day in billed.filter(is_open=False).values_list("tenant_id").annotate(Max("end")):
        not_before(tenant, day, had)
    # Where a service got another tenant, its open periods were billed up to then; the rest of them is free.
    opened = list(billed.filter(is_open=True).values_list("tenant_id", "service_id", "start", "end"))
    changes = defaultdict(list)
    claims = Claim.objects.filter(
        service__in={service for _tenant, service, _start, _end in opened}, kind=Claim.Kind.CHANGE
    )
    for service, day in claims.values_list("service_id", "term_start"):
        changes[service].append(day)
    for tenant, service, start, end in opened:
        not_before(tenant, max([start, *(day for day in changes[service] if start <= day < end)]), had)
    return found


def _first_seen(tenant: Tenant) -> date:
    assert tenant.first_seen_at is not None  # or nothing is known to be billed
    return local_day(tenant.first_seen_at, tenant.server.zone)


# ---- what a month would have brought


@dataclass(frozen=True, slots=True)
class Quote:
    """What an invoice would have said of a tenant's usage in a month, or why it would not."""

    lines: list[DraftLine] = field(default_factory=list)
    is_waiting: bool = False
    problem: str = ""

    @property
    def amount(self) -> Decimal:
        return exact_sum(line.amount for line in self.lines)


def quotes(chosen: Sequence[Tenant], product: Product, currency: str, month: Period) -> dict[int, Quote]:
    """Return by id what the usage of a closed month would have brought under a product: what an invoice of the day
    after it would have billed, by the same code and at the prices of then.

    Only tenants on servers of the product's provider have one. It takes the same few queries for any number.
    """
    fitting = [one for one in chosen if one.server.provider == product.provider]
    begins = earliest(fitting)
    catalog = Catalog.read([product.pk])
    found = {
        one.pk: Quote(
            problem=_("billable from %(day)s on: %(why)s")
            % {"day": dates.full_day(begins[one.pk].day), "why": begins[one.pk].why}
        )
        for one in fitting
        if begins[one.pk].day >= month.end
    }
    services = [
        # None of these is ever saved, so their numbers are nobody's.
        Service(
            pk=-one.pk,
            client=Client(currency=currency),
            product=product,
            tenant=one,
            name=one.key,
            status=Service.Status.ACTIVE,
            cycle=Cycle.MONTHLY,
            anchor=month.start,
            next_term=1,
            next_due_on=month.end,
            metered_from=max(begins[one.pk].day, month.start),
        )
        for one in fitting
        if one.pk not in found
    ]
    terms = [cuts.of_term(service, 1, month.end) for service in services]
    usage = unbilled.find(terms, catalog.settings, granted={}, spans=catalog.spans, has=frozenset({BilledPeriod}))
    for service in services:
        assert service.tenant_id is not None
        try:
            draft = drafts.of_usage(service, usage[service.pk])
        except CannotBill as error:
            found[service.tenant_id] = Quote(problem=retold(str(error)))
        else:
            found[service.tenant_id] = Quote(draft.lines, is_waiting=bool(draft.waiting))
    return found


# ---- attaching


@dataclass(frozen=True)
class Coming:
    """What comes along with a tenant: what is billed with the first invoice of a new service, and what was used
    so far of what is billed with the next one."""

    service: Service
    since: date
    first: Draft | None
    so_far: Draft

    @property
    def amount(self) -> Decimal:
        return exact_sum([self.so_far.total, *([self.first.total] if self.first else [])])


def preview(*, tenant: Tenant, to: Service | Order, since: date, at: datetime) -> Coming:
    """Return what would come along. Nothing is kept. Raises CannotAttach and drafts.CannotBill."""
    with transaction.atomic():
        coming = _attached(tenant, to, since, at)
        transaction.set_rollback(True)
    return coming


def attach(*, tenant: Tenant, to: Service | Order, since: date, at: datetime, amount: Decimal) -> Coming:
    """Give a tenant to a service that has none, or to a new one, with what it used from a day on.

    `amount` is what the person was shown that it comes to. Raises CannotAttach, also when that is not what it
    comes to now, and drafts.CannotBill.
    """
    try:
        with transaction.atomic():
            coming = _attached(tenant, to, since, at)
            if coming.amount != amount:
                raise CannotAttach(_("What comes along is another amount by now. Look at it again."))
    except IntegrityError as error:
        told = {"tenant": tenant}
        raise CannotAttach(_("Somebody else attached %(tenant)s in this moment. Look at it again.") % told) from error
    return coming


def _attached(tenant: Tenant, to: Service | Order, since: date, at: datetime) -> Coming:
    # One at a time: the row of the tenant is the lock.
    tenant = Tenant.objects.select_for_update(of=("self",)).select_related("server").get(pk=tenant.pk)
    today = dates.site_day(at)
    _check_free(tenant)
    first_day = earliest([tenant])[tenant.pk]
    if since < first_day.day:
        told = {"day": dates.full_day(first_day.day), "why": first_day.why}
        raise CannotAttach(_("Its usage can be billed from %(day)s on, not before: %(why)s.") % told)
    if since > max(today, local_day(at, tenant.server.zone)):
        raise CannotAttach(
            _("%(day)s is still to come. Choose today or an earlier day.") % {"day": dates.full_day(since)}
        )
    service = _made(to, tenant, since, today) if isinstance(to, Order) else _joined(to, tenant, since)
    current = service.current_term
    if current.end < today:
        told = {"service": str(service), "day": dates.full_day(current.end)}
        if isinstance(to, Order):
            raise CannotAttach(_("Its first term would have ended on %(day)s already. Let it start later.") % told)
        raise CannotAttach(_("The term of %(service)s that began on %(day)s is not billed yet. Bill it first.") % told)
    catalog = Catalog.read([service.product_id])
    _let_levels_wait(service, catalog, since, at)
    first: Draft | None = None
    taken: set[PeriodKey] = set()
    if not service.next_term and since < service.anchor <= today:
        [found] = unbilled.find([Cut(service, None, 0, service.anchor)], catalog.settings).values()
        first = drafts.of_usage(service, found)
        lines = [(line.setting.metric_id, line.items) for line in first.lines if line.setting]
        taken = {(tenant.pk, metric, item.start) for metric, items in lines for item in items}
    cut = cuts.to_date(service, local_day(at, tenant.server.zone))
    so_far = drafts.of_usage(service, unbilled.find([cut], catalog.settings, taken=taken)[service.pk])
    _forget_empty_levels(service, so_far, at)
    return Coming(service, since, first, so_far)


def _check_free(tenant: Tenant) -> None:
    if tenant.first_seen_at is None:
        told = {"tenant": tenant, "server": tenant.server}
        raise CannotAttach(_("%(tenant)s was never seen on %(server)s. Collect it first.") % told)
    for other in Service.objects.filter(tenant=tenant):
        if other.status not in OVER:
            raise CannotAttach(
                _("%(tenant)s on %(server)s is the tenant of %(other)s. Terminate that service first.")
                % {"tenant": tenant, "server": tenant.server, "other": other}
            )
        if is_waiting(other):
            raise CannotAttach(
                _("The last invoice of %(service)s, which had it, still waits for its server. Make it first.")
                % {"service": other}
            )


def _joined(to: Service, tenant: Tenant, since: date) -> Service:
    services = Service.objects.select_related("client", "product", "tenant__server")
    service = services.select_for_update(of=("self",)).get(pk=to.pk)
    if service.status in OVER:
        raise CannotAttach(
            _("%(service)s is %(status)s. Choose a service that is not over.")
            % {"service": service, "status": service.get_status_display().lower()}
        )
    if service.tenant_id is not None:
        raise CannotAttach(
            _("%(service)s has the tenant %(tenant)s already. Change that on its own page.")
            % {"service": service, "tenant": service.tenant}
        )
    _check_provider(service.product, tenant)
    service.tenant, service.metered_from = tenant, since
    service.save(update_fields=["tenant", "metered_from"])
    return service


def _made(order: Order, tenant: Tenant, since: date, today: date) -> Service:
    _check_provider(order.product, tenant)
    try:
        return orders.place(order, today=today, tenant=tenant, metered_from=since if since != order.start else None)
    except CannotOrder as error:
        raise CannotAttach(str(error)) from error


def _check_provider(product: Product, tenant: Tenant) -> None:
    if product.provider != tenant.server.provider:
        told = {"product": product, "provider": product.provider, "server": tenant.server}
        if not product.provider:
            raise CannotAttach(_("%(product)s is metered by nothing, and %(server)s is not one of those.") % told)
        raise CannotAttach(_("%(product)s is metered by %(provider)s, and %(server)s is not one of those.") % told)


def _let_levels_wait(service: Service, catalog: Catalog, since: date, at: datetime) -> None:
    """The levels of terms that are billed already come along with the next invoice."""
    begins = max(since, service.anchor)
    numbers = range(number_at(service.anchor, service.clock, begins), service.next_term - 1)
    rows = [
        Deferral(
            service=service,
            setting=setting,
            start=max(each.start, begins),
            end=each.end,
            reason="it came along with its tenant",
            since=at,
        )
        for each in map(service.term, numbers)
        for setting in catalog.settings.get(service.product_id, ())
        if not setting.metric.adds_up
    ]
    Deferral.objects.bulk_create(rows)


def _forget_empty_levels(service: Service, so_far: Draft, at: datetime) -> None:
    """What was not measured, or was off, does not wait."""
    billed = {(line.setting.pk, item.start) for line in so_far.lines if line.setting for item in line.items}
    waits = Deferral.objects.filter(service=service, since=at)
    empty = [one.pk for one in waits if (one.setting_id, one.start) not in billed]
    Deferral.objects.filter(pk__in=empty).delete()
