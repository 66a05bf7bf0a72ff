"""One metric of a service as people read it: the panel of the client's page, and the row of staff's."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog import money
from catalog.pricing import Scheme
from catalog.wording import AGGREGATIONS, charge_rows, charge_sentence, price_rows, price_sentence
from invoicing import meter
from invoicing.chart import Chart, Table
from invoicing.meter import Meter
from invoicing.statistics import Statistics
from metering import dates, language
from metering.providers.base import MetricType


@language.said_once
def _updated(at: datetime, _second: int, _zone: tzinfo) -> str:
    """Remembered while the second lasts: it is the same for most metrics of a service, which one collection brought."""
    return _("Updated %(age)s, %(moment)s") % {"age": naturaltime(at), "moment": dates.moment(at)}


@dataclass(frozen=True, slots=True)
class Panel:
    """The figures of a metric, and what they are in words; the `chart` of them, if one was drawn, and the address of
    its own `page`, as the page that this stands on leads there, if it has one that this is not."""

    figures: Statistics
    chart: Chart | None = None
    page: str = ""

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
    def updated(self) -> str:
        """When it was measured last."""
        if self.figures.latest is None:
            return ""
        now = int(timezone.now().timestamp())
        return _updated(self.figures.latest.collected_at, now, timezone.get_current_timezone())

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
    def has_price_table(self) -> bool:
        """Whether the price, or what it comes to, is more than a sentence says."""
        one = self.figures
        return one.pricing is not None and (len(one.pricing.brackets) > 1 or len(self._charge_rows) > 1)

    @property
    def prices_title(self) -> str:
        """What the fold is called that has the brackets, and how the charge comes about."""
        one = self.figures
        if not one.amount or len(one.charges) != 1:
            return _("Price table")
        return _("Price table, and how %(amount)s comes about") % {"amount": money.write(one.amount, one.currency)}

    @property
    def price_table(self) -> Table:
        """The brackets."""
        one = self.figures
        assert one.pricing is not None
        head = _("Price") if one.pricing.scheme is Scheme.PACKAGE else _("Price each")
        rows = price_rows(one.pricing, one.unit, one.currency)
        return Table(self._prices_since, (one.unit.title, head), rows)

    @property
    def _prices_since(self) -> str:
        one = self.figures
        assert one.in_force is not None
        if one.agreed and one.agreed.has_own_prices:
            since = _("Agreed for you, from %(day)s") % {"day": dates.full_day(one.agreed.start)}
        else:
            day = dates.full_day(one.in_force.version.effective_from)
            since = _("The price, in force since %(day)s") % {"day": day}
        return ", ".join([since, _("before the discount")]) if one.agreed and one.agreed.discount else since

    @property
    def charge_table(self) -> Table | None:
        """How the charge comes about; None where nothing is charged, or several lines make it."""
        one = self.figures
        if not one.amount or not (rows := self._charge_rows):
            return None
        told = {"quantity": one.unit.write(one.charged_quantity), "amount": money.write(one.amount, one.currency)}
        heads = _("Units"), _("Quantity"), _("Price each"), _("Amount")
        return Table(_("Your %(quantity)s make %(amount)s") % told, heads, rows)

    @property
    def _charge_rows(self) -> list[tuple[str, str, str, str]]:
        one = self.figures
        if len(one.charges) != 1 or one.pricing is None:
            return []
        return charge_rows(one.pricing, one.charges[0], one.unit, one.currency)
