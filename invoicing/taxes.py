"""The tax of a document: one rate, of the sum of its lines, rounded once.

An invoice is taxed as its client is when it is issued. What is given back of one is taxed as the invoice says. All that
was ever given back of it is taxed together, and a credit note has what that is more than before: who gets back an
invoice in however many pieces gets back just its tax.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from django.db.models import Sum

from catalog.money import round_amount
from catalog.taxes import TaxRate
from invoicing.models import Invoice
from metering.decimals import EXACT

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tax:
    """What a document says of its tax. `percent` is of the sum of its lines, `note` what the law wants said."""

    name: str
    percent: Decimal
    note: str
    amount: Decimal


@dataclass(slots=True)
class Taxed:
    """The tax of an invoice, and what of the sum of its lines and of the tax was given back so far."""

    tax: Tax
    net: Decimal = NOTHING
    given: Decimal = NOTHING

    def give_back(self, net: Decimal, currency: str) -> Tax:
        """Return the tax of a credit note that gives back `net`, and count it as given back."""
        self.net = EXACT.add(self.net, net)
        before, self.given = self.given, of(self.net, self.tax.percent, currency)
        return replace(self.tax, amount=EXACT.subtract(self.given, before))


def of(net: Decimal, percent: Decimal, currency: str) -> Decimal:
    """The tax of a sum."""
    return round_amount(EXACT.multiply(net, EXACT.scaleb(percent, -2)), currency)


def at(rate: TaxRate, net: Decimal, currency: str) -> Tax:
    """Tax a sum at a rate."""
    return Tax(rate.name, rate.percent, rate.note, of(net, rate.percent, currency))


def credited(invoices: Collection[UUID]) -> dict[UUID, Taxed]:
    """Return what of these invoices' tax was given back so far, of those that are taxed, in two queries.

    They are locked, so that two credit notes of the same invoice do not round the same cent.
    """
    chosen = Invoice.objects.filter(pk__in=invoices, tax_percent__isnull=False).order_by("pk")
    found = {
        one.pk: Taxed(Tax(one.tax_name, one.tax_percent, one.tax_note, one.tax))
        for one in chosen.select_for_update(no_key=True)
        if one.tax_percent is not None
    }
    notes = Invoice.objects.filter(credits__in=found).order_by().values_list("credits")
    for pk, total, tax in notes.annotate(Sum("total"), Sum("tax")) if found else ():
        found[pk].net, found[pk].given = EXACT.subtract(total, tax), tax
    return found
