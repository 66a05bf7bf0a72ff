"""A service as people on a command line name it."""

from uuid import UUID

from catalog.models import Service


def find_service(text: str) -> Service:
    """Return the service with this public id or number. Raises Service.DoesNotExist."""
    services = Service.objects.select_related("client", "product", "tenant__server")
    if text.isascii() and text.isdigit() and len(text) < 19:
        return services.get(pk=int(text))
    try:
        return services.get(public_id=UUID(text))
    except ValueError:
        raise Service.DoesNotExist from None
