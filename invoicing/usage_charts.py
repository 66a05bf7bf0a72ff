"""The charts of a metric's history: of the current term with what is ahead of it, by day and by month."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from itertools import accumulate, groupby

from babel.numbers import format_compact_decimal
from django.utils.translation import gettext as _

from catalog.pricing import ONE, ZERO
from invoicing import chart, usage_tables
from invoicing.chart import Ahead, Chart
from invoicing.forecast import fraction
from invoicing.history import Month
from invoicing.statistics import Statistics
from metering import dates, language
from metering.decimals import EXACT
from metering.periods import Period
from metering.providers.base import MetricType
from metering.units import Unit

ONE_DAY = timedelta(days=1)
#: A longer term is not drawn as a whole, and in one younger than YOUNG days there is little to see: then the
#: last RECENT days are.
LONG, YOUNG, RECENT = 92, 3, 30
#: An axis on which something is as much as this says millions in a word. The lines of any other stay below ten million.
COMPACT = 5 * 10**6
#: A quantity included that is so many times what was used would leave nothing of it to see.
FAR = 4


def of_panel(one: Statistics, today: date) -> Chart | None:
    """Draw the current term of a metric, or its last days; None where nothing was measured."""
    if one.latest is None or not one.days.points:
        return None
    recent = Period(today - timedelta(days=RECENT - 1), today + ONE_DAY)
    term = one.term
    if term is None or term.days > LONG or (one.metric.adds_up and one.since is None):
        return of_days(one, recent)
    start = _counts_from(one, term) if one.metric.adds_up else term.start
    own = max(start, term.start)
    is_young = (min(one.days.points[-1][0], today) - own).days < YOUNG
    if is_young or not one.days.between(own, term.end):
        return of_days(one, recent)
    return _of_totals(one, Period(start, term.end), today) if one.metric.adds_up else _of_levels(one, term, today)


def _counts_from(one: Statistics, term: Period) -> date:
    """The first day of what adds up: of the term, or before it where that is not billed yet; later, where what was
    used before in the term does not count, since the metric was off."""
    assert one.since is not None
    is_off_before = one.since > term.start and one.days.between(term.start, one.since)
    return one.since if is_off_before else min(one.since, term.start)


def of_days(one: Statistics, days: Period) -> Chart:
    """Draw some days: a bar each for what adds up, a line for a level."""
    stored = dict(one.days.between(days.start, days.end))
    lumps = {day: stored.pop(day) for day in one.days.lumps & stored.keys()}
    values = {day: one.unit.from_base(value) for day, value in stored.items()}
    name = str(one.metric)
    title = _("%(metric)s each day") % {"metric": name}
    shown = _each_day(days.start, days.end - ONE_DAY)
    most = max(values.values(), default=ZERO)
    mark = _included(one, most) if not one.metric.adds_up else None
    write, smallest = _axis(one.unit, most, mark), _smallest(one.unit)
    table = partial(usage_tables.of_days, one, stored, shown, lumps)
    sentence = _sentence(one, title, values.values())
    if not one.metric.adds_up:
        parts, gaps = _runs(shown, values)
        return chart.draw_line(
            title=title,
            sentence=sentence,
            table=table,
            parts=[
                [((day - days.start).days / max(days.days - 1, 1), float(values[day])) for day in part]
                for part in parts
            ],
            most=most,
            last_said=write(values[max(values)]) if values else "",
            gaps=[_gap(days, *gap) for gap in gaps],
            write=write,
            ticks=_ticks(Period(days.start, days.end - ONE_DAY) if days.days > 1 else days),
            mark=mark,
            smallest=smallest,
            key=_key(one, has_gap=bool(gaps), has_mark=mark is not None),
        )
    bars = [values.get(day) for day in shown]
    return chart.draw_bars(
        title=title,
        sentence=sentence,
        table=table,
        values=bars,
        write=write,
        ticks=chart.spread([dates.short_day(day) for day in shown]),
        smallest=smallest,
        key={"bar": name} | ({"gap": _("No values")} if None in bars else {}),
    )


def of_months(one: Statistics, months: Sequence[Month], shown: Sequence[date]) -> Chart:
    """Draw some months, named by their first days: what was used in each, or the last level of it."""
    known = {each.first: each for each in months}
    values = [one.unit.from_base(known[first].value) if first in known else None for first in shown]
    name = str(one.metric)
    title = _("%(metric)s each month") if one.metric.adds_up else _("%(metric)s at the end of each month")
    title %= {"metric": name}
    return chart.draw_bars(
        title=title,
        sentence=_sentence(one, title, [value for value in values if value is not None]),
        table=partial(usage_tables.of_months, one, known, shown),
        values=values,
        write=_axis(one.unit, max([value for value in values if value is not None], default=ZERO)),
        ticks=chart.spread([dates.short_month(first) for first in shown], 3),
        smallest=_smallest(one.unit),
        key={"bar": name} | ({"gap": _("No values")} if None in values else {}),
    )


def _of_totals(one: Statistics, span: Period, today: date) -> Chart:
    """What was used since what counts began, adding up from day to day."""
    assert one.latest is not None
    start, name = span.start, str(one.metric)
    title = _("%(metric)s since %(day)s") % {"metric": name, "day": dates.long_day(start)}
    points = one.days.between(start, span.end)
    measured, values = zip(*points, strict=True)
    totals = dict(zip(measured, accumulate(values, EXACT.add), strict=True))
    last = max(totals)
    until = max(last, min(today, span.end - ONE_DAY)) if one.is_stale else last
    shown = _each_day(start, until)
    if one.metric.type == MetricType.MONTH:  # between two readings it stood still
        totals = _filled(shown, totals, last)
    parts, gaps = _runs(shown, totals)
    now = _place_of(one, span, last)
    drawn = []
    before, first, days, factor = 0.0, start.toordinal(), span.days, one.unit.factor
    for part in parts:
        line = [((part[0].toordinal() - first) / days, before)]
        line += [
            ((day.toordinal() - first + 1) / days if day != last else now, float(totals[day]) / factor) for day in part
        ]
        _last, before = line[-1]
        drawn.append(line)
    most, so_far = one.unit.from_base(max(totals.values())), one.unit.from_base(totals[last])
    mark = _included(one, most, one.outlook.quantities.high if one.outlook else ZERO)
    ahead = one.outlook.quantities if one.outlook and not one.is_stale else None
    write = _axis(one.unit, most, mark, ahead.high if ahead else ZERO)
    return chart.draw_line(
        title=title,
        sentence=_sentence_of_total(one, title, so_far),
        table=partial(usage_tables.of_totals, one, dict(points), totals, shown, start),
        parts=drawn,
        most=most,
        last_said=write(so_far),
        gaps=_gaps(span, gaps, totals, now),
        ahead=Ahead(ahead.low, ahead.expected, ahead.high) if ahead else None,
        write=write,
        ticks=_ticks(span),
        mark=mark,
        smallest=_smallest(one.unit),
        key=_key(one, has_ahead=ahead is not None, has_gap=bool(gaps), has_mark=mark is not None),
    )


def _filled(shown: Sequence[date], totals: dict[date, Decimal], last: date) -> dict[date, Decimal]:
    first = min(totals)
    if len(totals) == (last - first).days + 1:
        return totals
    filled: dict[date, Decimal] = {}
    for day in shown:
        if first <= day <= last:
            filled[day] = totals.get(day, filled.get(day - ONE_DAY, ZERO))
    return filled


def _of_levels(one: Statistics, term: Period, today: date) -> Chart:
    name = str(one.metric)
    title = _("%(metric)s each day") % {"metric": name}
    values = dict(one.days.between(term.start, term.end))
    last = max(values)
    least, most, now = (
        one.unit.from_base(value) for value in (min(values.values()), max(values.values()), values[last])
    )
    until = max(last, min(today, term.end - ONE_DAY)) if one.is_stale else last
    shown = _each_day(min(values), until)
    parts, gaps = _runs(shown, values)
    place, first, days, factor = _place_of(one, term, last), term.start.toordinal(), term.days, one.unit.factor
    level = one.outlook.level if one.outlook and not one.is_stale else None
    mark = _included(one, most, level.high if level else ZERO)
    write = _axis(one.unit, most, mark, level.high if level else ZERO)
    return chart.draw_line(
        title=title,
        sentence=_sentence(one, title, [least, most, now]),
        table=partial(usage_tables.of_days, one, values, shown),
        parts=[
            [((day.toordinal() - first) / days if day != last else place, float(values[day]) / factor) for day in part]
            for part in parts
        ],
        most=most,
        last_said=write(now),
        gaps=_gaps(term, gaps, values, place),
        ahead=Ahead(level.low, level.expected, level.high) if level else None,
        write=write,
        ticks=_ticks(term),
        mark=mark,
        smallest=_smallest(one.unit),
        key=_key(one, has_ahead=level is not None, has_gap=bool(gaps), has_mark=mark is not None),
    )


def _each_day(first: date, last: date) -> list[date]:
    return [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]


def _runs(shown: Sequence[date], values: Mapping[date, Decimal]) -> tuple[list[list[date]], list[tuple[date, date]]]:
    """Cut days into those that follow each other with a value, and into gaps as their first and last days. What was
    before the first value is no gap: nobody looked. Values are of days that are shown."""
    if len(values) == len(shown):
        return [list(shown)], []
    parts, gaps = [], []
    for has_value, group in groupby(shown, key=values.__contains__):
        days = list(group)
        if has_value:
            parts.append(days)
        elif parts:
            gaps.append((days[0], days[-1]))
    return parts, gaps


def _gap(span: Period, first: date, last: date, *, since: float | None = None) -> tuple[float, float]:
    """The place of a gap: of whole days, or from the place of the last value on to the middle of today."""
    start, end = (first - span.start).days / span.days, ((last - span.start).days + 1) / span.days
    return (start, min(end, 1)) if since is None else (since, min(end - 0.5 / span.days, 1))


def _gaps(
    span: Period, gaps: Sequence[tuple[date, date]], values: Mapping[date, Decimal], now: float
) -> list[tuple[float, float]]:
    last = max(values)
    return [_gap(span, *gap, since=now if gap[0] > last else None) for gap in gaps]


def _place_of(one: Statistics, span: Period, last: date) -> float:
    """Where on the span the last value was read."""
    assert one.latest is not None
    whole = (last - span.start).days
    local = one.latest.collected_at.astimezone(one.zone)
    rest = local - local.replace(hour=0, minute=0, second=0, microsecond=0) if local.date() == last else ONE_DAY
    return min((whole + float(fraction(rest))) / span.days, 1)


@language.said_once
def _ticks(span: Period) -> tuple[tuple[float, str], ...]:
    days = span.days
    places = sorted({0, round(days / 3), round(days * 2 / 3), days})
    return tuple((place / days, dates.short_day(span.start + timedelta(days=place))) for place in places)


def _included(one: Statistics, most: Decimal, high: Decimal = ZERO) -> tuple[Decimal, str] | None:
    """The quantity included, if it is near enough to the most that was used or is expected."""
    included = one.included
    if not included or (one.in_force is not None and one.in_force.rates_each_period):
        return None
    most = max(most, high)
    if not most or included > most * FAR:
        return None
    is_round = included % ONE.scaleb(included.adjusted() // 3 * 3 - 2) == 0  # so that it is exact in short, too
    write = _axis(one.unit, max(most, included) if is_round else ZERO)
    return included, _("%(quantity)s included") % {"quantity": write(included)}


def _key(one: Statistics, *, has_ahead: bool = False, has_gap: bool = False, has_mark: bool = False) -> dict[str, str]:
    named = {
        "line": str(one.metric),
        "ahead": _("Expected, low to high") if has_ahead else "",
        "gap": _("No values") if has_gap else "",
        "mark": _("Included") if has_mark else "",
    }
    return {part: words for part, words in named.items() if words}


def _sentence(one: Statistics, title: str, values: Iterable[Decimal]) -> str:
    known = list(values)
    if not known:
        return _("%(title)s: no values.") % {"title": title}
    least, most, last = (one.unit.write(each, places=2) for each in (min(known), max(known), known[-1]))
    said = _("%(title)s: between %(least)s and %(most)s, the last %(last)s.") % {
        "title": title,
        "least": least,
        "most": most,
        "last": last,
    }
    return f"{said} {_said_ahead(one)}".strip()


def _sentence_of_total(one: Statistics, title: str, total: Decimal) -> str:
    said = _("%(title)s: %(total)s.") % {"title": title, "total": one.unit.write(total, places=2)}
    return f"{said} {_said_ahead(one)}".strip()


def _said_ahead(one: Statistics) -> str:
    if one.outlook is None:
        return ""
    ahead = one.outlook.level or one.outlook.quantities
    values = {name: one.unit.write(getattr(ahead, name), places=2) for name in ("low", "expected", "high")}
    return _("Expected on %(day)s: %(expected)s, between %(low)s and %(high)s.") % {
        "day": dates.long_day(one.outlook.ends),
        **values,
    }


def _axis(unit: Unit, most: Decimal, mark: tuple[Decimal, str] | None = None, high: Decimal = ZERO) -> chart.Write:
    """How the words of one axis are written, up to the `most` of it: all of them in full, or all in short."""
    return _words(unit, max([most, high, *([mark[0]] if mark else [])]) >= COMPACT)


@lru_cache(maxsize=1024)
def _words(unit: Unit, is_short: bool) -> chart.Write:
    """The same one for axes that are written alike, so that their grids are remembered."""
    return partial(_word, unit, is_short)


@language.said_once
def _word(unit: Unit, is_short: bool, value: Decimal) -> str:
    """Remembered: most charts have some of the same values."""
    if is_short:
        number = str(format_compact_decimal(value, locale=language.current(), fraction_digits=2))
    if not is_short or number.isdecimal():  # in some languages thousands have no word, and lose their point
        number = usage_tables.number(unit, value)
    return f"{number} {unit.symbol}".strip()


def _smallest(unit: Unit) -> Decimal:
    return ONE.scaleb(-unit.places)
