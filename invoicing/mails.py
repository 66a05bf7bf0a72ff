"""Mails: what each kind says, in the language and the time zone of who gets it.

`write` reads what a message is about when it is sent, so that a mail never says what is not so any more; where its
reason is gone it writes nothing. What clients, servers and staff have named is put on one line and loses what mail
programs would make links of; links are made from SITE_ADDRESS, never from a request. Templates are in
`templates/mail`, a text and an HTML one for each kind.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from catalog.invitations import invitation_link
from catalog.models import ClientUser, Invitation
from catalog.money import write as write_amount
from invoicing import mail_looks
from invoicing.models import Crossing, Invoice, Message, Post
from metering import dates

#: Lines of an invoice that a mail lists; a longer one says how many there are besides.
MOST_LINES = 60
#: Letters of a post that a mail quotes.
MOST_QUOTED = 4000


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
        facts = _facts(message, timezone.localdate(at), at, is_preview=is_preview)
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


def named(text: object) -> str:
    """Put a name on one line, without what would write headers, links or letters that nobody sees."""
    shown = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in str(text))
    return _unlinked(" ".join(shown.split()))


def quoted(text: str) -> str:
    """Return what a person wrote, on its lines, without what mail programs would make links of."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    whole = "\n".join(named(line) for line in lines).strip()
    return whole if len(whole) <= MOST_QUOTED else f"{whole[:MOST_QUOTED]} …"


def _unlinked(text: str) -> str:
    return re.sub(r"(?i)\bwww\.", "www .", re.sub(r"(?<=[A-Za-z])://?", ": //", text)).replace("mailto:", "mailto :")


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


def _moment(at: datetime) -> str:
    """Write an instant with its day and its zone: a mail may be read on any day and anywhere."""
    local = timezone.localtime(at)
    return f"{dates.full_day(local.date())}, {dates.time(at)} {local:%Z}"


def address(name: str, *args: object) -> str:
    """Return the whole address of a page."""
    return str(settings.SITE_ADDRESS) + reverse(name, args=args)


# Invoices


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
        reason=invoice.reason,
        buyer=invoice.buyer["name"],
        seller=invoice.seller["name"],
        seller_address=invoice.seller["address"],
        currency=invoice.currency,
        issued_on=invoice.issued_on,
        due_on=invoice.due_on,
        total=invoice.total,
        left=invoice.left,  # type: ignore[attr-defined]
        lines=[(line.title, line.detail, line.amount) for line in shown[:MOST_LINES]],
        today=today,
        step=message.step,
        link=address("portal_invoice", invoice.pk),
    )
    return {**facts, "more_lines": more}


def _is_waited_for(invoice: Any, kind: str, today: date) -> bool:
    """Whether its reminder is still to the point."""
    if invoice.left <= 0:
        return False
    return bool(invoice.due_on < today if kind == Message.Kind.OVERDUE else invoice.due_on >= today)


def invoice_facts(
    *,
    kind: Message.Kind,
    number: str,
    credited_number: str,
    reason: str,
    buyer: str,
    seller: str,
    seller_address: str,
    currency: str,
    issued_on: date,
    due_on: date,
    total: Decimal,
    left: Decimal,
    lines: list[tuple[str, str, Decimal]],
    today: date,
    step: int,
    link: str,
) -> dict[str, Any]:
    amount = write_amount(left if kind != Message.Kind.ISSUED else total, currency)
    names = {"number": number, "seller": named(seller), "amount": amount, "due": dates.full_day(due_on)}
    if credited_number:
        subject = _("Credit note %(number)s from %(seller)s")
    elif kind == Message.Kind.DUE:
        subject = _("Invoice %(number)s: %(amount)s is due on %(due)s")
    elif kind == Message.Kind.OVERDUE:
        subject = _("Invoice %(number)s: %(amount)s is overdue")
    else:
        subject = _("Invoice %(number)s from %(seller)s")
    return {
        "subject": subject % names,
        "number": number,
        "credited_number": credited_number,
        "reason": named(reason),
        "client": named(buyer),
        "seller": named(seller),
        "seller_address": named(", ".join(seller_address.splitlines())),
        "currency": currency,
        "issued_on": issued_on,
        "due_on": due_on,
        "total": total,
        "left": left,
        "is_less": left != total,
        "amount": amount,
        "lines": [
            {"title": named(title), "detail": named(detail), "amount": write_amount(each, currency)}
            for title, detail, each in lines
        ],
        "more_lines": 0,
        "days": abs((today - due_on).days),
        "step": step,
        "link": link,
    }


# Alerts


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
        value=alert.write(crossing.value),
        bound=alert.write(crossing.bound),
        began_at=crossing.began_at,
        ends_on=service.next_due_on if service else None,
        is_staff=is_staff,
        link=link,
    )


def alert_facts(
    *,
    measure: str,
    is_of_forecast: bool,
    metric: str,
    service: str,
    product: str,
    client: str,
    value: str,
    bound: str,
    began_at: datetime,
    ends_on: date | None,
    is_staff: bool,
    link: str,
) -> dict[str, Any]:
    what = named(metric) if metric else _("Usage charges")
    names = {"what": what, "bound": bound}
    if is_of_forecast:
        subject = _("%(what)s: expected to pass %(bound)s") % names
    else:
        subject = _("%(what)s: above %(bound)s") % names
    if service:
        subject = _("%(subject)s (%(service)s)") % {"subject": subject, "service": named(service)}
    return {
        "subject": subject,
        "what": what,
        "measure": measure,
        "is_of_forecast": is_of_forecast,
        "service": named(service),
        "product": named(product),
        "client": named(client),
        "value": value,
        "bound": bound,
        "moment": _moment(began_at),
        "ends_on": ends_on,
        "is_staff": is_staff,
        "link": link,
    }


# Invitations


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


def invitation_facts(*, invited_by: str, client: str, role: str, expires_at: datetime, link: str) -> dict[str, Any]:
    where = named(client) if client else named(settings.SITE_NAME)
    return {
        "subject": _("You are invited to %(where)s") % {"where": where},
        "invited_by": named(invited_by),
        "client": named(client),
        "role": role,
        "until": _moment(expires_at),
        "link": link,
    }


# Questions


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


def question_facts(
    *, is_answer: bool, number: str, line: str, client: str, by: str, text: str, link: str
) -> dict[str, Any]:
    names = {"number": number, "client": named(client)}
    if is_answer:
        subject = _("Answer to your question about invoice %(number)s") % names
    else:
        subject = _("%(client)s asks about invoice %(number)s") % names
    return {
        "subject": subject,
        "is_answer": is_answer,
        "number": number,
        "line": named(line),
        "client": named(client),
        "by": named(by),
        "quote": quoted(text),
        "support": "",  # the answer belongs to the line
        "link": link,
    }
