"""Staff pages: what if a draft of a pricing had been in force? Nothing here saves anything."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.text import slugify
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from catalog import editor
from catalog.forms import PricingForm
from catalog.pricing_views import posted_draft
from catalog.typed import home_first
from catalog.wording import AGGREGATIONS, price_sentence
from catalog.writing import Writing
from invoicing.simulation import table
from invoicing.simulation.rating import Batch, rated
from invoicing.simulation.summary import Summary
from invoicing.simulation.terms import months_with_usage
from metering import dates
from metering.access import staff
from metering.periods import Period, month

#: Months that are simulated unless somebody chooses others: the last complete ones.
USUAL = 12
#: Fields and buttons of this page; all others are the draft, and go with it from page to page.
_OWN = {"csrfmiddlewaretoken", "first_month", "last_month", "run", "csv", "simulate", "preview"}

_OTHER = {"invalid_choice": gettext_lazy("Choose one of the months with usage")}


class MonthsForm(forms.Form):
    """From which month to which the terms ended that are rated."""

    use_required_attribute = False

    first_month = forms.ChoiceField(label=gettext_lazy("First month"), error_messages=_OTHER)
    last_month = forms.ChoiceField(label=gettext_lazy("Last month"), error_messages=_OTHER)

    def __init__(self, data: Mapping[str, Any], offered: Sequence[date], today: date) -> None:
        """Offer the months that have usage, newest first; what was not chosen is the usual."""
        complete = [first for first in offered if first < today.replace(day=1)] or list(offered)
        usual = {"first_month": complete[:USUAL][-1], "last_month": complete[0]}
        super().__init__({name: data.get(name) or f"{first:%Y-%m}" for name, first in usual.items()})
        for field in self.fields.values():
            assert isinstance(field, forms.ChoiceField)
            field.choices = [(f"{first:%Y-%m}", month_words(first)) for first in offered]
            field.widget.attrs["class"] = "form-select"

    def clean(self) -> None:
        first, last = self.cleaned_data.get("first_month"), self.cleaned_data.get("last_month")
        if first and last and first > last:
            self.add_error("first_month", _("Choose a month that is not after the last one"))

    @property
    def months(self) -> Period:
        first, last = (date.fromisoformat(f"{self.cleaned_data[name]}-01") for name in ("first_month", "last_month"))
        return Period(first, month(last).end)


@dataclass(frozen=True)
class Question:
    """What a simulation is asked: which draft, in which months, on which day."""

    draft: PricingForm
    months: Period
    today: date

    def batches(self) -> Iterator[Batch]:
        setting = self.draft.subject.setting
        return rated(setting=setting, sheet=self.draft.sheet, months=self.months, today=self.today)


@staff("catalog.add_pricingversion")
@require_http_methods(["GET", "HEAD", "POST"])
def simulate(request: HttpRequest, pk: int, metric: int) -> HttpResponseBase:
    """What would this draft have charged? There is no draft but the one that is posted."""
    if request.method != "POST":
        return redirect("staff_pricing", pk=pk, metric=metric)
    draft, today = posted_draft(request, pk, metric), dates.site_day()
    if not draft.is_valid():
        return render(request, "staff/simulation.html", _page(request, draft))
    setting = draft.subject.setting
    offered = months_with_usage(setting.product, setting.metric, today)
    form = MonthsForm(request.POST, offered, today) if offered else None
    if form is None or not form.is_valid():
        return _answer(request, _page(request, draft, form))
    question = Question(draft, form.months, today)
    if "csv" in request.POST:
        return _csv(question)
    if "X-Progress" in request.headers:
        return _streamed(_progress(question))
    shown = _result(question) if "run" in request.POST else {}
    return render(request, "staff/simulation.html", _page(request, draft, form) | shown)


def _page(request: HttpRequest, draft: PricingForm, months: MonthsForm | None = None) -> dict[str, object]:
    subject, is_valid = draft.subject, draft.is_valid()
    return {
        "section": "products",
        "subject": subject,
        "metric": subject.setting.metric,
        "product": subject.setting.product,
        "months": months,
        "hidden": [(name, text) for name, text in request.POST.items() if name not in _OWN],
        "problems": editor.problems(draft),
        "changes": editor.changes(draft) if is_valid else None,
        "sentences": _sentences(draft) if is_valid else [],
    }


def _sentences(draft: PricingForm) -> list[str]:
    """What the draft is: its prices in every currency, and how a level becomes a quantity."""
    sheet = draft.sheet
    prices = [
        f"{currency}: {price_sentence(sheet.pricings[currency], sheet.unit, currency)}"
        for currency in home_first(sheet.pricings)
    ]
    how = AGGREGATIONS[sheet.aggregation]
    if draft.subject.setting.metric.adds_up:
        return prices
    return [*prices, _("Quantity of a term: %(how)s") % {"how": how}]


def _answer(request: HttpRequest, page: dict[str, object]) -> HttpResponseBase:
    """Show why there is nothing to work out, in the way that was asked for."""
    if "X-Progress" in request.headers:
        return _streamed(iter([_last_line(page)]))
    return render(request, "staff/simulation.html", page)


def _result(question: Question) -> dict[str, object]:
    summary = Summary()
    for batch in question.batches():
        summary.add(batch.lines)
    return _shown(question, summary)


def _shown(question: Question, summary: Summary) -> dict[str, object]:
    first, last = question.months.start, question.months.end - timedelta(days=1)
    span = month_words(first)
    if first != last.replace(day=1):
        span = _("%(start)s to %(end)s") % {"start": span, "end": month_words(last)}
    return {
        "summary": summary,
        "outcomes": summary.outcomes,
        "metric": question.draft.subject.setting.metric,
        "span": span,
    }


def _progress(question: Question) -> Iterator[str]:
    """Yield a line of JSON for each batch that is done, and at last one with the result as html."""
    summary = Summary()
    for batch in question.batches():
        summary.add(batch.lines)
        yield json.dumps({"done": batch.done, "of": batch.of}) + "\n"
    yield _last_line(_shown(question, summary))


def _last_line(page: dict[str, object]) -> str:
    return json.dumps({"html": render_to_string("staff/_simulation_result.html", page)}) + "\n"


def _streamed(lines: Iterator[str]) -> StreamingHttpResponse:
    # A proxy that collects an answer before it passes it on would show no progress.
    written = _in_language(lines, get_language() or "")
    return StreamingHttpResponse(written, content_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


def _in_language(lines: Iterator[str], language: str) -> Iterator[str]:
    """Lines are written when the request is over, and with it the language of whoever asked."""
    while True:
        with Writing(language):
            line = next(lines, None)
        if line is None:
            return
        yield line


def _csv(question: Question) -> StreamingHttpResponse:
    setting, months = question.draft.subject.setting, question.months
    last = months.end - timedelta(days=1)
    name = slugify(f"what-if-{setting.product.slug}-{setting.metric.system_name}-{months.start:%Y-%m}-{last:%Y-%m}")
    batches = (batch.lines for batch in question.batches())
    return StreamingHttpResponse(
        table.written(batches),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def month_words(first: date) -> str:
    return dates.month(first)
