"""Mails: what each kind says, in the language and the time zone of who gets it.

`write` reads what a message is about when it is sent, so that a mail never says what is not so any more; where its
reason is gone it writes nothing. Links are made from SITE_ADDRESS, never from a request. Templates are in
`templates/mail`, a text and an HTML one for each kind.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation

from catalog.invitations import invitation_link
from catalog.models import ClientUser, Invitation
from invoicing import mail_looks
from invoicing.mail_facts import alert_facts, invitation_facts, invoice_facts, named, question_facts
from invoicing.models import Crossing, Invoice, Message, Post
from metering import dates

#: Lines of an invoice that a mail lists; a longer one says how many there are besides.
MOST_LINES = 60


@dataclass(frozen=True)
class Written:
    """A mail as it goes out."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Reader:
    """Who a mail is written to: their language and the time zone that instants are shown in."""

    language: str
    time_zone: str


def write(message: Message, *, at: datetime, is_preview: bool = False) -> Written | None:
    """Write a mail as things are at an instant. None: the reason is gone, so it is not to be sent.

    A preview has no link that would let its reader in instead of the receiver. Raises ValueError for a message that is
    about nothing.
    """
    reader = reader_of(message)
    with in_words_of(reader):
        facts = _facts(message, dates.site_day(at), at, is_preview=is_preview)
        return render(Message.Kind(message.kind), facts) if facts is not None else None


def reader_of(message: Message) -> Reader:
    user, client = message.user, message.client
    language = (user.language if user else "") or (client.language if client else "") or settings.LANGUAGE_CODE
    return Reader(language, (user.time_zone if user else "") or settings.TIME_ZONE)


def render(kind: Message.Kind, facts: dict[str, Any]) -> Written:
    """Write a mail of facts, in the language that is active."""
    context = {
        "seller": named(settings.SELLER_NAME),
        "seller_address": named(", ".join(settings.SELLER_ADDRESS.splitlines())),
        "site_name": named(settings.SITE_NAME),
        "support": settings.SUPPORT_EMAIL,
        "language": translation.get_language(),
        "is_rtl": translation.get_language_bidi(),
        "style": mail_looks.styles(),
        "dark": mail_looks.dark(),
        **facts,
    }
    text = render_to_string(f"mail/{kind.value}.txt", context)
    context["subject"] = facts["subject"] = named(facts["subject"])
    html = render_to_string(f"mail/{kind.value}.html", context)
    return Written(facts["subject"], _tidy(text), html)


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


@contextmanager
def in_words_of(reader: Reader) -> Iterator[None]:
    """Write in the language of a reader, and instants in their time zone."""
    with translation.override(reader.language), timezone.override(reader.time_zone):
        yield


def _facts(message: Message, today: date, at: datetime, *, is_preview: bool) -> dict[str, Any] | None:
    if not _may_still_read(message):
        return None
    match message.kind:
        case Message.Kind.ISSUED | Message.Kind.DUE | Message.Kind.OVERDUE if message.invoice_id:
            return _of_invoice(message, today)
        case Message.Kind.ALERT if message.crossing is not None:
            return _of_crossing(message, message.crossing)
        case Message.Kind.INVITATION if message.invitation is not None:
            return _of_invitation(message.invitation, at, is_preview=is_preview)
        case Message.Kind.QUESTION if message.post is not None:
            return _of_post(message, message.post)
    raise ValueError(f"Message {message.pk} is about nothing.")


def _may_still_read(message: Message) -> bool:
    """Whether the person it is for still logs in, and for the client that it is about."""
    user = message.user
    if user is None:
        return True
    if not user.is_active:
        return False
    if user.is_staff:
        return True
    return message.client_id is not None and ClientUser.objects.filter(user=user, client=message.client_id).exists()


def address(name: str, *args: object) -> str:
    """Return the whole address of a page."""
    return str(settings.SITE_ADDRESS) + reverse(name, args=args)


def _of_invoice(message: Message, today: date) -> dict[str, Any] | None:
    assert message.invoice is not None
    invoice = Invoice.objects.with_state(today).select_related("client").get(pk=message.invoice.pk)
    if message.kind != Message.Kind.ISSUED and not _is_waited_for(invoice, message.kind, today):
        return None
    lines = invoice.lines.order_by("position")
    shown = list(lines[: MOST_LINES + 1])
    more = lines.count() - MOST_LINES if len(shown) > MOST_LINES else 0
    facts = invoice_facts(
        kind=Message.Kind(message.kind),
        number=invoice.number,
        credited_number=invoice.credits.number if invoice.credits else "",
        buyer=invoice.buyer["name"],
        seller=invoice.seller["name"],
        seller_address=invoice.seller["address"],
        currency=invoice.currency,
        issued_on=invoice.issued_on,
        due_on=invoice.due_on,
        before_total=invoice.tax_rows,
        total=invoice.total,
        tax_note=invoice.tax_note,
        how_to_pay=invoice.how_to_pay,
        left=invoice.left,
        lines=[(line.title, line.detail, line.amount) for line in shown[:MOST_LINES]],
        today=today,
        step=message.step,
        link=address("portal_invoice", invoice.pk),
    )
    return {**facts, "more_lines": more}


def _is_waited_for(invoice: Invoice, kind: str, today: date) -> bool:
    """Whether its reminder is still to the point."""
    if invoice.left <= 0:
        return False
    return invoice.due_on < today if kind == Message.Kind.OVERDUE else invoice.due_on >= today


def _of_crossing(message: Message, crossing: Crossing) -> dict[str, Any] | None:
    alert = crossing.alert
    if crossing.ended_at is not None or not alert.is_active:
        return None
    setting, service = alert.setting, crossing.service
    is_staff = message.client_id is None
    if service is None:
        link = address("staff_home" if is_staff else "portal_alerts")
    else:
        link = address("staff_service" if is_staff else "portal_service", service.public_id)
    return alert_facts(
        measure=alert.measure,
        is_of_forecast=alert.is_of_forecast,
        metric=str(setting.metric) if setting else "",
        service=service.name if service else "",
        product=service.product.name if service else "",
        client=message.client.name if message.client else "",
        value=crossing.written_value,
        bound=alert.write(crossing.bound),
        began_at=crossing.began_at,
        ends_on=service.next_due_on if service else None,
        is_staff=is_staff,
        link=link,
    )


def _of_invitation(invitation: Invitation, at: datetime, *, is_preview: bool) -> dict[str, Any] | None:
    if invitation.accepted_at or invitation.revoked_at or invitation.expires_at <= at:
        return None
    # Whoever may look at mails may not become somebody else by them.
    link = f"{settings.SITE_ADDRESS}/…" if is_preview else invitation_link(invitation)
    return invitation_facts(
        invited_by=str(invitation.invited_by or ""),
        client=invitation.client.name if invitation.client else "",
        role=invitation.get_role_display() if invitation.role else "",
        expires_at=invitation.expires_at,
        link=link,
    )


def _of_post(message: Message, post: Post) -> dict[str, Any]:
    question = post.question
    area = "portal" if post.is_of_staff else "staff"
    return question_facts(
        is_answer=post.is_of_staff,
        number=question.invoice.number,
        line=question.line.title,
        client=question.client.name,
        by=str(post.by or ""),
        text=post.text,
        link=address(f"{area}_line", question.invoice_id, question.line_id),
    )
