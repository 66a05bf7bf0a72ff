"""The facts and the tables of panels, written here: a page has hundreds of their small parts, for which Django's
templates would take as long as for all the rest of it."""

from collections.abc import Iterable, Iterator
from itertools import starmap

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing_site.markup import escape
from invoicing import facts as told
from invoicing.chart import Table
from invoicing.facts import Fact
from invoicing.panel import Panel

register = template.Library()


@register.simple_tag
def facts(panel: Panel) -> SafeString:
    """Write the facts of a metric, as rows of a list of terms."""
    return SafeString("".join(map(_fact, told.of(panel))))  # nosec B703: each word is escaped


def _fact(fact: Fact) -> str:
    said = f"<b>{escape(fact.said)}</b>" if fact.is_amount else escape(fact.said)
    notes = "".join(f'<span class="tp-sub">{escape(note)}</span>' for note in fact.notes)
    return f"<div><dt>{escape(fact.name)}</dt><dd>{said}{notes}</dd></div>"


@register.simple_tag
def figures(shown: Iterable[Fact]) -> SafeString:
    """Write the figures at the head of a page, the first of which leads, as rows of a list of terms."""
    return SafeString("".join(starmap(_figure, enumerate(shown))))  # nosec B703: it is escaped


def _figure(number: int, fact: Fact) -> str:
    begin = "<div>" if number else '<div class="tp-lead">'
    said = f'<dt>{escape(fact.name)}</dt><dd class="tp-figure">{escape(fact.said)}</dd>'
    notes = "".join(f"<dd>{escape(note)}</dd>" for note in fact.notes)
    return f"{begin}{said}{notes}</div>"


@register.simple_tag
def fetched(address: str, words: str) -> SafeString:
    """Write what a fold holds until it is opened, and `brief.js` fills it with what is at the address: a link there."""
    problem = _("This could not be fetched. Follow the link, or open it again.")
    return SafeString(  # nosec B703: what is said is escaped
        f'<a class="tp-sub" href="{escape(address)}" data-brief>{escape(str(words))}</a>'
        f'<p class="tp-sub" role="alert" hidden>{escape(problem)}</p>'
    )


@register.simple_tag
def table(shown: Table) -> SafeString:
    """Write a table whose first column names the row and whose others are numbers."""
    return SafeString("".join(_table(shown)))  # nosec B703: each cell is escaped


def _table(shown: Table) -> Iterator[str]:
    yield f'<table class="tp-table tp-table-sm tp-table-fit" role="table"><caption>{escape(shown.caption)}</caption>'
    first, *others = shown.heads
    yield f'<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">{escape(first)}</th>'
    for head in others:
        yield f'<th scope="col" role="columnheader" class="tp-r">{escape(head)}</th>'
    yield '</tr></thead><tbody role="rowgroup">'
    for name, *cells in shown.rows:
        yield f'<tr role="row"><th scope="row" role="rowheader">{escape(name)}</th>'
        for cell in cells:
            yield f'<td role="cell" class="tp-r">{escape(cell)}</td>'
        yield "</tr>"
    yield "</tbody></table>"
