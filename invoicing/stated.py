"""What a line states of how it was priced and measured, in words."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from catalog.aggregation import Aggregation, PriceAt
from catalog.wording import agreed_days
from invoicing.models import Line
from metering import dates
from metering.units import Unit

#: How the days of a term became one quantity, to stand below it.
_AGGREGATED = {
    Aggregation.PEAK: ngettext_lazy(
        "The highest of the %(measured)s day that was measured.",
        "The highest of the %(measured)s days that were measured.",
        "measured",
    ),
    Aggregation.MEAN: ngettext_lazy(
        "The mean of the %(measured)s day that was measured.",
        "The mean of the %(measured)s days that were measured.",
        "measured",
    ),
    Aggregation.TIME_WEIGHTED: gettext_lazy(
        "The mean of the days; one that was not measured counts as the one before it."
    ),
    Aggregation.P95: ngettext_lazy(
        "The highest of the %(measured)s day that was measured, once the top 5%% are left out.",
        "The highest of the %(measured)s days that were measured, once the top 5%% are left out.",
        "measured",
    ),
    Aggregation.DAYS: ngettext_lazy(
        "The sum of the %(measured)s day that was measured, over all days of the term.",
        "The sum of the %(measured)s days that were measured, over all days of the term.",
        "measured",
    ),
}


class Stated:
    """The prices of a line, what was agreed, and the days that its quantity comes from."""

    def __init__(self, line: Line, unit: Unit | None) -> None:
        self.line, self.unit = line, unit
        self.frozen: dict[str, Any] = dict(line.pricing or {})

    @property
    def price_note(self) -> str:
        """Which prices these are."""
        frozen, override = self.frozen, self.line.override
        day = dates.full_day(date.fromisoformat(frozen["effective_from"]))
        told = {"day": day, "version": frozen["version"]}
        if override is not None and override.has_own_prices:
            return (
                _(
                    "What was not agreed is as the price of the product says, in force since %(day)s, version"
                    " %(version)s."
                )
                % told
            )
        if frozen.get("price_at") == PriceAt.INVOICE:
            return _("The price on the day of the invoice, in force since %(day)s, version %(version)s.") % told
        return _("Price in force since %(day)s, version %(version)s.") % told

    @property
    def agreed_note(self) -> str:
        """What was agreed for the service, on which days and why; nothing where its prices are everybody's."""
        frozen, override = self.frozen.get("override"), self.line.override
        if not frozen or override is None:
            return ""
        end = date.fromisoformat(frozen["end"]) if frozen["end"] else None
        days = agreed_days(date.fromisoformat(frozen["start"]), end)
        told = {"days": days, "what": override.what, "reason": frozen["reason"]}
        return _("Agreed for this service %(days)s: %(what)s. %(reason)s") % told

    @property
    def levels(self) -> list[tuple[date, Decimal]]:
        """The days of a level that was aggregated, in the unit of the line."""
        assert self.unit is not None
        pairs = self.line.levels or []
        return [(date.fromisoformat(day), self.unit.from_base(Decimal(value))) for day, value in pairs]

    @property
    def aggregated(self) -> str:
        """How those days became one quantity."""
        how = Aggregation(self.frozen.get("aggregation", Aggregation.LATEST))
        return _AGGREGATED[how] % {"measured": len(self.line.levels)} if self.line.levels else ""
