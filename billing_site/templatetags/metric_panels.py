"""The panel of a metric, written here as its chart and its facts are."""

from collections.abc import Iterator

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing_site.markup import escape
from billing_site.templatetags.charts import chart, meter
from billing_site.templatetags.panels import facts, fetched, table
from billing_site.templatetags.tallyport import icon
from invoicing.panel import Panel
from metering import dates

register = template.Library()


@register.simple_tag
def metric_panel(panel: Panel, is_alone: bool = False) -> SafeString:
    """Write the panel of a metric: with its name among others, or alone on its own page. What is folded is fetched from
    that page, if it has one."""
    return SafeString("".join(_panel(panel, is_alone)))  # nosec B703: its words are escaped


def _panel(panel: Panel, is_alone: bool) -> Iterator[str]:
    name = escape(str(panel.figures.metric))
    yield f'<section class="tp-metric" aria-label="{name}"><div class="tp-metric-head">'
    if is_alone:
        title = escape(_("This term"))
        yield f"<h2>{title}</h2>"
    else:
        yield f'<h3><a href="{escape(panel.page)}">{name}</a></h3>' if panel.page else f"<h3>{name}</h3>"
    yield f"{_measured(panel)}</div><div>"
    yield from _used(panel)
    yield f'<dl class="tp-facts">{facts(panel)}</dl></div><div>'
    yield from _history(panel, name)
    yield "</div>"
    if panel.has_price_table:
        inside = _from_page(panel, "prices") if panel.page else price_tables(panel)
        yield f'<details class="tp-more"><summary>{escape(panel.prices_title)}</summary>'
        yield f'<div class="tp-more-body">{inside}</div></details>'
    yield "</section>"


def _measured(panel: Panel) -> str:
    """When it was measured last, or why not."""
    one = panel.figures
    if one.latest is None and one.has_ended:
        words = escape(_("The service has ended"))
        return f'<span class="tp-faint">{words}</span>'
    if one.latest is None:
        words = escape(_("Not collected yet"))
        return f'<span class="tp-mark tp-mark-accent">{icon("clock")}{words}</span>'
    if one.is_stale:
        told = _("Out of date: last measured %(moment)s") % {"moment": dates.moment(one.latest.collected_at)}
        return f'<span class="tp-mark tp-mark-warn">{icon("clock")}{escape(told)}</span>'
    return f'<span class="tp-faint">{escape(panel.updated)}</span>'


def _used(panel: Panel) -> Iterator[str]:
    """How much was used, and what is to be known of that."""
    one = panel.figures
    if one.latest is None:
        if one.has_ended:
            why = _("What was measured until then stands in the history.")
        else:
            why = _(
                "The first value comes with the next collection."
                " That nothing has been collected does not mean that you have none."
            )
        yield f"<p>{escape(why)}</p>"
        return
    yield f'<p class="tp-usage"><b>{escape(panel.number)}</b> <span>{escape(panel.noun)}</span></p>'
    yield meter(panel.meter, is_stale=one.is_stale)
    if one.is_over_limit:
        words = escape(_("Above the limit"))
        yield f'<p class="tp-gap"><span class="tp-mark tp-mark-warn">{icon("alert")}{words}</span></p>'
    if one.is_stale:
        told = _("This could not be measured since %(moment)s.") % {"moment": dates.moment(one.latest.collected_at)}
        what_then = _(
            "We try again with every collection, and once more before we bill. If that fails too, it waits for a later"
            " invoice. Nothing is charged on a guess."
        )
        yield f'<div class="tp-notice tp-notice-warn">{icon("clock")}<div><p>{escape(told)}</p>'
        yield f'<p class="tp-sub">{escape(what_then)}</p></div></div>'


def _history(panel: Panel, name: str) -> Iterator[str]:
    """What was used when, and the way to all of it."""
    if panel.chart is not None:
        yield chart(panel.chart, _from_page(panel, "table") if panel.page else table(panel.chart.table()))
    else:
        is_measured = panel.figures.latest is not None
        why = (
            _("Nothing has been measured in this term yet.")
            if is_measured
            else _("A history starts with the first value.")
        )
        yield f'<p class="tp-sub">{escape(why)}</p>'
    if panel.page:
        words = escape(_("History by day and month"))
        hidden = f'<span class="visually-hidden">: {name}</span>'
        yield f'<p class="tp-sub"><a href="{escape(panel.page)}">{words}{hidden}</a></p>'


def _from_page(panel: Panel, part: str) -> SafeString:
    return fetched(f"{panel.page}#{part}", _("This metric, with its history"))


@register.simple_tag
def price_tables(panel: Panel) -> SafeString:
    """Write the table of brackets, and how the charge comes about."""
    how = panel.charge_table
    return SafeString(f'<div class="tp-pair">{table(panel.price_table)}{table(how) if how else ""}</div>')  # nosec B703: so are both
