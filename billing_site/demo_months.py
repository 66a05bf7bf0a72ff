"""A year of sample data: what nobody measured, and what says so in the names of its servers and products.

It goes the way of real data: files are imported, terms are billed on their days, invoices are paid. So there is
something to see in charts, forecasts and reports. How usage goes is computed from the day alone, and is the same each
time. A site that has billed before the year was there does without it: the past of its documents is closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from io import BytesIO
from zlib import crc32

from django.db import connection
from django.utils import timezone
from django.utils.text import slugify

from audit.actors import working
from billing_site.demo import People, taxed
from billing_site.demo_plans import (
    AGREED,
    AGREED_SINCE,
    CLIENTS,
    CREDITED,
    CREDITED_AGO,
    DAYS,
    EDGE,
    FIRST,
    LATE,
    METRICS,
    PARTLY,
    PLANS,
    PRICES,
    PRODUCTS,
    RATES,
    Plan,
    Price,
)
from catalog.metric_billing import add_version, switch
from catalog.models import Client, MetricSetting, Override, Product, ProductPrice, Service, User
from catalog.overrides import Agreement, agree
from catalog.pricing import Bracket, Pricing
from catalog.sheet import Sheet
from catalog.terms import Cycle, term
from invoicing import credits, payments
from invoicing.alerts import watch
from invoicing.billing import create_invoices
from invoicing.models import Alert, Invoice, Line, Message, Receivable, Run
from invoicing.termination import terminate
from metering import dates, formats, pushing
from metering.declaring import declared_metrics
from metering.formats import Format
from metering.models import Collection, Server, Tenant
from metering.units import GB

ONE_DAY = timedelta(days=1)
#: When files come in, with the whole day, and when the run of that day is.
IMPORTED, BILLED, PAID = time(23, 50), time(23, 55), time(11)


@dataclass(frozen=True)
class Year:
    """The sample year that ended on the day of the first demo."""

    last: date

    def ago(self, days: int) -> date:
        return self.last - timedelta(days=days)

    def first_term(self, plan: Plan) -> date:
        """The day on which a service began: on a day that every month has."""
        renewed = self.ago(19 if plan.is_early else 11)
        while renewed.day > 28:
            renewed -= ONE_DAY
        months = 0
        while (begin := _months_before(renewed, months)) > self.ago(plan.started):
            months += 1
        return begin

    def dues(self) -> list[date]:
        """The days before the last on which something renews, in their order."""
        firsts = {self.first_term(plan) for plan in PLANS if plan.client}
        days = {term(first, Cycle.MONTHLY, number).start for first in firsts for number in range(DAYS // 28)}
        return sorted(day for day in days if day < self.last)


def begin(*, today: date, clients: dict[str, Client], by: User) -> Year | None:
    """Make servers, products, clients and services of the sample year, once. Returns None on a site that has billed
    before, and so has none."""
    edge = Server.objects.filter(name=EDGE).first()
    if edge is None and Run.objects.exists():
        return None
    year = Year(dates.site_day(edge.created_at) if edge else today)
    if edge is not None and Service.objects.filter(tenant__server=edge).exists():
        return year
    for name, metrics in METRICS.items():
        declared = [dict(zip(("system_name", "display_name", "type", "unit"), each, strict=True)) for each in metrics]
        Server.objects.get_or_create(name=name, defaults={"provider": "push", "settings": {"metrics": declared}})
    products = _products(year, today, by)
    known = {**clients, **_clients()}
    for plan in PLANS:
        tenant, _ = Tenant.objects.get_or_create(server=Server.objects.get(name=plan.server), key=plan.tenant)
        if plan.client:
            anchor = year.first_term(plan)
            Service.objects.create(
                client=known[plan.client],
                product=products[plan.product],
                tenant=tenant,
                name=plan.tenant,
                status=Service.Status.ACTIVE,
                cycle=Cycle.MONTHLY,
                anchor=anchor,
                next_due_on=anchor,
            )
    _agree(year, today, by)
    # They have been clients for as long as they were billed.
    Client.objects.filter(name__in=CLIENTS).update(created_at=_at(year.ago(DAYS + 31), PAID))
    return year


def bill(*, year: Year, before: date, by: User) -> None:
    """Do what is due before a day and was not done yet: files come in, terms are billed, invoices are paid."""
    newest = Run.objects.order_by("-on").values_list("on", flat=True).first() or date.min
    for day in year.dues():
        if newest < day < before:
            for server in Server.objects.filter(name__in=METRICS):
                bring(server=server, year=year, at=_at(day, IMPORTED), by=by)
            _change(year, day)
            run = create_invoices(on=day, at=_at(day, BILLED)).run
            _credit(year, day, run)
            # Nobody waits for a mail about an invoice of months ago.
            Message.objects.filter(invoice__run=run, kind=Message.Kind.ISSUED).delete()
            if day.month % 3 == 0:
                _analyze()


def catch_up(*, year: Year, clients: dict[str, Client], at: datetime, people: People) -> None:
    """Bring usage up to now, and do what people did with the year: they paid, and the client set alerts."""
    for server in Server.objects.filter(name__in=METRICS):
        bring(server=server, year=year, at=at, by=people.staff, share=_share(at))
    with working(user=people.staff.pk, name=str(people.staff)):
        pay(year=year, at=at, by=people.staff)
    with working(user=people.client.pk, name=str(people.client)):
        set_alerts(clients=clients, by=people.client, at=at)


def bring(*, server: Server, year: Year, at: datetime, by: User, share: float = 1) -> None:
    """Import what a server's tenants used up to a day, of which a share is over, and that was not imported yet."""
    today = dates.site_day(at)
    newest = Collection.objects.filter(server=server).order_by("-as_of").values_list("as_of", flat=True).first()
    since = dates.site_day(newest) if newest else year.ago(DAYS + 31)
    if newest and since >= today:
        return
    rows = [row for plan in PLANS if plan.server == server.name for row in _rows(plan, year, since, today, share)]
    content = "\n".join(["tenant,metric,value,period", *rows]).encode()
    name = f"{server.name.split()[0]}-{today}.csv"
    pushing.push(
        server=server,
        lines=formats.read(BytesIO(content), Format.CSV, pushing.MAX_FILE_LINES),
        at=at,
        size=len(content),
        file=pushing.File(name, sha256(content).hexdigest(), by),
    )


