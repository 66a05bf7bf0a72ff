"""With what settings the site does not start at all. What is only unwise is said by `manage.py check --deploy`."""

from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured

#: Who can reach these names is on this machine already.
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SHORTEST_KEY = 32


def refuse(*, debug: bool, hosts: Sequence[str], secret_key: str) -> None:
    """Raise ImproperlyConfigured when strangers would be shown the site's insides, or could sign in as anybody."""
    public = [host for host in hosts if host not in LOCAL and not host.endswith(".localhost")]
    if debug and public:
        raise ImproperlyConfigured(
            f"DEBUG is on and ALLOWED_HOSTS names {', '.join(public)}: every error page would show settings and data "
            "to whoever comes. Take DEBUG out of the environment."
        )
    if len(secret_key) < SHORTEST_KEY or secret_key.startswith("django-insecure"):
        raise ImproperlyConfigured(
            f"SECRET_KEY can be guessed: it has {len(secret_key)} characters, or is an example. Leave it out, so that "
            "one is made, or set one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
