"""What staff see of each kind of mail before any is sent: examples, of things that do not exist."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from catalog.wording import percent
from invoicing.mail_facts import alert_facts, invitation_facts, invoice_facts, question_facts
from invoicing.mails import Reader, Written, in_words_of, render
from invoicing.models import Alert, Message
from metering import dates

_LINES = [
    ("Business Web", "lindqvistmoe.example", Decimal(24)),
    ("Databases", "25: 9 at $2.00, 10 at $1.00, 6 at $0.50", Decimal(31)),
    ("Bandwidth", "16.37 GB: 10 GB included, 6.37 GB at $1.00", Decimal("6.37")),
    ("Emails sent", "6,240: 5,000 included, 2 blocks of 1,000 at $0.40", Decimal("0.80")),
    ("Object Storage", "lm-media", Decimal(6)),
    ("Stored data", "395.5 GB at $0.02", Decimal("7.91")),
    ("Bandwidth, corrected", "12.05 GB instead of 11.80 GB", Decimal("0.25")),
]


def sample(kind: Message.Kind, language: str, *, at: datetime) -> Written:
    """Write an example of a kind of mail, of things that do not exist."""
    with in_words_of(Reader(language, settings.TIME_ZONE)):
        return render(kind, _facts(kind, at))


def _facts(kind: Message.Kind, at: datetime) -> dict[str, Any]:
    today = dates.site_day(at)
    match kind:
        case Message.Kind.ALERT:
            return alert_facts(
                measure=Alert.Measure.SHARE,
                is_of_forecast=False,
                metric="Bandwidth",
                service="lindqvistmoe.example",
                product="Business Web",
                client="Lindqvist & Moe",
                value=percent(Decimal("83.2")),
                bound=percent(Decimal(80)),
                began_at=at,
                ends_on=today.replace(day=28),
                is_staff=False,
                link=f"{settings.SITE_ADDRESS}/",
            )
        case Message.Kind.INVITATION:
            return invitation_facts(
                invited_by="Sara Lindqvist",
                client="Lindqvist & Moe",
                role="",
                expires_at=at,
                link=f"{settings.SITE_ADDRESS}/",
            )
        case Message.Kind.QUESTION:
            return question_facts(
                is_answer=True,
                number="2026-00418",
                line="Bandwidth",
                client="Lindqvist & Moe",
                by="Ines",
                text="The server was read once more after midnight.\nThat reading is in the list now.",
                link=f"{settings.SITE_ADDRESS}/",
            )
    due_on = {Message.Kind.OVERDUE: date.fromordinal(today.toordinal() - 4)}.get(
        kind, date.fromordinal(today.toordinal() + 3)
    )
    return invoice_facts(
        kind=kind,
        number="2026-00418",
        credited_number="",
        buyer="Lindqvist & Moe",
        seller=settings.SELLER_NAME,
        seller_address=settings.SELLER_ADDRESS,
        currency="USD",
        issued_on=date.fromordinal(due_on.toordinal() - settings.PAYMENT_DAYS),
        due_on=due_on,
        before_total=[],
        total=Decimal("76.33"),
        tax_note="",
        how_to_pay=settings.SELLER_PAYMENT.splitlines(),
        left=Decimal("75.93") if kind != Message.Kind.ISSUED else Decimal("76.33"),
        lines=_LINES,
        today=today,
        step=2,
        link=f"{settings.SITE_ADDRESS}/",
    )
