"""Whom a TLS connection trusts.

It never speaks a version older than 1.2: some builds of Python leave that to the settings of OpenSSL.
"""

import ssl

from metering.providers.base import ProviderError

OLDEST = ssl.TLSVersion.TLSv1_2


def authority(pem: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in this text, or without one those of the system. Raises
    ProviderError if the text holds none."""
    try:
        context = ssl.create_default_context(cadata=pem.strip() or None)
    except (ssl.SSLError, TypeError, ValueError):
        raise ProviderError("The CA certificate is not in PEM form (-----BEGIN CERTIFICATE-----).") from None
    context.minimum_version = OLDEST
    return context


def whoever() -> ssl.SSLContext:
    """Return a context that trusts whatever comes: the caller decides, or the connection is to be encrypted alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = OLDEST
    return context