def pay(*, year: Year, at: datetime, by: User) -> None:
    """Most invoices of the year are paid a while after they were issued. One is owed, and of one a part is."""
    today = dates.site_day(at)
    unpaid = Receivable.objects.filter(invoice__issued_on__lt=today, left__gt=0, invoice__payments=None)
    sample = unpaid.filter(invoice__lines__service__tenant__server__name__in=METRICS).distinct()
    has_paid_a_part = False
    for row in sample.select_related("invoice__client").order_by("-invoice__entry"):
        invoice, client = row.invoice, row.invoice.client.name
        day = invoice.issued_on + timedelta(days=4 + crc32(invoice.number.encode()) % 9)
        if day > today or (client == LATE and invoice.issued_on > year.ago(40)):
            continue
        is_part = client == PARTLY and not has_paid_a_part
        has_paid_a_part |= is_part
        amount = (row.left / 2).quantize(Decimal(1)) if is_part else row.left
        payments.record(
            invoice=invoice,
            amount=amount,
            received_on=day,
            method="card" if crc32(client.encode()) % 3 == 0 else "bank transfer",
            reference="Sample data",
            by=by,
            at=_at(day, PAID),
            key=f"sample-{invoice.number}",
        )


def set_alerts(*, clients: dict[str, Client], by: User, at: datetime) -> None:
    """A bound of the demo's client that is crossed, and a budget that is not, once."""
    client = clients[FIRST]
    cdn = Service.objects.select_related("product").get(tenant__server__name=EDGE, client=client)
    if Alert.objects.filter(service=cdn).exists():
        return
    egress = MetricSetting.objects.get(product=cdn.product, metric__system_name="egress")
    own = {"client": client, "created_by": by, "created_at": at, "service": cdn}
    Alert.objects.bulk_create(
        [
            Alert(setting=egress, measure=Alert.Measure.SHARE, bound=Decimal(60), **own),
            Alert(measure=Alert.Measure.AMOUNT, currency=client.currency, bound=Decimal(150), **own),
        ]
    )
    watch(at=at)


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, day.day)


def _at(day: date, clock: time) -> datetime:
    return timezone.make_aware(datetime.combine(day, clock))


def _share(at: datetime) -> float:
    """How much of a day is over."""
    local = timezone.localtime(at)
    return (local.hour * 60 + local.minute) / 1440


def _clients() -> dict[str, Client]:
    return {
        name: Client.objects.get_or_create(
            name=name,
            defaults={"currency": currency, "language": language, "email": email, "address": address, **taxed(name)},
        )[0]
        for name, (currency, language, email, address) in CLIENTS.items()
    }


