"""Which services outgrew their plan, and what else would fit them: a choice among what reports.fitting found."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.money import write
from catalog.wording import percent
from reports.models import Fit
from reports.tables import NOTHING, Cell, Column, Row, Table


@dataclass(frozen=True)
class Rule:
    """When a plan counts as outgrown: usage above what is included or a limit for so many terms in a row, or a charge
    for usage above so many percent of the recurring price, or another product that is cheaper."""

    terms: int = 3
    percent: int = 100
    cheaper: bool = True

    @property
    def is_broken(self) -> Q:
        said = Q(above__gte=self.terms) | Q(months_over__gte=self.terms) | Q(share__gt=self.percent)
        said |= Q(share=None, usage__gt=0)  # nothing recurring: any charge is above any share of it
        return said | Q(other__isnull=False) if self.cheaper else said

    def reasons(self, fit: Fit) -> Iterator[str]:
        """Say why a plan is outgrown, a sentence for each reason."""
        if fit.above >= self.terms and fit.setting:
            yield ngettext(
                "%(metric)s was above what is included for %(count)s term in a row",
                "%(metric)s was above what is included for %(count)s terms in a row",
                fit.above,
            ) % {"metric": str(fit.setting.metric), "count": fit.above}
        if fit.months_over >= self.terms:
            yield ngettext(
                "charged above a limit for %(count)s month in a row",
                "charged above a limit for %(count)s months in a row",
                fit.months_over,
            ) % {"count": fit.months_over}
        if fit.share is None and fit.usage:
            yield _("usage is charged, and there is no recurring price")
        elif fit.share is not None and fit.share > self.percent:
            yield _("usage costs %(percent)s of the recurring price") % {"percent": percent(fit.share)}
        if self.cheaper and fit.other:
            yield ngettext(
                "%(product)s would have cost %(amount)s less over the last %(count)s term",
                "%(product)s would have cost %(amount)s less over the last %(count)s terms",
                fit.compared,
            ) % {"product": fit.other.name, "amount": write(fit.saving, fit.currency), "count": fit.compared}


def outgrown(rule: Rule, *, product: int | None = None, currency: str = "") -> QuerySet[Fit]:
    """Return the services that outgrew their plan, those that pay most for usage first."""
    found = Fit.objects.filter(rule.is_broken).select_related(
        "service__client", "service__product", "setting__metric", "other"
    )
    if product is not None:
        found = found.filter(service__product=product)
    if currency:
        found = found.filter(currency=currency)
    return found.order_by(F("usage").desc(), "service")


def table(fits: list[Fit], rule: Rule, links: dict[int, str]) -> Table:
    """Return a table with a row for each of some services."""
    columns = [
        Column(_("Service"), is_number=False),
        Column(_("Product"), is_number=False),
        Column(_("Why"), is_number=False, is_long=True),
        Column(_("Usage")),
        Column(_("Recurring")),
        Column(_("Would cost")),
        Column(_("As"), is_number=False),
        Column(_("Less by")),
    ]
    return Table(columns, [_row(fit, rule, links.get(fit.service_id, "")) for fit in fits])


def _row(fit: Fit, rule: Rule, link: str) -> Row:
    service, currency = fit.service, fit.currency
    why = "; ".join(rule.reasons(fit))
    terms = ngettext("%(count)s term", "%(count)s terms", fit.terms) % {"count": fit.terms}

    def money(amount: Decimal) -> Cell:
        return Cell(write(amount, currency), amount)

    other = [money(fit.other_cost), Cell(fit.other.name, fit.other.name), money(fit.saving)] if fit.other else []
    return Row(
        Cell(service.name, service.name, note=service.client.name, link=link),
        [
            Cell(service.product.name, service.product.name),
            Cell(why, why),
            Cell(write(fit.usage, currency), fit.usage, note=terms),
            money(fit.recurring),
            *(other or [NOTHING] * 3),
        ],
    )
