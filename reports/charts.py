"""A value of each month as bars, with its table."""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _

from invoicing.chart import Chart, Table, draw_bars, spread
from metering import dates


def by_month(
    *,
    title: str,
    what: str,
    months: Sequence[date],
    values: Sequence[Decimal | None],
    write: Callable[[Decimal], str],
    written: Callable[[Decimal], str] | None = None,
    smallest: Decimal = Decimal(0),
) -> Chart:
    """Draw the values of some months, oldest first. `what` is the head of their column; where one is None there is
    nothing. `write` is for the axis, `written` for the table."""
    in_full = written or write
    names = [dates.short_month(month) for month in months]
    said = [
        (name, _("nothing") if value is None else in_full(value)) for name, value in zip(names, values, strict=True)
    ]
    return draw_bars(
        title=title,
        sentence=_("%(title)s. %(values)s.")
        % {"title": title, "values": "; ".join(f"{name}: {words}" for name, words in said)},
        table=lambda: Table(title, (_("Month"), what), said),
        # What is below nothing, as a month of credit notes alone, has no bar; the table says it.
        values=[None if value is None else max(value, Decimal(0)) for value in values],
        write=write,
        ticks=spread(names, 3),
        smallest=smallest,
    )