def _in(currency: str, dollars: str) -> Decimal:
    """A price in another currency, to two figures."""
    amount = Decimal(dollars) * Decimal(RATES[currency])
    if currency == "USD" or not amount:
        return Decimal(dollars)
    return amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1))


def _products(year: Year, today: date, by: User) -> dict[str, Product]:
    products = {
        name: Product.objects.get_or_create(name=name, defaults={"provider": "push", "slug": slugify(name)})[0]
        for name in PRODUCTS
    }
    ProductPrice.objects.bulk_create(
        [
            ProductPrice(product=product, cycle=Cycle.MONTHLY, currency=currency, amount=_in(currency, PRODUCTS[name]))
            for name, product in products.items()
            for currency in RATES
        ],
        ignore_conflicts=True,
    )
    metrics = {each.system_name: each for each in declared_metrics("push")}
    for price in PRICES:
        setting, _ = MetricSetting.objects.get_or_create(product=products[price.product], metric=metrics[price.metric])
        since = year.ago(price.ago).replace(day=1)
        switch(setting=setting, on=True, day=since)
        if setting.versions.filter(effective_from=since).exists():
            continue
        add_version(
            setting=setting,
            sheet=Sheet(
                setting.metric.unit,
                {currency: _pricing(price, currency) for currency in RATES},
                aggregation=price.aggregation,
            ),
            effective_from=since,
            today=today,
            by=by,
            reason=price.reason,
        )
    return products


def _pricing(price: Price, currency: str) -> Pricing:
    return Pricing(
        price.scheme,
        tuple(Bracket(Decimal(start), _in(currency, amount)) for start, amount in price.brackets),
        Decimal(price.included),
        price.notation,
        Decimal(price.package),
        _in(currency, price.minimum) if price.minimum else None,
    )


def _agree(year: Year, today: date, by: User) -> None:
    """One client includes more than the others."""
    service = Service.objects.select_related("client", "product").get(name=AGREED)
    setting = MetricSetting.objects.get(product=service.product, metric__system_name="egress")
    if not Override.objects.filter(service=service).exists():
        agree(
            service=service,
            setting=setting,
            agreement=Agreement(GB, service.currency, included=Decimal(2000)),
            start=year.ago(AGREED_SINCE),
            end=None,
            reason="Agreed for three years, when they moved all their depots here.",
            by=by,
            today=today,
        )


def _rows(plan: Plan, year: Year, since: date, today: date, share: float) -> Iterator[str]:
    """The lines of a tenant's days from `since` to today, of which a `share` is over."""
    anchor = year.first_term(plan) if plan.client else year.ago(plan.started)
    last = today if plan.ended is None else min(today, year.ago(plan.ended))
    totals = {name for name, _, kind, _ in METRICS[plan.server] if kind == "day"}
    for metric, shape in plan.shapes.items():
        day = max(since, anchor)
        while day <= last:
            value = shape.on(f"{plan.tenant} {metric}", day, year.last)
            if day == today and metric in totals:
                value *= share
            yield f"{plan.tenant},{metric},{_written(metric, value)},{day}"
            day += ONE_DAY


def _written(metric: str, value: float) -> str:
    is_whole = metric in ("requests", "mailboxes", "messages")
    return str(round(value)) if is_whole else f"{value:.3f}"


def _analyze() -> None:
    """Let the planner know of what came in bulk."""
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE metering_usage, metering_latest, metering_tenant, invoicing_billedperiod, invoicing_line"
        )


def _change(year: Year, day: date) -> None:
    """End and suspend what did so since the run before; the last one is a little later than it was."""
    for plan in PLANS:
        service = Service.objects.filter(name=plan.tenant, status=Service.Status.ACTIVE)
        if plan.ended is not None and day >= year.ago(plan.ended) and (one := service.first()):
            terminate(service=one, on=day, at=_at(day, BILLED))
        if plan.suspended is not None and day >= year.ago(plan.suspended):
            service.update(status=Service.Status.SUSPENDED)


def _credit(year: Year, day: date, run: Run) -> None:
    """One invoice was too much by a fifth of what it charged for usage."""
    if day < year.ago(CREDITED_AGO) or Invoice.objects.filter(kind=Invoice.Kind.CREDIT_NOTE).exists():
        return
    line = Line.objects.filter(
        invoice__run=run, service__name=CREDITED, setting__metric__system_name="egress", amount__gt=0
    ).first()
    if line is not None:
        amount = (line.amount / 5).quantize(Decimal("0.01"))
        reason = "The stream was interrupted for an evening."
        credits.credit(invoice=line.invoice, amounts={line.pk: amount}, reason=reason, on=day, at=_at(day, BILLED))
