"""What templates need to write: icons, amounts, quantities and times."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog import money
from metering.units import Unit

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon of the sprite; the word beside it carries the meaning."""
    return format_html(
        '<svg class="tp-icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name
    )


@register.filter
def amount(value: Decimal, currency: str) -> str:
    """Write money: `{{ invoice.total|amount:invoice.currency }}`."""
    return money.write(value, currency)


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


@register.filter
def moment(at: datetime) -> str:
    """Write an instant shortly: `today, 06:00`, `17 Nov, 18:00` or `17 Nov 2025, 18:00`."""
    local, today = timezone.localtime(at), timezone.localdate()
    if local.date() == today:
        return f"today, {local:%H:%M}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local.day} {local:%b}{year}, {local:%H:%M}"


@register.filter
def money_text(value: str, currency: str) -> str:
    """Write money that is stored as text, as in the totals of a run."""
    return money.write(Decimal(value), currency)
