"""Credentials at rest: a JSON object, encrypted with the keys of FIELD_KEYS.

The first key encrypts, all of them decrypt, so that a key can be replaced without an interruption.
"""

import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


class Credentials(dict[str, str]):
    """Names and secrets. Printing it shows the names only."""

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self))})"

    __str__ = __repr__


class CredentialsField(models.TextField):  # type: ignore[type-arg]
    """Stores Credentials encrypted. Never searched, never serialized in plain text."""

    def from_db_value(self, value: str | None, *_: object) -> Credentials | None:
        return None if value is None else decrypt(value)

    def to_python(self, value: Any) -> Credentials | None:
        if value is None or isinstance(value, Credentials):
            return value
        return Credentials(value) if isinstance(value, dict) else decrypt(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encrypt(value)

    def value_to_string(self, obj: models.Model) -> str:
        return encrypt(self.value_from_object(obj))


def encrypt(credentials: dict[str, str]) -> str:
    return _fernet().encrypt(json.dumps(credentials).encode()).decode()


def decrypt(token: str) -> Credentials:
    """Raises ImproperlyConfigured when none of the keys fits."""
    try:
        return Credentials(json.loads(_fernet().decrypt(token.encode())))
    except InvalidToken:
        raise ImproperlyConfigured(
            "Stored credentials cannot be read with the keys of FIELD_KEYS. Add the key they were written with, "
            "or enter the credentials anew."
        ) from None


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])
