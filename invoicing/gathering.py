"""What of a dry run is kept, gathered batch by batch: sums, and what a person should look at, at most MOST of each."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from statistics import median
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.money import write
from invoicing import review
from invoicing.anomalies import Bill
from invoicing.batch import Batch
from invoicing.billing import Result
from invoicing.drafts import Draft
from invoicing.issuing import Document
from invoicing.models import Invoice, Parked
from invoicing.preview_rows import NOTHING, Row
from metering import dates
from metering.decimals import EXACT, exact_sum, plain
from metering.language import in_digits
from metering.models import Server

#: How many rows of each kind are kept; the others are summed.
MOST = 200
#: A bill is compared with the middle one only where there are so many.
ENOUGH = 5


@dataclass(slots=True)
class Sum:
    """What services of one currency come to together."""

    services: int = 0
    total: Decimal = NOTHING
    last: Decimal = NOTHING

    def add(self, row: Row) -> None:
        self.services += 1
        self.total = EXACT.add(self.total, row.total)
        self.last = EXACT.add(self.last, row.last or NOTHING)

    def as_json(self) -> dict[str, Any]:
        return {"services": self.services, "total": plain(self.total), "last": plain(self.last)}


class _Largest:
    """The rows that are the largest by something, at most MOST; `add` gives back the one that has no place."""

    def __init__(self) -> None:
        self.heap: list[tuple[Decimal, int, Row]] = []
        self.ticks = count()

    def add(self, size: Decimal, row: Row) -> Row | None:
        entry = (size, next(self.ticks), row)
        if len(self.heap) < MOST:
            heapq.heappush(self.heap, entry)
            return None
        return heapq.heappushpop(self.heap, entry)[2]

    @property
    def rows(self) -> list[Row]:
        return [row for _size, _tick, row in sorted(self.heap, key=lambda entry: (-entry[0], entry[1]))]


class Gathering:
    """Takes the batches of a dry run, and keeps of them what a person looks at."""

    def __init__(self, on: date) -> None:
        self.on = on
        self.for_approval = dict(Parked.objects.filter(needs_approval=True).values_list("service_id", "reason"))
        self.several: dict[int, Row] = {}
        self.listed, self.left = _Largest(), _Largest()
        self.usual: dict[str, _Largest] = defaultdict(_Largest)
        self.sums: dict[str, Sum] = defaultdict(Sum)
        self.left_sums: dict[str, Sum] = defaultdict(Sum)
        self.totals: dict[str, list[Decimal]] = defaultdict(list)
        self.is_unusual = 0
        self.waiting: dict[tuple[str, str], tuple[set[str], set[int]]] = defaultdict(lambda: (set(), set()))
        self.waiting_services: set[int] = set()
        self.settled: dict[str, Decimal] = defaultdict(Decimal)
        self.credits: list[dict[str, Any]] = []
        self.credited: dict[str, Decimal] = defaultdict(Decimal)
        self.grace: list[dict[str, Any]] = []
        self.in_grace: dict[str, Decimal] = defaultdict(Decimal)
        self.is_taxed = False

    def add(self, batch: Batch) -> None:
        last = review.last_bills([draft.service for draft in (*batch.claimed, *batch.left)])
        held = review.held([draft.service for draft in batch.left])
        for draft in batch.claimed:
            self._add_billed(draft, last.get(draft.service.pk))
        for draft in batch.left:
            pk = draft.service.pk
            self._add_left(draft, last.get(pk), batch.held[pk] if pk in held else "")
        for draft in batch.in_grace:
            self._add_grace(draft)
        for document in batch.documents:
            self._add_document(document)

    def _row(self, draft: Draft, last: Bill | None) -> Row:
        service = draft.service
        assert service.next_due_on is not None  # it was due
        total = None if last is None else last.total
        bound, amount = review.bound(draft, total, self.on)
        return Row(
            service=service.pk,
            currency=service.currency,
            total=draft.total,
            last=total,
            due=service.next_due_on,
            words=review.remarkable(draft, last),
            bound=bound or self.for_approval.get(service.pk, ""),
            amount=amount,
        )

    def _add_billed(self, draft: Draft, last: Bill | None) -> None:
        pk = draft.service.pk
        for wait in draft.waiting:
            server = str(draft.service.tenant.server) if draft.service.tenant else ""
            metrics, services = self.waiting[server, wait.reason]
            metrics.add(str(wait.setting.metric))
            services.add(pk)
            self.waiting_services.add(pk)
        if known := self.several.get(pk):
            known.terms += 1
            known.total = EXACT.add(known.total, draft.total)
        elif review.terms_due(draft.service, self.on) > 1:
            self.several[pk] = self._row(draft, last)
        else:
            self._keep(self._row(draft, last))

    def _add_left(self, draft: Draft, last: Bill | None, held: str) -> None:
        row = self._row(draft, last)
        row.left, row.held = True, held
        if review.missed_terms(draft.service, self.on):
            row.words = [_("The amount is that of the first one")]
        elif (terms := review.terms_due(draft.service, self.on)) > 1:
            due = ngettext(
                "%(count)s term is due; the amount is that of the first one",
                "%(count)s terms are due; the amount is that of the first one",
                terms,
            )
            row.words.append(due % {"count": terms})
        self.left_sums[row.currency].add(row)
        self.left.add(row.total, row)

    def _keep(self, row: Row) -> None:
        self.sums[row.currency].add(row)
        self.totals[row.currency].append(row.total)
        if row.words or row.bound:
            self.is_unusual += 1
            self.listed.add(abs(row.difference), row)
        else:
            self.usual[row.currency].add(row.total, row)

    def _add_document(self, document: Document) -> None:
        self.is_taxed |= document.tax is not None
        if document.credits is not None:
            self.credited[document.currency] = EXACT.add(self.credited[document.currency], document.net)
            if len(self.credits) < MOST:
                self.credits.append(
                    {
                        "client": str(document.client),
                        "services": sorted({str(draft.service) for draft in document.drafts}),
                        "credits": str(document.credits),
                        "amount": plain(document.net),
                        "currency": document.currency,
                        "reason": document.reason,
                    }
                )
        elif document.kind == Invoice.Kind.SETTLEMENT:
            self.settled[document.currency] = EXACT.add(self.settled[document.currency], document.net)

    def _add_grace(self, draft: Draft) -> None:
        service = draft.service
        assert service.next_due_on is not None  # it was due
        self.in_grace[service.currency] = EXACT.add(self.in_grace[service.currency], draft.total)
        if len(self.grace) < MOST:
            day = service.next_due_on + timedelta(days=service.product.grace_days - service.product.invoice_days_ahead)
            self.grace.append(
                {"service": service.pk, "total": plain(draft.total), "currency": service.currency, "issue_on": str(day)}
            )

    def outcome(self, result: Result, at: datetime) -> dict[str, Any]:
        """Return it all as JSON: amounts as text and before tax, services by id."""
        for row in self.several.values():
            words = ngettext(
                "%(count)s term is billed at once, the first due on %(day)s",
                "%(count)s terms are billed at once, the first due on %(day)s",
                row.terms,
            )
            row.words.insert(0, words % {"count": row.terms, "day": dates.full_day(row.due)})
            self._keep(row)
        self._find_very_large()
        rows = self.listed.rows
        others = {currency: self._others(currency, rows) for currency in sorted(self.sums)}
        return {
            **_collected(at),
            "terms": result.run.services,
            "invoices": result.run.invoices,
            "amounts": result.run.amounts,
            "is_taxed": self.is_taxed,
            "rows": [row.as_json() for row in rows],
            "not_shown": self.is_unusual - len(rows),
            "others": {currency: each.as_json() for currency, each in others.items() if each.services},
            "all": {currency: each.as_json() for currency, each in sorted(self.sums.items())},
            "settled": _texts(self.settled),
            "left": [row.as_json() for row in self.left.rows],
            "left_all": {currency: each.as_json() for currency, each in sorted(self.left_sums.items())},
            "parked": _by_reason(result.parked),
            "parked_count": len(result.parked),
            "waiting": [
                {"server": server, "reason": reason, "metrics": sorted(metrics), "services": len(services)}
                for (server, reason), (metrics, services) in sorted(self.waiting.items())[:MOST]
            ],
            "waiting_services": len(self.waiting_services),
            "credits": self.credits,
            "credit_notes": result.run.credit_notes,
            "credited": _texts(self.credited),
            "grace": self.grace,
            "drafts": result.run.drafts,
            "in_grace": _texts(self.in_grace),
        }

    def _find_very_large(self) -> None:
        """Bills far above the middle one are looked at, too."""
        for currency, totals in self.totals.items():
            if len(totals) < ENOUGH:
                continue
            middle = median(totals)
            told = {"factor": in_digits(f"{settings.LARGE_FACTOR}"), "amount": write(middle, currency)}
            words = _("More than %(factor)s times the middle bill of this run, %(amount)s") % told
            for row in self.listed.rows:
                if row.currency == currency and review.is_very_large(row.total, middle):
                    row.words.append(words)
            for row in self.usual[currency].rows:
                if review.is_very_large(row.total, middle):
                    row.words.append(words)
                    self.is_unusual += 1
                    self.listed.add(abs(row.difference), row)

    def _others(self, currency: str, rows: Iterable[Row]) -> Sum:
        """What the services come to that have no row."""
        every, rows = self.sums[currency], [row for row in rows if row.currency == currency]
        return Sum(
            every.services - len(rows),
            EXACT.subtract(every.total, exact_sum(row.total for row in rows)),
            EXACT.subtract(every.last, exact_sum(row.last or NOTHING for row in rows)),
        )


def _texts(amounts: dict[str, Decimal]) -> dict[str, str]:
    return {currency: plain(amount) for currency, amount in sorted(amounts.items())}


def _by_reason(parked: dict[int, str]) -> list[dict[str, Any]]:
    """Services that are parked for one reason together, the first of them by id."""
    reasons: dict[str, list[int]] = defaultdict(list)
    for pk, reason in parked.items():
        reasons[reason].append(pk)
    most = sorted(reasons.items(), key=lambda pair: -len(pair[1]))[:MOST]
    return [{"reason": reason, "count": len(pks), "services": pks[:10]} for reason, pks in most]


def _collected(at: datetime) -> dict[str, Any]:
    """How fresh the usage is that was billed."""
    active = Server.objects.asked()
    until = active.aggregate(until=Max("collected_at"))["until"]
    return {
        "servers": active.count(),
        "collected": active.filter(collected_at__gte=at - timedelta(hours=settings.STALE_AFTER_HOURS)).count(),
        "collected_until": until.isoformat() if until else None,
    }
