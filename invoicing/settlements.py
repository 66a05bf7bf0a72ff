"""What settles a difference: the line whose usage changed is rated again as a whole.

What is to be charged more is an adjustment; what is to be given back, a credit for the line that charged it.
What a line and all that corrects it charge together is what its usage costs.
"""

from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from catalog.aggregation import Periods
from catalog.models import Client, Service
from catalog.money import round_amount, write
from catalog.pricing import Charge, PricingError, added, rate
from catalog.quote import read_pricing, step_json
from catalog.wording import charge_sentence
from catalog.writing import Writing
from invoicing import drafts, reasons
from invoicing.billable import Billable, Item, PeriodKey, Unbilled
from invoicing.billed import NOTHING, Billed, Changes, by_root, chain_of
from invoicing.drafts import CannotBill, DraftLine
from invoicing.models import MAX_AMOUNT, Difference, Line
from metering.decimals import EXACT, exact_sum
from metering.periods import Period
from metering.units import Unit


@dataclass(slots=True)
class Link:
    """A line of a chain that charged something, and how much of that was given back."""

    line: Line
    given_back: Decimal = NOTHING
    corrected: Decimal = NOTHING

    @property
    def left(self) -> Decimal:
        """What may still be given back."""
        return EXACT.subtract(self.line.amount, self.given_back)


@dataclass(slots=True)
class Settlement:
    """A line whose usage changed, what its periods are and cost now, and the lines that settle it.

    `amount` is to be charged more, or below 0 given back. `invoices` are those of the lines that credits
    give back. What is `refused`, with the reason, cannot be rated as things are: it has no lines, and waits.
    """

    difference: Difference
    title: str
    number: str
    client: Client
    currency: str
    unit: Unit
    before: Decimal
    quantity: Decimal
    costs: Decimal
    settled: Decimal
    keys: list[PeriodKey]
    lines: list[DraftLine] = field(default_factory=list)
    invoices: dict[UUID, UUID] = field(default_factory=dict)
    refused: str = ""

    @property
    def service(self) -> Service:
        return self.difference.service

    @property
    def amount(self) -> Decimal:
        return EXACT.subtract(self.costs, self.settled)

    @property
    def fits_next_invoice(self) -> bool:
        """Whether the next invoice of the service is for the same client, in the same currency."""
        service = self.service
        return service.is_billable and (self.client.pk, self.currency) == (service.client_id, service.currency)


def of_differences(differences: Several[Difference]) -> Iterator[Settlement]:
    """Rate the lines of some differences again, each with its service. Yields those that do differ."""
    billed = Billed(differences)
    changes, links = Changes(billed, differences), _links(billed)
    for difference in differences:
        found = changes.of(difference)
        if all(was is not None and was.value == item.value for item, was in found):
            continue
        items = [item for item, _billed in found]
        if (root := billed.root(difference)) is not None:
            yield _corrected(difference, root, billed, items, links[root.pk])
        elif (first := _first_charge(difference, billed, items, changes)) is not None:
            yield first


def again(voided: Iterable[tuple[Line, Decimal]]) -> dict[UUID, list[DraftLine]]:
    """Return what corrections that are voided, each with what is left of it, come to once more, by the first lines of
    their chains.

    Their usage is as it was billed last. What was given back for another reason than usage stays given. Raises
    CannotBill.
    """
    gone = {line.pk: (line, left) for line, left in voided}
    asked = by_root(line for line, _left in gone.values())
    billed = Billed(asked.values())
    links, found = _links(billed), dict[UUID, list[DraftLine]]()
    for root, difference in asked.items():
        before_it: Decimal | None = None
        for link in links[root]:
            before, left = gone.get(link.line.pk, (None, NOTHING))
            if before is not None:
                before_it, link.given_back = before.before, EXACT.add(link.given_back, left)
                link.corrected = EXACT.add(link.corrected, left)
        one = _corrected(difference, billed.lines[root][0], billed, billed.again(difference), links[root], before_it)
        if one.refused:
            raise CannotBill(one.refused)
        found[root] = one.lines
    return found


def _links(billed: Billed) -> dict[UUID, list[Link]]:
    """Return the lines that charged something, by the first of their chain, with what was given back of each."""
    chains = {root: [Link(line) for line in lines] for root, lines in billed.lines.items()}
    by_line = {link.line.pk: link for links in chains.values() for link in links}
    given = Line.objects.filter(credits__in=by_line).values_list("credits_id", "corrects_id", "amount")
    for credited, corrects, amount in given:
        link = by_line[credited]
        link.given_back = EXACT.add(link.given_back, amount)
        if corrects is not None:
            link.corrected = EXACT.add(link.corrected, amount)
    return chains


def _keys(difference: Difference, billed: Billed, items: list[Item]) -> list[PeriodKey]:
    return [(billed.tenants[chain_of(difference)], difference.setting.metric_id, item.start) for item in items]


def _first_charge(difference: Difference, billed: Billed, items: list[Item], changes: Changes) -> Settlement | None:
    """What had come to nothing on no invoice is rated as it would have been there: each level by itself, and totals
    by their prices."""
    setting, billables = changes.settings[difference.setting_id], dict[object, Billable]()
    for item in items:
        in_force = changes.in_force_of(difference, Period(item.start, item.end))
        if in_force is not None:
            key = in_force.key if setting.metric.adds_up else item.start
            billables.setdefault(key, Billable(setting, in_force, [])).items.append(item)
    if not billables:
        return None
    service, unit = _as_it_was(difference, billed), next(reversed(billables.values())).in_force.unit
    one = Settlement(
        difference=difference,
        title=str(setting.metric),
        number="",
        client=service.client,
        currency=service.currency,
        unit=unit,
        before=unit.from_base(exact_sum(row.value for row in billed.periods[chain_of(difference)])),
        quantity=unit.from_base(exact_sum(item.value for item in items)),
        costs=NOTHING,
        settled=NOTHING,
        keys=_keys(difference, billed, items),
    )
    try:
        one.lines = drafts.usage_lines(service, Unbilled(list(billables.values())))
    except CannotBill as error:
        one.refused = str(error)
        return one
    one.title, one.costs = one.lines[0].title, exact_sum(line.amount for line in one.lines)
    for line in one.lines:
        # What comes to nothing again stays what that claim billed.
        line.tenant_id, line.claim = billed.tenant(difference), difference.claim_id
    return one


