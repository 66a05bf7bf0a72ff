"""What a person should look at before a bill goes out: how it compares with the last one, and with the bounds.

Differences above `DIFFERENCE_ABOVE` and `DIFFERENCE_ABOVE_PERCENT` are shown, and keep nothing back. No bound is
set unless the operator sets it: `APPROVAL_ABOVE`, an amount in the client's currency, and `APPROVAL_ABOVE_FACTOR`,
times the last term.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, Exists, OuterRef, QuerySet, Subquery, Value, When
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.models import Service, User
from catalog.money import write
from catalog.terms import number_at
from invoicing import anomalies, reasons
from invoicing.anomalies import Bill, Used
from invoicing.drafts import Draft
from invoicing.models import Decision, Line, Parked
from metering import dates
from metering.decimals import EXACT, exact_sum
from metering.language import in_digits
from metering.units import Unit

NOTHING = Decimal(0)


def last_totals(services: Sequence[Service]) -> dict[int, Decimal]:
    """Return what the term before the one that is due came to, by service, in one query. Those that never had one
    are left out."""
    before = [service for service in services if service.next_term]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.service_id, coalesce(sum(l.amount) FILTER (WHERE l.service_id = c.service_id), 0)"
            " FROM unnest(%s::bigint[], %s::date[]) AS d (service, term)"
            " JOIN invoicing_claim c ON c.service_id = d.service AND c.term_start = d.term AND c.kind = 'renewal'"
            " LEFT JOIN invoicing_line l ON l.invoice_id = c.invoice_id GROUP BY c.service_id",
            [
                [service.pk for service in before],
                [service.term(service.next_term - 1).start for service in before],
            ],
        )
        return dict(cursor.fetchall())


def last_bills(services: Sequence[Service]) -> dict[int, Bill]:
    """Return what was billed for the term before the one that is due, by service, in one query. Those that never
    had one are left out."""
    before = {service.pk: service for service in services if service.next_term}
    with connection.cursor() as cursor:
        cursor.execute(
            _LAST, [list(before), [service.term(service.next_term - 1).start for service in before.values()]]
        )
        lines = defaultdict(list)
        for pk, *line in cursor.fetchall():
            lines[pk].append(line)
    return {pk: _last_bill(before[pk].currency, rows) for pk, rows in lines.items()}


_LAST = """
SELECT c.service_id, l.kind, l.setting_id, m.display_name, sum(l.quantity), sum(l.amount), t.unit::text
FROM unnest(%s::bigint[], %s::date[]) AS d (service, term)
JOIN invoicing_claim c ON c.service_id = d.service AND c.term_start = d.term AND c.kind = 'renewal'
LEFT JOIN invoicing_line l ON l.invoice_id = c.invoice_id AND l.service_id = c.service_id
LEFT JOIN catalog_metricsetting s ON s.id = l.setting_id
LEFT JOIN metering_metric m ON m.id = s.metric_id
LEFT JOIN invoicing_statement t ON t.id = l.statement_id
GROUP BY c.service_id, l.kind, l.setting_id, m.display_name, t.unit
"""


def _last_bill(currency: str, rows: Iterable[Sequence[Any]]) -> Bill:
    rows = [row for row in rows if row[0]]  # an invoice that was not made has no lines
    return Bill(
        currency,
        total=exact_sum(amount for *_rest, amount, _unit in rows),
        fixed=exact_sum(amount for kind, *_rest, amount, _unit in rows if kind == Line.Kind.RECURRING),
        corrected=exact_sum(amount for kind, *_rest, amount, _unit in rows if kind == Line.Kind.ADJUSTMENT),
        used=_by_setting(
            (setting, Used(name, Unit.from_json(json.loads(unit)), quantity, amount))
            for kind, setting, name, quantity, amount, unit in rows
            if kind == Line.Kind.USAGE
        ),
    )


def _by_setting(lines: Iterable[tuple[int, Used]]) -> dict[int, Used]:
    used: dict[int, Used] = {}
    for setting, line in lines:
        used[setting] = used[setting].plus(line) if setting in used else line
    return used


def bill_of(draft: Draft) -> Bill:
    """Return what a draft comes to, to be compared with the last bill."""
    return Bill(
        draft.service.currency,
        total=draft.total,
        fixed=exact_sum(line.amount for line in draft.lines if line.kind == Line.Kind.RECURRING),
        corrected=exact_sum(line.amount for line in draft.lines if line.kind == Line.Kind.ADJUSTMENT),
        used=_by_setting(
            (
                line.setting.pk,
                Used(str(line.setting.metric), Unit.from_json(line.unit), line.quantity, line.amount),
            )
            for line in draft.lines
            if line.kind == Line.Kind.USAGE and line.setting and line.unit and line.quantity is not None
        ),
    )


def remarkable(draft: Draft, last: Bill | None) -> list[str]:
    """Say what is unusual about a bill; nothing if a person need not look at it."""
    if last is None:
        return [_("First bill")] if draft.total else []
    now, waiting = bill_of(draft), frozenset(wait.setting.pk for wait in draft.waiting)
    found = [
        *anomalies.usage_rose(last, now, factor=settings.USAGE_ROSE_FACTOR, amount=settings.DIFFERENCE_ABOVE),
        *anomalies.usage_fell_to_zero(last, now),
        *anomalies.not_billed_now(last, now, waiting),
    ]
    is_apart = differs(last.total, now.total)
    if is_apart and not found:
        found = list(anomalies.biggest_change(last, now))
    if (found or is_apart) and draft.waiting:
        names = sorted({str(wait.setting.metric) for wait in draft.waiting})
        waits = ngettext(
            "%(metrics)s could not be measured in time and waits",
            "%(metrics)s could not be measured in time and wait",
            len(names),
        )
        found.append(waits % {"metrics": _(" and ").join(names)})
    return found or ([_("It is another amount")] if is_apart else [])


def differs(last: Decimal, now: Decimal) -> bool:
    """Whether two totals are so far apart that a person should look."""
    percent, amount = settings.DIFFERENCE_ABOVE_PERCENT, settings.DIFFERENCE_ABOVE
    return anomalies.differs(last, now, percent=percent, amount=amount)


def is_very_large(total: Decimal, middle: Decimal) -> bool:
    """Whether a bill is far above the middle one of its run."""
    return anomalies.is_very_large(total, middle, times=settings.LARGE_FACTOR, amount=settings.DIFFERENCE_ABOVE)


def decide(
    *,
    service: Service,
    verdict: str,
    through: date,
    at: datetime,
    by: User | None = None,
    amount: Decimal | None = None,
    reason: str = "",
) -> Decision:
    """Write down what a person decided about billing a service, in place of what was decided before.

    `amount` is what they were shown: another one waits for approval again, where a bound asks for that.
    """
    return Decision.objects.create(
        service=service, verdict=verdict, through=through, at=at, by=by, amount=amount, reason=reason
    )


def decisions(services: Iterable[Service | int]) -> dict[int, Decision]:
    """Return the newest decision about each service that there is one about, in one query."""
    rows = Decision.objects.filter(service__in=services).order_by("service_id", "-id").distinct("service_id")
    return {row.service_id: row for row in rows}


def held(services: Sequence[Service]) -> set[int]:
    """Return those of the services that a person holds."""
    newest = decisions(services) if services else {}
    return {pk for pk, decision in newest.items() if decision.verdict == Decision.Verdict.HOLD}


def with_waiting(services: QuerySet[Service]) -> QuerySet[Service]:
    """Give each service `waits`: `held` by a person, waiting for `approval`, `parked`, or empty."""
    decided = Decision.objects.filter(service=OuterRef("pk")).order_by("-id").values("verdict")[:1]
    parked = Parked.objects.filter(service=OuterRef("pk")).values("needs_approval")
    return services.alias(decided=Subquery(decided), unapproved=Subquery(parked)).annotate(
        waits=Case(
            When(decided=Decision.Verdict.HOLD, then=Value("held")),
            When(unapproved=True, then=Value("approval")),
            When(unapproved=False, then=Value("parked")),
            default=Value(""),
        )
    )


def waiting() -> QuerySet[Any, Any]:
    """Return the ids of the services to which `with_waiting` gives something."""
    newer = Decision.objects.filter(service=OuterRef("service"), pk__gt=OuterRef("pk"))
    held = Decision.objects.filter(~Exists(newer), verdict=Decision.Verdict.HOLD).order_by()
    # Together in one: with two of them, all services would be looked at by name.
    return held.values("service").union(Parked.objects.values("service"))


def is_let_through(decision: Decision | None, due: date | None) -> bool:
    """Whether a person approved the term that is due on a day."""
    is_approval = decision is not None and decision.verdict == Decision.Verdict.APPROVE
    return is_approval and due is not None and decision is not None and due <= decision.through


def is_approved(decision: Decision | None, due: date, total: Decimal) -> bool:
    """Whether a person approved the term, and this amount if they were asked about one."""
    if decision is None or not is_let_through(decision, due):
        return False
    return decision.amount is None or decision.amount == total


def terms_due(service: Service, on: date) -> int:
    """How many terms of a service are to be billed on a day."""
    return number_at(service.anchor, service.clock, on) - service.next_term + 1 if on >= service.anchor else 0


def bound(draft: Draft, last: Decimal | None, on: date) -> tuple[str, Decimal | None]:
    """Say why a bill waits for approval, and the amount that is to be approved, if it is one; nothing if it need
    not wait."""
    if why := missed_terms(draft.service, on):
        return why, None
    why = beyond_bounds(draft, last)
    return why, draft.total if why else None


def missed_terms(service: Service, on: date) -> str:
    """Say why a service that missed many terms waits for approval; nothing if it need not."""
    if (count := terms_due(service, on)) <= settings.CATCH_UP_TERMS or service.next_due_on is None:
        return ""
    told = {"count": count, "day": dates.full_day(service.next_due_on), "most": settings.CATCH_UP_TERMS}
    return reasons.missed_terms(count) % told


def beyond_bounds(draft: Draft, last: Decimal | None) -> str:
    """Say why a bill waits for approval; nothing if it is within the bounds that the operator set."""
    currency, most, factor = draft.service.currency, settings.APPROVAL_ABOVE, settings.APPROVAL_ABOVE_FACTOR
    if most is not None and draft.total > most:
        told = {"amount": write(draft.total, currency), "most": write(most, currency)}
        return _(reasons.ABOVE) % told
    if factor is not None and last is not None and draft.total > EXACT.multiply(last, factor):
        told = {"amount": write(draft.total, currency), "factor": in_digits(f"{factor}"), "last": write(last, currency)}
        return _(reasons.FAR_ABOVE) % told
    return ""
