"""What templates need to write of people: roles in the reader's language."""

from django import template

from billing_site import roles
from catalog.models import Role
from catalog.permissions import NAMES

register = template.Library()


@register.filter
def role(value: str) -> str:
    """Write a role that somebody has for a client."""
    return str(NAMES[Role(value)]) if value in NAMES else value


@register.filter
def staff_role(name: str) -> str:
    """Write a role of staff, by the name of its group."""
    return str(roles.NAMES.get(name, name))