def _as_it_was(difference: Difference, billed: Billed) -> Service:
    """The service as it was when its usage came to nothing: of that client and product, billed in that currency."""
    claim, service = billed.claims[difference.claim_id or 0], copy(difference.service)
    if claim.product is not None and claim.client is not None:
        service.product, service.client = claim.product, copy(claim.client)
        service.client.currency = claim.currency
    return service


def _corrected(
    difference: Difference,
    root: Line,
    billed: Billed,
    items: list[Item],
    links: list[Link],
    before: Decimal | None = None,
) -> Settlement:
    unit, pricing = Unit.from_json(root.unit or {}), read_pricing(root.pricing or {})
    is_each = (root.pricing or {}).get("periods") == Periods.EACH
    values = [item.value for item in items] if is_each else [exact_sum(item.value for item in items)]
    one = Settlement(
        difference=difference,
        title=root.title,
        number=root.invoice.number,
        client=root.invoice.client,
        currency=root.invoice.currency,
        unit=unit,
        before=unit.from_base(exact_sum(row.value for row in billed.periods[root.pk])) if before is None else before,
        quantity=unit.from_base(exact_sum(item.value for item in items)),
        costs=NOTHING,
        # What was given back for another reason than usage stays given.
        settled=exact_sum(EXACT.subtract(link.line.amount, link.corrected) for link in links),
        keys=_keys(difference, billed, items),
        invoices={link.line.pk: link.line.invoice_id for link in links},
    )
    try:
        charges = [rate(pricing, unit.from_base(value)) for value in values]
    except PricingError as error:
        return _refused(one, reasons.NOT_RATED, problem=error, metric=difference.setting.metric)
    charge = added(charges)
    if charge.amount >= MAX_AMOUNT:
        return _refused(one, reasons.METRIC_TOO_MUCH, sum=f"{charge.amount:.3E}", metric=difference.setting.metric)
    one.quantity, one.costs = charge.quantity, round_amount(charge.amount, one.currency)
    with Writing(root.invoice.client.language):
        if len(charges) == 1:
            sentence = charge_sentence(pricing, charge, unit, one.currency)
        else:
            told = {"quantity": unit.write(charge.quantity), "count": len(charges)}
            sentence = _("%(quantity)s in %(count)s periods, each rated by itself") % told
        one.lines = _lines(one, root, links, items, charges, sentence)
    for line in one.lines:
        line.tenant_id = billed.tenant(difference)
    return one


def _refused(one: Settlement, reason: str, **told: object) -> Settlement:
    with Writing("en"):  # as all reasons that are kept
        one.refused = reason % ({"product": one.service.product} | told)
    one.costs = one.settled
    return one


def _lines(
    one: Settlement, root: Line, links: list[Link], items: list[Item], charges: list[Charge], sentence: str
) -> list[DraftLine]:
    """The adjustment, or the credits."""
    told = {
        "now": one.unit.write(one.quantity),
        "before": one.unit.write(one.before),
        "how": sentence,
        "amount": write(one.settled, one.currency),
        "number": one.number,
    }
    detail = _("%(now)s instead of %(before)s: %(how)s; %(amount)s of it was billed with %(number)s") % told
    if one.amount < 0:
        detail = _("%(billed)s, and nothing is left of that to give back") % {"billed": detail}
    adjustment = DraftLine(
        kind=Line.Kind.ADJUSTMENT,
        service=one.service,
        setting=root.setting,
        version_id=root.version_id,
        override_id=root.override_id,
        title=_("%(title)s, corrected") % {"title": root.title[:270]},
        detail=detail,
        start=items[0].start,
        end=items[-1].end,
        quantity=one.quantity,
        statement=root.statement,
        steps=[
            {"period": str(item.start), **step_json(step)} if len(charges) > 1 else step_json(step)
            for item, charge in zip(items, charges, strict=False)
            for step in charge.steps
        ],
        items=items,
        corrects=root.pk,
        before=one.before,
        settled=one.settled,
        exact=added(charges).amount,
        amount=max(one.amount, NOTHING),
    )
    return _credits(one, adjustment, links, told) or [adjustment]


def _credits(one: Settlement, adjustment: DraftLine, links: list[Link], told: dict[str, Any]) -> list[DraftLine]:
    """What is given back: of the newest charge first, of none more than is left of it."""
    owed, stood = max(-one.amount, NOTHING), one.settled
    credits = []
    for link in reversed(links):
        if given := min(owed, link.left):
            told |= {"amount": write(given, one.currency), "number": link.line.invoice.number}
            detail = _("%(now)s instead of %(before)s: %(how)s; %(amount)s of %(number)s is given back") % told
            credit = replace(adjustment, kind=Line.Kind.CREDIT, credits=link.line.pk, detail=detail)
            credits.append(replace(credit, settled=stood, amount=given, items=[]))
            owed, stood = EXACT.subtract(owed, given), EXACT.subtract(stood, given)
    if credits:
        credits[-1].items = adjustment.items  # the last one says what the usage is now
    return credits
