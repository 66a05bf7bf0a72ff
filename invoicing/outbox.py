"""The outbox: mails are queued in the transaction that makes their reason, and sent from here.

One transaction per mail: its row is locked, skipping those that another worker has, the mail is written and
handed to the mail server, and the row is marked as sent. So no two workers send the same mail, and none is
lost. One whose reason is gone meanwhile is dropped: its row is deleted.
A worker that dies between the two, or a server that takes a mail and is gone before it says so, may make
one mail go out again; it then has the same Message-ID, which is made from the row's id, so that receiving
servers and mail programs can tell.
"""

import logging
import smtplib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from invoicing import mails
from invoicing.models import Message

logger = logging.getLogger(__name__)

#: How long to wait after each attempt that failed; after one more it is given up.
WAITS = (timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=8), timedelta(days=1))
MAX_ATTEMPTS = len(WAITS) + 1
#: Failures of the server in a row that end a round.
MOST_IN_A_ROW = 3
#: Mails that a round sends at most.
LIMIT = 500
#: What mails are about, read with their messages.
RELATED = (
    *("client", "user", "invoice", "invitation__client", "invitation__invited_by"),
    *("crossing__alert__setting__metric", "crossing__service__product"),
    *("post__by", "post__question__invoice", "post__question__line", "post__question__client"),
)


class Outcome(Enum):
    """What came of one mail. A server that refuses a mail answers; one that is not reached was not asked."""

    SENT = auto()
    DROPPED = auto()
    REFUSED = auto()
    BROKEN = auto()
    UNREACHED = auto()


@dataclass
class Round:
    """What a round did. `error` says why it ended early, if the server was to blame."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0
    error: str = ""


def due(at: datetime) -> QuerySet[Message]:
    """The messages to be sent at an instant, oldest first: none that waits for another attempt or for the end of
    somebody's quiet hours."""
    return waiting().filter(Q(retry_at=None) | Q(retry_at__lte=at), Q(hold_until=None) | Q(hold_until__lte=at))


def waiting() -> QuerySet[Message]:
    return Message.objects.filter(sent_at=None, attempts__lt=MAX_ATTEMPTS)


def given_up() -> QuerySet[Message]:
    """The messages that failed too often, and that nobody sends unless a person says so."""
    return Message.objects.filter(sent_at=None, attempts__gte=MAX_ATTEMPTS)


def send_due(*, at: datetime, limit: int = LIMIT, should_stop: Callable[[], bool] = lambda: False) -> Round:
    """Send what is due, each mail for itself: one that fails is tried again later, and the others go on.

    A server that cannot be reached, or that breaks off several times in a row, ends the round; what it did
    not take stays due, and what was not even offered to it counts no attempt.
    """
    done, in_a_row = Round(), 0
    server = get_connection()
    try:
        while done.sent + done.failed + done.dropped < limit and not should_stop():
            outcome, error = _send_next(server, at)
            if outcome is None:
                break
            done.sent += outcome is Outcome.SENT
            done.dropped += outcome is Outcome.DROPPED
            done.failed += outcome not in (Outcome.SENT, Outcome.DROPPED)
            in_a_row = in_a_row + 1 if outcome in (Outcome.BROKEN, Outcome.UNREACHED) else 0
            if in_a_row == MOST_IN_A_ROW:
                done.error = error
                break
    finally:
        _hang_up(server)
    return done


def send_again(messages: QuerySet[Message]) -> int:
    """Let messages that wait or were given up be due at once, with all their attempts. Returns how many are."""
    return messages.filter(sent_at=None).update(attempts=0, retry_at=None, error="")


def compose(message: Message, *, at: datetime) -> EmailMultiAlternatives | None:
    """Write a mail, as text and as HTML. None: its reason is gone."""
    written = mails.write(message, at=at)
    if written is None:
        return None
    mail = EmailMultiAlternatives(
        subject=written.subject,
        body=written.text,
        to=[message.to],
        reply_to=[settings.SUPPORT_EMAIL] if settings.SUPPORT_EMAIL else None,
        headers={"Message-ID": message_id(message), "Auto-Submitted": "auto-generated"},
    )
    mail.attach_alternative(written.html, "text/html")
    return mail


def message_id(message: Message) -> str:
    """Return the Message-ID header, the same whenever this message is sent."""
    return f"<{message.pk}@{urlsplit(settings.SITE_ADDRESS).hostname or 'localhost'}>"


def _send_next(server: BaseEmailBackend, at: datetime) -> tuple[Outcome | None, str]:
    """Send the oldest message that is due and that nobody else is sending, and write down what came of it."""
    with transaction.atomic(durable=True):
        free = due(at).select_for_update(skip_locked=True, of=("self",))
        message = free.select_related(*RELATED).first()
        if message is None:
            return None, ""
        outcome, error = _offer(server, message, at)
        if outcome is Outcome.DROPPED:
            message.delete()
            return outcome, ""
        if outcome is Outcome.SENT:
            message.sent_at, message.retry_at = timezone.now(), None
        elif outcome is Outcome.UNREACHED:
            message.retry_at = at + WAITS[0]
        else:
            message.retry_at = at + WAITS[message.attempts] if message.attempts < len(WAITS) else None
        message.attempts += outcome is not Outcome.UNREACHED
        message.error = error
        message.save(update_fields=["sent_at", "retry_at", "attempts", "error"])
    return outcome, error


def _offer(server: BaseEmailBackend, message: Message, at: datetime) -> tuple[Outcome, str]:
    """Write a message and hand it to the mail server. Returns what came of it, and the reason if it failed."""
    try:
        with transaction.atomic():  # a query that fails is no reason to lose what is written down of it
            mail = compose(message, at=at)
    except Exception as error:
        logger.warning("message %s cannot be written: %s", message.pk, _reason(error))
        return Outcome.REFUSED, _reason(error)
    if mail is None:
        logger.info("message %s was dropped: its reason is gone", message.pk)
        return Outcome.DROPPED, ""
    try:
        server.open()
    except OSError as error:
        logger.warning("the mail server cannot be reached: %s", _reason(error))
        return Outcome.UNREACHED, _reason(error)
    try:
        server.send_messages([mail])
    except Exception as error:
        logger.warning("message %s was not sent: %s", message.pk, _reason(error))
        if _is_of_the_message(error):
            return Outcome.REFUSED, _reason(error)
        _hang_up(server)
        return Outcome.BROKEN, _reason(error)
    return Outcome.SENT, ""


def _hang_up(server: BaseEmailBackend) -> None:
    with suppress(OSError):
        server.close()


def _is_of_the_message(error: Exception) -> bool:
    """Whether another message may fare better with the same server, on the same connection."""
    answer = _answer(error)
    if answer is None:
        return not isinstance(error, OSError)
    return answer[0] != 421 and not isinstance(error, smtplib.SMTPSenderRefused)


def _answer(error: Exception) -> tuple[int, str] | None:
    """Return the code and the words with which a server refused, if it said any."""
    words: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, words = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, words = error.smtp_code, error.smtp_error
    else:
        return None
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    return code, "".join(each for each in " ".join(text.split()) if each.isprintable())[:200]


def _reason(error: Exception) -> str:
    """Say why a mail failed, never with what a server says about a login."""
    answer = _answer(error)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"The mail server refused the login ({error.smtp_code})."
    if answer is not None:
        return f"The mail server refused it: {answer[0]} {answer[1].rstrip('.')}."
    if isinstance(error, OSError):
        return f"The mail server did not answer as it should ({type(error).__name__})."
    return f"The mail cannot be written ({type(error).__name__})."
