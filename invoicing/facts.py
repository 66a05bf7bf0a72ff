"""What a metric of a service costs, why, and what it will come to, as rows of facts for its panel."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from django.utils.text import capfirst
from django.utils.translation import gettext as _

from catalog import money
from catalog.models import Override
from invoicing.forecast import Range
from invoicing.outlook import NextUnit
from invoicing.panel import Panel
from invoicing.statistics import Statistics
from metering import dates


class Fact(NamedTuple):
    """What it is called, what it is, and what is said below that."""

    name: str
    said: str
    notes: tuple[str, ...] = ()
    is_amount: bool = False


def of(panel: Panel) -> Iterator[Fact]:
    """Yield what there is to say of a metric, in the order of its panel."""
    one = panel.figures
    yield _charge(panel)
    yield from _expected(one)
    yield from _included(one)
    yield Fact(_("Price"), _price(panel), (capfirst(panel.what_counts),) if panel.what_counts else ())
    if one.agreed:
        yield Fact(_("Agreed for you"), capfirst(one.agreed.what), (f"{_days(one.agreed)} {one.agreed.reason}",))
    for agreed in one.to_come:
        name = _("From %(start)s") % {"start": dates.full_day(agreed.start)}
        yield Fact(name, capfirst(agreed.what), (f"{_to_come(agreed)} {agreed.reason}",))
    if following := one.next_unit:
        yield _next(one, following)


def _charge(panel: Panel) -> Fact:
    one, name = panel.figures, _("Charge so far")
    if one.amount is not None:
        return Fact(name, money.write(one.amount, one.currency), (panel.reason,), is_amount=True)
    is_unbilled = one.unbilled and not one.has_ended
    return Fact(name, _("none"), (_("charged from the next term on"),) if is_unbilled else ())


def _expected(one: Statistics) -> Iterator[Fact]:
    ahead = one.outlook
    if ahead is None or ahead.amounts is None:
        if one.is_waiting_for_days and one.term is not None:
            name = _("Expected on %(day)s") % {"day": dates.short_day(one.term.end)}
            why = _("It takes five whole days to say how fast it is used.")
            yield Fact(name, _("not enough days yet"), (why,))
        return
    said, note = of_amounts(ahead.amounts, one.amount, one.currency)
    notes = [note] if note else []
    if ahead.is_of_last_term:
        notes.append(_("at the pace of the last term"))
    if not one.has_plain_level:
        notes.append(", ".join(filter(None, _likely(ahead.quantities, partial(one.unit.write, places=2)))))
    yield Fact(_("Expected on %(day)s") % {"day": dates.short_day(ahead.ends)}, said, tuple(notes))


def of_amounts(ahead: Range, so_far: Decimal | None, currency: str) -> tuple[str, str]:
    """Return what is expected of a charge that came to so much `so_far`, and how sure that is, if there is a doubt or
    nothing changes."""
    said, doubt = _likely(ahead, partial(money.write, currency=currency))
    is_same = not doubt and so_far is not None and said == money.write(so_far, currency)
    return said, _("no change expected") if is_same else doubt


def _likely(ahead: Range, write: Callable[[Decimal], str]) -> tuple[str, str]:
    """What is expected, and between what it lies, if that is not certain."""
    said = write(ahead.expected)
    if ahead.is_certain:
        return said, ""
    return said, _("between %(low)s and %(high)s") % {"low": write(ahead.low), "high": write(ahead.high)}


def _included(one: Statistics) -> Iterator[Fact]:
    """When the quantity included ran out, or will."""
    ahead = one.outlook
    if (ran_out_on := one.ran_out_on) is not None:
        yield Fact(_("Included ran out"), _("on %(day)s") % {"day": dates.long_day(ran_out_on)})
    elif ahead and ahead.pace and one.has_included_left:
        if ahead.runs_out:
            said = _("about %(day)s, at this pace") % {"day": dates.long_day(ahead.runs_out)}
        else:
            said = _("not before %(day)s, at this pace") % {"day": dates.long_day(ahead.ends)}
        yield Fact(_("Included runs out"), said)


def _price(panel: Panel) -> str:
    if panel.figures.has_no_price:
        return _("no price in %(currency)s yet") % {"currency": panel.figures.currency}
    return panel.price or _("shown only, not charged")


def _days(agreed: Override) -> str:
    start = dates.full_day(agreed.start)
    if agreed.last_day is None:
        return _("From %(start)s.") % {"start": start}
    return _("From %(start)s until %(end)s.") % {"start": start, "end": dates.full_day(agreed.last_day)}


def _to_come(agreed: Override) -> str:
    if agreed.last_day is None:
        return _("Agreed for you, for what begins on these days.")
    end = dates.full_day(agreed.last_day)
    return _("Agreed for you until %(end)s, for what begins on these days.") % {"end": end}


def _next(one: Statistics, following: NextUnit) -> Fact:
    """What one more costs."""
    used, notes = one.charged_quantity, list[str]()
    if one.unit.symbol:
        name = _("The next %(unit)s costs") % {"unit": one.unit.symbol}
    else:
        name = _("The next one costs")
        notes.append(
            _("for %(more)s instead of %(now)s") % {"more": one.unit.write(used + 1), "now": one.unit.number(used)}
        )
    if following.saved:
        saved = money.write_price(following.saved, one.currency)
        return Fact(name, _("%(amount)s less") % {"amount": saved}, (*notes, _("it makes all of them cheaper")))
    if following.amount:
        return Fact(name, money.write_price(following.amount, one.currency), tuple(notes))
    match following.free_by:
        case "included":
            return Fact(name, _("nothing, it is included"))
        case "package":
            return Fact(name, _("nothing, the package that was started covers it"))
        case "maximum":
            return Fact(name, _("nothing, the maximum charge is reached"))
        case "minimum":
            return Fact(name, _("nothing, it is within the minimum charge"))
    return Fact(name, _("nothing"))
