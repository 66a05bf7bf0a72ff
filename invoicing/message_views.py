"""The staff's pages of mails: which wait, which failed, which were sent, and what each says.

The HTML of a mail has styles of its own, which no page of ours may have. It is shown in a frame at an address of its
own, sandboxed: it runs nothing, loads nothing, and only our own pages may show it.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_POST

from invoicing import mail_samples, outbox, searching
from invoicing import mails as written
from invoicing.models import Message
from metering import lookup
from metering.access import staff
from metering.paging import CappedPaginator

PAGE = 50
#: The policy of a frame that shows a mail.
FRAMED: Any = csp(
    {
        "default-src": [NONE],
        "style-src": [UNSAFE_INLINE],
        "base-uri": [NONE],
        "form-action": [NONE],
        "frame-ancestors": [SELF],
        "sandbox": True,
    }
)


@require_GET
@staff("invoicing.view_message")
def mails(request: HttpRequest) -> HttpResponse:
    """Did the client get the mail?"""
    query = lookup.cleaned(request.GET.get("q"))
    chosen = searching.listed_mails(query)
    rows = chosen.select_related("client", "invoice", "crossing__service", "post__question__invoice", "invitation")
    waiting, given_up = rows & outbox.waiting(), rows & outbox.given_up()
    page = CappedPaginator(rows.filter(sent_at__isnull=False).order_by("-sent_at"), PAGE).get_page(
        request.GET.get("page")
    )
    context = {
        "section": "messages",
        "query": query,
        "given_up": list(given_up[:PAGE]),
        "given_up_count": given_up.count(),
        "waiting": list(waiting[:PAGE]),
        "waiting_count": waiting.count(),
        "page": page,
        "most": outbox.MAX_ATTEMPTS,
        "tries_for_hours": sum(outbox.WAITS, timedelta()) // timedelta(hours=1),
        "now": timezone.now(),
    }
    return render(request, "staff/messages.html", context)


@require_GET
@staff("invoicing.view_message")
def mail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What does it say? As it would be written now: of what was sent only that it was is kept."""
    one = _message(pk)
    context = {"section": "messages", "message": one, "now": timezone.now(), "most": outbox.MAX_ATTEMPTS}
    return render(request, "staff/message.html", {**context, "written": _written(one)})


@require_GET
@staff("invoicing.view_message")
@xframe_options_sameorigin
@FRAMED  # type: ignore[untyped-decorator]
def mail_html(request: HttpRequest, pk: UUID) -> HttpResponse:
    if (shown := _written(_message(pk))) is None:
        raise Http404
    return HttpResponse(shown.html)


@require_GET
@staff("invoicing.view_message")
def kinds(request: HttpRequest) -> HttpResponse:
    """What does each kind of mail look like, before one is sent?"""
    kind, language = _kind(request.GET.get("kind", Message.Kind.ISSUED)), request.GET.get("language", "")
    language = language if language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
    context = {
        "section": "messages",
        "kind": kind.value,
        "in_language": language,
        "kinds": Message.Kind.choices,
        "languages": settings.LANGUAGES,
        "written": mail_samples.sample(kind, language, at=timezone.now()),
    }
    return render(request, "staff/message_kinds.html", context)


@require_GET
@staff("invoicing.view_message")
@xframe_options_sameorigin
@FRAMED  # type: ignore[untyped-decorator]
def kind_html(request: HttpRequest, kind: str, language: str) -> HttpResponse:
    if language not in dict(settings.LANGUAGES):
        raise Http404
    return HttpResponse(mail_samples.sample(_kind(kind), language, at=timezone.now()).html)


def _kind(name: str) -> Message.Kind:
    if name not in Message.Kind.values:
        raise Http404
    return Message.Kind(name)


def _message(pk: UUID) -> Any:
    return get_object_or_404(Message.objects.select_related(*outbox.RELATED), pk=pk)


def _written(message: Message) -> written.Written | None:
    try:
        return written.write(message, at=timezone.now(), is_preview=True)
    except ValueError:  # it is about nothing any more
        return None


@require_POST
@staff("invoicing.change_message")
def send_again(request: HttpRequest, pk: str) -> HttpResponse:
    """Let one mail be due at once."""
    one = get_object_or_404(Message, pk=pk)
    if outbox.send_again(Message.objects.filter(pk=one.pk)):
        messages.info(
            request, _("The mail to %(to)s goes out within five minutes, with the next tick.") % {"to": one.to}
        )
    else:
        messages.warning(request, _("The mail to %(to)s was sent already.") % {"to": one.to})
    return redirect("staff_messages")


@require_POST
@staff("invoicing.change_message")
def send_all_again(request: HttpRequest) -> HttpResponse:
    """Let all that were given up be due at once."""
    count = outbox.send_again(outbox.given_up())
    said = ngettext(
        "%(count)s mail is tried again within five minutes, with the next tick.",
        "%(count)s mails are tried again within five minutes, with the next tick.",
        count,
    )
    messages.info(request, said % {"count": count})
    return redirect("staff_messages")
