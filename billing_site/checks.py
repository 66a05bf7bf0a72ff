"""System checks: what is wrong with the configuration, and how to mend it."""

import os
import stat
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from billing_site.refusals import LOCAL
from catalog.money import is_currency
from invoicing import pdf, required


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
    timeout = settings.Q_CLUSTER.get("timeout")
    if timeout is not None and timeout < settings.Q_CLUSTER.get("retry", 60):
        return []
    return [
        Error(
            "Q_CLUSTER['timeout'] must be set, and below Q_CLUSTER['retry'].",
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


@register(deploy=True)
def tax_number(**_: Any) -> Sequence[CheckMessage]:
    if settings.SELLER_TAX_NUMBER:
        return []
    return [
        Warning(
            "SELLER_TAX_NUMBER is empty, and invoices will have no tax number of yours.",
            hint="Set it where invoices must state one; invoices that are issued keep what they had.",
            id="tallyport.W007",
        )
    ]


@register
def required_on_invoices(**_: Any) -> Sequence[CheckMessage]:
    """Names that mean nothing would require nothing."""
    unknown = sorted(set(settings.REQUIRED_ON_INVOICES) - set(required.FIELDS))
    if not unknown:
        return []
    return [
        Error(
            f"REQUIRED_ON_INVOICES has {', '.join(unknown)}, which is none of {', '.join(required.FIELDS)}.",
            hint="Separate them by commas: REQUIRED_ON_INVOICES=seller_tax_number,buyer_address",
            id="tallyport.E010",
        )
    ]


@register(deploy=True)
def required_of_seller(**_: Any) -> Sequence[CheckMessage]:
    """What is required of the seller and not set keeps every service from being billed."""
    return [
        Error(
            f"{name} is empty, and REQUIRED_ON_INVOICES asks for it, so nothing is invoiced.",
            hint=f"Set {name}, or take it out of REQUIRED_ON_INVOICES.",
            id="tallyport.E011",
        )
        for name in required.of_seller()
    ]


@register
def pdf_fonts(**_: Any) -> Sequence[CheckMessage]:
    """The operator's own fonts must be there and be fonts, or no PDF could be made."""
    try:
        pdf.check_fonts(settings.PDF_FONTS)
    except (OSError, ValueError) as error:
        hint = "Set it to a folder of OpenType or TrueType fonts, or leave it empty."
        return [Error(f"PDF_FONTS is {settings.PDF_FONTS}: {error}.", hint=hint, id="tallyport.E012")]
    return []


@register(deploy=True)
def mail(**_: Any) -> Sequence[CheckMessage]:
    """Mails that nobody gets, or that lead nowhere."""
    found = []
    if settings.EMAIL_BACKEND == "django.core.mail.backends.console.EmailBackend":
        text = "EMAIL_URL is not set, so mails about invoices are printed and count as sent."
        hint = "Set EMAIL_URL, such as smtp+tls://user:password@host:587."
        found.append(Warning(text, hint=hint, id="tallyport.W005"))
    if urlsplit(settings.SITE_ADDRESS).hostname in {"localhost", "127.0.0.1"}:
        text = "SITE_ADDRESS is this machine, and mails tell clients to look there."
        found.append(Warning(text, hint="Set it to the site's own: https://billing.example.com", id="tallyport.W006"))
    return found


@register(deploy=True)
def var_dir(**_: Any) -> Sequence[CheckMessage]:
    """Keys and the database are closed to others anyway; the rest of the directory should be."""
    if not settings.VAR_DIR.exists() or not settings.VAR_DIR.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    return [
        Warning(
            f"Others on this machine can list {settings.VAR_DIR}.",
            hint=f"chmod go-rw {settings.VAR_DIR}",
            id="tallyport.W008",
        )
    ]


@register(deploy=True)
def second_step(**_: Any) -> Sequence[CheckMessage]:
    if settings.STAFF_MFA:
        return []
    return [
        Warning(
            "STAFF_MFA is off, so a guessed password opens the staff area.",
            hint="Take STAFF_MFA out of the environment; whoever has no second step is asked to add one.",
            id="tallyport.W009",
        )
    ]


@register(deploy=True)
def address(**_: Any) -> Sequence[CheckMessage]:
    """Passkeys belong to the host of SITE_ADDRESS, and links in mails lead there."""
    host = urlsplit(settings.SITE_ADDRESS).hostname
    if host in LOCAL or "*" in settings.ALLOWED_HOSTS or host in settings.ALLOWED_HOSTS:
        return []
    if any(name.startswith(".") and f".{host}".endswith(name) for name in settings.ALLOWED_HOSTS):
        return []
    return [
        Error(
            f"SITE_ADDRESS names {host}, which is not in ALLOWED_HOSTS: passkeys and the links in mails do not work.",
            hint="Let SITE_ADDRESS be https:// and one of ALLOWED_HOSTS.",
            id="tallyport.E006",
        )
    ]
