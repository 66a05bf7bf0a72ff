"""The languages that people may choose."""

from django.conf import settings


def languages() -> list[tuple[str, str]]:
    """Return the site's languages, each by its own name, as choices of a field."""
    return list(settings.LANGUAGES)
