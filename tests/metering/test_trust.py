"""No server is spoken to by an old TLS, whatever is trusted and however Python was built."""

import ssl

import pytest

from metering.providers import mariadb, trust


@pytest.mark.parametrize(
    "context",
    [trust.authority(""), trust.whoever(), *(mariadb._tls(mode, "") for mode in ("verify", "require"))],
    ids=["an authority", "whoever comes", "MariaDB, checked", "MariaDB, encrypted alone"],
)
def test_nothing_is_spoken_that_is_older_than_tls_1_2(context):
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_only_whoever_decides_otherwise_takes_a_certificate_unseen():
    checks = {context.verify_mode: context.check_hostname for context in (trust.authority(""), trust.whoever())}
    assert checks == {ssl.CERT_REQUIRED: True, ssl.CERT_NONE: False}
