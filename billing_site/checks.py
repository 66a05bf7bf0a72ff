"""System checks: what is wrong with the configuration, and how to mend it."""

import os
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from catalog.money import is_currency


@register(Tags.security)
def field_keys(**_: Any) -> Sequence[CheckMessage]:
    """The keys of stored credentials must be Fernet keys."""
    for number, key in enumerate(settings.FIELD_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            return [
                Error(
                    f"Key {number} of FIELD_KEYS is not a Fernet key.",
                    hint="Make one with: python -c 'from cryptography.fernet import Fernet; "
                    "print(Fernet.generate_key().decode())'",
                    id="tallyport.E001",
                )
            ]
    return []


@register
def currency(**_: Any) -> Sequence[CheckMessage]:
    if is_currency(settings.DEFAULT_CURRENCY):
        return []
    return [
        Error(
            f"DEFAULT_CURRENCY is {settings.DEFAULT_CURRENCY!r}, which is no currency of ISO 4217.",
            hint="Set it to a code such as USD or EUR.",
            id="tallyport.E002",
        )
    ]


@register
def queue(**_: Any) -> Sequence[CheckMessage]:
    """A job that outlives `retry` would be started a second time while it still runs."""
    if settings.Q_CLUSTER["timeout"] < settings.Q_CLUSTER["retry"]:
        return []
    return [
        Error(
            "Q_CLUSTER['timeout'] must be below Q_CLUSTER['retry'].",
            hint="A running job would be started again.",
            id="tallyport.E003",
        )
    ]


@register(deploy=True)
def own_keys(**_: Any) -> Sequence[CheckMessage]:
    """Keys that lie beside the database fall with it, and differ from machine to machine."""
    return [
        Warning(
            f"{name} comes from a file in VAR_DIR.",
            hint=f"Put {name} into the environment of every machine, and keep a copy apart from the database.",
            id=f"tallyport.W00{number}",
        )
        for number, name in enumerate(["SECRET_KEY", "FIELD_KEYS"], start=1)
        if not os.environ.get(name)
    ]


@register(deploy=True)
def own_database(**_: Any) -> Sequence[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"] != "billing_site.embedded":
        return []
    return [
        Warning(
            "The site runs on its embedded database.",
            hint="It is one process group on one machine. Set DATABASE_URL to a PostgreSQL that is backed up.",
            id="tallyport.W003",
        )
    ]


@register(deploy=True)
def hosts(**_: Any) -> Sequence[CheckMessage]:
    if set(settings.ALLOWED_HOSTS) - {"localhost", "127.0.0.1", "[::1]"}:
        return []
    return [
        Error(
            "ALLOWED_HOSTS names this machine only, so nobody else can open the site.",
            hint="Set it to the site's host names, separated by commas: ALLOWED_HOSTS=billing.example.com",
            id="tallyport.E004",
        )
    ]


@register(deploy=True)
def seller(**_: Any) -> Sequence[CheckMessage]:
    if settings.SELLER_ADDRESS:
        return []
    return [
        Warning(
            "SELLER_ADDRESS is empty, and invoices will have no address of yours.",
            hint="Set SELLER_NAME and SELLER_ADDRESS; invoices that are issued keep what they had.",
            id="tallyport.W004",
        )
    ]
