"""Questions about lines: both sides write on the page of the line; staff have a list of those that wait."""

from typing import cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from catalog.access import clients_of, may
from catalog.models import User
from catalog.permissions import Deed
from invoicing import questions
from invoicing.models import Line, Question
from metering.access import staff
from metering.paging import CappedPaginator

PAGE = 50


class TextField(forms.CharField):
    """Text of several lines, whose ends count as one letter each, as browsers count them."""

    def to_python(self, value: object) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


class PostForm(forms.Form):
    text = TextField(
        label=gettext_lazy("Your message"),
        max_length=questions.MOST,
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": gettext_lazy("Write what you want to say.")},
    )


@require_POST
@may(Deed.QUESTIONS)
def ask(request: HttpRequest, pk: UUID, line: UUID) -> HttpResponse:
    """Write about a line, as the client."""
    able = clients_of(request, Deed.QUESTIONS)
    lines = Line.objects.filter(invoice=pk, invoice__client__in=able).select_related("invoice")
    one = get_object_or_404(lines, pk=line)
    form = PostForm(request.POST)
    if form.is_valid():
        questions.ask(line=one, text=form.cleaned_data["text"], by=cast(User, request.user), at=timezone.now())
        messages.info(request, _("Sent. The answer comes by mail, and stands here."))
    else:
        _say_errors(request, form)
    return _to_line("portal", one.invoice_id, one.pk)


@require_POST
@may(Deed.QUESTIONS)
def close(request: HttpRequest, question: UUID) -> HttpResponse:
    """Say that the question is answered, as the client."""
    one = get_object_or_404(Question, pk=question, client__in=clients_of(request, Deed.QUESTIONS))
    _close(request, one)
    return _to_line("portal", one.invoice_id, one.line_id)


@require_GET
@staff("invoicing.view_question")
def waiting(request: HttpRequest) -> HttpResponse:
    """Which client waits for an answer?"""
    show = "all" if request.GET.get("show") == "all" else "open"
    threads = Question.objects.select_related("client", "invoice", "line").prefetch_related("posts__by")
    rows = threads.order_by("-posted_at", "-pk") if show == "all" else _open_first(threads)
    return render(
        request,
        "staff/questions.html",
        {"section": "questions", "page": CappedPaginator(rows, PAGE).get_page(request.GET.get("page")), "show": show},
    )


@require_POST
@staff("invoicing.change_question")
def answer(request: HttpRequest, question: UUID) -> HttpResponse:
    one = get_object_or_404(Question, pk=question)
    form = PostForm(request.POST)
    if form.is_valid():
        said = {"text": form.cleaned_data["text"], "by": cast(User, request.user), "at": timezone.now()}
        try:
            questions.answer(question=one, **said)
        except Question.DoesNotExist:
            messages.warning(request, _("This question was closed meanwhile. Nothing was sent."))
        else:
            messages.info(request, _("Answered. %(client)s is told by mail.") % {"client": one.client})
    else:
        _say_errors(request, form)
    return _to_line("staff", one.invoice_id, one.line_id)


@require_POST
@staff("invoicing.change_question")
def staff_close(request: HttpRequest, question: UUID) -> HttpResponse:
    one = get_object_or_404(Question, pk=question)
    _close(request, one)
    return _to_line("staff", one.invoice_id, one.line_id)


def _open_first(threads: QuerySet[Question]) -> QuerySet[Question]:
    """The open ones: those that wait for us before those that wait for the client, the longest wait first."""
    return threads.filter(closed_at=None).order_by("-waits_for_staff", "posted_at", "pk")


def _close(request: HttpRequest, question: Question) -> None:
    if questions.close(question=question, by=cast(User, request.user), at=timezone.now()):
        messages.info(request, _("The question is closed."))


def _say_errors(request: HttpRequest, form: forms.Form) -> None:
    for errors in form.errors.values():
        messages.error(request, " ".join(str(each) for each in errors))


def _to_line(area: str, invoice: UUID, line: UUID) -> HttpResponse:
    return redirect(f"{reverse(f'{area}_line', args=[invoice, line])}#questions")
