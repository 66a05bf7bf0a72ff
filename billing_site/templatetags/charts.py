"""Charts, written here: a page has hundreds of their small parts, for which Django's templates would take as long as
for all the rest of it."""

from collections.abc import Iterator

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from invoicing.chart import WIDTH, Chart, Mark

register = template.Library()


@register.simple_tag
def chart_svg(chart: Chart) -> SafeString:
    """Draw a chart; of one with words beside it, those stand in an image of their own, which does not stretch."""
    inside = "".join(_parts(chart))
    image = (
        f'<svg class="tp-chart" height="{chart.height}" role="img" aria-label="{escape(chart.sentence)}">{inside}</svg>'
    )
    if not chart.axis:
        return mark_safe(image)  # noqa: S308  # nosec B308, B703: its words are escaped
    words = "".join(_text(line, 'x="100%" dx="-8" text-anchor="end"') for line in chart.grid)
    axis = f'<svg class="tp-axis" width="{chart.axis}" height="{chart.height}" aria-hidden="true">{words}</svg>'
    return mark_safe(f'<div class="tp-plot">{axis}{image}</div>')  # noqa: S308  # nosec B308, B703: as above


def _parts(chart: Chart) -> Iterator[str]:
    """The parts of a chart, what lies below others first. All but words are numbers."""
    for gap in chart.gaps:
        yield f'<rect class="gap" x="{gap.x}%" y="{chart.top}" width="{gap.width}%" height="{chart.depth}"/>'
    yield _across("base", str(chart.base))
    for line in chart.grid:
        yield _across("grid", line.y)
    for bar in chart.bars:
        yield f'<rect class="bar" x="{bar.x}%" y="{bar.y}" width="{bar.width}%" height="{bar.height}"/>'
    if chart.lines:
        yield from _curves(chart)
    if mark := chart.mark:
        yield _across("mark", mark.y)
        yield _text(mark, f'class="say" x="{mark.x}%" text-anchor="end"')
    if not chart.axis:
        for line in chart.grid:
            yield _text(line, 'class="say" x="0"')
    if dot := chart.dot:
        beside = -8 if dot.anchor == "end" else 8
        yield f'<circle class="dot" cx="{dot.x}%" cy="{dot.y}" r="4"/>'
        yield _text(dot, f'class="say-strong" x="{dot.x}%" dx="{beside}" text-anchor="{dot.anchor}"')
    for tick in chart.ticks:
        yield _text(tick, f'x="{tick.x}%" text-anchor="{tick.anchor}"', y=str(chart.height - 4))


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
