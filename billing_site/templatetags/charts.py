"""Charts, written here: a page has hundreds of their small parts, for which Django's templates would take as long as
for all the rest of it."""

from collections.abc import Iterator
from functools import lru_cache

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing_site.markup import escape
from billing_site.templatetags.panels import table
from invoicing.chart import WIDTH, Chart, Mark
from invoicing.meter import Meter

register = template.Library()

#: How the parts of a chart look, in the order in which they are named.
_LOOKS = {
    "line": '<line class="line" x1="0" x2="20" y1="4" y2="4"/>',
    "bar": '<rect class="bar" width="20" height="8"/>',
    "ahead": '<rect class="range" width="20" height="8"/><line class="ahead" x1="0" x2="20" y1="4" y2="4"/>',
    "gap": '<rect class="gap" width="20" height="8"/>',
    "mark": '<line class="mark" x1="0" x2="20" y1="4" y2="4"/>',
}


@register.simple_tag
def chart(drawn: Chart, folded: SafeString | None = None) -> SafeString:
    """Draw a chart, made by `draw_line` or `draw_bars`, with what its parts mean, and its table or what is `folded` in
    the place of that."""
    inside, words = table(drawn.table()) if folded is None else folded, escape(_("The same as a table"))
    return SafeString(  # nosec B703: its words are escaped
        f'<figure><figcaption class="tp-chart-title">{escape(drawn.title)}</figcaption>{_image(drawn)}{_key(drawn)}'
        f'<details class="tp-more"><summary>{words}</summary>'
        f'<div class="tp-more-body">{inside}</div></details></figure>'
    )


def _image(chart: Chart) -> str:
    """Where words stand beside a chart, they are in an image of their own, which does not stretch."""
    inside = "".join(_parts(chart))
    image = (
        f'<svg class="tp-chart" height="{chart.height}" role="img" aria-label="{escape(chart.sentence)}">{inside}</svg>'
    )
    if not chart.axis:
        return image
    words = "".join(_text(line, 'x="100%" dx="-8" text-anchor="end"') for line in chart.grid)
    axis = f'<svg class="tp-axis" width="{chart.axis}" height="{chart.height}" aria-hidden="true">{words}</svg>'
    return f'<div class="tp-plot">{axis}{image}</div>'


def _key(chart: Chart) -> str:
    named = "".join(
        f'<li><svg class="tp-chart" aria-hidden="true">{look}</svg>{escape(chart.key[part])}</li>'
        for part, look in _LOOKS.items()
        if chart.key.get(part)
    )
    return f'<ul class="tp-key">{named}</ul>' if named else ""


def _parts(chart: Chart) -> Iterator[str]:
    """The parts of a chart, what lies below others first. All but words are numbers."""
    for gap in chart.gaps:
        yield f'<rect class="gap" x="{gap.x}%" y="{chart.top}" width="{gap.width}%" height="{chart.depth}"/>'
    yield _behind(chart.base, chart.grid)
    for bar in chart.bars:
        yield f'<rect class="bar" x="{bar.x}%" y="{bar.y}" width="{bar.width}%" height="{bar.height}"/>'
    if chart.lines:
        yield from _curves(chart)
    if mark := chart.mark:
        yield _across("mark", mark.y)
        yield _text(mark, f'class="say" x="{mark.x}%" text-anchor="end"')
    if not chart.axis:
        yield _inside(chart.grid)
    if dot := chart.dot:
        beside = -8 if dot.anchor == "end" else 8
        yield f'<circle class="dot" cx="{dot.x}%" cy="{dot.y}" r="4"/>'
        yield _text(dot, f'class="say-strong" x="{dot.x}%" dx="{beside}" text-anchor="{dot.anchor}"')
    yield _below(chart.ticks, chart.height)


# Remembered, since most charts have one of a few axes.


@lru_cache(maxsize=1024)
def _behind(base: int, grid: tuple[Mark, ...]) -> str:
    return _across("base", str(base)) + "".join(_across("grid", line.y) for line in grid)


@lru_cache(maxsize=1024)
def _inside(grid: tuple[Mark, ...]) -> str:
    return "".join(_text(line, 'class="say" x="0"') for line in grid)


@lru_cache(maxsize=1024)
def _below(ticks: tuple[Mark, ...], height: int) -> str:
    return "".join(_text(tick, f'x="{tick.x}%" text-anchor="{tick.anchor}"', y=str(height - 4)) for tick in ticks)


def _curves(chart: Chart) -> Iterator[str]:
    """What stretches with the width of the page."""
    depth = chart.depth
    yield f'<svg x="0" y="{chart.top}" width="100%" height="{depth}" viewBox="0 0 {WIDTH} {depth}"'
    yield ' preserveAspectRatio="none">'
    for points in chart.areas:
        yield f'<polygon class="area" points="{points}"/>'
    if chart.range:
        yield f'<polygon class="range" points="{chart.range}"/>'
    if chart.ahead:
        yield f'<polyline class="ahead" points="{chart.ahead}"/>'
    for points in chart.lines:
        yield f'<polyline class="line" points="{points}"/>'
    yield "</svg>"


def _across(kind: str, y: str) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{y}" y2="{y}"/>'


def _text(mark: Mark, attributes: str, y: str = "") -> str:
    return f'<text {attributes} y="{y or mark.label_y}">{escape(mark.label)}</text>'


@register.simple_tag
def meter(of: Meter | None, is_stale: bool = False) -> SafeString:
    """Draw the bar of what was used against what is included and the limit, where there is one of them."""
    return SafeString("".join(_bar(of, is_stale)) if of else "")  # nosec B703: its words are escaped


def _bar(of: Meter, is_stale: bool) -> Iterator[str]:
    looks = "tp-meter tp-meter-stale" if is_stale else "tp-meter"
    yield f'<svg class="{looks}" role="img" aria-label="{escape(of.words)}">'
    yield '<rect class="track" x="0" y="0.5" width="100%" height="9" rx="4.5"/>'
    if of.inside:
        yield f'<rect class="in" x="0" y="1" width="{of.inside}%" height="8" rx="4"/>'
    if of.over:
        yield f'<rect class="over" x="{of.inside}%" y="1" width="{of.over}%" height="8" rx="4"/>'
    if of.tick:
        yield f'<line class="tick" x1="{of.tick}%" x2="{of.tick}%" y1="-1" y2="11"/>'
        if of.anchor:
            words = escape(of.words_at_tick)
            yield f'<text x="{of.tick}%" y="27" text-anchor="{of.anchor}">{words}</text>'
    if of.anchor != "start":
        yield '<text x="0" y="27">0</text>'
    yield f'<text x="100%" y="27" text-anchor="end">{escape(of.words_at_end)}</text></svg>'
