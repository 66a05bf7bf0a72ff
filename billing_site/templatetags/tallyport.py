"""What templates need to write: icons, amounts, quantities and times."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from django import template
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from catalog import money
from catalog.models import Client
from invoicing.reasons import retold
from metering import dates, language
from metering.decimals import plain
from metering.units import Unit

register = template.Library()


def _if_any(write: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let a template say what stands for nothing: `{{ due|day|default:"none" }}`."""
    return lambda value: write(value) if value else ""


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """Draw an icon of the sprite; the word beside it carries the meaning."""
    return format_html(
        '<svg class="tp-icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name
    )


@register.simple_tag(takes_context=True)
def client_link(context: template.Context, client: Client) -> str | SafeString:
    """Name a client, linked for who may see it: `{% client_link invoice.client %}`, or `as` a part of a sentence."""
    if not context["perms"]["catalog"]["view_client"]:
        return str(client)
    return format_html('<a href="{}">{}</a>', reverse("staff_client", args=[client.pk]), client)


@register.filter
def unbroken(name: object) -> SafeString:
    """Keep a name on one line wherever a line has room for it: `pg-demo` is not parted at its hyphen."""
    return format_html('<span class="tp-name">{}</span>', name)


register.filter(retold)


@register.filter
def amount(value: Decimal, currency: str) -> str:
    """Write money: `{{ invoice.total|amount:invoice.currency }}`."""
    return money.write(value, currency)


@register.filter
def opposite(value: Decimal) -> Decimal:
    """Turn what is owed to us into what is owed to them: `{{ invoice.left|opposite|amount:invoice.currency }}`."""
    return -value


@register.filter
def change(value: Decimal, currency: str) -> str:
    """Write a difference of money with its sign: `+$1.58`, `−$18.50`."""
    return f"+{money.write(value, currency)}" if value > 0 else money.write(value, currency)


@register.filter
def price(value: Decimal, currency: str) -> str:
    """Write a unit price with all its decimals."""
    return money.write_price(Decimal(value), currency)


@register.filter
def quantity(value: Decimal, unit: Unit) -> str:
    """Write a quantity with its unit and at most two decimals, for a glance."""
    return unit.write(Decimal(value), places=2)


@register.filter
def exactly(value: Decimal, unit: Unit) -> str:
    """Write a quantity with its unit and all its decimals, as it is charged."""
    return unit.write(Decimal(value))


# Days, months and moments: `{{ invoice.issued_on|day }}`. Each is written as metering.dates says.
for written in (
    *(dates.day, dates.full_day, dates.weekday, dates.short_day, dates.long_day),
    *(dates.month, dates.short_month, dates.month_name, dates.time, dates.moment, dates.exact_moment),
):
    register.filter(written.__name__, _if_any(written))


@register.filter
def as_it_is(value: object, currency: str = "") -> str:
    """Write a value of a record, whatever it is, as it is stored: all decimals, and a dash for nothing. An amount is
    followed by its currency."""
    match value:
        case None:
            return "—"
        case bool():
            return _("yes") if value else _("no")
        case datetime():
            return dates.exact_moment(value)
        case date():
            return dates.day(value)
        case Decimal():
            return f"{language.in_digits(plain(value))} {currency}".rstrip()
    return str(value)


@register.filter
def number(value: int | Decimal) -> str:
    """Write a number with its thousands apart: `3,120`."""
    return language.in_digits(f"{value:,}")


@register.filter
def money_text(value: str, currency: str) -> str:
    """Write money that is stored as text, as in the totals of a run."""
    return money.write(Decimal(value), currency)


@register.filter
def sums(totals: Mapping[str, Decimal | str]) -> str:
    """Write totals by their currency, one after the other: `$58.00 and £12.00`."""
    return _(" and ").join(money.write(Decimal(total), currency) for currency, total in totals.items())


@register.filter
def took(begin: datetime, end: datetime) -> str:
    """Write how long something took: `0.4 s`, `12 s` or `3 min 5 s`."""
    return seconds((end - begin).total_seconds())


@register.filter
def seconds(value: float) -> str:
    """Write a number of seconds: `0.4 s`, `12 s` or `3 min 5 s`."""
    if value < 9.95:
        return _("%(seconds)s s") % {"seconds": language.in_digits(f"{value:.1f}")}
    minutes, rest = divmod(round(value), 60)
    if not minutes:
        return _("%(seconds)s s") % {"seconds": rest}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
