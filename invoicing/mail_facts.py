"""What each kind of mail says: what its templates show, in the language that is active.

What clients, servers and staff have named is put on one line and loses what mail programs would make links of.
"""

import re
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.money import write as write_amount
from invoicing.models import Message
from metering import dates

#: Letters of a post that a mail quotes.
MOST_QUOTED = 4000


def invoice_facts(
    *,
    kind: Message.Kind,
    number: str,
    credited_number: str,
    buyer: str,
    seller: str,
    seller_address: str,
    currency: str,
    issued_on: date,
    due_on: date,
    before_total: list[tuple[str, Decimal]],
    total: Decimal,
    tax_note: str,
    how_to_pay: list[str],
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
        "client": named(buyer),
        "seller": named(seller),
        "seller_address": named(", ".join(seller_address.splitlines())),
        "currency": currency,
        "issued_on": issued_on,
        "due_on": due_on,
        "before_total": [(named(name), write_amount(each, currency)) for name, each in before_total],
        "total": total,
        "tax_note": named(tax_note),
        "how_to_pay": how_to_pay if left > 0 else [],
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


def _moment(at: datetime) -> str:
    """Write an instant with its day and its zone: a mail may be read on any day and anywhere."""
    local = timezone.localtime(at)
    return f"{dates.full_day(local.date())}, {dates.time(at)} {local:%Z}"
