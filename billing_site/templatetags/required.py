"""What templates ask about that invoices must state."""

from django import template

from catalog.models import Client
from invoicing import required

register = template.Library()


@register.filter
def lacking_on_invoices(client: Client) -> list[str]:
    """What invoices must state of a client and nobody has written down."""
    return required.of_buyer(client)
