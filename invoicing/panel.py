"""One metric of a service as people read it: the panel of the client's page, and the row of staff's."""

from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.wording import AGGREGATIONS, charge_rows, charge_sentence, price_rows, price_sentence
from invoicing import meter
from invoicing.chart import Chart
from invoicing.meter import Meter
from invoicing.statistics import Statistics
from metering import dates
from metering.providers.base import MetricType


@dataclass(frozen=True, slots=True)
class Panel:
    """The figures of a metric, and what they are in words; the `chart` of them, if one was drawn."""

    figures: Statistics
    chart: Chart | None = None

    @property
    def number(self) -> str:
        one = self.figures
        return "" if one.quantity is None else one.unit.number(one.quantity, places=2)

    @property
    def noun(self) -> str:
        """What the number counts, and since when: `GB now`, `emails since 1 November`."""
        one = self.figures
        noun = one.unit.noun(one.quantity or Decimal(0))
        if one.metric.type == MetricType.SNAPSHOT:
            if one.latest and one.is_stale:
                return _("%(noun)s on %(day)s") % {"noun": noun, "day": dates.long_day(one.latest.collected_at.date())}
            return _("%(noun)s now") % {"noun": noun}
        return _("%(noun)s since %(day)s") % {"noun": noun, "day": dates.long_day(one.since)} if one.since else noun

    @property
    def meter(self) -> Meter | None:
        """Used of included and of limit, if there is one of them."""
        one = self.figures
        if one.quantity is None:
            return None
        return meter.of_quantity(one.unit, one.quantity, included=one.included, limit=one.limit)

    @property
    def price(self) -> str:
        one = self.figures
        return price_sentence(one.pricing, one.unit, one.currency) if one.pricing else ""

    @property
    def price_rows(self) -> list[tuple[str, str]]:
        """The brackets as rows of a table."""
        one = self.figures
        return price_rows(one.pricing, one.unit, one.currency) if one.pricing else []

    @property
    def what_counts(self) -> str:
        """What of a level is charged, where that is not what it is in the end."""
        one = self.figures
        if one.metric.adds_up or one.has_plain_level:
            return ""
        return _("what counts is the %(aggregation)s.") % {"aggregation": AGGREGATIONS[one.aggregation]}

    @property
    def reason(self) -> str:
        """How the amount comes about, in a sentence."""
        one = self.figures
        charges = one.charges or ([one.unbilled] if one.unbilled else [])
        return "; ".join(
            charge_sentence(one.pricing, charge, one.unit, one.currency) for charge in charges if one.pricing
        )

    @property
    def charge_rows(self) -> list[tuple[str, str, str, str]]:
        """How the charge comes about, as rows of a table; none where several lines make it."""
        one = self.figures
        if len(one.charges) != 1 or one.pricing is None:
            return []
        return charge_rows(one.pricing, one.charges[0], one.unit, one.currency)
