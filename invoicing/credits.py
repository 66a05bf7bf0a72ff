"""Giving back what an issued invoice charged: a credit note refers to it, and never gives back more than it.

An invoice that is wrong is voided: credited in full, and what it billed is billed again on another one, as
prices and usage are now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from catalog.in_force import choose, overrides_of
from catalog.models import MetricSetting, Override, Service
from catalog.money import round_amount, write
from catalog.writing import Writing
from invoicing import billed, drafts, issuing, overage, required, settlements, taxes
from invoicing.billable import Billable, Item, Unbilled
from invoicing.drafts import CannotBill, Draft, DraftLine
from invoicing.issuing import Document
from invoicing.models import Claim, Difference, Invoice, Line
from invoicing.prices import Catalog
from invoicing.taxes import Tax
from metering import dates
from metering.decimals import EXACT, exact_sum
from metering.language import in_digits
from metering.periods import Period


class CannotCredit(Exception):
    """The invoice cannot be credited or voided so. The message says why and what to do."""


@dataclass(frozen=True)
class Voided:
    """What voiding made: the credit note, and the invoice that replaces the voided one."""

    credit_note: Invoice
    replacement: Invoice


def left_of(invoice: Invoice) -> dict[UUID, Decimal]:
    """Return what may still be given back, before tax, by line."""
    return {line.pk: left for line, left in _lines(invoice)}


def tax_with(invoice: Invoice, net: Decimal) -> Tax | None:
    """Return the tax that is given back with so much of the lines of an invoice, as things are. None: it has none."""
    if invoice.tax_percent is None:
        return None
    with transaction.atomic():
        return taxes.credited([invoice.pk])[invoice.pk].give_back(net, invoice.currency)


@transaction.atomic
def credit(*, invoice: Invoice, amounts: Mapping[UUID, Decimal], reason: str, on: date, at: datetime) -> Invoice:
    """Give back some of an invoice: for each line an amount before tax, at most what is left of it, and their tax.

    Returns the credit note. Usage stays billed: it is not for corrections of usage, which are credited by themselves.
    Raises CannotCredit.
    """
    lines = _locked_lines(invoice, reason)
    known = {line.pk: left for line, left in lines}
    given = {pk: amount for pk, amount in amounts.items() if amount}
    if not given:
        raise CannotCredit(_("Say how much of which line is given back."))
    for pk, amount in given.items():
        if pk not in known:
            raise CannotCredit(_("%(invoice)s has no such line.") % {"invoice": invoice})
        if not 0 < amount <= known[pk]:
            told = {"amount": in_digits(f"{amount:f}"), "most": write(known[pk], invoice.currency)}
            raise CannotCredit(_("%(amount)s cannot be given back: at most %(most)s is left of that line.") % told)
        if amount != round_amount(amount, invoice.currency):
            told = {"amount": in_digits(f"{amount:f}"), "currency": invoice.currency}
            raise CannotCredit(_("%(amount)s has more decimals than an amount in %(currency)s.") % told)
    credits = [_credit(line, given[line.pk], reason) for line, _left in lines if line.pk in given]
    return _issue_credit_note(invoice, credits, reason, on, at)


@transaction.atomic
def void(*, invoice: Invoice, reason: str, on: date, at: datetime) -> Voided:
    """Credit an invoice in full and bill again what it billed, as prices and usage are now.

    Raises CannotCredit, and drafts.CannotBill when it cannot be billed now; then nothing is done.
    """
    lines = _locked_lines(invoice, reason)
    if not any(left for _line, left in lines):
        if not any(line.amount for line, _left in lines):
            raise CannotCredit(
                _("%(invoice)s comes to nothing, so there is nothing to give back.") % {"invoice": invoice}
            )
        raise CannotCredit(_("%(invoice)s is credited in full already.") % {"invoice": invoice})
    _check_not_corrected(invoice, [line for line, _left in lines])
    if why_not := required.why_not(invoice.client):
        raise CannotBill(why_not)
    again = list(_again(invoice, lines))
    credits = [_credit(line, left, reason, corrects=line.corrects_id or line.pk) for line, left in lines if left]
    issuing.lock_invoices(on)
    credit_note = _issue_credit_note(invoice, credits, reason, on, at)
    with Writing(invoice.client.language):
        replaces = _("Replaces %(number)s. %(reason)s") % {"number": invoice.number, "reason": reason}
    replacement = Document(
        kind=Invoice.Kind.REPLACEMENT,
        client=invoice.client,
        drafts=[Draft(line.service, [line], []) for line in again],
        reason=replaces,
    )
    issuing.issue([replacement], on=on, at=at)
    charged = [line.pk for line, _left in lines if line.kind == Line.Kind.OVERAGE]
    overage.move(charged, [line.id for line in again if line.kind == Line.Kind.OVERAGE])
    Difference.objects.filter(line__in=[line for line, _left in lines]).delete()
    return Voided(credit_note, Invoice.objects.get(pk=replacement.id))


def _lines(invoice: Invoice) -> list[tuple[Line, Decimal]]:
    related = ("service__client", "service__product", "service__tenant__server", "setting__metric")
    lines = list(invoice.lines.select_related(*related).order_by("position"))
    given = dict(Line.objects.filter(credits__in=lines).order_by().values_list("credits_id").annotate(Sum("amount")))
    return [(line, EXACT.subtract(line.amount, given.get(line.pk, Decimal(0)))) for line in lines]


def _locked_lines(invoice: Invoice, reason: str) -> list[tuple[Line, Decimal]]:
    """The lines and what is left of each, once nobody else bills or credits their services."""
    if invoice.is_credit_note:
        raise CannotCredit(_("%(invoice)s is a credit note itself.") % {"invoice": invoice})
    if not reason.strip():
        raise CannotCredit(_("Say why: the client reads it on the credit note."))
    services = Service.objects.filter(pk__in=invoice.lines.values("service")).order_by("pk")
    list(services.select_for_update(of=("self",)))
    return _lines(invoice)


def _credit(line: Line, amount: Decimal, reason: str, corrects: UUID | None = None) -> DraftLine:
    return DraftLine(
        kind=Line.Kind.CREDIT,
        service=line.service,
        title=line.title,
        detail=reason,
        start=line.start,
        end=line.end,
        exact=amount,
        amount=amount,
        credits=line.pk,
        corrects=corrects,
    )


def _issue_credit_note(invoice: Invoice, credits: Sequence[DraftLine], reason: str, on: date, at: datetime) -> Invoice:
    document = Document(
        kind=Invoice.Kind.CREDIT_NOTE,
        client=invoice.client,
        drafts=[Draft(line.service, [line], []) for line in credits],
        currency=invoice.currency,
        credits=invoice.pk,
        reason=reason,
    )
    issuing.issue([document], on=on, at=at)
    return Invoice.objects.get(pk=document.id)


def _check_not_corrected(invoice: Invoice, lines: Sequence[Line]) -> None:
    """A line that another invoice corrects cannot be taken away from under it."""
    elsewhere = Line.objects.filter(corrects__in=lines, kind=Line.Kind.ADJUSTMENT).exclude(invoice=invoice)
    for line in elsewhere.select_related("invoice").annotate(given=Sum("credited_by__amount")):
        if line.amount != (line.given or 0):
            told = {"other": line.invoice, "invoice": invoice}
            said = _("%(other)s corrects a line of %(invoice)s. Give back that line of %(other)s in full first.")
            raise CannotCredit(said % told)


def _again(invoice: Invoice, voided: Sequence[tuple[Line, Decimal]]) -> Iterator[DraftLine]:
    """The lines of the invoice, each with what is left of it, as they would be today."""
    lines = [line for line, _left in voided]
    for line in lines:
        if line.service.client_id != invoice.client_id:
            told = {"service": line.service}
            raise CannotCredit(_("%(service)s belongs to another client by now. Credit the invoice instead.") % told)
    catalog = Catalog.read({line.service.product_id for line in lines})
    usage = [line for line in lines if line.kind == Line.Kind.USAGE]
    now = billed.as_it_is(usage)
    corrected = settlements.again((line, left) for line, left in voided if line.kind == Line.Kind.ADJUSTMENT)
    chosen = MetricSetting.objects.filter(Q(pk__in={line.setting_id for line in usage}))
    settings = {each.pk: each for each in chosen.with_pricing().select_related("product", "metric")}
    overrides = overrides_of({line.service_id for line in usage})
    changed = _changed_since(lines)
    for line in lines:
        if line.kind == Line.Kind.USAGE and line.setting_id is not None:
            agreed = overrides.get((line.service_id, line.setting_id), [])
            for each in _rated_again(line, settings[line.setting_id], agreed, now[line.pk].items):
                each.tenant_id = now[line.pk].tenant_id
                yield each
        elif line.kind == Line.Kind.ADJUSTMENT and line.corrects_id is not None:
            yield from corrected.pop(line.corrects_id, ())  # of one chain once
        elif line.kind == Line.Kind.OVERAGE:
            yield _copied(line)  # its month was charged, and stays so
        elif line.pk in changed:
            yield _copied(line)  # of the product that it had then, whose price nobody keeps
        else:
            yield drafts.recurring_line(line.service, Period(line.start, line.end), catalog.prices)


def _changed_since(lines: Sequence[Line]) -> set[UUID]:
    """The recurring lines whose service was changed on the first day of their term or later, or once they were billed:
    that may have been before their term."""
    recurring = [line for line in lines if line.kind == Line.Kind.RECURRING]
    claims = Claim.objects.filter(service__in={line.service_id for line in recurring}).order_by()
    changes = list(claims.filter(kind=Claim.Kind.CHANGE).values_list("service_id", "term_start", "pk"))
    renewals = claims.filter(kind=Claim.Kind.RENEWAL, term_start__in={line.start for line in recurring})
    billed_by = {(service, start): pk for service, start, pk in renewals.values_list("service_id", "term_start", "pk")}
    return {
        line.pk
        for line in recurring
        for service, day, pk in changes
        if service == line.service_id and (day >= line.start or pk > billed_by.get((service, line.start), pk))
    }


def _rated_again(line: Line, setting: MetricSetting, agreed: list[Override], items: list[Item]) -> Iterator[DraftLine]:
    groups: dict[object, Billable] = {}
    for item in items:
        began = max(item.start, line.service.metered_from or item.start) if item.part else item.start
        in_force = choose(setting, agreed, began=began, invoiced=billed.invoiced_on(line))
        if in_force is None:
            told = {"metric": setting, "day": dates.full_day(item.start)}
            raise CannotCredit(_("%(metric)s has no price for %(day)s any more.") % told)
        groups.setdefault(in_force.key, Billable(setting, in_force, [])).items.append(item)
    yield from drafts.usage_lines(line.service, Unbilled(list(groups.values())))


def _copied(line: Line) -> DraftLine:
    return DraftLine(
        kind=line.kind,
        service=line.service,
        setting=line.setting,
        version_id=line.version_id,
        override_id=line.override_id,
        title=line.title,
        detail=line.detail,
        start=line.start,
        end=line.end,
        quantity=line.quantity,
        statement=line.statement,
        steps=line.steps,
        exact=line.exact,
        amount=line.amount,
    )


def credited(invoice: Invoice) -> Decimal:
    """How much of an invoice was given back."""
    return exact_sum(invoice.credit_notes.values_list("total", flat=True))
