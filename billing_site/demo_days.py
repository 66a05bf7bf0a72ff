"""Two days of the demo on which people worked: a month ago and today.

A month ago each service was billed for its first term. Today some renew, and others show what becomes of a
service that is held, parked, not measured, ended or kept as a draft. What is made up here is which person did
what; the one value that nobody measured, and its correction, say so in their reason.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal

from billing_site.demo import GRACE_DAYS, backdated
from billing_site.models import Job
from catalog.models import MetricSetting, Service, User
from catalog.terms import Cycle, term
from invoicing import corrections, credits, review
from invoicing.billing import create_invoices
from invoicing.models import Decision, Invoice, Line, Run
from invoicing.termination import terminate
from metering.correcting import correct

SAMPLE = "Sample data: "


def first_run(today: date) -> date:
    """The day a month ago on which the first terms were billed."""
    anchor, number = backdated(today)
    return term(anchor, Cycle.MONTHLY, number - 1).start + timedelta(days=GRACE_DAYS)


def bill_first_terms(*, today: date, at: datetime) -> None:
    """Issue what was due a month ago, once, when no draft was in its days of grace any more."""
    day = first_run(today)
    if not Run.objects.filter(on__gte=day).exists():
        create_invoices(on=day, at=at)


def bill_today(*, today: date, at: datetime, by: User) -> Run:
    """Do today's run, once, with a person's decisions before and after it. Returns it."""
    done = Run.objects.filter(on=today).order_by("pk").first()
    if done is not None:
        return done
    _decide("harbour_staging", Decision.Verdict.HOLD, "They move out this week and asked for one bill.", today, at, by)
    _decide("harbour_reports", Decision.Verdict.HOLD, "Their table count looks high. Ask them first.", today, at, by)
    reason = "what the client’s own log says of the day before the first collection."
    _say_yesterdays_rows(412_000, reason=reason, today=today, at=at, by=by)
    run = create_invoices(on=today, at=at).run
    _decide("harbour_reports", Decision.Verdict.RELEASE, "They confirmed it.", today, at, by)
    # The worker would bill what was released at its first tick. It waits for a person to look at the dry run.
    Job.objects.get_or_create(
        name="CreateInvoices", defaults={"next_due": at + timedelta(days=1), "succeeded_at": run.ended_at}
    )
    return run


def work(*, today: date, at: datetime, by: User) -> None:
    """What people did after today's run, once: a credit note, a correction and an end."""
    shop = _service("lindqvist_shop")
    if Invoice.objects.of_service(shop).filter(kind=Invoice.Kind.CREDIT_NOTE).exists():
        return
    first = Line.objects.filter(service=shop, kind=Line.Kind.RECURRING).order_by("invoice__entry").first()
    if first is not None:
        reason = "The database could not be reached for an hour."
        credits.credit(invoice=first.invoice, amounts={first.pk: Decimal("1.50")}, reason=reason, on=today, at=at)
    terminate(service=_service("brandt_intranet"), on=today, at=at)
    reason = "a restore wrote the rest, and is not charged."
    _say_yesterdays_rows(290_000, reason=reason, today=today, at=at, by=by)
    corrections.assess(at)


def _say_yesterdays_rows(rows: int, *, reason: str, today: date, at: datetime, by: User) -> None:
    """Let a database have written so many rows yesterday, when nothing was measured."""
    events = _service("harbour_events")
    setting = MetricSetting.objects.get(product=events.product, metric__system_name="rows_written")
    assert events.tenant is not None  # it is metered
    day = today - timedelta(days=1)
    reason = f"{SAMPLE}{reason}"
    correct(tenant=events.tenant, metric=setting.metric, start=day, value=Decimal(rows), reason=reason, by=by, at=at)


def _decide(name: str, verdict: str, reason: str, today: date, at: datetime, by: User) -> None:
    review.decide(service=_service(name), verdict=verdict, through=today, at=at, by=by, reason=reason)


def _service(name: str) -> Service:
    return Service.objects.select_related("client", "product", "tenant__server").get(name=name)
